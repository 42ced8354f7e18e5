"""What there is to do: a task is a cell with some of its seeds, and leaves one record."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lthkit.checks import lookup
from lthkit.experiments import records
from lthkit.experiments.cells import Cell
from lthkit.experiments.table import EXPERIMENTS
from lthkit.streams import as_seeds

SECONDS = "seconds.json"  # in a checkpoint: how long its calls have run


@dataclass(frozen=True)
class Task:
    """A cell with some seeds, on its own data or on those of a file, recorded in a folder."""

    experiment: str
    cell: Cell
    seeds: tuple[int, ...]
    folder: Path
    checkpoints: Path
    file: Path | None = None

    def __str__(self) -> str:
        return f"{self.experiment}.{self.cell.name}.{records.span(self.seeds)}"

    @property
    def dataset(self) -> str:
        return self.cell.dataset if self.file is None else self.file.stem

    @property
    def hash(self) -> str:
        return self.cell.hash(self.dataset)

    @property
    def checkpoint(self) -> Path:
        """The folder that a task which was stopped goes on from."""
        return self.checkpoints / str(self)

    def record(self) -> dict | None:
        """What was found before, or None.  Raises ValueError for a broken file."""
        return records.find(self.folder, self.experiment, self.cell.name, self.seeds)

    def up_to_date(self, record: dict | None) -> bool:
        """Whether a record is there, and of the cell as it stands."""
        return record is not None and record["hash"] == self.hash

    def spent(self) -> float | None:
        """Seconds that earlier calls have run without finishing; None where there is no checkpoint."""
        return spent(self.checkpoint)


def spent(checkpoint: Path) -> float | None:
    """Seconds of work in a checkpoint; None where there is none."""
    try:
        return float(json.loads((checkpoint / SECONDS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def tasks(
    name: str | None, seeds: Iterable[int] | None, folder: str | Path, checkpoints: str | Path,
    file: str | Path | None = None,
) -> list[Task]:  # fmt: skip
    """The tasks of an experiment, as in "frankle_carbin", of a cell, as in "frankle_carbin.tickets", or of all.

    seeds: in place of the cells' own.  file: data in place of the cells' own.
    Raises ValueError for an unknown name.
    """
    experiment, _, cell = (name or "").partition(".")
    chosen = {experiment: lookup("experiment", experiment, EXPERIMENTS)} if name else EXPERIMENTS
    if cell:
        known = {found.name: found for found in chosen[experiment]}
        chosen = {experiment: (lookup(f"cell of {experiment}", cell, known),)}
    file = None if file is None else Path(file).absolute()
    return [
        Task(experiment, cell, part, Path(folder), Path(checkpoints).absolute(), file)
        for experiment, cells in chosen.items()
        for cell in cells
        for part in _parts(cell.seeds if seeds is None else as_seeds(seeds), cell.stack)
    ]


def _parts(seeds: Sequence[int], stack: int) -> list[tuple[int, ...]]:
    return [tuple(seeds[k : k + stack]) for k in range(0, len(seeds), stack)]
