"""Training R replicates at once, with pruned weights held where they are."""

import time
from collections.abc import Iterable
from pathlib import Path

import torch
from tqdm import tqdm

from lthkit.checkpoints import Checkpoint
from lthkit.data import Dataset
from lthkit.networks import Network
from lthkit.networks.compressed import dtypes
from lthkit.stacks import Masks, Params, cut, effective
from lthkit.streams import as_seeds, streams
from lthkit.training.history import Fit, History
from lthkit.training.loop import evaluate, run_in_parts
from lthkit.training.optimizers import OPTIMIZERS
from lthkit.training.settings import Settings
from lthkit.training.weights import Weights

__all__ = ["OPTIMIZERS", "Fit", "History", "Settings", "effective", "evaluate", "fit"]


def fit(
    network: Network, params: Params, data: Dataset, masks: Masks | None = None, frozen: Params | None = None,
    seeds: int | Iterable[int] | None = None, *, snapshot_at: Iterable[int] = (), round: int = 0,
    progress: tqdm | None = None, checkpoint: str | Path | Checkpoint | None = None, **settings,
) -> Fit:  # fmt: skip
    """Train every replicate from `params` under its masks; the inputs are not changed.

    Where few weights are left in a dense network and pruned ones are 0, the kept ones alone are stored and trained.

    params: {name: [R, …]}.
    masks: {name: [R, …] bool}.
    frozen: {name: [R, …]}, what pruned weights are throughout, whatever momentum or weight decay say; 0 unless given.
    seeds: one a replicate, by default 0 … R − 1.
    snapshot_at: iterations whose parameters are kept (0: the start).
    round: which "batches" stream to use.
    checkpoint: a folder that gets the steps of a long fit; the same call at the same number of threads goes on there.
    settings: those of `Settings`, by name: epochs, iterations, batch_size, optimizer, lr, …
    Raises ValueError, naming tensor and value, for parameters or masks that do not fit, or settings out of range.
    """
    began = time.perf_counter()
    settings = Settings.of(settings)
    start = network.check(params, masks, frozen)
    like = start[network.prunable[0]]
    replicates = len(like)
    seeds = list(range(replicates)) if seeds is None else as_seeds(seeds)
    order_seeds = seeds if settings.order_seeds is None else settings.order_seeds
    for name, given in {"seeds": seeds, "order_seeds": order_seeds}.items():
        if len(given) != replicates:
            raise ValueError(f"{len(given)} {name} for {replicates} replicates")
    snapshot_at = check_snapshots(snapshot_at, settings.total(data))
    data = data.to(device=like.device, dtype=like.dtype)
    network.check_images(data, start, settings.smallest(data))
    dtypes()  # before threads are started

    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        call = {"call": "training.fit", "network": network, "data": data, "start": start, "masks": masks}
        call |= {"seeds": seeds, "round": round, "settings": settings, "snapshot_at": snapshot_at}
        checkpoint = Checkpoint(checkpoint, **call)

    def learner(replicates: slice) -> Weights:
        own = None if masks is None else cut(masks, replicates)
        return Weights(network, data, cut(start, replicates), own, settings)

    order, bar = streams(order_seeds, "batches", round), "training" if progress is None else progress
    found = run_in_parts(learner, network, data, settings, order, snapshot_at, checkpoint, bar)
    history = History(tuple(seeds), torch.tensor(found.iterations), **found.checks)
    return Fit(found.result, history, found.snapshots, time.perf_counter() - began)


def check_snapshots(snapshot_at: Iterable[int], total: int) -> list[int]:
    """The iterations, sorted, each once.  Raises ValueError for one that is never reached."""
    snapshot_at = sorted(set(snapshot_at))
    if outside := [i for i in snapshot_at if i % 1 or not 0 <= i <= total]:
        raise ValueError(f"snapshot_at {outside} lies outside 0 … {total} iterations, counted in whole numbers")
    return snapshot_at
