"""What there is, for people: the list of tasks, and the tables of records as text."""

import pandas as pd
import torch

from lthkit import columns, report
from lthkit.experiments import records
from lthkit.experiments.cells import Cell
from lthkit.experiments.tasks import Task


def listed(tasks: list[Task]) -> str:
    """A line a task: name, how it stands, and the minutes that it takes; what a cell asks stands above its tasks."""
    lines, above = [], None
    for task in tasks:
        if above is not task.cell:
            above = task.cell
            lines.append(f"{task.experiment}.{above.name}: {above.asks}")
        lines.append(f"  {task!s:36} {_state(task):24} {_minutes(above)}")
    return "\n".join(lines)


def _minutes(cell: Cell) -> str:
    return "not measured yet" if cell.minutes is None else f"{cell.minutes:g} min"


def _state(task: Task) -> str:
    record = task.record()
    if task.up_to_date(record):
        return f"done, {record['seconds'] / 60:.1f} min"
    if task.cell.device == "cuda" and not torch.cuda.is_available():
        return "needs a GPU"
    spent = task.spent()
    begun = "" if spent is None else f", {spent / 60:.0f} min in part"
    return ("to do" if record is None else "stale") + begun


def reported(folder: str, names: list[str]) -> str:
    """The tables of all records of a folder, or of some experiments or cells: means over the seeds with 95 % intervals.

    Curves are left out.  Raises ValueError where there is nothing.
    """
    found = records.read(folder)
    cells = dict.fromkeys((record["experiment"], record["cell"]) for record in found)
    chosen = [key for key in cells if not names or {key[0], ".".join(key)} & set(names)]
    if not chosen:
        there = ", ".join(map(".".join, cells)) or "none"
        raise ValueError(f"no records of {', '.join(names) or 'anything'} in {folder}: there are {there}")
    return "\n\n".join(_cell(folder, experiment, cell) for experiment, cell in chosen)


def _cell(folder: str, experiment: str, cell: str) -> str:
    tables = records.tables(folder, experiment, cell)
    own = next(r for r in records.read(folder) if (r["experiment"], r["cell"]) == (experiment, cell))
    lines = [f"{experiment}.{cell}: {own['asks']}", f"{own['dataset']}, {own['processor']}, {own['date'][:10]}"]
    lines += [f"paper, {what}: {number}" for what, number in own["paper"].items()]
    for name, table in tables.items():
        if "iteration" not in table:
            lines += ["", f"{name}:", _means(table).to_string(index=False)]
    return "\n".join(lines)


def _means(table: pd.DataFrame) -> pd.DataFrame:
    """A row a group of seeds, each number as its mean and interval in the unit that `columns` gives it."""
    if "seed" not in table:
        return table
    by = list(table.columns[: table.columns.get_loc("seed")])
    measured = [name for name in table.columns[len(by) + 1 :] if name != "seconds"]
    groups = table.groupby(by, sort=False) if by else [((), table)]
    rows = []
    for key, group in groups:
        shown = {name: _shown(name, group[name].dropna().astype(float)) for name in measured}
        rows.append(dict(zip(by, key, strict=True)) | {"seeds": len(group)} | shown)
    return pd.DataFrame(rows)


def _shown(name: str, values: pd.Series) -> str:
    of = columns.of(name)
    digits = of.digits + (of.scale == 100)
    if values.empty:
        return "–"
    if len(values) == 1 or values.nunique() == 1:
        return f"{of.scale * values.iloc[0]:.{digits}f}"
    mean, low, high = (of.scale * value for value in report.interval(values, 0.95))
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
