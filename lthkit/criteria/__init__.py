"""Mask criteria: a score for each weight; the largest scores are kept.

A criterion is a function of `Evidence` that returns {name: [R, …]}, the shape of the masks.  `lottery.search` takes any
such function, or one of the names in `CRITERIA`.  wi is the initial weight, wf the trained one, g the gradient of the
loss by the effective initial weights.
"""

from collections.abc import Callable  # noqa: I001 (names in columns)

from torch import Tensor

from lthkit.criteria.evidence import Evidence
from lthkit.criteria.gradients import fisher, gradient, grasp, snip, synflow
from lthkit.criteria.weights import (
    large_final, large_final_same_sign, large_init, large_init_large_final, magnitude_increase,
    magnitude_increase_same_sign, movement, random, small_final, small_init, small_init_small_final,
)  # fmt: skip

__all__ = ["CRITERIA", "Criterion", "Evidence"]

Criterion = Callable[[Evidence], dict[str, Tensor]]

CRITERIA: dict[str, Criterion] = {
    "large_final": large_final, "small_final": small_final, "large_init": large_init, "small_init": small_init,
    "large_init_large_final": large_init_large_final, "small_init_small_final": small_init_small_final,
    "magnitude_increase": magnitude_increase, "movement": movement, "random": random,
    "large_final_same_sign": large_final_same_sign, "magnitude_increase_same_sign": magnitude_increase_same_sign,
    "magnitude": large_final, "gradient": gradient, "snip": snip, "grasp": grasp, "fisher": fisher, "synflow": synflow,
}  # fmt: skip
