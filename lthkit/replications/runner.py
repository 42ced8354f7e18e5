"""`replicate`: runs what is to do, here or on a Dask cluster, and writes the records.

`work` is the runner itself, for any kind of task.
"""

import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from tqdm.auto import tqdm

from lthkit import data
from lthkit.checks import check_count
from lthkit.replications import records
from lthkit.replications.execute import LIMIT, execute, stop
from lthkit.replications.settings import SETTINGS
from lthkit.replications.tasks import Task, rates, tasks

PATIENCE = 5  # seconds to wait for a scheduler, and again for its first worker
Pool = tuple[Executor, Callable[[], int]]  # and how many tasks it takes at once
Job = TypeVar("Job")  # a task of any kind; its text names it


def replicate(
    labs: Iterable[str] = (), settings: Iterable[str] = (), out: str | Path = "book/results/replications",
    notebooks: str | Path = "notebooks", scheduler: str | None = None, workers: int | None = None,
    root: str | Path = "data", limit: float = LIMIT, progress: bool = False,
) -> list[str]:  # fmt: skip
    """Run labs in settings, and write a record of each pair that has none of the lab as it stands.

    labs: by number, as in "06"; all unless given.  settings: names of `SETTINGS`; all unless given.
    out: the folder of the records.  notebooks: that of the labs.  root: that of the data sets, on each machine.
    scheduler: the address of a Dask scheduler; without it, `workers` processes here, by default one a core.
    limit: minutes of a task, all its runs together.
    Returns a line for each task that failed.  Raises ValueError, OSError (ConnectionError for the scheduler) or
    ImportError for what stops all: unknown names, missing data or packages, a folder that cannot be written.
    """
    if workers is not None:
        check_count("workers", workers, 1)
    asked = tasks(labs, settings, out, notebooks)
    todo = [task for task in asked if not task.exempt and not task.up_to_date(task.record())]
    if not todo:
        return []
    Path(out).mkdir(parents=True, exist_ok=True)
    if any(SETTINGS[task.setting].rates for task in todo):
        rates(out)
    if scheduler is None:
        for name in {str(run["dataset"]) for task in todo for run in SETTINGS[task.setting].runs if "dataset" in run}:
            data.load(name, root=root)

    def finish(task: Task, given: list[dict], outcome: dict) -> None:
        records.write(out, _record(task, given, outcome))

    return run_labs(todo, finish, scheduler, workers, root, limit, progress)


def run_labs(
    todo: list[Task], finish: Callable[[Task, list[dict], dict], None], scheduler: str | None, workers: int | None,
    root: str | Path, limit: float, progress: bool,
) -> list[str]:  # fmt: skip
    """Run tasks, a line for each that failed: live looks first, then fresh seeds, of others the cheapest first.

    finish: called with a task, the parameters of each run, and what `execute` found.
    """
    for needed in ("papermill", "ipykernel") if scheduler is None else ():
        if importlib.util.find_spec(needed) is None:
            raise ModuleNotFoundError(f"No module named {needed!r}", name=needed)
    where, given = {"root": str(Path(root).absolute())}, {}

    def call(task: Task) -> tuple:
        given[task] = task.given()
        told = where if "root" in task.lab.defaults else {}
        return execute, task.lab.text, [run | told for run in given[task]], limit

    def done(task: Task, outcome: dict) -> None:
        finish(task, given[task], outcome)

    return work(todo, call, done, scheduler, workers, progress, _next)


def work(
    todo: list[Job], call: Callable[[Job], tuple], finish: Callable[[Job, dict], None], scheduler: str | None,
    workers: int | None, progress: bool, choose: Callable[[list[Job], list[Job]], Job | None] = lambda todo, _: todo[0],
) -> list[str]:  # fmt: skip
    """Run tasks here or on a Dask cluster; a line for each that failed.

    call: (function, arguments …) that carries a task out, and returns a dict, with "error" where it failed.
    finish: called with a task and what came of it.  choose: of those to do, beside those running, the next, if any.
    Raising ValueError, `call` and `finish` fail their task alone.
    """
    todo, running, failed = list(todo), {}, []

    def fail(task: Job, why: object) -> None:
        failed.append(f"{task}: {why}")
        bar.update()
        if progress:
            bar.write(failed[-1])

    with (
        _pool(scheduler, workers) as (executor, slots),
        tqdm(total=len(todo), unit="task", disable=not progress) as bar,
    ):
        while todo or running:
            while todo and len(running) < slots() and (task := choose(todo, list(running.values()))):
                todo.remove(task)
                try:
                    running[executor.submit(*call(task))] = task
                except ValueError as error:
                    fail(task, error)
            bar.set_postfix_str("; ".join(map(str, running.values())))
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                try:
                    outcome = future.result()
                except Exception as error:  # noqa: BLE001 (of Dask: a worker lost too often, a lost scheduler, …)
                    outcome = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
                if "error" in outcome:
                    fail(task, outcome["error"])
                    continue
                try:
                    finish(task, outcome)
                    bar.update()
                except ValueError as error:
                    fail(task, error)
    return failed


def _next(todo: list[Task], running: list[Task]) -> Task | None:
    """The first that need not wait for the live look of its lab."""
    waiting = {task.lab.name for task in [*todo, *running] if task.setting == "live"}
    ready = [task for task in todo if task.setting != "fresh" or task.lab.name not in waiting]

    def rank(task: Task) -> tuple:
        return ["live", "fresh"].index(task.setting) if task.setting in ("live", "fresh") else 2, task.seconds() or 0

    return min(ready, key=rank, default=None)


@contextmanager
def _pool(scheduler: str | None, workers: int | None) -> Iterator[Pool]:
    if scheduler is None:
        count = workers or os.cpu_count() or 1
        with ThreadPoolExecutor(count) as executor:
            try:
                yield executor, lambda: count
            except BaseException:
                executor.shutdown(wait=False, cancel_futures=True)
                stop()
                raise
    else:
        with _client(scheduler) as client:
            submit = client.get_executor(pure=False)
            yield submit, lambda: max(1, sum(client.nthreads().values()))


@contextmanager
def _client(scheduler: str) -> Iterator:
    """Of a Dask cluster that has a worker.  Raises ConnectionError if none answers."""
    import distributed

    try:
        client = distributed.Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, ImportError) as error:
        raise ConnectionError(f"no Dask scheduler answers at {scheduler}") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError as error:
            raise ConnectionError(f"the Dask scheduler at {scheduler} has no worker") from error
        yield client


def _record(task: Task, given: list[dict], outcome: dict) -> dict:
    takes = {name: value for name, value in task.lab.defaults.items() if name != "root"}
    return {
        "lab": task.lab.name, "setting": task.setting, "defaults": takes, "parameters": given,
        "verdicts": records.merge(outcome.pop("verdicts")), "tables": records.joined(outcome.pop("tables")),
        "hash": task.lab.hash(given), "date": datetime.now(UTC).isoformat(timespec="seconds"), **outcome,
    }  # fmt: skip
