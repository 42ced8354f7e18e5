"""Actions: what kept and pruned weights are before a round."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthkit.actions import MASK_0, MASK_1
from lthkit.networks import Dense
from lthkit.streams import streams

from .oracles import examples, same_bits, stack

NETWORK = Dense("small", [6, 5, 3])
INITIAL, FINAL = stack(1, NETWORK.shapes, 2), stack(2, NETWORK.shapes, 2)
KEPT = {name: FINAL[name] > 0 for name in NETWORK.prunable}


def act(name, seeds=(0, 1), round=1, initial=INITIAL):
    return MASK_1[name](NETWORK, initial, FINAL, KEPT, streams(seeds, "action", round))


def test_rewind_and_continue_take_every_parameter_biases_too():
    assert same_bits(act("rewind"), INITIAL)
    assert same_bits(act("continue"), FINAL)


def test_reinit_is_the_networks_own_law_with_other_numbers():
    initial = NETWORK.init([0, 1])
    fresh = act("reinit", initial=initial)
    expected = NETWORK.draw(streams([0, 1], "action", 1))
    assert same_bits(fresh, expected)
    for name in NETWORK.prunable:
        assert (fresh[name] != initial[name]).all()
    assert not fresh["fc1.bias"].any()


def test_reinit_depends_on_seed_and_round_and_on_nothing_else():
    first = act("reinit", seeds=(5, 6), round=2)
    assert same_bits(first, act("reinit", seeds=(5, 6), round=2))
    turned = act("reinit", seeds=(6, 5), round=2)
    for name in NETWORK.prunable:
        assert torch.equal(first[name], turned[name].flip(0))
        assert not torch.equal(first[name], act("reinit", seeds=(5, 6), round=3)[name])
        assert not torch.equal(first[name][0], first[name][1])


# --- reshuffle, constant, and the signed forms ---


def test_reshuffle_permutes_the_kept_values_of_each_layer_and_nothing_else():
    found = act("reshuffle")
    for name, value in found.items():
        if name not in KEPT:
            assert torch.equal(value, INITIAL[name])
            continue
        kept = KEPT[name]
        assert torch.equal(value[~kept], INITIAL[name][~kept])
        for k in range(2):
            ours, theirs = value[k][kept[k]].numpy(), INITIAL[name][k][kept[k]].numpy()
            assert np.array_equal(np.sort(ours), np.sort(theirs))
            assert len(ours) < 4 or not np.array_equal(ours, theirs)


def test_reshuffle_draws_every_order_equally_often():
    """Three kept values, 1,200 seeds: six orders, each within four standard errors of a sixth."""
    seeds = range(1200)
    initial = {"w": torch.tensor([[1.0, 9.0, 2.0, 3.0]]).expand(1200, 4)}
    kept = {"w": torch.tensor([[True, False, True, True]]).expand(1200, 4)}
    found = MASK_1["reshuffle"](None, initial, initial, kept, streams(seeds, "action", 1))["w"]
    orders, counts = np.unique(found.numpy(), axis=0, return_counts=True)
    assert len(orders) == 6 and (orders[:, 1] == 9).all()
    assert (np.abs(counts - 200) < 4 * np.sqrt(1200 * 1 / 6 * 5 / 6)).all()


def test_constant_is_the_standard_deviation_of_the_layers_initial_weights():
    """Of all of them, kept or not, in each replicate; either sign half the time."""
    network = Dense("wide", [40, 50, 3])
    initial = {name: value.double() for name, value in network.init([0, 1]).items()}
    kept = {name: initial[name] > 0 for name in network.prunable}
    found = MASK_1["constant"](network, initial, initial, kept, streams([0, 1], "action", 1))
    for name, value in found.items():
        if name in kept:
            for k in range(2):
                sigma = np.std(initial[name][k].numpy())
                assert value[k].abs().numpy() == pytest.approx(np.full(value[k].shape, sigma), rel=1e-12)
                positive = (value[k] > 0).double().mean().item()
                assert abs(positive - 0.5) < 4 * 0.5 / np.sqrt(value[k].numel())
        else:
            assert torch.equal(value, initial[name])


@pytest.mark.parametrize("name", ["reshuffle", "constant", "signed_reinit", "signed_reshuffle", "signed_constant"])
def test_draws_depend_on_seed_and_round_and_on_nothing_else(name):
    first = act(name, seeds=(5, 6), round=2)
    assert same_bits(first, act(name, seeds=(5, 6), round=2))
    other = act(name, seeds=(5, 7), round=2)
    for layer in KEPT:
        assert torch.equal(first[layer][0], other[layer][0])
        if name != "signed_constant":  # which has nothing left to draw
            assert not torch.equal(first[layer], act(name, seeds=(5, 6), round=3)[layer])


@pytest.mark.parametrize("name", ["reinit", "reshuffle", "constant"])
def test_a_signed_form_has_the_same_sizes_and_the_initial_signs(name):
    initial = {layer: value.clone() for layer, value in INITIAL.items()}
    for layer in KEPT:
        initial[layer][:, 0] = 0  # no sign to take over: the action's own stays
        initial[layer][:, 1, :2] = -0.0
    unsigned, found = act(name, initial=initial), act(f"signed_{name}", initial=initial)
    for layer, value in found.items():
        if layer not in KEPT:
            assert torch.equal(value, unsigned[layer])
            continue
        ours, theirs, signs = (t.numpy() for t in (value, unsigned[layer], initial[layer]))
        assert np.array_equal(np.abs(ours), np.abs(theirs))
        assert np.array_equal(np.sign(ours)[signs != 0], (np.sign(signs) * (theirs != 0))[signs != 0])
        assert np.array_equal(ours[signs == 0], theirs[signs == 0])


def test_a_layer_with_nothing_to_act_on_is_named_or_left_alone():
    none = {name: torch.zeros_like(mask) for name, mask in KEPT.items()}
    for name, action in MASK_1.items():
        if "reshuffle" in name:
            with pytest.raises(ValueError, match="fc1.weight keeps no weight in replicate 0"):
                action(NETWORK, INITIAL, FINAL, none, streams((0, 1), "action", 1))
        else:
            start = action(NETWORK, INITIAL, FINAL, none, streams((0, 1), "action", 1))
            assert all(value.isfinite().all() for value in start.values())
    for action in MASK_0.values():
        start, frozen = action(INITIAL, INITIAL, FINAL, none)
        assert all(value.isfinite().all() for part in (start, frozen) for value in part.values())
    empty = {"w": torch.zeros(1, 0, 3)}
    for name in ("constant", "signed_constant"):
        with pytest.raises(ValueError, match="w has no weights"):
            MASK_1[name](None, empty, empty, {"w": empty["w"] > 0}, streams([0], "action", 1))


# --- mask-0 actions ---


def test_zero_freezes_pruned_weights_at_zero_and_leaves_the_start_alone():
    start, frozen = MASK_0["zero"](INITIAL, INITIAL, FINAL, KEPT)
    assert same_bits(start, INITIAL)
    assert set(frozen) == set(KEPT) and not any(value.any() for value in frozen.values())


def test_mask_0_actions_by_hand():
    """Weights that grew, shrank, flipped and grew, flipped and shrank, kept their size, were and became zero."""
    wi = {"w": torch.tensor([[1.0, 1.0, 1.0, 1.0, -1.0, 0.0, 1.0]])}
    wf = {"w": torch.tensor([[2.0, 0.5, -2.0, -0.5, 1.0, 0.3, 0.0]])}
    start = {"w": torch.full((1, 7), 7.0), "bias": torch.tensor([[4.0]])}
    kept = {"w": torch.tensor([[True, True, False, False, False, False, False]])}
    moved_away = [1, 0, 1, 0, -1, 0, 0]
    expected = {"zero": [0] * 7, "freeze": wi["w"][0].tolist(), "variant_1": moved_away, "variant_2": moved_away}
    for name, values in expected.items():
        found, frozen = MASK_0[name](start, wi, wf, kept)
        assert frozen["w"][0].tolist() == values and list(frozen) == ["w"]
        assert found["bias"] is start["bias"] or torch.equal(found["bias"], start["bias"])
        assert found["w"][0].tolist() == ([7, 0, 7, 7, 7, 7, 7] if name == "variant_2" else [7] * 7)


@examples
@given(st.integers(0, 2**32 - 1), st.sampled_from(list(MASK_0)))
def test_deciding_again_about_an_earlier_pruned_weight_changes_nothing(seed, name):
    """Several rounds of training that moves the kept weights anywhere: pruned ones stay what they first became."""
    rng = np.random.default_rng(seed)
    wi = {"w": torch.tensor(rng.integers(-3, 4, (2, 20)) / 2)}
    kept, held = {"w": torch.ones(2, 20, dtype=torch.bool)}, torch.zeros(2, 20, dtype=torch.float64)
    for _ in range(4):
        final = {"w": torch.where(kept["w"], torch.tensor(rng.integers(-3, 4, (2, 20)) / 2), held)}
        before = kept["w"]
        kept = {"w": before & torch.tensor(rng.random((2, 20)) < 0.6)}
        _, frozen = MASK_0[name](wi, wi, final, kept)
        assert torch.equal(frozen["w"][~before], held[~before])
        held = frozen["w"]
