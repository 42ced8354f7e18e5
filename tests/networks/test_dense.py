"""Drawing, running and differentiating replicates side by side."""

import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthkit import data
from lthkit.data import Dataset
from lthkit.networks import Dense, Network, lenet_300_100

from ..oracles import clone, examples, forward, pairs, same_bits, stack

worlds = st.tuples(
    st.lists(st.integers(1, 9), min_size=1, max_size=3),  # hidden widths and classes below
    st.integers(2, 5),
    st.integers(1, 4),  # replicates
    st.integers(1, 8),  # batch
    st.integers(0, 99),
)


def world(drawn):
    hidden, classes, replicates, batch, seed = drawn
    network = Dense("small", [6, *hidden[:-1], classes])
    params = stack(seed, network.shapes, replicates)
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(replicates, batch, 1, 2, 3, generator=generator, dtype=torch.float64)
    y = torch.randint(classes, (replicates, batch), generator=generator)
    return network, params, x, y


def gradients(differentiator, params, *batches):
    """The gradients and the losses after the last of some batches, with buffers that hold rubbish at first."""
    grads = {name: torch.full_like(value, math.nan) for name, value in params.items()}
    step = differentiator(params, grads)
    for x, y in batches:
        losses = step(x, y).clone()
    return grads, losses


@contextmanager
def torch_threads(count: int):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def relative(found, expected) -> float:
    """The largest error in any tensor of any replicate, relative to that tensor's largest value."""
    errors = []
    for name, value in expected.items():
        scale = value.flatten(1).abs().amax(1)
        error = (found[name] - value).flatten(1).abs().amax(1)
        errors.append(torch.where(error == 0, 0, error / scale).max().item())
    return max(errors)


def test_lenet_has_the_papers_layers_and_counts():
    network = lenet_300_100(Dataset.from_tensors("mnist", *pairs(shape=(1, 28, 28), classes=10), classes=10))
    assert sum(math.prod(network.shapes[name]) for name in network.prunable) == 266_200
    assert network.prunable == ("fc1.weight", "fc2.weight", "fc3.weight")
    assert network.rates == {"fc1.weight": 1.0, "fc2.weight": 1.0, "fc3.weight": 0.5}
    assert "LeNet-300-100" in repr(network) and "266,200" in repr(network)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 4)])
def test_lenet_takes_images_of_any_size(shape):
    found = Dataset.from_tensors("any", *pairs(shape=shape), classes=4)
    network = lenet_300_100(found)
    params = network.init([1, 2])
    assert params["fc1.weight"].shape == (2, 300, math.prod(shape))
    assert network.forward(params, found.val_x).shape == (2, 20, 4)


def test_weights_are_glorot_normal_and_biases_zero():
    params = lenet_300_100(data.load("digits")).init(range(20))
    for name, value in params.items():
        assert value.dtype == torch.float32
        if name.endswith("bias"):
            assert not value.any()
            continue
        n_out, n_in = value.shape[1:]
        std = math.sqrt(2 / (n_in + n_out))
        n = value.numel()
        assert abs(value.mean().item()) < 4 * std / math.sqrt(n)
        assert abs(value.std().item() / std - 1) < 4 / math.sqrt(2 * n)
        assert value.abs().max() > 3 * std  # no truncation


def test_a_replicate_depends_on_its_seed_alone():
    network = Dense("small", [6, 5, 3])
    several = network.init([4, 0, 7])
    for k, seed in enumerate([4, 0, 7]):
        assert same_bits({name: value[k : k + 1] for name, value in several.items()}, network.init(seed))
    assert not torch.equal(several["fc1.weight"][0], several["fc1.weight"][1])
    torch.manual_seed(123)
    assert same_bits(network.init([4, 0, 7]), several)


def test_forward_by_hand():
    network = Dense("paper", [2, 2, 2])
    params = {
        "fc1.weight": torch.tensor([[[1.0, 2.0], [-1.0, 1.0]]]),
        "fc1.bias": torch.tensor([[0.5, -0.25]]),
        "fc2.weight": torch.tensor([[[2.0, 1.0], [0.0, -3.0]]]),
        "fc2.bias": torch.tensor([[0.0, 1.0]]),
    }
    x = torch.tensor([[1.0, 0.5], [0.0, 1.0]]).view(2, 1, 1, 2)
    # hidden: relu(2.5, −0.75) = (2.5, 0) and relu(2.5, 0.75) = (2.5, 0.75)
    assert network.forward(params, x).tolist() == [[[5.0, 1.0], [5.75, -1.25]]]


@examples
@given(worlds)
def test_forward_agrees_with_numpy_for_shared_and_for_own_images(drawn):
    network, params, x, _ = world(drawn)
    assert np.allclose(network.forward(params, x).numpy(), forward(params, x), rtol=0, atol=1e-13)
    assert np.allclose(network.forward(params, x[0]).numpy(), forward(params, x[0]), rtol=0, atol=1e-13)


def test_backward_by_hand():
    """One image, one layer, two classes, all weights 0: the softmax is ½, so dL/dlogits = (½ − 1, ½)."""
    network = Dense("paper", [2, 2])
    params = {"fc1.weight": torch.zeros(1, 2, 2), "fc1.bias": torch.zeros(1, 2)}
    grads, losses = gradients(
        network.differentiator, params, (torch.tensor([1.0, 3.0]).view(1, 1, 1, 1, 2), torch.tensor([[0]]))
    )
    assert grads["fc1.bias"].tolist() == [[-0.5, 0.5]]
    assert grads["fc1.weight"].tolist() == [[[-0.5, -1.5], [0.5, 1.5]]]
    assert losses.tolist() == pytest.approx([math.log(2)])


@examples
@given(worlds, st.sampled_from([(torch.float64, 1e-12), (torch.float32, 1e-6)]))
def test_the_own_backward_agrees_with_autograd(drawn, precision):
    dtype, tolerance = precision
    network, params, x, y = world(drawn)
    params, x = {name: value.to(dtype) for name, value in params.items()}, x.to(dtype)
    own, own_losses = gradients(network.differentiator, params, (x, y))
    by_autograd, losses = gradients(lambda *a: Network.differentiator(network, *a), params, (x, y))
    assert relative(own, by_autograd) <= tolerance
    assert torch.allclose(own_losses, losses, rtol=tolerance, atol=tolerance)


@examples
@given(worlds, st.integers(2, 4))
def test_one_replicate_is_cut_into_blocks_for_several_threads_and_stays_itself(drawn, threads):
    """Widths that the threads divide and others, batches of two sizes in turn."""
    hidden, classes, _, batch, seed = drawn
    network, params, x, y = world((hidden, classes, 1, batch, seed))
    whole, whole_losses = gradients(network.differentiator, params, (x, y))
    with torch_threads(threads):
        cut, losses = gradients(network.differentiator, params, (x, y))
        again, _ = gradients(network.differentiator, params, (x, y), (1 - x[:, :1], y[:, :1]), (1 - x, y), (x, y))
    assert relative(cut, whole) <= 1e-12 and torch.allclose(losses, whole_losses, rtol=1e-12, atol=1e-12)
    assert same_bits(again, cut)


@pytest.mark.parametrize(
    "replicates, batch, threads",
    [(1, 60, 1), (10, 60, 1), (4, 57, 1), (3, 1, 1), (1, 60, 2), (1, 57, 3), (1, 1, 4), (4, 60, 2)],
)
def test_the_own_backward_agrees_with_autograd_on_the_real_network(replicates, batch, threads):
    digits = data.load("digits")
    network = lenet_300_100(digits)
    params = network.init(range(replicates))
    chosen = torch.arange(replicates * batch).view(replicates, batch)
    x, y = digits.train_x[chosen], digits.train_y[chosen]
    with torch_threads(threads):
        own, _ = gradients(network.differentiator, params, (x, y))
        by_autograd, _ = gradients(lambda *a: Network.differentiator(network, *a), params, (x, y))
    assert relative(own, by_autograd) <= 1e-6


@examples
@given(worlds)
def test_a_batch_leaves_no_trace_in_the_next(drawn):
    """Buffers are kept between calls, one set a batch size: going back and forth gives the same bits."""
    network, params, x, y = world(drawn)
    before = clone(params), x.clone(), y.clone()
    fresh, fresh_losses = gradients(network.differentiator, params, (x, y))
    other = (1 - x[:, :1], y[:, :1])
    again, losses = gradients(network.differentiator, params, (x, y), other, (1 - x, y), (x, y))
    assert same_bits(fresh, again) and torch.equal(fresh_losses, losses)
    assert same_bits(params, before[0]) and torch.equal(x, before[1]) and torch.equal(y, before[2])


def test_the_differentiator_sees_parameters_change_in_place():
    network, params, x, y = world(([4, 3], 3, 2, 5, 1))
    grads = {name: torch.zeros_like(value) for name, value in params.items()}
    step = network.differentiator(params, grads)
    first = step(x, y).clone()
    for value in params.values():
        value.mul_(0.5)
    halved, _ = gradients(network.differentiator, clone(params), (x, y))
    assert not torch.equal(step(x, y), first)
    assert same_bits(grads, halved)
