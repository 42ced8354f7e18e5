"""Records: what a cell found, one small JSON file for each of its tasks.

`tables` {name: {column: values}}, NaN as null.  `images` tells the data from any others, whatever their name.
`seconds` are those of all calls that a stopped task took, less the last few before a kill.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from lthkit import files
from lthkit.replications import records

FORMAT = 1
FIELDS = {
    "format": int, "experiment": str, "cell": str, "settings": dict, "seeds": list, "dataset": str, "images": str,
    "tables": dict, "versions": dict, "commit": str | None, "processor": str, "threads": int, "device": str,
    "seconds": int | float, "date": str, "hash": str,
}  # fmt: skip


def span(seeds: Iterable[int]) -> str:
    """Seeds as a file's name has them: "0", "0-3" or "0,2,5"."""
    seeds = list(seeds)
    if len(seeds) > 1 and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]}-{seeds[-1]}"
    return ",".join(map(str, seeds))


def place(folder: str | Path, experiment: str, cell: str, seeds: Iterable[int]) -> Path:
    """Where a record lies."""
    return Path(folder, f"{experiment}.{cell}.{span(seeds)}.json")


def write(folder: str | Path, record: Mapping) -> None:
    """Write a record, whole or not at all; floats keep six digits."""
    where = place(folder, record["experiment"], record["cell"], record["seeds"])
    files.write_text(where, records.text({"format": FORMAT, **record}, sort_keys=False))


def read_one(path: Path) -> dict:
    """One record.  Raises ValueError that names the file and what to do."""

    def check(record: dict) -> None:
        if record["format"] != FORMAT:
            raise ValueError(f"it has format {record['format']}, this lthkit reads {FORMAT}")
        if path.name != place("", record["experiment"], record["cell"], record["seeds"]).name:
            raise ValueError(f"it is of {record['experiment']}.{record['cell']}, seeds {span(record['seeds'])}")
        for name, table in record["tables"].items():
            if not table or len({len(values) for values in table.values()}) != 1:
                raise ValueError(f"the columns of {name} are not of one length")

    try:
        return records.checked(path, FIELDS, check)
    except ValueError as error:
        again = ".".join(path.name.split(".")[:2])
        raise ValueError(f"{error}; delete it, and call lthkit run {again} again") from None


def read(folder: str | Path) -> list[dict]:
    """All records of a folder, by experiment, cell and seeds.  Raises ValueError that names a file which is none."""
    found = [read_one(path) for path in Path(folder).glob("*.*.*.json")]
    return sorted(found, key=lambda record: (record["experiment"], record["cell"], record["seeds"]))


def find(folder: str | Path, experiment: str, cell: str, seeds: Iterable[int]) -> dict | None:
    """The record of a task, or None."""
    path = place(folder, experiment, cell, seeds)
    return read_one(path) if path.exists() else None


def tables(folder: str | Path, experiment: str, cell: str) -> dict[str, pd.DataFrame]:
    """The tables of a cell, all its seeds together; tables without seeds are those of the first record.

    Raises ValueError where there is no record, a seed is in two, or they are of other settings or data.
    """
    found = [record for record in read(folder) if (record["experiment"], record["cell"]) == (experiment, cell)]
    if not found:
        raise ValueError(f"no record of {experiment}.{cell} in {folder}: call lthkit run {experiment}.{cell}")
    seeds = [seed for record in found for seed in record["seeds"]]
    if len(set(seeds)) < len(seeds) or len({(record["hash"], record["images"]) for record in found}) > 1:
        names = ", ".join(place("", experiment, cell, record["seeds"]).name for record in found)
        raise ValueError(f"{names} in {folder} do not fit together: a seed twice, or other settings or data")
    return {name: _joined([record["tables"][name] for record in found]) for name in found[0]["tables"]}


def as_columns(table: pd.DataFrame) -> dict[str, list]:
    """A table as a record holds it."""
    return {name: [None if pd.isna(value) else value for value in table[name].tolist()] for name in table}


def _joined(parts: list[dict[str, list]]) -> pd.DataFrame:
    parts = parts if "seed" in parts[0] else parts[:1]
    return pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)
