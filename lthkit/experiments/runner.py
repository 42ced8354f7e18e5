"""`run`: carries out what is to do, here or on a Dask cluster, and writes the records."""

import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from lthkit import data
from lthkit.checks import check_count
from lthkit.data import Dataset
from lthkit.experiments import records
from lthkit.experiments.execute import execute
from lthkit.experiments.tasks import Task, tasks
from lthkit.replications.execute import LIMIT
from lthkit.replications.runner import work

RECORDS, CHECKPOINTS = "book/results/full_scale", "checkpoints"


def run(
    name: str, seeds: Iterable[int] | None = None, out: str | Path = RECORDS, root: str | Path = "data",
    file: str | Path | None = None, checkpoints: str | Path = CHECKPOINTS, scheduler: str | None = None,
    workers: int | None = None, limit: float = LIMIT, progress: bool = False,
) -> list[str]:  # fmt: skip
    """Run an experiment, or one of its cells, and write a record of each task that has none of the cell as it stands.

    name: as in "frankle_carbin", or "frankle_carbin.tickets".  seeds: in place of the cells' own; their records lie
    beside the others.
    out: the folder of the records.  root: that of the data sets, on each machine.  file: an .npz in place of the
    cells' own data.  checkpoints: a folder for what is unfinished; a task that was stopped or killed goes on from it,
    to the same numbers.
    scheduler: the address of a Dask scheduler; without it, `workers` processes here, by default one a core.
    limit: minutes of a task in this call.
    Returns a line for each task that failed.  Raises ValueError, OSError (ConnectionError for the scheduler) or
    ImportError for what stops all: an unknown name, missing data, a record of other data, a folder that cannot be
    written.
    """
    if workers is not None:
        check_count("workers", workers, 1)
    todo = [task for task in tasks(name, seeds, out, checkpoints, file) if not task.up_to_date(_same_data(task))]
    if not todo:
        return []
    Path(out).mkdir(parents=True, exist_ok=True)
    if scheduler is None:
        _check_data(todo, root)

    def call(task: Task) -> tuple:
        cell, where = task.cell, task.file and str(task.file)
        job = {"function": f"{cell.function.__module__}:{cell.function.__name__}", "settings": dict(cell.settings)}
        job |= {"dataset": task.dataset, "subset": cell.subset, "file": where, "root": str(Path(root).absolute())}
        job |= {"seeds": list(task.seeds), "checkpoint": str(task.checkpoint), "device": cell.device}
        return execute, job, limit

    def finish(task: Task, outcome: dict) -> None:
        cell = task.cell
        about = {"experiment": task.experiment, "cell": cell.name, "asks": cell.asks, "paper": dict(cell.paper)}
        about |= {"settings": dict(cell.settings), "seeds": list(task.seeds), "dataset": task.dataset}
        about |= {"subset": cell.subset, "hash": task.hash, "date": datetime.now(UTC).isoformat(timespec="seconds")}
        records.write(out, about | outcome)
        shutil.rmtree(task.checkpoint, ignore_errors=True)

    return work(todo, call, finish, scheduler, workers, progress)


def _same_data(task: Task) -> dict | None:
    """The record that a task has.  Raises ValueError for one of other data, which is not to be overwritten."""
    found = task.record()
    if found is not None and found["dataset"] != task.dataset:
        there = f"{task.folder} holds a record of {task} on {found['dataset']}"
        raise ValueError(f"{there}, not on {task.dataset}: give another folder, --out DIR")
    return found


def _check_data(todo: list[Task], root: str | Path) -> None:
    """Raises what loading raises, before anything runs."""
    for task in {(task.dataset, task.file): task for task in reversed(todo)}.values():
        if task.file is not None:
            Dataset.from_npz(task.file)
        elif task.dataset in data.DATASETS:
            data.load(task.dataset, root=root)
        else:
            raise ValueError(f"{task} needs its data from a file: --data {task.dataset}.npz")
