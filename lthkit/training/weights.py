"""The learner of weights under masks."""

import torch
from torch import Tensor

from lthkit.data import Dataset
from lthkit.networks import Network
from lthkit.stacks import Masks, Params, clone, flatten
from lthkit.training.loop import evaluate
from lthkit.training.optimizers import Optimizer
from lthkit.training.settings import Settings

BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


class Weights:
    """Parameters, trained; weights that the masks prune stay where they are.

    start: effective parameters {name: [R, …]}.  All that is trained lies in one flat buffer, as do gradients and masks.
    """

    def __init__(self, network: Network, data: Dataset, start: Params, masks: Masks | None, settings: Settings):
        self.network, self.data, self.names = network, data, list(start)
        buffers = {name: start[name].clone() for name in network.buffers}
        self.flat, params = flatten({name: value for name, value in start.items() if name not in buffers})
        flat_grads, grads = flatten({name: torch.zeros_like(value) for name, value in params.items()})
        self.kept = None
        if masks is not None and not all(bool(mask.all()) for mask in masks.values()):
            kept = {name: masks.get(name, torch.ones_like(p, dtype=torch.bool)) for name, p in params.items()}
            self.kept, self.start = flatten(kept)[0], self.flat.clone()
            # Bits, all 1 or all 0: a product would turn an infinite gradient of a pruned weight into NaN.
            as_bits = BITS[self.flat.element_size()]
            self.grad_bits, self.kept_bits = flat_grads.view(as_bits), -self.kept.to(as_bits)
        # Weight decay is the one thing that moves a weight whose gradient and moments are 0.
        self.decays = self.kept is not None and settings.weight_decay != 0 and bool((self.start[~self.kept] != 0).any())
        self.update = Optimizer(
            settings.optimizer, self.flat, flat_grads, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
        self.params = params | buffers
        self.differentiate = network.differentiator(self.params, grads)

    def step(self, x: Tensor, y: Tensor, lr: float) -> Tensor:
        loss = self.differentiate(x, y)
        if self.kept is not None:
            self.grad_bits.bitwise_and_(self.kept_bits)
        self.update(lr)
        if self.decays:
            self._restore()
        return loss

    def measure(self) -> dict[str, Tensor]:
        val_loss, val_accuracy = evaluate(self.network, self.params, self.data.val_x, self.data.val_y)
        test_accuracy = evaluate(self.network, self.params, self.data.test_x, self.data.test_y)[1]
        return {"val_loss": val_loss, "val_accuracy": val_accuracy, "test_accuracy": test_accuracy}

    def snapshot(self) -> Params:
        return clone(self.result())

    def result(self) -> Params:
        if self.kept is not None:
            self._restore()
        return {name: self.params[name] for name in self.names}

    def state(self) -> Params:
        return {**{name: self.params[name] for name in self.network.buffers}, "": self.flat, **self.update.state()}

    def generators(self) -> tuple[()]:
        return ()

    def _restore(self) -> None:
        """Put pruned weights back where they were, as decay and momentum may have moved them."""
        torch.where(self.kept, self.flat, self.start, out=self.flat)
