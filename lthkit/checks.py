"""What is asked of every setting: a known name, a whole number, a name that figures can show."""

from collections.abc import Mapping
from numbers import Integral
from typing import TypeVar

Value = TypeVar("Value")


def lookup(kind: str, name: object, table: Mapping[str, Value]) -> Value:
    """table[name].

    kind: what the table holds, as in "criterion", for the error.
    Raises ValueError, with all known names, for any other.
    """
    if not isinstance(name, str) or name not in table:
        raise ValueError(f"unknown {kind} {name!r}: known are {', '.join(table)}")
    return table[name]


def check_count(name: str, count: object, least: int) -> None:
    """Raises ValueError unless `count` is a whole number of at least `least`; name: the setting's."""
    if isinstance(count, bool) or not isinstance(count, Integral) or count < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {count!r}")


def check_label(what: str, name: object) -> None:
    """Raises ValueError unless `name` is text that a figure shows as it is; what: whose, as in "an arm's name"."""
    if not isinstance(name, str) or not name or not name.isprintable() or name.startswith("_") or "$" in name:
        raise ValueError(f"{what} must be plain text in one line, with no leading underscore or $, got {name!r}")
