"""The reader's side of the exercises.  Everything is kept in memory: Run All restores it."""

import html
import json
import os
import secrets

import pandas as pd

from lthkit.exercises.engine import CORRECT, CRASHED, NOT_ATTEMPTED, WRONG, Task, Verdict, judge, task, tasks

COLOURS = {NOT_ATTEMPTED: "#7f7f7f", WRONG: "#d55e00", CRASHED: "#cc3311", CORRECT: "#009e73"}

_results: dict[str, Verdict] = {}
_passed: dict[str, object] = {}
_hints_given: dict[str, int] = {}


def check(id: str, answer: object = ..., seed: int | None = None) -> None:
    """Judge an answer and show the verdict: not attempted, wrong, crashed or correct.  Never raises.

    id: of the task, like "1.2".  answer: the function itself, or the value asked for.
    seed: that of an earlier verdict, to see its inputs again; without it, new inputs are drawn.
    """
    problem = ""
    if not isinstance(id, str) or id not in tasks():
        problem = f"there is no task {id!r}: known are {', '.join(tasks())}"
    elif seed is not None and (not isinstance(seed, int) or seed < 0):
        problem = f"the seed must be a whole number of at least 0, got {seed!r}"
    if problem:
        _show(Verdict(str(id), NOT_ATTEMPTED, problem))
        return
    verdict = judge(task(id), answer, secrets.randbelow(10**6) if seed is None else seed)
    _results[id] = verdict
    if verdict.status == CORRECT:
        _passed[id] = answer
    else:
        _passed.pop(id, None)
    _record(verdict)
    if not (_in_book() and verdict.status == NOT_ATTEMPTED):
        _show(verdict)


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
    """All tasks of the chapters that this session has checked (of all chapters, before the first check), with verdicts."""
    chapters = {task(id).chapter for id in _results}
    rows = [
        {"task": id, "title": asked.title, "kind": asked.kind, "minutes": asked.minutes,
         "verdict": _results[id].status if id in _results else NOT_ATTEMPTED}
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


def _record(verdict: Verdict) -> None:
    """One line of JSON a verdict, for `lthkit grade`."""
    if path := os.environ.get("LTHKIT_RESULTS"):
        line = {"id": verdict.id, "status": verdict.status, "message": verdict.message, "seed": verdict.seed}
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _show(verdict: Verdict) -> None:
    lines = [f"{verdict.id} {verdict.status}: {verdict.message}"]
    if verdict.message == verdict.status:
        lines = [f"{verdict.id} {verdict.status}"]
    if verdict.counterexample:
        lines += [f"  {key:8}  {text}" for key, text in verdict.counterexample.items() if text != "None"]
        lines += [f'  the same inputs again: check("{verdict.id}", …, seed={verdict.seed})']
    text = "\n".join(lines)
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        get_ipython = None
    if get_ipython is None or get_ipython() is None:
        print(text)
        return
    style = f"border-left: 4px solid {COLOURS[verdict.status]}; padding: 0.3em 0.8em; margin: 0; white-space: pre-wrap"
    display({"text/plain": text, "text/html": f'<pre style="{style}">{html.escape(text)}</pre>'}, raw=True)
