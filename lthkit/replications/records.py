"""Records: what a lab found in a setting, one small JSON file each.

`parameters` are those given to each run, `defaults` those of the lab; `verdicts` {key: `Verdict.to_dict()`}; `tables`
{key: {column: values}}, what else a lab quotes as a DataFrame.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from lthkit import files, report
from lthkit.replications.labs import Lab
from lthkit.report import Verdict

DIGITS = 6
FIELDS = {
    "lab": str, "setting": str, "defaults": dict, "parameters": list, "verdicts": dict, "tables": dict,
    "versions": dict, "commit": str | None, "processor": str, "threads": int, "seconds": int | float, "date": str,
    "hash": str,
}  # fmt: skip


def place(folder: str | Path, lab: str, setting: str) -> Path:
    """Where a record lies."""
    return Path(folder, f"{lab}.{setting}.json")


def read(folder: str | Path) -> list[dict]:
    """All records of a folder, by lab and setting.

    Raises ValueError that names a file which is no record.
    """
    return [read_one(path) for path in sorted(Path(folder).glob("*.*.json"))]


def read_one(path: Path) -> dict:
    """One record.  Raises ValueError that names the file."""

    def check(record: dict) -> None:
        for key, verdict in record["verdicts"].items():
            if Verdict.from_dict(verdict).measured and not verdict["differences"]:
                raise ValueError(f"{key} has no differences")
        if path.name != place("", record["lab"], record["setting"]).name:
            raise ValueError(f"it is of {record['lab']}, {record['setting']}")

    return checked(path, FIELDS, check)


def checked(path: Path, fields: Mapping[str, object], check: Callable[[dict], None]) -> dict:
    """The record in a file, of any kind.

    fields: what it must hold, each with its type.  check: called with it, raises for what else is wrong.
    Raises ValueError that names the file.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        for name, kind in fields.items():
            if not isinstance(record[name], kind):
                raise TypeError(f"{name} is {record[name]!r}")
        check(record)
    except KeyError as error:
        raise ValueError(f"{path} is no record: it has no {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no record: {error}") from error
    return record


def find(folder: str | Path, lab: str, setting: str) -> dict | None:
    """The record of a pair, or None."""
    path = place(folder, lab, setting)
    return read_one(path) if path.exists() else None


def stale(record: Mapping, notebook: str | Path) -> bool:
    """Whether the lab's verdict cells or parameters are others than those that ran."""
    return Lab(record["lab"], Path(notebook).read_text(encoding="utf-8")).hash(record["parameters"]) != record["hash"]


def age(record: Mapping) -> int:
    """Of a record, in days."""
    return (datetime.now(UTC) - datetime.fromisoformat(record["date"])).days


def write(folder: str | Path, record: Mapping) -> None:
    """Write a record, whole or not at all; floats keep six digits."""
    files.write_text(place(folder, record["lab"], record["setting"]), text(record))


def text(record: Mapping, sort_keys: bool = True) -> str:
    """A line a field, and a line a verdict or table; sort_keys: within these too."""
    lines = [f"{json.dumps(name)}: {_dump(value, sort_keys)}" for name, value in sorted(_rounded(record).items())]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _dump(value: object, sort_keys: bool) -> str:
    if not isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    lines = [
        f"  {json.dumps(key)}: {json.dumps(part, sort_keys=sort_keys, ensure_ascii=False, separators=(',', ':'))}"
        for key, part in sorted(value.items())
    ]
    return "{\n" + ",\n".join(lines) + "\n}"


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list) else value


def merge(found: Sequence[Mapping[str, Mapping]]) -> dict[str, dict]:
    """The verdicts of several runs of a lab as if of one: measured by all differences, facts by all of them.

    Raises ValueError that names a claim which a run lacks, or a seed that ran twice.
    """
    if len(found) == 1:
        return dict(found[0])
    merged = {}
    for key in dict.fromkeys(key for run in found for key in run):
        if missing := [number for number, run in enumerate(found, 1) if key not in run]:
            raise ValueError(f"{key} is missing in runs {missing} of {len(found)}")
        merged[key] = _merged(key, [Verdict.from_dict(run[key]) for run in found]).to_dict()
    return merged


def joined(found: Sequence[Mapping[str, Mapping[str, list]]]) -> dict[str, dict[str, list]]:
    """The tables of several runs, one below the other."""
    return {
        key: {column: [value for run in found for value in run[key][column]] for column in table}
        for key, table in found[0].items()
    }


def _merged(key: str, runs: list[Verdict]) -> Verdict:
    first = replace(runs[0], scope=_together([run.scope for run in runs]), step=min(run.step for run in runs))
    if not first.measured:
        return replace(first, status=min((run.status for run in runs), key=("contradicted", "holds").index))
    differences: dict[str, dict] = {}
    for run in runs:
        for pair, by_seed in run.differences.items():
            before = differences.setdefault(pair, {})
            if twice := sorted(before.keys() & by_seed.keys()):
                raise ValueError(f"{key}: seeds {twice} ran twice")
            before |= by_seed
    return report.again(first, differences)


def _together(scopes: list[str]) -> str:
    """Scopes that differ in a part, between commas, name it for each run."""
    parts = [scope.split(", ") for scope in scopes]
    if len({len(part) for part in parts}) > 1:
        return scopes[0]
    return ", ".join(" / ".join(dict.fromkeys(part)) for part in zip(*parts, strict=True))
