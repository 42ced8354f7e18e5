"""Stacks: dicts of tensors whose first axis counts R replicates.

`Params` is a dict from a parameter's name to a tensor [R, …]; `Masks` one of bool tensors [R, …] for the prunable ones.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

Params = dict[str, Tensor]
Masks = dict[str, Tensor]


def flatten(tensors: Params) -> tuple[Tensor, Params]:
    """One flat copy of all tensors, and contiguous views into it of the old names and shapes."""
    sizes = [value.numel() for value in tensors.values()]
    flat = next(iter(tensors.values())).new_empty(sum(sizes))
    views = {}
    for (name, value), part in zip(tensors.items(), flat.split(sizes), strict=True):
        views[name] = part.view(value.shape).copy_(value)
    return flat, views


def cut(tensors: Params, replicates: slice) -> Params:
    """Views of some replicates."""
    return {name: value[replicates] for name, value in tensors.items()}


def join(parts: Iterable[Params]) -> Params:
    """The replicates of all parts in one stack."""
    parts = list(parts)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def clone(tensors: Params) -> Params:
    """A copy that shares no memory with `tensors`."""
    return {name: value.clone() for name, value in tensors.items()}


def lend(function: Callable, ours: Mapping[str, Callable], *stacks: Params) -> Iterable[Params]:
    """The stacks for a function to look at: copies, as it may work in place, unless it is one of ours, which do not."""
    return stacks if function in ours.values() else map(clone, stacks)


def effective(params: Params, masks: Masks | None, frozen: Params | None = None) -> Params:
    """mask · weight + ~mask · frozen, for each masked weight; frozen defaults to 0.  Other parameters as they are."""
    result, frozen = dict(params), frozen or {}
    for name, mask in (masks or {}).items():
        weight = params[name]
        result[name] = torch.where(mask, weight, frozen[name]) if name in frozen else weight.masked_fill(~mask, 0)
    return result


def finite(value: Tensor) -> bool:
    """Whether all values are.  A sum tells it in a tenth of the time, but for numbers so large that it overflows."""
    return bool(value.sum().isfinite()) or bool(value.isfinite().all())
