"""Mask criteria: a score for each weight; the largest scores are kept.

A criterion is a function of `Evidence` that returns {name: [R, …]}, the shape of the masks.  `lottery.search` takes any
such function, or one of the names in `CRITERIA`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lthkit.data import Dataset
from lthkit.masks import Masks, Params
from lthkit.networks import Network

Criterion = Callable[["Evidence"], dict[str, Tensor]]


@dataclass(frozen=True)
class Evidence:
    """What a criterion may look at.

    initial: the parameters at the run's rewind point.  final: effective parameters after training.
    masks: what is still alive.  generators: one a replicate, for criteria that draw.
    """

    network: Network
    initial: Params
    final: Params
    masks: Masks
    data: Dataset
    generators: Sequence[torch.Generator]


def large_final(evidence: Evidence) -> dict[str, Tensor]:
    """|wf|, the magnitude after training (Frankle & Carbin 2019)."""
    return {name: evidence.final[name].abs() for name in evidence.masks}


def large_init(evidence: Evidence) -> dict[str, Tensor]:
    """|wi|, the magnitude at the rewind point (Zhou et al. 2019)."""
    return {name: evidence.initial[name].abs() for name in evidence.masks}


def random(evidence: Evidence) -> dict[str, Tensor]:
    """A uniform draw in [0, 1) for each weight."""
    scores = {}
    for name, mask in evidence.masks.items():
        draws = [torch.rand(mask.shape[1:], generator=generator) for generator in evidence.generators]
        scores[name] = torch.stack(draws).to(mask.device)  # [R, …]
    return scores


CRITERIA: dict[str, Criterion] = {
    "large_final": large_final,
    "magnitude": large_final,
    "large_init": large_init,
    "random": random,
}
