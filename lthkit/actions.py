"""What the kept weights (mask-1 actions) and the pruned weights (mask-0 actions) are before a round of training.

A mask-1 action takes (network, initial, final, masks, generators) and returns Params; a mask-0 action takes
(start, initial, final, masks) and returns (start, frozen).  `initial` is the rewind point of the run in every round,
`final` the effective parameters after the training before.  `lottery.search` takes such functions, or names from the
tables.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lthkit.networks import Network
from lthkit.stacks import Masks, Params, clone

Mask1 = Callable[[Network, Params, Params, Masks, Sequence[torch.Generator]], Params]
Mask0 = Callable[[Params, Params, Params, Masks], tuple[Params, Params]]


def rewind(network: Network, initial: Params, final: Params, masks: Masks, generators) -> Params:
    """All parameters back to the rewind point (Frankle & Carbin 2019)."""
    return clone(initial)


def continue_(network: Network, initial: Params, final: Params, masks: Masks, generators) -> Params:
    """Keep the trained values: fine-tuning (Han et al. 2015)."""
    return clone(final)


def reinit(network: Network, initial: Params, final: Params, masks: Masks, generators) -> Params:
    """A fresh draw from the network's own law, with other random numbers than the first (Frankle & Carbin 2019)."""
    drawn = network.draw(generators)
    return {name: drawn[name].to(value) for name, value in initial.items()}


def reshuffle(network: Network, initial: Params, final: Params, masks: Masks, generators) -> Params:
    """The initial values of a layer's kept weights, permuted among the kept positions (Zhou et al. 2019).

    Everything else is as at the rewind point.  Raises ValueError for a layer that keeps no weight.
    """
    start = rewind(network, initial, final, masks, generators)
    for name, mask in masks.items():
        for k, (kept, generator) in enumerate(zip(mask, generators, strict=True)):
            values = start[name][k][kept]
            if not len(values):
                raise ValueError(f"{name} keeps no weight in replicate {k}, so nothing can be reshuffled: prune less")
            start[name][k][kept] = values[torch.randperm(len(values), generator=generator).to(values.device)]
    return start


def constant(network: Network, initial: Params, final: Params, masks: Masks, generators) -> Params:
    """Plus or minus one number, signs drawn: the standard deviation of the layer's initial weights (Zhou et al. 2019).

    Biases are as at the rewind point.  Raises ValueError for a layer without weights.
    """
    start = rewind(network, initial, final, masks, generators)
    for name in masks:
        for k, generator in enumerate(generators):
            weights = start[name][k]
            if not weights.numel():
                raise ValueError(f"{name} has no weights, so no standard deviation: leave it out of the masks")
            signs = torch.randint(0, 2, weights.shape, generator=generator).to(weights) * 2 - 1
            start[name][k] = weights.std(correction=0) * signs
    return start


def signed(action: Mask1) -> Mask1:
    """The same magnitudes as `action`, with the sign of the initial weight at each position (Zhou et al. 2019).

    Where the initial weight is 0 it has no sign, and the action's own sign stays.
    """

    def signed_action(network: Network, initial: Params, final: Params, masks: Masks, generators) -> Params:
        start = action(network, initial, final, masks, generators)
        return start | {n: torch.where(initial[n] == 0, start[n], start[n].abs().copysign(initial[n])) for n in masks}

    signed_action.__name__ = f"signed_{action.__name__}"
    return signed_action


def zero(start: Params, initial: Params, final: Params, masks: Masks) -> tuple[Params, Params]:
    """Pruned weights are 0."""
    return start, {name: torch.zeros_like(start[name]) for name in masks}


def freeze(start: Params, initial: Params, final: Params, masks: Masks) -> tuple[Params, Params]:
    """Pruned weights stay at their initial value (Zhou et al. 2019)."""
    return start, {name: initial[name].clone() for name in masks}


def variant_1(start: Params, initial: Params, final: Params, masks: Masks) -> tuple[Params, Params]:
    """Pruned weights that training moved toward zero, |wf| < |wi|, are 0; the others stay at wi (Zhou et al. 2019)."""
    return start, {name: _without_shrunk(initial[name], initial[name], final[name]) for name in masks}


def variant_2(start: Params, initial: Params, final: Params, masks: Masks) -> tuple[Params, Params]:
    """Variant 1, and kept weights that training moved toward zero start from 0 as well (Zhou et al. 2019)."""
    grown = {name: _without_shrunk(start[name], initial[name], final[name]) for name in masks}
    start = start | {name: torch.where(mask, grown[name], start[name]) for name, mask in masks.items()}
    return variant_1(start, initial, final, masks)


def _without_shrunk(value: Tensor, initial: Tensor, final: Tensor) -> Tensor:
    """value, but 0 where training moved the weight toward zero."""
    return value.masked_fill(final.abs() < initial.abs(), 0)


MASK_1: dict[str, Mask1] = {
    "rewind": rewind, "continue": continue_, "reinit": reinit, "reshuffle": reshuffle, "constant": constant,
    "signed_reinit": signed(reinit), "signed_reshuffle": signed(reshuffle), "signed_constant": signed(constant),
}  # fmt: skip
MASK_0: dict[str, Mask0] = {"zero": zero, "freeze": freeze, "variant_1": variant_1, "variant_2": variant_2}
