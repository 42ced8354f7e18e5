"""Supermasks from a trained network: its mask, put on weights that were never trained."""

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real

import pandas as pd

from lthkit.checks import lookup
from lthkit.criteria import CRITERIA, Criterion, Evidence, scored
from lthkit.data import Dataset
from lthkit.masks import ones, prune, sparsity
from lthkit.networks import Network
from lthkit.stacks import Params
from lthkit.streams import as_seeds, streams
from lthkit.supermask.frozen import Supermask, accuracies, check_kept, check_replicates, effective_under, frozen_weights
from lthkit.training import fit


@dataclass(frozen=True)
class OneShot(Supermask):
    """Supermasks at several kept shares.  kept: the share chosen on validation, whose masks are `masks`.

    table: a row per (seed, kept): kept_overall val_accuracy test_accuracy, and whether that share was `chosen`.
    """

    kept: float

    @property
    def chosen(self) -> pd.DataFrame:
        """The rows of the table at the chosen share, one a seed."""
        return self.table[self.table.chosen].drop(columns="chosen").reset_index(drop=True)


def by_criterion(
    network: Network, data: Dataset, seeds: int | Iterable[int] = range(10), kept: float | Iterable[float] = 0.5,
    criterion: str | Criterion = "large_final_same_sign", weights: str = "signed_constant",
    initial: Params | None = None, final: Params | None = None, **settings,
) -> OneShot:  # fmt: skip
    """Prune a trained network once, and put its mask on untrained weights (Zhou et al. 2019).

    kept: the share that stays, or several to try.  As in `lottery.search`, 1 − kept counts `network.rates` times in a
    layer.  The one share with the best mean validation accuracy over all seeds is chosen, the first of equals; test
    accuracy is not looked at.  criterion: a name from `CRITERIA`, or a callable of the same signature.
    weights: "initial", or "signed_constant", the sign of each times its layer's standard deviation; all other
    parameters are the initial ones.  Nothing is trained under the mask.
    initial, final: parameters {name: [R, …]} before and after training, for several calls to share; by default the
    network's draw, and what `training.fit` makes of it with `settings`.
    Raises ValueError, naming the value, for a share outside (0, 1], an unknown name, or parameters that do not fit.
    """
    shares = [kept] if isinstance(kept, Real) else list(kept)
    for share in shares:
        check_kept(share)
    if not shares or len(set(shares)) < len(shares):
        raise ValueError(f"kept must hold different shares, at least one, got {shares}")
    score = criterion if callable(criterion) else lookup("criterion", criterion, CRITERIA)
    if final is not None and settings:
        raise ValueError(f"final is given, so that nothing is trained: leave out {', '.join(settings)}")
    seeds = as_seeds(seeds)
    initial = network.init(seeds) if initial is None else initial
    frozen = frozen_weights(initial, network, weights)
    if final is None:
        final = fit(network, initial, data, seeds=seeds, **settings).params
    for params in (initial, final):
        check_replicates(network, params, seeds)

    like = initial[network.prunable[0]]
    data = data.to(device=like.device, dtype=like.dtype)
    dense = ones(initial, network.prunable)
    scores = scored(Evidence(network, initial, final, dense, data, streams(seeds, "sample")), score)
    tables, best = [], None
    for share in shares:
        rates = {name: (1 - share) * relative for name, relative in network.rates.items()}
        masks = prune(scores, dense, rates, generators=streams(seeds, "ties"))
        columns = accuracies(network, effective_under(masks, frozen, rescale=False), data)
        columns, val = {"kept_overall": 1 - sparsity(masks)["overall"], **columns}, columns["val_accuracy"]
        tables.append(pd.DataFrame({"seed": seeds, "kept": share, **{n: c.cpu().numpy() for n, c in columns.items()}}))
        if best is None or val.mean() > best[0]:
            best = (val.mean(), share, masks)
    table = pd.concat(tables, ignore_index=True)
    table["chosen"] = table.kept == best[1]
    return OneShot(network, tuple(seeds), frozen, best[2], False, table, best[1])
