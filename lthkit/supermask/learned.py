"""What all methods of learning a mask on frozen weights share: the learner, and what comes of it."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lthkit.checkpoints import Checkpoint
from lthkit.checks import lookup
from lthkit.data import Dataset
from lthkit.masks import sparsity
from lthkit.networks import Network
from lthkit.stacks import Masks, Params, cut, flatten
from lthkit.streams import as_seeds, streams
from lthkit.supermask.frozen import Supermask, accuracies, check_replicates, effective_under, frozen_weights
from lthkit.training import check_snapshots
from lthkit.training.loop import Learner, run_in_parts
from lthkit.training.optimizers import Optimizer
from lthkit.training.settings import Settings

LEARNING, CHECKING, DRAWING = 0, 1, 2  # rounds of the "sample" streams; draw k of a learned mask is DRAWING + k


@dataclass(frozen=True)
class Learned(Supermask):
    """A supermask with a curve.  `masks` are those of p > 0.5, or the top-k of edge-popup.

    table: a row a seed.  history: a row per (seed, check): iteration train_loss val_accuracy test_accuracy (of one
    drawn mask) and the kept shares.  shares: the kept shares of each layer, a row per (seed, check, layer).
    probabilities: {name: [R, …]}, None for edge-popup.  snapshots: probabilities by iteration.
    """

    history: pd.DataFrame
    shares: pd.DataFrame
    probabilities: Params | None
    snapshots: dict[int, Params]
    seconds: float

    def sample(self, draw: int = 0) -> Masks:
        """One draw of the masks, by its number; the accuracies of the table are means over draws 0 … 9."""
        if self.probabilities is None:
            raise ValueError("these masks are not random: edge-popup has scores, no probabilities")
        return drawn_masks(self.probabilities, self.seeds, draw)


class MaskLearner(Learner):
    """Numbers by which weights are kept, one for each; the weights themselves stay frozen.

    A method says how a mask follows from the numbers (`draw`), how its gradient passes straight through (`backward`),
    what is brought home (`snapshot`), and which shares of a layer it counts (`shares`).  A large network has no room to
    spare, so there are two buffers of the weights' size beside the numbers: `effective` holds a drawn mask, then the
    effective weight that it makes; `grads` is free until the gradient comes.
    varies: whether the count that a layer keeps does.
    """

    varies = False

    def __init__(self, weights: Params, start: Params, seeds: Sequence[int], method: "Method"):
        network, settings = method.network, method.settings
        self.method = method
        self.flat, self.numbers = flatten(start)
        self.flat_grads, self.grads = flatten(start)
        self.flat_effective, self.effective = flatten(start)
        self.layers = [(weights[n].flatten(1), self.effective[n].flatten(1), self.grads[n].flatten(1)) for n in start]
        self.factors: list[Tensor] = []
        self.buffers = {name: weights[name].clone() for name in network.buffers}
        self.params = {name: (self.effective | self.buffers).get(name, weights[name]) for name in network.shapes}
        # The gradients of what stays frozen are written somewhere, too.
        others = {n: torch.empty_like(w) for n, w in weights.items() if n not in self.grads and n not in self.buffers}
        self.differentiate = network.differentiator(self.params, self.grads | others)
        own = (settings.momentum, settings.weight_decay)
        self.update = Optimizer(settings.optimizer, self.flat, self.flat_grads, *own)
        self.learning, self.checking = streams(seeds, "sample", LEARNING), streams(seeds, "sample", CHECKING)

    def draw(self, generators: Sequence[torch.Generator]) -> None:
        """Write a mask of zeros and ones into `effective`; may write into `grads`."""

    def backward(self) -> None:
        """Turn dL/dmask in `flat_grads` into dL/dnumber, in place; may write into `flat_effective`."""

    def shares(self) -> dict[str, Params]:
        """Right after `draw`: {column: {name: [R]}}; may write into `grads`."""
        return {}

    def step(self, x: Tensor, y: Tensor, lr: float) -> Tensor:
        self.draw(self.learning)
        self._to_weights()
        loss = self.differentiate(x, y)
        self._to_mask_gradients()
        self.backward()
        self.update(lr)
        return loss

    def measure(self, at_an_end: bool) -> dict[str, Tensor]:
        self.draw(self.checking)
        shares = {f"{column}/{n}": share for column, layers in self.shares().items() for n, share in layers.items()}
        self._to_weights()
        return self.method.accuracies(self.params) | shares

    def result(self) -> Params:
        return self.snapshot() | self.buffers

    def state(self) -> Params:
        return {**self.buffers, "": self.flat, **self.update.state()}

    def generators(self) -> list[torch.Generator]:
        return [*self.learning, *self.checking]

    def _to_weights(self) -> None:
        """mask → effective weight, in place: w · mask, and times s = size / sum(mask) where layers are rescaled.

        A layer that keeps nothing has the factor of one kept weight.
        """
        self.factors = []
        for weight, mask, _ in self.layers:  # [R, weights of the layer]
            if self.method.rescale:
                self.factors.append(mask.shape[1] / mask.sum(1, keepdim=True).clamp_(min=1))  # [R, 1]
            mask.mul_(weight)
            if self.method.rescale:
                mask.mul_(self.factors[-1])

    def _to_mask_gradients(self) -> None:
        """g = dL/d(effective weight) → dL/dmask, in place.

        Where the sum of the mask varies, the gradient flows through the factor too: ds/dmask_i is −s / sum(mask), so
        dL/dmask_i = s · (w_i · g_i − mean of g · effective weight over the layer).
        """
        through_factor = self.method.rescale and self.varies
        for i, (weight, effective, grad) in enumerate(self.layers):
            if through_factor:
                pull = torch.linalg.vecdot(grad, effective).div_(grad.shape[1]).unsqueeze(1)  # [R, 1]
            grad.mul_(weight)
            if through_factor:
                grad.sub_(pull)
            if self.method.rescale:
                grad.mul_(self.factors[i])


class Method:
    """A call that learns masks: everything checked, the weights frozen.

    rates: the optimizers it offers, each with its default learning rate.  settings: those of `Settings`, by name.
    call: what else decides what is learned, for the checkpoint to know it by.
    """

    def __init__(
        self, network: Network, data: Dataset, seeds: int | Iterable[int], rates: dict[str, float], settings: dict, *,
        weights: str, initial: Params | None, rescale: bool, snapshot_at: Iterable[int] = (),
        checkpoint: str | Path | None = None, **call,
    ):  # fmt: skip
        self.began = time.perf_counter()
        default = lookup("optimizer", settings.get("optimizer", "adam"), rates)
        settings = settings | {"lr": default if settings.get("lr") is None else settings["lr"]}
        total = Settings.of(settings).total(data)
        self.settings = Settings.of({"eval_every": max(1, total // 10)} | settings)
        self.network, self.rescale, self.seeds = network, rescale, as_seeds(seeds)
        self.snapshot_at = check_snapshots(snapshot_at, total)
        initial = network.init(self.seeds) if initial is None else initial
        check_replicates(network, initial, self.seeds)
        initial = {name: initial[name].detach().contiguous() for name in network.shapes}
        self.weights = frozen_weights(initial, network, weights)
        like = self.weights[network.prunable[0]]
        self.data = data.to(device=like.device, dtype=like.dtype)
        network.check_images(self.data, self.weights, self.settings.smallest(self.data))
        self.checkpoint = None
        if checkpoint is not None:
            call |= {"network": network, "data": data, "seeds": self.seeds, "weights": self.weights, "rescale": rescale}
            call |= {"settings": self.settings, "snapshot_at": self.snapshot_at}
            self.checkpoint = Checkpoint(checkpoint, **call)

    def learn(self, learner: Callable[[Params, Params, Sequence[int], "Method"], MaskLearner], start: Params):
        """(values, curves): what the learner makes of the numbers `start`, and more fields of `Learned`."""

        def part(replicates: slice) -> MaskLearner:
            return learner(cut(self.weights, replicates), cut(start, replicates), self.seeds[replicates], self)

        order, own = streams(self.seeds, "batches"), (self.snapshot_at, self.checkpoint, "learning masks")
        found = run_in_parts(part, self.network, self.data, self.settings, order, *own)
        self.weights |= {name: found.result[name] for name in self.network.buffers}
        history, shares = self._curves(found.iterations, found.checks)
        values = {name: found.result[name] for name in start}
        return values, {"history": history, "shares": shares, "snapshots": found.snapshots}

    def learned(self, masks: Masks, columns: dict[str, Tensor], curves: dict, probabilities: Params | None = None):
        """What the call returns."""
        table = pd.DataFrame({"seed": self.seeds, **{name: value.cpu().numpy() for name, value in columns.items()}})
        seconds = time.perf_counter() - self.began
        own = {"rescale": self.rescale, "table": table, "probabilities": probabilities, "seconds": seconds}
        return Learned(self.network, tuple(self.seeds), self.weights, masks, **own, **curves)

    def accuracies(self, params: Params) -> dict[str, Tensor]:
        """Of effective parameters, [R] each."""
        return accuracies(self.network, params, self.data, self.settings.batch_size)

    @torch.no_grad()
    def means(self, several: Iterable[Masks]) -> dict[str, Tensor]:
        """Means [R] over several masks: val_accuracy, test_accuracy, kept."""
        found = []
        for masks in several:
            columns = self.accuracies(effective_under(masks, self.weights, self.rescale))
            found.append(torch.stack([*columns.values(), 1 - sparsity(masks)["overall"]]))
        return dict(zip((*columns, "kept"), torch.stack(found).mean(0), strict=True))

    def overall(self, shares: Params) -> Tensor:
        """The share [R] of all prunable weights, from those {name: [R]} of the layers."""
        sizes = {name: self.weights[name][0].numel() for name in shares}
        return sum(shares[name] * size for name, size in sizes.items()) / sum(sizes.values())

    def _curves(self, iterations: list[int], checks: dict[str, Tensor]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """(history, shares) from checks {column or column/layer: [R, T]}."""
        at = {"seed": self.seeds * len(iterations), "iteration": np.repeat(iterations, len(self.seeds))}
        columns, by_layer = {}, {}
        for key, values in checks.items():
            column, _, layer = key.partition("/")
            (by_layer.setdefault(layer, {}) if layer else columns)[column] = values.T.flatten()
        for column in next(iter(by_layer.values()), {}):
            columns[column] = self.overall({layer: shares[column] for layer, shares in by_layer.items()})
        layers = [pd.DataFrame({**at, "layer": layer, **shares}) for layer, shares in by_layer.items()]
        shares = pd.concat(layers).sort_values("iteration", kind="stable", ignore_index=True) if layers else None
        return pd.DataFrame({**at, **columns}), pd.DataFrame(shares)


def drawn_masks(probabilities: Params, seeds: Sequence[int], draw: int) -> Masks:
    """Masks that keep each weight with its probability; each draw has streams of its own."""
    generators = streams(seeds, "sample", DRAWING + draw)
    masks = {}
    for name, p in probabilities.items():
        numbers = torch.empty_like(p)
        uniform(numbers, generators)
        masks[name] = numbers < p
    return masks


def uniform(out: Tensor, generators: Sequence[torch.Generator]) -> None:
    """Fill out [R, …] evenly from (0, 1), each replicate from its own generator.

    16 random bits a number, the middle of one of 65,536 equal cells: four numbers for one draw of the generator, which
    takes longer than all else that a mask needs.
    """
    for row, generator in zip(out, generators, strict=True):
        for part in row.view(-1).split(2**18):
            words = torch.empty(-(-part.numel() // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
            part.copy_(words.view(torch.int16)[: part.numel()])
    out.add_(32768.5).mul_(2**-16)
