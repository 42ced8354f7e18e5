"""Data sets held in memory as tensors, split once into train, validation and test."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


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

        Integer images are divided by 255.  `classes` defaults to the highest label + 1.
        Raises ValueError, naming the part, for a wrong shape, unequal lengths, values outside [0, 1], NaN, or a label
        outside 0 … classes − 1.
        """
        parts = {"train": train, "val": val, "test": test}
        if classes is None:
            classes = 1 + max(int(torch.as_tensor(y).max()) for _, y in parts.values() if len(y))
        tensors = {}
        for part, (x, y) in parts.items():
            x, y = torch.as_tensor(x), torch.as_tensor(y)
            x = x.float() if x.is_floating_point() else x.float() / 255
            _check_part(part, x, y, classes)
            tensors[f"{part}_x"], tensors[f"{part}_y"] = x.contiguous(), y.long().contiguous()
        shapes = {tuple(tensors[f"{part}_x"].shape[1:]) for part in parts}
        if len(shapes) > 1:
            raise ValueError(f"train, val and test images differ in shape: {sorted(shapes)}")
        return cls(name=name, classes=int(classes), **tensors)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return tuple(self.train_x.shape[1:])

    def to(self, device=None, dtype=None) -> "Dataset":
        """The same data on another device; images (not labels) in another floating dtype."""
        moved = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                moved[field.name] = value.to(device=device, dtype=dtype if value.is_floating_point() else None)
        return replace(self, **moved)

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
    if not (x.amin() >= 0 and x.amax() <= 1):  # also false for NaN
        raise ValueError(f"{part}: images must lie in [0, 1], got {x.amin().item():.4g} … {x.amax().item():.4g}")
    if y.is_floating_point() or y.dtype == torch.bool:
        raise ValueError(f"{part}: labels must be integers, got {y.dtype}")
    if y.min() < 0 or y.max() >= classes:
        raise ValueError(f"{part}: labels must lie in 0 … {classes - 1}, got {y.min().item()} … {y.max().item()}")


def load(name: str) -> Dataset:
    """Load a data set by name.

    "digits": 1,797 real handwritten digits of 8×8 pixels that come with scikit-learn (no network), as
    1,197 / 200 / 400 images, stratified by class; the split never changes.
    Raises ValueError for an unknown name.
    """
    if name not in LOADERS:
        raise ValueError(f"unknown data set {name!r}: known are {', '.join(sorted(LOADERS))}")
    return LOADERS[name]()


def _digits() -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    rest, test, rest_y, test_y = train_test_split(images, labels, test_size=400, stratify=labels, random_state=0)
    train, val, train_y, val_y = train_test_split(rest, rest_y, test_size=200, stratify=rest_y, random_state=0)

    def part(x, y):
        return torch.tensor(x / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(y, dtype=torch.int64)

    return Dataset.from_tensors("digits", part(train, train_y), part(val, val_y), part(test, test_y), classes=10)


LOADERS = {"digits": _digits}
