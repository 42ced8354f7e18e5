"""Criteria that need derivatives, against a network differentiated by hand in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from lthkit import masks
from lthkit.criteria import CRITERIA, Evidence
from lthkit.data import Dataset, load
from lthkit.networks import Conv, Dense, from_module, lenet_300_100
from lthkit.streams import stream, streams
from lthkit.training import fit

from ..oracles import clone, order, pairs, same_bits, stack, worst

NAMES = ["gradient", "snip", "grasp", "fisher", "synflow"]
NETWORK = Dense("small", [6, 9, 5, 3])
DATA = Dataset.from_tensors("small", *pairs(sizes=(130, 20, 30)))  # batches of 60, 60 and 10
X, Y = DATA.train_x.flatten(1).double().numpy(), DATA.train_y.numpy()
SEEDS = [3, 8]


def world(seed: int = 1, replicates: int = 2):
    """(initial, final, kept): some initial weights 0, a third of the weights pruned, biases that are not 0."""
    initial, final = (stack(s, NETWORK.shapes, replicates, scale=0.7) for s in (seed, seed + 50))
    kept = {name: stack(99, NETWORK.shapes, replicates)[name] > -0.2 for name in NETWORK.prunable}
    for name in NETWORK.prunable:
        initial[name][initial[name].abs() < 0.05] = 0
        final[name][~kept[name]] = 0
    return initial, final, kept


def score(name, initial, final, kept, network=NETWORK, data=DATA, seeds=SEEDS):
    return CRITERIA[name](Evidence(network, initial, final, kept, data, streams(seeds, "sample", 1)))


def replicate(params, kept, k: int) -> dict[str, np.ndarray]:
    return {name: (value[k] * kept[name][k] if name in kept else value[k]).numpy() for name, value in params.items()}


def activations(params, x):
    """The input of each layer, then the logits."""
    seen = [x]
    for i in (1, 2, 3):
        h = seen[-1] @ params[f"fc{i}.weight"].T + params[f"fc{i}.bias"]
        seen.append(np.maximum(h, 0) if i < 3 else h)
    return seen


def backward(params, x, towards):
    """Derivatives of Σ towards(logits) · logits by the weights, `towards` held fixed."""
    seen = activations(params, x)
    delta, found = towards(seen[-1]), {}
    for i in (3, 2, 1):
        found[f"fc{i}.weight"] = delta.T @ seen[i - 1]
        delta = delta @ params[f"fc{i}.weight"] * (seen[i - 1] > 0)
    return dict(sorted(found.items()))


def softmax(logits):
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def loss_gradient(params, x, y, temperature=1):
    return backward(params, x, lambda z: (softmax(z / temperature) - np.eye(3)[y]) / len(y) / temperature)


def moved(params, direction, by):
    return params | {name: params[name] + by * direction[name] for name in direction}


def gradient(initial, final, kept, seed):
    batches = [chosen.numpy() for chosen in order(stream(seed, "sample", 1), len(Y), 60, 3)]
    assert [len(chosen) for chosen in batches] == [60, 60, 10]
    parts = [loss_gradient(initial, X[chosen], Y[chosen]) for chosen in batches]
    return {name: sum(np.abs(part[name]) for part in parts) for name in kept}


def snip(initial, final, kept, seed):
    return {name: np.abs(value * initial[name]) for name, value in loss_gradient(initial, X, Y).items()}


def grasp(initial, final, kept, seed):
    g = {name: value * kept[name] for name, value in loss_gradient(initial, X, Y, 200).items()}
    ahead, behind = (loss_gradient(moved(initial, g, by), X, Y, 200) for by in (1e-3, -1e-3))
    return {name: initial[name] * (ahead[name] - behind[name]) / 2e-3 for name in kept}


def fisher(initial, final, kept, seed):
    draw = stream(seed, "sample", 1)
    total = {name: np.zeros_like(final[name]) for name in kept}
    for chunk in np.split(X, range(16, len(X), 16)):
        signs = torch.randint(0, 2, (len(chunk), 3), generator=draw).numpy() * 2 - 1
        for x, sign in zip(chunk, signs, strict=True):
            for name, value in backward(final, x[None], lambda logits, sign=sign: (half(logits) @ sign)[None]).items():
                total[name] += value**2
    return {name: value / len(X) / 2 * final[name] ** 2 for name, value in total.items()}


def half(logits):
    """A with A Aᵀ = diag(p) − p pᵀ, the covariance of the label that the network predicts."""
    p = softmax(logits)[0]
    return np.diag(np.sqrt(p)) - np.outer(p, np.sqrt(p))


BY_HAND = {"gradient": gradient, "snip": snip, "grasp": grasp, "fisher": fisher}


@pytest.mark.parametrize("name", BY_HAND)
def test_scores_are_those_of_numpy(name):
    initial, final, kept = world()
    found = score(name, initial, final, kept)
    assert list(found) == list(kept)
    for k, seed in enumerate(SEEDS):
        alive = {layer: mask[k].numpy() for layer, mask in kept.items()}
        expected = BY_HAND[name](replicate(initial, kept, k), replicate(final, kept, k), alive, seed)
        for layer, mask in alive.items():
            scale = np.abs(expected[layer]).max()
            assert scale > 0
            np.testing.assert_allclose(found[layer][k].numpy()[mask] / scale, expected[layer][mask] / scale, atol=1e-7)


def by_autograd(name, model, x, y, batches):
    """The scores of an ordinary module's weights, each in its plainest form."""
    weights = {layer: p for layer, p in model.named_parameters() if p.dim() == 2}

    def derive(x, y, temperature=1.0, create_graph=False):
        loss = nn.functional.cross_entropy(model(x) / temperature, y)
        return torch.autograd.grad(loss, list(weights.values()), create_graph=create_graph)

    if name == "gradient":
        parts = [[g.abs() for g in derive(x[chosen], y[chosen])] for chosen in batches]
        found = [sum(layer) for layer in zip(*parts, strict=True)]
    elif name == "snip":
        found = [(w * g).abs() for w, g in zip(weights.values(), derive(x, y), strict=True)]
    else:  # Hg is the derivative of ½ ‖g‖²
        flow = sum(g.square().sum() for g in derive(x, y, 200.0, create_graph=True)) / 2
        found = [
            w * hg for w, hg in zip(weights.values(), torch.autograd.grad(flow, list(weights.values())), strict=True)
        ]
    return dict(zip(weights, found, strict=True))


@pytest.mark.parametrize("name", ["gradient", "snip", "grasp"])
def test_every_weight_of_lenet_has_the_rank_that_plain_autograd_gives_it(name):
    """In float64, all layers ranked together; equal scores share a rank."""
    digits = load("digits").to(dtype=torch.float64)
    network = lenet_300_100(digits)
    initial = {layer: value.double() for layer, value in network.init(SEEDS).items()}
    found = score(name, initial, initial, masks.ones(initial, network.prunable), network, digits)
    for k, seed in enumerate(SEEDS):
        model = network.module().double()
        model.load_state_dict({layer: value[k] for layer, value in initial.items()})
        batches = order(stream(seed, "sample", 1), len(digits.train_y), 60, 20)
        expected = by_autograd(name, model, digits.train_x, digits.train_y, batches)
        ours, theirs = (
            torch.cat([scores[layer].flatten() for layer in network.prunable])
            for scores in ({layer: value[k] for layer, value in found.items()}, expected)
        )
        assert len(ours) == 50_200 and len(ours.unique()) > 35_000
        assert torch.equal(*(scores.unique(return_inverse=True)[1] for scores in (ours, theirs)))


def test_grasp_keeps_weights_that_can_be_trained():
    """One-shot at 3.2 % kept, ten seeds of ten epochs: 75 %, and 25 % where the logits are not divided by 200."""
    digits, seeds = load("digits"), range(10)
    network = lenet_300_100(digits)
    initial = network.init(seeds)
    dense = masks.ones(initial, network.prunable)
    found = score("grasp", initial, initial, dense, network, digits, seeds)
    rates = {layer: 1 - (1 - 0.36 * relative) ** 8 for layer, relative in network.rates.items()}
    kept = masks.prune(found, dense, rates)
    accuracy = fit(network, initial, digits, kept, seeds=seeds, epochs=10).history.test_accuracy[:, -1]
    assert accuracy.mean() >= 0.7


def test_the_mean_of_fisher_is_half_the_diagonal_hessian_by_the_squared_weight():
    """Over many draws; the Hessian by finite differences, labels as the network predicts them."""
    few = Dataset.from_tensors("few", *pairs(sizes=(20, 20, 30)))
    one = stack(5, NETWORK.shapes, 1)
    draws = 300
    many = {name: value.expand(draws, *value.shape[1:]) for name, value in one.items()}
    found = score("fisher", many, many, masks.ones(many, NETWORK.prunable), data=few, seeds=range(draws))
    params, x = replicate(one, {}, 0), few.train_x.flatten(1).double().numpy()
    p = softmax(activations(params, x)[-1])
    for name, draw in found.items():
        hessian = np.zeros(draw.shape[1:])
        for at in np.ndindex(hessian.shape):
            nudge = np.zeros(hessian.shape)
            nudge[at] = 1e-6
            ahead, behind = (
                backward(moved(params, {name: nudge}, by), x, lambda logits: (softmax(logits) - p) / len(x))[name][at]
                for by in (1, -1)
            )
            hessian[at] = (ahead - behind) / 2e-6
        error = draw.mean(0).numpy() - hessian * params[name] ** 2 / 2
        allowed = 5 * draw.std(0).numpy() / np.sqrt(draws)
        assert (np.abs(error) <= allowed + 1e-9).all()
        assert allowed.sum() < 0.5 * np.abs(hessian * params[name] ** 2 / 2).sum()


# --- SynFlow ---

WIDE = Dense("wide", [6, 20, 10, 3])


def iterated(weights, biases, alive):
    """What 100 steps down to a thousandth leave of a network of |w|, at each step after which every weight has flow."""
    left = []
    for _ in range(100):
        params = {name: np.abs(value) * alive[name] for name, value in weights.items()} | biases
        flow = backward(params, np.ones((1, 6)), lambda logits: np.ones_like(logits))
        ranked = sorted(
            (flow[name][at] * params[name][at], name, at)
            for name, mask in alive.items()
            for at in zip(*mask.nonzero(), strict=True)
        )
        if ranked[0][0] > 0:  # no draw among equals is pending
            left.append(alive)
        alive = {name: mask.copy() for name, mask in alive.items()}
        for _, name, at in ranked[: round((1 - 0.001**0.01) * len(ranked))]:
            alive[name][at] = False
    return left


def test_synflow_gives_the_masks_of_its_iteration_at_any_rate():
    initial = stack(1, WIDE.shapes, 2, scale=0.7)
    kept = {name: stack(99, WIDE.shapes, 2)[name] > -0.2 for name in WIDE.prunable}
    found = score("synflow", initial, initial, kept, network=WIDE)
    for k in range(2):
        weights = {name: initial[name][k].numpy() for name in kept}
        biases = {name: np.abs(value[k].numpy()) for name, value in initial.items() if name not in kept}
        alive = {name: mask[k].numpy() for name, mask in kept.items()}
        shares = []
        for left in iterated(weights, biases, alive):
            shares.append(sum(mask.sum() for mask in left.values()) / sum(mask.sum() for mask in alive.values()))
            pruned = masks.prune(found, kept, 1 - float(shares[-1]), "global")
            assert all(np.array_equal(pruned[name][k].numpy(), mask) for name, mask in left.items())
        assert len(shares) >= 10 and min(shares) < 0.2


def test_synflow_looks_at_no_image_and_no_trained_weight():
    initial, final, kept = world()
    other = Dataset.from_tensors("other", *pairs(seed=7, sizes=(9, 20, 30)))
    assert same_bits(score("synflow", initial, final, kept), score("synflow", initial, initial, kept, data=other))


def test_synflow_removes_weights_of_zero_first_and_cuts_no_network():
    """Tanaka et al. (2020): a network that can still connect its inputs with its outputs does."""
    digits = load("digits")
    network = lenet_300_100(digits)
    initial = network.init([0])
    initial["fc1.weight"][:, :, ::3] = 0  # 22 of 64 inputs: 6,600 of 50,200 weights
    dense = masks.ones(initial, network.prunable)
    found = score("synflow", initial, initial, dense, network, digits, seeds=[0])
    dead = initial["fc1.weight"] == 0
    assert dead.sum() == 6600
    before, after = (masks.prune(found, dense, rate, "global") for rate in (0.1, 0.2))
    assert (before["fc1.weight"] | dead).all() and before["fc2.weight"].all() and before["fc3.weight"].all()
    assert not (after["fc1.weight"] & dead).any()
    left = masks.prune(found, dense, 0.999, "global")
    connected = {name: value.abs() * left[name] if name in left else value for name, value in initial.items()}
    assert network.forward(connected, torch.ones(1, *digits.image_shape)).sum() > 0


# --- other networks ---


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("network", [NETWORK, Conv("tiny", DATA, (4,), 0.5)], ids=["dense", "conv"])
def test_a_network_and_its_module_have_the_same_scores(network, name):
    few = Dataset.from_tensors("few", *pairs(sizes=(70, 20, 30), shape=(1, 2, 3)))
    wrapped = from_module(network.module)
    initial, final = (stack(s, network.shapes, 2, scale=0.3) for s in (1, 2))
    kept = {layer: final[layer] > -0.3 for layer in network.prunable}
    ours = score(name, initial, final, kept, network, few)
    assert list(wrapped.shapes) == list(network.shapes)
    theirs = score(name, initial, final, kept, wrapped, few)
    assert all(value.any() for value in ours.values())
    assert worst(ours, theirs) < 1e-9 * max(1, *(value.abs().max().item() for value in ours.values()))


class Normed(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))


@pytest.mark.parametrize("name", NAMES)
def test_batch_norm_uses_its_batch_and_keeps_its_statistics(name):
    few = Dataset.from_tensors("few", *pairs(sizes=(50, 20, 30)))
    network = from_module(Normed)
    initial = network.init(SEEDS)
    before = clone(initial)
    found = score(name, initial, initial, masks.ones(initial, network.prunable), network, few)
    assert same_bits(initial, before)
    assert all(value.isfinite().all() and value.any() for value in found.values())
    if name == "snip":
        for k in range(2):
            net = Normed()
            net.load_state_dict({layer: value[k] for layer, value in initial.items()})
            nn.functional.cross_entropy(net(few.train_x), few.train_y).backward()
            for layer, value in found.items():
                expected = (net.get_parameter(layer).grad * net.get_parameter(layer)).abs()
                torch.testing.assert_close(value[k], expected, rtol=1e-4, atol=1e-7)


# --- what cannot be scored ---


@pytest.mark.parametrize("name", NAMES)
def test_missing_evidence_is_named(name):
    initial, final, kept = world()
    with pytest.raises(ValueError, match=f"{name}.*no network"):
        score(name, initial, final, kept, network=None)
    with pytest.raises(ValueError, match=f"{name}.*no data"):
        score(name, initial, final, kept, data=None)


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 2 * gradient


class Doubled(nn.Sequential):
    def forward(self, x):
        return Once.apply(super().forward(x))


def test_a_network_without_second_derivatives_is_named():
    network = from_module(lambda: Doubled(nn.Flatten(), nn.Linear(6, 3)))
    initial = network.init(SEEDS)
    dense = masks.ones(initial, network.prunable)
    assert score("snip", initial, initial, dense, network)["1.weight"].any()
    with pytest.raises(ValueError, match="grasp cannot differentiate Doubled"):
        score("grasp", initial, initial, dense, network)


@pytest.mark.parametrize("name", NAMES)
def test_a_caller_without_gradients_gets_the_same_scores(name):
    initial, final, kept = world()
    expected = score(name, initial, final, kept)
    with torch.no_grad():
        found = score(name, initial, final, kept)
    assert same_bits(found, expected) and not any(value.requires_grad for value in expected.values())
