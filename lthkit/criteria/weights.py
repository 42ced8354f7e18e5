"""Criteria that look at the weights alone: wi, the initial one, and wf, the trained one."""

from collections.abc import Callable

import torch
from torch import Tensor

from lthkit.criteria.evidence import Evidence


def large_final(evidence: Evidence) -> dict[str, Tensor]:
    """|wf|, the magnitude after training (Frankle & Carbin 2019)."""
    return evidence.each(lambda wi, wf: wf.abs())


def small_final(evidence: Evidence) -> dict[str, Tensor]:
    """−|wf| (Zhou et al. 2019)."""
    return evidence.each(lambda wi, wf: -wf.abs())


def large_init(evidence: Evidence) -> dict[str, Tensor]:
    """|wi|, the magnitude at the rewind point (Zhou et al. 2019)."""
    return evidence.each(lambda wi, wf: wi.abs())


def small_init(evidence: Evidence) -> dict[str, Tensor]:
    """−|wi| (Zhou et al. 2019)."""
    return evidence.each(lambda wi, wf: -wi.abs())


def large_init_large_final(evidence: Evidence) -> dict[str, Tensor]:
    """Both |wi| and |wf| above one common percentile of the alive weights of their layer (Zhou et al. 2019).

    Lowering the percentile until enough weights pass keeps those with the largest smaller rank, which is the score.
    """
    return _smaller_rank(evidence, lambda w: w.abs())


def small_init_small_final(evidence: Evidence) -> dict[str, Tensor]:
    """Both |wi| and |wf| below one common percentile of the alive weights of their layer (Zhou et al. 2019)."""
    return _smaller_rank(evidence, lambda w: -w.abs())


def magnitude_increase(evidence: Evidence) -> dict[str, Tensor]:
    """|wf| − |wi| (Zhou et al. 2019)."""
    return evidence.each(lambda wi, wf: wf.abs() - wi.abs())


def movement(evidence: Evidence) -> dict[str, Tensor]:
    """|wf − wi| (Zhou et al. 2019; not the movement pruning of Sanh et al. 2020)."""
    return evidence.each(lambda wi, wf: (wf - wi).abs())


def large_final_same_sign(evidence: Evidence) -> dict[str, Tensor]:
    """|wf|, and −∞ where training flipped the sign, so that these go first.

    Zhou et al. (2019) score max(0, wf · sign(wi)), which ties flipped weights with those that ended at 0.
    """
    return evidence.each(lambda wi, wf: _same_sign(wi, wf, wf.abs()))


def magnitude_increase_same_sign(evidence: Evidence) -> dict[str, Tensor]:
    """|wf| − |wi|, and −∞ where training flipped the sign (Zhou et al. 2019, with −∞ in place of 0)."""
    return evidence.each(lambda wi, wf: _same_sign(wi, wf, wf.abs() - wi.abs()))


def random(evidence: Evidence) -> dict[str, Tensor]:
    """A uniform draw in [0, 1) for each weight."""

    def draw(mask: Tensor) -> Tensor:  # [R, …]
        return torch.stack([torch.rand(mask.shape[1:], generator=each) for each in evidence.generators]).to(mask.device)

    return {name: draw(mask) for name, mask in evidence.masks.items()}


def _same_sign(wi: Tensor, wf: Tensor, score: Tensor) -> Tensor:
    return score.masked_fill(wi.sign() * wf.sign() < 0, -torch.inf)


def _smaller_rank(evidence: Evidence, size: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """min(rank of size(wi), rank of size(wf)); a rank is the share of the layer's alive weights that are smaller."""
    scores = {}
    for name, mask in evidence.masks.items():
        initial, final = size(evidence.initial[name]), size(evidence.final[name])
        score = torch.zeros_like(final, dtype=torch.float64)
        for k, alive in enumerate(mask):
            ranks = [_rank(values[k][alive]) for values in (initial, final)]
            score[k][alive] = torch.minimum(*ranks) / max(1, int(alive.sum()))
        scores[name] = score
    return scores


def _rank(values: Tensor) -> Tensor:
    """For each value, how many are smaller: equal values have equal ranks."""
    return torch.searchsorted(values.sort().values, values).double()
