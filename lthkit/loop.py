"""One stack of replicates, trained in one thread: what `training.fit` divides among the processor's cores."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lthkit.data import Dataset
from lthkit.masks import Masks, Params
from lthkit.networks import Network
from lthkit.optimizers import Optimizer
from lthkit.streams import streams


@dataclass(frozen=True)
class Plan:
    """The settings of `training.fit` that all stacks share; `total` counts iterations."""

    network: Network
    data: Dataset
    total: int
    batch_size: int
    eval_every: int
    snapshot_at: set[int]
    round: int
    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    lr_schedule: Callable[[int], float] | None


@dataclass(frozen=True)
class Trained:
    """What a stack brings home.  checks: per column of `History` after `iterations`, one tensor [R, T]."""

    params: Params
    iterations: list[int]
    checks: list[Tensor]
    snapshots: dict[int, Params]


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


def train(plan: Plan, start: Params, masks: Masks | None, order_seeds: list[int], tick: Callable[[], bool]) -> Trained:
    """Train from effective parameters; weights that the masks prune stay where they are.

    tick: called after each iteration; training is given up where it returns False.
    """
    network, data = plan.network, plan.data
    buffers = {name: start[name].clone() for name in network.buffers}
    flat, params = flatten({name: value for name, value in start.items() if name not in buffers})
    flat_grads, grads = flatten({name: torch.zeros_like(value) for name, value in params.items()})
    pruned = masks is not None and not all(bool(mask.all()) for mask in masks.values())
    if pruned:
        flat_kept = flatten({n: masks.get(n, torch.ones_like(p, dtype=torch.bool)) for n, p in params.items()})[0]
        flat_start = flat.clone()
        # Bits, all 1 or all 0: a product would turn an infinite gradient of a pruned weight into NaN.
        as_bits = {4: torch.int32, 8: torch.int64, 2: torch.int16}[flat.element_size()]
        grad_bits, kept_bits = flat_grads.view(as_bits), -flat_kept.to(as_bits)
    # Weight decay is the one thing that moves a weight whose gradient and moments are 0.
    decays = pruned and plan.weight_decay != 0 and bool((flat_start[~flat_kept] != 0).any())
    take_step = Optimizer(plan.optimizer, flat, flat_grads, momentum=plan.momentum, weight_decay=plan.weight_decay)
    params |= buffers
    differentiate = network.differentiator(params, grads)
    batches = batches_of(data, streams(order_seeds, "batches", plan.round), plan.batch_size)

    iterations: list[int] = []
    checks: list[tuple[Tensor, ...]] = []
    snapshots: dict[int, Params] = {}
    running, since = flat.new_zeros(len(order_seeds)), 0
    for i in range(plan.total + 1):
        if i % plan.eval_every == 0 or i == plan.total:
            val_loss, val_accuracy = evaluate(network, params, data.val_x, data.val_y)
            test_accuracy = evaluate(network, params, data.test_x, data.test_y)[1]
            iterations.append(i)
            checks.append((running / since if since else running * math.nan, val_loss, val_accuracy, test_accuracy))
            running, since = torch.zeros_like(running), 0
        if i in plan.snapshot_at:
            snapshots[i] = {name: params[name].clone() for name in start}
        if i == plan.total:
            break
        running += differentiate(*next(batches))
        since += 1
        if pruned:
            grad_bits.bitwise_and_(kept_bits)
        take_step(plan.lr if plan.lr_schedule is None else plan.lr * plan.lr_schedule(i))
        if decays:
            torch.where(flat_kept, flat, flat_start, out=flat)
        if not tick():
            break
    if pruned:
        torch.where(flat_kept, flat, flat_start, out=flat)
    columns = [torch.stack(column, dim=1).double().cpu() for column in zip(*checks, strict=True)]
    return Trained({name: params[name] for name in start}, iterations, columns, snapshots)


def flatten(tensors: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """One flat copy of all tensors, and contiguous views into it of the old names and shapes."""
    sizes = [value.numel() for value in tensors.values()]
    flat = next(iter(tensors.values())).new_empty(sum(sizes))
    views = {}
    for (name, value), part in zip(tensors.items(), flat.split(sizes), strict=True):
        views[name] = part.view(value.shape).copy_(value)
    return flat, views


def batches_of(data: Dataset, generators: list[torch.Generator], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless (x [R, B, C, H, W], y [R, B]); each replicate goes through the data in an order of its own."""
    images, shape = data.train_x.flatten(1), data.train_x.shape[1:]
    room: dict[int, Tensor] = {}
    while True:
        order = torch.stack([torch.randperm(len(images), generator=generator) for generator in generators])
        order = order.to(images.device)  # [R, N]
        labels = data.train_y[order]
        for chosen, y in zip(order.split(batch_size, dim=1), labels.split(batch_size, dim=1), strict=True):
            size = chosen.shape[1]
            if size not in room:
                room[size] = images.new_empty(chosen.numel(), images.shape[1])
            x = torch.index_select(images, 0, chosen.flatten(), out=room[size])
            yield x.view(len(generators), size, *shape), y
