"""Mask criteria: a score for each weight; the largest scores are kept.

A criterion is a function of `Evidence` that returns {name: [R, …]}, the shape of the masks.  `lottery.search` takes any
such function, or one of the names in `CRITERIA`.  wi is the initial weight, wf the trained one, g the gradient of the
loss by the effective initial weights.
"""

from collections.abc import Callable  # noqa: I001 (names in columns)
from dataclasses import replace

from torch import Tensor

from lthkit.criteria.evidence import Evidence
from lthkit.criteria.gradients import fisher, gradient, grasp, snip, synflow
from lthkit.criteria.weights import (
    large_final, large_final_same_sign, large_init, large_init_large_final, magnitude_increase,
    magnitude_increase_same_sign, movement, random, small_final, small_init, small_init_small_final,
)  # fmt: skip

from lthkit.stacks import lend

__all__ = ["CRITERIA", "Criterion", "Evidence", "scored"]

Criterion = Callable[[Evidence], dict[str, Tensor]]

CRITERIA: dict[str, Criterion] = {
    "large_final": large_final, "small_final": small_final, "large_init": large_init, "small_init": small_init,
    "large_init_large_final": large_init_large_final, "small_init_small_final": small_init_small_final,
    "magnitude_increase": magnitude_increase, "movement": movement, "random": random,
    "large_final_same_sign": large_final_same_sign, "magnitude_increase_same_sign": magnitude_increase_same_sign,
    "magnitude": large_final, "gradient": gradient, "snip": snip, "grasp": grasp, "fisher": fisher, "synflow": synflow,
}  # fmt: skip


def scored(evidence: Evidence, criterion: Criterion) -> dict[str, Tensor]:
    """What a criterion makes of the evidence, of which it gets a copy, less the data, unless it is one of ours.

    Raises TypeError for one that returns no dict, ValueError for one that writes into the data set.
    """
    data, name = evidence.data, getattr(criterion, "__name__", type(criterion).__name__)
    initial, final, masks = lend(criterion, CRITERIA, evidence.initial, evidence.final, evidence.masks)
    tensors = [value for value in vars(data).values() if isinstance(value, Tensor) and not value.is_inference()]
    before = [value._version for value in tensors]
    scores = criterion(replace(evidence, initial=initial, final=final, masks=masks))
    if [value._version for value in tensors] != before:
        raise ValueError(f"{name} writes into the images or labels: let it work on a copy")
    if not isinstance(scores, dict):
        raise TypeError(f"a criterion returns a dict of scores, {name} gave {type(scores).__name__}")
    return scores
