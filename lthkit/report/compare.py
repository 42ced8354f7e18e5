"""The live look: two arms of a table of replicates, compared seed by seed, and facts.

A seed gives both arms the same initial draw and the same batches, so arms are compared seed by seed.  What ten seeds
show is an illustration, with an ordinary 95 % interval; what holds is decided by `decide`, on seeds that no trial used.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from numbers import Real

import numpy as np
import pandas as pd
from scipy import stats

from lthkit import columns
from lthkit.report.verdict import LIVE, Verdict

KINDS = ("better", "equivalent")
FEWEST = 3  # pairs that may settle anything: of two, one may be an accident


def compare(
    table: pd.DataFrame, column: str, by: str, better: str, than: str, margin: float = 0.0, kind: str = "better",
    at_round: int | None = None, effect: float | None = None, claim: str = "", scope: str = "", source: str = "",
    confidence: float = 0.95,
) -> Verdict:  # fmt: skip
    """Look at a claim about two arms, paired over their seeds, by Student's interval of the mean difference.

    kind "better": `column` of arm `better` exceeds that of `than` by more than `margin`; for a column where less is
    better (iterations, seconds, losses: see `columns`) it falls short by more.  kind "equivalent": they differ by less
    than `margin` either way.
    The data agree with the claim if the whole interval does, disagree if none of it does; else, and with two pairs
    whatever they show, it is too close to call.
    by: the column that names the arms.  at_round: look at this round only.  claim, scope, source: words for the badge.
    effect: the smallest difference beyond the margin that matters; 1 point unless given, for a column of shares.
    An accuracy is a count of test images, so a few seeds may agree by chance to the image.  The spread is taken to be
    at least what rounding to steps gives a difference, step / √6; the step is the smallest in all of the column.
    Raises ValueError if an arm, column or round is missing, a seed stands alone or twice or has diverged, a value is
    NaN, or fewer than two pairs are left.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}: known are {', '.join(KINDS)}")
    if kind == "equivalent" and not margin > 0:
        raise ValueError(f"kind='equivalent' needs a margin above 0, got {margin}: say which difference would matter")
    if not 0 <= margin < math.inf:
        raise ValueError(f"margin must be a number and not negative, got {margin}")
    if effect is None and columns.of(column).unit == " points":
        effect = 0.01
    if effect is not None and not effect > 0:
        raise ValueError(f"effect must be above 0, got {effect}: the smallest difference that matters")
    _check_confidence(confidence)
    difference = paired(table, column, by, better, than, at_round)
    asked = Verdict(
        kind, LIVE["undecided"], claim, scope, source, column, better, than, margin, effect, confidence=confidence,
        step=smallest_step(table[column]),
    )  # fmt: skip
    return again(asked, {f"{better} − {than}": difference.to_dict()})


def again(verdict: Verdict, differences: Mapping[str, Mapping[int | str, float]]) -> Verdict:
    """The live look at the same claim, from other differences {pair: {seed: difference}}.

    Raises ValueError for a claim that is not measured.
    """
    if not verdict.measured:
        raise ValueError(f"{verdict.claim!r} is not measured: its kind is {verdict.kind}")
    return _together([_look(verdict, pair, by_seed) for pair, by_seed in differences.items()])


def _look(verdict: Verdict, pair: str, by_seed: Mapping[int | str, float]) -> Verdict:
    difference = pd.Series(dict(by_seed), dtype=float)
    n, mean = len(difference), float(difference.mean())
    error = max(float(difference.std(ddof=1)), verdict.step / math.sqrt(6)) / math.sqrt(n)
    half = float(stats.t.ppf((1 + verdict.confidence) / 2, n - 1)) * error
    low, high = mean - half, mean + half
    shown = replace(verdict, n=n, difference=mean, low=low, high=high, differences={pair: dict(by_seed)})
    inside = _room(shown)
    status = "holds" if inside > 0 else "contradicted" if _room(shown, outside=True) > 0 else "undecided"
    if n < FEWEST:
        status = "undecided"
    return replace(shown, status=LIVE[status])


def _together(looks: list[Verdict]) -> Verdict:
    """Of a claim about each of several pairs, the numbers of the weakest."""
    statuses = {look.status for look in looks}
    status = next((s for s in (LIVE["contradicted"], LIVE["undecided"]) if s in statuses), LIVE["holds"])
    weakest = min((look for look in looks if look.status == status), key=_room)
    return replace(weakest, differences={pair: found for look in looks for pair, found in look.differences.items()})


def _room(verdict: Verdict, outside: bool = False) -> float:
    """How far inside the margin the whole interval lies, or how far outside; negative where some of it does not."""
    low, high, margin = verdict.low, verdict.high, verdict.margin
    if verdict.kind == "better":
        if columns.of(verdict.column).less_is_better:
            low, high = -high, -low
        return margin - high if outside else low - margin
    return max(low - margin, -margin - high) if outside else margin - max(-low, high)


def every(verdicts: Iterable[Verdict], claim: str, **words: str) -> Verdict:
    """A claim about each of several pairs: the data agree if they do for every pair, disagree if they do for one.

    Its numbers are those of the pair that speaks for it least.  words: other texts, as better="each of the three".
    Raises ValueError unless the pairs share column, kind, margin, effect and confidence, and differ in their arms.
    """
    verdicts = list(verdicts)
    shared = {(v.kind, v.column, v.margin, v.effect, v.confidence) for v in verdicts}
    if len(shared) != 1 or not verdicts[0].measured:
        raise ValueError(f"pairs must share kind, column, margin, effect and confidence, got {sorted(shared, key=str)}")
    together = _together(verdicts)
    if len(together.differences) != len(verdicts):
        raise ValueError(f"{len(verdicts)} comparisons of {len(together.differences)} pairs: each pair once")
    return replace(together, claim=claim, **words)


def fact(statement: str, observed: bool, scope: str = "", source: str = "", kind: str = "exact") -> Verdict:
    """Judge by what was observed: the statement holds or is contradicted, without an interval.

    kind "exact": about what code does, whatever data and seed.  "observed": seen in each of the seeds that ran.
    Raises TypeError unless `observed` is a bool: a number here is nearly always a forgotten comparison.
    """
    if kind not in ("exact", "observed"):
        raise ValueError(f"unknown kind {kind!r}: known are exact, observed")
    if not statement:
        raise ValueError("a fact needs a statement: the claim, in words")
    if not isinstance(observed, (bool, np.bool_)):
        raise TypeError(f"observed must be True or False, got {observed!r}")
    return Verdict(kind, "holds" if observed else "contradicted", statement, scope, source)


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
    if len(difference) < 2:
        raise ValueError(f"{len(difference)} pairs are too few to compare: use at least 2 seeds, better 10")
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
