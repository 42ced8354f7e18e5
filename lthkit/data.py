"""Data sets held in memory as tensors, split once into train, validation and test."""

import hashlib
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from lthkit.checks import check_count, lookup
from lthkit.streams import stream


@dataclass(frozen=True)
class Dataset:
    """Images [N, C, H, W], float32 in [0, 1], with labels [N], int64, in three fixed parts.

    Train on the first part, decide on the second (early stopping, a kept share), report on the third.
    """

    name: str
    classes: int
    train_x: Tensor
    train_y: Tensor
    val_x: Tensor
    val_y: Tensor
    test_x: Tensor
    test_y: Tensor

    @classmethod
    def from_tensors(cls, name, train, val, test, classes: int | None = None) -> "Dataset":
        """Build a data set from three pairs (images [N, C, H, W], labels [N]).

        Integer images are divided by 255, bool ones are 0 and 1.  `classes` defaults to the highest label + 1.
        The tensors are copied.
        Raises ValueError, naming the part, for a wrong shape, unequal lengths, values outside [0, 1], NaN, integer
        images of 0 and 1, which could mean either, or a label outside 0 … classes − 1.
        """
        parts = {"train": train, "val": val, "test": test}
        if classes is None:
            classes = 1 + max((int(torch.as_tensor(y).max()) for _, y in parts.values() if len(y)), default=0)
        check_count("classes", classes, 1)
        tensors = {}
        for part, (x, y) in parts.items():
            x, y = torch.as_tensor(x), torch.as_tensor(y)
            whole = not x.is_floating_point() and x.dtype != torch.bool
            if whole and x.numel() and x.max() == 1:
                remedy = "Give bool ones, or divide them"
                raise ValueError(f"{part}: integer images of 0 and 1, of 255 or of 1 at most? {remedy}")
            x = x.float() / 255 if whole else x.to(torch.float32, copy=True)
            _check_part(part, x, y, classes)
            tensors[f"{part}_x"], tensors[f"{part}_y"] = (x.contiguous(), y.to(torch.int64, copy=True).contiguous())
        shapes = {tuple(tensors[f"{part}_x"].shape[1:]) for part in parts}
        if len(shapes) > 1:
            raise ValueError(f"train, val and test images differ in shape: {sorted(shapes)}")
        return cls(name=name, classes=int(classes), **tensors)

    @classmethod
    def from_npz(cls, path: str | Path, val: int = 5_000) -> "Dataset":
        """Build a data set from the arrays of a file that NumPy's `savez` wrote, named as the file is.

        Keys: train_x, train_y, test_x, test_y, and, where they were set apart, val_x, val_y; without these, `val`
        training images become the validation part, stratified by class and always the same.
        Images are [N, H, W], or have a third axis of 1 or 3 channels: [N, C, H, W] or [N, H, W, C].
        Raises FileNotFoundError, or ValueError, naming file and key, for what is missing or does not fit; see also
        `from_tensors`.
        """
        path, parts = Path(path), {}
        try:
            with _archive(path) as file:
                given = [part for part in ("train", "val", "test") if part != "val" or {"val_x", "val_y"} & {*file}]
                for key in (f"{part}_{what}" for part in given for what in "xy"):
                    if key not in file:
                        raise ValueError(f"it has no {key}, but {', '.join(file) or 'nothing'}: save it under that key")
                    parts[key] = _numbers(key, file)
            pairs = {part: (_channels(part, parts[f"{part}_x"]), parts[f"{part}_y"]) for part in given}
            if "val" not in pairs:
                x, y = pairs["train"]
                if len(x) != len(y):
                    raise ValueError(f"train: {len(x)} images but labels of shape {tuple(y.shape)}")
                pairs["train"], pairs["val"] = _hold_out(x, y, val, 0)
            return cls.from_tensors(path.stem, *(pairs[part] for part in ("train", "val", "test")))
        except (ValueError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ValueError(f"{path} is no data set: {_line(error)}") from error

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return tuple(self.train_x.shape[1:])

    def to(self, device=None, dtype=None) -> "Dataset":
        """The same data on another device; images (not labels) in another floating dtype."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        kinds = {name: dtype if value.is_floating_point() else None for name, value in tensors.items()}
        return replace(self, **{name: value.to(device=device, dtype=kinds[name]) for name, value in tensors.items()})

    def __repr__(self) -> str:
        sizes = " / ".join(f"{len(y):,}" for y in (self.train_y, self.val_y, self.test_y))
        shape = "×".join(map(str, self.image_shape))
        return f"Dataset({self.name!r}: {sizes} images of {shape} in train / val / test, {self.classes} classes)"


def _check_part(part: str, x: Tensor, y: Tensor, classes: int) -> None:
    if x.dim() != 4:
        raise ValueError(f"{part}: images must be [N, C, H, W], got shape {tuple(x.shape)}")
    if y.shape != x.shape[:1]:
        raise ValueError(f"{part}: {len(x)} images but labels of shape {tuple(y.shape)}")
    if len(x) == 0:
        raise ValueError(f"{part}: no images")
    if x.numel() == 0:
        raise ValueError(f"{part}: images have no pixels: shape {tuple(x.shape)}")
    if not (x.amin() >= 0 and x.amax() <= 1):  # also false for NaN
        raise ValueError(f"{part}: images must lie in [0, 1], got {x.amin().item():.4g} … {x.amax().item():.4g}")
    if y.is_floating_point() or y.dtype == torch.bool:
        raise ValueError(f"{part}: labels must be integers, got {y.dtype}")
    if y.min() < 0 or y.max() >= classes:
        raise ValueError(f"{part}: labels must lie in 0 … {classes - 1}, got {y.min().item()} … {y.max().item()}")


def _archive(path: Path):
    """An open file of several arrays, with no Python objects among them."""
    try:
        file = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):  # it looks like a pickle, or is empty
        file = None
    if not hasattr(file, "files"):
        raise TypeError("it is no archive of arrays with names: write it with numpy.savez")
    return file


def _numbers(key: str, file) -> Tensor:
    """One of its arrays, in a type that torch has."""
    try:
        array = file[key]
    except ValueError:
        raise ValueError(f"{key} holds Python objects: save numbers") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{key} holds {array.dtype}: save numbers")
    wide = array.dtype.kind in "iu" and array.dtype.itemsize > 1  # not all of these kinds are torch's
    return torch.from_numpy(array.astype(np.int64 if wide else array.dtype.newbyteorder("="), copy=False))


def _channels(part: str, x: Tensor) -> Tensor:
    """Images [N, H, W], [N, C, H, W] or [N, H, W, C] as [N, C, H, W]; C is 1 or 3."""
    if x.dim() == 3:
        return x.unsqueeze(1)
    first, last = (x.dim() == 4 and x.shape[axis] in (1, 3) for axis in (1, 3))
    if first == last:
        found = f"{part}_x has the shape {tuple(x.shape)}, which does not tell where its channels are"
        raise ValueError(f"{found}: save [N, C, H, W] with 1 or 3 channels, or call Dataset.from_tensors")
    return x if first else x.permute(0, 3, 1, 2)


Loader = Callable[[int, Path, bool], Dataset]  # (split, root, download)


def load(
    name: str, split: int = 0, subset: int | None = None, root: str | Path = "data", download: bool = False
) -> Dataset:
    """Load a data set by name, the whole of it as tensors in memory.

    name: one of `DATASETS`.  "digits": 1,797 real handwritten digits of 8×8 pixels that come with scikit-learn (no
    network), as 1,197 / 200 / 400 images.  "mnist", "fashion_mnist", "cifar10": read by torchvision, their published
    test images and 5,000 of their training images for validation.  A division is stratified by class and never changes.
    split: 0 is the division above; any other number divides all images anew, published test images too, into parts
    of the same sizes.
    subset: so many training images in place of all, stratified, always the same for a split; a larger subset holds the
    smaller ones.  Validation and test images stay.
    root: where torchvision's files are, in its own layout.  download: fetch missing files there first.
    Files whose contents are not the published ones are read, with a warning: results would not be of that data set.
    The `.name` of another split or a subset says so, for scopes: "digits, split 3", "mnist, 600 training images".
    Raises ValueError for an unknown name, a split or subset out of range or a damaged file, FileNotFoundError for
    missing files, ConnectionError if a download fails, and ImportError for a torchvision that is missing or does not
    match torch.
    """
    loader = lookup("data set", name, DATASETS)
    check_count("split", split, 0)
    data = loader(split, Path(root), download)
    if split:
        data = replace(data, name=f"{data.name}, split {split}")
    return data if subset is None else _subset(data, subset, split)


def _subset(data: Dataset, count: int, split: int) -> Dataset:
    """`data` with `count` of its training images, in their order."""
    check_count("subset", count, data.classes)
    size = len(data.train_y)
    if count > size:
        more = f"more than the {size:,} training images of {data.name}"
        raise ValueError(f"subset {count:,} is {more}: take fewer, or None")
    order = torch.randperm(size, generator=stream(split, "sample"))
    labels = data.train_y[order]
    rank = one_hot(labels).cumsum(0).gather(1, labels[:, None])[:, 0]  # [N]: 1, 2, … within a class
    place = (rank.double() - 0.5) / labels.bincount()[labels]  # in the line of its class, from 0 to 1
    chosen = order[place.argsort(stable=True)[:count]].sort().values
    name = f"{data.name}, {count:,} training images"
    return replace(data, name=name, train_x=data.train_x[chosen], train_y=data.train_y[chosen])


def _digits(split: int, root: Path, download: bool) -> Dataset:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    return Dataset.from_tensors("digits", *_divide(images, torch.tensor(labels), split, 200, 400), classes=10)


def _from_torchvision(name: str, split: int, root: Path, download: bool) -> Dataset:
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError, AttributeError) as error:
        # A torchvision built for another torch fails while it registers its operators.
        needs = f"{name} needs a torchvision that matches torch {torch.__version__}"
        found = f"{type(error).__name__}: {_line(error)}"
        raise ImportError(f"{needs} ({found}): install both in one pip command") from error
    kind = getattr(datasets, TORCHVISION[name])
    parts = []
    for train in (True, False):
        part = _read(name, kind, root, train, download)
        images, labels = torch.as_tensor(part.data), torch.as_tensor(part.targets)
        images = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2)  # [N, C, H, W]
        if len(images) != len(labels):
            raise _damaged(name, kind, root, f"{len(images)} images but {len(labels)} labels")
        parts.append((images, labels))
    if len(parts[0][0]) <= HELD_OUT:
        raise _damaged(name, kind, root, f"only {len(parts[0][0])} training images")
    if name in PUBLISHED and _fingerprint(raw := Path(part.raw_folder).resolve()) != PUBLISHED[name]:
        told = f"{name} in {raw} holds other files than published: results may not be those of {name}"
        warnings.warn(told, stacklevel=3)
    if split:
        images, labels = (torch.cat(both) for both in zip(*parts, strict=True))
        return Dataset.from_tensors(name, *_divide(images, labels, split, HELD_OUT, len(parts[1][1])), classes=10)
    train, val = _hold_out(*parts[0], HELD_OUT, split)
    return Dataset.from_tensors(name, train, val, parts[1], classes=10)


def _read(name: str, kind: type, root: Path, train: bool, download: bool):
    """One part as torchvision reads it.  Files that are there are read first: only missing ones are downloaded."""
    try:
        return kind(root, train=train)
    except Exception as error:
        if not isinstance(error, RuntimeError) or not str(error).startswith("Dataset not found"):
            raise _damaged(name, kind, root, error) from error
        if not download:
            remedy = "load it once with download=True, or set root to where it is"
            raise FileNotFoundError(f"no complete {name} under {root.resolve()}: {remedy}") from error
    try:
        return kind(root, train=train, download=True)
    except (OSError, RuntimeError) as error:  # URLError among them
        failed = f"could not download {name} to {root.resolve()} ({_line(error)})"
        raise ConnectionError(f"{failed}: check the network and the folder, then load it again") from error
    except Exception as error:
        raise _damaged(name, kind, root, error) from error


def _fingerprint(raw: Path) -> str:
    """Of the four unpacked files of a set in MNIST's format, one after the other."""
    found = hashlib.sha256()
    for file in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        found.update((raw / f"{file}-ubyte").read_bytes())
    return found.hexdigest()


def _damaged(name: str, kind: type, root: Path, error) -> ValueError:
    folder = root.resolve() / getattr(kind, "base_folder", kind.__name__)  # of this data set alone
    remedy = "delete that folder and load it with download=True"
    return ValueError(f"{name} in {folder} is damaged ({_line(error)}): {remedy}")


def _line(error) -> str:
    """What an error says, in one line; its name where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def _divide(x: Tensor, y: Tensor, split: int, val: int, test: int):
    """Three pairs (images, labels): train, `val` examples and `test` examples."""
    rest, test_pair = _hold_out(x, y, test, split)
    return *_hold_out(*rest, val, split), test_pair


def _hold_out(x: Tensor, y: Tensor, count: int, split: int):
    """((x, y) of the rest, (x, y) of `count` examples), stratified by class and always the same for a split."""
    from sklearn.model_selection import train_test_split

    rest, held = train_test_split(range(len(y)), test_size=count, stratify=y.numpy(), random_state=split)
    return (x[rest], y[rest]), (x[held], y[held])


HELD_OUT = 5_000
TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10"}
PUBLISHED = {  # by `_fingerprint`; torchvision itself compares the unpacked files of CIFAR-10 with checksums
    "mnist": "b2d8f5bf39174ee5ffeefa97e42d673c35432b411bb5d1f74fbbeddae7f1690a",
    "fashion_mnist": "14410854cf7a289477dcfc7df3f8ec24741e281cdcc425ede0d9a748ca630214",
}
DATASETS: dict[str, Loader] = {"digits": _digits} | {name: partial(_from_torchvision, name) for name in TORCHVISION}
