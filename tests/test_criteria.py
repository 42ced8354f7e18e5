"""Criteria, on three weights that can be scored on paper."""

import pytest
import torch

from lthkit.criteria import CRITERIA, Evidence
from lthkit.streams import streams

INITIAL = {"w": torch.tensor([[3.0, -1.0, 0.5]]), "bias": torch.tensor([[9.0]])}
FINAL = {"w": torch.tensor([[-1.0, -2.0, 0.0]]), "bias": torch.tensor([[9.0]])}
KEPT = {"w": torch.tensor([[True, True, False]])}
BY_HAND = {"large_final": [1.0, 2.0, 0.0], "magnitude": [1.0, 2.0, 0.0], "large_init": [3.0, 1.0, 0.5]}


def score(name, seeds=(0,), initial=INITIAL, final=FINAL, kept=KEPT):
    return CRITERIA[name](Evidence(None, initial, final, kept, None, streams(seeds, "sample", 1)))


@pytest.mark.parametrize("name", BY_HAND)
def test_scores_by_hand(name):
    found = score(name)
    assert list(found) == ["w"]  # biases are never pruned
    assert found["w"].tolist() == [BY_HAND[name]]


def test_random_scores_are_uniform_and_depend_on_the_seed():
    shape = (3, 100, 100)
    given = {"kept": {"w": torch.ones(shape, dtype=torch.bool)}, "initial": {}, "final": {}}
    drawn = score("random", (0, 1, 2), **given)["w"]
    assert drawn.min() >= 0 and drawn.max() < 1
    # mean and spread of 10,000 uniform draws, within four standard errors
    assert ((drawn.mean((1, 2)) - 0.5).abs() < 4 * 0.2887 / 100).all()
    assert ((drawn.std((1, 2)) - 0.2887).abs() < 4 * 0.13 / 100).all()
    assert not torch.equal(drawn[0], drawn[1])
    again = score("random", (2, 0, 1), **given)["w"]
    assert torch.equal(again, drawn[[2, 0, 1]])
