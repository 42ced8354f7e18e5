"""The mask algebra: which weights are kept, as `bool` tensors with a leading replicate axis.

`Masks` is a dict from a weight's name to a tensor [R, …] of the weight's own shape; True means kept.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import reduce
from numbers import Real
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lthkit import files
from lthkit.checks import lookup
from lthkit.stacks import Masks, Params
from lthkit.streams import streams


def ones(params: Params, prunable: Sequence[str]) -> Masks:
    """Masks that keep every weight: {name: [R, …] of True} for each prunable name."""
    if missing := [name for name in prunable if name not in params]:
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
    size = {name: mask[0].numel() for name, mask in masks.items()}
    pruned = {name: size[name] - _count_kept(mask) for name, mask in masks.items()}
    overall = sum(pruned.values()).double() / sum(size.values())
    return {"overall": overall} | {name: pruned[name].double() / size[name] for name in masks}


def _count_kept(mask: Tensor) -> Tensor:
    """[R]; NumPy counts many times as fast as torch, and waits for no other thread."""
    return torch.tensor([np.count_nonzero(row) for row in _as_numpy(mask)], dtype=torch.int64, device=mask.device)


SCOPES: dict[str, Callable[[Iterable[str]], list[list[str]]]] = {  # which layers are ranked together, as one list
    "layer": lambda names: [[name] for name in names],
    "global": lambda names: [list(names)],
}


def prune(
    scores: dict[str, Tensor], masks: Masks, rate: float | dict[str, float], scope: str = "layer",
    generators: Sequence[torch.Generator] | None = None,
) -> Masks:  # fmt: skip
    """Remove a share of the weights still alive, lowest scores first.  Returns new masks; nothing revives.

    scores: {name: [R, …]}, one score a weight; only those of alive weights are read.
    rate: share of the *alive* weights to remove, one float for all or {name: float} for every layer.
    scope: "layer" removes rate · alive in each layer, rounded half to even as `torch.nn.utils.prune` does; "global"
        ranks all layers together.
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
    kept = {}
    for group in SCOPES[scope](masks):
        dtype = reduce(torch.promote_types, (scores[name].dtype for name in group))  # one ranking needs one dtype
        flat = [_as_numpy(scores[name].to(dtype)) for name in group]
        before = [_as_numpy(masks[name]) for name in group]
        after = [np.empty_like(mask) for mask in before]
        for r, generator in enumerate(generators):
            rows = _without_lowest([s[r] for s in flat], [mask[r] for mask in before], rates[group[0]], generator)
            for mask, row in zip(after, rows, strict=True):
                mask[r] = row
        kept |= dict(zip(group, map(torch.from_numpy, after), strict=True))
    return {name: kept[name].view(mask.shape).to(mask.device) for name, mask in masks.items()}


def shuffle(masks: Masks, generators: Sequence[torch.Generator]) -> Masks:
    """The same number kept in each layer, at places drawn anew (Frankle et al. 2021, arXiv 2009.08576).

    generators: one a replicate.  Raises ValueError for another number of them, or for masks that are not well formed.
    """
    validate(masks)
    replicates = len(next(iter(masks.values())))
    if len(generators) != replicates:
        raise ValueError(f"{len(generators)} generators for {replicates} replicates")
    shuffled = {}
    for name, mask in masks.items():
        drawn = [torch.randperm(mask[0].numel(), generator=generator) for generator in generators]
        shuffled[name] = mask.flatten(1).gather(1, torch.stack(drawn).to(mask.device)).view(mask.shape)
    return shuffled


def check_rates(rate: float | dict[str, float], names: Collection[str], scope: str = "layer") -> dict[str, float]:
    """The rate of each named layer, as `prune` takes it.

    Raises ValueError for an unknown scope, a rate outside [0, 1], or a dict that leaves out a layer or goes with
    "global".
    """
    lookup("scope", scope, SCOPES)
    if isinstance(rate, dict) and scope == "global":
        raise ValueError("scope='global' ranks all layers together and takes one float rate, got a dict")
    rates = dict(rate) if isinstance(rate, dict) else dict.fromkeys(names, rate)
    if set(rates) != set(names):
        raise ValueError(f"rates must name every prunable layer {list(names)}, got {list(rates)}")
    for name, value in rates.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= 1:
            raise ValueError(f"rate for {name!r} must be a share between 0 and 1, got {value!r}")
    return {name: float(value) for name, value in rates.items()}


def _as_numpy(tensor: Tensor) -> np.ndarray:
    """[R, n], without a copy where that is possible.  NumPy ranks many times as fast as torch, and in one thread."""
    flat = tensor.detach().cpu().flatten(1)
    return (flat.float() if flat.dtype == torch.bfloat16 else flat).numpy()  # NumPy knows no bfloat16


def _without_lowest(
    scores: list[np.ndarray], masks: list[np.ndarray], rate: float, generator: torch.Generator
) -> list[np.ndarray]:
    """The masks of one replicate once the lowest are gone.  scores, masks: [n] of each layer, ranked as one list."""
    alive = [np.count_nonzero(mask) for mask in masks]
    k = round(rate * sum(alive))
    if k == 0:
        return masks
    threshold = _kth_lowest(scores, masks, alive, k)
    kept = [(score > threshold) & mask for score, mask in zip(scores, masks, strict=True)]
    spared = sum(alive) - k - sum(np.count_nonzero(mask) for mask in kept)
    if spared:  # a draw among the weights that equal the threshold
        tied = np.concatenate([(score == threshold) & mask for score, mask in zip(scores, masks, strict=True)])
        places = np.flatnonzero(tied)
        drawn = torch.randperm(len(places), generator=generator).numpy()
        tied[places[drawn[: len(places) - spared]]] = False
        for mask, back in zip(kept, np.split(tied, np.cumsum([len(mask) for mask in masks])[:-1]), strict=True):
            mask |= back
    return kept


def _kth_lowest(scores: list[np.ndarray], masks: list[np.ndarray], alive: list[int], k: int) -> np.generic:
    """The k-th lowest score of all alive weights; alive: how many of each layer."""
    values = np.empty(sum(alive), scores[0].dtype)
    for part, score, mask in zip(np.split(values, np.cumsum(alive)[:-1]), scores, masks, strict=True):
        # By index: score[mask] guesses at each weight whether it is alive.  mode: "raise" would take a copy.
        score.take(np.flatnonzero(mask), out=part, mode="clip")
    values.partition(k - 1)
    return values[k - 1]


def _check_scores(scores: dict[str, Tensor], masks: Masks) -> None:
    if missing := [name for name in masks if name not in scores]:
        raise ValueError(f"no scores for {missing}; scores are given for {list(scores)}")
    for name, mask in masks.items():
        if scores[name].shape != mask.shape:
            raise ValueError(f"scores {name!r} have shape {tuple(scores[name].shape)}, their mask {tuple(mask.shape)}")
        array = _as_numpy(scores[name])
        if array.size and np.isnan(array.max()):  # of a pruned weight, maybe
            bad = (scores[name].isnan() & mask).sum().item()
            if bad:
                raise ValueError(f"scores {name!r} hold {bad} NaN among the alive weights: did the training diverge?")


def save(masks: Masks, path: str | Path) -> None:
    """Write masks to one safetensors file.  A failed write leaves what was there before."""
    validate(masks)
    files.write(path, "masks", masks)


def load(path: str | Path) -> Masks:
    """Read masks that `save` wrote.  Raises FileNotFoundError, or ValueError for a file that holds no masks."""
    _, masks = files.read(path, "masks", old=True)
    validate(masks)
    return masks
