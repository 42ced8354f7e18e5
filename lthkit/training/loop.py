"""The one training loop: batches, checks, snapshots, stopping, progress.  What is learned is a learner's business."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from lthkit import files
from lthkit.checkpoints import Checkpoint, Steps
from lthkit.data import Dataset
from lthkit.networks import Network
from lthkit.stacks import Params, join
from lthkit.stopping import check_stop
from lthkit.training.parts import in_parts
from lthkit.training.settings import Settings


class Learner:
    """A stack of R replicates that learns something, one batch at a time."""

    def step(self, x: Tensor, y: Tensor, lr: float) -> Tensor:
        """Learn from images [R, B, C, H, W] with labels [R, B]; the loss [R] before the step."""

    def measure(self, at_an_end: bool) -> dict[str, Tensor]:
        """What is checked on the way: [R] each.  at_an_end: before the first step, or after the last."""

    def snapshot(self) -> Params:
        """A copy of what has been learned so far."""

    def result(self) -> Params:
        """What has been learned, after the last step."""

    def fill_in(self, checks: dict[str, Tensor]) -> None:
        """Write into the checks {column: [R, T]}, after the last step, what could not be known before; if anything."""

    def state(self) -> Params:
        """All that its next step depends on, by name, as it is: writing into these tensors sets the learner back."""

    def generators(self) -> Sequence[torch.Generator]:
        """What it draws from, if anything; their states belong to its own."""
        return ()


@dataclass(frozen=True)
class Learned:
    """What is brought home.  checks: {column: [R, T]}, float64, one column after each of T `iterations`."""

    result: Params
    iterations: list[int]
    checks: dict[str, Tensor]
    snapshots: dict[int, Params]


def run_in_parts(
    learner: Callable[[slice], Learner], network: Network, data: Dataset, settings: Settings,
    order: Sequence[torch.Generator], snapshot_at: Iterable[int], checkpoint: Checkpoint | None, progress: tqdm | str,
) -> Learned:  # fmt: skip
    """`run` for a stack, in as many parts as there are threads.

    learner: makes what learns some replicates.  progress: the bar to move on, or the title of one for this alone.
    """
    settings, titled = settings.tabulated(data), isinstance(progress, str)

    def part(replicates: slice) -> Learned:
        steps = checkpoint and checkpoint.steps(replicates)
        tick = (lambda: None) if replicates.start else bar.update  # the first part moves the bar for all
        return run(learner(replicates), data, settings, order[replicates], snapshot_at, tick, steps)

    bar = tqdm(total=settings.total(data), desc=progress, unit=" steps", leave=False, delay=2) if titled else progress
    with bar if titled else nullcontext():
        parts = in_parts(part, network, len(order), data.train_x.is_cpu)
    snapshots = {i: join(part.snapshots[i] for part in parts) for i in parts[0].snapshots}
    result, checks = join(part.result for part in parts), join(part.checks for part in parts)
    return Learned(result, parts[0].iterations, checks, snapshots)


def run(
    learner: Learner, data: Dataset, settings: Settings, order: Sequence[torch.Generator], snapshot_at: Iterable[int],
    tick: Callable[[], object], steps: Steps | None = None,
) -> Learned:  # fmt: skip
    """Learn for as many iterations as the settings say.

    order: a generator for each replicate's batches.  snapshot_at: iterations.  tick: called after each iteration.
    steps: where to write the state now and then, and to go on from.
    """
    total, checked, wanted = settings.total(data), settings.checked(data), set(snapshot_at)
    progress = Progress()
    if steps is not None and (saved := steps.read()):
        progress.restore(learner, *saved)
        for _ in range(progress.iteration):
            tick()
    checks, snapshots = progress.checks, progress.snapshots
    batches = batches_of(data, order, settings.batch_size, progress.iteration)
    for i in range(progress.iteration, total + 1):
        if i == checked[len(checks)]:
            loss = progress.loss / progress.since if progress.since else torch.full((len(order),), math.nan)
            found = {"train_loss": loss, **learner.measure(at_an_end=i in (0, total))}
            checks.append({column: value.double().cpu() for column, value in found.items()})
            progress.loss, progress.since = 0.0, 0
        if i in wanted:
            snapshots[i] = learner.snapshot()
        if i == total:
            break
        check_stop()
        progress.loss = progress.loss + learner.step(*next(batches), settings.rate(i))
        progress.since += 1
        progress.iteration = i + 1
        tick()
        if steps is not None:
            steps.write(lambda: progress.state(learner), at_the_end=i + 1 == total)
    columns = {column: torch.stack([check[column] for check in checks], dim=1) for column in checks[0]}
    result = learner.result()
    learner.fill_in(columns)
    return Learned(result, checked, columns, snapshots)


@dataclass
class Progress:
    """Where a loop stands.  iteration: steps taken.  loss: the sum [R] over the `since` steps after the last check."""

    iteration: int = 0
    loss: Tensor | float = 0.0
    since: int = 0
    checks: list[dict[str, Tensor]] = field(default_factory=list)
    snapshots: dict[int, Params] = field(default_factory=dict)

    def state(self, learner: Learner) -> tuple[dict, dict[str, Tensor]]:
        """(head, tensors) for a file.  Right after a step, so that `loss` is a tensor."""
        random = {str(k): generator.get_state() for k, generator in enumerate(learner.generators())}
        parts = {f"check{t}": check for t, check in enumerate(self.checks)}
        parts |= {f"snapshot{i}": snapshot for i, snapshot in self.snapshots.items()}
        head = {"iteration": self.iteration, "since": self.since, "checks": len(self.checks)}
        head["snapshots"] = list(self.snapshots)
        return head, files.pack(learner=learner.state(), random=random, loss={"": self.loss}, **parts)

    def restore(self, learner: Learner, head: dict, tensors: dict[str, Tensor]) -> None:
        """Set this and the learner back to what `state` gave."""
        device = next(iter(learner.state().values())).device
        self.iteration, self.since, self.loss = head["iteration"], head["since"], tensors["loss/"].to(device)
        self.checks += [files.unpack(f"check{t}", tensors) for t in range(head["checks"])]
        for i in head["snapshots"]:
            self.snapshots[i] = {n: v.to(device) for n, v in files.unpack(f"snapshot{i}", tensors).items()}
        for name, value in learner.state().items():
            value.copy_(tensors[f"learner/{name}"])
        for k, generator in enumerate(learner.generators()):
            generator.set_state(tensors[f"random/{k}"])


def batches_of(
    data: Dataset, order: Sequence[torch.Generator], batch_size: int, skipped: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless (x [R, B, C, H, W], y [R, B]); each replicate goes through the data in an order of its own.

    A batch lasts until the next is asked for: it lies in a buffer that is filled again.  skipped: batches to leave out.
    """
    images, shape = data.train_x.flatten(1), data.train_x.shape[1:]  # [N, C·H·W]
    buffers: dict[int, Tensor] = {}
    epochs, first = divmod(skipped, math.ceil(len(images) / batch_size))
    for _ in range(epochs):
        for generator in order:
            torch.randperm(len(images), generator=generator)
    while True:
        drawn = torch.stack([torch.randperm(len(images), generator=generator) for generator in order])
        drawn = drawn.to(images.device)  # [R, N]
        labels = data.train_y[drawn]
        parts = list(zip(drawn.split(batch_size, dim=1), labels.split(batch_size, dim=1), strict=True))
        for chosen, y in parts[first:]:
            size = chosen.shape[1]
            if size not in buffers:
                buffers[size] = images.new_empty(chosen.numel(), images.shape[1])
            x = torch.index_select(images, 0, chosen.flatten(), out=buffers[size])
            yield x.view(len(order), size, *shape), y
        first = 0


@torch.no_grad()
def evaluate(network: Network, params: Params, x: Tensor, y: Tensor, chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """Cross-entropy [R] and accuracy [R], float64, of effective parameters on images x [N, C, H, W], labels y [N].

    Works through `chunk` images at a time, so that memory does not grow with N: by default 2000, or 200 where these
    would take seconds, in which nothing can be stopped.
    """
    chunk = int(chunk or (200 if network.long_steps else 2000))  # torch takes no integers of NumPy's here
    loss = correct = 0.0
    for part_x, part_y in zip(x.split(chunk), y.split(chunk), strict=True):
        check_stop()
        logits = network.forward(params, part_x)  # [R, B, classes]
        labels = part_y.expand(logits.shape[0], -1)
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
        loss = loss + losses.sum(1, dtype=torch.float64)
        correct = correct + (logits.argmax(-1) == labels).sum(1)
    return loss / len(y), correct.double() / len(y)
