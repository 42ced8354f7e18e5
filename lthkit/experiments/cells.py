"""`Cell`: one run of an experiment, declared; and the tables that cells leave."""

import copy
import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lthkit.lottery import Run
from lthkit.networks import Network

# (data, seeds, checkpoint folder, **settings) -> tables by name.  The columns of a table before `seed` say of what its
# rows are, those after it are measured; a table without `seed` says what was chosen.
Function = Callable[..., dict[str, pd.DataFrame]]
POINTS = 30  # of a curve


@dataclass(frozen=True)
class Cell:
    """One run of an experiment.

    name: among the cells of its experiment.
    asks: what it is for, in one line.
    function: what it does, by public calls of lthkit alone, each with a checkpoint in the folder it is given.
    settings: what the function takes besides, plain JSON.
    dataset: a name from `data.DATASETS`, or that of a file that the reader brings.  subset: so many training images.
    seeds: those of the record.  stack: how many of them are trained together, as one task with one record.
    minutes: of one task, on one thread; None where nobody has run it.
    device: "cuda" for a cell that only a GPU finishes in time.
    paper: {what: the number of the paper that it stands beside}.
    """

    name: str
    asks: str
    function: Function
    settings: Mapping[str, object]
    dataset: str
    minutes: float | None
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    stack: int = 1
    subset: int | None = None
    device: str = "cpu"
    paper: Mapping[str, object] = field(default_factory=dict)

    def hash(self, dataset: str) -> str:
        """SHA-256 over the function's source, the settings and the data set's name."""
        ran = [inspect.getsource(self.function), dict(self.settings), dataset, self.subset, self.device]
        return hashlib.sha256(json.dumps(ran, sort_keys=True).encode()).hexdigest()


def rounds(*runs: Run) -> pd.DataFrame:
    """The tables of runs, a row per (arm, round, seed)."""
    table = pd.concat([run.table for run in runs], ignore_index=True)
    measured = [name for name in table if name not in ("arm", "round", "seed")]
    return table[["arm", "round", "seed", *measured]]


def curves(*runs: Run, numbers: Iterable[int]) -> pd.DataFrame:
    """Validation by iteration in some rounds of each arm, at no more than `POINTS` checks, early ones denser."""
    found = []
    for run in runs:
        for arm in run.arms:
            for number in sorted(set(numbers) & set(run.rounds(arm))):
                table = run.history(arm, number).table()
                iterations = table.iteration.unique()
                table = table[table.iteration.isin(iterations[thinned(len(iterations))])]
                kept = table[["iteration", "seed", "val_loss", "val_accuracy"]]
                found.append(kept.assign(arm=arm, round=number)[["arm", "round", *kept]])
    return pd.concat(found, ignore_index=True)


def thinned(count: int) -> np.ndarray:
    """At most `POINTS` of the indices 0 … count − 1, both ends among them, further and further apart."""
    return np.unique(np.rint((count - 1) * np.linspace(0, 1, POINTS) ** 2).astype(int))


def best_on_validation(tried: Callable[[float], float], rates: Iterable[float]) -> tuple[float, pd.DataFrame]:
    """(the learning rate of the best validation accuracy, the smaller of equals; all that were tried)."""
    table = pd.DataFrame([{"lr": rate, "val_accuracy": tried(rate)} for rate in sorted(rates)])
    return float(table.lr[table.val_accuracy.idxmax()]), table


def on_device(network: Network, device: str) -> Network:
    """The same network, whose draws lie on a device."""
    if device == "cpu":
        return network
    there = copy.copy(network)
    there.draw = lambda generators: {name: value.to(device) for name, value in network.draw(generators).items()}
    return there
