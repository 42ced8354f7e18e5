"""Edge-popup: a score for each weight, the largest are kept (Ramanujan et al. 2020)."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lthkit.data import Dataset
from lthkit.networks import Network
from lthkit.stacks import Params
from lthkit.streams import streams
from lthkit.supermask.frozen import check_kept
from lthkit.supermask.learned import LEARNING, Learned, MaskLearner, Method

RATES = {"adam": 0.001, "sgd": 1.0}  # as those of `learn`, rescaled


class Scores(MaskLearner):
    """The weights of the largest |score| in their layer are kept.  counts: {name: how many}.

    With autograd: size = score.abs(); mask = (among the k largest).float() + (size − size.detach()).
    """

    def __init__(self, weights: Params, start: Params, seeds: Sequence[int], method: Method, counts: dict[str, int]):
        super().__init__(weights, start, seeds, method)
        self.counts = counts

    def draw(self, generators: Sequence[torch.Generator]) -> None:
        for name, scores in self.numbers.items():
            top_k(scores, self.counts[name], self.effective[name])

    def backward(self) -> None:
        """Straight through the choice to |score|, then to the score: its sign."""
        self.flat_grads.mul_(torch.sign(self.flat, out=self.flat_effective))

    def snapshot(self) -> Params:
        """The scores."""
        return {name: scores.clone() for name, scores in self.numbers.items()}


def edge_popup(
    network: Network, data: Dataset, seeds: int | Iterable[int] = range(10), kept: float | dict[str, float] = 0.5,
    epochs: int = 100, rescale: bool = True, weights: str = "initial", *, initial: Params | None = None,
    checkpoint: str | Path | None = None, **settings,
) -> Learned:  # fmt: skip
    """Learn a score for each weight and keep the largest |score| of each layer (Ramanujan et al. 2020).

    kept: the share of every layer, or {name: share}.  The gradient passes straight through the choice to |score|;
    scores start Kaiming-uniform.  rescale multiplies a layer by size / kept, a constant.  All else is as in `learn`.
    table: seed, val_accuracy, test_accuracy, kept.
    Raises ValueError, naming the value, for a setting out of range or an unknown name.
    """
    counts = _counts(network, kept)
    method = Method(
        network, data, seeds, RATES, {"epochs": epochs, **settings}, weights=weights, initial=initial, rescale=rescale,
        checkpoint=checkpoint, call="supermask.edge_popup", counts=counts,
    )  # fmt: skip
    start = _first_scores(network, method.weights, method.seeds)
    scores, curves = method.learn(lambda *given: Scores(*given, counts), start)
    masks = {n: top_k(value, counts[n], torch.zeros_like(value, dtype=torch.bool)) for n, value in scores.items()}
    return method.learned(masks, method.means([masks]), curves)


def top_k(scores: Tensor, count: int, out: Tensor) -> Tensor:
    """Set out [R, …] to 1 at each replicate's `count` largest |score|, to 0 elsewhere."""
    best = scores.flatten(1).abs().topk(count, sorted=False).indices  # [R, count]
    return out.zero_().flatten(1).scatter_(1, best, 1).view(out.shape)


def _counts(network: Network, kept: float | dict[str, float]) -> dict[str, int]:
    """How many weights each layer keeps, at least one."""
    if isinstance(kept, dict) and set(kept) != set(network.prunable):
        raise ValueError(f"kept must name every prunable layer {list(network.prunable)}, got {list(kept)}")
    shares = kept if isinstance(kept, dict) else dict.fromkeys(network.prunable, kept)
    for share in shares.values():
        check_kept(share)
    return {name: max(1, round(shares[name] * math.prod(network.shapes[name]))) for name in network.prunable}


def _first_scores(network: Network, frozen: Params, seeds: Sequence[int]) -> Params:
    """Kaiming-uniform scores, uniform in ±1/√(inputs of a unit), as `nn.Linear` draws its weights."""
    generators = streams(seeds, "sample", LEARNING)
    scores = {}
    for name in network.prunable:
        shape, like = network.shapes[name], frozen[name]
        drawn = [torch.rand(shape, generator=generator, dtype=torch.float32) for generator in generators]
        scores[name] = (2 * torch.stack(drawn).to(like) - 1) / math.sqrt(math.prod(shape[1:]))
    return scores
