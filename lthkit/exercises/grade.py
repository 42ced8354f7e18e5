"""Running a learner's notebook and collecting the judgements of its checks.  It runs the learner's code: mind where."""

import asyncio
import json
import os
import re
import subprocess
import tempfile
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

from lthkit.exercises.judge import DONE, NOT_ATTEMPTED, Judgement
from lthkit.exercises.task import Task, tasks

CHECK = re.compile(r"""^[ \t]*check\(\s*["']([^"']*)["']""", re.MULTILINE)
FINISHED, EXPIRED, DIED = "finished", "time limit", "kernel died"


@dataclass(frozen=True)
class Grade:
    """judgements: the last one of each task of the notebook, by id.  ended: FINISHED, EXPIRED or DIED.

    raised: (number of the code cell, from 1, and its error) of each cell that raised.
    """

    notebook: str
    judgements: dict[str, Judgement]
    ended: str
    raised: list[tuple[int, str]]

    def to_dict(self) -> dict:
        """For JSON."""
        rows = [
            {"id": id, "title": tasks()[id].title, "kind": tasks()[id].kind, "status": judgement.status,
             "message": judgement.message, "seed": judgement.seed}
            for id, judgement in self.judgements.items()
        ]  # fmt: skip
        raised = [{"cell": number, "error": error} for number, error in self.raised]
        return {"notebook": self.notebook, "ended": self.ended, "tasks": rows, "raised": raised}

    def summary(self, time_limit: float) -> str:
        """For people.  time_limit: the one it ran under, in seconds."""
        done = sum(judgement.status in DONE for judgement in self.judgements.values())
        lines = [f"{self.notebook}: {done} of {len(self.judgements)} tasks done"]
        for id, judgement in self.judgements.items():
            lines.append(f"{id:5} {judgement.status:14} {tasks()[id].title}")
            if judgement.status not in (*DONE, NOT_ATTEMPTED):
                lines += textwrap.wrap(judgement.message, 100, initial_indent=" " * 21, subsequent_indent=" " * 21)
        if self.ended == EXPIRED:
            lines.append(f"Stopped after {time_limit:g} s: later cells did not run.")
        if self.ended == DIED:
            lines.append("The kernel died: later cells did not run.")
        return "\n".join([*lines, *(f"Code cell {number} raised {error}" for number, error in self.raised)])


def checked(source: str) -> list[str]:
    """The ids of the tasks that a cell's source checks."""
    return CHECK.findall(source)


def grade(path: Path, time_limit: float) -> Grade:
    """Run a notebook in a kernel of its own, in an empty temporary folder, for at most `time_limit` seconds.

    A cell that raises does not stop the next ones.  Raises ValueError for a file that is missing or no notebook, and
    ModuleNotFoundError without the packages that running a notebook needs.
    """
    notebook = _read(path)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    with tempfile.TemporaryDirectory(prefix="lthkit-", ignore_cleanup_errors=True) as folder:
        results = Path(folder, "results.jsonl")
        work = Path(folder, "work")
        work.mkdir()
        ended = asyncio.run(_run(notebook, work, results, time_limit))
        places = sorted({str(work), os.path.realpath(work)}, key=len, reverse=True)
        judgements = _judgements(results, places)
        errors = [(number, _error(cell, places)) for number, cell in enumerate(cells, 1)]
    ids = _belonging(path.name, [id for cell in cells for id in checked(cell.source)], judgements)
    found = {id: judgements.get(id, Judgement(id, NOT_ATTEMPTED, NOT_ATTEMPTED)) for id in ids}
    return Grade(path.name, found, ended, [(number, error) for number, error in errors if error])


def _read(path: Path):
    import ipykernel  # noqa: F401 (the kernel needs it)
    import nbclient  # noqa: F401
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # nbformat raises many kinds
        raise ValueError(f"{path} is no Jupyter notebook") from error
    return notebook


async def _run(notebook, folder: Path, results: Path, time_limit: float) -> str:
    """How it ended.  Errors are left in the outputs of the notebook's cells."""
    from nbclient import NotebookClient
    from nbclient.exceptions import DeadKernelError

    here = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=None, kernel_name="python3", allow_errors=True, resources=here)
    environment = {**os.environ, "LTHKIT_RESULTS": str(results), "MPLBACKEND": "agg", "TQDM_DISABLE": "1"}
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # what is not meant for the notebook
    running = asyncio.ensure_future(client.async_execute(env=environment, **silent))
    await asyncio.wait([running], timeout=time_limit)
    expired = not running.done()
    running.cancel()  # where it still runs, this kills the kernel
    try:
        await running
    except asyncio.CancelledError:
        pass
    except DeadKernelError:
        return EXPIRED if expired else DIED
    return EXPIRED if expired else FINISHED


def _judgements(results: Path, places: list[str]) -> dict[str, Judgement]:
    """The last judgement of each task.  A line that a killed kernel left unfinished does not count."""
    found = {}
    for line in results.read_text(encoding="utf-8").splitlines() if results.exists() else []:
        try:
            judgement = Judgement(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if judgement.id in tasks():
            found[judgement.id] = replace(judgement, message=_local(judgement.message, places))
    return found


def _error(cell, places: list[str]) -> str:
    """The error that a cell ended in, in one line; empty without one."""
    errors = [output for output in cell.get("outputs", []) if output.output_type == "error"]
    text = f"{errors[-1].ename}: {errors[-1].evalue}".removesuffix(": ") if errors else ""
    return _local(text.split("\n")[0], places)


def _local(text: str, places: list[str]) -> str:
    """Text without the temporary folder's address."""
    for place in places:
        text = text.replace(place, ".")
    return text


def _belonging(name: str, ids: list[str], judgements: dict[str, Judgement]) -> list[str]:
    """The ids of the chapter that the notebook's name begins with, else of those that it checks; and all it checked."""
    number = re.match(r"(\d\d)_", name)
    own = {int(number[1])} if number else set()
    checks = {task.chapter for id, task in tasks().items() if id in ids or id in judgements}
    chapters = own if any(task.chapter in own for task in tasks().values()) else checks

    def belongs(task: Task) -> bool:
        return task.chapter in chapters or task.id in judgements

    return [id for id, task in tasks().items() if belongs(task)]
