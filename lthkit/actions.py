"""What the kept weights (mask-1 actions) and the pruned weights (mask-0 actions) are before a round of training.

A mask-1 action takes (network, initial, final, masks, generators) and returns Params; a mask-0 action takes
(start, initial, final, masks) and returns (start, frozen).  `initial` is the rewind point of the run in every round,
`final` the effective parameters after the training before.  `lottery.search` takes such functions, or names from the tables.
"""

from collections.abc import Callable, Sequence

import torch

from lthkit.masks import Masks, Params
from lthkit.networks import Network

Mask1 = Callable[[Network, Params, Params, Masks, Sequence[torch.Generator]], Params]
Mask0 = Callable[[Params, Params, Params, Masks], tuple[Params, Params]]


def rewind(network: Network, initial: Params, final: Params, masks: Masks, generators) -> Params:
    """All parameters back to the rewind point (Frankle & Carbin 2019)."""
    return {name: value.clone() for name, value in initial.items()}


def continue_(network: Network, initial: Params, final: Params, masks: Masks, generators) -> Params:
    """Keep the trained values: fine-tuning (Han et al. 2015)."""
    return {name: value.clone() for name, value in final.items()}


def reinit(network: Network, initial: Params, final: Params, masks: Masks, generators) -> Params:
    """A fresh draw from the network's own law, with other random numbers than the first (Frankle & Carbin 2019)."""
    drawn = network.draw(generators)
    return {name: drawn[name].to(value) for name, value in initial.items()}


def zero(start: Params, initial: Params, final: Params, masks: Masks) -> tuple[Params, Params]:
    """Pruned weights are 0."""
    return start, {name: torch.zeros_like(start[name]) for name in masks}


MASK_1: dict[str, Mask1] = {"rewind": rewind, "continue": continue_, "reinit": reinit}
MASK_0: dict[str, Mask0] = {"zero": zero}
