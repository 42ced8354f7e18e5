"""The decision: sign-flips against all 2^n of them, intervals as inverted tests, Holm's family, and how many seeds."""

import importlib
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from lthkit.report import FAMILY, LEVEL, Verdict, decide, fact, holm, power, seeds_needed
from lthkit.report.decide import flips

from ..oracles import examples

MODULE = importlib.import_module("lthkit.report.decide")  # the package's own `decide` is the function
FLIPS = 10_000  # drawn here
IMAGE = 1 / 400
TEN = np.array([0.3, 0.1, 0.25, -0.05, 0.2, 0.15, 0.4, 0.05, -0.02, 0.12])


@pytest.fixture(autouse=True)
def few_flips(monkeypatch):
    monkeypatch.setattr(MODULE, "FLIPS", FLIPS)


def claim(*pairs, kind="better", margin=0.0, column="test_accuracy", effect=0.01, seed=1000):
    """A live look at one pair or several, each given by its differences; its numbers do not matter."""
    differences = {f"a{i} − b": dict(enumerate(map(float, pair), seed)) for i, pair in enumerate(pairs)}
    return Verdict(
        kind, "agrees", "a claim", column=column, better="a", than="b", margin=margin, effect=effect, n=3,
        difference=0.0, low=0.0, high=0.0, confidence=0.95, differences=differences,
    )  # fmt: skip


def record(lab="02", setting="fresh", **verdicts):
    return {"lab": lab, "setting": setting, "verdicts": {key: v.to_dict() for key, v in verdicts.items()}}


def judge(*pairs, **settings):
    return decide([record(one=claim(*pairs, **settings))])["02", "one"]


def sample(n, mean, spread=0.01, seed=0):
    """n differences of exactly this mean and standard deviation."""
    values = np.random.default_rng(seed).normal(size=n)
    return mean + spread * (values - values.mean()) / values.std(ddof=1)


# --- one pair: an oracle that tries every sign ---


def every_sign(values, margin):
    """One-sided p of (mean ≤ margin, mean ≥ margin), over all 2^n signs of the differences from the margin."""
    away = np.asarray(values) - margin
    signs = 1 - 2 * ((np.arange(2 ** len(away))[:, None] >> np.arange(len(away))) & 1)
    means = (signs * away).mean(axis=1)
    return float(np.mean(means >= away.mean() - 1e-12)), float(np.mean(means <= away.mean() + 1e-12))


@examples
@given(st.lists(st.integers(-20, 40), min_size=2, max_size=12), st.integers(-20, 40))
def test_p_is_that_of_all_signs(images, margin):
    values = IMAGE * np.array(images)
    (test,) = flips(values[:, None])
    exact = every_sign(values, IMAGE * margin)
    for found, p in zip((test.above(IMAGE * margin), test.below(IMAGE * margin)), exact, strict=True):
        assert found == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / FLIPS) + 2 / FLIPS)


ON_PAPER = [
    ([1, 2, 3, 4], 0, 1 / 16, 1),  # no flip alone leaves the mean as high
    ([-1, 2, 3], 0, 2 / 8, 7 / 8),  # nothing, or −1 alone; anything but −1 alone, which raises it
    ([-1, 1, 2], 0, 3 / 8, 7 / 8),  # both of −1 and 1: a tie counts as being as far off
    ([1, 2, 3], 1, 2 / 8, 1),  # 1 lies on the margin: to flip it is a tie
    ([2, 2, 2, 2, 2], 2, 1, 1),
    ([0, 0, 0], 0, 1, 1),
]


@pytest.mark.parametrize("values, margin, above, below", ON_PAPER)
def test_p_on_paper(values, margin, above, below):
    assert every_sign(values, margin) == (above, below)
    (test,) = flips(np.array(values, float)[:, None])
    assert (test.above(margin), test.below(margin)) == (pytest.approx(above, abs=0.02), pytest.approx(below, abs=0.02))


def test_a_tie_but_for_rounding_counts_against_the_claim():
    lead = np.array([k / 400 - (k - 1) / 400 for k in range(301, 351)])  # one image each: the margin itself
    assert len(set(lead)) > 1, "rounded differently"
    for kind, margin in (("better", IMAGE), ("equivalent", IMAGE)):
        verdict = judge(lead, kind=kind, margin=margin)
        assert verdict.status == "undecided" and verdict.p == 1
    assert judge(lead).status == "holds" and judge(lead).p == pytest.approx(100 * 2 / FLIPS)


@pytest.mark.parametrize("level", [0.02, 0.1, 0.3])
def test_the_interval_is_that_of_all_signs(level, monkeypatch):
    monkeypatch.setattr(MODULE, "FLIPS", 100_000)
    (test,) = flips(TEN[:, None])
    subsets = (np.arange(1, 1024)[:, None] >> np.arange(10)) & 1
    means = np.sort((subsets * TEN).sum(axis=1) / subsets.sum(axis=1))

    def ends(level):  # the first margin whose one-sided p, a multiple of 1/1024, is above half the level
        i = math.floor(1024 * level / 2 - 1)
        return means[i], means[-1 - i]

    (wide_low, wide_high), (low, high) = ends(0.85 * level), ends(1.15 * level)
    found = test.bounds(level)
    assert wide_low - 1e-8 <= found[0] <= low + 1e-8 and high - 1e-8 <= found[1] <= wide_high + 1e-8


@pytest.mark.parametrize("level", [0.0005, 0.01, 0.05])
def test_an_end_of_the_interval_is_where_the_test_turns(level):
    (test,) = flips(sample(40, 0.02)[:, None])
    low, high = test.bounds(level)
    assert low < test.mean < high
    assert test.above(low - 1e-10) <= level / 2 < test.above(low + 1e-10)
    assert test.below(high + 1e-10) <= level / 2 < test.below(high - 1e-10)
    assert test.bounds(level / 2)[0] <= low and test.bounds(level / 2)[1] >= high


def test_p_grows_towards_the_margin():
    (test,) = flips(sample(15, 0.01)[:, None])
    margins = np.linspace(-0.03, 0.03, 101)
    rising, falling = [*map(test.above, margins)], [*map(test.below, margins)]
    assert rising == sorted(rising) and rising[0] < 0.01 and rising[-1] == 1
    assert falling == sorted(falling, reverse=True) and falling[0] == 1 and falling[-1] < 0.01


def test_common_draws_are_those_of_a_pair_alone():
    both = np.column_stack([sample(30, 0.01), sample(30, 0.0, seed=1)])
    for together, values in zip(flips(both), both.T, strict=True):
        (alone,) = flips(values[:, None])
        assert together.subsets == pytest.approx(alone.subsets, abs=1e-12) and together.empty == alone.empty


# --- a claim ---


STATUSES = [
    (0.02, {}, "holds"),
    (-0.02, {}, "contradicted"),
    (0.001, {}, "undecided"),
    (0.02, {"margin": 0.01}, "holds"),
    (0.01, {"margin": 0.01}, "undecided"),
    (0.005, {"margin": 0.02}, "contradicted"),
    (-0.02, {"column": "val_loss"}, "holds"),
    (0.02, {"column": "val_loss"}, "contradicted"),
    (-0.02, {"column": "val_loss", "margin": 0.01}, "holds"),
    (-0.01, {"column": "val_loss", "margin": 0.03}, "contradicted"),
    (0.001, {"kind": "equivalent", "margin": 0.01}, "holds"),
    (-0.001, {"kind": "equivalent", "margin": 0.01, "column": "val_loss"}, "holds"),
    (0.02, {"kind": "equivalent", "margin": 0.01}, "contradicted"),
    (-0.02, {"kind": "equivalent", "margin": 0.01}, "contradicted"),
    (0.009, {"kind": "equivalent", "margin": 0.01}, "undecided"),
    (-0.011, {"kind": "equivalent", "margin": 0.01}, "undecided"),
]


@pytest.mark.parametrize("mean, settings, status", STATUSES)
def test_a_claim_is_decided_in_the_columns_own_direction(mean, settings, status):
    verdict = judge(sample(50, mean), **settings)
    assert verdict.status == status and verdict.difference == pytest.approx(mean)
    assert verdict.low < mean < verdict.high and verdict.n == 50
    agree(verdict)


def agree(verdict):
    """Status and interval say the same."""
    low, high, margin = verdict.low, verdict.high, verdict.margin
    if verdict.kind == "equivalent":
        holds, contradicted = -margin < low and high < margin, low > margin or high < -margin
    elif verdict.column == "val_loss":
        holds, contradicted = high < -margin, low > -margin
    else:
        holds, contradicted = low > margin, high < margin
    assert (holds, contradicted) == (verdict.status == "holds", verdict.status == "contradicted")
    assert (verdict.p <= LEVEL * (1 + 1e-9)) == (verdict.status != "undecided")
    assert (verdict.needed is None) == (verdict.status != "undecided")


@examples
@given(
    st.integers(0, 10**6), st.integers(12, 30), st.floats(-3, 3), st.integers(1, 3),
    st.sampled_from(["better", "equivalent"]), st.sampled_from(["test_accuracy", "val_loss"]),
    st.sampled_from([0.0, 1.0, 1.5]), st.booleans(),
)  # fmt: skip
def test_status_and_interval_never_disagree(seed, n, mean, k, kind, column, margin, coarse):
    assume(kind == "better" or margin)
    pairs = np.random.default_rng(seed).normal(mean, 1, (k, n))
    pairs = np.round(2 * pairs) / 2 if coarse else pairs  # coarse: full of ties
    first = judge(*pairs, kind=kind, column=column, margin=margin, effect=0.5)
    agree(first)
    # Beside an end of the interval the answer turns: the margin is moved there.
    for end in (first.low, first.high):
        for nearby in (abs(end) - 1e-7, abs(end), abs(end) + 1e-7):
            if math.isfinite(nearby) and nearby > 0:
                agree(judge(*pairs, kind=kind, column=column, margin=nearby, effect=0.5))


def test_better_is_two_sided_and_equivalence_twice_one_sided():
    values = sample(14, 0.006)
    above, below = every_sign(values, 0)
    close = {"abs": 100 * 5 * math.sqrt(0.01 / FLIPS)}
    assert judge(values).p == pytest.approx(min(1, 100 * 2 * min(above, below)), **close)
    (test,) = flips(np.sort(values)[:, None])
    better, equal = judge(values, margin=0.001), judge(values, kind="equivalent", margin=0.02)
    outside = judge(values, kind="equivalent", margin=0.0005)
    assert better.p == pytest.approx(min(1, 100 * 2 * test.above(0.001)))
    assert equal.p == pytest.approx(min(1, 100 * max(test.above(-0.02), test.below(0.02)))), "the larger of two"
    assert outside.p == pytest.approx(min(1, 100 * 2 * test.above(0.0005)))


def test_the_confidence_is_that_of_the_test():
    first_step = 0.05 / 100
    assert judge(sample(50, 0.02)).confidence == pytest.approx(1 - first_step, abs=1e-9)
    assert judge(sample(50, 0.0)).confidence == pytest.approx(1 - first_step, abs=1e-9)
    equal = judge(sample(50, 0.0), kind="equivalent", margin=0.02)
    assert equal.status == "holds" and equal.confidence == pytest.approx(1 - 2 * first_step, abs=1e-9)
    against = judge(sample(50, 0.02), sample(50, -0.02))
    assert against.status == "contradicted" and against.confidence == pytest.approx(1 - first_step / 2, abs=1e-9)


def single(values):
    return judge(values).p


def test_each_of_several_pairs_must_hold_and_one_refutes():
    strong, fair, weak, bad = (sample(40, m, seed=i) for i, m in enumerate((0.02, 0.0045, 0.001, -0.0055)))
    assert 0 < single(fair) < 1 and single(bad) < 1 / 3 and single(weak) == 1
    held = judge(strong, fair)
    assert held.p == pytest.approx(single(fair)), "the largest"
    assert held.difference == pytest.approx(0.0045)
    assert judge(strong, weak).status == "undecided" and judge(strong, strong + 0.01).status == "holds"
    refuted = judge(strong, bad, weak)
    assert refuted.p == pytest.approx(3 * single(bad)), "three chances to find one against"
    assert refuted.difference == pytest.approx(-0.0055)
    assert judge(strong, sample(40, -0.02), bad).difference == pytest.approx(-0.02), "the one most clearly against"


def test_pairs_may_have_different_numbers_of_seeds():
    verdict = judge(sample(60, 0.02), sample(50, 0.01))
    assert (verdict.status, verdict.n) == ("holds", 50) and verdict.difference == pytest.approx(0.01)


def test_no_order_of_seeds_matters():
    values = sample(50, 0.004)
    one, other = claim(values), claim(values)
    (seeds,) = other.differences.values()
    turned = {"a0 − b": {seed: seeds[seed] for seed in np.random.default_rng(0).permutation(list(seeds)).tolist()}}
    found = [decide([record(one=v)])["02", "one"] for v in (one, replace(other, differences=turned))]
    assert found[0] == found[1] and found[0].p not in (1, 0)
    assert judge(values[::-1], seed=7).p == found[0].p


def test_all_equal_differences_decide_and_zeros_do_not():
    same = judge(np.full(50, 0.01))
    assert same.status == "holds" and same.low == pytest.approx(0.01) and same.high == pytest.approx(0.01)
    nothing = judge(np.zeros(50))
    assert (nothing.status, nothing.p, nothing.difference) == ("undecided", 1, 0)
    assert judge(np.zeros(50), kind="equivalent", margin=0.01).status == "holds"
    assert judge(np.zeros(50), margin=0.01).status == "contradicted"


def test_a_few_seeds_decide_nothing_however_far_they_lie():
    verdict = judge(sample(8, 1.0, spread=1e-4))
    assert (verdict.status, verdict.low, verdict.high) == ("undecided", -math.inf, math.inf)
    assert verdict.needed == 12


def test_an_undecided_claim_says_how_many_seeds_would_find_its_effect():
    verdict = judge(sample(50, 0.001, spread=0.03))
    assert verdict.status == "undecided" and verdict.needed == power(verdict, cautious=False) > 50
    assert judge(sample(50, 0.001, spread=0.03), effect=None).needed is None


# --- the family ---


def test_the_words_of_a_claim_stay_and_its_numbers_are_of_the_fresh_seeds():
    live = replace(claim(sample(50, 0.02)), scope="digits", source="a paper")
    found = decide([record(one=live)])["02", "one"]
    assert (found.claim, found.scope, found.source, found.effect) == ("a claim", "digits", "a paper", 0.01)
    assert found.differences == {"a0 − b": {str(seed): d for seed, d in live.differences["a0 − b"].items()}}
    assert found.title == "A is more accurate than b"


def test_holm_is_taken_over_all_labs_with_a_hundred_places():
    rng = np.random.default_rng(5)
    labs = {
        lab: {f"{lab}_{i}": claim(rng.normal(mean, 0.01, 50)) for i, mean in enumerate((0.0, 0.0045, 0.006, 0.02))}
        for lab in ("c01", "c02", "c03")
    }
    found = decide(record(lab, **verdicts) for lab, verdicts in labs.items())
    assert list(found) == [(lab, key) for lab, verdicts in labs.items() for key in verdicts]
    raw = {key: decide([record(key[0], one=labs[key[0]][key[1]])])[key[0], "one"].p / 100 for key in found}
    few = {key: p for key, p in raw.items() if p < 0.01}  # above, the adjusted p of one claim alone is cut at 1
    rejected, largest = set(), 0
    for rank, key in enumerate(sorted(few, key=few.get)):
        largest = max(largest, (100 - rank) * few[key])
        assert found[key].p == pytest.approx(min(1, largest))
        if few[key] > 0.05 / (100 - rank):
            break
        rejected.add(key)
        assert found[key].confidence == pytest.approx(1 - 0.05 / (100 - rank), abs=1e-9)
    assert {key for key, verdict in found.items() if verdict.status != "undecided"} == rejected
    assert 3 <= len(rejected) < 9
    for key in found.keys() - rejected:
        assert found[key].confidence == pytest.approx(1 - 0.05 / (100 - len(rejected)), abs=1e-9)
        agree(found[key])


def test_only_measured_claims_on_fresh_seeds_are_decided():
    good, bad = claim(sample(50, 0.02)), claim(sample(50, -0.02))
    others = [record(setting=name, one=bad) for name in ("split", "sgd", "long", "fashion", "mnist", "default")]
    found = decide([*others, record(one=good, two=fact("a mask is bool", True)), *others])
    assert list(found) == [("02", "one")] and found["02", "one"].status == "holds"
    assert decide(others) == {} and decide([record(two=fact("a mask is bool", True))]) == {}


def test_a_lab_has_one_record_on_fresh_seeds():
    one, two = claim(sample(20, 0.02)), claim(sample(20, 0.0))
    for second in (record(one=two), record(two=two), record()):
        with pytest.raises(ValueError, match="two records of 02 on fresh seeds"):
            decide([record(one=one), second])


def test_no_more_claims_than_places():
    full = {f"c{i}": claim(sample(12, 0.02, seed=i)) for i in range(FAMILY)}
    assert len(decide([record(**full)])) == FAMILY == 100
    with pytest.raises(ValueError, match="101 claims, more than the family of 100"):
        decide([record(**full), record("03", one=full["c1"])])


def test_the_course_draws_a_million_times(monkeypatch):
    monkeypatch.undo()
    assert (MODULE.FLIPS, LEVEL, FAMILY) == (10**6, 0.05, 100)
    assert judge(np.full(32, 0.01)).p == pytest.approx(100 * 2e-6), "the draw that was observed counts"


@pytest.mark.parametrize(
    "p_values, family, adjusted",
    [
        ([], 0, []),
        ([0.2], 1, [0.2]),
        ([0.01, 0.04, 0.03, 0.005], 4, [0.03, 0.06, 0.06, 0.02]),
        ([0.6, 0.7], 2, [1.0, 1.0]),
        ([0.01, 0.002], 40, [0.39, 0.08]),  # 38 claims of the family are not measured yet
        ([0.01, 0.002], 1, [0.01, 0.004]),
    ],
)
def test_holm(p_values, family, adjusted):
    assert holm(p_values, family) == pytest.approx(adjusted)


@examples
@given(st.lists(st.floats(0, 0.1), max_size=12), st.integers(0, 40), st.floats(0.001, 0.2))
def test_holm_decides_as_the_step_down_rule(p_values, family, level):
    adjusted, m = holm(p_values, family), max(family, len(p_values))
    assume(all(abs(p - level) > 1e-9 for p in adjusted))
    # Holm 1979: from the smallest p on, reject as long as p ≤ level / (claims left).
    rejected = set()
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] > level / (m - rank):
            break
        rejected.add(i)
    assert {i for i, p in enumerate(adjusted) if p <= level} == rejected
    assert all(p <= found <= 1 for p, found in zip(p_values, adjusted, strict=True))


def test_holm_leaves_room_for_a_hundred_claims():
    assert holm([0.0001, 0.0002]) == holm([0.0001, 0.0002], 100) == pytest.approx([0.01, 0.0198])


@pytest.mark.parametrize("p", [-0.1, 1.5, math.nan])
def test_holm_refuses_what_is_no_p(p):
    with pytest.raises(ValueError, match=r"\[0, 1\], got"):
        holm([0.5, p])


# --- how many seeds ---


Z = stats.norm.isf


@pytest.mark.parametrize("ratio", [0.05, 0.1])  # so many seeds that Student's law is the normal one
@pytest.mark.parametrize("pairs", [1, 3])
def test_power_is_the_textbooks(ratio, pairs):
    values = [sample(10, 0.0, spread=0.01 / ratio, seed=i) for i in range(pairs)]
    better = claim(*values, effect=0.01)
    expected = ((Z(0.05 / 200) + Z(0.1 / pairs)) / ratio) ** 2
    assert power(better, cautious=False) == pytest.approx(expected, rel=0.01)
    assert power(replace(better, margin=0.3), cautious=False) == power(better, cautious=False), "beyond the margin"
    equal = claim(*values, kind="equivalent", margin=0.01, effect=None)
    expected = ((Z(0.05 / 100) + Z(0.05 / pairs)) / ratio) ** 2
    assert power(equal, cautious=False) == pytest.approx(expected, rel=0.01)


def test_caution_takes_the_upper_80_percent_bound_of_the_spread():
    few, many = claim(sample(10, 0.0, spread=0.1)), claim(sample(100, 0.0, spread=0.1))
    # 9 s² / σ² lies above 5.380 with a probability of 80 %, 99 s² / σ² above 86.9.
    assert power(few) == pytest.approx(9 / 5.380 * power(few, cautious=False), rel=0.01)
    assert power(many) == pytest.approx(99 / 86.9 * power(many, cautious=False), rel=0.01)


def test_the_pair_that_spreads_most_counts():
    calm, wild = sample(10, 0.0, spread=0.02), sample(10, 0.0, spread=0.04)
    assert power(claim(calm, wild)) == power(claim(wild, wild)) > power(claim(wild)) > power(claim(calm))


def test_power_is_kept_when_tried():
    """A sample of the said size is decided nine times of ten, one of two thirds of it less often."""
    live, rng = claim(sample(10, 0.0, spread=0.012), effect=0.01, margin=0.02), np.random.default_rng(3)
    n = power(live, cautious=False)

    def decided(n):
        tests = flips(rng.normal(0.03, 0.012, (n, 300)))
        return np.mean([2 * test.above(0.02) <= LEVEL / FAMILY for test in tests])

    assert decided(n) == pytest.approx(0.9, abs=0.06) and decided(2 * n // 3) < 0.75


def test_no_seeds_are_enough_or_needed():
    values = sample(10, 0.0)
    assert power(claim(values, effect=None)) is None and power(claim(100_000 * values)) is None
    assert power(claim(np.zeros(10))) == 12 and 2 * 2.0**-12 <= LEVEL / FAMILY < 2 * 2.0**-11
    assert power(claim(np.zeros(10), kind="equivalent", margin=0.01)) == 11 and 2.0**-11 <= LEVEL / FAMILY < 2.0**-10
    assert power(claim(1e-9 * values)) == 12


def test_a_lab_takes_what_its_most_demanding_claim_needs():
    calm, fair, wild = (claim(sample(10, 0.0, spread=spread)) for spread in (0.001, 0.015, 0.2))
    assert 50 < power(fair) < 200 < power(wild)
    assert seeds_needed([]) == seeds_needed([calm]) == seeds_needed([calm, fact("a mask is bool", True)]) == 50
    assert seeds_needed([calm, fair]) == seeds_needed(iter([fair, calm])) == power(fair)
    assert seeds_needed([calm, fair, wild]) == seeds_needed([claim(sample(10, 0.0), effect=None)]) == 200
