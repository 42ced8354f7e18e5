"""Actions: what kept and pruned weights are before a round."""

import torch

from lthkit.actions import MASK_0, MASK_1
from lthkit.networks import Dense
from lthkit.streams import streams

from .oracles import same_bits, stack

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


def test_zero_freezes_pruned_weights_at_zero_and_leaves_the_start_alone():
    start, frozen = MASK_0["zero"](INITIAL, INITIAL, FINAL, KEPT)
    assert same_bits(start, INITIAL)
    assert set(frozen) == set(KEPT) and not any(value.any() for value in frozen.values())
