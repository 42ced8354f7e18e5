"""Comparing an answer with what was expected, and writing both in short.

`number` and `options` make the `verify` of answers that are values.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Fault:
    """Why an answer is wrong.  mistake: the likely one, a sentence to the reader.  expected, got: shown where given."""

    mistake: str
    expected: object = None
    got: object = None


def compare(expected, got, what: str = "Your function") -> Fault | None:
    """A fault where `got` is not `expected`: in type, shape, dtype or value (floats to 1e-5 relative).

    Arrays and lists count as tensors, other float and integer widths as the same.
    """
    if isinstance(expected, nn.Module) and isinstance(got, nn.Module):
        expected, got = dict(expected.state_dict()), dict(got.state_dict())
    if isinstance(expected, tuple | list):
        if isinstance(got, Tensor | np.ndarray) and got.ndim and len(got) == len(expected):
            got = tuple(got)
        if isinstance(got, tuple | list) and len(got) != len(expected):
            return Fault(f"{what} returns {len(got)} values, not {len(expected)} values.", expected, got)
        if not isinstance(got, tuple | list):
            return Fault(f"{what} returns {kind_of(got)}, not {len(expected)} values.", expected, got)
        faults = (compare(e, g, what) for e, g in zip(expected, got, strict=True))
        return next((fault for fault in faults if fault), None)
    if isinstance(expected, dict):
        if not isinstance(got, dict) or set(got) != set(expected):
            return Fault(f"{what} returns {kind_of(got)}, not a dict with the keys {list(expected)}.", expected, got)
        return next((fault for key in expected if (fault := compare(expected[key], got[key], what))), None)
    if isinstance(expected, str | type(None)):
        return None if got == expected else Fault(f"{what} gives another answer than expected.", expected, got)
    if fault := form(expected, got, what):
        return fault
    want, have = torch.as_tensor(expected), torch.as_tensor(got).detach()
    if want.dtype == torch.bool:
        same = torch.equal(have, want)
    else:
        same = torch.allclose(have.double(), want.double(), rtol=1e-5, atol=1e-6, equal_nan=True)
    return None if same else Fault(f"{what} returns other values than expected.", expected, got)


def form(expected, got, what: str = "Your function") -> Fault | None:
    """A fault where `got` is no tensor (array, list, number) of the shape of `expected`, or bool where that is not."""
    try:
        want, have = torch.as_tensor(expected), torch.as_tensor(got)
    except (TypeError, ValueError, RuntimeError):
        return Fault(f"{what} returns {kind_of(got)}, not {kind_of(expected)}.", expected, got)
    if have.shape != want.shape:
        shapes = f"the shape {tuple(have.shape)}, not {tuple(want.shape)}"
        return Fault(f"{what} returns a result of {shapes}.", expected, got)
    if (have.dtype == torch.bool) != (want.dtype == torch.bool):
        return Fault(f"{what} returns {have.dtype}, not {want.dtype}.", expected, got)
    return None


def is_number(value: object) -> bool:
    """Whether it is one number, of Python or NumPy: no truth value, no NaN."""
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


def number(low: float, high: float, what: str) -> Callable[[tuple, object], Fault | None]:
    """Any number from low to high will do.  what: it counts, as in "points"."""

    def verify(args: tuple, got: object) -> Fault | None:
        if not is_number(got):
            return Fault(f"Give one number of {what}.", got=got)
        return None if low <= got <= high else Fault(f"{got:g} {what}? Guess from {low:g} to {high:g}.", got=got)

    return verify


def options(
    keys: Sequence[str], allowed: tuple, right: dict | None = None, says: dict[str, str] | None = None
) -> Callable[[tuple, object], Fault | None]:
    """A dict with one of the allowed values for each key; in text, upper and lower case are the same.

    right: the answers, with what is said where one is wrong, by key.  Without them every allowed value will do.
    """
    known = {plain(value): value for value in allowed}

    def verify(args: tuple, got: object) -> Fault | None:
        if not isinstance(got, dict) or set(got) != set(keys):
            return Fault(f"Give a dict with the keys {', '.join(map(repr, keys))}.", got=got)
        for key in keys:
            given = got[key]
            if not isinstance(given, str | bool | np.bool_) or plain(given) not in known:
                return Fault(f"{key}: answer {' or '.join(map(repr, allowed))}, not {given!r}.", got=got)
            if right and known[plain(given)] != right[key]:
                return Fault(f"{key}: {says[key]}", got=got)
        return None

    return verify


def show(value) -> str:
    """A value in short, for a counterexample.  Text stays as it is."""
    if isinstance(value, str):
        return value
    if isinstance(value, Tensor | np.ndarray):
        values = torch.as_tensor(value).detach()
        if values.numel() > 30:
            return f"{kind_of(value)} of shape {tuple(values.shape)}"
        return str(_rounded(values.tolist()))
    if isinstance(value, tuple | list):
        return f"({', '.join(map(show, value))})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {show(part)}" for key, part in value.items()) + "}"
    if isinstance(value, torch.Generator):
        return f"a torch.Generator seeded with {value.initial_seed()}"
    if isinstance(value, nn.Module):
        return " ".join(repr(value).split())
    return str(_rounded(value)) if isinstance(value, float) else repr(value)


def kind_of(value) -> str:
    """What a value is, with its article: "a float32 tensor"."""
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor"
    if isinstance(value, np.ndarray):
        return f"a {value.dtype} array"
    name = type(value).__name__
    return f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"


def _rounded(value):
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def plain(value: object) -> object:
    """An answer as it is compared: text in lower case, without spaces around it."""
    return value.strip().lower() if isinstance(value, str) else value
