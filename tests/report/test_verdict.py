"""`Verdict`: its words, which the numbers make, and its way through JSON."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lthkit.report import LIVE, Verdict, fact


def look(low, high, kind="better", column="test_accuracy", margin=0.0, status="agrees", **more):
    """A verdict on a and b, its difference in the middle."""
    return Verdict(
        kind, status, "a claim", column=column, better="a", than="b", margin=margin, n=4, difference=(low + high) / 2,
        low=low, high=high, confidence=0.95, **more,
    )  # fmt: skip


WORDS = [
    ({}, "a is more accurate than b", "a is less accurate than b"),
    ({"margin": 0.06}, "a is more accurate than b by more than 6.0 points",
     "a is not more accurate than b by more than 6.0 points"),
    ({"margin": 0.0025}, "a is more accurate than b by more than 0.25 points",
     "a is not more accurate than b by more than 0.25 points"),
    ({"kind": "equivalent", "margin": 0.14}, "a and b agree within 14.0 points",
     "a and b do not agree within 14.0 points"),
    ({"column": "early_stop_iteration"}, "a is earlier than b", "a is later than b"),
    ({"column": "early_stop_iteration", "margin": 100.0}, "a is earlier than b by more than 100 iterations",
     "a is not earlier than b by more than 100 iterations"),
    ({"column": "seconds"}, "a is faster than b", "a is slower than b"),
    ({"column": "val_loss"}, "a is lower than b", "a is higher than b"),
    ({"column": "kept"}, "a is higher than b", "a is lower than b"),
    ({"differences": {"a − b": {1: 0.1}, "c − b": {1: 0.1}}}, "a is more accurate than b",
     "it is not so that a is more accurate than b"),
]  # fmt: skip


@pytest.mark.parametrize("settings, holds, contradicted", WORDS)
def test_the_finding_says_what_the_status_says(settings, holds, contradicted):
    found = {"holds": holds, "contradicted": contradicted, "undecided": f"whether {holds} is "}
    for status, finding in found.items():
        for word in (status, LIVE[status]):
            verdict = look(0.068, 0.132, status=word, **settings)
            assert verdict.finding == finding + (word if status == "undecided" else "")
            assert verdict.title == verdict.finding[0].upper() + verdict.finding[1:]


INTERVALS = [
    ("test_accuracy", 0.068, 0.132, "+10.0 points (+6.8 to +13.2)"),
    ("test_accuracy", -0.132, -0.068, "−10.0 points (−13.2 to −6.8)"),
    ("early_stop_iteration", -120.4, -80.4, "−100 iterations (−120 to −80)"),
    ("seconds", -0.2, 0.1, "−0.050 seconds (−0.200 to +0.100)"),
    ("val_loss", -0.2, 0.1, "−0.050 (−0.200 to +0.100)"),
]


@pytest.mark.parametrize("column, low, high, shown", INTERVALS)
def test_an_interval_is_shown_in_the_columns_unit_from_low_to_high(column, low, high, shown):
    verdict = look(low, high, column=column)
    assert verdict.interval == shown and verdict.sentence == f"{verdict.title}: {shown}, 4 seeds."
    assert str(verdict) == f"AGREES: a claim\n  {verdict.sentence}\n  interval at 95 %"


def test_an_interval_without_ends_is_shown_as_such():
    endless = replace(look(0, 0.2), low=-np.inf, high=np.inf)
    assert endless.interval == "+10.0 points (−∞ to +∞)"


def test_the_numbers_of_a_claim_about_several_pairs_are_said_to_be_those_of_one():
    several = look(0.068, 0.132, differences={"a − b": {1: 0.1}, "c − b": {1: 0.2}})
    assert several.sentence.endswith("+10.0 points (+6.8 to +13.2) in the weakest of 2 pairs, 4 seeds.")


def test_a_claim_its_scope_and_the_adjusted_p_are_told():
    lines = str(look(0.068, 0.132, status="holds", scope="digits", p=0.0412)).splitlines()
    assert lines[0] == "HOLDS: a claim" and lines[3:] == ["  adjusted p 0.041", "  scope: digits"]
    assert str(replace(look(0, 1), claim="")).startswith("AGREES: a is more accurate than b\n")
    assert repr(look(0, 1)) == str(look(0, 1))


def test_a_verdict_travels_through_json():
    verdict = look(0.068, 0.132, effect=0.01, scope="digits", source="a paper", differences={"a − b": {1000: 0.1}})
    found = verdict.to_dict()
    assert json.loads(json.dumps(found)) == found and found["differences"] == {"a − b": {"1000": 0.1}}
    assert found["interval"] == verdict.interval and found["sentence"] == verdict.sentence and found["p"] is None
    back = Verdict.from_dict(found)
    assert back == replace(verdict, differences={"a − b": {"1000": 0.1}}) and back.to_dict() == found
    assert Verdict.from_dict(fact("a mask revives", False).to_dict()) == fact("a mask revives", False)


def test_numpy_scalars_become_plain_numbers():
    verdict = look(0.0, np.float32(0.5), margin=np.float64(0.25), differences={"a − b": {7: np.float32(0.5)}})
    found = json.loads(json.dumps(replace(verdict, n=np.int64(4)).to_dict()))
    assert (found["high"], found["margin"], found["n"], found["differences"]) == (0.5, 0.25, 4, {"a − b": {"7": 0.5}})


def test_a_verdict_of_fields_that_are_none_is_refused():
    with pytest.raises(TypeError, match="colour"):
        Verdict.from_dict(look(0, 1).to_dict() | {"colour": "red"})
