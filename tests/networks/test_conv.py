"""Conv-2, Conv-4 and Conv-6: their layers and counts, and one network computed in three ways."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lthkit.data import Dataset
from lthkit.networks import Conv, conv_2, conv_4, conv_6
from lthkit.training import fit

from ..oracles import clone, pairs, same_bits, stack, worst


def blank(*shape: int) -> Dataset:
    part = (torch.zeros(10, *shape), torch.arange(10))
    return Dataset.from_tensors("blank", part, part, part)


PAPER = [(conv_2, 4_300_992, 38_592, 0.5), (conv_4, 2_425_024, 259_776, 0.5), (conv_6, 2_261_184, 1_144_512, 0.75)]


@pytest.mark.parametrize("build, weights, in_convs, conv_rate", PAPER)
def test_the_papers_networks_have_the_counts_and_rates(build, weights, in_convs, conv_rate):
    network = build(blank(3, 32, 32))
    count = {name: math.prod(network.shapes[name]) for name in network.prunable}
    convs = [name for name in network.prunable if name.startswith("conv")]
    assert sum(count.values()) == weights and f"{weights:,}" in repr(network)
    assert sum(count[name] for name in convs) == in_convs and len(convs) == int(network.name[-1])
    rates = dict.fromkeys(convs, conv_rate) | {"fc1.weight": 1.0, "fc2.weight": 1.0, "fc3.weight": 0.5}
    assert network.rates == rates and network.buffers == ()
    assert set(network.shapes) - set(rates) == {name.replace("weight", "bias") for name in rates}


def test_conv_4_is_the_papers_stack_of_layers():
    said = [str(layer) for layer in conv_4(blank(3, 32, 32)).module()]
    pair = ["Conv2d({}, {}, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))", "ReLU()"]
    pool = "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)"
    convs = []
    for n_in, n_out in ((3, 64), (64, 128)):
        convs += [pair[0].format(n_in, n_out), "ReLU()", pair[0].format(n_out, n_out), "ReLU()", pool]
    linear = "Linear(in_features={}, out_features={}, bias=True)"
    denses = [linear.format(8192, 256), "ReLU()", linear.format(256, 256), "ReLU()", linear.format(256, 10)]
    assert said == [*convs, "Flatten(start_dim=1, end_dim=-1)", *denses]


@pytest.mark.parametrize("build, shape, features", [(conv_2, (1, 28, 28), 64 * 14 * 14), (conv_6, (1, 9, 31), 256 * 3)])
def test_images_of_any_size(build, shape, features):
    data = blank(*shape)
    network = build(data)
    assert network.shapes["fc1.weight"] == (256, features) and network.shapes["conv1.weight"] == (64, shape[0], 3, 3)
    logits = network.forward(network.init([0]), data.train_x[:2])
    assert logits.shape == (1, 2, 10)
    assert network.module()(data.train_x[:2]).shape == (2, 10)


@pytest.mark.parametrize("build, least", [(conv_2, 2), (conv_4, 4), (conv_6, 8)])
def test_images_too_small_for_the_pooling_are_refused(build, least):
    assert build(blank(1, least, least)).shapes["fc1.weight"][1] in (64, 128, 256)
    with pytest.raises(ValueError, match=f"at least {least} pixels a side, got {least - 1}×40"):
        build(blank(1, least - 1, 40))


def test_weights_are_glorot_normal_and_biases_zero():
    params = conv_4(blank(3, 8, 8)).init([0, 1])
    for name, value in params.items():
        assert value.dtype == torch.float32
        if name.endswith("bias"):
            assert not value.any()
            continue
        size = value[0].numel()
        glorot = nn.init.xavier_normal_(torch.empty(value.shape[1:]), generator=torch.Generator().manual_seed(0))
        for drawn in value:
            assert drawn.std().item() == pytest.approx(glorot.std().item(), rel=8 / math.sqrt(size))
            assert abs(drawn.mean().item()) < 5 * glorot.std().item() / math.sqrt(size)
            # A uniform draw of this spread would end at 1.73 standard deviations.
            assert drawn.abs().max() > 2.5 * drawn.std()


def test_glorot_counts_the_kernel_in_both_fans():
    value = conv_4(blank(3, 8, 8)).init([0])["conv4.weight"]  # 128 × 128 × 3 × 3
    assert value.std().item() == pytest.approx(math.sqrt(2 / ((128 + 128) * 9)), rel=0.01)


def test_a_replicate_is_drawn_from_its_seed_alone():
    network = Conv("small", blank(1, 4, 4), (2,), 0.5)
    both, alone = network.init([3, 8]), network.init([8])
    assert same_bits({name: value[1:] for name, value in both.items()}, alone)
    assert not torch.equal(both["conv1.weight"][0], both["conv1.weight"][1])


@pytest.fixture
def world():
    """A network of two pairs, three replicates and a batch for each, float64."""
    network = Conv("small", Dataset.from_tensors("small", *pairs(shape=(2, 9, 6))), (2, 3), 0.5)
    params = stack(5, network.shapes, 3, scale=0.2)
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(3, 7, 2, 9, 6, generator=generator, dtype=torch.float64)
    return network, params, x, torch.randint(3, (3, 7), generator=generator)


def modules(network, params) -> list[nn.Module]:
    """A module a replicate, with the same parameters."""
    found = []
    for k in range(3):
        net = network.module().double()
        net.load_state_dict({name: value[k] for name, value in params.items()})
        found.append(net)
    return found


@pytest.mark.parametrize("shared", [True, False])
def test_loop_grouped_and_module_give_the_same_logits(world, shared):
    network, params, x, _ = world
    before = clone(params | {"x": x})
    x = x[0] if shared else x
    loop, grouped = network.forward(params, x), network._grouped(params, x)
    plain = torch.stack([net(x if shared else x[k]) for k, net in enumerate(modules(network, params))])
    assert loop.shape == (3, 7, 3) and plain.abs().max() > 1e-2
    assert (loop - plain).abs().max() < 1e-12 and (grouped - plain).abs().max() < 1e-12
    assert same_bits(params, {name: before[name] for name in params}) and torch.equal(world[2], before["x"])


def test_loop_grouped_and_module_give_the_same_gradients(world):
    network, params, x, y = world
    expected = {name: torch.zeros_like(value) for name, value in params.items()}
    losses = []
    for k, net in enumerate(modules(network, params)):
        loss = F.cross_entropy(net(x[k]), y[k])
        loss.backward()
        losses.append(loss.detach())
        for name, value in net.named_parameters():
            expected[name][k] = value.grad
    assert all(value.any() for value in expected.values())

    grads = {name: torch.full_like(value, math.nan) for name, value in params.items()}
    found = network.differentiator(params, grads)(x, y)
    assert worst(grads, expected) < 1e-12 and (found - torch.stack(losses)).abs().max() < 1e-12

    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    each = F.cross_entropy(network._grouped(leaves, x).flatten(0, 1), y.flatten(), reduction="none").view(3, 7).mean(1)
    each.sum().backward()
    assert worst({name: value.grad for name, value in leaves.items()}, expected) < 1e-12


def test_one_replicate_does_not_touch_another(world):
    network, params, x, _ = world
    changed = clone(params)
    for value in changed.values():
        value[0] = 7.0
    for path in (network.forward, network._grouped):
        assert torch.equal(path(params, x)[1:], path(changed, x)[1:])


def test_it_trains_under_masks_as_alone():
    data = Dataset.from_tensors("small", *pairs(shape=(1, 4, 4)))
    network = Conv("small", data, (2,), 0.5)
    params = {name: value.double() for name, value in network.init([3, 8]).items()}
    generator = torch.Generator().manual_seed(0)
    masks = {name: torch.rand(params[name].shape, generator=generator) < 0.5 for name in network.prunable}
    settings = {"iterations": 6, "batch_size": 20, "weight_decay": 0.01}
    both = fit(network, params, data, masks=masks, seeds=[3, 8], **settings)
    alone = [{name: value[1:] for name, value in part.items()} for part in (params, masks)]
    alone = fit(network, alone[0], data, masks=alone[1], seeds=[8], **settings)
    assert worst({name: value[1:] for name, value in both.params.items()}, alone.params) < 1e-12
    for name, mask in masks.items():
        assert not both.params[name][~mask].any() and both.params[name][mask].all()
    assert (both.history.train_loss[:, -1] < 1.2).all()
