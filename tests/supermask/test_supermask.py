"""Supermasks: masks of exact zeros and ones on weights that do not move, a gradient that passes straight through."""

import gzip
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from lthkit import data, supermask, training
from lthkit.criteria import large_final_same_sign
from lthkit.data import Dataset
from lthkit.networks import Conv, Dense, conv_2, from_module, lenet_300_100
from lthkit.streams import stream
from lthkit.supermask.learned import uniform
from lthkit.torch_prune import read
from lthkit.training import fit

from ..oracles import clone, examples, measures, optimizer, order, pairs, prune, same_bits, worst
from ..test_loaders import PACKAGED, packaged

DATA = Dataset.from_tensors("small", *pairs(shape=(1, 4, 4)))  # 50 / 20 / 30 images
DOUBLE = DATA.to(dtype=torch.float64)
SEEDS = [4, 0, 9]
BATCH = 15


def block() -> nn.Module:
    inner = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())
    return nn.Sequential(inner, nn.Flatten(), nn.Linear(48, 3))


NETWORKS = {
    "dense": Dense("small", [16, 8, 5, 3]),
    "conv": Conv("small", DATA, (2,), 0.5),
    "module": from_module(block),
}
DENSE = NETWORKS["dense"]
kinds = pytest.mark.parametrize("kind", NETWORKS)


def double(network, seeds=SEEDS):
    """The network's draw, in float64."""
    return {n: value.double() if value.is_floating_point() else value for n, value in network.init(seeds).items()}


def one(tensors, k: int):
    return {name: value[k] for name, value in tensors.items()}


def alone(tensors, k: int):
    return {name: value[k : k + 1] for name, value in tensors.items()}


def learn(network=DENSE, seeds=SEEDS, **given):
    given = {"iterations": 8, "batch_size": BATCH, "lr": 0.5, "initial": double(network, seeds)} | given
    return supermask.learn(network, DATA, seeds, **given)


def popup(network=DENSE, seeds=SEEDS, **given):
    given = {"iterations": 8, "batch_size": BATCH, "lr": 0.1, "initial": double(network, seeds)} | given
    return supermask.edge_popup(network, DATA, seeds, **given)


def numbers(generator: torch.Generator, shape) -> torch.Tensor:
    """The next numbers in (0, 1) of a "sample" stream: 16 bits each, the middle of one of 65,536 cells."""
    size = math.prod(shape)
    words = torch.empty(math.ceil(size / 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    cells = words.numpy().view(np.int16)[:size].astype(float) + 2**15
    return torch.tensor((cells + 0.5) / 2**16).view(shape)


def by_hand(network, weights, k: int, steps: int, gate, start, rescale=False, name="adam", lr=0.5, momentum=0.9):
    """Replicate k by autograd in float64: gate(number of each weight) gives masks that carry a gradient.

    Returns the learned numbers before the first step and after each, the losses, and the state with its buffers.
    """
    module = network.module().double().train()
    state = clone(one(weights, k))
    learned = {layer: value.clone().requires_grad_() for layer, value in start.items()}
    steps_of = optimizer(name, list(learned.values()), lr, momentum, 0.0)
    seen, losses = [clone({layer: value.detach() for layer, value in learned.items()})], []
    for chosen in order(stream(SEEDS[k], "batches"), 50, BATCH, steps):
        effective = dict(state)
        for layer, value in learned.items():
            mask = gate(layer, value)
            effective[layer] = state[layer] * mask * (mask.numel() / mask.sum() if rescale else 1)
        loss = F.cross_entropy(functional_call(module, effective, (DOUBLE.train_x[chosen],)), DOUBLE.train_y[chosen])
        steps_of.zero_grad()
        loss.backward()
        steps_of.step()
        seen.append(clone({layer: value.detach() for layer, value in learned.items()}))
        losses.append(loss.item())
    return seen, losses, state


def bernoulli(seed: int):
    generator = stream(seed, "sample", 0)

    def gate(layer, logit):
        p = logit.sigmoid()
        drawn = (numbers(generator, p.shape) < p).double()
        return drawn + (p - p.detach())

    return gate


# --- the straight-through gradient ---


@pytest.mark.parametrize("rescale", [False, True])
def test_two_weights_by_hand(rescale):
    """Two logits z = m w s x of one image, p = 1/2: dL/dlogit = ¼ dL/dm, L being the cross-entropy of class 1."""
    network, x, seeds = Dense("two", [1, 2]), 0.8, range(40)
    part = (torch.full((3, 1, 1, 1), x), torch.ones(3, dtype=torch.int64))
    image = Dataset.from_tensors("image", part, part, part, classes=2)
    w = torch.tensor([1.5, -0.7], dtype=torch.float64)
    initial = {"fc1.weight": w.view(1, 2, 1).repeat(40, 1, 1), "fc1.bias": torch.zeros(40, 2, dtype=torch.float64)}
    settings = {"iterations": 1, "optimizer": "sgd", "lr": 3.0, "momentum": 0.0, "rescale": rescale, "initial": initial}
    x = float(part[0][0])
    found = supermask.learn(network, image, seeds, **settings).probabilities["fc1.weight"].flatten(1)
    met = set()
    for seed, p in zip(seeds, found.tolist(), strict=True):
        m0, m1 = (numbers(stream(seed, "sample", 0), (2,)) < 0.5).int().tolist()
        s = 2 / max(1, m0 + m1) if rescale else 1.0
        z0, z1 = m0 * 1.5 * s * x, m1 * -0.7 * s * x
        q0 = math.exp(z0) / (math.exp(z0) + math.exp(z1))  # of class 0; dL/dz = (q0, −q0)
        along = 0.0  # what both gradients have in common: dL/ds · ds/dm
        if rescale and m0 + m1:
            along = (q0 * m0 * 1.5 * x - q0 * m1 * -0.7 * x) * -2 / (m0 + m1) ** 2
        slopes = [0.25 * (q0 * 1.5 * s * x + along), 0.25 * (-q0 * -0.7 * s * x + along)]
        assert p == pytest.approx([1 / (1 + math.exp(3.0 * slope)) for slope in slopes], abs=1e-12)
        met.add((m0, m1))
    assert len(met) == 4


SETTINGS = [
    {"rescale": False},
    {"rescale": True},
    {"rescale": True, "weights": "signed_constant", "logit": -0.4},
    {"rescale": True, "optimizer": "sgd", "lr": 20.0},
    {"rescale": False, "optimizer": "sgd", "lr": 20.0, "momentum": 0.0, "logit": 1},
]


@kinds
@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "rescaled", "constant", "sgd", "sgd plain"])
def test_learning_takes_the_steps_of_autograd(kind, settings):
    """Every step, in float64; the gradient flows through the factor size / sum(mask) where layers are rescaled."""
    network = NETWORKS[kind]
    found = learn(network, snapshot_at=range(9), eval_every=3, **settings)
    settings = {"rescale": settings["rescale"], "name": settings.get("optimizer", "adam")} | {
        key: settings[key] for key in ("lr", "momentum") if key in settings
    }
    start = found.snapshots[0][network.prunable[0]].logit().flatten()[0].item()
    for k, seed in enumerate(SEEDS):
        first = {n: torch.full(network.shapes[n], start, dtype=torch.float64) for n in network.prunable}
        weights = found.weights | {n: double(network)[n] for n in network.buffers}
        seen, losses, state = by_hand(network, weights, k, 8, bernoulli(seed), first, **settings)
        for i in range(9):
            p = {name: value.sigmoid() for name, value in seen[i].items()}
            assert worst(one(found.snapshots[i], k), p) < 1e-9
        assert same_bits(one(found.snapshots[8], k), one(found.probabilities, k))
        moved = [(seen[8][name] - seen[0][name]).abs().max() for name in network.prunable]
        assert min(moved) > 1e-3, "every layer learns"
        means = found.history[found.history.seed == seed].train_loss.tolist()
        assert means[1:] == pytest.approx([np.mean(losses[a:b]) for a, b in ((0, 3), (3, 6), (6, 8))], abs=1e-9)
        assert math.isnan(means[0])
        for name in network.buffers:
            assert torch.allclose(found.weights[name][k].double(), state[name].double(), atol=1e-9)


@kinds
@pytest.mark.parametrize("rescale", [False, True])
def test_edge_popup_takes_the_steps_of_autograd(kind, rescale):
    network, kept = NETWORKS[kind], 0.3
    counts = {name: round(kept * math.prod(network.shapes[name])) for name in network.prunable}

    def gate(layer, score):
        size = score.abs()
        mask = torch.zeros_like(size).flatten()
        mask[size.detach().flatten().argsort()[-counts[layer] :]] = 1
        return mask.view(size.shape) + (size - size.detach())

    found = popup(network, kept=kept, rescale=rescale, eval_every=8)
    for k, seed in enumerate(SEEDS):
        generator, start = stream(seed, "sample", 0), {}
        for name in network.prunable:
            shape = network.shapes[name]
            start[name] = (2 * torch.rand(shape, generator=generator).double() - 1) / math.sqrt(math.prod(shape[1:]))
        weights = found.weights | {n: double(network)[n] for n in network.buffers}

        def constant(layer, score):
            mask = gate(layer, score)
            return mask * (mask.numel() / counts[layer])

        # The kept count does not change, so that rescaling has no gradient of its own.
        seen, losses, _ = by_hand(network, weights, k, 8, constant if rescale else gate, start, lr=0.1)
        ranked = {name: gate(name, value).detach() != 0 for name, value in seen[-1].items()}
        assert same_bits(one(found.masks, k), ranked)
        mean = found.history[found.history.seed == seed].train_loss.iloc[-1]
        assert mean == pytest.approx(np.mean(losses), abs=1e-9)


# --- masks and weights ---


class Spy(Dense):
    """Notes the weights of every forward pass in training."""

    threads_safe = False

    def differentiator(self, params, grads):
        step, self.seen = super().differentiator(params, grads), []

        def noted(x, y):
            self.seen.append(clone({name: params[name] for name in self.prunable}))
            return step(x, y)

        return noted


@pytest.mark.parametrize("method", [learn, popup])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weights", supermask.WEIGHTS)
@pytest.mark.parametrize("rescale", [False, True])
def test_masks_are_exactly_zero_and_one_at_every_step(method, dtype, weights, rescale):
    """A layer's weights are w · s or 0 to the last bit, s = size / kept; (b + p) − p in float32 would not be."""
    network = Spy("spy", [16, 8, 5, 3])
    initial = {name: value.to(dtype) for name, value in network.init(SEEDS).items()}
    found = method(network, rescale=rescale, weights=weights, initial=initial, iterations=20, lr=1.0)
    assert len(network.seen) == 20 and found.weights["fc1.weight"].dtype == dtype
    drawn = set()
    for seen in network.seen:
        for name in network.prunable:
            mask = seen[name] != 0
            s = mask[0].numel() / mask.flatten(1).sum(1).to(dtype)
            exact = found.weights[name] * s.view(-1, 1, 1) if rescale else found.weights[name]
            assert torch.equal(seen[name], torch.where(mask, exact, torch.zeros((), dtype=dtype)))
        drawn.add(mask.flatten()[:20].numpy().tobytes())
    assert len(drawn) > 3, "the mask changes"


@kinds
@pytest.mark.parametrize("method", [learn, popup])
def test_frozen_parameters_do_not_change_by_a_bit(method, kind):
    network = NETWORKS[kind]
    initial = network.init(SEEDS)
    for found in (method(network, initial=None), method(network, initial=initial)):
        assert same_bits(initial, network.init(SEEDS))
        for name in set(network.shapes) - set(network.buffers):
            assert torch.equal(found.weights[name], initial[name])
    constant = method(network, weights="signed_constant", initial=None).weights
    for name in network.prunable:
        for wi, value in zip(initial[name], constant[name], strict=True):
            assert np.allclose(value.numpy(), np.sign(wi.numpy()) * wi.double().numpy().std(), rtol=1e-6, atol=0)
    for name in set(network.shapes) - set(network.prunable) - set(network.buffers):
        assert torch.equal(constant[name], initial[name])


@examples
@given(st.integers(0, 10**6), st.lists(st.floats(0, 1), min_size=1, max_size=9), st.integers(1, 3))
def test_draws_follow_their_own_stream(seed, sizes, replicates):
    out = torch.empty(replicates, len(sizes))
    uniform(out, [stream(seed + k, "sample") for k in range(replicates)])
    for k in range(replicates):
        expected = numbers(stream(seed + k, "sample"), (len(sizes),))
        assert torch.equal(out[k].double(), expected) and 0 < expected.min() <= expected.max() < 1


def test_weights_are_drawn_as_often_as_their_probability():
    """100,000 draws of each of seven probabilities, within five standard deviations; 0 never and 1 always."""
    probabilities, count = [0.0, 0.001, 0.1, 0.5, 0.9, 0.999, 1.0], 100_000
    out = torch.empty(1, len(probabilities), count)
    uniform(out, [stream(0, "sample")])
    for p, row in zip(probabilities, out[0], strict=True):
        assert abs((row < p).sum().item() - p * count) <= 5 * math.sqrt(count * p * (1 - p))
    words = (out.flatten() < 0.5).float()
    assert abs(torch.corrcoef(torch.stack([words[:-1], words[1:]]))[0, 1]) < 5 / math.sqrt(len(words))


def test_a_layer_that_keeps_nothing_stays_finite():
    found = learn(logit=-40.0, rescale=True)
    assert not any(mask.any() for mask in found.masks.values()) and not found.table.kept_sampled.any()
    assert all(value.isfinite().all() for value in found.probabilities.values())
    assert all(value.isfinite().all() for value in found.params().values())
    assert found.history.train_loss.dropna().tolist() == pytest.approx([math.log(3)] * (len(found.history) - 3))


# --- replicates, threads, determinism ---


@examples
@given(st.integers(0, 99), st.integers(1, 4), st.integers(1, 60), st.booleans(), st.sampled_from([learn, popup]))
def test_a_replicate_in_a_stack_is_the_seed_alone(seed, replicates, batch_size, rescale, method):
    seeds = [seed + 3 * k for k in range(replicates)]
    settings = {"iterations": 4, "batch_size": batch_size, "rescale": rescale, "eval_every": 2}
    together = method(seeds=seeds, **settings)
    for k in range(replicates):
        single = method(seeds=seeds[k : k + 1], **settings)
        assert same_bits(alone(together.masks, k), single.masks)
        rows = together.table[together.table.seed == seeds[k]].reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, single.table)
        if method is learn:
            assert worst(alone(together.probabilities, k), single.probabilities) < 1e-11
            assert same_bits(alone(together.sample(3), k), single.sample(3))


@pytest.mark.parametrize(
    "kind, method, threads",
    [("dense", learn, 2), ("dense", learn, 3), ("dense", popup, 2), ("conv", learn, 2), ("module", learn, 2)],
)
def test_threads_share_the_replicates_and_change_nothing(method, kind, threads):
    settings = {"network": NETWORKS[kind], "eval_every": 3}
    settings |= {"snapshot_at": [0, 5]} if method is learn else {}
    one_thread = method(**settings)
    torch.set_num_threads(threads)
    try:
        several = method(**settings)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)
    assert same_bits(several.masks, one_thread.masks)
    for column in ("table", "history", "shares"):
        pd.testing.assert_frame_equal(getattr(several, column), getattr(one_thread, column), rtol=1e-9)
    assert list(several.snapshots) == list(one_thread.snapshots)
    for i, snapshot in one_thread.snapshots.items():
        assert worst(several.snapshots[i], snapshot) < 1e-11
    for name in NETWORKS[kind].buffers:
        assert torch.allclose(several.weights[name], one_thread.weights[name])


def test_an_error_in_one_thread_ends_them_all(monkeypatch):
    class Broken(Dense):
        def differentiator(self, params, grads):
            step = super().differentiator(params, grads)

            def broken(x, y):
                if len(x) == 2:  # the part with two of three replicates
                    raise RuntimeError("no step")
                return step(x, y)

            return broken

    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="no step"):
            learn(Broken("broken", [16, 8, 3]), iterations=10**6, eval_every=10**6)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("method", [learn, popup])
def test_the_same_call_gives_the_same_bits_whatever_is_measured_on_the_way(method):
    torch.manual_seed(1)
    first = method()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = method(eval_every=1, **({"snapshot_at": [2, 4]} if method is learn else {}))
    assert torch.equal(torch.get_rng_state(), state)
    assert same_bits(first.masks, second.masks) and first.table.equals(second.table)
    if method is learn:
        assert same_bits(first.probabilities, second.probabilities) and list(second.snapshots) == [2, 4]
    assert sorted(set(second.history.iteration)) == list(range(9))


# --- tables ---


def accuracies(params, x, y):
    return measures({name: value.double() for name, value in params.items()}, x.double(), y)[1]


def masked(weights, kept, rescale):
    """Effective weights in plain NumPy."""
    found = {name: value.numpy().copy() for name, value in weights.items()}
    for name, mask in kept.items():
        for k, each in enumerate(mask.numpy()):
            found[name][k] *= each * (each.size / each.sum() if rescale else 1)
    return {name: torch.tensor(value) for name, value in found.items()}


@pytest.mark.parametrize("rescale", [False, True])
def test_the_table_is_the_mean_of_ten_drawn_masks_beside_the_thresholded_one(rescale):
    found = learn(rescale=rescale, iterations=30)
    table, size = found.table, sum(mask[0].numel() for mask in found.masks.values())
    assert list(table.seed) == SEEDS and found.seconds > 0
    drawn = [found.sample(draw) for draw in range(10)]
    assert not same_bits(drawn[0], drawn[1]) and same_bits(drawn[3], found.sample(3))
    assert same_bits(found.masks, {name: p > 0.5 for name, p in found.probabilities.items()})
    for part, x, y in (("val", DOUBLE.val_x, DATA.val_y), ("test", DOUBLE.test_x, DATA.test_y)):
        each = [accuracies(masked(found.weights, kept, rescale), x, y) for kept in drawn]
        assert np.allclose(table[f"{part}_accuracy"], np.mean(each, 0))
        thresholded = accuracies(masked(found.weights, found.masks, rescale), x, y)
        assert np.allclose(table[f"{part}_accuracy_thresholded"], thresholded)
    assert np.std(each) > 0

    def kept_share(tensors):
        return sum(value.double().flatten(1).sum(1) for value in tensors.values()).numpy() / size

    assert np.allclose(table.kept_mean, kept_share(found.probabilities))
    assert np.allclose(table.kept_sampled, np.mean([kept_share(kept) for kept in drawn], 0))
    assert np.allclose(table.kept_thresholded, kept_share(found.masks))
    assert len(set(np.r_[table.kept_mean, table.kept_sampled, table.kept_thresholded])) == 9


def test_history_and_shares_over_time_by_layer():
    found = learn(iterations=25, snapshot_at=[0, 25], logit=0.7)
    assert list(found.history.iteration.unique()) == [*range(0, 25, 2), 25] and len(found.history) == 14 * 3
    first = found.history[found.history.iteration == 0]
    assert np.allclose(first.kept_mean, 1 / (1 + math.exp(-0.7))) and (first.kept_thresholded == 1).all()
    assert found.history[["val_accuracy", "test_accuracy"]].stack().between(0, 1).all()
    last = found.shares[found.shares.iteration == 25]
    assert len(found.shares) == 14 * 3 * 3 and list(last.layer.unique()) == list(DENSE.prunable)
    for row in last.itertuples():
        p = found.snapshots[25][row.layer][SEEDS.index(row.seed)]
        assert row.kept_mean == pytest.approx(p.mean().item())
        assert row.kept_thresholded == pytest.approx((p > 0.5).double().mean().item())
        assert abs(row.kept_sampled - row.kept_mean) < 4 / math.sqrt(p.numel())
    overall = found.history[found.history.iteration == 25]
    assert np.allclose(overall.kept_mean, found.table.kept_mean)
    assert np.allclose(overall.kept_thresholded, found.table.kept_thresholded)


def test_a_higher_initial_logit_keeps_more():
    kept = [learn(logit=logit).table.kept_sampled.mean() for logit in (-3, 0, 3)]
    assert kept[0] < 0.3 < kept[1] < 0.7 < kept[2]


# --- edge-popup ---


@examples
@given(st.floats(0.01, 1), st.integers(0, 99))
def test_edge_popup_keeps_the_given_share_of_each_layer(kept, seed):
    found = popup(seeds=[seed], kept=kept, iterations=3)
    for mask in found.masks.values():
        assert mask.sum() == max(1, round(kept * mask.numel()))
    total = sum(mask.numel() for mask in found.masks.values())
    assert found.table.kept.item() == pytest.approx(sum(int(mask.sum()) for mask in found.masks.values()) / total)


def test_edge_popup_at_the_shares_that_were_learned():
    """A share for each layer, so that both ways can be compared at equal kept shares."""
    learned = learn(seeds=[3], iterations=30)
    kept = {name: mask.double().mean().item() for name, mask in learned.masks.items()}
    found = popup(seeds=[3], kept=kept)
    for name, mask in found.masks.items():
        assert mask.sum() == learned.masks[name].sum()
    assert found.table.kept.item() == learned.table.kept_thresholded.item()
    expected = accuracies(masked(found.weights, found.masks, True), DOUBLE.test_x, DATA.test_y)
    assert np.allclose(found.table.test_accuracy, expected)
    assert list(found.history.columns) == ["seed", "iteration", "train_loss", "val_accuracy", "test_accuracy"]
    with pytest.raises(ValueError, match="edge-popup has scores, no probabilities"):
        found.sample()


# --- tickets ---


@kinds
@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("draw", [None, 4])
def test_a_ticket_is_an_ordinary_pruned_module_with_the_factor_in_its_weights(kind, rescale, draw):
    network = NETWORKS[kind]
    found = learn(network, rescale=rescale, initial=None, iterations=20, logit=1.0)
    kept = found.masks if draw is None else found.sample(draw)
    for k, seed in enumerate(SEEDS):
        ticket = found.ticket(seed) if draw is None else found.ticket(seed, kept)
        module = ticket.to_module().eval()
        assert same_bits(read(module), one(kept, k)) and (ticket.seed, ticket.round) == (seed, 0)
        for name in network.prunable:
            size, count = kept[name][k].numel(), int(kept[name][k].sum())
            expected = network.init(seed)[name][0] * (size / count if rescale else 1)
            assert torch.allclose(module.get_parameter(f"{name}_orig"), expected, rtol=1e-6, atol=0)
        expected = network.forward(found.params(kept), DATA.test_x)[k]
        assert (module(DATA.test_x) - expected).abs().max() < 1e-5 and expected.std() > 1e-3
        assert (ticket.to_dense().eval()(DATA.test_x) - expected).abs().max() < 1e-5
        if draw is None:
            accuracy = (module(DATA.test_x).argmax(1) == DATA.test_y).double().mean().item()
            assert accuracy == pytest.approx(found.table.test_accuracy_thresholded[k])
    with pytest.raises(ValueError, match=r"no seed 5 in this supermask: it has \[4, 0, 9\]"):
        found.ticket(5)


# --- by criterion ---

FIT = {"epochs": 3, "batch_size": BATCH, "lr": 0.01}
SHARES = [0.2, 0.4, 0.7]


def criterion(dataset=DATA, **given):
    return supermask.by_criterion(DENSE, dataset, SEEDS, **({"kept": SHARES, "initial": double(DENSE)} | FIT | given))


@pytest.mark.parametrize("weights", supermask.WEIGHTS)
def test_by_criterion_is_one_pruning_of_the_trained_network_on_untrained_weights(weights):
    found = criterion(weights=weights, criterion="large_final")
    start, final = double(DENSE), fit(DENSE, double(DENSE), DATA, seeds=SEEDS, **FIT).params
    if weights == "signed_constant":
        for name in DENSE.prunable:
            start[name] = torch.stack([wi.sign() * float(wi.numpy().std()) for wi in start[name]])
    assert list(found.table.columns) == ["seed", "kept", "kept_overall", "val_accuracy", "test_accuracy", "chosen"]
    means = []
    for share in SHARES:
        kept = {}
        for name, part in zip(DENSE.prunable, (1, 1, 0.5), strict=True):  # the output layer is pruned at half the rate
            every = [np.ones(DENSE.shapes[name], dtype=bool)] * 3
            kept[name] = np.stack([prune(w.numpy(), m, (1 - share) * part) for w, m in zip(final[name], every)])
        kept = {name: torch.tensor(mask) for name, mask in kept.items()}
        rows, params = found.table[found.table.kept == share], masked(start, kept, False)
        assert list(rows.seed) == SEEDS
        assert np.allclose(rows.test_accuracy, accuracies(params, DOUBLE.test_x, DATA.test_y))
        assert np.allclose(rows.val_accuracy, accuracies(params, DOUBLE.val_x, DATA.val_y))
        size = sum(mask[0].numel() for mask in kept.values())
        assert np.allclose(rows.kept_overall, sum(mask[0].sum() for mask in kept.values()) / size)
        means.append(rows.val_accuracy.mean())
        if share == found.kept:
            assert same_bits(found.masks, kept)
    assert found.kept == SHARES[int(np.argmax(means))] and len(set(means)) > 2
    assert (found.table.chosen == (found.table.kept == found.kept)).all()
    assert list(found.chosen.seed) == SEEDS and (found.chosen.kept == found.kept).all()
    module = found.ticket(9).to_module()
    accuracy = (module(DOUBLE.test_x).argmax(1) == DATA.test_y).double().mean().item()
    assert accuracy == pytest.approx(found.chosen.test_accuracy[2])


def test_the_share_is_chosen_without_a_look_at_the_test_set():
    other = Dataset.from_tensors("small", *pairs(shape=(1, 4, 4))[:2], pairs(7, shape=(1, 4, 4))[2])
    ours, theirs = criterion(), criterion(other)
    assert ours.kept == theirs.kept and same_bits(ours.masks, theirs.masks)
    assert not ours.table.test_accuracy.equals(theirs.table.test_accuracy)


def test_a_trained_network_is_shared_and_criteria_may_be_callables():
    initial = double(DENSE)
    final = fit(DENSE, initial, DATA, seeds=SEEDS, **FIT).params
    shared = {"initial": initial, "final": final, "kept": 0.6}
    before = clone(initial), clone(final)
    named = supermask.by_criterion(DENSE, DATA, SEEDS, **shared)
    called = supermask.by_criterion(DENSE, DATA, SEEDS, criterion=large_final_same_sign, **shared)
    assert named.table.equals(called.table) and same_bits(named.masks, called.masks) and named.kept == 0.6
    assert same_bits(initial, before[0]) and same_bits(final, before[1])
    assert named.table.equals(criterion(kept=[0.6]).table)
    flipped = [(initial[name] * final[name] < 0) & mask for name, mask in named.masks.items()]
    assert not any(mask.any() for mask in flipped)


@kinds
def test_all_of_an_untrained_network_is_the_untrained_network(kind):
    network = NETWORKS[kind]
    initial = network.init(SEEDS)
    found = supermask.by_criterion(network, DATA, SEEDS, kept=1, weights="initial", epochs=1)
    expected = training.evaluate(network, initial, DATA.test_x, DATA.test_y)[1]
    assert found.table.test_accuracy.tolist() == expected.tolist() and same_bits(found.params(), initial)


# --- what is refused ---

BOTH = [learn, popup]
REFUSED = [
    (BOTH, {"weights": "signed"}, "unknown weights 'signed': known are initial, signed_constant"),
    (BOTH, {"optimizer": "adamw"}, "unknown optimizer 'adamw': known are adam, sgd"),
    (BOTH, {"lr": 0.0}, "lr must be a positive number, got 0.0"),
    (BOTH, {"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1.0"),
    (BOTH, {"iterations": -1}, "iterations must be a whole number of at least 0, got -1"),
    (BOTH, {"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
    (BOTH, {"eval_every": 0}, "eval_every must be a whole number of at least 1, got 0"),
    (BOTH, {"seeds": []}, "seeds is empty"),
    (BOTH, {"seeds": [1, 2], "initial": double(DENSE)}, "2 seeds for 3 replicates"),
    (BOTH, {"initial": {}}, "parameters must be"),
    (BOTH, {"network": Dense("wide", [9, 4, 3])}, r"wide does not take the images of 'small', \[1, 4, 4\]"),
    (BOTH, {"network": Dense("two", [16, 4, 2])}, "two has 2 outputs, too few for the 3 classes of 'small'"),
    ([learn], {"logit": math.nan}, "logit must be a finite number, got nan"),
    ([learn], {"logit": "0"}, "logit must be a finite number, got '0'"),
    ([learn], {"snapshot_at": [9]}, r"snapshot_at \[9\] lies outside 0 … 8 iterations"),
    ([popup, criterion], {"kept": 0}, "kept must be a share above 0, at most 1, got 0"),
    ([popup, criterion], {"kept": 1.01}, "kept must be a share above 0, at most 1, got 1.01"),
    ([popup, criterion], {"kept": math.nan}, "kept must be a share above 0, at most 1, got nan"),
    ([popup, criterion], {"kept": True}, "kept must be a share above 0, at most 1, got True"),
    ([popup], {"kept": {"fc1.weight": 0.5}}, "kept must name every prunable layer"),
    ([criterion], {"kept": []}, r"kept must hold different shares, at least one, got \[\]"),
    ([criterion], {"kept": [0.5, 0.5]}, r"kept must hold different shares, at least one, got \[0.5, 0.5\]"),
    ([criterion], {"kept": "0.5"}, "kept must be a share above 0, at most 1, got '0'"),
    ([criterion], {"criterion": "largest"}, "unknown criterion 'largest': known are .*large_final_same_sign"),
    ([criterion], {"criterion": ["random"]}, "unknown criterion"),
    ([criterion], {"weights": None}, "unknown weights None: known are initial, signed_constant"),
    ([criterion], {"final": double(DENSE)}, "final is given, so that nothing is trained: leave out epochs, batch_size"),
    ([criterion], {"initial": double(DENSE, [1])}, "3 seeds for 1 replicates"),
    ([criterion], {"initial": {}}, "parameters must be"),
]


def test_a_criterion_that_works_in_place_ruins_nothing_that_calls_share():
    def greedy(evidence):
        scores = {name: evidence.final[name].data.abs_() for name in evidence.masks}
        for value in evidence.initial.values():
            value.data.zero_()
        return scores

    initial, final = double(DENSE), fit(DENSE, double(DENSE), DATA, iterations=3).params
    before = clone(initial), clone(final)
    shared = {"initial": initial, "final": final, "weights": "initial", "kept": 0.5}
    found = supermask.by_criterion(DENSE, DATA, SEEDS, criterion=greedy, **shared)
    assert same_bits(initial, before[0]) and same_bits(final, before[1])
    assert found.table.equals(supermask.by_criterion(DENSE, DATA, SEEDS, criterion="large_final", **shared).table)


@pytest.mark.parametrize("method, given, said", [(m, given, said) for many, given, said in REFUSED for m in many])
def test_what_cannot_be_is_refused_in_one_line(method, given, said):
    if "network" in given:
        given = given | {"initial": None}
    with pytest.raises(ValueError, match=said) as raised:
        method(**given)
    assert "\n" not in str(raised.value)


# --- real data ---


def fashion(train: int, val: int, test: int) -> Dataset:
    """The first images of the real Fashion-MNIST; skipped, or failed if LTH_REQUIRE_DATA=1, where it is missing."""

    def read(file, skip: int) -> np.ndarray:
        with gzip.open(file) as packed:
            return np.frombuffer(packed.read(), np.uint8, offset=skip)

    train_x, train_y, test_x, test_y = (read(file, skip) for file, skip in zip(packaged(PACKAGED), [16, 8] * 2))
    x = [torch.tensor(images).view(-1, 1, 28, 28) for images in (train_x, test_x)]
    y = [torch.tensor(labels).long() for labels in (train_y, test_y)]
    cut = slice(train, train + val)
    parts = (x[0][:train], y[0][:train]), (x[0][cut], y[0][cut]), (x[1][:test], y[1][:test])
    return Dataset.from_tensors("fashion", *parts)


def test_conv_2_learns_a_supermask_of_real_images():
    """A tenth of the steps that benchmarks/supermask_fashion.py takes to pass 80 %."""
    clothes = fashion(train=2_000, val=20, test=200)
    network = conv_2(clothes)
    found = supermask.learn(network, clothes, [0], iterations=30, lr=0.3, eval_every=30)
    assert same_bits(found.weights, network.init(0))
    assert found.history.test_accuracy.iloc[0] < 0.3, "of a random mask"
    assert found.table.test_accuracy.item() > 0.45


def test_digits_are_read_by_masks_on_untrained_weights():
    """Three seeds and 20 epochs of learning."""
    digits = data.load("digits")
    network, seeds = lenet_300_100(digits), range(3)
    untrained = supermask.by_criterion(network, digits, seeds, kept=1.0, weights="initial", epochs=0).table
    assert untrained.test_accuracy.mean() < 0.2
    assert supermask.by_criterion(network, digits, seeds, kept=[0.3, 0.5]).chosen.test_accuracy.mean() > 0.88
    learned = {
        rescale: supermask.learn(network, digits, seeds, epochs=20, rescale=rescale) for rescale in (True, False)
    }
    assert learned[False].table.test_accuracy.mean() > 0.85
    assert learned[True].table.test_accuracy.mean() > 0.93
