"""What every criterion and every action promises, whatever else it does."""

import math

import pytest
import torch

from lthkit import actions, criteria, masks, training
from lthkit.data import Dataset
from lthkit.networks import Dense
from lthkit.streams import streams

from .oracles import clone, pairs, same_bits, stack

NETWORK = Dense("small", [6, 5, 3])
DATA = Dataset.from_tensors("small", *pairs())
SEEDS = [3, 1, 8]


DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def world(dtype=torch.float32, device="cpu", rough=False):
    """(initial, final, kept): parameters of three replicates before and after training, about half of them pruned.

    rough: multiples of a half, so that there are ties, zeros, flipped signs and weights that did not move.
    """
    initial, final = (
        {
            name: ((2 * value).round() / 2 if rough else value).to(device=device, dtype=dtype)
            for name, value in stack(seed, NETWORK.shapes, len(SEEDS)).items()
        }
        for seed in (1, 2)
    )
    kept = masks.prune({name: final[name].abs() for name in NETWORK.prunable}, masks.ones(final, NETWORK.prunable), 0.5)
    return initial, {name: value * kept.get(name, True) for name, value in final.items()}, kept


def alone(tensors, k: int):
    return {name: value[k : k + 1] for name, value in tensors.items()}


def scores(name, initial, final, kept, seeds):
    evidence = criteria.Evidence(NETWORK, initial, final, kept, DATA, streams(seeds, "sample", 2))
    return criteria.CRITERIA[name](evidence)


def starts(name, initial, final, kept, seeds):
    return actions.MASK_1[name](NETWORK, initial, final, kept, streams(seeds, "action", 2))


def zeroed(name, initial, final, kept, seeds):
    start, frozen = actions.MASK_0[name](clone(initial), initial, final, kept)
    return start | {f"frozen {layer}": value for layer, value in frozen.items()}


TABLE = [(scores, name) for name in criteria.CRITERIA]
TABLE += [(starts, name) for name in actions.MASK_1]
TABLE += [(zeroed, name) for name in actions.MASK_0]


def of_each(table):
    """A test's parameters: (call, name, world) for all criteria and actions of the table, in all worlds."""

    def decorate(test):
        ids = [f"{call.__name__}-{name}" for call, name in table]
        test = pytest.mark.parametrize("call, name", table, ids=ids)(test)
        test = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])(test)
        test = pytest.mark.parametrize("rough", [False, True], ids=["smooth", "rough"])(test)
        return pytest.mark.parametrize("device", DEVICES)(test)

    return decorate


@of_each(TABLE)
def test_names_shapes_and_dtypes(call, name, dtype, rough, device):
    initial, final, kept = world(dtype, device, rough)
    found = call(name, initial, final, kept, SEEDS)
    if call is scores:
        assert set(found) == set(kept)
    else:
        assert list(found)[: len(initial)] == list(initial)
        assert all(found[layer].dtype == dtype for layer in found)
    if call is zeroed:
        assert {f"frozen {layer}" for layer in kept} == set(found) - set(initial)
    for layer, value in found.items():
        assert value.shape == final[layer.removeprefix("frozen ")].shape
        assert value.is_floating_point() and value.device == final["fc1.weight"].device and not value.requires_grad


@of_each(TABLE)
def test_no_value_is_nan_and_no_weight_infinite(call, name, dtype, rough, device):
    found = call(name, *world(dtype, device, rough), SEEDS)
    assert not any(value.isnan().any() for value in found.values())
    assert call is scores or all(value.isfinite().all() for value in found.values())


@of_each([(call, name) for call, name in TABLE if call is starts])
def test_biases_are_those_of_before_the_draw_or_the_training(call, name, dtype, rough, device):
    initial, final, kept = world(dtype, device, rough)
    found = call(name, initial, final, kept, SEEDS)
    own = final if name == "continue" else initial
    for layer in set(initial) - set(kept):
        expected = torch.zeros_like(own[layer]) if name.endswith("reinit") else own[layer]
        assert torch.equal(found[layer], expected)


@of_each([(call, name) for call, name in TABLE if call is zeroed])
def test_pruned_weights_are_0_or_their_first_value_and_biases_stay(call, name, dtype, rough, device):
    initial, final, kept = world(dtype, device, rough)
    found = call(name, initial, final, kept, SEEDS)
    assert all(torch.equal(found[layer], initial[layer]) for layer in set(initial) - set(kept))
    effective = training.effective({n: found[n] for n in initial}, kept, {n: found[f"frozen {n}"] for n in kept})
    for layer, mask in kept.items():
        allowed = (effective[layer] == 0) | (effective[layer] == initial[layer])
        assert allowed[~mask].all()


@of_each(TABLE)
def test_the_inputs_are_not_changed(call, name, dtype, rough, device):
    initial, final, kept = world(dtype, device, rough)
    before = clone(initial), clone(final), clone(kept)
    found = call(name, initial, final, kept, SEEDS)
    assert same_bits(initial, before[0]) and same_bits(final, before[1]) and same_bits(kept, before[2])
    if call is not scores:  # nor is memory shared that training could write to
        for value in found.values():
            value.fill_(math.nan)
        assert same_bits(initial, before[0]) and same_bits(final, before[1])


@of_each(TABLE)
def test_equal_generators_give_equal_results_whatever_the_global_one_says(call, name, dtype, rough, device):
    first = call(name, *world(dtype, device, rough), SEEDS)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert same_bits(call(name, *world(dtype, device, rough), SEEDS), first)
    assert torch.equal(torch.get_rng_state(), state)


@of_each(TABLE)
def test_a_replicate_alone_gives_what_it_gives_in_a_stack(call, name, dtype, rough, device):
    initial, final, kept = world(dtype, device, rough)
    found = call(name, initial, final, kept, SEEDS)
    for k, seed in enumerate(SEEDS):
        one = call(name, alone(initial, k), alone(final, k), alone(kept, k), [seed])
        assert same_bits(one, alone(found, k))


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("name", criteria.CRITERIA)
def test_every_criterion_can_be_pruned_by_and_revives_nothing(name, scope):
    for rough in (False, True):
        initial, final, kept = world(rough=rough)
        after = masks.prune(scores(name, initial, final, kept, SEEDS), kept, 0.5, scope)
        assert not any((after[layer] & ~mask).any() for layer, mask in kept.items())
        groups = [[layer] for layer in kept] if scope == "layer" else [list(kept)]
        for group in groups:
            alive, left = (sum(part[layer].flatten(1).sum(1) for layer in group) for part in (kept, after))
            assert left.tolist() == [count - round(0.5 * count) for count in alive.tolist()]


@pytest.mark.parametrize("name", criteria.CRITERIA)
def test_every_criterion_scores_a_layer_that_keeps_nothing(name):
    initial, final, kept = world()
    kept["fc2.weight"] = torch.zeros_like(kept["fc2.weight"])
    found = scores(name, initial, final, kept, SEEDS)
    assert not any(value.isnan().any() for value in found.values())
    assert not masks.prune(found, kept, 0.5)["fc2.weight"].any()
