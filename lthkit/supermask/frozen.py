"""`Supermask`: weights that stay frozen, and the masks put on them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real

import pandas as pd
from torch import Tensor

from lthkit.checks import lookup
from lthkit.data import Dataset
from lthkit.lottery.ticket import Ticket
from lthkit.networks import Network
from lthkit.stacks import Masks, Params
from lthkit.training import evaluate


def signed_constant(wi: Tensor) -> Tensor:
    """sign(wi) times the standard deviation of the layer's initial weights (Zhou et al. 2019); weights of 0 stay 0."""
    std = wi.flatten(1).std(1, correction=0)  # [R]
    return wi.sign() * std.view(-1, *[1] * (wi.dim() - 1))


WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {"initial": lambda wi: wi, "signed_constant": signed_constant}


@dataclass(frozen=True)
class Supermask:
    """Frozen weights and the masks found for them, R replicates.

    weights: {name: [R, …]}, all parameters as they were frozen.  masks: {name: [R, …] bool}.
    rescale: whether a layer is multiplied by size(mask) / sum(mask).  table: a DataFrame, what `test_accuracy` was.
    """

    network: Network
    seeds: tuple[int, ...]
    weights: Params
    masks: Masks
    rescale: bool
    table: pd.DataFrame

    def params(self, masks: Masks | None = None) -> Params:
        """Effective parameters {name: [R, …]} under `masks`, by default the supermask's own."""
        return effective_under(self.masks if masks is None else masks, self.weights, self.rescale)

    def ticket(self, seed: int, masks: Masks | None = None) -> Ticket:
        """Frozen weights and mask of one replicate, by default under the supermask's own masks.

        Where layers are rescaled, the ticket's initial weights are: its module is an ordinary pruned one.
        """
        if seed not in self.seeds:
            raise ValueError(f"no seed {seed} in this supermask: it has {list(self.seeds)}")
        k = self.seeds.index(seed)
        masks = self.masks if masks is None else masks
        weights = {n: self.weights[n] * _factor(m, self.weights[n]) for n, m in masks.items()} if self.rescale else {}
        initial, own = ({n: v[k].clone() for n, v in part.items()} for part in (self.weights | weights, masks))
        return Ticket(initial, own, seed, 0, network=self.network)


def effective_under(masks: Masks, weights: Params, rescale: bool) -> Params:
    """Effective parameters: weights under masks, each layer times size / sum of its mask where rescaled."""
    scaled = {n: weights[n] * _factor(mask, weights[n]) if rescale else weights[n] for n, mask in masks.items()}
    return weights | {name: scaled[name] * mask for name, mask in masks.items()}


def _factor(mask: Tensor, weight: Tensor) -> Tensor:
    """size / sum of each replicate's mask, [R, 1, …]; a layer that keeps nothing counts as if it kept one weight."""
    kept = mask.flatten(1).to(weight).sum(1).clamp(min=1)
    return (mask[0].numel() / kept).view(-1, *[1] * (mask.dim() - 1))


def frozen_weights(initial: Params, network: Network, weights: str) -> Params:
    """The parameters to freeze: prunable weights by a rule of `WEIGHTS`, all others as they are.

    Raises ValueError for an unknown rule.
    """
    rule = lookup("weights", weights, WEIGHTS)
    return {name: rule(value) if name in network.prunable else value for name, value in initial.items()}


def accuracies(network: Network, params: Params, data: Dataset, chunk: int | None = None) -> dict[str, Tensor]:
    """{"val_accuracy": [R], "test_accuracy": [R]} of effective parameters; chunk: as in `training.evaluate`."""
    parts = {"val_accuracy": (data.val_x, data.val_y), "test_accuracy": (data.test_x, data.test_y)}
    return {column: evaluate(network, params, *part, chunk)[1] for column, part in parts.items()}


def check_kept(kept: float) -> None:
    if isinstance(kept, bool) or not isinstance(kept, Real) or not 0 < kept <= 1:
        raise ValueError(f"kept must be a share above 0, at most 1, got {kept!r}")


def check_replicates(network: Network, params: Params, seeds: Sequence[int]) -> None:
    """Raises ValueError for parameters that are not the network's, or not one replicate a seed."""
    replicates = len(network.check(params)[network.prunable[0]])
    if replicates != len(seeds):
        raise ValueError(f"{len(seeds)} seeds for {replicates} replicates")
