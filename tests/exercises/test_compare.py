"""Answers beside what was expected: each fault is named, and what may differ does not count."""

import numpy as np
import pytest
import torch

from lthkit.exercises.compare import compare, kind_of, number, options, show


@pytest.mark.parametrize(
    "expected, got",
    [
        (torch.tensor([1.0, 2.0]), [1.0, 2.0]),
        (torch.tensor([1.0, 2.0]), np.array([1.000001, 2.0])),
        (torch.tensor([1, 2]), torch.tensor([1, 2], dtype=torch.int32)),
        (torch.tensor([float("nan")]), torch.tensor([float("nan")])),
        ((1, True), [1, True]),
        ({"w": torch.ones(2)}, {"w": torch.ones(2)}),
        ("left", "left"),
    ],
)
def test_the_same_in_another_form_is_no_fault(expected, got):
    assert compare(expected, got) is None


@pytest.mark.parametrize(
    "expected, got, says",
    [
        (torch.ones(2), torch.ones(3), "the shape (3,), not (2,)"),
        (torch.ones(2), torch.tensor([1.0, 1.001]), "other values than expected"),
        (torch.ones(2, dtype=torch.bool), torch.ones(2), "torch.float32, not torch.bool"),
        (torch.ones(2), "text", "a str, not a float32 tensor"),
        ((1, 2), (1, 2, 3), "3 values, not 2 values"),
        ((1, 2), 1, "an int, not 2 values"),
        ({"w": 1}, {"v": 1}, "not a dict with the keys ['w']"),
        ("left", "right", "another answer"),
    ],
)
def test_each_fault_is_named(expected, got, says):
    assert says in compare(expected, got).mistake


def test_numbers_and_options_are_read_as_a_reader_means_them():
    verify = number(0, 100, "points")
    assert verify((), 0) is None and verify((), 99.5) is None
    assert "one number of points" in verify((), True).mistake and "from 0 to 100" in verify((), 101).mistake
    verify = options("AB", ("less", "not less"), {"A": "less", "B": "not less"}, {"A": "Look again.", "B": "No."})
    assert verify((), {"A": " Less", "B": "NOT LESS"}) is None
    assert verify((), {"A": "less"}).mistake == "Give a dict with the keys 'A', 'B'."
    assert verify((), {"A": "not less", "B": "not less"}).mistake == "A: Look again."
    assert "answer 'less' or 'not less', not 3" in verify((), {"A": 3, "B": "less"}).mistake


def test_values_are_shown_in_short():
    assert show(torch.tensor([[1 / 3, 2.0]])) == "[[0.3333, 2.0]]"
    assert show((torch.zeros(40), {"a": 0.5})) == "(a float32 tensor of shape (40,), {'a': 0.5})"
    assert kind_of(np.zeros(2)) == "a float64 array" and kind_of([]) == "a list" and kind_of(1) == "an int"
