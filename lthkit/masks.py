"""The mask algebra: which weights are kept, as `bool` tensors with a leading replicate axis.

`Masks` is a dict from a weight's name to a tensor [R, …] of the weight's own shape; True means kept.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lthkit import files
from lthkit.stacks import Masks, Params
from lthkit.streams import streams


def ones(params: Params, prunable: Sequence[str]) -> Masks:
    """Masks that keep every weight: {name: [R, …] of True} for each prunable name."""
    missing = [name for name in prunable if name not in params]
    if missing:
        raise ValueError(f"prunable names not among the parameters: {missing}; parameters are {list(params)}")
    return {name: torch.ones_like(params[name], dtype=torch.bool) for name in prunable}


def validate(masks: Masks, params: Params | None = None) -> None:
    """Raise ValueError, naming tensor and value, unless `masks` is well formed (and fits `params`, where given)."""
    if not masks:
        raise ValueError("masks are empty: there is no weight to keep or prune")
    for name, mask in masks.items():
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            found = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(f"mask {name!r} must be a torch.bool tensor, got {found}; compare with `!= 0` to make one")
        if mask.dim() < 2:
            raise ValueError(f"mask {name!r} needs a replicate axis: shape [R, …], got {tuple(mask.shape)}")
    replicates = {name: mask.shape[0] for name, mask in masks.items()}
    if len(set(replicates.values())) > 1:
        raise ValueError(f"masks differ in their number of replicates: {replicates}")
    for name, mask in masks.items() if params is not None else ():
        if name not in params:
            raise ValueError(f"mask {name!r} has no parameter of that name; parameters are {list(params)}")
        if mask.shape != params[name].shape:
            raise ValueError(f"mask {name!r} has shape {tuple(mask.shape)}, its weight {tuple(params[name].shape)}")


def sparsity(masks: Masks) -> dict[str, Tensor]:
    """The share pruned, 0 to 1: {"overall": [R], name: [R] for each layer}, float64."""
    validate(masks)
    pruned = {name: (~mask).flatten(1).sum(1) for name, mask in masks.items()}
    size = {name: mask[0].numel() for name, mask in masks.items()}
    overall = sum(pruned.values()).double() / sum(size.values())
    return {"overall": overall, **{name: pruned[name].double() / size[name] for name in masks}}


def count(alive: int, rate: float) -> int:
    """How many of `alive` weights a rate removes: rate · alive, rounded half to even as `torch.nn.utils.prune` does."""
    return round(rate * alive)


def prune(
    scores: dict[str, Tensor],
    masks: Masks,
    rate: float | dict[str, float],
    scope: str = "layer",
    generators: Sequence[torch.Generator] | None = None,
) -> Masks:
    """Remove a share of the weights still alive, lowest scores first.  Returns new masks; nothing revives.

    scores: {name: [R, …]}, one score a weight; only those of alive weights are read.
    rate: share of the *alive* weights to remove, one float for all or {name: float} for every layer.
    scope: "layer" removes count(alive, rate) in each layer; "global" ranks all layers together.
    generators: one a replicate, for the draw among equal scores; by default the "ties" streams of seeds 0 … R − 1.
    Raises ValueError for missing names, unequal shapes, a NaN score of an alive weight, or a rate outside [0, 1].
    """
    validate(masks)
    _check_scores(scores, masks)
    rates = check_rates(rate, masks, scope)
    replicates = next(iter(masks.values())).shape[0]
    generators = streams(range(replicates), "ties") if generators is None else generators
    if len(generators) != replicates:
        raise ValueError(f"{len(generators)} generators for {replicates} replicates")
    # Each group is ranked as one list of weights: a layer, or all layers.
    groups = [[name] for name in masks] if scope == "layer" else [list(masks)]
    kept = {name: mask.clone() for name, mask in masks.items()}
    for group in groups:
        flat_scores = torch.cat([scores[name].flatten(1) for name in group], dim=1)  # [R, weights of the group]
        flat_mask = torch.cat([masks[name].flatten(1) for name in group], dim=1)
        for r in range(replicates):
            alive = flat_mask[r].nonzero().flatten()
            removed = _lowest(flat_scores[r, alive], count(len(alive), rates[group[0]]), generators[r])
            flat_mask[r, alive[removed]] = False
        for name, part in zip(group, flat_mask.split([masks[name][0].numel() for name in group], dim=1), strict=True):
            kept[name] = part.reshape(masks[name].shape)
    return kept


def _lowest(scores: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Indices of the k lowest scores; among those equal to the k-th, a draw decides."""
    if k == 0:
        return torch.empty(0, dtype=torch.int64, device=scores.device)
    threshold = scores.kthvalue(k).values
    below = (scores < threshold).nonzero().flatten()
    tied = (scores == threshold).nonzero().flatten()
    missing = k - len(below)
    if missing < len(tied):
        tied = tied[torch.randperm(len(tied), generator=generator)[:missing].to(tied.device)]
    return torch.cat([below, tied])


def _check_scores(scores: dict[str, Tensor], masks: Masks) -> None:
    missing = [name for name in masks if name not in scores]
    if missing:
        raise ValueError(f"no scores for {missing}; scores are given for {list(scores)}")
    for name, mask in masks.items():
        if scores[name].shape != mask.shape:
            raise ValueError(f"scores {name!r} have shape {tuple(scores[name].shape)}, their mask {tuple(mask.shape)}")
        bad = (scores[name].isnan() & mask).sum().item()
        if bad:
            raise ValueError(f"scores {name!r} hold {bad} NaN among the alive weights: did the training diverge?")


def check_rates(rate: float | dict[str, float], names: Iterable[str], scope: str) -> dict[str, float]:
    """The rate of each layer, or ValueError."""
    if scope not in ("layer", "global"):
        raise ValueError(f"unknown scope {scope!r}: known are layer, global")
    masks = list(names)
    if isinstance(rate, dict):
        if scope == "global":
            raise ValueError("scope='global' ranks all layers together and takes one float rate, got a dict")
        if set(rate) != set(masks):
            raise ValueError(f"rates must name every prunable layer {list(masks)}, got {list(rate)}")
    rates = dict(rate) if isinstance(rate, dict) else dict.fromkeys(masks, rate)
    for name, value in rates.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise ValueError(f"rate for {name!r} must be a share between 0 and 1, got {value!r}")
    return rates


def save(masks: Masks, path: str | Path) -> None:
    """Write masks to one safetensors file.  A failed write leaves what was there before."""
    validate(masks)
    files.write(path, "masks", masks)


def load(path: str | Path) -> Masks:
    """Read masks that `save` wrote.  Raises FileNotFoundError, or ValueError for a file that holds no masks."""
    _, masks = files.read(path, "masks", old=True)
    validate(masks)
    return masks
