"""How a mask follows from a learned number of each weight, and how its gradient passes straight through.

A gate has `flat`, the learned numbers as one buffer, `draw` to write a mask of zeros and ones into `out` {name: [R, …]},
and `backward` to turn dL/dmask in place into dL/dflat.  Both may write into `room`, a buffer of the same kind: for large
networks each one counts.  `values` is what is brought home.  varies: whether the kept count of a layer does.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lthkit.loop import flatten
from lthkit.masks import Params


class Bernoulli:
    """A weight is kept with probability σ(logit), in every draw anew (Zhou et al. 2019)."""

    varies = True

    def __init__(self, start: Params):
        self.flat, self.logits = flatten(start)

    def draw(self, out: Params, room: Params, generators: Sequence[torch.Generator]) -> None:
        for name, logit in self.logits.items():
            uniform(out[name], generators)
            torch.sigmoid(logit, out=room[name])
            torch.lt(out[name], room[name], out=out[name])

    def backward(self, grads: Tensor, room: Tensor) -> None:
        """Straight through the draw to p, then through σ: p (1 − p)."""
        torch.sigmoid(self.flat, out=room)
        grads.mul_(room)
        grads.addcmul_(grads, room, value=-1)

    def values(self) -> Params:
        """The probabilities."""
        return {name: logit.sigmoid() for name, logit in self.logits.items()}

    def shares(self, drawn: Params, room: Params) -> dict[str, Params]:
        """Right after `draw`, {name: [R]} of each layer: the mean probability, the share drawn, and that of p > 0.5."""
        found: dict[str, Params] = {"kept_mean": {}, "kept_sampled": {}, "kept_thresholded": {}}
        for name, p in room.items():
            found["kept_mean"][name], found["kept_sampled"][name] = share(p), share(drawn[name])
            found["kept_thresholded"][name] = share(torch.gt(p, 0.5, out=p))
        return found


class TopK:
    """The weights of the largest |score| in their layer are kept (Ramanujan et al. 2020).  counts: {name: how many}."""

    varies = False

    def __init__(self, start: Params, counts: dict[str, int]):
        self.flat, self.scores = flatten(start)
        self.counts = counts

    def draw(self, out: Params, room: Params, generators: Sequence[torch.Generator]) -> None:
        for name, scores in self.scores.items():
            top_k(scores, self.counts[name], out[name])

    def backward(self, grads: Tensor, room: Tensor) -> None:
        """Straight through the choice to |score|, then to the score: its sign."""
        grads.mul_(torch.sign(self.flat, out=room))

    def values(self) -> Params:
        """The scores."""
        return {name: scores.clone() for name, scores in self.scores.items()}

    def shares(self, drawn: Params, room: Params) -> dict[str, Params]:
        return {}


def uniform(out: Tensor, generators: Sequence[torch.Generator]) -> None:
    """Fill out [R, …] evenly from (0, 1), each replicate from its own generator.

    16 random bits a number, the middle of one of 65,536 equal cells: four numbers for one draw of the generator, which
    takes longer than all else that a mask needs.
    """
    for row, generator in zip(out, generators, strict=True):
        for part in row.view(-1).split(2**18):
            words = torch.empty(-(-part.numel() // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
            part.copy_(words.view(torch.int16)[: part.numel()])
    out.add_(32768.5).mul_(2**-16)


def top_k(scores: Tensor, count: int, out: Tensor) -> None:
    """Set out [R, …] to 1 at each replicate's `count` largest |score|, to 0 elsewhere."""
    best = scores.flatten(1).abs().topk(count, sorted=False).indices  # [R, count]
    out.zero_().flatten(1).scatter_(1, best, 1)


def share(mask: Tensor) -> Tensor:
    """The mean [R] over each replicate, float64; summed as it comes, without a copy in float64."""
    return mask.flatten(1).sum(1).double() / mask[0].numel()
