"""Criteria by hand and against NumPy, on weights with ties, zeros and flipped signs."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthkit import masks
from lthkit.criteria import CRITERIA, Evidence
from lthkit.streams import streams

from ..oracles import examples

INITIAL = {"w": torch.tensor([[3.0, -1.0, 0.5]]), "bias": torch.tensor([[9.0]])}
FINAL = {"w": torch.tensor([[-1.0, -2.0, 0.0]]), "bias": torch.tensor([[9.0]])}
KEPT = {"w": torch.tensor([[True, True, False]])}
INF = float("inf")
BY_HAND = {
    "large_final": [1.0, 2.0, 0.0],
    "magnitude": [1.0, 2.0, 0.0],
    "small_final": [-1.0, -2.0, 0.0],
    "large_init": [3.0, 1.0, 0.5],
    "small_init": [-3.0, -1.0, -0.5],
    "magnitude_increase": [-2.0, 1.0, -0.5],
    "movement": [4.0, 1.0, 0.5],
    "large_final_same_sign": [-INF, 2.0, 0.0],
    "magnitude_increase_same_sign": [-INF, 1.0, -0.5],
}
RANKED = {"large_init_large_final": 1, "small_init_small_final": -1}  # by the size, or by its negative


def score(name, seeds=(0,), initial=INITIAL, final=FINAL, kept=KEPT):
    return CRITERIA[name](Evidence(None, initial, final, kept, None, streams(seeds, "sample", 1)))


@pytest.mark.parametrize("name", BY_HAND)
def test_scores_by_hand(name):
    found = score(name)
    assert list(found) == ["w"]  # biases are never pruned
    assert found["w"].tolist() == [BY_HAND[name]]


ORACLES = {
    "large_final": lambda wi, wf: np.sqrt(wf**2),
    "magnitude": lambda wi, wf: np.sqrt(wf**2),
    "small_final": lambda wi, wf: -np.sqrt(wf**2),
    "large_init": lambda wi, wf: np.sqrt(wi**2),
    "small_init": lambda wi, wf: -np.sqrt(wi**2),
    "magnitude_increase": lambda wi, wf: np.maximum(wf, -wf) - np.maximum(wi, -wi),
    "movement": lambda wi, wf: np.maximum(wf, wi) - np.minimum(wf, wi),
    "large_final_same_sign": lambda wi, wf: np.where(flipped(wi, wf), -INF, np.abs(wf)),
    "magnitude_increase_same_sign": lambda wi, wf: np.where(flipped(wi, wf), -INF, np.abs(wf) - np.abs(wi)),
}


@st.composite
def weights(draw):
    """(wi, wf, kept) of two layers and two replicates: multiples of a half from −2 to 2, so that ties are common."""
    found = {"initial": {}, "final": {}, "kept": {}}
    for name, shape in (("a", (2, 3, 4)), ("b", (2, 2, 5))):
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        for part in ("initial", "final"):
            found[part][name] = torch.tensor(rng.integers(-4, 5, shape) / 2)
        found["kept"][name] = torch.tensor(rng.random(shape) < draw(st.sampled_from([0.2, 0.7, 1.0])))
    return found


def flipped(wi, wf):
    return ((wi > 0) & (wf < 0)) | ((wi < 0) & (wf > 0))


@examples
@given(weights())
def test_scores_are_those_of_numpy(drawn):
    for name, expected in ORACLES.items():
        found = score(name, seeds=(0, 1), **drawn)
        for layer in drawn["kept"]:
            wi, wf = (drawn[part][layer].numpy() for part in ("initial", "final"))
            assert np.array_equal(found[layer].numpy(), expected(wi, wf))


@examples
@given(weights())
def test_the_rank_form_is_the_common_percentile(drawn):
    """Above the j-th smallest |wi| and the j-th smallest |wf| of the alive weights of a layer: the j-th percentile."""
    for name, sign in RANKED.items():
        found = score(name, seeds=(0, 1), **drawn)
        for layer, kept in drawn["kept"].items():
            for k in range(2):
                alive = kept[k].numpy()
                wi, wf = (sign * np.abs(drawn[part][layer][k].numpy()[alive]) for part in ("initial", "final"))
                scores = found[layer][k].numpy()[alive]
                for j in range(alive.sum()):
                    passed = (wi > np.sort(wi)[j]) & (wf > np.sort(wf)[j])
                    assert np.array_equal(np.rint(scores * alive.sum()) > j, passed)
                    assert not passed.any() or scores[passed].min() > scores[~passed].max()


@examples
@given(weights(), st.floats(0, 1))
def test_every_criterion_prunes_the_exact_count_of_alive_weights(drawn, rate):
    for name in [*ORACLES, *RANKED, "random"]:
        after = masks.prune(score(name, seeds=(0, 1), **drawn), drawn["kept"], rate)
        for layer, kept in drawn["kept"].items():
            assert not (after[layer] & ~kept).any()
            for k in range(2):
                alive = int(kept[k].sum())
                assert int(after[layer][k].sum()) == alive - round(rate * alive)


def test_random_scores_are_uniform_and_depend_on_the_seed():
    shape = (3, 100, 100)
    given = {
        "kept": {"w": torch.ones(shape, dtype=torch.bool)},
        "initial": {"w": torch.zeros(shape)},
        "final": {"w": torch.zeros(shape)},
    }
    drawn = score("random", (0, 1, 2), **given)["w"]
    assert drawn.min() >= 0 and drawn.max() < 1
    # mean and spread of 10,000 uniform draws, within four standard errors
    assert ((drawn.mean((1, 2)) - 0.5).abs() < 4 * 0.2887 / 100).all()
    assert ((drawn.std((1, 2)) - 0.2887).abs() < 4 * 0.13 / 100).all()
    assert not torch.equal(drawn[0], drawn[1])
    again = score("random", (2, 0, 1), **given)["w"]
    assert torch.equal(again, drawn[[2, 0, 1]])


@pytest.mark.parametrize(
    "change, said",
    [
        ({"initial": {}}, "'w' has no parameter"),
        ({"final": {"w": torch.zeros(1, 2)}}, r"\(1, 3\), its weight \(1, 2\)"),
        ({"kept": {}}, "masks are empty"),
        ({"seeds": (0, 1)}, "2 generators for 1 replicates"),
    ],
)
def test_evidence_that_does_not_fit_is_named(change, said):
    with pytest.raises(ValueError, match=said):
        score("large_final", **change)
