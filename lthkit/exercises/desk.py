"""The reader's side of the exercises.  Everything is kept in memory: Run All restores it."""

import html
import json
import os
import secrets
from pathlib import Path

import pandas as pd

from lthkit import files
from lthkit.checks import check_count
from lthkit.exercises.judge import CORRECT, CRASHED, NOT_ATTEMPTED, WRONG, Judgement, judge
from lthkit.exercises.task import Task, task, tasks

COLOURS = {NOT_ATTEMPTED: "#7f7f7f", WRONG: "#d55e00", CRASHED: "#cc3311", CORRECT: "#009e73"}

_judgements: dict[str, Judgement] = {}
_passed: dict[str, object] = {}
_hints_given: dict[str, int] = {}


def check(id: str, answer: object = ..., seed: int | None = None) -> None:
    """Judge an answer and show the judgement: not attempted, wrong, crashed or correct.  Never raises.

    id: of the task, like "1.2".  answer: the function itself, or the value asked for.
    seed: that of an earlier judgement, to see its inputs again; without it, new inputs are drawn.
    """
    try:
        asked = task(id)
        if seed is not None:
            check_count("the seed", seed, 0)
    except ValueError as problem:
        _display(Judgement(str(id), NOT_ATTEMPTED, str(problem)))
        return
    judgement = judge(asked, answer, secrets.randbelow(10**6) if seed is None else int(seed))
    _judgements[id] = judgement
    if judgement.status == CORRECT:
        _passed[id] = answer
    else:
        _passed.pop(id, None)
    _record(judgement)
    if not (_in_book() and judgement.status == NOT_ATTEMPTED):
        _display(judgement)


def hint(id: str) -> None:
    """Show the next hint of a task.  Raises ValueError for an unknown id."""
    hints = task(id).hints
    number = min(_hints_given.get(id, 0) + 1, len(hints))
    _hints_given[id] = number
    more = f'{len(hints) - number} more to come: hint("{id}").' if number < len(hints) else _last_resort(task(id))
    print(f"Hint {number} of {len(hints)}: {hints[number - 1]}\n{more}")


def solution(id: str) -> None:
    """Show the reference solution of a task, and why it is so.  Raises ValueError for an unknown id."""
    asked = task(id)
    if asked.kind == "predict":
        print(f"{id} is a prediction: the experiment has the answer. {asked.why}")
    else:
        print(f"{asked.solution()}\n\n{asked.why}")


def mine(id: str) -> object:
    """Your answer where its last check was correct, else the reference solution; says which of the two.

    For a prediction: your guess, else None.  Raises ValueError for an unknown id.
    """
    asked = task(id)
    if id in _passed:
        _say(f"{id}: your answer")
        return _passed[id]
    if asked.kind == "predict":
        _say(f"{id}: you stored no guess")
        return None
    _say(f"{id}: the reference solution, until yours passes its check")
    return asked.reference or asked.answer


def progress() -> pd.DataFrame | None:
    """The tasks of all chapters that this session has checked (before the first check: of all), and how each stands."""
    chapters = {task(id).chapter for id in _judgements}
    rows = [
        {"task": id, "title": asked.title, "kind": asked.kind, "minutes": asked.minutes,
         "verdict": _judgements[id].status if id in _judgements else NOT_ATTEMPTED}
        for id, asked in tasks().items() if asked.chapter in chapters or not chapters
    ]  # fmt: skip
    return None if _in_book() else pd.DataFrame(rows).set_index("task")


def _last_resort(asked: Task) -> str:
    return "That was the last one." + ("" if asked.kind == "predict" else f' solution("{asked.id}") shows the answer.')


def _in_book() -> bool:
    """The book's pages show what readers would see only where they had answered."""
    return os.environ.get("LTHKIT_BOOK") == "1"


def _say(text: str) -> None:
    if not _in_book():
        print(text)


def _record(judgement: Judgement) -> None:
    """One line of JSON a judgement, for `lthkit grade`."""
    if path := os.environ.get("LTHKIT_RESULTS"):
        line = {"id": judgement.id, "status": judgement.status, "message": judgement.message, "seed": judgement.seed}
        before = Path(path).read_text(encoding="utf-8") if Path(path).exists() else ""
        files.write_text(path, before + json.dumps(line) + "\n")


def _display(judgement: Judgement) -> None:
    lines = [f"{judgement.id} {judgement.status}: {judgement.message}"]
    if judgement.message == judgement.status:
        lines = [f"{judgement.id} {judgement.status}"]
    if judgement.counterexample:
        lines += [f"  {key:8}  {text}" for key, text in judgement.counterexample.items() if text != "None"]
        lines += [f'  the same inputs again: check("{judgement.id}", …, seed={judgement.seed})']
    text = "\n".join(lines)
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        get_ipython = None
    if get_ipython is None or get_ipython() is None:
        print(text)
        return
    style = (
        f"border-left: 4px solid {COLOURS[judgement.status]}; padding: 0.3em 0.8em; margin: 0; white-space: pre-wrap"
    )
    display({"text/plain": text, "text/html": f'<pre style="{style}">{html.escape(text)}</pre>'}, raw=True)
