"""What `fit` brings home: curves, parameters, snapshots."""

from dataclasses import dataclass

import pandas as pd
from torch import Tensor

from lthkit.stacks import Params


@dataclass(frozen=True)
class History:
    """What was measured on the way: one column a check, T checks, the first before any step.

    iterations: [T].  train_loss: [R, T], the mean over the batches since the check before (NaN at the first).
    val_loss, val_accuracy: [R, T].
    test_accuracy: [R, T], NaN but at the first check, the last and the early stop; with `test_curve` whole.
    """

    seeds: tuple[int, ...]
    iterations: Tensor
    train_loss: Tensor
    val_loss: Tensor
    val_accuracy: Tensor
    test_accuracy: Tensor

    @property
    def diverged(self) -> Tensor:
        """[R] bool: the replicates whose validation loss was not finite at some check."""
        return ~self.val_loss.isfinite().all(1)

    @property
    def early_stop_check(self) -> Tensor:
        """[R], the column with the lowest validation loss; the first of equals.

        Raises ValueError if a replicate has diverged: then it has no early stop.
        """
        if self.diverged.any():
            seeds = [seed for seed, bad in zip(self.seeds, self.diverged.tolist(), strict=True) if bad]
            raise ValueError(f"validation loss is not finite for seeds {seeds}: training diverged, try a lower lr")
        return self.val_loss.argmin(dim=1)

    @property
    def early_stop_iteration(self) -> Tensor:
        """[R], the iteration of the lowest validation loss, found after training (Frankle & Carbin 2019, sec. 1)."""
        return self.iterations[self.early_stop_check]

    @property
    def censored(self) -> Tensor:
        """[R] bool: the lowest loss is that of the last check, so that the true early stop may lie later."""
        return self.early_stop_check == len(self.iterations) - 1

    def table(self) -> pd.DataFrame:
        """A row per (seed, check): seed iteration train_loss val_loss val_accuracy test_accuracy."""
        columns = ("train_loss", "val_loss", "val_accuracy", "test_accuracy")
        found = {"seed": [seed for seed in self.seeds for _ in self.iterations]}
        found["iteration"] = self.iterations.tolist() * len(self.seeds)
        return pd.DataFrame(found | {column: getattr(self, column).flatten().tolist() for column in columns})


@dataclass(frozen=True)
class Fit:
    """The outcome of `fit`: effective parameters {name: [R, …]}, the history, snapshots by iteration, seconds."""

    params: Params
    history: History
    snapshots: dict[int, Params]
    seconds: float
