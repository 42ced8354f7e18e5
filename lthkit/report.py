"""From a table of replicates to a verdict: intervals, paired comparisons, exact facts.

A seed gives both arms the same initial draw and the same batches, so arms are compared seed by seed.  Over forty
claims an ordinary 95 % interval would miss twice by chance; every verdict of the course is therefore held to
`CONFIDENCE` = 1 − 0.05/40, the first and strictest step of Holm's rule (Holm 1979), fixed before any result was seen.
What holds here also holds under Holm's rule, wherever the claim stands among the forty.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from numbers import Real

import numpy as np
import pandas as pd
from scipy import stats

from lthkit import columns

FAMILY = 40  # measured claims that the course has room for
CONFIDENCE = 1 - 0.05 / FAMILY
KINDS = ("better", "equivalent")


@dataclass(frozen=True)
class Verdict:
    """A claim and how it fared: status is "holds", "contradicted" or "undecided".

    kind: "better", "equivalent" (measured) or "exact".  difference, low, high: mean paired difference and its interval,
    in the column's own unit.  p: the two-sided level at which the interval would just touch the nearest margin.
    """

    kind: str
    status: str
    claim: str
    scope: str = ""
    source: str = ""
    column: str = ""
    better: str = ""
    than: str = ""
    margin: float = 0.0
    n: int | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    p: float | None = None

    @property
    def interval(self) -> str | None:
        """As in "+12.3 points (7.1 to 17.5)"; None for an exact claim."""
        if self.difference is None:
            return None
        shown, values = columns.of(self.column), (self.difference, self.low, self.high)
        difference, low, high = (f"{shown.scale * value:+.{shown.digits}f}".replace("-", "−") for value in values)
        return f"{difference}{shown.unit} ({low} to {high})"

    @property
    def sentence(self) -> str:
        """One sentence that says what was found, made from the numbers alone."""
        if self.kind == "exact":
            return f"{self.claim[0].upper()}{self.claim[1:]}: {'true' if self.status == 'holds' else 'false'}."
        return f"{self.title}: {self.interval}, {self.n} seeds."

    @property
    def title(self) -> str:
        """The finding as a figure's title, so that figure and verdict cannot contradict each other."""
        return f"{self.finding[0].upper()}{self.finding[1:]}"

    @property
    def finding(self) -> str:
        """The comparison in words."""
        shown = columns.of(self.column)
        margin = f"{shown.scale * self.margin:.{shown.digits}f}{shown.unit}"
        if self.kind == "equivalent":
            holds = f"{self.better} and {self.than} agree within {margin}"
            contradicted = f"{self.better} and {self.than} do not agree within {margin}"
        elif self.margin:
            holds = f"{self.better} is {shown.better} than {self.than} by more than {margin}"
            contradicted = f"{self.better} is not {shown.better} than {self.than} by more than {margin}"
        else:
            holds = f"{self.better} is {shown.better} than {self.than}"
            contradicted = f"{self.better} is {shown.worse} than {self.than}"
        return {"holds": holds, "contradicted": contradicted, "undecided": f"whether {holds} is undecided"}[self.status]

    def to_dict(self) -> dict:
        """All fields and the derived texts, as plain JSON values."""
        return asdict(self) | {"interval": self.interval, "sentence": self.sentence}

    def __str__(self) -> str:
        lines = [f"{self.status.upper()}: {self.claim or self.finding}"]
        if self.kind != "exact":
            lines += [f"  {self.sentence}", f"  interval at {100 * self.confidence:.3f} %, p = {self.p:.2g}"]
        if self.scope:
            lines.append(f"  scope: {self.scope}")
        return "\n".join(lines)

    __repr__ = __str__


def compare(
    table: pd.DataFrame, column: str, by: str, better: str, than: str, margin: float = 0.0, kind: str = "better",
    at_round: int | None = None, claim: str = "", scope: str = "", source: str = "", confidence: float = CONFIDENCE,
) -> Verdict:  # fmt: skip
    """Judge a claim about two arms, paired over their seeds, by Student's interval of the mean difference.

    kind "better": `column` of arm `better` exceeds that of `than` by more than `margin`; for a column where less is
    better (iterations, seconds, losses: see `columns`) it falls short by more.  kind "equivalent": they differ by less
    than `margin` either way (two one-sided tests: the whole interval lies inside).
    The claim holds if the whole interval agrees with it, is contradicted if none of it does, else is undecided.
    by: the column that names the arms.  at_round: look at this round only.  claim, scope, source: words for the badge.
    An accuracy is a count of test images, so a few seeds may agree by chance to the image.  The spread is taken to be
    at least what rounding to steps gives a difference, step / √6; the step is the smallest in all of the column.
    Raises ValueError if an arm, column or round is missing, a seed stands alone or twice or has diverged, a value is
    NaN, or fewer than three pairs are left.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}: known are {', '.join(KINDS)}")
    if kind == "equivalent" and not margin > 0:
        raise ValueError(f"kind='equivalent' needs a margin above 0, got {margin}: say which difference would matter")
    if not margin >= 0:
        raise ValueError(f"margin must not be negative, got {margin}")
    _check_confidence(confidence)
    sign = -1 if kind == "better" and columns.of(column).less_is_better else 1
    difference = sign * paired(table, column, by, better, than, at_round)
    n, mean = len(difference), float(difference.mean())
    error = max(float(difference.std(ddof=1)), smallest_step(table[column]) / math.sqrt(6)) / math.sqrt(n)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * error
    low, high = mean - half, mean + half
    if kind == "better":
        inside, outside, distance = low > margin, high < margin, mean - margin
    else:
        inside, outside = low > -margin and high < margin, low > margin or high < -margin
        distance = margin - abs(mean)
    status = "holds" if inside else "contradicted" if outside else "undecided"
    p = float(2 * stats.t.sf(abs(distance) / error, n - 1)) if error else float(distance == 0)  # two-sided
    if sign < 0:
        mean, low, high = -mean, -high, -low  # shown in the column's own direction
    return Verdict(kind, status, claim, scope, source, column, better, than, margin, n, mean, low, high, confidence, p)


def fact(statement: str, observed: bool, scope: str = "", source: str = "") -> Verdict:
    """Judge an exact claim by what was observed: it holds or is contradicted, without an interval.

    Raises TypeError unless `observed` is a bool: a number here is nearly always a forgotten comparison.
    """
    if not statement:
        raise ValueError("a fact needs a statement: the claim, in words")
    if not isinstance(observed, (bool, np.bool_)):
        raise TypeError(f"observed must be True or False, got {observed!r}")
    return Verdict("exact", "holds" if observed else "contradicted", statement, scope, source)


def holm(p_values: Sequence[float], family: int = FAMILY) -> list[float]:
    """Each p adjusted by Holm's step-down rule (Holm 1979), in the order given.

    A claim is significant at level α, whatever became of the others, where its adjusted p is at most α.
    family: how many claims there are room for; those not measured yet count as never significant.
    Raises ValueError for a p outside [0, 1] or NaN.
    """
    if bad := [p for p in p_values if not 0 <= p <= 1]:
        raise ValueError(f"p must lie in [0, 1], got {bad}")
    adjusted, largest, m = [0.0] * len(p_values), 0.0, max(family, len(p_values))
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (m - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def interval(values, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of the replicates and Student's interval around it: (mean, low, high)."""
    _check_confidence(confidence)
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2 or np.isnan(values).any():
        raise ValueError(f"an interval needs at least two numbers and no NaN, got {values}")
    n, mean = len(values), float(values.mean())
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * float(values.std(ddof=1)) / math.sqrt(n)
    return mean, mean - half, mean + half


def summary(table: pd.DataFrame, column: str, by=("arm", "round"), confidence: float = 0.95) -> pd.DataFrame:
    """A row per group: the group's columns, kept (its mean), mean, low, high and n of `column` over the seeds."""
    by = [by] if isinstance(by, str) else list(by)
    _need(table, [column, *by])
    rows = []
    for key, group in table.groupby(by, sort=False):
        mean, low, high = interval(group[column], confidence)
        kept = {"kept": group["kept"].mean()} if "kept" in group and "kept" not in by else {}
        rows.append(dict(zip(by, key, strict=True)) | kept | {"mean": mean, "low": low, "high": high, "n": len(group)})
    return pd.DataFrame(rows)


def paired(table: pd.DataFrame, column: str, by: str, better: str, than: str, at_round: int | None = None) -> pd.Series:
    """`column` of `better` minus `column` of `than`, for each seed, in the order of the seeds."""
    _need(table, [column, by, "seed"] + (["round"] if at_round is not None else []))
    if better == than:
        raise ValueError(f"cannot compare {better!r} with itself")
    if at_round is not None:
        rounds = sorted(table["round"].unique().tolist())
        if at_round not in rounds:
            raise ValueError(f"no rows of round {at_round}: there are rounds {rounds}")
        table = table[table["round"] == at_round]
    sides = []
    for arm in (better, than):
        rows = table[table[by] == arm]
        if rows.empty:
            where = "" if at_round is None else f" in round {at_round}"
            raise ValueError(f"no rows with {by}={arm!r}{where}: there are {sorted(table[by].unique())}")
        if rows["seed"].duplicated().any():
            raise ValueError(f"{by}={arm!r} has several rows a seed: choose one with at_round=…")
        if "diverged" in rows and (bad := sorted(rows["seed"][rows["diverged"].eq(True)])):
            remedy = "leave them out in all arms, or compare runs at a lower lr"
            raise ValueError(f"seeds {bad} of {by}={arm!r} have diverged: {remedy}")
        values = pd.to_numeric(rows.set_index("seed")[column], errors="coerce").astype(float).sort_index()
        if bad := values.index[~np.isfinite(values)].tolist():
            raise ValueError(f"{column!r} is NaN, infinite or no number for seeds {bad} of {by}={arm!r}")
        sides.append(values)
    if alone := sorted(set(sides[0].index) ^ set(sides[1].index)):
        raise ValueError(f"seeds {alone} are in one arm only: a paired comparison needs both")
    difference = sides[0] - sides[1]
    if len(difference) < 3:
        raise ValueError(f"{len(difference)} pairs are too few to judge by: use at least 3 seeds, better 10")
    return difference


def smallest_step(values: pd.Series) -> float:
    """The smallest difference between two values that is more than rounding; 0 if all are equal."""
    found = np.unique(pd.to_numeric(values, errors="coerce").astype(float))
    found = found[np.isfinite(found)]
    steps = np.diff(found)
    return min(steps[steps > 1e-9 * np.abs(found).max(initial=0)].tolist(), default=0.0)


def _check_confidence(confidence: float) -> None:
    if isinstance(confidence, bool) or not isinstance(confidence, Real) or not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, as in 0.95, got {confidence!r}")


def _need(table: pd.DataFrame, needed: list[str]) -> None:
    if missing := [column for column in needed if column not in table]:
        raise ValueError(f"no column {', '.join(map(repr, missing))} in the table: it has {list(table.columns)}")
