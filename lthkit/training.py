"""Training R replicates at once, with pruned weights held where they are."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral
from operator import index

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from lthkit.data import Dataset
from lthkit.loop import Plan, Trained, evaluate, train
from lthkit.masks import Masks, Params, validate
from lthkit.networks import Network
from lthkit.streams import as_seeds
from lthkit.threads import in_parts

__all__ = ["Fit", "History", "count_iterations", "effective", "evaluate", "fit"]


@dataclass(frozen=True)
class History:
    """What was measured on the way: one column a check, T checks, the first before any step.

    iterations: [T].  train_loss: [R, T], the mean over the batches since the check before (NaN at the first).
    val_loss, val_accuracy, test_accuracy: [R, T].
    """

    seeds: tuple[int, ...]
    iterations: Tensor
    train_loss: Tensor
    val_loss: Tensor
    val_accuracy: Tensor
    test_accuracy: Tensor

    @property
    def early_stop_check(self) -> Tensor:
        """[R], the column with the lowest validation loss; the first of equals.

        Raises ValueError if a replicate's curve holds a NaN: a diverged run has no early stop.
        """
        diverged = self.val_loss.isnan().any(1)
        if diverged.any():
            seeds = [seed for seed, bad in zip(self.seeds, diverged.tolist(), strict=True) if bad]
            raise ValueError(f"validation loss is NaN for seeds {seeds}: training diverged, try a lower lr")
        return self.val_loss.argmin(dim=1)

    @property
    def early_stop_iteration(self) -> Tensor:
        """[R], the iteration of the lowest validation loss, found after training (Frankle & Carbin 2019, sec. 1)."""
        return self.iterations[self.early_stop_check]

    @property
    def censored(self) -> Tensor:
        """[R] bool: the lowest loss is that of the last check, so that the true early stop may lie later."""
        return self.early_stop_check == len(self.iterations) - 1

    def table(self) -> pd.DataFrame:
        """A row per (seed, check): seed iteration train_loss val_loss val_accuracy test_accuracy."""
        checks = len(self.iterations)
        columns = ("train_loss", "val_loss", "val_accuracy", "test_accuracy")
        return pd.DataFrame(
            {
                "seed": [seed for seed in self.seeds for _ in range(checks)],
                "iteration": self.iterations.tolist() * len(self.seeds),
                **{column: getattr(self, column).flatten().tolist() for column in columns},
            }
        )


@dataclass(frozen=True)
class Fit:
    """The outcome of `fit`: effective parameters {name: [R, …]}, the history, snapshots by iteration, seconds."""

    params: Params
    history: History
    snapshots: dict[int, Params]
    seconds: float


def count_iterations(
    data: Dataset, epochs: int = 10, iterations: int | None = None, batch_size: int = 60, **others
) -> int:
    """How many iterations `fit` makes with these settings; the other settings do not matter."""
    check_count("batch_size", batch_size, 1)
    check_count("epochs", epochs, 0)
    if iterations is None:
        return epochs * math.ceil(len(data.train_y) / batch_size)
    check_count("iterations", iterations, 0)
    return iterations


def effective(params: Params, masks: Masks | None, frozen: Params | None = None) -> Params:
    """mask · weight + ~mask · frozen, for each masked weight; frozen defaults to 0.  Other parameters as they are."""
    result = dict(params)
    for name, mask in (masks or {}).items():
        value = frozen[name] if frozen is not None and name in frozen else torch.zeros((), dtype=params[name].dtype)
        result[name] = torch.where(mask, params[name], value.to(params[name].device))
    return result


def fit(
    network: Network,
    params: Params,
    data: Dataset,
    masks: Masks | None = None,
    frozen: Params | None = None,
    seeds: int | Iterable[int] | None = None,
    epochs: int = 10,
    iterations: int | None = None,
    batch_size: int = 60,
    optimizer: str = "adam",
    lr: float = 1.2e-3,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    lr_schedule: Callable[[int], float] | None = None,
    eval_every: int | None = None,
    snapshot_at: Iterable[int] = (),
    order_seeds: Iterable[int] | None = None,
    round: int = 0,
    progress: tqdm | None = None,
) -> Fit:
    """Train every replicate from `params` under its masks; the inputs are not changed.

    params: {name: [R, …]}.  masks: {name: [R, …] bool}; a pruned weight has the value `frozen` (0 unless given)
    throughout, whatever momentum or weight decay say.  seeds: one a replicate, by default 0 … R − 1.
    epochs passes over the data, or exactly `iterations` steps; the last batch of an epoch may be smaller.
    optimizer: "adam" (weight decay as L2), "adamw" or "sgd"; momentum is SGD's, and Adam's first beta.
    lr_schedule(i) multiplies `lr` in iteration i = 0, 1, …; lambda i: min(1, (i + 1) / 500) warms up.  eval_every: iterations between checks, by default one
    epoch; the start and the end are always checked.  snapshot_at: iterations whose parameters are kept (0: the start).
    order_seeds: seeds of the batch order where it is to differ from `seeds`; they may repeat.  round: which "batches" stream to use.
    Raises ValueError, naming tensor and value, for parameters or masks that do not fit, or settings out of range.
    """
    began = time.perf_counter()
    replicates, seeds = check_params(network, params, masks, frozen, seeds)
    params = {name: params[name].detach() for name in network.shapes}
    order_seeds = seeds if order_seeds is None else [index(seed) for seed in order_seeds]
    total = count_iterations(data, epochs, iterations, batch_size)
    eval_every = count_iterations(data, 1, None, batch_size) if eval_every is None else eval_every
    check_count("eval_every", eval_every, 1)
    snapshot_at = set(snapshot_at)
    check_settings(total, lr, snapshot_at, replicates, order_seeds)

    start = effective(params, masks, frozen)
    like = start[network.prunable[0]]
    data = data.to(device=like.device, dtype=like.dtype)
    check_images(network, start, data)
    plan = Plan(
        network, data, total, batch_size, eval_every, snapshot_at, round, optimizer, lr, momentum, weight_decay, lr_schedule
    )  # fmt: skip
    own_bar = progress is None
    bar = tqdm(total=total, desc="training", unit=" steps", leave=False, delay=2) if own_bar else progress
    try:
        parts = _train_parts(plan, start, masks, order_seeds, bar)
    finally:
        if own_bar:
            bar.close()
    columns = [torch.cat(column) for column in zip(*(part.checks for part in parts), strict=True)]
    history = History(tuple(seeds), torch.tensor(parts[0].iterations), *columns)
    snapshots = {i: _joined([part.snapshots[i] for part in parts]) for i in parts[0].snapshots}
    return Fit(_joined([part.params for part in parts]), history, snapshots, time.perf_counter() - began)


def _train_parts(plan: Plan, start: Params, masks: Masks | None, order_seeds: list[int], bar: tqdm) -> list[Trained]:
    def part(cut: slice, tick: Callable[[], bool]) -> Trained:
        own_start = {name: value[cut] for name, value in start.items()}
        own_masks = None if masks is None else {name: mask[cut] for name, mask in masks.items()}
        return train(plan, own_start, own_masks, order_seeds[cut], tick)

    return in_parts(part, plan.network, len(order_seeds), start[plan.network.prunable[0]].is_cpu, bar)


def _joined(parts: list[Params]) -> Params:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def check_params(network, params, masks, frozen, seeds) -> tuple[int, list[int]]:
    if set(params) != set(network.shapes):
        raise ValueError(f"parameters must be {list(network.shapes)}, got {list(params)}")
    like = params[network.prunable[0]]
    for name, value in params.items():
        if tuple(value.shape[1:]) != tuple(network.shapes[name]):
            raise ValueError(
                f"{name!r} must be [R, {', '.join(map(str, network.shapes[name]))}], got {list(value.shape)}"
            )
        if not value.is_floating_point() and name not in network.buffers:
            raise ValueError(f"{name!r} must be floating point, got {value.dtype}")
        if name not in network.buffers and (value.dtype, value.device) != (like.dtype, like.device):
            found = f"{value.dtype} on {value.device}, others {like.dtype} on {like.device}"
            raise ValueError(f"parameters must agree in dtype and device: {name!r} is {found}")
    counts = {value.shape[0] for value in params.values()}
    if len(counts) > 1:
        raise ValueError(f"parameters differ in their number of replicates: {sorted(counts)}")
    replicates = counts.pop()
    if masks is not None:
        validate(masks, params)
        if others := [name for name in masks if name not in network.prunable]:
            raise ValueError(f"masks name {others}, which are not prunable: prunable are {list(network.prunable)}")
    for name, value in (frozen or {}).items():
        if masks is None or name not in masks:
            raise ValueError(f"frozen {name!r} has no mask: pass masks, or leave it out")
        if value.shape != params[name].shape:
            raise ValueError(f"frozen {name!r} has shape {list(value.shape)}, its weight {list(params[name].shape)}")
        if value.dtype != like.dtype:
            raise ValueError(f"frozen {name!r} is {value.dtype}, its weight {like.dtype}")
    for name, value in effective(params, masks, frozen).items():
        if not value.isfinite().all():
            raise ValueError(f"{name!r} holds values that are not finite at the start")
    seeds = list(range(replicates)) if seeds is None else as_seeds(seeds)
    if len(seeds) != replicates:
        raise ValueError(f"{len(seeds)} seeds for {replicates} replicates")
    return replicates, seeds


def check_count(name: str, count: int, least: int) -> None:
    if not isinstance(count, Integral) or count < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {count!r}")


def check_images(network: Network, start: Params, data: Dataset) -> None:
    """One image through the network tells whether the two fit."""
    try:
        with torch.no_grad():
            classes = network.forward(start, data.train_x[:1]).shape[-1]
    except RuntimeError as error:
        shape = list(data.image_shape)
        raise ValueError(f"{network.name} does not take the images of {data.name!r}, {shape}: {error}") from error
    if classes < data.classes:
        raise ValueError(
            f"{network.name} has {classes} outputs, too few for the {data.classes} classes of {data.name!r}"
        )


def check_settings(total, lr, snapshot_at, replicates, order_seeds) -> None:
    if not (lr > 0 and math.isfinite(lr)):
        raise ValueError(f"lr must be a positive number, got {lr}")
    outside = sorted(i for i in snapshot_at if not 0 <= i <= total)
    if outside:
        raise ValueError(f"snapshot_at {outside} lies outside 0 … {total} iterations")
    if len(order_seeds) != replicates:
        raise ValueError(f"{len(order_seeds)} order_seeds for {replicates} replicates")
