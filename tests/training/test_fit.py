"""Training: replicates that do not know of each other, masks that hold at every step, curves and their early stop."""

import math
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthkit import data, masks
from lthkit.data import Dataset
from lthkit.networks import Dense, Network, compressed, lenet_300_100
from lthkit.streams import stream
from lthkit.training import History, effective, evaluate, fit, optimizers

from ..oracles import clone, examples, measures, module, order, pairs, same_bits, stack, train, two_units, worst

NETWORK = Dense("small", [6, 5, 4, 3])
DATA = Dataset.from_tensors("small", *pairs())  # 50 / 20 / 30 images
DOUBLE = DATA.to(dtype=torch.float64)
SEEDS = [4, 0, 9]
PARAMS = stack(0, NETWORK.shapes, len(SEEDS))
KEPT = masks.prune({name: PARAMS[name].abs() for name in NETWORK.prunable}, masks.ones(PARAMS, NETWORK.prunable), 0.4)
FEW = two_units(PARAMS)  # 16 of 62 weights
FROZEN = {name: torch.full_like(PARAMS[name], 0.25) for name in KEPT}
OPTIMIZERS = [
    {"optimizer": "adam"},
    {"optimizer": "adam", "weight_decay": 0.1, "momentum": 0.5},
    {"optimizer": "adamw", "weight_decay": 0.1},
    {"optimizer": "sgd", "momentum": 0.0, "lr": 0.1},
    {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1, "lr": 0.1},
]
ids = ["adam", "adam+decay", "adamw+decay", "sgd", "sgd+momentum+decay"]


def one(tensors, k: int):
    return {name: value[k] for name, value in tensors.items()}


def alone(tensors, k: int):
    return {name: value[k : k + 1] for name, value in tensors.items()}


def by_hand(k: int, steps: int, kept=None, frozen=None, batch_size=15, round=0, **settings):
    """Replicate k, trained as a plain `nn.Sequential`; the values and losses of every step."""
    settings = {"name": settings.pop("optimizer", "adam"), "lr": 0.01} | settings
    batches = order(stream(SEEDS[k], "batches", round), 50, batch_size, steps)
    return train(
        module(PARAMS, k), DOUBLE.train_x, DOUBLE.train_y, batches,
        masks=one(kept, k) if kept else None, frozen=one(frozen, k) if frozen else None, **settings,
    )  # fmt: skip


def ours(steps: int, **given):
    return fit(NETWORK, PARAMS, DATA, **({"seeds": SEEDS, "iterations": steps, "batch_size": 15, "lr": 0.01} | given))


# --- against a plain loop ---


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=ids)
@pytest.mark.parametrize(
    "kept, frozen",
    [(None, None), (KEPT, None), (KEPT, FROZEN), (FEW, None), (FEW, FROZEN)],
    ids=["dense", "zero", "frozen", "few", "few, frozen"],
)
def test_fit_takes_the_steps_of_a_plain_loop(settings, kept, frozen):
    """Every step: 50 images in batches of 15, so that each fourth batch has only 5."""
    result = ours(11, masks=kept, frozen=frozen, snapshot_at=range(12), **settings)
    for k in range(len(SEEDS)):
        seen, _ = by_hand(k, 11, kept, frozen, **settings)
        for i in range(12):
            assert worst(one(result.snapshots[i], k), seen[i]) < 1e-10
        assert worst(one(result.params, k), seen[-1]) < 1e-10


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=ids)
@pytest.mark.parametrize("frozen", [None, FROZEN, {"fc2.weight": FROZEN["fc2.weight"]}], ids=["zero", "all", "one"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kept", [KEPT, FEW], ids=["kept", "few"])
def test_pruned_weights_hold_their_value_at_every_step_and_kept_ones_move(settings, frozen, dtype, kept):
    params = {name: value.to(dtype) for name, value in PARAMS.items()}
    frozen = frozen and {name: value.to(dtype) for name, value in frozen.items()}
    held = {name: (frozen or {}).get(name, torch.zeros_like(params[name])) for name in kept}
    result = fit(
        NETWORK, params, DATA, masks=kept, frozen=frozen, iterations=9, batch_size=20, snapshot_at=range(10), **settings
    )
    for snapshot in [*result.snapshots.values(), result.params]:
        for name, mask in kept.items():
            assert snapshot[name].dtype == dtype
            assert torch.equal(snapshot[name][~mask], held[name][~mask])
    for name, mask in kept.items():
        assert torch.equal(result.snapshots[0][name][mask], params[name][mask])
        assert (result.params[name] != params[name])[mask].any()  # not all: a dead unit has no gradient


def test_masks_may_name_some_layers_only():
    result = ours(5, masks={"fc2.weight": KEPT["fc2.weight"]})
    for k in range(len(SEEDS)):
        assert worst(one(result.params, k), by_hand(k, 5, {"fc2.weight": KEPT["fc2.weight"]})[0][-1]) < 1e-10


def test_masks_that_keep_everything_change_no_bit():
    assert same_bits(ours(6, masks=masks.ones(PARAMS, NETWORK.prunable)).params, ours(6).params)


class Rooted(Network):
    """Weights enter by their square root, whose slope at 0 is infinite."""

    def __init__(self):
        super().__init__("rooted", {"w": (3, 6)}, {"w": 1.0})

    def forward(self, params, x, training=False):
        return (x.flatten(1) if x.dim() == 4 else x.flatten(2)) @ params["w"].sqrt().mT


def test_an_infinite_gradient_of_a_pruned_weight_does_not_reach_it():
    kept = {"w": torch.arange(18).view(1, 3, 6) % 3 != 0}
    result = fit(Rooted(), {"w": torch.ones(1, 3, 6)}, DATA, masks=kept, iterations=3, snapshot_at=range(4))
    for snapshot in result.snapshots.values():
        assert not snapshot["w"][~kept["w"]].any() and snapshot["w"].isfinite().all()


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=ids)
def test_the_optimizers_fallback_trains_alike(settings, monkeypatch):
    fused = ours(8, masks=KEPT, frozen=FROZEN, **settings)
    monkeypatch.setattr(optimizers, "fused_works", lambda device, dtype: False)
    assert worst(ours(8, masks=KEPT, frozen=FROZEN, **settings).params, fused.params) < 1e-11


def test_autograd_networks_train_like_those_with_their_own_backward():
    class Plain(Dense):
        differentiator = Network.differentiator

    result = fit(Plain("plain", [6, 5, 4, 3]), PARAMS, DATA, masks=KEPT, seeds=SEEDS, iterations=8, batch_size=15)
    assert worst(result.params, ours(8, masks=KEPT, lr=1.2e-3).params) < 1e-11


def test_a_learning_rate_schedule_multiplies_lr_by_iteration():
    def schedule(i):
        return 1 / (1 + i) if i != 3 else 0

    result = ours(7, lr_schedule=schedule, snapshot_at=range(8))
    assert same_bits(result.snapshots[3], result.snapshots[4])
    for k in range(len(SEEDS)):
        assert worst(one(result.params, k), by_hand(k, 7, schedule=schedule)[0][-1]) < 1e-10


# --- few weights left ---


@pytest.fixture
def both_ways(monkeypatch):
    """Call a function twice: as it trains few weights, and as it would without compressed rows."""
    if not compressed.dtypes():
        pytest.skip("this build of torch has no products with compressed rows")

    def call(function):
        used, differentiator = [], compressed.differentiator
        with monkeypatch.context() as patch:
            patch.setattr(compressed, "differentiator", lambda *given: used.append(1) or differentiator(*given))
            here = function()
            assert used, "nothing was compressed"
            patch.setattr(compressed, "dtypes", set)
            del used[:]
            there = function()
            assert not used
        return here, there

    return call


NARROW = Dense("narrow", [6, 4, 1, 3])  # a layer of one unit
START = stack(1, NARROW.shapes, 3)
EMPTIED = FEW | {"fc1.weight": torch.zeros_like(FEW["fc1.weight"])}
CLOSED = FEW | {"fc2.weight": FEW["fc2.weight"] & (torch.arange(5) > 1)}  # units without an outgoing weight
WORLDS = {
    "three seeds": {},
    "one seed": {"params": alone(PARAMS, 0), "masks": alone(FEW, 0), "seeds": 4},
    "a layer emptied": {"masks": EMPTIED},
    "nothing kept": {"masks": {name: torch.zeros_like(mask) for name, mask in FEW.items()}},
    "a replicate emptied": {"masks": {n: m & (torch.arange(3) != 1).view(3, 1, 1) for n, m in FEW.items()}},
    "units closed": {"masks": CLOSED},
    "some layers only": {"masks": {n: m for n, m in EMPTIED.items() if n != "fc3.weight"}},
    "one image": {"batch_size": 1},
    "all images": {"batch_size": 50},
    "one unit": {"network": NARROW, "params": START, "masks": two_units(START)},
    "decay": {"weight_decay": 0.1},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
    "sgd": {"optimizer": "sgd", "weight_decay": 0.1, "lr": 0.1},
    "schedule": {"lr_schedule": lambda i: 1 / (1 + i)},
}  # fmt: skip


@pytest.mark.parametrize("world", WORLDS)
def test_few_weights_train_as_they_do_among_the_pruned_ones(world, both_ways):
    settings = {"masks": FEW, "iterations": 13, "batch_size": 15, "lr": 0.01, "seeds": SEEDS, "eval_every": 3}
    settings |= {"network": NETWORK, "params": PARAMS, "snapshot_at": [0, 4, 13], "test_curve": True} | WORLDS[world]
    here, there = both_ways(lambda: fit(data=DATA, **settings))
    assert worst(here.params, there.params) < 1e-9
    assert list(here.params) == list(there.params) and list(here.snapshots) == [0, 4, 13]
    assert all(worst(here.snapshots[i], there.snapshots[i]) < 1e-9 for i in here.snapshots)
    for name, mask in settings["masks"].items():
        assert not here.params[name][~mask].any()
    for column in ("train_loss", "val_loss", "val_accuracy", "test_accuracy"):
        ours, theirs = (getattr(found.history, column) for found in (here, there))
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-9, equal_nan=True)


def test_a_seed_that_is_lost_with_few_weights_leaves_the_others_alone(both_ways):
    start = {name: value.index_fill(0, torch.tensor(1), 1e200) for name, value in PARAMS.items()}
    here, there = both_ways(lambda: ours_from(start, 8))
    assert here.history.diverged.tolist() == there.history.diverged.tolist() == [False, True, False]
    assert worst(*({n: v[::2] for n, v in found.params.items()} for found in (here, there))) < 1e-9
    assert torch.equal(here.params["fc1.weight"][::2], ours(8, masks=FEW).params["fc1.weight"][::2])


def ours_from(start, steps: int):
    return fit(NETWORK, start, DATA, masks=FEW, seeds=SEEDS, iterations=steps, batch_size=15, lr=0.01)


@pytest.mark.parametrize("dtype, bound", [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_few_weights_of_the_real_network_train_as_they_do_among_the_pruned_ones(dtype, bound, digits, both_ways):
    network = lenet_300_100(digits)
    params = {name: value.to(dtype) for name, value in network.init(range(4)).items()}
    kept = masks.prune({n: params[n].abs() for n in network.prunable}, masks.ones(params, network.prunable), 0.9)
    here, there = both_ways(lambda: fit(network, params, digits, masks=kept, iterations=100, eval_every=50))
    apart = torch.cat([(here.params[name] - there.params[name]).abs().flatten() for name in params])
    assert (apart <= bound).double().mean() >= (1 if dtype == torch.float64 else 0.999)
    assert all(not here.params[name][~mask].any() for name, mask in kept.items())
    assert (here.history.val_accuracy - there.history.val_accuracy).abs().max() <= 0.01


# --- replicates ---


@examples
@given(
    st.integers(0, 99),
    st.integers(1, 4),
    st.integers(1, 60),
    st.sampled_from(OPTIMIZERS),
    st.sampled_from([0, 0.5, 0.9]),
)
def test_a_replicate_in_a_stack_is_the_seed_alone(seed, replicates, batch_size, settings, rate):
    params = stack(seed, NETWORK.shapes, replicates)
    kept = masks.prune(params, masks.ones(params, NETWORK.prunable), rate) if rate else None
    seeds = [seed + 3 * k for k in range(replicates)]
    given_ = {"iterations": 6, "batch_size": batch_size} | settings
    together = fit(NETWORK, params, DATA, masks=kept, seeds=seeds, **given_)
    for k in range(replicates):
        single = fit(
            NETWORK, alone(params, k), DATA, masks=kept and alone(kept, k), seeds=seeds[k], **given_
        )  # fmt: skip
        assert worst(alone(together.params, k), single.params) < 1e-11


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_ten_replicates_of_the_real_network_after_50_steps(digits, dtype):
    network = lenet_300_100(digits)
    params = {name: value.to(dtype) for name, value in network.init(range(10)).items()}
    settings = {"iterations": 50, "eval_every": 50}
    together = fit(network, params, digits, seeds=range(10), **settings)
    assert same_bits(together.params, fit(network, params, digits, seeds=range(10), **settings).params)
    apart = []
    for k in range(10):
        single = fit(network, alone(params, k), digits, seeds=[k], **settings).params
        apart.append(torch.cat([(together.params[name][k] - single[name][0]).abs().flatten() for name in single]))
    apart = torch.cat(apart)
    if dtype == torch.float64:
        assert apart.max() <= 1e-9
    else:
        assert (apart <= 1e-4).double().mean() >= 0.999


@pytest.mark.parametrize("kept", [KEPT, FEW], ids=["kept", "few"])
def test_the_same_call_gives_the_same_bits_whatever_the_global_random_state(kept):
    torch.manual_seed(1)
    first = ours(6, masks=kept)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = ours(6, masks=kept)
    assert torch.equal(torch.get_rng_state(), state)
    assert same_bits(first.params, second.params)
    assert first.history.table().equals(second.history.table())


def test_order_seeds_change_the_batches_and_nothing_else():
    result = ours(4, order_seeds=[11, 12, 13], snapshot_at=[0])
    assert same_bits(result.snapshots[0], ours(0).params)
    assert result.history.seeds == tuple(SEEDS)
    for k, seed in enumerate([11, 12, 13]):
        batches = order(stream(seed, "batches", 0), 50, 15, 4)
        seen, _ = train(module(PARAMS, k), DOUBLE.train_x, DOUBLE.train_y, batches, lr=0.01)
        assert worst(one(result.params, k), seen[-1]) < 1e-10


def test_replicates_can_share_one_order():
    """As in experiments on SGD noise: other starts, the same batches."""
    same = {name: value[:1].expand_as(value) for name, value in PARAMS.items()}
    result = fit(NETWORK, same, DATA, seeds=SEEDS, order_seeds=[5, 5, 5], iterations=3)
    assert all(torch.equal(value[0], value[2]) for value in result.params.values())


def test_each_round_has_batches_of_its_own():
    result = ours(4, round=3)
    assert worst(one(result.params, 0), by_hand(0, 4, round=3)[0][-1]) < 1e-10
    assert worst(result.params, ours(4).params) > 1e-4


# --- what goes in, what comes out ---


def test_inputs_are_not_changed_and_results_share_no_memory_with_them():
    given_ = clone(PARAMS), clone(KEPT), clone(FROZEN)
    tensors = {name: value for name, value in vars(DOUBLE).items() if isinstance(value, torch.Tensor)}
    before = clone(tensors)
    result = fit(NETWORK, given_[0], DOUBLE, masks=given_[1], frozen=given_[2], iterations=3, snapshot_at=[0, 3])
    kept = clone(result.snapshots[3])
    for value in result.params.values():
        value.fill_(7)
    assert same_bits(result.snapshots[3], kept) and not same_bits(result.snapshots[0], kept)
    for value in result.snapshots[0].values():
        value.fill_(7)
    assert same_bits(given_[0], PARAMS) and same_bits(given_[1], KEPT) and same_bits(given_[2], FROZEN)
    assert same_bits(tensors, before)


def test_parameters_of_a_module_can_be_trained_though_they_ask_for_gradients():
    asking = {name: value.clone().requires_grad_() for name, value in PARAMS.items()}
    result = fit(NETWORK, asking, DATA, seeds=SEEDS, iterations=4, batch_size=15, lr=0.01)
    assert same_bits(result.params, ours(4).params)
    assert not any(value.requires_grad for value in result.params.values())


def test_parameters_come_in_any_order():
    """A file gives them sorted by name."""
    turned = {name: PARAMS[name] for name in sorted(PARAMS)}
    result = fit(NETWORK, turned, DATA, seeds=SEEDS, iterations=4, batch_size=15, lr=0.01)
    assert worst(result.params, ours(4).params) == 0


def test_epochs_are_passes_over_the_data():
    assert same_bits(ours(8).params, ours(None, epochs=2).params)  # ceil(50 / 15) = 4 steps each
    assert ours(None, epochs=2).history.iterations.tolist() == [0, 4, 8]
    assert ours(6).history.iterations.tolist() == [0, 4, 6]
    assert ours(4, batch_size=1000).history.iterations.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("nothing", [{"epochs": 0}, {"epochs": 10, "iterations": 0}])
def test_without_any_step_the_effective_start_comes_back(nothing):
    result = fit(NETWORK, PARAMS, DATA, masks=KEPT, frozen=FROZEN, snapshot_at=[0], **nothing)
    for name, value in PARAMS.items():
        expected = torch.where(KEPT[name], value, FROZEN[name]) if name in KEPT else value
        assert torch.equal(result.params[name], expected) and torch.equal(result.snapshots[0][name], expected)
    assert result.history.iterations.tolist() == [0] and result.history.train_loss.isnan().all()


def test_snapshots_are_those_asked_for():
    result = ours(6, snapshot_at=(4, 2), eval_every=5)
    assert sorted(result.snapshots) == [2, 4]
    assert same_bits(result.snapshots[2], ours(2).params) and same_bits(result.snapshots[4], ours(4).params)
    assert result.history.iterations.tolist() == [0, 5, 6]
    assert result.seconds > 0


def test_effective_by_hand():
    params = {"w": torch.tensor([[1.0, 2, 3]]), "b": torch.tensor([[4.0]])}
    mask = {"w": torch.tensor([[True, False, True]])}
    assert effective(params, mask)["w"].tolist() == [[1, 0, 3]]
    assert effective(params, mask, {"w": torch.tensor([[7.0, 8, 9]])})["w"].tolist() == [[1, 8, 3]]
    assert effective(params, None) == params and effective(params, mask)["b"] is params["b"]
    assert effective({"w": torch.tensor([[1.0, math.inf]])}, {"w": torch.tensor([[True, False]])})["w"][0, 1] == 0


BAD = {
    "shape": ({"params": PARAMS | {"fc2.weight": torch.zeros(3, 4, 4)}}, r"'fc2.weight'.*4, 5.*3, 4, 4"),
    "name": ({"params": {name: value for name, value in PARAMS.items() if name != "fc3.bias"}}, "fc3.bias"),
    "replicates": ({"params": PARAMS | {"fc2.bias": torch.zeros(2, 4)}}, r"replicates.*\[2, 3\]|'fc2.bias'"),
    "whole numbers": ({"params": PARAMS | {"fc2.bias": torch.zeros(3, 4, dtype=torch.int64)}}, "'fc2.bias'.*int64"),
    "mixed": ({"params": PARAMS | {"fc2.bias": torch.zeros(3, 4)}}, "'fc2.bias'.*float32"),
    "nan": ({"params": PARAMS | {"fc2.bias": torch.full((3, 4), math.nan, dtype=torch.float64)}}, "'fc2.bias'.*finite"),
    "mask shape": ({"masks": KEPT | {"fc2.weight": KEPT["fc2.weight"][:, :2]}}, "'fc2.weight'"),
    "mask dtype": ({"masks": {"fc2.weight": PARAMS["fc2.weight"]}}, "'fc2.weight'.*float64"),
    "mask name": ({"masks": {"fc9.weight": KEPT["fc2.weight"]}}, "'fc9.weight'"),
    "mask of a bias": ({"masks": {"fc1.bias": torch.ones(3, 5, dtype=torch.bool)}}, "'fc1.bias'.*prun"),
    "no masks": ({"masks": {}}, "empty"),
    "frozen alone": ({"frozen": FROZEN}, "'fc1.weight'.*mask"),
    "frozen shape": ({"masks": KEPT, "frozen": {"fc1.weight": torch.zeros(3, 5)}}, r"'fc1.weight'.*\[3, 5\]"),
    "frozen dtype": ({"masks": KEPT, "frozen": {"fc1.weight": torch.zeros(3, 5, 6)}}, "'fc1.weight'.*float32"),
    "frozen nan": ({"masks": KEPT, "frozen": {"fc1.weight": FROZEN["fc1.weight"] * math.nan}}, "'fc1.weight'.*finite"),
    "seeds": ({"seeds": [1, 2]}, "2 seeds for 3"),
    "seeds twice": ({"seeds": [1, 2, 1]}, r"\[1, 2, 1\]"),
    "a schedule that remembers": (
        {"lr_schedule": lambda i, seen=[]: seen.append(i) or len(seen)},
        "lr_schedule.*alone",
    ),
    "order_seeds": ({"order_seeds": [1]}, "1 order_seeds for 3"),
    "batch_size": ({"batch_size": 0}, "batch_size.*0"),
    "batch_size whole": ({"batch_size": 7.5}, r"batch_size.*7\.5"),
    "epochs": ({"epochs": -1}, "epochs.*-"),
    "epochs whole": ({"epochs": 1.5}, r"epochs.*1\.5"),
    "iterations": ({"iterations": -3}, "iterations.*-3"),
    "eval_every": ({"eval_every": 0}, "eval_every.*0"),
    "lr": ({"lr": -0.1}, r"lr.*-0\.1"),
    "lr nan": ({"lr": math.nan}, "lr.*nan"),
    "snapshots": ({"iterations": 3, "snapshot_at": [1, 4, -1]}, r"\[-1, 4\].*3"),
    "snapshots whole": ({"iterations": 3, "snapshot_at": [1.5]}, r"\[1\.5\].*3"),
    "optimizer": ({"optimizer": "lion"}, "'lion'.*adam, adamw, sgd"),
    "momentum": ({"momentum": 1.0}, r"momentum.*1\.0"),
    "weight_decay": ({"weight_decay": -1}, "weight_decay.*-1"),
    "images": ({"data": Dataset.from_tensors("other", *pairs(shape=(1, 3, 3)))}, r"9|3, 3"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_input_is_named(fault):
    change, said = BAD[fault]
    given_ = {"network": NETWORK, "params": PARAMS, "data": DATA, "epochs": 1} | change
    with pytest.raises(ValueError, match=said):
        fit(**given_)


def test_a_pruned_weight_may_be_anything_at_the_start():
    """Only effective weights are read: a pruned NaN is a 0."""
    params = clone(PARAMS)
    params["fc1.weight"][~KEPT["fc1.weight"]] = math.nan
    result = fit(NETWORK, params, DATA, masks=KEPT, seeds=SEEDS, iterations=4, batch_size=15, lr=0.01)
    assert same_bits(result.params, ours(4, masks=KEPT).params)


# --- measuring ---


@examples
@given(st.integers(0, 99), st.integers(1, 4), st.sampled_from([1, 7, np.int64(19), 20, 2000]))
def test_evaluate_agrees_with_numpy_for_every_chunk(seed, replicates, chunk):
    params = stack(seed, NETWORK.shapes, replicates, scale=2.0)
    loss, accuracy = evaluate(NETWORK, params, DOUBLE.val_x, DOUBLE.val_y, chunk=chunk)
    expected = measures(params, DOUBLE.val_x, DOUBLE.val_y)
    assert loss.dtype == accuracy.dtype == torch.float64
    assert np.allclose(loss, expected[0], rtol=1e-12) and np.allclose(accuracy, expected[1], rtol=1e-15)


def test_the_history_holds_what_the_snapshots_measure():
    result = ours(10, masks=KEPT, eval_every=3, snapshot_at=range(11), test_curve=True)
    history = result.history
    assert history.iterations.tolist() == [0, 3, 6, 9, 10] and history.seeds == tuple(SEEDS)
    for column, i in enumerate(history.iterations.tolist()):
        val_loss, val_accuracy = measures(result.snapshots[i], DOUBLE.val_x, DOUBLE.val_y)
        assert np.allclose(history.val_loss[:, column], val_loss, rtol=1e-12)
        assert np.allclose(history.val_accuracy[:, column], val_accuracy)
        assert np.allclose(
            history.test_accuracy[:, column], measures(result.snapshots[i], DOUBLE.test_x, DOUBLE.test_y)[1]
        )
    assert history.train_loss[:, 0].isnan().all()
    for k in range(len(SEEDS)):
        losses = by_hand(k, 10, KEPT)[1]
        means = [np.mean(losses[a:b]) for a, b in [(0, 3), (3, 6), (6, 9), (9, 10)]]
        assert history.train_loss[k, 1:].tolist() == pytest.approx(means, abs=1e-10)


@pytest.mark.parametrize("settings", [{}, {"lr": 0.5}, {"optimizer": "sgd", "lr": 1e300}], ids=["calm", "wild", "lost"])
def test_test_images_are_looked_at_at_both_ends_and_at_the_early_stop(settings):
    whole = ours(12, masks=KEPT, eval_every=2, test_curve=True, **settings).history
    found = ours(12, masks=KEPT, eval_every=2, **settings).history
    early = found.val_loss.nan_to_num(nan=math.inf).argmin(1)
    if settings.get("lr") == 0.5:
        assert ((early > 0) & (early < 6)).any(), "an early stop that only the copy of its parameters can tell"
    looked = torch.zeros_like(found.test_accuracy, dtype=torch.bool)
    looked[:, [0, -1]] = True
    looked[range(len(SEEDS)), early] = True
    assert torch.equal(found.test_accuracy.isnan(), ~looked)
    assert torch.equal(found.test_accuracy[looked], whole.test_accuracy[looked])
    assert torch.equal(found.val_loss.nan_to_num(), whole.val_loss.nan_to_num())


def test_the_history_as_a_table():
    table = ours(4, eval_every=2).history.table()
    assert list(table) == ["seed", "iteration", "train_loss", "val_loss", "val_accuracy", "test_accuracy"]
    assert table.seed.tolist() == [4, 4, 4, 0, 0, 0, 9, 9, 9] and table.iteration.tolist() == [0, 2, 4] * 3
    assert table.val_loss.tolist() == ours(4, eval_every=2).history.val_loss.flatten().tolist()


def history(val_loss, iterations=(0, 10, 20, 25)):
    curve = torch.tensor(val_loss, dtype=torch.float64)
    return History(tuple(range(3, 3 + len(curve))), torch.tensor(iterations), *[curve] * 4)


def test_the_early_stop_is_the_first_minimum_and_censored_at_the_last_check():
    found = history([[3, 1, 2, 2], [3, 2, 1, 1], [4, 3, 2, 1], [1, 1, 1, 1]])
    assert found.early_stop_iteration.tolist() == [10, 20, 25, 0]
    assert found.censored.tolist() == [False, False, True, False]


def test_a_diverged_replicate_has_no_early_stop_and_is_named_by_its_seed():
    found = history([[3, 1, 2, 2], [3, math.nan, 1, 1], [4, 3, 2, math.nan]])
    for column in ("early_stop_iteration", "censored"):
        with pytest.raises(ValueError, match=r"seeds \[4, 5\]"):
            getattr(found, column)


def test_training_that_diverges_says_so_and_returns():
    result = ours(30, optimizer="sgd", lr=1e300)
    assert result.history.val_loss.isnan().any()
    with pytest.raises(ValueError, match="diverged"):
        result.history.early_stop_iteration  # noqa: B018


# --- several threads ---


@pytest.fixture(params=[2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("rate, value", [(0.5, 0.1), (0.9, 0.0)], ids=["frozen", "few"])
@pytest.mark.parametrize("replicates", [1, 2, 5])
def test_threads_share_the_replicates_and_change_nothing(replicates, rate, value, threads):
    params = stack(3, NETWORK.shapes, replicates)
    kept = masks.prune(params, masks.ones(params, NETWORK.prunable), rate)
    settings = {"seeds": range(7, 7 + replicates), "iterations": 9, "batch_size": 15, "snapshot_at": [0, 5]}
    settings |= {
        "masks": kept,
        "frozen": {name: torch.full_like(params[name], value) for name in kept},
        "eval_every": 4,
    }
    several = fit(NETWORK, params, DATA, **settings)
    assert torch.get_num_threads() == threads
    again = fit(NETWORK, params, DATA, **settings)
    assert same_bits(several.params, again.params) and several.history.table().equals(again.history.table())
    torch.set_num_threads(1)
    one_thread = fit(NETWORK, params, DATA, **settings)
    assert list(several.params) == list(one_thread.params) and worst(several.params, one_thread.params) < 1e-11
    assert list(several.snapshots) == list(one_thread.snapshots) == [0, 5]
    assert worst(several.snapshots[5], one_thread.snapshots[5]) < 1e-11
    ours, theirs = several.history, one_thread.history
    assert ours.seeds == theirs.seeds and ours.iterations.tolist() == theirs.iterations.tolist() == [0, 4, 8, 9]
    for column in ("train_loss", "val_loss", "val_accuracy", "test_accuracy"):
        assert torch.allclose(getattr(ours, column), getattr(theirs, column), atol=1e-11, equal_nan=True)


def test_threads_see_one_schedule(threads):
    caller, asked = threading.get_ident(), []
    schedule = lambda i: asked.append(threading.get_ident()) or 1 / (1 + i)
    fit(NETWORK, stack(3, NETWORK.shapes, 4), DATA, iterations=5, lr_schedule=schedule)
    assert asked == [caller] * 10


def test_an_error_in_one_thread_ends_them_all(threads):
    def schedule(i):
        if i == 5:
            raise RuntimeError("no rate for 5")
        return 1.0

    with pytest.raises(RuntimeError, match="no rate for 5"):
        ours(10**6, lr_schedule=schedule)
    assert torch.get_num_threads() == threads


def test_autograd_works_in_every_thread_and_without_gradients_around_it(threads):
    class Plain(Dense):
        differentiator = Network.differentiator

    with torch.no_grad():
        result = fit(Plain("plain", [6, 5, 4, 3]), PARAMS, DATA, seeds=SEEDS, iterations=4, batch_size=15, lr=0.01)
    assert worst(result.params, ours(4).params) < 1e-11
    with torch.no_grad():
        single = fit(
            Plain("plain", [6, 5, 4, 3]), alone(PARAMS, 0), DATA, seeds=4, iterations=4, batch_size=15, lr=0.01
        )
    assert worst(single.params, alone(result.params, 0)) < 1e-11


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_real_network_in_two_threads(digits, dtype):
    """The promise about replicates, at the thread count of a two-core machine."""
    network = lenet_300_100(digits)
    params = {name: value.to(dtype) for name, value in network.init(range(10)).items()}
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        together = fit(network, params, digits, seeds=range(10), iterations=50, eval_every=50).params
        apart = [
            fit(network, alone(params, k), digits, seeds=k, iterations=50, eval_every=50).params for k in (0, 4, 5, 9)
        ]
    finally:
        torch.set_num_threads(before)
    joined = {name: torch.cat([single[name] for single in apart]) for name in together}
    off = torch.cat([(joined[name] - together[name][[0, 4, 5, 9]]).abs().flatten() for name in together])
    if dtype == torch.float64:
        assert off.max() <= 1e-9
    else:
        assert (off <= 1e-4).double().mean() >= 0.999
