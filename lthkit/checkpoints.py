"""Folders in which a long call keeps what it has done, so that the same call goes on from there."""

import hashlib
import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from pathlib import Path

import torch
from torch import Tensor

from lthkit import files
from lthkit.data import Dataset
from lthkit.networks import Network

EVERY = 30.0  # seconds between two times that a fit writes its steps


class Checkpoint:
    """A folder that belongs to one call.

    folder: made where it is missing.  call: all that decides what the call does, by name, less the number of threads.
    Raises ValueError, naming what differs, for a folder of another call, and for one that holds other files.
    """

    def __init__(self, folder: str | Path, **call):
        self.folder, self.prefix = Path(folder), ""
        call = {name: describe(value) for name, value in call.items()} | {"threads": torch.get_num_threads()}
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "call.safetensors"
        if not path.exists():
            if any(not other.name.startswith(".") for other in self.folder.iterdir()):
                raise ValueError(f"{folder} holds files, but no checkpoint: choose an empty folder")
            files.write(path, "call", {}, call)
        made_by = files.read(path, "call")[0]
        for name in made_by | call:
            theirs, ours = made_by.get(name), call.get(name)
            if theirs != ours:
                raise ValueError(
                    f"{folder} is the checkpoint of another call: its {name} is {theirs}, here {ours}; choose another "
                    "folder, or delete it"
                )

    def within(self, prefix: str) -> "Checkpoint":
        """The same folder for a part of the call: its files' names begin with `prefix`."""
        part = object.__new__(Checkpoint)
        part.folder, part.prefix = self.folder, f"{self.prefix}{prefix}-"
        return part

    def steps(self, replicates: slice) -> "Steps":
        """Where the steps of some replicates are kept."""
        return Steps(self.folder / f"{self.prefix}steps-{replicates.start}-{replicates.stop}.safetensors")

    def clear(self) -> None:
        """Forget the steps: what they led to is written."""
        for path in self.folder.glob(f"*{self.prefix}steps-*"):  # half-written ones too
            path.unlink()


class Steps:
    """The state of one loop, in one file; written where the last time lies `EVERY` seconds back."""

    def __init__(self, path: Path):
        self.path, self.last, self.written = path, time.monotonic(), path.exists()

    def read(self) -> tuple[dict, dict[str, Tensor]] | None:
        """(head, tensors), or None if there are no steps yet."""
        return files.read(self.path, "steps") if self.written else None

    def write(self, state: Callable[[], tuple[dict, dict[str, Tensor]]], at_the_end: bool) -> None:
        """Write state() if it is time to; at the end, if steps were written before."""
        if self.written if at_the_end else time.monotonic() - self.last >= EVERY:
            head, tensors = state()
            files.write(self.path, "steps", tensors, head)
            self.last, self.written = time.monotonic(), True


def describe(value: object) -> object:
    """A value as JSON holds it, equal for equal values; functions and classes by the hash of their source.

    Raises ValueError for a function whose source cannot be read.
    """
    if isinstance(value, Dataset):
        return [value.name, files.fingerprint({n: v for n, v in vars(value).items() if isinstance(v, Tensor)})]
    if isinstance(value, Network):
        factory = getattr(value, "factory", None)
        return describe([type(value), value.name, value.shapes, value.rates] + ([factory] if factory else []))
    if isinstance(value, Tensor):
        return files.fingerprint({"": value})
    if is_dataclass(value) and not isinstance(value, type):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(key): describe(part) for key, part in value.items()}
    if callable(value):
        # A notebook keeps the source of functions, but not of classes.
        parts = [part for part in vars(value).values() if inspect.isfunction(part)] if isinstance(value, type) else []
        try:
            source = "".join(inspect.getsource(part) for part in parts or [value])
        except (OSError, TypeError):
            remedy = "define it in a file"
            raise ValueError(f"a checkpoint needs the source of {value!r}, which cannot be read: {remedy}") from None
        return f"{getattr(value, '__name__', type(value).__name__)} {hashlib.sha256(source.encode()).hexdigest()[:16]}"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [describe(part) for part in value]
    return value.item() if hasattr(value, "item") else value
