"""The verdict: what recorded replications on fresh seeds decide, by sign-flips and Holm's rule.

Where two arms do not differ but by chance, each paired difference might as well have had the other sign.  So the signs
about a margin are flipped at random, and p is the share of draws that lie at least as far off as what was seen: no law
of the differences is assumed, only that it is symmetric about its mean.  The interval holds the margins that the same
test would not refuse.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
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
    labs: set[str] = set()
    for record in records:
        if record["setting"] != "fresh":
            continue
        if (lab := record["lab"]) in labs:
            raise ValueError(f"two records of {lab} on fresh seeds: keep one")
        labs.add(lab)
        claims = {key: Verdict.from_dict(found) for key, found in record["verdicts"].items()}
        measured = {key: verdict for key, verdict in claims.items() if verdict.measured}
        tests |= {(lab, key): test for key, test in _tests(measured).items()}
    if len(tests) > FAMILY:
        raise ValueError(f"{len(tests)} claims, more than the family of {FAMILY} that was fixed beforehand")
    # Holm's level of each rank; a p that equals it, but for rounding, is significant here and in the interval.
    levels = [LEVEL / (FAMILY - rank) * (1 + 1e-9) for rank in range(len(tests))]
    rank = {key: i for i, key in enumerate(sorted(tests, key=lambda key: tests[key].p))}
    first_undecided = min((i for key, i in rank.items() if tests[key].p > levels[i]), default=FAMILY)
    adjusted = holm([test.p for test in tests.values()])
    return {
        key: test.verdict(p, levels[min(rank[key], first_undecided)])
        for (key, test), p in zip(tests.items(), adjusted, strict=True)
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
    """Seeds at which a claim holds with a probability of 90 %, if the truth lies `effect` beyond its margin.

    For an equivalence: if the truth is no difference.  At the strictest level of the family, by Student's test.
    Of several pairs the one that spreads most counts for all, and the chance to miss is shared among them.
    cautious: take the upper 80 % bound of the spread, as few seeds may have shown too small a one.
    None where the claim names no effect, or more than 100,000 seeds would be needed.
    """
    equivalent = verdict.kind == "equivalent"
    distance = verdict.margin if equivalent else verdict.effect
    if distance is None:
        return None
    spread = 0.0
    for values in verdict.differences.values():
        n, sd = len(values), float(np.std(list(values.values()), ddof=1))
        spread = max(spread, sd * math.sqrt((n - 1) / stats.chi2.ppf(0.2, n - 1)) if cautious else sd)
    # Two one-sided tests must both succeed, a two-sided one on one side.
    tail, tests = (LEVEL / FAMILY, 2) if equivalent else (LEVEL / FAMILY / 2, 1)
    wanted = 1 - (1 - POWER) / (tests * len(verdict.differences))

    def reached(n: int) -> float:
        bar, far = stats.t.isf(tail, n - 1), distance * math.sqrt(n) / spread if spread else math.inf
        return 1.0 if far > bar + 30 else float(stats.nct.sf(bar, n - 1, far))  # so far off scipy's fails

    possible = range(math.ceil(-math.log2(tail)), 100_001)  # fewer signs give no p as small as the level
    found = bisect_left(possible, wanted, key=reached)
    return possible[found] if found < len(possible) else None


def seeds_needed(verdicts: Iterable[Verdict]) -> int:
    """Fresh seeds for a lab: the most that one of its claims needs, at least 50, at most 200."""
    needed = [power(verdict) for verdict in verdicts if verdict.measured]
    return min(MOST, max([FEWEST, *(MOST if n is None else n for n in needed)]))


@dataclass(frozen=True)
class Flips:
    """The sign-flip test of one pair, against any margin.

    To flip the signs of some differences about a margin moves the mean of all as far off or farther if and only if the
    mean of those lies on the other side of the margin, or on it.  So p is a share of subset means (Hartigan 1969), it
    grows as the margin comes nearer, and the interval's ends are two of these means.

    n, mean: of all differences.  subsets: the means of the subsets drawn, sorted.
    empty: draws of no sign at all; what was seen is one of them, and all count as being as far off.
    tie: subset means that are so near to a margin lie on it.
    """

    n: int
    mean: float
    subsets: np.ndarray
    empty: int
    tie: float

    def above(self, margin: float) -> float:
        """One-sided p of "the mean is at most `margin`"."""
        return self._share(int(np.searchsorted(self.subsets, margin + self.tie, "right")))

    def below(self, margin: float) -> float:
        """One-sided p of "the mean is at least `margin`"."""
        return self._share(len(self.subsets) - int(np.searchsorted(self.subsets, margin - self.tie, "left")))

    def _share(self, count: int) -> float:
        return (self.empty + count) / (self.empty + len(self.subsets))

    def bounds(self, level: float) -> tuple[float, float]:
        """The margins that no one-sided test refuses at half the level; infinite where so few seeds refuse none."""
        refused = math.floor(level / 2 * (self.empty + len(self.subsets))) - self.empty  # subsets beyond such a margin
        if refused < 0:
            return -math.inf, math.inf
        return float(self.subsets[refused] - self.tie), float(self.subsets[-1 - refused] + self.tie)


def flips(values: np.ndarray) -> list[Flips]:
    """`Flips` of each column of values [n, k], with the same draws for all."""
    n, k = values.shape
    stream, chunk = np.random.default_rng(STREAM), 20_000
    both = np.column_stack([values, np.ones(n)])
    sums = np.empty((k + 1, FLIPS - 1))  # over each subset; the last row counts its members
    for start in range(0, FLIPS - 1, chunk):
        rows = min(chunk, FLIPS - 1 - start)
        bits = np.unpackbits(np.frombuffer(stream.bytes(rows * -(-n // 8)), np.uint8).reshape(rows, -1), axis=1)
        sums[:, start : start + rows] = (bits[:, :n].astype(float) @ both).T
    sums = sums[:, sums[-1] > 0]
    empty = FLIPS - sums.shape[1]
    return [
        Flips(n, float(column.mean()), np.sort(of_column / sums[-1]), empty, 1e-9 * float(np.abs(column).max()))
        for column, of_column in zip(values.T, sums[:-1], strict=True)
    ]


@dataclass(frozen=True)
class _Claim:
    """A live look with the tests of its pairs, in the direction in which more is better."""

    live: Verdict
    pairs: list[Flips]

    def lead(self, pair: Flips) -> float:
        """How far the mean lies on the claim's side of the margin."""
        margin = self.live.margin
        return margin - abs(pair.mean) if self.live.kind == "equivalent" else pair.mean - margin

    def p_of(self, pair: Flips) -> float:
        """Of one pair, in the direction in which it points: two-sided, but for an equivalence that it supports."""
        margin, supports = self.live.margin, self.lead(pair) > 0
        if self.live.kind == "better":
            return min(1.0, 2 * (pair.above(margin) if supports else pair.below(margin)))
        if supports:
            return max(pair.above(-margin), pair.below(margin))
        return min(1.0, 2 * (pair.above(margin) if pair.mean > 0 else pair.below(-margin)))

    @property
    def against(self) -> list[Flips]:
        return [pair for pair in self.pairs if self.lead(pair) <= 0]

    @property
    def p(self) -> float:
        """For "every pair" the largest; against it the smallest, times the number of pairs."""
        if self.against:
            return min(1.0, len(self.pairs) * min(map(self.p_of, self.against)))
        return max(map(self.p_of, self.pairs))

    def verdict(self, adjusted: float, level: float) -> Verdict:
        """adjusted: p as Holm's rule shows it.  level: what Holm's rule leaves to this claim."""
        against, decided = self.against, self.p <= level
        turn = 1 if against else -1  # the smallest p against the claim, the largest for it
        weakest = min(against or self.pairs, key=lambda pair: (turn * self.p_of(pair), self.lead(pair)))
        status = "undecided" if not decided else "contradicted" if against else "holds"
        if against:
            level /= len(self.pairs)
        if self.live.kind == "equivalent" and status == "holds":
            level *= 2  # two one-sided tests at the level each
        sign = _sign(self.live)
        low, high = sorted(sign * end for end in weakest.bounds(level))
        found = replace(
            self.live, status=status, n=weakest.n, difference=sign * weakest.mean, low=low, high=high,
            confidence=1 - level, p=adjusted,
        )  # fmt: skip
        return replace(found, needed=None if decided else power(found, cautious=False))


def _sign(live: Verdict) -> int:
    return -1 if live.kind == "better" and columns.of(live.column).less_is_better else 1


def _tests(claims: Mapping[str, Verdict]) -> dict[str, _Claim]:
    """The claims of one lab, tested with common draws for all pairs of equally many seeds."""
    sizes: dict[int, dict[tuple[str, str], np.ndarray]] = {}
    for key, verdict in claims.items():
        for pair, by_seed in verdict.differences.items():
            values = np.sort(_sign(verdict) * np.array(list(by_seed.values())))  # so that no order of seeds matters
            sizes.setdefault(len(values), {})[key, pair] = values
    found = {}
    for group in sizes.values():
        found |= dict(zip(group, flips(np.column_stack(list(group.values()))), strict=True))
    return {key: _Claim(v, [found[key, pair] for pair in v.differences]) for key, v in claims.items()}
