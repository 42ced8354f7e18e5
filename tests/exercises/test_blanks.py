"""What counts as not attempted."""

import numpy as np
import pytest

from lthkit.exercises.blanks import has_blank, is_blank, is_empty, is_unanswered


def documented(x):
    """What to return."""


def dotted(x):
    """What to return."""
    ...  # noqa: PIE790


def passing(x):
    pass


def half_done(x):
    result: int = ...
    return result + 1


def nested(x):
    if x:
        return ...
    return x


def slicing(x):
    return x[..., 0]


@pytest.mark.parametrize(
    "function, empty, blank",
    [(documented, True, False), (dotted, True, True), (passing, True, False), (half_done, False, True)]
    + [(nested, False, True), (slicing, False, False), (lambda x: ..., False, False), (len, False, False)],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_an_empty_body_and_a_blank_that_is_left(function, empty, blank):
    assert (is_empty(function), has_blank(function)) == (empty, blank)


def test_values_that_were_not_filled_in():
    assert is_blank(None) and is_blank(...) and not is_blank(0) and not is_blank("")
    assert all(map(is_unanswered, (None, ..., (), {}, [], (1, ...), {"A": "less", "B": None})))
    assert not any(map(is_unanswered, (0, False, "", (0, 0), {"A": ""}, np.zeros(0))))
