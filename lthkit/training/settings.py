"""`Settings`: how a stack is trained, checked when it is made."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from numbers import Real
from operator import index

from lthkit.checks import check_count, lookup
from lthkit.data import Dataset
from lthkit.training.optimizers import OPTIMIZERS


@dataclass(frozen=True)
class Settings:
    """How a stack is trained.  A misspelt setting, or one out of range, is refused before anything is trained.

    epochs: passes over the training images; the last batch of one may be smaller.
    iterations: exactly so many steps, in place of epochs.
    batch_size: images a step, for each replicate.
    optimizer: a name from `OPTIMIZERS`: "adam" (weight decay as L2), "adamw" or "sgd".
    lr: learning rate.
    momentum: SGD's, and Adam's first beta.
    weight_decay: 0 leaves it out.
    lr_schedule: lr_schedule(i) multiplies lr in iteration i = 0, 1, …; lambda i: min(1, (i + 1) / 500) warms up.
    eval_every: iterations between checks, by default one epoch; the start and the end are always checked.
    test_curve: measure test accuracy at each check, not only at both ends and at the early stop.
    order_seeds: seeds of the batch order, one a replicate, where it is to differ from the run's; they may repeat.
    """

    epochs: int = 10
    iterations: int | None = None
    batch_size: int = 60
    optimizer: str = "adam"
    lr: float = 1.2e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    lr_schedule: Callable[[int], float] | None = None
    eval_every: int | None = None
    test_curve: bool = False
    order_seeds: Iterable[int] | None = None

    def __post_init__(self):
        check_count("epochs", self.epochs, 0)
        check_count("batch_size", self.batch_size, 1)
        if self.iterations is not None:
            check_count("iterations", self.iterations, 0)
        if self.eval_every is not None:
            check_count("eval_every", self.eval_every, 1)
        lookup("optimizer", self.optimizer, OPTIMIZERS)
        _check_number("lr", self.lr, "be a positive number", lambda value: 0 < value < math.inf)
        _check_number("momentum", self.momentum, "lie in [0, 1)", lambda value: 0 <= value < 1)
        _check_number("weight_decay", self.weight_decay, "not be negative", lambda value: 0 <= value < math.inf)
        if self.lr_schedule is not None and not callable(self.lr_schedule):
            raise ValueError(f"lr_schedule must be a function of the iteration, got {self.lr_schedule!r}")
        if self.order_seeds is not None:
            object.__setattr__(self, "order_seeds", tuple(index(seed) for seed in self.order_seeds))
        for name, value in vars(self).items():
            if hasattr(value, "item"):  # a number of NumPy's, which no file can hold and torch does not always take
                object.__setattr__(self, name, value.item())

    @classmethod
    def of(cls, given: dict) -> "Settings":
        """The settings given by name.  Raises ValueError, with the known names, for any other."""
        known = {field.name: field for field in fields(cls)}
        for name in given:
            lookup("setting", name, known)
        return cls(**given)

    def total(self, data: Dataset) -> int:
        """How many iterations they make on `data`."""
        if self.iterations is not None:
            return self.iterations
        return self.epochs * math.ceil(len(data.train_y) / self.batch_size)

    def smallest(self, data: Dataset) -> int:
        """How many images the smallest batch of the training has."""
        images, size = len(data.train_y), self.batch_size
        left = images % size or size
        return left if self.total(data) >= math.ceil(images / size) else size

    def checked(self, data: Dataset) -> list[int]:
        """The iterations after which is checked, first and last included."""
        total, every = self.total(data), self.eval_every or math.ceil(len(data.train_y) / self.batch_size)
        return [*range(0, total, every), total]

    def tabulated(self, data: Dataset) -> "Settings":
        """The same, with the values of the schedule taken here, once, for all threads to see.

        Raises ValueError for a schedule that remembers, or draws.
        """
        if self.lr_schedule is None:
            return self
        values, again = ([self.lr_schedule(i) for i in range(self.total(data))] for _ in range(2))
        if values != again:
            i = next(i for i, value in enumerate(values) if value != again[i])
            found = f"lr_schedule({i}) was {values[i]}, then {again[i]}"
            raise ValueError(f"{found}: it must depend on the iteration alone")
        return replace(self, lr_schedule=values.__getitem__)

    def rate(self, iteration: int) -> float:
        """The learning rate of an iteration."""
        return self.lr if self.lr_schedule is None else self.lr * self.lr_schedule(iteration)


def _check_number(name: str, value: object, what: str, fits: Callable[[float], bool]) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not fits(value):
        raise ValueError(f"{name} must {what}, got {value!r}")
