"""The verdict: what recorded replications on fresh seeds decide, by sign-flips and Holm's rule.

Where two arms do not differ but by chance, each paired difference might as well have had the other sign.  So the signs
about a margin are flipped at random, and p is the share of draws that lie at least as far off as what was seen: no law
of the differences is assumed.  The interval holds the margins that the same test would not refuse.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from lthkit import columns
from lthkit.report.verdict import Verdict

FAMILY = 100  # measured claims that the course has room for: a later chapter flips no earlier verdict
LEVEL = 0.05  # of the whole family
FLIPS = 10**6  # draws, the observed one counted
STREAM = 1905  # the seed of all draws
FEWEST, MOST = 50, 200  # fresh seeds of a lab
POWER = 0.9


def decide(records: Iterable[Mapping]) -> dict[tuple[str, str], Verdict]:
    """The verdicts {(lab, key): Verdict} of all measured claims in the records of setting "fresh".

    records: as `replications` reads them; used are "lab", "setting" and "verdicts" {key: `Verdict.to_dict()`}.
    Raises ValueError for more claims than `FAMILY`, or a lab with two such records.
    """
    tests: dict[tuple[str, str], _Claim] = {}
    for record in records:
        if record["setting"] == "fresh":
            claims = {key: Verdict.from_dict(found) for key, found in record["verdicts"].items()}
            for key, test in _tests({key: v for key, v in claims.items() if v.measured}).items():
                if (record["lab"], key) in tests:
                    raise ValueError(f"two records of {record['lab']} on fresh seeds: keep one")
                tests[record["lab"], key] = test
    if len(tests) > FAMILY:
        raise ValueError(f"{len(tests)} claims, more than the family of {FAMILY} that was fixed beforehand")
    adjusted = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    decided = sum(p <= LEVEL for p in adjusted.values())
    order = sorted(tests, key=lambda key: tests[key].p)
    return {
        key: test.verdict(adjusted[key], LEVEL / (FAMILY - min(order.index(key), decided)))
        for key, test in tests.items()
    }


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


def power(verdict: Verdict, cautious: bool = True) -> int | None:
    """Seeds at which a claim is decided with a probability of 90 %, if the truth lies `effect` beyond its margin.

    For an equivalence: if the truth is no difference.  At the strictest level of the family, by Student's test.
    cautious: take the upper 80 % bound of the spread, as few seeds may have shown too small a one.
    None where the claim names no effect, or more than 100,000 seeds would be needed.
    """
    distance = verdict.margin if verdict.kind == "equivalent" else verdict.effect
    if distance is None:
        return None
    spread = 0.0
    for values in verdict.differences.values():
        n, sd = len(values), float(np.std(list(values.values()), ddof=1))
        spread = max(spread, sd * math.sqrt((n - 1) / stats.chi2.ppf(0.2, n - 1)) if cautious else sd)
    # Two one-sided tests must both succeed, a two-sided one on one side.
    tail, wanted = (LEVEL / FAMILY, (1 + POWER) / 2) if verdict.kind == "equivalent" else (LEVEL / FAMILY / 2, POWER)
    for n in (int(n) for n in np.unique(np.geomspace(5, 100_000, 2_000).astype(int))):
        far = distance * math.sqrt(n) / spread if spread else math.inf
        if far == math.inf or stats.nct.sf(stats.t.isf(tail, n - 1), n - 1, far) >= wanted:
            return n
    return None


def seeds_needed(verdicts: Iterable[Verdict]) -> int:
    """Fresh seeds for a lab: the most that one of its claims needs, at least 50, at most 200."""
    needed = [power(verdict) for verdict in verdicts if verdict.measured]
    return min(MOST, max([FEWEST, *(MOST if n is None else n for n in needed)]))


@dataclass(frozen=True)
class Flips:
    """Draws of the mean difference under flipped signs, about any margin at once.

    values: what was seen, [n].  drawn: Σ ±d / n of each draw; ones: Σ ±1 / n of the same.
    A draw about the margin μ is drawn − μ · ones; a tie with what was seen counts as being as far off.
    """

    values: np.ndarray
    drawn: np.ndarray
    ones: np.ndarray

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    def above(self, margin: float) -> float:
        """One-sided p of "the mean is at most `margin`"."""
        return self._share(self.drawn - margin * self.ones, self.mean - margin)

    def below(self, margin: float) -> float:
        """One-sided p of "the mean is at least `margin`"."""
        return self._share(margin * self.ones - self.drawn, margin - self.mean)

    def apart(self, margin: float) -> float:
        """Two-sided p of "the mean is `margin`"."""
        return self._share(np.abs(self.drawn - margin * self.ones), abs(self.mean - margin))

    def _share(self, draws: np.ndarray, seen: float) -> float:
        tie = 1e-9 * np.abs(self.values).max(initial=0)
        return (1 + int(np.count_nonzero(draws >= seen - tie))) / (1 + len(draws))

    def bounds(self, p: Callable[[float], float], level: float) -> tuple[float, float]:
        """The interval of all margins that the test `p` does not refuse at `level`."""
        return self._edge(p, level, -1), self._edge(p, level, +1)

    def _edge(self, p: Callable[[float], float], level: float, side: int) -> float:
        inside, step = self.mean, max(float(np.ptp(self.values)), 1e-12)
        outside = self.mean + side * step
        while p(outside) > level and step < 1e9:
            step *= 2
            outside = self.mean + side * step
        for _ in range(40):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if p(middle) > level else (inside, middle)
        return outside


def flips(columns_of_values: np.ndarray) -> list[Flips]:
    """`Flips` of each column of [n, k], with the same signs for all."""
    n, k = columns_of_values.shape
    stream, chunk = np.random.default_rng(STREAM), 20_000
    both = np.column_stack([columns_of_values, np.ones(n)]) / n
    drawn = np.empty((FLIPS - 1, k + 1))
    for start in range(0, FLIPS - 1, chunk):
        rows = min(chunk, FLIPS - 1 - start)
        bits = np.unpackbits(np.frombuffer(stream.bytes(rows * -(-n // 8)), np.uint8).reshape(rows, -1), axis=1)
        drawn[start : start + rows] = (1.0 - 2.0 * bits[:, :n]) @ both
    drawn = np.ascontiguousarray(drawn.T)
    return [Flips(columns_of_values[:, j], drawn[j], drawn[-1]) for j in range(k)]


@dataclass(frozen=True)
class _Claim:
    """A live look with the draws of its pairs, in the direction in which more is better."""

    live: Verdict
    pairs: list[Flips]

    @property
    def sign(self) -> int:
        return -1 if self.live.kind == "better" and columns.of(self.live.column).less_is_better else 1

    def supports(self, pair: Flips) -> bool:
        inside = abs(pair.mean) < self.live.margin
        return inside if self.live.kind == "equivalent" else pair.mean > self.live.margin

    def p_of(self, pair: Flips) -> float:
        """Of one pair, in the direction in which it points."""
        margin = self.live.margin
        if self.live.kind == "better":
            return pair.apart(margin)
        if self.supports(pair):
            return max(pair.above(-margin), pair.below(margin))
        return min(1.0, 2 * (pair.above(margin) if pair.mean > 0 else pair.below(-margin)))

    @property
    def against(self) -> list[Flips]:
        return [pair for pair in self.pairs if not self.supports(pair)]

    @property
    def p(self) -> float:
        """For "every pair" the largest; against it the smallest, times the number of pairs."""
        if self.against:
            return min(1.0, len(self.pairs) * min(map(self.p_of, self.against)))
        return max(map(self.p_of, self.pairs))

    def verdict(self, adjusted: float, level: float) -> Verdict:
        decided, live = adjusted <= LEVEL, self.live
        status = "undecided" if not decided else "contradicted" if self.against else "holds"
        weakest = min(self.against, key=self.p_of) if self.against else max(self.pairs, key=self.p_of)
        if self.against:
            level /= len(self.pairs)
        if live.kind == "equivalent" and status == "holds":
            level *= 2  # two one-sided tests at the level each
        low, high = weakest.bounds(weakest.apart, level)
        low, high = sorted((self.sign * low, self.sign * high))
        found = replace(
            live, status=status, n=len(weakest.values), difference=self.sign * weakest.mean, low=low, high=high,
            confidence=1 - level, p=adjusted,
        )  # fmt: skip
        return replace(found, needed=None if decided else power(found, cautious=False))


def _tests(claims: Mapping[str, Verdict]) -> dict[str, _Claim]:
    """The claims of one lab, tested with common draws for all pairs of equally many seeds."""
    pairs: dict[int, dict[tuple[str, str], np.ndarray]] = {}
    for key, verdict in claims.items():
        sign = _Claim(verdict, []).sign
        for pair, by_seed in verdict.differences.items():
            values = sign * np.array(list(by_seed.values()), dtype=float)
            pairs.setdefault(len(values), {})[key, pair] = values
    found = {}
    for group in pairs.values():
        found |= dict(zip(group, flips(np.column_stack(list(group.values()))), strict=True))
    return {key: _Claim(v, [found[key, pair] for pair in v.differences]) for key, v in claims.items()}
