"""`Evidence`: what the criteria score weights by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lthkit.data import Dataset
from lthkit.masks import validate
from lthkit.networks import Network
from lthkit.stacks import Masks, Params


@dataclass(frozen=True)
class Evidence:
    """What a criterion may look at.

    initial: the parameters at the run's rewind point.  final: effective parameters after training.
    masks: what is still alive.  generators: one a replicate, for criteria that draw.
    Raises ValueError for a mask without an initial or final weight of its shape, or too few generators.
    """

    network: Network
    initial: Params
    final: Params
    masks: Masks
    data: Dataset
    generators: Sequence[torch.Generator]

    def __post_init__(self):
        for params in (self.initial, self.final):
            validate(self.masks, params)
        replicates = len(next(iter(self.masks.values())))
        if len(self.generators) != replicates:
            raise ValueError(f"{len(self.generators)} generators for {replicates} replicates: give one each")

    def each(self, score: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
        """score(wi, wf) of every prunable weight."""
        return {name: score(self.initial[name], self.final[name]) for name in self.masks}
