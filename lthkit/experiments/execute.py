"""Carrying out one task: in a child here, or wherever a Dask worker is."""

import time
from importlib import import_module
from pathlib import Path
from threading import Event, Thread

import torch

from lthkit import data, files
from lthkit.checkpoints import describe
from lthkit.data import Dataset
from lthkit.experiments.records import as_columns
from lthkit.experiments.tasks import SECONDS, spent
from lthkit.replications.execute import environment, facts, in_child

EVERY = 5.0  # seconds between two times that a task notes how long it has run


def execute(job: dict, limit: float) -> dict:
    """What `carry_out` finds with the arguments `job`, in a process of its own, for at most `limit` minutes.

    {"error": a line} where it failed.
    """
    function = {"function": f"{carry_out.__module__}:{carry_out.__name__}", "arguments": job}
    outcome = in_child("call", function, limit, environment())
    if outcome.get("error", "").startswith("stopped"):
        outcome["error"] += ": the same command goes on from there"
    return outcome


def carry_out(
    function: str, settings: dict, dataset: str, subset: int | None, file: str | None, root: str, seeds: list[int],
    checkpoint: str, device: str,
) -> dict:  # fmt: skip
    """The tables of one task and what a record says beside them.  function: that of a cell, as in "module:name"."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("needs a GPU, and torch sees none here")
    folder, began, done = Path(checkpoint), time.monotonic(), Event()
    folder.mkdir(parents=True, exist_ok=True)
    before = spent(folder) or 0.0

    def seconds() -> float:
        return round(before + time.monotonic() - began, 1)

    def note() -> None:
        while not done.wait(EVERY):
            files.write_text(folder / SECONDS, f"{seconds()}\n")

    Thread(target=note, daemon=True).start()
    try:
        images = data.load(dataset, subset=subset, root=root) if file is None else Dataset.from_npz(file)
        module, _, name = function.partition(":")
        tables = getattr(import_module(module), name)(images, seeds, folder, **settings)
    finally:
        done.set()
    return {
        "tables": {name: as_columns(table) for name, table in tables.items()}, "seconds": seconds(),
        "images": describe(images)[1], **facts(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }  # fmt: skip
