"""What an exercise is, from its hints to its known mistakes, and the exercises of all chapters.

Each chapter has a module `chNN` with GOALS, what a reader can do afterwards, and TASKS.
"""

import importlib
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from lthkit.checks import lookup
from lthkit.exercises.compare import Fault
from lthkit.exercises.guard import call, copied

KINDS = ("predict", "build", "find the bug", "interpret")


@dataclass(frozen=True)
class Mistake:
    """A mistake that is known by what it does.  says: a sentence to the reader.

    does: a function of the task's signature that makes the mistake.  Of the mistakes that give the same as the answer
    in more than half of the cases where it is wrong, the one that does so most often is named.
    """

    says: str
    does: Callable


@dataclass(frozen=True, kw_only=True)
class Task:
    """One exercise.

    id: "chapter.number".  kind: one of KINDS.  goal: one of its chapter's GOALS.  minutes: to work on it.
    hints: at least two, each giving away more.  why: why the reference solution is as it is.  next: what to try then.
    verify: (args, got) -> Fault or None; for predict and interpret, args is () and got the answer.
    reference: the solution of a build or find-the-bug task, a function of the chapter's module under the name that the
    lab uses.  trials: draws argument tuples.  faulty: the function with the bug.  mistakes: looked up in this order.
    in_place: the function works on its arguments, and these are what `verify` gets as `got`.
    draws: the result is drawn, so two calls must differ.
    answer: the right answer of an interpret task; for predict, one that has the right form.
    reveals: of a predict task, the keys of numbers, verdicts and figures that give its answer away: as the lab glues
    and the chapter quotes them.
    """

    id: str
    kind: str
    title: str
    goal: str
    difficulty: str
    minutes: int
    hints: tuple[str, ...]
    why: str
    next: str
    verify: Callable[[tuple, object], Fault | None]
    reference: Callable | None = None
    trials: Callable[[np.random.Generator], list[tuple]] | None = None
    faulty: Callable | None = None
    mistakes: tuple[Mistake, ...] = ()
    in_place: bool = False
    draws: bool = False
    answer: object = None
    reveals: tuple[str, ...] = ()

    @property
    def chapter(self) -> int:
        return int(self.id.split(".")[0])

    @property
    def label(self) -> str:
        """What the task is called in a heading: "Predict 2.0", "Exercise 2.2", "Interpret 2.4"."""
        return f"{'Exercise' if self.reference else self.kind.capitalize()} {self.id}"

    @property
    def heading(self) -> str:
        """What follows the label in a heading: "the rewind that works once (find the bug, medium, 8 minutes)".

        The kind stands in the brackets where the label does not say it.
        """
        kind = f"{self.kind}, " if self.reference else ""
        return f"{self.title} ({kind}{self.difficulty}, {self.minutes} minutes)"

    def run(self, function: Callable, args: tuple) -> object:
        """What `function` makes of a copy of `args`: its return value, or with in_place the arguments afterwards."""
        args = copied(args)
        got = call(function, args)
        return args if self.in_place else got

    def solution(self) -> str:
        """The reference solution as source code; for an interpret task, the answer."""
        if self.reference is None:
            return str(self.answer)
        return _source(self.reference)

    def faulty_source(self) -> str:
        """The function with the bug as source code, as the lab shows it; empty for a task without one."""
        return _source(self.faulty) if self.faulty else ""


@cache
def tasks() -> dict[str, Task]:
    """All tasks by id, in the order of the course."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("ch*.py"))
    found = [task for name in names for task in importlib.import_module(f"{__package__}.{name}").TASKS]
    return {task.id: task for task in found}


def task(id: str) -> Task:
    """The task of that id.  Raises ValueError for an unknown one."""
    return lookup("task", id, tasks())


def _source(function: Callable) -> str:
    return textwrap.dedent(inspect.getsource(function)).strip()
