"""The reader's side of the exercises.  Everything is kept in memory: Run All restores it."""

import html
import json
import os
import secrets
from operator import eq
from pathlib import Path

import pandas as pd

from lthkit import files
from lthkit.checks import check_count
from lthkit.exercises.compare import plain
from lthkit.exercises.judge import CORRECT, CRASHED, DONE, NOT_ATTEMPTED, NOTED, WRONG, Judgement, judge
from lthkit.exercises.task import Task, task, tasks

COLOURS = {NOT_ATTEMPTED: "#7f7f7f", WRONG: "#d55e00", CRASHED: "#cc3311", CORRECT: "#009e73", NOTED: "#0072b2"}

_judgements: dict[str, Judgement] = {}
_passed: dict[str, object] = {}
_hints_given: dict[str, int] = {}


def check(id: str, answer: object = ..., seed: int | None = None) -> None:
    """Judge an answer and show the judgement: not attempted, wrong, crashed, correct or noted (a guess).

    Never raises.
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
    if judgement.status in DONE:
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


def guess(id: str, measured: object, unit: str = "points", part: int | None = None) -> None:
    """Print the guess noted for a prediction beside what was measured, and how far off it was; in the book, the latter.

    measured: a number, a word, a truth value or a list in order.  Or a dict of them, with a line for each key: of a
    guess that is a dict, the same keys; of a tuple, as many in its order.
    unit: of the numbers.  part: which value of a guess that is a tuple, from 0.  Raises ValueError for an unknown id.
    """
    task(id)
    noted = _passed.get(id)
    if noted is not None and part is not None:
        noted = noted[part]
    if not isinstance(measured, dict):
        print(_beside(noted, measured, unit))
        return
    if isinstance(noted, tuple | list):
        noted = dict(zip(measured, noted, strict=True))
    for key, value in measured.items():
        print(f"{key}: {_beside(noted and noted[key], value, unit)}")


def progress() -> pd.DataFrame | None:
    """The tasks of all chapters that this session has checked (before the first check: of all), and how each stands."""
    chapters = {task(id).chapter for id in _judgements}
    rows = [
        {"task": id, "title": asked.title, "kind": asked.kind, "minutes": asked.minutes,
         "verdict": _judgements[id].status if id in _judgements else NOT_ATTEMPTED}
        for id, asked in tasks().items() if asked.chapter in chapters or not chapters
    ]  # fmt: skip
    return None if _in_book() else pd.DataFrame(rows).set_index("task")


def _beside(noted: object, measured: object, unit: str) -> str:
    """One line of `guess`."""
    noted, measured = (value.item() if hasattr(value, "item") else value for value in (noted, measured))
    said = f"measured: {_value(measured, unit, '+' if unit == 'points' else '')}"
    if _in_book():
        return said
    if noted is None:
        return f"no guess noted; {said}"
    if isinstance(measured, list | tuple):
        off = f"{sum(map(eq, noted, measured))} of {len(measured)} in their places"
    elif isinstance(measured, str | bool):
        off = "as guessed" if plain(noted) == plain(measured) else "not as guessed"
    else:
        off = f"{_value(abs(noted - measured))} apart"
    return f"your guess: {_value(noted, unit)}; {said}; {off}"


def _value(value: object, unit: str = "", sign: str = "") -> str:
    if isinstance(value, list | tuple):
        return ", ".join(value)
    if isinstance(value, str | bool):
        return str(value)
    return f"{float(value):{sign},.1f}".removesuffix(".0") + f" {unit}".rstrip()


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
