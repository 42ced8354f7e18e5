"""What is kept on disk: one kind of file for all, with a header and a checksum, written whole or not at all.

No other module opens a file for writing.  A file is safetensors, which any of its tools can read; the header says what
the file holds (`kind`) and how (`format`), and its `sha256` is that of the whole file with the digest's own 64 digits
as zeros, so that no bit can change unseen.  Later formats keep this rule: it tells a newer file from a damaged one.

Files of format 1 had no checksum, and no header but the `order` of their tensors.
"""

import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

FORMAT = 2
BLANK = b"0" * 64
DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')  # JSON escapes the quotes of every name and text: only the key fits


def write(path: str | Path, kind: str, tensors: dict[str, Tensor], head: dict | None = None) -> None:
    """Write tensors, in their order, and a head of plain values to one file.

    kind: what the file holds; `read` asks for the same.  head: dicts and lists of text, numbers, bool and None.
    Raises ValueError that names the entry of the head that JSON cannot hold, OSError that names `path`.
    """
    head = head or {}
    for name, value in head.items():
        _check_json(name, value)
    header = {"format": str(FORMAT), "kind": kind, "head": json.dumps(head, sort_keys=True, separators=(",", ":"))}
    header |= {"names": json.dumps(list(tensors)), "sha256": BLANK.decode()}  # names: the format sorts its tensors
    # Copies: the format refuses two tensors in one storage, and one that is not contiguous.
    apart = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    blob = safetensors.torch.save(apart, header)
    at = _place(blob)
    _put(path, memoryview(blob)[: at.start], _sum(blob, at), memoryview(blob)[at.stop :])


def read(path: str | Path, kind: str, old: bool = False) -> tuple[dict, dict[str, Tensor]]:
    """The head and the tensors, in their order, of a file that `write` wrote.

    old: a file of format 1 is read too; its head is {}.
    Raises FileNotFoundError, or ValueError for a file that is damaged, of another kind or of a newer format.
    """
    blob = Path(path).read_bytes()
    at = _place(blob)
    if at is None and old:
        return {}, read_1(path)
    if at is None or blob[at] != _sum(blob, at):
        raise ValueError(f"{path} is damaged, or no file of lthkit: save it again, or take another copy")
    size = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + size])["__metadata__"]
    if header["format"] != str(FORMAT):
        raise ValueError(f"{path} has format {header['format']}, this lthkit reads up to {FORMAT}: update lthkit")
    if header["kind"] != kind:
        raise ValueError(f"{path} holds {header['kind']}, not {kind}: load it as what it is, or give another path")
    tensors = safetensors.torch.load(blob)
    return json.loads(header["head"]), {name: tensors[name] for name in json.loads(header["names"])}


def read_1(path: str | Path) -> dict[str, Tensor]:
    """The tensors, in their order, of a file of format 1.

    Raises FileNotFoundError, or ValueError for a damaged file and for one with a header of any other kind: a file of
    format 2 stays one, whichever of its bits is wrong.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            header = file.metadata() or {}
            if others := header.keys() - {"order"}:
                raise ValueError(f"its header holds {sorted(others)}")
            return {name: file.get_tensor(name) for name in json.loads(header.get("order", "null")) or file.keys()}
    except (safetensors.SafetensorError, ValueError, TypeError) as error:
        message = f"{path} is damaged, or no file of lthkit ({error}): save it again, or take another copy"
        raise ValueError(message) from None


def pack(**parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Dicts of tensors as one: {"part/name": tensor}."""
    return {f"{part}/{name}": value for part, tensors in parts.items() for name, value in tensors.items()}


def unpack(part: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """One of the dicts that `pack` made one."""
    return {name.removeprefix(f"{part}/"): value for name, value in tensors.items() if name.startswith(f"{part}/")}


def fingerprint(tensors: dict[str, Tensor]) -> str:
    """32 hex digits that tell these tensors, under these names, from any others."""
    found = hashlib.sha256()
    for name, value in tensors.items():
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return found.hexdigest()[:32]


def write_text(path: str | Path, text: str) -> None:
    """Write all of a text, in UTF-8, or nothing.  Raises OSError that names `path`."""
    _put(path, text.encode())


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A folder beside `path` to write into, which becomes `path` at the end; an error removes it.

    Raises FileExistsError if there is something at `path`, at the beginning or at the end; OSError that names `path`.
    """
    path = Path(path)
    with _beside(path) as part:
        _check_free(path)
        part.mkdir(parents=True)
        yield part
        _check_free(path)  # a rename would replace an empty folder
        part.rename(path)


def _put(path: str | Path, *pieces: bytes | memoryview) -> None:
    with _beside(Path(path)) as part:
        with open(part, "wb") as file:  # unlike those of `tempfile`, with the mode that the umask asks for
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the new name on an empty file
        part.replace(path)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A free place beside `path`, cleared at the end; what dead processes left there goes, errors name `path`."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with suppress(OSError):
            _clean(path)
        yield part
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error  # errno gives the subclass
    finally:
        _remove(part)


def _clean(path: Path) -> None:
    for other in path.parent.iterdir():
        found = re.fullmatch(rf"\.{re.escape(path.name)}\.(\d+)\.part", other.name)
        if found and not _lives(int(found[1])):
            _remove(other)


def _lives(pid: int) -> bool:
    """Whether another process has this number.  Ours is taken for dead: its last owner may have left something."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return pid != os.getpid()


def _remove(path: Path) -> None:
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _check_free(path: Path) -> None:
    if path.exists():
        raise FileExistsError(errno.EEXIST, "exists: choose another folder, or delete it first", str(path))


def _place(blob: bytes) -> slice | None:
    """Where the header holds its digest."""
    found = DIGEST.search(blob, 8, min(8 + int.from_bytes(blob[:8], "little"), len(blob)))
    return slice(*found.span(1)) if found else None


def _sum(blob: bytes, at: slice) -> bytes:
    """The digest of the content, as if zeros stood in its own place."""
    found = hashlib.sha256(memoryview(blob)[: at.start])
    found.update(BLANK)
    found.update(memoryview(blob)[at.stop :])
    return found.hexdigest().encode()


def _check_json(place: str, value: object) -> None:
    """Raises ValueError that names the place of what JSON would refuse or change."""
    if isinstance(value, dict) and (others := [key for key in value if not isinstance(key, str)]):
        raise ValueError(f"{place} cannot be saved: its keys {others} are no text")
    if isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            _check_json(f"{place}.{key}", part)
    elif not isinstance(value, str | int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{place} cannot be saved: {value!r} is no text, finite number, bool or None")
