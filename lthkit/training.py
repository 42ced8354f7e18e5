"""Training R replicates at once, with pruned weights held where they are."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from lthkit.data import Dataset
from lthkit.masks import Masks, Params, validate
from lthkit.networks import Network
from lthkit.optimizers import Optimizer
from lthkit.streams import as_seeds, streams


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


@torch.no_grad()
def evaluate(network: Network, params: Params, x: Tensor, y: Tensor, chunk: int = 2000) -> tuple[Tensor, Tensor]:
    """Cross-entropy [R] and accuracy [R], float64, of effective parameters on images x [N, C, H, W], labels y [N].

    Works through `chunk` images at a time, so that memory does not grow with N.
    """
    loss = correct = 0.0
    for part_x, part_y in zip(x.split(chunk), y.split(chunk), strict=True):
        logits = network.forward(params, part_x)  # [R, B, classes]
        labels = part_y.expand(logits.shape[0], -1)
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
        loss = loss + losses.sum(1, dtype=torch.float64)
        correct = correct + (logits.argmax(-1) == labels).sum(1)
    return loss / len(y), correct.double() / len(y)


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
    lr_schedule(i) multiplies `lr` in iteration i = 0, 1, ….  eval_every: iterations between checks, by default one
    epoch; the start and the end are always checked.  snapshot_at: iterations whose parameters are kept (0: the start).
    order_seeds: seeds of the batch order where it is to differ from `seeds`.  round: which "batches" stream to use.
    Raises ValueError, naming tensor and value, for parameters or masks that do not fit, or settings out of range.
    """
    began = time.perf_counter()
    replicates, seeds = _check_params(network, params, masks, frozen, seeds)
    order_seeds = seeds if order_seeds is None else as_seeds(order_seeds)
    per_epoch = math.ceil(len(data.train_y) / batch_size) if batch_size > 0 else 0
    total = epochs * per_epoch if iterations is None else iterations
    eval_every = per_epoch if eval_every is None else eval_every
    snapshot_at = set(snapshot_at)
    _check_settings(batch_size, total, eval_every, lr, snapshot_at, replicates, order_seeds)

    start = effective(params, masks, frozen)
    flat, trained = _flatten(start)
    flat_grads, grads = _flatten({name: torch.zeros_like(value) for name, value in start.items()})
    pruned = masks is not None and not all(bool(mask.all()) for mask in masks.values())
    if pruned:
        everything = {name: masks.get(name, torch.ones_like(value, dtype=torch.bool)) for name, value in start.items()}
        flat_kept = _flatten(everything)[0]
        flat_start, flat_mask = flat.clone(), flat_kept.to(flat.dtype)
    # Weight decay is the one thing that moves a weight whose gradient and moments are 0.
    decays = pruned and weight_decay != 0 and bool((flat_start[~flat_kept] != 0).any())
    take_step = Optimizer(optimizer, flat, flat_grads, momentum=momentum, weight_decay=weight_decay)
    differentiate = network.differentiator(trained, grads)

    data = data.to(device=flat.device, dtype=flat.dtype)
    batches = _batches(data, streams(order_seeds, "batches", round), batch_size)
    checks: list[tuple] = []
    snapshots: dict[int, Params] = {}
    running, since = torch.zeros(replicates, device=flat.device, dtype=flat.dtype), 0
    own_bar = progress is None
    bar = tqdm(total=total, desc="training", unit=" steps", leave=False, delay=2) if own_bar else progress
    try:
        for i in range(total + 1):
            if i % eval_every == 0 or i == total:
                val_loss, val_accuracy = evaluate(network, trained, data.val_x, data.val_y)
                test_accuracy = evaluate(network, trained, data.test_x, data.test_y)[1]
                checks.append(
                    (i, running / since if since else running * math.nan, val_loss, val_accuracy, test_accuracy)
                )
                running, since = torch.zeros_like(running), 0
            if i in snapshot_at:
                snapshots[i] = {name: value.clone() for name, value in trained.items()}
            if i == total:
                break
            running += differentiate(*next(batches))
            since += 1
            if pruned:
                flat_grads.mul_(flat_mask)
            take_step(lr if lr_schedule is None else lr * lr_schedule(i))
            if decays:
                torch.where(flat_kept, flat, flat_start, out=flat)
            bar.update()
    finally:
        if own_bar:
            bar.close()
    if pruned:
        torch.where(flat_kept, flat, flat_start, out=flat)
    columns = [torch.stack([check[k] for check in checks], dim=1).double().cpu() for k in range(1, 5)]
    history = History(tuple(seeds), torch.tensor([check[0] for check in checks]), *columns)
    return Fit(trained, history, snapshots, time.perf_counter() - began)


def _flatten(tensors: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """One flat copy of all tensors, and views into it of the old names and shapes."""
    flat = torch.cat([value.flatten() for value in tensors.values()])
    parts = flat.split([value.numel() for value in tensors.values()])
    return flat, {name: part.view(value.shape) for (name, value), part in zip(tensors.items(), parts, strict=True)}


def _batches(data: Dataset, generators: list[torch.Generator], batch_size: int):
    """Endless (x [R, B, C, H, W], y [R, B]); each replicate goes through the data in an order of its own."""
    images, shape = data.train_x.flatten(1), data.train_x.shape[1:]
    buffers: dict[int, Tensor] = {}
    while True:
        order = torch.stack([torch.randperm(len(images), generator=generator) for generator in generators])
        order = order.to(images.device)  # [R, N]
        for chosen in order.split(batch_size, dim=1):
            chosen = chosen.contiguous()  # [R, B]
            size = chosen.shape[1]
            if size not in buffers:
                buffers[size] = images.new_empty(chosen.numel(), images.shape[1])
            x = torch.index_select(images, 0, chosen.view(-1), out=buffers[size])
            yield x.view(len(generators), size, *shape), data.train_y[chosen]


def _check_params(network, params, masks, frozen, seeds) -> tuple[int, list[int]]:
    if list(params) != list(network.shapes):
        raise ValueError(f"parameters must be {list(network.shapes)} in this order, got {list(params)}")
    for name, value in params.items():
        if tuple(value.shape[1:]) != tuple(network.shapes[name]):
            raise ValueError(
                f"{name!r} must be [R, {', '.join(map(str, network.shapes[name]))}], got {list(value.shape)}"
            )
        if not value.is_floating_point():
            raise ValueError(f"{name!r} must be floating point, got {value.dtype}")
    counts = {value.shape[0] for value in params.values()}
    if len(counts) > 1:
        raise ValueError(f"parameters differ in their number of replicates: {sorted(counts)}")
    replicates = counts.pop()
    if masks is not None:
        validate(masks, params)
    for name, value in (frozen or {}).items():
        if masks is None or name not in masks:
            raise ValueError(f"frozen {name!r} has no mask: pass masks, or leave it out")
        if value.shape != params[name].shape:
            raise ValueError(f"frozen {name!r} has shape {list(value.shape)}, its weight {list(params[name].shape)}")
    for name, value in effective(params, masks, frozen).items():
        if not value.isfinite().all():
            raise ValueError(f"{name!r} holds values that are not finite at the start")
    seeds = list(range(replicates)) if seeds is None else as_seeds(seeds)
    if len(seeds) != replicates:
        raise ValueError(f"{len(seeds)} seeds for {replicates} replicates")
    return replicates, seeds


def _check_settings(batch_size, total, eval_every, lr, snapshot_at, replicates, order_seeds) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if total < 0:
        raise ValueError(f"epochs and iterations must not be negative, got {total} iterations")
    if eval_every < 1:
        raise ValueError(f"eval_every must be at least 1 iteration, got {eval_every}")
    if not (lr > 0 and math.isfinite(lr)):
        raise ValueError(f"lr must be a positive number, got {lr}")
    outside = sorted(i for i in snapshot_at if not 0 <= i <= total)
    if outside:
        raise ValueError(f"snapshot_at {outside} lies outside 0 … {total} iterations")
    if len(order_seeds) != replicates:
        raise ValueError(f"{len(order_seeds)} order_seeds for {replicates} replicates")
