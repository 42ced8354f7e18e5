"""Frankle & Carbin (2019) on MNIST, by their schedule: 50,000 iterations a round, 20 % a round, to below 3 % kept.

The output layer loses half as much.  The ladder keeps 51.3 % after 3 rounds, 21.1 % after 7, 13.5 % after 9, 3.6 %
after 15 and 2.9 % after 16.  All is as the paper has it, but for the early stop's test accuracy, which is measured.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lthkit import networks
from lthkit.data import Dataset
from lthkit.experiments.cells import Cell, curves, rounds
from lthkit.lottery import retrain, search

ROUNDS, RATE = 16, 0.2
DRAWN = [0, 3, 7, 9, 15]  # rounds of which curves are kept, and the shares of one-shot pruning
SCHEDULE = {"iterations": 50_000, "batch_size": 60, "optimizer": "adam", "lr": 1.2e-3, "eval_every": 100}


def tickets(
    data: Dataset, seeds: Sequence[int], checkpoint: Path, count: int, rate: float, drawn: list[int], **settings
) -> dict[str, pd.DataFrame]:
    """Rewind for `count` rounds; then fresh weights under the same masks, the re-init control."""
    network = networks.lenet_300_100(data)
    run = search(network, data, seeds, count, rate, checkpoint=checkpoint / "search", **settings)
    control = retrain(run, "reinit", checkpoint=checkpoint / "control")
    tables = {"rounds": rounds(run, control), "curves": curves(run, control, numbers=drawn)}
    # One dense round for both.
    return {name: table[(table.arm == "rewind") | (table["round"] > 0)] for name, table in tables.items()}


def continued(
    data: Dataset, seeds: Sequence[int], checkpoint: Path, count: int, rate: float, drawn: list[int], **settings
) -> dict[str, pd.DataFrame]:
    """Keep the trained weights, and train on at the full rate: learning-rate rewinding (Renda et al. 2020)."""
    network = networks.lenet_300_100(data)
    own = {"mask_1": "continue", "checkpoint": checkpoint / "search"}
    run = search(network, data, seeds, count, rate, **own, **settings)
    return {"rounds": rounds(run), "curves": curves(run, numbers=drawn)}


def one_shot(
    data: Dataset, seeds: Sequence[int], checkpoint: Path, rate: float, at: list[int], **settings
) -> dict[str, pd.DataFrame]:
    """Prune the dense network once, to the share that the ladder keeps after each of the rounds `at`, and rewind."""
    network = networks.lenet_300_100(data)
    found = []
    for number in at:
        removed = {name: 1 - (1 - rate * relative) ** number for name, relative in network.rates.items()}
        own = {"schedule": "one_shot", "checkpoint": checkpoint / str(number)}
        run = search(network, data, seeds, 1, removed, **own, **settings)
        table = rounds(run)
        found.append(table[table["round"] == 1].assign(arm="one_shot", round=number))
    return {"rounds": pd.concat(found, ignore_index=True)}


CELLS = (
    Cell(
        "tickets", "Does a ticket stop sooner and end better than dense and re-initialised networks?", tickets,
        {"count": ROUNDS, "rate": RATE, "drawn": DRAWN, **SCHEDULE}, "mnist", minutes=30,
        paper={
            "early stop sooner than dense, 21 % kept": 0.38, "more accurate than dense, 13.5 % kept": 0.003,
            "back to dense at kept": 0.036, "control falls below dense at kept": 0.211,
            "ticket falls below dense at kept": 0.029, "faster than the control, 21 % kept": 2.51,
            "more accurate than the control, 21 % kept": 0.005,
        },
    ),
    Cell(
        "continue", "Does going on from trained weights beat rewinding at the same number of steps?", continued,
        {"count": ROUNDS, "rate": RATE, "drawn": DRAWN, **SCHEDULE}, "mnist", minutes=16,
    ),
    Cell(
        "one_shot", "Are tickets of one-shot pruning as good as those found step by step?", one_shot,
        {"rate": RATE, "at": DRAWN[1:], **SCHEDULE}, "mnist", minutes=8,
    ),
)  # fmt: skip
