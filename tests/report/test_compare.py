"""Verdicts: the interval of a paired t-test, the directions, the words, and what is refused."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from lthkit import report
from lthkit.report import CONFIDENCE, Verdict, compare, fact, holm, interval, paired, summary

from .oracles import examples

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
@given(shares, st.sampled_from([0.9, 0.95, CONFIDENCE]), st.sampled_from(["test_accuracy", *LESS]))
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
    assert verdict.p == pytest.approx(test.pvalue, rel=1e-6, abs=1e-12)
    assert verdict.n == len(pairs) and verdict.confidence == confidence


@examples
@given(shares, st.floats(0, 0.5), st.sampled_from(["better", "equivalent"]), st.sampled_from(["test_accuracy", *LESS]))
def test_the_status_follows_from_interval_margin_and_direction(pairs, margin, kind, column):
    assume(kind == "better" or margin > 0)
    a, b = np.array(pairs).T
    assume(np.std(a - b, ddof=1) > max(1e-9, step(pairs) / math.sqrt(6)))
    verdict = judge(a, b, column, margin=margin, kind=kind)
    low, high = stats.ttest_rel(a, b).confidence_interval(confidence_level=CONFIDENCE)
    assume(min(abs(end - edge) for end in (low, high) for edge in (margin, -margin)) > 1e-9)
    if kind == "equivalent":
        holds, contradicted = -margin < low and high < margin, low > margin or high < -margin
    elif column in LESS:
        holds, contradicted = high < -margin, low > -margin
    else:
        holds, contradicted = low > margin, high < margin
    assert verdict.status == ("holds" if holds else "contradicted" if contradicted else "undecided")
    # p is the level at which this interval would just touch the margin
    if verdict.status != "undecided":
        assert verdict.p < 1 - CONFIDENCE
        touching = judge(a, b, column, margin=margin, kind=kind, confidence=1 - verdict.p)
        ends = [abs(end - edge) for end in (touching.low, touching.high) for edge in (margin, -margin)]
        assert min(ends) == pytest.approx(0, abs=1e-7)
    elif kind == "better":
        assert verdict.p > 1 - CONFIDENCE


def test_the_interval_on_paper():
    verdict = judge(A, B, confidence=0.95)
    assert verdict.difference == pytest.approx(0.1)
    assert verdict.low == pytest.approx(0.1 - 3.182446 * 0.01) and verdict.high == pytest.approx(0.1 + 3.182446 * 0.01)


def test_the_default_confidence_leaves_one_in_twenty_for_forty_claims():
    assert CONFIDENCE == 1 - 0.05 / 40
    assert judge(A, B).confidence == CONFIDENCE


def test_statuses_of_better():
    assert judge(A, B, confidence=0.95).status == "holds"
    assert judge(B, A, confidence=0.95).status == "contradicted"
    assert judge(A, B, confidence=0.95, margin=0.06).status == "holds"
    assert judge(A, B, confidence=0.95, margin=0.1).status == "undecided"
    assert judge(A, B, confidence=0.95, margin=0.14).status == "contradicted"


def test_statuses_of_equivalent():
    settings = {"confidence": 0.95, "kind": "equivalent"}
    assert judge(A, B, margin=0.14, **settings).status == "holds"
    assert judge(B, A, margin=0.14, **settings).status == "holds"
    assert judge(A, B, margin=0.1, **settings).status == "undecided"
    assert judge(A, B, margin=0.06, **settings).status == "contradicted"
    assert judge(B, A, margin=0.06, **settings).status == "contradicted"


@pytest.mark.parametrize("column", LESS)
def test_less_is_better_for_iterations_seconds_and_losses(column):
    verdict = judge(B, A, column, confidence=0.95, margin=0.06)
    assert verdict.status == "holds" and verdict.difference == pytest.approx(-0.1)
    assert verdict.low < verdict.difference < verdict.high < -0.06
    assert judge(A, B, column, confidence=0.95).status == "contradicted"
    assert judge(B, A, column, confidence=0.95, margin=0.1).status == "undecided"


def images(n, *right):
    """Accuracies on n test images."""
    return [count / n for count in right]


ONE_BETTER = images(400, 381, 378, 385), images(400, 380, 377, 384)  # each seed one image of 400


@pytest.mark.parametrize("confidence", [0.95, CONFIDENCE])
def test_three_seeds_each_one_image_better_decide_nothing(confidence):
    assert np.std(np.subtract(*ONE_BETTER)) < 1e-15
    better, worse = judge(*ONE_BETTER, confidence=confidence), judge(*ONE_BETTER[::-1], confidence=confidence)
    assert better.status == worse.status == "undecided"
    # On paper: an image is 0.0025, so the error at least 0.0025 / √18, t = √18 with 2 degrees of freedom.
    assert better.p == worse.p == pytest.approx(2 * stats.t.sf(math.sqrt(18), 2)) and better.p > 0.05
    half = stats.t.ppf((1 + confidence) / 2, 2) * 0.0025 / math.sqrt(18)
    assert (better.low, better.high) == (pytest.approx(0.0025 - half), pytest.approx(0.0025 + half))


def test_the_step_is_that_of_all_values_of_the_column():
    rows = pd.concat([table([0.5] * 3, [0.25] * 3, round=1), table(*ONE_BETTER, round=2)], ignore_index=True)
    assert judge([0.5] * 3, [0.25] * 3).status == "undecided", "the one step there is"
    assert compare(rows, "test_accuracy", "arm", "a", "b", at_round=1).status == "holds"
    assert compare(rows, "test_accuracy", "arm", "b", "a", at_round=1).status == "contradicted"
    assert compare(rows, "test_accuracy", "arm", "a", "b", at_round=2).status == "undecided"


def test_ten_seeds_without_any_spread_still_decide():
    ten = images(400, *range(370, 380)), images(400, *range(369, 379))
    assert judge(*ten).status == "holds" and judge(*ten[::-1]).status == "contradicted"
    assert judge(*ten, kind="equivalent", margin=0.01).status == "holds"


def test_steps_that_are_rounding_alone_are_none():
    means = [0.1 + 0.2, 0.3, 0.95], [0.2, 0.2, 0.85]  # 0.30000000000000004 is no value of its own
    assert judge(*means).p == pytest.approx(2 * stats.t.sf(math.sqrt(18), 2)), "the step is 0.1"


def test_equal_arms_are_equal_and_neither_is_better():
    assert judge([0.5] * 3, [0.5] * 3).status == "undecided" and judge([0.5] * 3, [0.5] * 3).p == 1
    assert judge([0.5] * 3, [0.5] * 3, kind="equivalent", margin=0.01).status == "holds"


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
    assert rows.diverged.isna().any() and compare(rows, "test_accuracy", "arm", "a", "c").status == "undecided"


def test_the_table_is_not_changed():
    rows = table(A, B, shuffle=2)
    before = rows.copy()
    compare(rows, "test_accuracy", "arm", "a", "b")
    summary(rows, "test_accuracy", "arm")
    pd.testing.assert_frame_equal(rows, before)


# --- what is refused ---


GOOD = table(A, B, round=1)
FAULTS = {
    "kind": ({"kind": "worse"}, "'worse'.*better, equivalent"),
    "equivalent without margin": ({"kind": "equivalent"}, r"margin above 0, got 0\.0"),
    "negative margin": ({"margin": -0.1}, r"-0\.1"),
    "nan margin": ({"margin": math.nan}, "margin.*nan"),
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
    "two seeds": ({"table": table(A[:2], B[:2])}, "2 pairs"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_comparison_is_named(fault):
    change, said = FAULTS[fault]
    given_ = {"table": GOOD, "column": "test_accuracy", "by": "arm", "better": "a", "than": "b"} | change
    with pytest.raises(ValueError, match=said):
        compare(**given_)


# --- words ---


WORDS = [
    ({}, "holds", "a is more accurate than b", "+10.0 points"),
    ({"turn": True}, "contradicted", "a is less accurate than b", "−10.0 points"),
    ({"margin": 0.06}, "holds", "a is more accurate than b by more than 6.0 points", "+10.0 points"),
    ({"margin": 0.14}, "contradicted", "a is not more accurate than b by more than 14.0 points", "+10.0 points"),
    ({"margin": 0.1}, "undecided", "whether a is more accurate than b by more than 10.0 points is undecided", "+10.0"),
    ({"kind": "equivalent", "margin": 0.14}, "holds", "a and b agree within 14.0 points", "+10.0 points"),
    ({"kind": "equivalent", "margin": 0.06}, "contradicted", "a and b do not agree within 6.0 points", "+10.0"),
    ({"kind": "equivalent", "margin": 0.1}, "undecided", "whether a and b agree within 10.0 points is undecided", "+1"),
    ({"column": "early_stop_iteration", "turn": True, "factor": 1000}, "holds", "a is earlier than b",
     "−100 iterations"),
    ({"column": "early_stop_iteration", "factor": 1000}, "contradicted", "a is later than b", "+100 iterations"),
    ({"column": "seconds", "turn": True}, "holds", "a is faster than b", "−0.100 seconds"),
    ({"column": "val_loss", "turn": True}, "holds", "a is lower than b", "−0.100"),
    ({"column": "kept"}, "holds", "a is higher than b", "+10.0 points"),
]  # fmt: skip


@pytest.mark.parametrize("settings, status, finding, difference", WORDS)
def test_sentences_say_what_the_numbers_say(settings, status, finding, difference):
    settings = dict(settings)
    a, b = (B, A) if settings.pop("turn", False) else (A, B)
    factor, column = settings.pop("factor", 1), settings.pop("column", "test_accuracy")
    verdict = judge([factor * x for x in a], [factor * x for x in b], column, confidence=0.95, **settings)
    assert verdict.status == status and verdict.finding == finding
    assert verdict.interval.startswith(difference)
    assert verdict.title == finding[0].upper() + finding[1:]
    assert verdict.sentence == f"{verdict.title}: {verdict.interval}, 4 seeds."
    assert str(verdict).startswith(f"{status.upper()}: {finding}") and "95.000 %" in str(verdict)


@pytest.mark.parametrize("column", ["test_accuracy", "val_loss", "seconds", "early_stop_iteration", "anything"])
@pytest.mark.parametrize("settings", [{"margin": 0.5}, {"margin": 0.5, "kind": "equivalent"}, {}])
def test_no_sentence_has_a_gap(column, settings):
    text = str(judge(A, B, column, **settings)).replace("\n  ", "\n")
    assert "  " not in text and " :" not in text and " \n" not in text


def test_an_interval_is_shown_in_points_from_low_to_high():
    shown = judge(A, B, confidence=0.95).interval
    assert shown.replace("+", "") == "10.0 points (6.8 to 13.2)" and shown.startswith("+")
    assert judge(B, A, confidence=0.95).interval == "−10.0 points (−13.2 to −6.8)"


def test_a_claim_and_its_scope_are_told():
    verdict = judge(A, B, claim="Tickets win", scope="digits", source="a paper")
    assert str(verdict).splitlines()[0] == f"{verdict.status.upper()}: Tickets win"
    assert str(verdict).splitlines()[-1] == "  scope: digits" and repr(verdict) == str(verdict)
    found = json.loads(json.dumps(verdict.to_dict()))
    assert found["claim"] == "Tickets win" and found["source"] == "a paper"
    assert found["sentence"] == verdict.sentence and found["interval"] == verdict.interval and found["n"] == 4


def test_facts_hold_or_are_contradicted_without_an_interval():
    true, false = fact("masks have the weight's shape", True, scope="torch"), fact("a mask revives", np.bool_(False))
    assert (true.kind, true.status, false.status) == ("exact", "holds", "contradicted")
    assert true.sentence == "Masks have the weight's shape: true." and false.sentence == "A mask revives: false."
    assert str(true) == "HOLDS: masks have the weight's shape\n  scope: torch"
    assert true.interval is None and json.loads(json.dumps(false.to_dict()))["interval"] is None
    assert true == Verdict("exact", "holds", "masks have the weight's shape", "torch")


@pytest.mark.parametrize("observed", [1, 0.0, None, "yes", np.array([True, True])])
def test_a_fact_needs_a_bool(observed):
    with pytest.raises(TypeError, match="True or False"):
        fact("a number is no fact", observed)


def test_a_fact_needs_a_statement():
    with pytest.raises(ValueError, match="statement"):
        fact("", True)


# --- Holm's rule ---


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


def test_holm_leaves_room_for_forty_claims():
    assert holm([0.001, 0.002]) == holm([0.001, 0.002], 40) == pytest.approx([0.04, 0.078])


@pytest.mark.parametrize("p", [-0.1, 1.5, math.nan])
def test_holm_refuses_what_is_no_p(p):
    with pytest.raises(ValueError, match=r"\[0, 1\], got"):
        holm([0.5, p])


# --- intervals and summaries ---


@examples
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12), st.sampled_from([0.9, 0.95, CONFIDENCE]))
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


def test_no_kind_is_left_without_words():
    assert set(report.KINDS) == {"better", "equivalent"}
