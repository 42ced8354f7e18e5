"""The one training loop: batches, checks, snapshots, stopping, progress.  What is learned is a learner's own business."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from lthkit.data import Dataset
from lthkit.networks import Network
from lthkit.stacks import Params
from lthkit.stopping import check_stop
from lthkit.training.settings import Settings


class Learner(Protocol):
    """A stack of R replicates that learns something, one batch at a time."""

    def step(self, x: Tensor, y: Tensor, lr: float) -> Tensor:
        """Learn from images [R, B, C, H, W] with labels [R, B]; the loss [R] before the step."""

    def measure(self) -> dict[str, Tensor]:
        """What is checked on the way: [R] each."""

    def snapshot(self) -> Params:
        """A copy of what has been learned so far."""

    def result(self) -> Params:
        """What has been learned, after the last step."""


@dataclass(frozen=True)
class Learned:
    """What a part brings home.  checks: {column: [R, T]}, float64, one column after each of T `iterations`."""

    result: Params
    iterations: list[int]
    checks: dict[str, Tensor]
    snapshots: dict[int, Params]


def run(
    learner: Learner,
    data: Dataset,
    settings: Settings,
    order: Sequence[torch.Generator],
    snapshot_at: Iterable[int],
    tick: Callable[[], object],
) -> Learned:
    """Learn for as many iterations as the settings say.

    order: a generator for each replicate's batches.  snapshot_at: iterations.  tick: called after each iteration.
    """
    total, checked, wanted = settings.total(data), settings.checked(data), set(snapshot_at)
    batches = batches_of(data, order, settings.batch_size)
    checks: list[dict[str, Tensor]] = []
    snapshots: dict[int, Params] = {}
    running, since = torch.zeros((), device=data.train_x.device), 0
    for i in range(total + 1):
        if i == checked[len(checks)]:
            loss = running / since if since else torch.full((len(order),), math.nan)
            found = {"train_loss": loss, **learner.measure()}
            checks.append({column: value.double().cpu() for column, value in found.items()})
            running, since = torch.zeros_like(running), 0
        if i in wanted:
            snapshots[i] = learner.snapshot()
        if i == total:
            break
        check_stop()
        running = running + learner.step(*next(batches), settings.rate(i))
        since += 1
        tick()
    columns = {column: torch.stack([check[column] for check in checks], dim=1) for column in checks[0]}
    return Learned(learner.result(), checked, columns, snapshots)


def batches_of(data: Dataset, order: Sequence[torch.Generator], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless (x [R, B, C, H, W], y [R, B]); each replicate goes through the data in an order of its own.

    A batch lasts until the next is asked for: it lies in a buffer that is filled again.
    """
    images, shape = data.train_x.flatten(1), data.train_x.shape[1:]  # [N, C·H·W]
    buffers: dict[int, Tensor] = {}
    while True:
        drawn = torch.stack([torch.randperm(len(images), generator=generator) for generator in order])
        drawn = drawn.to(images.device)  # [R, N]
        labels = data.train_y[drawn]
        for chosen, y in zip(drawn.split(batch_size, dim=1), labels.split(batch_size, dim=1), strict=True):
            size = chosen.shape[1]
            if size not in buffers:
                buffers[size] = images.new_empty(chosen.numel(), images.shape[1])
            x = torch.index_select(images, 0, chosen.flatten(), out=buffers[size])
            yield x.view(len(order), size, *shape), y


@torch.no_grad()
def evaluate(network: Network, params: Params, x: Tensor, y: Tensor, chunk: int = 2000) -> tuple[Tensor, Tensor]:
    """Cross-entropy [R] and accuracy [R], float64, of effective parameters on images x [N, C, H, W], labels y [N].

    Works through `chunk` images at a time, so that memory does not grow with N.
    """
    loss = correct = 0.0
    for part_x, part_y in zip(x.split(chunk), y.split(chunk), strict=True):
        check_stop()
        logits = network.forward(params, part_x)  # [R, B, classes]
        labels = part_y.expand(logits.shape[0], -1)
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
        loss = loss + losses.sum(1, dtype=torch.float64)
        correct = correct + (logits.argmax(-1) == labels).sum(1)
    return loss / len(y), correct.double() / len(y)
