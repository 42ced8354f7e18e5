"""The live look: the interval of a paired t-test, the directions, several pairs, facts, and what is refused."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from lthkit.report import Verdict, compare, every, fact, interval, paired, summary

from ..oracles import examples

shares = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=12)
LESS = ["early_stop_iteration", "seconds", "val_loss"]


def table(a, b, column="test_accuracy", shuffle=0, **more):
    """Arms "a" and "b", seeds 10, 11, …; the rows of "b" in another order."""
    a, b = list(a), list(b)
    turn = np.random.default_rng(shuffle).permutation(len(b))
    return pd.DataFrame(
        {
            "arm": ["a"] * len(a) + ["b"] * len(b),
            "seed": [*range(10, 10 + len(a)), *(10 + turn)],
            column: a + [b[i] for i in turn],
        }
    ).assign(**more)


def judge(a, b, column="test_accuracy", **settings):
    return compare(table(a, b, column), column, "arm", "a", "b", **settings)


# Differences of mean 0.1 and standard error 0.01 (n = 4): t(3) at 95 % is 3.182, so the interval is 0.068 to 0.132.
A = [0.9 + 0.02 * math.sqrt(0.75) * sign for sign in (1, -1, 1, -1)]
B = [0.8] * 4


# --- numbers ---


@examples
@given(shares, st.sampled_from([0.9, 0.95, 0.999]), st.sampled_from(["test_accuracy", *LESS]))
def test_the_interval_is_that_of_scipys_paired_test(pairs, confidence, column):
    a, b = np.array(pairs).T
    assume(np.std(a - b, ddof=1) > max(1e-9, step(pairs) / math.sqrt(6)))  # otherwise the floor
    verdict = judge(a, b, column, confidence=confidence)
    test = stats.ttest_rel(a, b)
    expected = test.confidence_interval(confidence_level=confidence)
    assert verdict.difference == pytest.approx(np.mean(a - b), abs=1e-12)
    assert (verdict.low, verdict.high) == (
        pytest.approx(expected.low, abs=1e-9),
        pytest.approx(expected.high, abs=1e-9),
    )
    assert verdict.n == len(pairs) and verdict.confidence == confidence


@examples
@given(shares, st.floats(0, 0.5), st.sampled_from(["better", "equivalent"]), st.sampled_from(["test_accuracy", *LESS]))
def test_the_status_follows_from_interval_margin_and_direction(pairs, margin, kind, column):
    assume(kind == "better" or margin > 0)
    a, b = np.array(pairs).T
    assume(np.std(a - b, ddof=1) > max(1e-9, step(pairs) / math.sqrt(6)))
    verdict = judge(a, b, column, margin=margin, kind=kind)
    low, high = stats.ttest_rel(a, b).confidence_interval(confidence_level=0.95)
    assume(min(abs(end - edge) for end in (low, high) for edge in (margin, -margin)) > 1e-9)
    if kind == "equivalent":
        holds, contradicted = -margin < low and high < margin, low > margin or high < -margin
    elif column in LESS:
        holds, contradicted = high < -margin, low > -margin
    else:
        holds, contradicted = low > margin, high < margin
    assert verdict.status == ("agrees" if holds else "disagrees" if contradicted else "too close to call")


def test_the_interval_on_paper():
    verdict = judge(A, B)
    assert verdict.difference == pytest.approx(0.1)
    assert verdict.low == pytest.approx(0.1 - 3.182446 * 0.01) and verdict.high == pytest.approx(0.1 + 3.182446 * 0.01)


def test_statuses_of_better():
    assert judge(A, B).status == "agrees"
    assert judge(B, A).status == "disagrees"
    assert judge(A, B, margin=0.06).status == "agrees"
    assert judge(A, B, margin=0.1).status == "too close to call"
    assert judge(A, B, margin=0.14).status == "disagrees"


def test_statuses_of_equivalent():
    settings = {"kind": "equivalent"}
    assert judge(A, B, margin=0.14, **settings).status == "agrees"
    assert judge(B, A, margin=0.14, **settings).status == "agrees"
    assert judge(A, B, margin=0.1, **settings).status == "too close to call"
    assert judge(A, B, margin=0.06, **settings).status == "disagrees"
    assert judge(B, A, margin=0.06, **settings).status == "disagrees"


@pytest.mark.parametrize("column", LESS)
def test_less_is_better_for_iterations_seconds_and_losses(column):
    verdict = judge(B, A, column, margin=0.06)
    assert verdict.status == "agrees" and verdict.difference == pytest.approx(-0.1)
    assert verdict.low < verdict.difference < verdict.high < -0.06
    assert judge(A, B, column).status == "disagrees"
    assert judge(B, A, column, margin=0.1).status == "too close to call"


def images(n, *right):
    """Accuracies on n test images."""
    return [count / n for count in right]


ONE_BETTER = images(400, 381, 378, 385), images(400, 380, 377, 384)  # each seed one image of 400


def test_three_seeds_each_one_image_better_decide_nothing():
    assert np.std(np.subtract(*ONE_BETTER)) < 1e-15
    # On paper: an image is 0.0025, so the error at least 0.0025 / √18; t(2) is 4.303 at 95 %, above √18 = 4.243.
    half = stats.t.ppf(0.975, 2) * 0.0025 / math.sqrt(18)
    for verdict, sign in ((judge(*ONE_BETTER), 1), (judge(*ONE_BETTER[::-1]), -1)):
        assert verdict.status == "too close to call"
        assert (verdict.low, verdict.high) == pytest.approx((sign * 0.0025 - half, sign * 0.0025 + half))


def test_two_pairs_show_an_interval_and_settle_nothing():
    a, b = [0.9, 0.901], [0.8, 0.8]
    verdict = judge(a, b)
    expected = stats.ttest_rel(a, b).confidence_interval()
    assert (verdict.low, verdict.high) == pytest.approx((expected.low, expected.high)) and verdict.low > 0.09
    for seen in (verdict, judge(b, a), judge(a, b, margin=0.5), judge(a, b, margin=0.5, kind="equivalent")):
        assert (seen.status, seen.n) == ("too close to call", 2)


def test_the_step_is_that_of_all_values_of_the_column():
    rows = pd.concat([table([0.5] * 3, [0.25] * 3, round=1), table(*ONE_BETTER, round=2)], ignore_index=True)
    assert judge([0.5] * 3, [0.25] * 3).status == "too close to call", "the one step there is"
    assert compare(rows, "test_accuracy", "arm", "a", "b", at_round=1).status == "agrees"
    assert compare(rows, "test_accuracy", "arm", "b", "a", at_round=1).status == "disagrees"
    assert compare(rows, "test_accuracy", "arm", "a", "b", at_round=2).status == "too close to call"


def test_ten_seeds_without_any_spread_still_decide():
    ten = images(400, *range(370, 380)), images(400, *range(369, 379))
    assert judge(*ten).status == "agrees" and judge(*ten[::-1]).status == "disagrees"
    assert judge(*ten, kind="equivalent", margin=0.01).status == "agrees"


def test_steps_that_are_rounding_alone_are_none():
    means = [0.1 + 0.2, 0.3, 0.95], [0.2, 0.2, 0.85]  # 0.30000000000000004 is no value of its own
    half = (judge(*means).high - judge(*means).low) / 2
    assert half == pytest.approx(stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(18)), "the step is 0.1"


def test_equal_arms_are_equal_and_neither_is_better():
    assert judge([0.5] * 3, [0.5] * 3).status == "too close to call"
    assert judge([0.5] * 3, [0.5] * 3, kind="equivalent", margin=0.01).status == "agrees"


def step(values):
    return np.diff(np.unique(values)).min(initial=1)


def test_pairs_are_made_by_seed_and_round():
    rows = pd.concat([table(A, B, shuffle=3, round=4), table(B, A, shuffle=1, round=5)], ignore_index=True)
    found = paired(rows, "test_accuracy", "arm", "a", "b", at_round=4)
    assert found.index.tolist() == [10, 11, 12, 13] and found.tolist() == pytest.approx(np.subtract(A, B))
    assert compare(rows, "test_accuracy", "arm", "a", "b", at_round=5).difference == pytest.approx(-0.1)
    by_method = rows[rows["round"] == 4].rename(columns={"arm": "method"})
    assert compare(by_method, "test_accuracy", "method", "a", "b").difference == pytest.approx(0.1)


def test_rows_that_know_nothing_of_divergence_are_taken():
    rows = pd.concat([table(A, B, diverged=False), table(A, B).replace({"arm": {"b": "c"}}).query("arm == 'c'")])
    assert rows.diverged.isna().any() and compare(rows, "test_accuracy", "arm", "a", "c").status == "agrees"


def test_the_table_is_not_changed():
    rows = table(A, B, shuffle=2)
    before = rows.copy()
    compare(rows, "test_accuracy", "arm", "a", "b")
    summary(rows, "test_accuracy", "arm")
    pd.testing.assert_frame_equal(rows, before)


def test_the_difference_of_each_seed_is_kept():
    assert judge(A, B).differences == {"a − b": pytest.approx({10 + i: A[i] - B[i] for i in range(4)})}
    assert judge(B, A, "seconds").differences["a − b"][10] == pytest.approx(B[0] - A[0])


@pytest.mark.parametrize("column, effect", [("test_accuracy", 0.01), ("kept", 0.01), ("seconds", None), ("own", None)])
def test_one_point_matters_unless_another_effect_is_named(column, effect):
    assert judge(A, B, column).effect == effect and judge(A, B, column, effect=0.5).effect == 0.5


# --- several pairs ---


def versus(name, shift, **settings):
    """Arm `name` against b; its lead is `shift` ± 0.032."""
    column = settings.pop("column", "test_accuracy")
    rows = table([x - 0.1 + shift for x in A], B, column).replace({"arm": {"a": name}})
    return compare(rows, column, "arm", name, "b", **settings)


EVERY = [
    ([0.1, 0.05, 0.2], {}, "agrees", 0.05),
    ([0.1, 0.01, 0.2], {}, "too close to call", 0.01),
    ([0.1, 0.01, -0.02], {}, "too close to call", -0.02),
    ([-0.1, 0.01, -0.2], {}, "disagrees", -0.2),
    ([0.1, 0.05, -0.1], {}, "disagrees", -0.1),
    ([0.1, 0.05, 0.2], {"margin": 0.06}, "too close to call", 0.05),
    ([0.1, 0.01, 0.2], {"margin": 0.06}, "disagrees", 0.01),
    ([0.1, -0.2, 0.05], {"margin": 0.3, "kind": "equivalent"}, "agrees", -0.2),
    ([0.1, -0.25, 0.2], {"margin": 0.1, "kind": "equivalent"}, "disagrees", -0.25),
    ([-0.1, -0.05, -0.2], {"column": "val_loss"}, "agrees", -0.05),
    ([-0.1, 0.2, 0.1], {"column": "val_loss"}, "disagrees", 0.2),
]


@pytest.mark.parametrize("shifts, settings, status, weakest", EVERY)
def test_every_pair_is_as_strong_as_its_weakest(shifts, settings, status, weakest):
    pairs = [versus(f"a{i}", shift, **settings) for i, shift in enumerate(shifts)]
    for order in (pairs, pairs[::-1]):
        verdict = every(iter(order), "each is better", better="each of the three", scope="digits")
        assert (verdict.status, verdict.claim, verdict.scope) == (status, "each is better", "digits")
        assert verdict.difference == pytest.approx(weakest)
        (same,) = [pair for pair in pairs if pair.difference == verdict.difference]
        assert (verdict.low, verdict.high, verdict.n, verdict.better) == (same.low, same.high, 4, "each of the three")
        assert verdict.differences == {f"a{i} − b": pair.differences[f"a{i} − b"] for i, pair in enumerate(pairs)}


def test_every_of_one_pair_is_that_pair():
    assert every([judge(A, B)], "one") == replace(judge(A, B), claim="one")


REFUSED = {
    "none": ([], "must share"),
    "facts": ([fact("a", True), fact("b", True)], "must share"),
    "a fact beside": ([versus("c", 0.1), fact("b", True)], "must share"),
    "another margin": ([versus("c", 0.1), versus("d", 0.1, margin=0.01)], r"must share.*0\.01"),
    "another effect": ([versus("c", 0.1), versus("d", 0.1, effect=0.02)], r"must share.*0\.02"),
    "another kind": ([versus("c", 0.1, margin=0.1), versus("d", 0.1, margin=0.1, kind="equivalent")], "equivalent"),
    "another column": ([versus("c", 0.1), versus("d", 0.1, column="val_accuracy")], "val_accuracy"),
    "another confidence": ([versus("c", 0.1), versus("d", 0.1, confidence=0.9)], r"0\.9\b"),
    "a pair twice": ([versus("c", 0.1), versus("c", 0.1)], "2 comparisons of 1 pairs: each pair once"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_every_refuses_what_is_no_set_of_like_pairs(fault):
    verdicts, said = REFUSED[fault]
    with pytest.raises(ValueError, match=said):
        every(verdicts, "each")


# --- what is refused ---


GOOD = table(A, B, round=1)
FAULTS = {
    "kind": ({"kind": "worse"}, "'worse'.*better, equivalent"),
    "equivalent without margin": ({"kind": "equivalent"}, r"margin above 0, got 0\.0"),
    "negative margin": ({"margin": -0.1}, r"-0\.1"),
    "nan margin": ({"margin": math.nan}, "margin.*nan"),
    "endless margin": ({"margin": math.inf}, "margin.*inf"),
    "no effect at all": ({"effect": 0.0}, r"effect must be above 0, got 0\.0"),
    "nan effect": ({"effect": math.nan}, "effect.*nan"),
    "confidence": ({"confidence": 1.0}, r"confidence.*1\.0"),
    "confidence in percent": ({"confidence": 95}, "confidence.*95"),
    "column": ({"column": "accuracy"}, "'accuracy'.*test_accuracy"),
    "by": ({"by": "method"}, "'method'.*arm"),
    "no seeds": ({"table": GOOD.drop(columns="seed")}, "'seed'"),
    "no rounds": ({"table": GOOD.drop(columns="round"), "at_round": 1}, "'round'"),
    "arm": ({"better": "rewind"}, r"'rewind'.*\['a', 'b'\]"),
    "other arm": ({"than": "rewind"}, r"'rewind'.*\['a', 'b'\]"),
    "the same arm": ({"than": "a"}, "'a'.*itself|'a' and 'a'"),
    "round": ({"at_round": 9}, r"round 9.*\[1\]"),
    "several rounds": ({"table": pd.concat([GOOD, GOOD.assign(round=2)])}, "at_round"),
    "a seed alone": ({"table": GOOD.iloc[:-1]}, r"\[1\d\]"),
    "nan": ({"table": table([*A[:3], math.nan], B)}, r"'test_accuracy' is NaN.*\[13\]"),
    "infinite": ({"table": table([*A[:3], math.inf], B)}, r"'test_accuracy'.*\[13\]"),
    "words": ({"table": GOOD.assign(test_accuracy="high")}, "'test_accuracy'"),
    "diverged": (
        {"table": table([*A[:3], math.nan], B, diverged=[False] * 3 + [True] + [False] * 4)},
        r"seeds \[13\] of arm='a' have diverged: leave them out in all arms, or compare runs at a lower lr",
    ),
    "diverged, in a column that has numbers": (
        {"table": GOOD.assign(diverged=[*[False] * 4, True, *[False] * 3])},
        r"seeds \[1\d\] of arm='b' have diverged",
    ),
    "one seed": ({"table": table(A[:1], B[:1])}, "1 pairs"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_comparison_is_named(fault):
    change, said = FAULTS[fault]
    given_ = {"table": GOOD, "column": "test_accuracy", "by": "arm", "better": "a", "than": "b"} | change
    with pytest.raises(ValueError, match=said):
        compare(**given_)


# --- facts ---


def test_facts_hold_or_are_contradicted_without_an_interval():
    true, false = fact("masks have the weight's shape", True, scope="torch"), fact("a mask revives", np.bool_(False))
    assert (true.kind, true.status, false.status) == ("exact", "holds", "contradicted")
    assert true.sentence == "Masks have the weight's shape: true." and false.sentence == "A mask revives: false."
    assert str(true) == "HOLDS: masks have the weight's shape\n  scope: torch"
    assert true.interval is None and json.loads(json.dumps(false.to_dict()))["interval"] is None
    assert true == Verdict("exact", "holds", "masks have the weight's shape", "torch")


def test_a_fact_may_be_what_each_seed_showed():
    assert fact("no layer is emptied", True, "digits", kind="observed").kind == "observed"
    with pytest.raises(ValueError, match="'seen'.*exact, observed"):
        fact("no layer is emptied", True, kind="seen")


@pytest.mark.parametrize("observed", [1, 0.0, None, "yes", np.array([True, True])])
def test_a_fact_needs_a_bool(observed):
    with pytest.raises(TypeError, match="True or False"):
        fact("a number is no fact", observed)


def test_a_fact_needs_a_statement():
    with pytest.raises(ValueError, match="statement"):
        fact("", True)


# --- intervals and summaries ---


@examples
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12), st.sampled_from([0.9, 0.95, 0.999]))
def test_interval_is_students(values, confidence):
    assume(np.std(values) > 1e-6)
    mean, low, high = interval(values, confidence)
    expected = stats.ttest_1samp(values, 0).confidence_interval(confidence_level=confidence)
    assert mean == pytest.approx(np.mean(values), abs=1e-9)
    assert (low, high) == (pytest.approx(expected.low, abs=1e-6), pytest.approx(expected.high, abs=1e-6))


@pytest.mark.parametrize("confidence", [95, 1, 0, -0.5, math.nan, "0.95", True])
def test_a_confidence_is_a_share_everywhere(confidence):
    said = rf"confidence must lie between 0 and 1, as in 0.95, got {confidence!r}"
    for call in (interval, lambda a, confidence: judge(a, B, confidence=confidence),
                 lambda a, confidence: summary(GOOD, "test_accuracy", "arm", confidence)):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            call(A, confidence=confidence)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.nan], [[1.0, 2.0]]])
def test_an_interval_needs_two_numbers(values):
    with pytest.raises(ValueError, match="at least two"):
        interval(values)


def test_summary_has_a_row_a_group():
    rows = pd.concat([table(A, B, round=1, kept=0.5), table(B, A, round=2, kept=0.25)])
    found = summary(rows, "test_accuracy")
    assert list(found) == ["arm", "round", "kept", "mean", "low", "high", "n"]
    assert list(zip(found.arm, found["round"], strict=True)) == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert found.kept.tolist() == [0.5, 0.5, 0.25, 0.25] and found.n.tolist() == [4] * 4
    assert tuple(found.loc[0, ["mean", "low", "high"]]) == pytest.approx(interval(A))
    assert summary(rows[rows["round"] == 1], "test_accuracy", "arm").arm.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="'accuracy'"):
        summary(rows, "accuracy")
