"""`Supermask`: weights that stay frozen, and the masks put on them."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real

import pandas as pd
from torch import Tensor

from lthkit.masks import Masks, Params
from lthkit.networks import Network
from lthkit.tickets import Ticket


def initial_weights(wi: Tensor) -> Tensor:
    """The initial weights themselves."""
    return wi


def signed_constant(wi: Tensor) -> Tensor:
    """sign(wi) times the standard deviation of the layer's initial weights (Zhou et al. 2019); a weight of 0 stays 0."""
    std = wi.flatten(1).std(1, correction=0)  # [R]
    return wi.sign() * std.view(-1, *[1] * (wi.dim() - 1))


WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {"initial": initial_weights, "signed_constant": signed_constant}


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
        masks = self.masks if masks is None else masks
        return {n: self._scaled(n, masks) * masks[n] if n in masks else value for n, value in self.weights.items()}

    def ticket(self, seed: int, masks: Masks | None = None) -> Ticket:
        """Frozen weights and mask of one replicate, by default under the supermask's own masks.

        Where layers are rescaled, the ticket's initial weights are: its module is an ordinary pruned one.
        """
        if seed not in self.seeds:
            raise ValueError(f"no seed {seed} in this supermask: it has {list(self.seeds)}")
        k = self.seeds.index(seed)
        masks = self.masks if masks is None else masks
        initial = {name: self._scaled(name, masks)[k].clone() for name in self.weights}
        mask = {name: value[k].clone() for name, value in masks.items()}
        return Ticket(initial, mask, seed, 0, network=self.network)

    def _scaled(self, name: str, masks: Masks) -> Tensor:
        """One tensor of the weights, with the factor of its layer where layers are rescaled."""
        weight = self.weights[name]
        return weight * _factor(masks[name], weight) if self.rescale and name in masks else weight


def _factor(mask: Tensor, weight: Tensor) -> Tensor:
    """size / sum of each replicate's mask, [R, 1, …]; a layer that keeps nothing counts as if it kept one weight."""
    kept = mask.flatten(1).to(weight).sum(1).clamp(min=1)
    return (mask[0].numel() / kept).view(-1, *[1] * (mask.dim() - 1))


def freeze(initial: Params, network: Network, weights: str) -> Params:
    """The parameters to freeze: prunable weights by the rule `weights`, all others as they are.

    Raises ValueError for an unknown rule.
    """
    if not isinstance(weights, str) or weights not in WEIGHTS:
        raise ValueError(f"unknown weights {weights!r}: known are {', '.join(WEIGHTS)}")
    return {n: WEIGHTS[weights](value) if n in network.prunable else value for n, value in initial.items()}


def check_kept(kept: float) -> None:
    if isinstance(kept, bool) or not isinstance(kept, Real) or not 0 < kept <= 1:
        raise ValueError(f"kept must be a share above 0, at most 1, got {kept!r}")
