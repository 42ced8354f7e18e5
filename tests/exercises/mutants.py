"""Mutants of the reference solutions: one small change each, by a fixed list of operators, and what becomes of them.

A mutant that computes what the reference computes on many fuzzed inputs is equivalent.  One that raises on such an
input is crashing.  Every other one must be judged wrong, with a counterexample, whatever the seed.
"""

import ast
import importlib
import inspect
import signal
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np

from lthkit.exercises.guard import alike, copied, own_randomness
from lthkit.exercises.judge import CORRECT, CRASHED, WRONG, judge
from lthkit.exercises.task import Task

KILLED, SURVIVED, CRASHING, EQUIVALENT = "killed", "survived", "crashing", "equivalent"
LIMIT = 2.0  # seconds for one call

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.MatMult: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd,
}  # fmt: skip
OTHER_CALLS = {
    "round": "int", "int": "round", "floor": "ceil", "ceil": "floor",
    "min": "max", "max": "min", "any": "all", "all": "any",
}  # fmt: skip
DROPPABLE = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.If, ast.For, ast.While, ast.With,
             ast.Delete, ast.Assert, ast.Raise, ast.Break, ast.Continue)  # fmt: skip
NEVER_CHANGED = ("annotation", "returns", "decorator_list")


@dataclass(frozen=True)
class Mutant:
    """number: of the line, in the file.  line, becomes: the line before and after, as `ast.unparse` writes it."""

    operator: str
    number: int
    line: str
    becomes: str
    source: str
    function: Callable


@dataclass(frozen=True)
class Result:
    """What became of a mutant.  why: how the check failed it, for a survivor."""

    mutant: Mutant
    fate: str
    why: str = ""


def mutants(function: Callable) -> list[Mutant]:
    """All mutants of a top-level function, each compiled where the function's own names mean the same."""
    lines, first = inspect.getsourcelines(function)
    tree = ast.parse(textwrap.dedent("".join(lines)))
    original, found = ast.unparse(tree), {}
    for parent, node, put in _places(tree.body[0]):
        for operator, other in _changes(node, function.__globals__):
            if operator == "dropped call" and isinstance(parent, ast.Expr):
                continue  # that drops the statement
            put(other)
            source = ast.unparse(ast.fix_missing_locations(tree))
            put(node)
            if source == original or source in found or _is_blank(source):
                continue
            line, becomes = _difference(original, source)
            number = first + node.lineno - 1
            found[source] = Mutant(operator, number, line, becomes, source, _compiled(source, function))
    return list(found.values())


def _places(parent: ast.AST) -> Iterator[tuple[ast.AST, ast.AST, Callable]]:
    """The nodes below `parent` that may change, with their own parents and a function that puts another one there."""
    for field, value in ast.iter_fields(parent):
        if field in NEVER_CHANGED or isinstance(parent, ast.Raise | ast.JoinedStr):
            continue
        children = value if isinstance(value, list) else [value]
        for i, child in enumerate(children):
            if isinstance(child, ast.AST):
                if hasattr(child, "lineno"):
                    put = partial(value.__setitem__, i) if value is children else partial(setattr, parent, field)
                    yield parent, child, put
                yield from _places(child)


def _changes(node: ast.AST, names: dict) -> Iterator[tuple[str, ast.AST]]:
    """What may stand in the place of `node`, with the name of the operator."""
    match node:
        case ast.Compare():
            for i, op in enumerate(node.ops):
                for new in COMPARISONS[type(op)]:
                    yield "comparison", _with(node, ops=[*node.ops[:i], new(), *node.ops[i + 1 :]])
        case ast.BinOp() | ast.AugAssign() if type(node.op) in ARITHMETIC:
            yield "arithmetic", _with(node, op=ARITHMETIC[type(node.op)]())
        case ast.BoolOp():
            yield "and / or", _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield "dropped sign", node.operand
        case ast.Constant(value=bool()):
            yield "constant", ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            for new in (node.value + 1, node.value - 1, type(node.value)(0), type(node.value)(1)):
                yield "constant", _number(new)
        case ast.Call():
            yield from _changes_of_a_call(node, names)
        case ast.Subscript(slice=ast.Slice() as part):
            lower = _shifted(part.lower, 1) if part.lower else ast.Constant(1)
            yield "boundary", _with(node, slice=_with(part, lower=lower))
            for by in (1, -1) if part.upper else ():
                yield "boundary", _with(node, slice=_with(part, upper=_shifted(part.upper, by)))
    if isinstance(node, DROPPABLE) and not _is_text(node):
        yield "dropped statement", ast.Pass()
    if isinstance(node, ast.With):
        yield "dropped context", ast.If(test=ast.Constant(True), body=node.body, orelse=[])


def _changes_of_a_call(node: ast.Call, names: dict) -> Iterator[tuple[str, ast.AST]]:
    called = node.func
    if isinstance(called, ast.Attribute) and not _is_library(called.value, names):
        yield "dropped call", called.value
    elif node.args and not isinstance(node.args[0], ast.Starred):
        yield "dropped call", node.args[0]
    for i in range(len(node.args) - 1):
        swapped = [*node.args[:i], node.args[i + 1], node.args[i], *node.args[i + 2 :]]
        yield "swapped arguments", _with(node, args=swapped)
    name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
    if name in OTHER_CALLS:
        field = "id" if isinstance(called, ast.Name) else "attr"
        yield "other call", _with(node, func=_with(called, **{field: OTHER_CALLS[name]}))
    if name == "range":
        for i, argument in enumerate(node.args[:2]):
            yield "boundary", _with(node, args=[*node.args[:i], _shifted(argument, 1), *node.args[i + 1 :]])


def _with(node: ast.AST, **changed) -> ast.AST:
    return type(node)(**{**dict(ast.iter_fields(node)), **changed})


def _number(value: float) -> ast.expr:
    return ast.UnaryOp(ast.USub(), ast.Constant(-value)) if value < 0 else ast.Constant(value)


def _shifted(node: ast.expr, by: int) -> ast.expr:
    return ast.BinOp(node, ast.Add() if by > 0 else ast.Sub(), ast.Constant(1))


def _is_library(node: ast.expr, names: dict) -> bool:
    """Whether an expression is a module or a class, or a part of one: `torch`, `np.random`."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and isinstance(names.get(node.id), ModuleType | type)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_blank(source: str) -> bool:
    return all(isinstance(node, ast.Pass) or _is_text(node) for node in ast.parse(source).body[0].body)


def _difference(original: str, source: str) -> tuple[str, str]:
    """The first line that differs, before and after."""
    before, after = original.splitlines(), source.splitlines()
    first = next(i for i, (a, b) in enumerate(zip(before, after)) if a != b)
    return before[first].strip(), after[first].strip()


def _compiled(source: str, function: Callable) -> Callable:
    names = dict(function.__globals__)
    exec(compile(source, f"<mutant of {function.__name__}>", "exec"), names)  # noqa: S102
    return names[function.__name__]


def fuzzed(task: Task, draw: Callable | None, count: int) -> list[tuple]:
    """`count` argument tuples, drawn by `draw` or, without one, as the check itself draws them."""
    inputs, drawn = [], 0
    while len(inputs) < count:
        inputs += (draw or task.trials)(np.random.default_rng([2019, drawn]))
        drawn += 1
    return inputs[:count]


def outcome(function: Callable, args: tuple) -> tuple:
    """What comes back, and what has become of the arguments.  Raises what the function raises, or TimeoutError."""
    given = copied(args)
    with own_randomness(0), _time_limit(LIMIT):
        got = function(*given)
    return got, given


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def stop(signum, frame):
        raise TimeoutError(f"still running after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def mutation_test(task: Task, seeds: range, draw: Callable | None = None, count: int = 1000) -> list[Result]:
    """What becomes of each mutant of a task's reference, with `count` fuzzed inputs and a check for each of `seeds`.

    A mutant that crashes, but that some check calls correct, is a survivor: crashing is no excuse for that.
    """
    inputs = fuzzed(task, draw, count)
    expected = [outcome(task.reference, args) for args in inputs]
    return [_fate(task, mutant, inputs, expected, seeds) for mutant in mutants(task.reference)]


def _fate(task: Task, mutant: Mutant, inputs: list[tuple], expected: list[tuple], seeds: range) -> Result:
    try:
        equal = [alike(outcome(mutant.function, args), before) for args, before in zip(inputs, expected, strict=True)]
    except TimeoutError:
        return Result(mutant, CRASHING)
    except Exception:  # noqa: BLE001 (whatever a mutant raises)
        equal = None
    judgements = [judge(task, mutant.function, seed) for seed in seeds]
    passed = [seed for seed, judgement in zip(seeds, judgements, strict=True) if judgement.status == CORRECT]
    odd = [judgement for judgement in judgements if judgement.status not in (CORRECT, WRONG, CRASHED)
           or (judgement.status == WRONG and not judgement.counterexample)]  # fmt: skip
    if equal and all(equal) and len(passed) == len(seeds):
        return Result(mutant, EQUIVALENT)
    if passed:
        return Result(mutant, SURVIVED, f"correct with {len(passed)} of {len(seeds)} seeds")
    if odd:
        return Result(mutant, SURVIVED, f"{odd[0].status}, without a counterexample")
    crashes = equal is None or any(judgement.status == CRASHED for judgement in judgements)
    return Result(mutant, CRASHING if crashes else KILLED)


def listed(kind: str) -> dict:
    """WRONG, RIGHT or FUZZ of all `answers_NN.py`, by task."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("answers_*.py")):
        found |= getattr(importlib.import_module(path.stem), kind, {})
    return found
