"""The learner of weights under masks."""

import math

import torch
from torch import Tensor

from lthkit.data import Dataset
from lthkit.networks import Network
from lthkit.networks.compressed import compress, compressible
from lthkit.stacks import Masks, Params, clone, flatten
from lthkit.training.loop import Learner, evaluate
from lthkit.training.optimizers import Optimizer
from lthkit.training.settings import Settings

BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


class Weights(Learner):
    """Parameters, trained; weights that the masks prune stay where they are.

    start: effective parameters {name: [R, …]}.  All that is trained lies in one flat buffer, as do gradients and masks.
    Where few weights are left, pruned ones lie in none of them: `alive` holds the masks then, and is empty elsewhere.
    `params` are those of the whole network, for all who read them.
    """

    def __init__(self, network: Network, data: Dataset, start: Params, masks: Masks | None, settings: Settings):
        self.network, self.data, self.names = network, data, list(start)
        buffers = {name: start[name].clone() for name in network.buffers}
        self.alive = {} if masks is None else compressible(network, start, masks)
        own = {name: value for name, value in start.items() if name not in buffers}
        own |= {name: own[name][mask] for name, mask in self.alive.items()}
        self.flat, self.trained = flatten(own)
        flat_grads, grads = flatten({name: torch.zeros_like(value) for name, value in own.items()})
        self.kept = None
        if masks is not None and not self.alive and not all(bool(mask.all()) for mask in masks.values()):
            kept = {name: masks.get(name, torch.ones_like(p, dtype=torch.bool)) for name, p in own.items()}
            self.kept, self.start = flatten(kept)[0], self.flat.clone()
            # Bits, all 1 or all 0: a product would turn an infinite gradient of a pruned weight into NaN.
            as_bits = BITS[self.flat.element_size()]
            self.grad_bits, self.kept_bits = flat_grads.view(as_bits), -self.kept.to(as_bits)
        # Weight decay is the one thing that moves a weight whose gradient and moments are 0.
        self.decays = self.kept is not None and settings.weight_decay != 0 and bool((self.start[~self.kept] != 0).any())
        self.update = Optimizer(settings.optimizer, self.flat, flat_grads, settings.momentum, settings.weight_decay)
        rows, row_grads = ({n: compress(m, v[n]) for n, m in self.alive.items()} for v in (self.trained, grads))
        self.params = self.trained | buffers
        self.differentiate = network.differentiator(self.params | rows, grads | row_grads)
        self.params |= {name: start[name].clone() for name in self.alive}
        self.test_curve, self.best = settings.test_curve, clone(self.params)
        self.best_loss = self.flat.new_full((len(start[network.prunable[0]]),), math.inf, dtype=torch.float64)

    def step(self, x: Tensor, y: Tensor, lr: float) -> Tensor:
        loss = self.differentiate(x, y)
        if self.kept is not None:
            self.grad_bits.bitwise_and_(self.kept_bits)
        self.update(lr)
        if self.decays:
            self._restore()
        return loss

    def measure(self, at_an_end: bool) -> dict[str, Tensor]:
        """Test images are looked at where they are reported: at both ends, and by `fill_in` at the early stop."""
        self._write_alive()
        val_loss, val_accuracy = evaluate(self.network, self.params, self.data.val_x, self.data.val_y)
        better = val_loss < self.best_loss
        self.best_loss = torch.where(better, val_loss, self.best_loss)
        for name, value in self.best.items():
            value[better] = self.params[name][better]
        asked = at_an_end or self.test_curve
        test_accuracy = self._test_accuracy(self.params) if asked else torch.full_like(val_loss, math.nan)
        return {"val_loss": val_loss, "val_accuracy": val_accuracy, "test_accuracy": test_accuracy}

    def fill_in(self, checks: dict[str, Tensor]) -> None:
        """Write the test accuracy at the early stop into the checks {column: [R, T]}."""
        early = checks["val_loss"].nan_to_num(nan=math.inf).argmin(1, keepdim=True)
        if checks["test_accuracy"].gather(1, early).isnan().any():
            checks["test_accuracy"].scatter_(1, early, self._test_accuracy(self.best).cpu().unsqueeze(1))

    def _test_accuracy(self, params: Params) -> Tensor:
        return evaluate(self.network, params, self.data.test_x, self.data.test_y)[1]

    def snapshot(self) -> Params:
        return clone(self.result())

    def result(self) -> Params:
        if self.kept is not None:
            self._restore()
        self._write_alive()
        return {name: self.params[name] for name in self.names}

    def state(self) -> Params:
        best = {f"best/{name}": value for name, value in self.best.items()} | {"/best_loss": self.best_loss}
        return {n: self.params[n] for n in self.network.buffers} | best | {"": self.flat, **self.update.state()}

    def _restore(self) -> None:
        """Put pruned weights back where they were, as decay and momentum may have moved them."""
        torch.where(self.kept, self.flat, self.start, out=self.flat)

    def _write_alive(self) -> None:
        for name, mask in self.alive.items():
            self.params[name].masked_scatter_(mask, self.trained[name])
