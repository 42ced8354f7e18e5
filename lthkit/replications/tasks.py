"""What there is to do: a task is one lab in one setting."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lthkit import report
from lthkit.checks import lookup
from lthkit.replications import records
from lthkit.replications.labs import Lab, is_epochs, labs
from lthkit.replications.settings import EXEMPT, SETTINGS
from lthkit.report import Verdict

RATES = "sgd_rates.json"  # beside the records
RESERVED = 1_000  # fresh seeds of a lab, in all
BIG_IMAGES = 10  # how much longer 28×28 pixels take than 8×8


@dataclass(frozen=True)
class Task:
    """One lab in one setting, recorded in a folder."""

    lab: Lab
    setting: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.lab.name}, {self.setting}"

    @property
    def exempt(self) -> str | None:
        """Why this pair makes no sense, or None."""
        return EXEMPT.get((self.lab.name, self.setting))

    def record(self) -> dict | None:
        """What was found before, or None.  Raises ValueError for a broken file."""
        return records.find(self.folder, self.lab.name, self.setting)

    def up_to_date(self, record: dict | None) -> bool:
        """Whether a record is there, and of the lab as it stands."""
        return record is not None and self.lab.hash(record["parameters"]) == record["hash"]

    def given(self) -> list[dict]:
        """The parameters given to each run: those that the lab has.

        Raises ValueError where the lab lacks what the setting is about, or a record is missing that tells them.
        """
        setting, takes = SETTINGS[self.setting], self.lab.defaults
        longer = {name: setting.longer * value for name, value in takes.items() if is_epochs(name)}
        needed = setting.about | ({"epochs"} if setting.longer > 1 else set())
        if missing := sorted(needed - takes.keys() - ({"epochs"} if longer else set())):
            raise ValueError(f"{self.lab.name} has no parameter {', '.join(missing)}: exempt it from {self.setting!r}")
        found = []
        for run in setting.runs:
            run = dict(run) | (longer if setting.longer > 1 else {}) | (rates(self.folder) if setting.rates else {})
            if self.setting == "fresh":
                run["seeds"] = self._unused(run["seeds"])
            found.append({name: _plain(value) for name, value in run.items() if name in takes})
        return found

    def _unused(self, seeds: range) -> list[int]:
        """Seeds of which none was used: as many as the live record says, after those of a record that is stale."""
        before, live = self.record(), Task(self.lab, "live", self.folder)
        if self.up_to_date(before):
            return before["parameters"][0]["seeds"]
        found = live.record()
        if not live.up_to_date(found):
            raise ValueError("needs the lab's record in setting 'live' first")
        first = before["parameters"][0]["seeds"][-1] + 1 if before else seeds[0]
        unused = range(first, first + _needed(found))
        if unused[-1] - seeds[0] >= RESERVED:
            raise ValueError(f"has used up its {RESERVED:,} fresh seeds")
        return list(unused)

    def seconds(self) -> float | None:
        """How long it should take, from its own record or the lab's live one; None without any."""
        if before := self.record():
            return before["seconds"]
        live = records.find(self.folder, self.lab.name, "live")
        if live is None:
            return None
        setting = SETTINGS[self.setting]
        seeds = sum(len(run.get("seeds", range(10))) for run in setting.runs)
        if self.setting == "fresh":
            seeds = _needed(live)
        pixels = BIG_IMAGES if "dataset" in setting.about else 1
        return live["seconds"] * max(len(setting.runs), seeds / 10) * setting.longer * pixels


def tasks(numbers: Iterable[str], settings: Iterable[str], folder: str | Path, notebooks: str | Path) -> list[Task]:
    """The tasks of some labs, by number, in some settings, by name; of all where none is named.

    Those that are exempt stand among them.  Raises ValueError for an unknown one.
    """
    known = labs(notebooks)
    chosen = [lookup("lab", number, known) for number in numbers] or list(known.values())
    names = list(settings) or list(SETTINGS)
    for name in names:
        lookup("setting", name, SETTINGS)
    return [Task(lab, name, Path(folder)) for lab in chosen for name in names]


def rates(folder: str | Path) -> dict[str, float]:
    """The learning rates for SGD, as chosen on validation: {"lr": …, "logit_lr": …}.

    Raises ValueError where they were not chosen yet.
    """
    path = Path(folder, RATES)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: float(found[name]["chosen"]) for name in ("lr", "logit_lr")}
    except FileNotFoundError as error:
        raise ValueError(f"no {path}: choose the rates of SGD first, lthkit replicate --choose-rates") from error
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged: choose the rates of SGD again") from error


def _needed(live: dict) -> int:
    """Fresh seeds of a lab, by its live record."""
    return report.seeds_needed(Verdict.from_dict(verdict) for verdict in live["verdicts"].values())


def _plain(value: object) -> object:
    return list(value) if isinstance(value, range) else value
