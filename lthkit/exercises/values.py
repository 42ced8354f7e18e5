"""`verify` for answers that are values: numbers within a range, and one of several options for each of several keys."""

import math
from collections.abc import Callable, Sequence

from lthkit.exercises.answers import Fault


def number(low: float, high: float, what: str) -> Callable[[tuple, object], Fault | None]:
    """Any number from low to high will do.  what: it counts, as in "points"."""

    def verify(args: tuple, got: object) -> Fault | None:
        if not isinstance(got, int | float) or isinstance(got, bool) or math.isnan(got):
            return Fault(f"Give one number of {what}.", got=got)
        return None if low <= got <= high else Fault(f"{got:g} {what}? Guess from {low:g} to {high:g}.", got=got)

    return verify


def options(
    keys: Sequence[str], allowed: tuple, right: dict | None = None, says: dict[str, str] | None = None
) -> Callable[[tuple, object], Fault | None]:
    """A dict with one of the allowed values for each key; in text, upper and lower case are the same.

    right: the answers, with what is said where one is wrong, by key.  Without them every allowed value will do.
    """
    known = {_plain(value): value for value in allowed}

    def verify(args: tuple, got: object) -> Fault | None:
        if not isinstance(got, dict) or set(got) != set(keys):
            return Fault(f"Give a dict with the keys {', '.join(map(repr, keys))}.", got=got)
        for key in keys:
            given = got[key]
            if not isinstance(given, str | bool) or _plain(given) not in known:
                return Fault(f"{key}: answer {' or '.join(map(repr, allowed))}, not {given!r}.", got=got)
            if right and known[_plain(given)] != right[key]:
                return Fault(f"{key}: {says[key]}", got=got)
        return None

    return verify


def _plain(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value
