"""Mask criteria: a score for each weight; the largest scores are kept.

A criterion is a function of `Evidence` that returns {name: [R, …]}, the shape of the masks.  `lottery.search` takes any
such function, or one of the names in `CRITERIA`.  wi is the initial weight, wf the trained one, g the gradient of the
loss by the effective initial weights.
"""

from collections.abc import Callable

from torch import Tensor

from lthkit.criteria import gradients, weights
from lthkit.criteria.evidence import Evidence

__all__ = ["CRITERIA", "Criterion", "Evidence"]

Criterion = Callable[[Evidence], dict[str, Tensor]]

CRITERIA: dict[str, Criterion] = {
    "large_final": weights.large_final,
    "small_final": weights.small_final,
    "large_init": weights.large_init,
    "small_init": weights.small_init,
    "large_init_large_final": weights.large_init_large_final,
    "small_init_small_final": weights.small_init_small_final,
    "magnitude_increase": weights.magnitude_increase,
    "movement": weights.movement,
    "random": weights.random,
    "large_final_same_sign": weights.large_final_same_sign,
    "magnitude_increase_same_sign": weights.magnitude_increase_same_sign,
    "magnitude": weights.large_final,
    "gradient": gradients.gradient,
    "snip": gradients.snip,
    "grasp": gradients.grasp,
    "fisher": gradients.fisher,
    "synflow": gradients.synflow,
}
