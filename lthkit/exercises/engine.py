"""What a task is, and how an answer to it is judged.

Each chapter has a module `chNN` with GOALS, what a reader can do afterwards, and TASKS.  A check draws its inputs anew from
a seed that it prints, and compares with an oracle or a property, never with one stored example.
"""

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from torch import Tensor, nn

from lthkit.exercises.answers import Fault, compare, kind_of, show
from lthkit.exercises.guard import Crashed, Endless, alike, call, copied, home, limited, own_randomness

KINDS = ("predict", "build", "find the bug", "interpret")
LIMIT = 4.0  # seconds for all calls of one check
NOT_ATTEMPTED, WRONG, CRASHED, CORRECT = "not attempted", "wrong", "crashed", "correct"


@dataclass(frozen=True)
class Mistake:
    """A mistake that is known by what it does.  says: a sentence to the reader.

    does: a function of the task's signature that makes the mistake.  Of the mistakes that give the same as the answer in
    more than half of the cases where it is wrong, the one that does so most often is named.
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
    answer: the right answer of an interpret task; for predict, one that has the right form.
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
    answer: object = None

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


@dataclass(frozen=True)
class Verdict:
    """How an answer did.  counterexample: {"input", "expected", "got"} as text, for a wrong function."""

    id: str
    status: str
    message: str
    mistake: str = ""
    counterexample: dict[str, str] | None = None
    seed: int | None = None


def _source(function: Callable) -> str:
    return textwrap.dedent(inspect.getsource(function)).strip()


@cache
def tasks() -> dict[str, Task]:
    """All tasks by id, in the order of the course."""
    import lthkit.exercises as package

    modules = sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.name.startswith("ch"))
    found = [task for name in modules for task in importlib.import_module(f"{package.__name__}.{name}").TASKS]
    return {task.id: task for task in found}


def task(id: str) -> Task:
    """The task of that id.  Raises ValueError for an unknown one."""
    if id not in tasks():
        raise ValueError(f"there is no task {id!r}: known are {', '.join(tasks())}")
    return tasks()[id]


def judge(task: Task, answer: object, seed: int) -> Verdict:
    """The verdict on an answer, with inputs drawn from `seed`.  Never raises, and changes neither answer nor inputs."""
    try:
        with own_randomness(seed):
            if task.reference is None:
                return limited(lambda: _judge_value(task, answer, seed), LIMIT)
            return limited(lambda: _judge_function(task, answer, seed), LIMIT, files=(home(answer),))
    except Endless as endless:
        return Verdict(task.id, CRASHED, f"{endless}{_at(endless.where)}. Does a loop never end?", "endless", seed=seed)
    except Crashed as crash:
        if "ellipsis" in str(crash).lower() and _has_blank(answer):
            return Verdict(task.id, NOT_ATTEMPTED, "a blank ... is left to fill in", seed=seed)
        return Verdict(task.id, CRASHED, f"{crash}{_at(crash.where)}", "crash", {"input": crash.given}, seed)
    except Exception as error:  # noqa: BLE001 (a check that cannot read an answer says so)
        message = f"the check cannot read this answer ({type(error).__name__}: {error})"
        return Verdict(task.id, WRONG, message, message, seed=seed)


def _judge_value(task: Task, answer: object, seed: int) -> Verdict:
    parts = (
        list(answer.values()) if isinstance(answer, dict) else answer if isinstance(answer, tuple | list) else [answer]
    )
    if not len(parts) or any(part is None or part is ... for part in parts):
        return Verdict(task.id, NOT_ATTEMPTED, "not attempted", seed=seed)
    fault = task.verify((), copied(answer))
    if fault is None:
        return Verdict(task.id, CORRECT, task.next, seed=seed)
    return Verdict(task.id, WRONG, fault.mistake, fault.mistake, seed=seed)


def _judge_function(task: Task, function: object, seed: int) -> Verdict:
    if function is None or function is ...:
        return Verdict(task.id, NOT_ATTEMPTED, "not attempted", seed=seed)
    if not callable(function):
        mistake = (
            f"Hand over the function itself, {task.reference.__name__}, not {kind_of(function)}: no brackets after it."
        )
        return Verdict(task.id, WRONG, mistake, mistake, seed=seed)
    if _is_blank(function):
        return Verdict(task.id, NOT_ATTEMPTED, "not attempted", seed=seed)
    wrong: list[tuple[tuple, object, Fault]] = []
    right: list[tuple] = []
    for args in task.trials(np.random.default_rng(seed)):
        given = copied(args)
        try:
            got = call(function, given)
        except Crashed as crash:
            crash.given = _shown(task, args)
            raise
        if got is ...:
            return Verdict(task.id, NOT_ATTEMPTED, "a blank ... is left to fill in", seed=seed)
        if task.in_place:
            got = given
        elif got is None:
            if _has_blank(function):
                return Verdict(task.id, NOT_ATTEMPTED, "a blank ... is left to fill in", seed=seed)
            wrong.append((args, got, Fault("Your function returns None: is its `return` missing?", got="None")))
            continue
        elif not alike(args, given):
            changed = next(n for n, a, b in zip(_names(task), args, given, strict=True) if not alike(a, b))
            mistake = f"Your function changes its argument `{changed}` in place: work on a copy, `{changed}.clone()`."
            wrong.append((args, got, Fault(mistake, f"`{changed}` as it was", f"`{changed}` changed")))
            continue
        if fault := task.verify(args, got):
            wrong.append((args, got, fault))
        else:
            right.append(args)
    if not wrong:
        return Verdict(task.id, CORRECT, task.next, seed=seed)
    mistake, wrong = _diagnose(task, wrong, right)
    args, _, fault = min(wrong, key=lambda case: _size(case[0]))
    mistake = mistake or fault.mistake
    example = {"input": _shown(task, args), "expected": show(fault.expected), "got": show(fault.got)}
    return Verdict(task.id, WRONG, mistake, mistake, example, seed)


def _diagnose(task, wrong, right) -> tuple[str, list[tuple[tuple, object, Fault]]]:
    """What the known mistake behind the wrong outcomes says, and the cases that show it; else nothing, and all cases."""
    best, shown = "", []
    for known in task.mistakes:
        made = [case for case in wrong if _makes(task, known, *case)]
        if len(made) > max(len(shown), len(wrong) / 2) and sum(_wrong(task, known, args) for args in right) <= len(
            made
        ):
            best, shown = known.says, made
    return best, shown or wrong


def _makes(task: Task, known: Mistake, args: tuple, got: object, fault: Fault) -> bool:
    """Whether the known mistake is wrong here in the same way."""
    try:
        made = task.run(known.does, args)
    except Crashed:
        return False
    return compare(made, got) is None and task.verify(args, made) is not None


def _wrong(task, known, args):
    try:
        return task.verify(args, task.run(known.does, args)) is not None
    except Crashed:
        return True


def _shown(task: Task, args: tuple) -> str:
    return ", ".join(f"{name} = {show(value)}" for name, value in zip(_names(task), args, strict=True))


def _names(task: Task) -> list[str]:
    return list(inspect.signature(task.reference).parameters)


def _size(value) -> int:
    if isinstance(value, Tensor | np.ndarray):
        return int(np.prod(value.shape))
    if isinstance(value, nn.Module):
        return sum(p.numel() for p in value.parameters())
    if isinstance(value, dict):
        return _size(tuple(value.values()))
    return sum(map(_size, value)) if isinstance(value, tuple | list) else 0


def _at(where: str) -> str:
    return f", in your line `{where}`" if where else ""


def _is_blank(function: Callable) -> bool:
    """Whether nothing but a docstring and blanks stands in the function."""
    body = _body(function)
    return bool(body) and all(
        isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in body
    )


def _has_blank(function: object) -> bool:
    """Whether a statement of the function still is, assigns or returns `...`."""
    values = [getattr(node, "value", None) for statement in _body(function) for node in ast.walk(statement)
              if isinstance(node, ast.Expr | ast.Assign | ast.AnnAssign | ast.Return)]  # fmt: skip
    return any(isinstance(value, ast.Constant) and value.value is ... for value in values)


def _body(function: object) -> list[ast.stmt]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # no source, no function, or a lambda in the middle of a line
        return []
    return tree.body[0].body if isinstance(tree.body[0], ast.FunctionDef) else []
