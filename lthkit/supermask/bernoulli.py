"""Learned supermasks: a probability of each weight (Zhou et al. 2019)."""

import math
from collections.abc import Iterable, Sequence
from numbers import Real
from pathlib import Path

import torch
from torch import Tensor

from lthkit.data import Dataset
from lthkit.networks import Network
from lthkit.stacks import Params
from lthkit.supermask.learned import Learned, MaskLearner, Method, drawn_masks, uniform

DRAWS = 10  # sampled masks whose mean accuracy is reported, as Zhou et al. (2019) do
# The best of a grid on the digits by validation accuracy, ten seeds, 100 epochs; mean of with and without rescaling.
RATES = {"adam": 0.15, "sgd": 200.0}


class Bernoulli(MaskLearner):
    """A weight is kept with probability p = σ(logit), in every draw anew.

    With autograd: p = logit.sigmoid(); mask = (uniform < p).float() + (p − p.detach()).
    """

    varies = True

    def draw(self, generators: Sequence[torch.Generator]) -> None:
        for name, logit in self.numbers.items():
            mask, p = self.effective[name], self.grads[name]
            uniform(mask, generators)
            torch.sigmoid(logit, out=p)
            torch.lt(mask, p, out=mask)

    def backward(self) -> None:
        """Straight through the draw to p, then through σ: p (1 − p)."""
        p = torch.sigmoid(self.flat, out=self.flat_effective)
        self.flat_grads.mul_(p)
        self.flat_grads.addcmul_(self.flat_grads, p, value=-1)

    def snapshot(self) -> Params:
        """The probabilities."""
        return {name: logit.sigmoid() for name, logit in self.numbers.items()}

    def shares(self) -> dict[str, Params]:
        """Of each layer: the mean probability, the share drawn, and that of p > 0.5."""
        found: dict[str, Params] = {"kept_mean": {}, "kept_sampled": {}, "kept_thresholded": {}}
        for name, p in self.grads.items():
            found["kept_mean"][name], found["kept_sampled"][name] = _share(p), _share(self.effective[name])
            found["kept_thresholded"][name] = _share(torch.gt(p, 0.5, out=p))
        return found


def learn(
    network: Network, data: Dataset, seeds: int | Iterable[int] = range(10), epochs: int = 100, rescale: bool = True,
    weights: str = "initial", logit: float = 0.0, *, snapshot_at: Iterable[int] = (), initial: Params | None = None,
    checkpoint: str | Path | None = None, **settings,
) -> Learned:  # fmt: skip
    """Learn how probable each weight is in the mask, the weights themselves frozen (Zhou et al. 2019).

    Each step draws masks of exact zeros and ones with p = σ(logit); the gradient passes straight through the draw.
    weights: "initial", or "signed_constant", the sign of each times its layer's standard deviation; all other
    parameters stay as they are drawn.
    rescale: multiply a layer by size(mask) / sum(mask) of the drawn mask, the gradient flowing through that factor too.
    logit: where all logits start; the kept share has no other handle.
    snapshot_at: iterations whose probabilities are kept (0: the start).
    initial: parameters {name: [R, …]} in place of the network's own draw.
    checkpoint: a folder that gets the steps of a long call; the same call at the same number of threads goes on there.
    settings: those of `training.Settings`, by name.  optimizer: "adam" or "sgd".  lr: by default 0.15 and 200, the best
    of a grid on the digits by validation accuracy.  eval_every: by default a tenth of all iterations.
    table: seed, val_accuracy and test_accuracy (means over ten drawn masks), those of the mask p > 0.5, and three kept
    shares: kept_mean (of p), kept_sampled (over the ten draws), kept_thresholded.
    Raises ValueError, naming the value, for a setting out of range or an unknown name.
    """
    if isinstance(logit, bool) or not isinstance(logit, Real) or not math.isfinite(logit):
        raise ValueError(f"logit must be a finite number, got {logit!r}")
    method = Method(
        network, data, seeds, RATES, {"epochs": epochs, **settings}, weights=weights, initial=initial, rescale=rescale,
        snapshot_at=snapshot_at, checkpoint=checkpoint, call="supermask.learn", logit=logit,
    )  # fmt: skip
    start = {n: torch.tensor(logit).to(method.weights[n]).expand_as(method.weights[n]) for n in network.prunable}
    probabilities, curves = method.learn(Bernoulli, start)
    masks = {name: p > 0.5 for name, p in probabilities.items()}
    columns = method.means(drawn_masks(probabilities, method.seeds, draw) for draw in range(DRAWS))
    thresholded = {f"{column}_thresholded": value for column, value in method.means([masks]).items()}
    kept = {"kept_mean": method.overall({name: _share(p) for name, p in probabilities.items()})}
    kept |= {"kept_sampled": columns.pop("kept"), "kept_thresholded": thresholded.pop("kept_thresholded")}
    return method.learned(masks, columns | thresholded | kept, curves, probabilities)


def _share(mask: Tensor) -> Tensor:
    """The mean [R] over each replicate, float64; summed as it comes, without a copy in float64."""
    return mask.flatten(1).sum(1).double() / mask[0].numel()
