"""Products that skip pruned weights, against those that do not."""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthkit import data
from lthkit.networks import Dense, Network, compressed, from_module, lenet_300_100
from lthkit.networks.compressed import compress, compressible

from ..oracles import clone, examples, same_bits
from .test_dense import gradients, relative, world, worlds

pytestmark = pytest.mark.skipif(not compressed.dtypes(), reason="this build of torch has no such products")


def pruned(seed: int, network, params, shares):
    """Masks that keep about these shares of the layers, other weights in each replicate; the effective parameters."""
    generator = torch.Generator().manual_seed(seed)
    masks = {}
    for name, share in zip(network.prunable, shares, strict=False):
        masks[name] = torch.rand(params[name].shape, generator=generator) < share
    return masks, {name: v.masked_fill(~masks[name], 0) if name in masks else v for name, v in params.items()}


def compressed_gradients(network, params, masks, *batches):
    """As `gradients`, with compressed weights; the gradients as [R, out, in], 0 for pruned weights."""
    values = {name: value[masks[name]] if name in masks else value.clone() for name, value in params.items()}
    found = {name: torch.full_like(value, math.nan) for name, value in values.items()}
    weights, grads = (
        stored | {n: compress(mask, stored[n]) for n, mask in masks.items()} for stored in (values, found)
    )
    step = network.differentiator(weights, grads)
    for x, y in batches:
        losses = step(x, y).clone()
    for name, mask in masks.items():
        found[name] = torch.zeros_like(params[name]).masked_scatter_(mask, found[name])
    return found, losses


def kept_only(grads, masks):
    return {name: value.masked_fill(~masks[name], 0) if name in masks else value for name, value in grads.items()}


@examples
@given(worlds, st.integers(0, 99), st.sampled_from([torch.float32, torch.float64]))
def test_a_matrix_has_a_block_for_each_replicate_and_shares_its_values(drawn, seed, dtype):
    network, params, _, _ = world(drawn)
    masks, params = pruned(seed, network, {name: value.to(dtype) for name, value in params.items()}, [0.4, 0, 1])
    for name, mask in masks.items():
        values = params[name][mask]
        matrix = compress(mask, values)
        assert torch.equal(matrix.to_dense(), torch.block_diag(*params[name]))
        values.mul_(2)
        assert torch.equal(matrix.to_dense(), 2 * torch.block_diag(*params[name]))


@examples
@given(
    worlds,
    st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=3, max_size=3),
    st.sampled_from([(torch.float64, 1e-12), (torch.float32, 2e-6)]),
)
def test_gradients_of_kept_weights_agree_with_the_dense_ones_and_with_autograd(drawn, shares, precision):
    """Layers that keep all or nothing, one unit, one image, one replicate; batches of two sizes in turn."""
    dtype, tolerance = precision
    network, params, x, y = world(drawn)
    params, x = {name: value.to(dtype) for name, value in params.items()}, x.to(dtype)
    masks, params = pruned(drawn[-1], network, params, shares)
    batches = (x, y), (1 - x[:, :1], y[:, :1]), (1 - x, y), (x, y)
    found, losses = compressed_gradients(network, params, masks, *batches)
    for differentiator in (network.differentiator, lambda *a: Network.differentiator(network, *a)):
        expected, expected_losses = gradients(differentiator, params, (x, y))
        assert relative(found, kept_only(expected, masks)) <= tolerance
        assert torch.allclose(losses, expected_losses, rtol=tolerance, atol=tolerance)
    again, losses_again = compressed_gradients(network, params, masks, (x, y))
    assert same_bits(again, found) and torch.equal(losses_again, losses)


@pytest.mark.parametrize("replicates, batch, share", [(1, 60, 0.03), (10, 60, 0.2), (4, 57, 0.01), (3, 1, 0.1)])
def test_gradients_agree_on_the_real_network(replicates, batch, share):
    digits = data.load("digits")
    network = lenet_300_100(digits)
    masks, params = pruned(0, network, network.init(range(replicates)), [share, share, 0.3])
    chosen = torch.arange(replicates * batch).view(replicates, batch)
    x, y = digits.train_x[chosen], digits.train_y[chosen]
    expected, _ = gradients(lambda *a: Network.differentiator(network, *a), params, (x, y))
    found, _ = compressed_gradients(network, params, masks, (x, y))
    assert relative(found, kept_only(expected, masks)) <= 1e-6


def test_weights_are_seen_to_change_in_place_and_nothing_else_is_written():
    network, params, x, y = world(([4, 3], 3, 2, 5, 1))
    masks, params = pruned(1, network, params, [0.5, 0.5, 0.5])
    values = {name: value[masks[name]] if name in masks else value.clone() for name, value in params.items()}
    weights = values | {n: compress(mask, values[n]) for n, mask in masks.items()}
    grads = {name: torch.zeros_like(value) for name, value in values.items()}
    step = network.differentiator(weights, grads | {n: compress(mask, grads[n]) for n, mask in masks.items()})
    before, images, labels = clone(values), x.clone(), y.clone()
    first = step(x, y).clone()
    assert same_bits(values, before) and torch.equal(x, images) and torch.equal(y, labels)
    for value in values.values():
        value.mul_(0.5)
    halved, losses = compressed_gradients(network, {n: 0.5 * value for n, value in params.items()}, masks, (x, y))
    assert torch.equal(step(x, y), losses) and not torch.equal(losses, first)
    assert all(torch.equal(grads[name], halved[name][mask]) for name, mask in masks.items())


def test_a_replicate_that_is_lost_leaves_the_others_alone():
    network, params, x, y = world(([4, 3], 3, 3, 5, 1))
    masks, params = pruned(1, network, params, [0.5, 0.5, 0.5])
    found, losses = compressed_gradients(network, params, masks, (x, y))
    for bad in (math.nan, math.inf):
        lost = clone(params)
        for name, mask in masks.items():
            lost[name][1] = lost[name][1].masked_fill(mask[1], bad)
        grads, their_losses = compressed_gradients(network, lost, masks, (x, y))
        assert their_losses[1].isnan() and torch.equal(their_losses[::2], losses[::2])
        assert all(torch.equal(value[::2], found[name][::2]) for name, value in grads.items())


# --- where it is done ---

NETWORK = Dense("small", [6, 10, 3])  # 60 and 30 weights
LIMIT = int(2 * 90 * compressed.SHARE)


def few(kept: int, network=NETWORK):
    """Two replicates that keep so many weights in all, none of the last layer; their parameters and masks."""
    params = network.init([0, 1])
    masks = {name: torch.zeros_like(params[name], dtype=torch.bool) for name in network.prunable}
    masks["fc1.weight"].view(-1)[:kept] = True
    return {name: v.masked_fill(~masks[name], 0) if name in masks else v for name, v in params.items()}, masks


def test_few_weights_are_left_where_the_whole_network_keeps_a_small_share():
    params, masks = few(LIMIT)
    assert same_bits(compressible(NETWORK, params, masks), masks)
    assert compressible(NETWORK, *few(LIMIT + 1)) == {}


def test_a_layer_without_a_mask_keeps_all():
    params, masks = few(LIMIT)
    del masks["fc2.weight"]
    assert compressible(NETWORK, params, masks) == {}
    params, masks = few(0)
    wide = Dense("wide", [6, 10, 1])
    params, masks = few(0, wide)
    del masks["fc2.weight"]  # 20 of 140
    params["fc2.weight"].fill_(1)
    found = compressible(wide, params, masks)
    assert list(found) == list(wide.prunable) and found["fc2.weight"].all() and not found["fc1.weight"].any()


def test_pruned_weights_of_another_value_are_not_skipped():
    params, masks = few(LIMIT)
    params["fc2.weight"][1, 2, 9] = 1e-30
    assert compressible(NETWORK, params, masks) == {}


def test_other_numbers_and_other_networks_are_left_as_they_are(monkeypatch):
    class Plain(Dense):
        differentiator = Network.differentiator

    params, masks = few(LIMIT)
    assert compressible(Plain("plain", [6, 10, 3]), params, masks) == {}
    assert compressible(NETWORK, {name: value.bfloat16() for name, value in params.items()}, masks) == {}
    assert compressible(NETWORK, {name: value.to("meta") for name, value in params.items()}, masks) == {}
    assert not from_module(NETWORK.module).compresses
    assert compressible(NETWORK, {name: value.double() for name, value in params.items()}, masks) == masks
    monkeypatch.setattr(compressed, "dtypes", set)
    assert compressible(NETWORK, params, masks) == {}


# --- where torch has no such products ---


@pytest.mark.parametrize("fault", ["raises", "elsewhere", "wrong"])
def test_products_that_fail_or_give_other_numbers_are_found_out(fault, monkeypatch):
    def sampled_addmm(matrix, a, b, beta, out):
        if fault == "raises":
            raise RuntimeError("Calling sampled_addmm on a sparse CPU tensor requires compiling PyTorch with MKL")
        if fault == "wrong":
            out.values().fill_(3)
        return matrix

    assert compressed._works(torch.float32) and not compressed._works(torch.bfloat16)
    monkeypatch.setattr(torch.sparse, "sampled_addmm", sampled_addmm)
    assert not compressed._works(torch.float32)


def test_torch_warns_of_nothing():
    """Of compressed rows being new to it; in a process of its own, as it does so but once."""
    code = """
import torch
from lthkit.networks.compressed import compress, dtypes
dtypes()
torch.mm(compress(torch.ones(1, 2, 2, dtype=torch.bool), torch.ones(4)), torch.ones(2, 2))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
