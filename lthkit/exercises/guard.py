"""Calling a reader's function safely: on copies, under a time limit, with the notebook's random numbers untouched."""

import copy
import ctypes
import linecache
import math
import random
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import numpy as np
import torch
from torch import Tensor, nn


class Crashed(Exception):
    """The reader's function raised.  where: the line of theirs that did."""

    def __init__(self, error: BaseException, where: str):
        super().__init__(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        self.where = where


class Endless(Exception):
    """The reader's function did not return within the limit."""

    def __init__(self, seconds: float, where: str):
        super().__init__(f"still running after {seconds:.0f} s")
        self.where = where


class _Stop(BaseException):
    """Thrown into a thread that ran out of time.  No `except Exception` catches it."""


def limited(work: Callable[[], object], seconds: float, files: tuple[str, ...] = ()) -> object:
    """What `work()` returns; raises what it raises, or `Endless` after `seconds`.

    files: where the reader's code stands, for the line named in `Endless`.  The work runs in a thread of its own, which
    is stopped then.  Only a call that never comes back to Python, inside compiled code, cannot be stopped.
    """
    outcome: dict[str, object] = {}
    done = threading.Event()

    def run() -> None:
        try:
            outcome["value"] = work()
        except BaseException as error:  # noqa: BLE001 (whatever it is, it belongs to the caller)
            outcome["error"] = error
        finally:
            done.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        in_time = done.wait(seconds)
    except KeyboardInterrupt:  # after it, thread.is_alive() is not to be trusted
        _stop(thread, done)
        raise
    if not in_time:
        where = _line(_stack(sys._current_frames().get(thread.ident)), files)
        _stop(thread, done)
        raise Endless(seconds, where)
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]


def call(function: Callable, args: tuple) -> object:
    """`function(*args)`; whatever it raises becomes `Crashed`, with the line of the reader's code that raised."""
    try:
        return function(*args)
    except _Stop:
        raise
    except BaseException as error:  # noqa: BLE001 (a reader's function may call exit())
        frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
        raise Crashed(error, _line(frames, (home(function),))) from None


def home(function: Callable) -> str:
    """The file, or the notebook cell, that defines `function`."""
    return getattr(getattr(function, "__code__", None), "co_filename", "")


def copied(value):
    """A deep copy.  Generators of torch continue where the original stands.

    Copies of parameters, and of tensors that need gradients, know theirs as `original`: a new one does not.
    """
    if isinstance(value, torch.Generator):
        return value.clone_state()
    if isinstance(value, tuple | list):
        return type(value)(copied(part) for part in value)
    if isinstance(value, dict):
        return {key: copied(part) for key, part in value.items()}
    result = copy.deepcopy(value)
    if isinstance(value, nn.Module):  # deepcopy leaves out the gradients
        for old, new in zip(value.parameters(), result.parameters(), strict=True):
            new.grad = None if old.grad is None else old.grad.clone()
            new.original = old
    if isinstance(value, Tensor) and value.requires_grad:
        result.original = value
    return result


def alike(a, b) -> bool:
    """Whether two outcomes are equal to the last bit: types, shapes, dtypes and values; NaN equals NaN."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        return torch.equal(a, b) or bool(((a == b) | (a.isnan() & b.isnan())).all())
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and alike(torch.as_tensor(a), torch.as_tensor(b))
    if isinstance(a, nn.Module) and isinstance(b, nn.Module):
        return alike(dict(a.state_dict()), dict(b.state_dict())) and _mode(a) == _mode(b)
    if isinstance(a, torch.Generator) and isinstance(b, torch.Generator):
        return torch.equal(a.get_state(), b.get_state())
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(alike(x, y) for x, y in zip(a, b, strict=True))
    both_nan = isinstance(a, float) and math.isnan(a) and math.isnan(b)
    return a is b or both_nan or bool(a == b)


def _mode(model):
    return [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Global random numbers start from `seed` inside, and go on outside as if nothing had happened."""
    states = torch.default_generator.get_state(), np.random.get_state(), random.getstate()
    torch.default_generator.manual_seed(seed % 2**63)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch inside: small tensors gain nothing by more, and on a busy machine wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _stack(frame: FrameType | None) -> list[tuple[str, int]]:
    frames = []
    while frame is not None:
        frames.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return frames[::-1]


def _line(frames: list[tuple[str, int]], files: tuple[str, ...]) -> str:
    """The innermost line that stands in one of `files`, as text; empty where there is none."""
    own = [linecache.getline(file, number).strip() for file, number in frames if file in files]
    return own[-1] if own else ""


def _stop(thread: threading.Thread, done: threading.Event) -> None:
    """For at most half a second: code that catches everything, or that never comes back to Python, runs on."""
    for _ in range(10):
        if done.is_set():
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_Stop))
        done.wait(0.05)
