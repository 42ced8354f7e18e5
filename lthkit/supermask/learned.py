"""Masks that are learned on frozen weights: a probability of each weight (`learn`), or a score (`edge_popup`)."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real

import pandas as pd
import torch
from torch import Tensor

from lthkit.data import Dataset
from lthkit.masks import Masks, Params, sparsity
from lthkit.networks import Network
from lthkit.streams import as_seeds, streams
from lthkit.supermask.frozen import Supermask, check_kept, freeze
from lthkit.supermask.gates import Bernoulli, TopK, share, top_k, uniform
from lthkit.supermask.loop import DRAWING, LEARNING, Found, Plan, learn_in_parts
from lthkit.training import check_count, check_images, check_params, check_settings, count_iterations, evaluate

DRAWS = 10  # sampled masks whose mean accuracy is reported, as Zhou et al. (2019) do
# The best of a grid on the digits by validation accuracy, ten seeds, 100 epochs; `learn`: mean of with and without
# rescaling, edge-popup: rescaled.
LEARN_LR = {"adam": 0.15, "sgd": 200.0}
POPUP_LR = {"adam": 0.001, "sgd": 1.0}


@dataclass(frozen=True)
class Learned(Supermask):
    """A supermask with a curve.  `masks` are those of p > 0.5, or the top-k of edge-popup.

    table: a row a seed.  history: a row per (seed, check): iteration train_loss val_accuracy test_accuracy (of one
    drawn mask) and the kept shares.  shares: the kept shares of each layer, a row per (seed, check, layer).
    probabilities: {name: [R, …]}, None for edge-popup.  snapshots: probabilities by iteration.
    """

    history: pd.DataFrame
    shares: pd.DataFrame
    probabilities: Params | None
    snapshots: dict[int, Params]
    seconds: float

    def sample(self, draw: int = 0) -> Masks:
        """One draw of the masks, by its number; the accuracies of the table are means over draws 0 … 9."""
        if self.probabilities is None:
            raise ValueError("these masks are not random: edge-popup has scores, no probabilities")
        generators = streams(self.seeds, "sample", DRAWING + draw)
        drawn = {}
        for name, p in self.probabilities.items():
            numbers = torch.empty_like(p)
            uniform(numbers, generators)
            drawn[name] = numbers < p
        return drawn


def learn(
    network: Network,
    data: Dataset,
    seeds: int | Iterable[int] = range(10),
    epochs: int = 100,
    rescale: bool = True,
    weights: str = "initial",
    logit: float = 0.0,
    iterations: int | None = None,
    batch_size: int = 60,
    optimizer: str = "adam",
    lr: float | None = None,
    momentum: float = 0.9,
    eval_every: int | None = None,
    snapshot_at: Iterable[int] = (),
    initial: Params | None = None,
) -> Learned:
    """Learn how probable each weight is in the mask, the weights themselves frozen (Zhou et al. 2019).

    Each step draws masks of exact zeros and ones with p = σ(logit); the gradient passes straight through the draw.
    weights: "initial", or "signed_constant", the sign of each times its layer's standard deviation; all other
    parameters stay as they are drawn.  rescale: multiply a layer by size(mask) / sum(mask) of the drawn mask, the
    gradient flowing through that factor too.  logit: where all logits start; the kept share has no other handle.
    optimizer: "adam" or "sgd".  lr: by default 0.15 and 200, the best of a grid on the digits by validation accuracy;
    momentum is SGD's, and Adam's first beta.  eval_every: iterations between checks, by default a tenth of all.
    snapshot_at: iterations whose probabilities are kept (0: the start).  initial: parameters {name: [R, …]} in place of
    the network's own draw.
    table: seed, val_accuracy and test_accuracy (means over ten drawn masks), those of the mask p > 0.5, and three kept
    shares: kept_mean (of p), kept_sampled (over the ten draws), kept_thresholded.
    Raises ValueError, naming the value, for a setting out of range or an unknown name.
    """
    began = time.perf_counter()
    if isinstance(logit, bool) or not isinstance(logit, Real) or not math.isfinite(logit):
        raise ValueError(f"logit must be a finite number, got {logit!r}")
    settings = {"epochs": epochs, "iterations": iterations, "batch_size": batch_size, "optimizer": optimizer}
    settings |= {"lr": lr, "momentum": momentum, "eval_every": eval_every, "snapshot_at": snapshot_at}
    seeds, frozen, plan = _prepare(network, data, seeds, weights, initial, rescale, Bernoulli, LEARN_LR, **settings)
    start = {name: torch.tensor(logit).to(frozen[name]).expand_as(frozen[name]) for name in network.prunable}
    found = learn_in_parts(plan, frozen, start, seeds)
    masks = {name: p > 0.5 for name, p in found.learned.items()}
    learned = _learned(plan, seeds, frozen, masks, found, found.learned)
    drawn = _measure(learned, plan, (learned.sample(draw) for draw in range(DRAWS)))
    thresholded = _measure(learned, plan, [masks])
    columns = {part: drawn[part] for part in ("val_accuracy", "test_accuracy")}
    columns |= {f"{part}_thresholded": thresholded[part] for part in columns}
    columns["kept_mean"] = _overall({name: share(p) for name, p in found.learned.items()}, masks)
    columns |= {"kept_sampled": drawn["kept"], "kept_thresholded": thresholded["kept"]}
    return replace(learned, table=_rows(seeds, columns), seconds=time.perf_counter() - began)


def edge_popup(
    network: Network,
    data: Dataset,
    seeds: int | Iterable[int] = range(10),
    kept: float | dict[str, float] = 0.5,
    epochs: int = 100,
    rescale: bool = True,
    weights: str = "initial",
    iterations: int | None = None,
    batch_size: int = 60,
    optimizer: str = "adam",
    lr: float | None = None,
    momentum: float = 0.9,
    eval_every: int | None = None,
    initial: Params | None = None,
) -> Learned:
    """Learn a score for each weight and keep the largest |score| of each layer (Ramanujan et al. 2020).

    kept: the share of every layer, or {name: share}.  The gradient passes straight through the choice to |score|;
    scores start Kaiming-uniform.  rescale multiplies a layer by size / kept, a constant here.  All else is as in `learn`.
    table: seed, val_accuracy, test_accuracy, kept.
    Raises ValueError, naming the value, for a setting out of range or an unknown name.
    """
    began = time.perf_counter()
    counts = _counts(network, kept)
    settings = {"epochs": epochs, "iterations": iterations, "batch_size": batch_size, "optimizer": optimizer}
    settings |= {"lr": lr, "momentum": momentum, "eval_every": eval_every, "snapshot_at": ()}
    gate = partial(TopK, counts=counts)
    seeds, frozen, plan = _prepare(network, data, seeds, weights, initial, rescale, gate, POPUP_LR, **settings)
    found = learn_in_parts(plan, frozen, _first_scores(network, frozen, seeds), seeds)
    masks = {}
    for name, scores in found.learned.items():
        masks[name] = torch.zeros_like(scores, dtype=torch.bool)
        top_k(scores, counts[name], masks[name])
    learned = _learned(plan, seeds, frozen, masks, found, None)
    return replace(learned, table=_rows(seeds, _measure(learned, plan, [masks])), seconds=time.perf_counter() - began)


def _prepare(
    network: Network, data: Dataset, seeds, weights: str, initial: Params | None, rescale: bool, gate, rates: dict,
    *, epochs, iterations, batch_size, optimizer, lr, momentum, eval_every, snapshot_at,
) -> tuple[list[int], Params, Plan]:  # fmt: skip
    """Seeds, parameters to freeze and plan, everything checked."""
    if optimizer not in rates:
        raise ValueError(f"unknown optimizer {optimizer!r}: known are {', '.join(rates)}")
    lr = rates[optimizer] if lr is None else lr
    total = count_iterations(data, epochs, iterations, batch_size)
    eval_every = max(1, total // 10) if eval_every is None else eval_every
    check_count("eval_every", eval_every, 1)
    seeds, snapshot_at = as_seeds(seeds), set(snapshot_at)
    check_settings(total, lr, snapshot_at, len(seeds), seeds)
    initial = network.init(seeds) if initial is None else initial
    check_params(network, initial, None, None, seeds)
    initial = {name: initial[name].detach().contiguous() for name in network.shapes}
    frozen = freeze(initial, network, weights)
    like = frozen[network.prunable[0]]
    data = data.to(device=like.device, dtype=like.dtype)
    check_images(network, frozen, data)
    plan = Plan(
        network, data, gate, rescale, total, batch_size, eval_every, snapshot_at, optimizer, lr, momentum
    )  # fmt: skip
    return seeds, frozen, plan


def _counts(network: Network, kept: float | dict[str, float]) -> dict[str, int]:
    """How many weights each layer keeps, at least one."""
    if isinstance(kept, dict) and set(kept) != set(network.prunable):
        raise ValueError(f"kept must name every prunable layer {list(network.prunable)}, got {list(kept)}")
    counts = {}
    for name in network.prunable:
        value = kept[name] if isinstance(kept, dict) else kept
        check_kept(value)
        counts[name] = max(1, round(value * math.prod(network.shapes[name])))
    return counts


def _first_scores(network: Network, frozen: Params, seeds: list[int]) -> Params:
    """Kaiming-uniform scores, uniform in ±1/√(inputs of a unit), as `nn.Linear` draws its weights."""
    generators = streams(seeds, "sample", LEARNING)
    scores = {}
    for name in network.prunable:
        shape, like = network.shapes[name], frozen[name]
        drawn = [torch.rand(shape, generator=generator, dtype=torch.float32) for generator in generators]
        scores[name] = (2 * torch.stack(drawn).to(like) - 1) / math.sqrt(math.prod(shape[1:]))
    return scores


def _learned(plan: Plan, seeds, frozen: Params, masks: Masks, found: Found, probabilities: Params | None) -> Learned:
    """What was found, without its table."""
    sizes = {name: mask[0].numel() for name, mask in masks.items()}
    history, layers = [], []
    for check in found.checks:
        overall = {column: _overall(share, masks) for column, share in check.shares.items()}
        history.append(_rows(seeds, check.columns | overall, iteration=check.iteration))
        for name in sizes if check.shares else ():
            shares = {column: share[name] for column, share in check.shares.items()}
            layers.append(_rows(seeds, shares, iteration=check.iteration, layer=name))
    tables = [pd.concat(each, ignore_index=True) if each else pd.DataFrame() for each in (history, layers)]
    return Learned(
        plan.network, tuple(seeds), frozen | found.buffers, masks, plan.rescale, pd.DataFrame(), *tables,
        probabilities, found.snapshots, 0.0,
    )  # fmt: skip


@torch.no_grad()
def _measure(learned: Learned, plan: Plan, several: Iterable[Masks]) -> dict[str, Tensor]:
    """Means [R] over several masks: val_accuracy, test_accuracy, kept."""
    data, found = plan.data, []
    for masks in several:
        params = learned.params(masks)
        accuracies = [
            evaluate(plan.network, params, x, y, chunk=plan.batch_size)[1]
            for x, y in ((data.val_x, data.val_y), (data.test_x, data.test_y))
        ]
        found.append(torch.stack([*accuracies, 1 - sparsity(masks)["overall"]]))
    return dict(zip(("val_accuracy", "test_accuracy", "kept"), torch.stack(found).mean(0), strict=True))


def _overall(shares: dict[str, Tensor], masks: Masks) -> Tensor:
    """The share [R] of all weights, from those of the layers."""
    sizes = {name: mask[0].numel() for name, mask in masks.items()}
    return sum(shares[name] * size for name, size in sizes.items()) / sum(sizes.values())


def _rows(seeds: Iterable[int], columns: dict[str, Tensor], **same) -> pd.DataFrame:
    """A row a seed."""
    values = {name: column.double().cpu().numpy() for name, column in columns.items()}
    return pd.DataFrame({"seed": list(seeds), **same, **values})
