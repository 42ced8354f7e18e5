"""How an answer to a task is judged.

A check draws its inputs anew from a seed that it prints, and compares with an oracle or a property, never with one
stored example.
"""

import inspect
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from lthkit.exercises.blanks import has_blank, is_blank, is_empty, is_unanswered
from lthkit.exercises.compare import Fault, compare, kind_of, show
from lthkit.exercises.guard import Crashed, Endless, alike, call, copied, home, limited, one_thread, own_randomness
from lthkit.exercises.task import Mistake, Task

LIMIT = 4.0  # seconds for all calls of one check
NOT_ATTEMPTED, WRONG, CRASHED, CORRECT, NOTED = "not attempted", "wrong", "crashed", "correct", "noted"
DONE = (CORRECT, NOTED)  # NOTED: a guess of the right form, which only the experiment can answer
BLANK_LEFT = "a blank ... is left to fill in"


@dataclass(frozen=True)
class Judgement:
    """How an answer did.  counterexample: {"input", "expected", "got"} as text, for a wrong function."""

    id: str
    status: str
    message: str
    mistake: str = ""
    counterexample: dict[str, str] | None = None
    seed: int | None = None


def judge(task: Task, answer: object, seed: int) -> Judgement:
    """How an answer does on inputs drawn from `seed`.  Never raises, and changes neither answer nor inputs."""
    try:
        with own_randomness(seed), one_thread():
            if task.reference is None:
                return limited(lambda: _judge_value(task, answer, seed), LIMIT)
            return limited(lambda: _judge_function(task, answer, seed), LIMIT, files=(home(answer),))
    except Endless as endless:
        message = f"{endless}{_at(endless.where)}. Does a loop never end?"
        return Judgement(task.id, CRASHED, message, "endless", seed=seed)
    except Exception as error:  # noqa: BLE001 (a check that cannot read an answer says so)
        message = f"the check cannot read this answer ({type(error).__name__}: {error})"
        return Judgement(task.id, WRONG, message, message, seed=seed)


def _judge_value(task: Task, answer: object, seed: int) -> Judgement:
    if is_unanswered(answer):
        return Judgement(task.id, NOT_ATTEMPTED, NOT_ATTEMPTED, seed=seed)
    fault = task.verify((), copied(answer))
    if fault is None:
        return Judgement(task.id, NOTED if task.kind == "predict" else CORRECT, task.next, seed=seed)
    return Judgement(task.id, WRONG, fault.mistake, fault.mistake, seed=seed)


def _judge_function(task: Task, function: object, seed: int) -> Judgement:
    if is_blank(function):
        return Judgement(task.id, NOT_ATTEMPTED, NOT_ATTEMPTED, seed=seed)
    if not callable(function):
        name = task.reference.__name__
        mistake = f"Hand over the function itself, {name}, not {kind_of(function)}: no brackets after it."
        return Judgement(task.id, WRONG, mistake, mistake, seed=seed)
    if is_empty(function):
        return Judgement(task.id, NOT_ATTEMPTED, NOT_ATTEMPTED, seed=seed)
    wrong: list[tuple[tuple, object, Fault]] = []
    right: list[tuple] = []
    for args in task.trials(np.random.default_rng(seed)):
        given = copied(args)
        try:
            got = call(function, given)
        except Crashed as crash:
            if "ellipsis" in str(crash).lower() and has_blank(function):
                return Judgement(task.id, NOT_ATTEMPTED, BLANK_LEFT, seed=seed)
            message = f"{crash}{_at(crash.where)}"
            return Judgement(task.id, CRASHED, message, "crash", {"input": _shown(task, args)}, seed)
        if got is ... or (got is None and not task.in_place and has_blank(function)):
            return Judgement(task.id, NOT_ATTEMPTED, BLANK_LEFT, seed=seed)
        if task.in_place:
            got = given
        if fault := _fault(task, args, given, got):
            wrong.append((args, got, fault))
        else:
            right.append(args)
    if not wrong and task.draws:
        wrong = _repeated(task, function, max(right, key=_size))
    if not wrong:
        return Judgement(task.id, CORRECT, task.next, seed=seed)
    mistake, wrong = _diagnose(task, wrong, right)
    args, _, fault = min(wrong, key=lambda case: _size(case[0]))
    mistake = mistake or fault.mistake
    example = {"input": _shown(task, args), "expected": show(fault.expected), "got": show(fault.got)}
    return Judgement(task.id, WRONG, mistake, mistake, example, seed)


def _fault(task: Task, args: tuple, given: tuple, got: object) -> Fault | None:
    """What is wrong with one call.  given: what has become of `args` in it."""
    if task.in_place:
        return task.verify(args, got)
    if got is None:
        return Fault("Your function returns None: is its `return` missing?", got="None")
    if not alike(args, given):
        changed = next(n for n, a, b in zip(_names(task), args, given, strict=True) if not alike(a, b))
        mistake = f"Your function changes its argument `{changed}` in place: work on a copy, `{changed}.clone()`."
        return Fault(mistake, f"`{changed}` as it was", f"`{changed}` changed")
    return task.verify(args, got)


def _repeated(task: Task, function: object, args: tuple) -> list[tuple[tuple, object, Fault]]:
    """The case itself, where two calls with it give the same and so draw nothing; else none."""
    first, second = (task.run(function, args) for _ in range(2))
    fault = Fault("Two calls with the same arguments give the same. Draw anew in each call.", "a new draw", "the same")
    return [(args, second, fault)] if alike(first, second) else []


def _diagnose(task: Task, wrong: list[tuple], right: list[tuple]) -> tuple[str, list[tuple]]:
    """What the known mistake behind the wrong outcomes says, and the cases that show it; else nothing, and all cases.

    wrong: (args, got, fault) of each wrong call.  right: args of each right one.
    """
    best, shown = "", []
    for known in task.mistakes:
        made = [case for case in wrong if _makes(task, known, *case[:2])]
        often = len(made) > max(len(shown), len(wrong) / 2)
        if often and sum(_is_wrong(task, known, args) for args in right) <= len(made):
            best, shown = known.says, made
    return best, shown or wrong


def _makes(task: Task, known: Mistake, args: tuple, got: object) -> bool:
    """Whether the known mistake is wrong here in the same way."""
    try:
        made = task.run(known.does, args)
    except Crashed:
        return False
    return compare(made, got) is None and task.verify(args, made) is not None


def _is_wrong(task: Task, known: Mistake, args: tuple) -> bool:
    """Whether the known mistake is wrong here at all."""
    try:
        return task.verify(args, task.run(known.does, args)) is not None
    except Crashed:
        return True


def _shown(task: Task, args: tuple) -> str:
    return ", ".join(f"{name} = {show(value)}" for name, value in zip(_names(task), args, strict=True))


def _names(task: Task) -> list[str]:
    return list(inspect.signature(task.reference).parameters)


def _size(value: object) -> int:
    """How many numbers stand in a value."""
    if isinstance(value, Tensor | np.ndarray):
        return int(np.prod(value.shape))
    if isinstance(value, nn.Module):
        return sum(p.numel() for p in value.parameters())
    if isinstance(value, dict):
        return _size(tuple(value.values()))
    return sum(map(_size, value)) if isinstance(value, tuple | list) else 0


def _at(where: str) -> str:
    return f", in your line `{where}`" if where else ""
