"""Cells that take seconds, for the runner; imported by their children too, as `toy`.

A fit that begins leaves a line in the file that TOY_LOG names.
"""

import os
from pathlib import Path

import pandas as pd
import torch

from lthkit import checkpoints, lottery
from lthkit.data import Dataset
from lthkit.experiments.cells import Cell, curves, rounds
from lthkit.networks import Dense

SETTINGS = {"count": 2, "iterations": 1_500, "batch_size": 15, "eval_every": 100}


def search(data: Dataset, seeds, checkpoint: Path, count: int, every: float = 0.01, **settings):
    """Ticket and control, with every fit noted, and steps written all the time."""
    checkpoints.EVERY, fit = every, lottery.fit

    def logged(*given, checkpoint=None, **named):
        with open(os.environ["TOY_LOG"], "a") as log:
            log.write(f"{checkpoint.folder.name}/{checkpoint.prefix.rstrip('-')}\n")
        return fit(*given, checkpoint=checkpoint, **named)

    lottery.fit = logged
    try:
        network = Dense("toy", [48, 40, 3])
        run = lottery.search(network, data, seeds, count, checkpoint=checkpoint / "search", **settings)
        control = lottery.retrain(run, checkpoint=checkpoint / "control")
    finally:
        lottery.fit = fit
    return {"rounds": rounds(run, control), "curves": curves(run, control, numbers=[1])}


def answer(data: Dataset, seeds, checkpoint: Path, **settings):
    """At once: a number of each seed, one of them missing."""
    values = [None if seed == settings.get("lost") else 0.5 + seed / 8 for seed in seeds]
    tables = {"found": pd.DataFrame({"arm": "a", "seed": list(seeds), "test_accuracy": values})}
    return tables | {"chosen": pd.DataFrame({"lr": [0.1, 0.2], "val_accuracy": [0.5, 0.25]})}


def fails(data: Dataset, seeds, checkpoint: Path):
    raise RuntimeError("no such\nthing")


def hangs(data: Dataset, seeds, checkpoint: Path):
    while True:
        pass


def images() -> dict:
    """The arrays of a file for `--data`."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for part, count in (("train", 90), ("val", 20), ("test", 30)):
        found[f"{part}_x"] = torch.rand(count, 3, 4, 4, generator=generator).numpy()
        found[f"{part}_y"] = (torch.arange(count) % 3).numpy()
    return found


CELLS = {
    "toy": (
        Cell("search", "Does it?", search, SETTINGS, "toy-images", 0.1, seeds=(5, 2), stack=2),
        Cell("answer", "At once?", answer, {}, "toy-images", 0.1, seeds=(0, 1, 2, 3), stack=2, paper={"it": 0.9}),
    ),
    "bad": (
        Cell("fails", "No?", fails, {}, "toy-images", 0.1, seeds=(0,)),
        Cell("hangs", "Never?", hangs, {}, "toy-images", 0.1, seeds=(0,)),
        Cell("gpu", "There?", answer, {}, "toy-images", None, seeds=(0,), device="cuda"),
    ),
}
