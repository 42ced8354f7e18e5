"""What counts as not attempted: a blank `...`, a body in which nothing stands yet, a value that was not filled in."""

import ast
import inspect
import textwrap
from collections.abc import Callable


def is_blank(part: object) -> bool:
    """Whether nothing was put in the place of a value or of a function."""
    return part is None or part is ...


def is_unanswered(answer: object) -> bool:
    """Whether a value holds nothing, or a part that is blank."""
    parts = list(answer.values()) if isinstance(answer, dict) else answer
    parts = parts if isinstance(parts, tuple | list) else [parts]
    return not parts or any(map(is_blank, parts))


def is_empty(function: Callable) -> bool:
    """Whether nothing but a docstring and blanks stands in the function."""
    body = _body(function)
    return bool(body) and all(
        isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in body
    )


def has_blank(function: object) -> bool:
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
