"""Checkpoints: a call that is broken off goes on where it stood, bit for bit, and a folder serves one call only."""

import linecache
import threading
from contextlib import contextmanager
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from lthkit import checkpoints, masks, supermask
from lthkit.checkpoints import describe
from lthkit.data import Dataset
from lthkit.networks import Conv, Dense, from_module
from lthkit.training import effective, fit, weights

from .oracles import pairs, stack, two_units

DATA = Dataset.from_tensors("small", *pairs())  # 50 / 20 / 30 images
SQUARE = Dataset.from_tensors("square", *pairs(shape=(1, 4, 4)))
NETWORK = Dense("small", [6, 5, 4, 3])
SEEDS = [4, 0, 9]
PARAMS = stack(0, NETWORK.shapes, len(SEEDS))
KEPT = masks.prune({name: PARAMS[name].abs() for name in NETWORK.prunable}, masks.ones(PARAMS, NETWORK.prunable), 0.4)
FEW = two_units(PARAMS)
FROZEN = {name: torch.full_like(PARAMS[name], 0.25) for name in KEPT}
STEPS = 9  # 15 of 50 images each: two epochs and the beginning of a third


class Norm(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3))


NORM, CONV, DENSE = from_module(Norm), Conv("conv", SQUARE, (2,), 0.5), Dense("dense", [16, 8, 3])


class BrokenOff(Exception):
    """What stands for the end of a process."""


@contextmanager
def broken_off(after: int):
    """Every step is written; with the one of this number, the work ends."""
    left, lock, write, every = after, threading.Lock(), checkpoints.Steps.write, checkpoints.EVERY

    def counted(*given, **named):
        nonlocal left
        write(*given, **named)
        with lock:
            left -= 1
            if left == 0:
                raise BrokenOff

    checkpoints.Steps.write, checkpoints.EVERY = counted, 0
    try:
        yield
    finally:
        checkpoints.Steps.write, checkpoints.EVERY = write, every


def in_pieces(call, folder, after: int):
    """What `call` gives at last, broken off whenever so many steps were written; and how often it was."""
    for pieces in range(1, 1000):
        try:
            with broken_off(after):
                return call(checkpoint=folder), pieces - 1
        except BrokenOff:
            pass


def same(a, b) -> bool:
    """Whether two results are equal bit for bit, NaN and the order of names included, seconds and networks aside."""
    if isinstance(a, torch.Tensor):
        as_bytes = (value.contiguous().view(-1).view(torch.uint8) for value in (a, b))
        return (a.dtype, a.shape) == (b.dtype, b.shape) and torch.equal(*as_bytes)
    if isinstance(a, pd.DataFrame):
        a, b = (table.drop(columns="seconds", errors="ignore") for table in (a, b))
        return a.equals(b) and list(a.dtypes) == list(b.dtypes)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if hasattr(a, "__dict__"):
        own, other = ({k: v for k, v in vars(x).items() if k not in ("seconds", "network", "data")} for x in (a, b))
        return type(a) is type(b) and same(own, other)
    return a == b


def contents(folder) -> dict:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


# --- what goes on ---


def rising(iteration: int) -> float:
    return min(1.0, (iteration + 1) / 7)


def overflowing(iteration: int) -> float:
    return 1e300 if iteration == 4 else 1.0


FITS = {
    "adam": {},
    "adam+decay": {"weight_decay": 0.1, "momentum": 0.5},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
    "sgd": {"optimizer": "sgd", "momentum": 0.0, "lr": 0.1},
    "sgd+momentum": {"optimizer": "sgd", "weight_decay": 0.1, "lr": 0.1},
    "masks": {"masks": KEPT},
    "masks+momentum": {"masks": KEPT, "optimizer": "sgd", "weight_decay": 0.1, "lr": 0.1},
    "few weights": {"masks": FEW, "snapshot_at": [2]},
    "few weights+momentum": {"masks": FEW, "optimizer": "sgd", "weight_decay": 0.1, "lr": 0.1},
    "frozen": {"masks": KEPT, "frozen": FROZEN, "weight_decay": 0.1},
    "schedule": {"lr_schedule": rising},
    "order": {"order_seeds": [3, 3, 1], "round": 2},
    "snapshots": {"snapshot_at": [0, 2, 3, STEPS]},
    "every test image": {"test_curve": True, "eval_every": 2},
    "few checks": {"eval_every": 100},
    "epochs": {"epochs": 2, "iterations": None},
    "diverged": {"optimizer": "sgd", "lr_schedule": overflowing},
}


def small(**given):
    return fit(NETWORK, PARAMS, DATA, **{"seeds": SEEDS, "iterations": STEPS, "batch_size": 15, "lr": 0.01} | given)


@pytest.mark.parametrize("name", FITS)
def test_a_fit_goes_on_bit_for_bit(name, threads, tmp_path):
    whole = small(**FITS[name])
    for after in (1, 3, 5):
        found, pieces = in_pieces(partial(small, **FITS[name]), tmp_path / str(after), after)
        assert pieces and same(found, whole), after
    assert whole.history.diverged.any() == (name == "diverged")


def test_the_optimizers_fallback_goes_on_bit_for_bit(threads, tmp_path, monkeypatch):
    from lthkit.training import optimizers

    monkeypatch.setattr(optimizers, "fused_works", lambda *_: False)
    for name in ("adam", "adamw", "sgd+momentum"):
        whole = small(**FITS[name])
        found, pieces = in_pieces(partial(small, **FITS[name]), tmp_path / name, 3)
        assert pieces and same(found, whole), name


@pytest.mark.parametrize("network", [NORM, CONV, DENSE], ids=["batch norm", "conv", "dense"])
def test_a_fit_of_any_network_goes_on_bit_for_bit(network, threads, tmp_path):
    def call(**given):
        return fit(network, network.init(SEEDS), SQUARE, seeds=SEEDS, iterations=STEPS, batch_size=15, **given)

    found, pieces = in_pieces(call, tmp_path, 3)
    assert pieces and same(found, call())


LEARNED = {
    "bernoulli": supermask.learn,
    "not rescaled": partial(supermask.learn, rescale=False, weights="signed_constant", logit=0.5),
    "snapshots": partial(supermask.learn, snapshot_at=[0, 4, STEPS]),
    "sgd": partial(supermask.learn, optimizer="sgd", weight_decay=0.1),
    "edge-popup": supermask.edge_popup,
    "edge-popup, sgd": partial(supermask.edge_popup, optimizer="sgd", kept=0.3),
}


@pytest.mark.parametrize("name", LEARNED)
def test_a_learned_mask_goes_on_bit_for_bit(name, threads, tmp_path):
    for network in (DENSE, NORM)[: 3 - threads]:  # two threads in such short convolutions wait for each other
        call = partial(LEARNED[name], network, SQUARE, SEEDS, iterations=STEPS, batch_size=15)
        found, pieces = in_pieces(call, tmp_path / network.name, 4)
        assert pieces and same(found, call()), network


def test_no_written_step_is_taken_again(tmp_path, monkeypatch):
    taken, step = [], weights.Weights.step
    monkeypatch.setattr(weights.Weights, "step", lambda *given: taken.append(1) or step(*given))
    in_pieces(small, tmp_path, 2)
    assert len(taken) == STEPS
    small(checkpoint=tmp_path)  # all is written
    assert len(taken) == STEPS


def test_a_short_fit_writes_no_step_and_a_long_one_now_and_then(threads, tmp_path, monkeypatch):
    small(checkpoint=tmp_path / "short")
    assert list(contents(tmp_path / "short")) == ["call.safetensors"]
    now, wrote = [0.0], []
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    put = checkpoints.files.write
    monkeypatch.setattr(
        checkpoints.files, "write", lambda path, kind, *rest: wrote.append((now[0], kind)) or put(path, kind, *rest)
    )

    step = weights.Weights.step

    def slow(*given):
        now[0] += 8.0
        return step(*given)

    monkeypatch.setattr(weights.Weights, "step", slow)
    torch.set_num_threads(1)  # one part, so that each step is one of eight seconds
    small(checkpoint=tmp_path / "long")
    # After the first step that ends 30 s or more after the last time; and at the end, as steps were written before.
    assert wrote == [(0.0, "call"), (32.0, "steps"), (64.0, "steps"), (72.0, "steps")]


# --- what is refused ---


class Other(Dense):
    """The same shapes, another function."""

    def forward(self, params, x, training=False):
        return -super().forward(params, x, training)


def flat(iteration: int) -> float:
    return 1.0


def other(name: str):
    """A function of this name with another source than its namesake's."""

    def rising(iteration: int) -> float:
        return 1.0

    return {"rising": rising}[name]


CALL = {"network": NETWORK, "params": PARAMS, "data": DATA, "masks": KEPT, "frozen": FROZEN, "seeds": SEEDS}
CALL |= {"iterations": 2, "lr_schedule": rising, "snapshot_at": [1]}
CHANGES = {
    "another network": ({"network": Dense("other", [6, 5, 4, 3])}, "network"),
    "another kind of network": ({"network": Other("small", [6, 5, 4, 3])}, "network"),
    "other data": ({"data": Dataset.from_tensors("small", *pairs(1))}, "data"),
    "data of another name": ({"data": Dataset.from_tensors("large", *pairs())}, "data"),
    "other seeds": ({"seeds": [4, 0, 8]}, "seeds"),
    "another order of seeds": ({"seeds": [4, 9, 0]}, "seeds"),
    "another start": ({"params": stack(1, NETWORK.shapes, 3)}, "start"),
    "other frozen values": ({"frozen": {n: value + 1 for n, value in FROZEN.items()}}, "start"),
    "no masks": ({"masks": None, "frozen": None, "params": effective(PARAMS, KEPT, FROZEN)}, "masks"),
    "another round": ({"round": 1}, "round"),
    "another rate": ({"lr": 0.02}, "settings"),
    "another optimizer": ({"optimizer": "sgd"}, "settings"),
    "more iterations": ({"iterations": 3}, "settings"),
    "no schedule": ({"lr_schedule": None}, "settings"),
    "another schedule": ({"lr_schedule": flat}, "settings"),
    "a schedule of the same name": ({"lr_schedule": other("rising")}, "settings"),
    "other orders": ({"order_seeds": [1, 2, 3]}, "settings"),
    "other snapshots": ({"snapshot_at": [2]}, "snapshot_at"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_the_folder_of_another_fit_is_refused_with_what_differs(name, tmp_path):
    change, what = CHANGES[name]
    fit(**CALL, checkpoint=tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError) as caught:
        fit(**CALL | change, checkpoint=tmp_path)
    assert str(caught.value).startswith(f"{tmp_path} is the checkpoint of another call: its {what} is ")
    assert contents(tmp_path) == before
    assert same(fit(**CALL, checkpoint=tmp_path), fit(**CALL))


def test_another_number_of_threads_is_refused(threads, tmp_path):
    small(checkpoint=tmp_path)
    torch.set_num_threads(threads + 1)
    with pytest.raises(ValueError, match=f"its threads is {threads}, here {threads + 1}"):
        small(checkpoint=tmp_path)


LEARN = {"network": DENSE, "data": SQUARE, "seeds": SEEDS, "iterations": 2}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"seeds": [4, 0, 8]}, "seeds"),
        ({"rescale": False}, "rescale"),
        ({"weights": "signed_constant"}, "weights"),
        ({"initial": DENSE.init([1, 2, 3])}, "weights"),
        ({"logit": 1.0}, "logit"),
        ({"lr": 0.2}, "settings"),
        ({"snapshot_at": [1]}, "snapshot_at"),
        ({"data": Dataset.from_tensors("square", *pairs(1, shape=(1, 4, 4)))}, "data"),
    ],
)
def test_the_folder_of_another_learned_mask_is_refused_with_what_differs(change, what, tmp_path):
    supermask.learn(**LEARN, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=f"another call: its {what} is "):
        supermask.learn(**LEARN | change, checkpoint=tmp_path)


def test_one_function_does_not_go_on_in_the_folder_of_another(tmp_path):
    supermask.learn(**LEARN, checkpoint=tmp_path / "learn")
    supermask.edge_popup(**LEARN, checkpoint=tmp_path / "popup")
    small(checkpoint=tmp_path / "fit")
    for folder, call in (("popup", supermask.learn), ("learn", supermask.edge_popup), ("fit", supermask.learn)):
        with pytest.raises(ValueError, match="checkpoint of another call: its call is"):
            call(**LEARN, checkpoint=tmp_path / folder)
    with pytest.raises(ValueError, match="its counts is"):
        supermask.edge_popup(**LEARN, kept=0.2, checkpoint=tmp_path / "popup")


def test_a_folder_with_other_files_is_refused_and_untouched(tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(ValueError, match=f"{tmp_path} holds files, but no checkpoint"):
        small(checkpoint=tmp_path)
    assert contents(tmp_path) == {"thesis.txt": b"years"}


def test_a_folder_is_made_with_its_parents_and_hidden_files_do_not_matter(tmp_path):
    folder = tmp_path / "a" / "b"
    small(checkpoint=str(folder))
    assert list(contents(folder)) == ["call.safetensors"]
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / ".DS_Store").touch()
    small(checkpoint=tmp_path / "c")


def test_a_bad_call_makes_no_folder(tmp_path):
    for change in ({"lr": -1}, {"seeds": [1]}, {"snapshot_at": [99]}):
        with pytest.raises(ValueError):
            small(checkpoint=tmp_path / "new", **change)
    assert not (tmp_path / "new").exists()


def test_a_class_of_a_notebook_is_told_apart_by_its_methods():
    """Where Python finds the source of functions alone."""
    sources = [f"class Net:\n    def forward(self, x):\n        return {body}\n" for body in ("x", "2 * x")]
    made = []
    for k, source in enumerate(sources):
        name, scope = f"<cell {k}>", {"__name__": "__main__"}
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        exec(compile(source, name, "exec"), scope)  # noqa: S102
        made.append(scope["Net"])
    first, second = map(describe, made)
    assert first.startswith("Net ") and second.startswith("Net ") and first != second
    assert describe(made[0]) == first


def test_a_function_without_source_is_named(tmp_path):
    unreadable = eval("lambda iteration: 1.0")
    with pytest.raises(ValueError, match="needs the source of <function <lambda> at"):
        small(checkpoint=tmp_path / "new", lr_schedule=unreadable)
    assert not (tmp_path / "new").exists()


def test_equal_calls_may_be_written_differently(tmp_path):
    first = small(checkpoint=tmp_path)
    numbers = {
        "seeds": np.array(SEEDS),
        "iterations": np.int64(STEPS),
        "lr": np.float64(0.01),
        "batch_size": np.int32(15),
    }
    assert same(small(checkpoint=tmp_path, **numbers), first)
