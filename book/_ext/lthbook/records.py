"""What recorded replications say of each claim: the verdict, and a mark for each other setting."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lthkit import replications, report
from lthkit.replications.settings import ROBUSTNESS

FOLDER = "book/results/replications"
SHORT = {"split": "split", "sgd": "SGD", "long": "longer", "fashion": "Fashion", "mnist": "MNIST"}
WORDS = {
    "split": "with other splits of the data", "sgd": "under SGD", "long": "with five times the epochs",
    "fashion": "on Fashion-MNIST", "mnist": "on MNIST",
}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What is recorded of a claim.

    verdict: from fresh seeds, as `Verdict.to_dict()`.  looks: {setting: the same, of a live look}.
    old: {setting: days} of records whose lab has changed since.
    """

    verdict: dict | None
    looks: dict[str, dict]
    old: dict[str, int]

    def status(self, setting: str = "fresh") -> str | None:
        """What is known in a setting; None where there is no record."""
        verdict = self.verdict if setting == "fresh" else self.looks.get(setting)
        return verdict and verdict["status"]


NOTHING = Found(None, {}, {})


def found(root: Path) -> dict[tuple[str, str], Found]:
    """{(lab, key): what the records say}, labs by the name of their file."""
    folder = root / FOLDER
    return _found(root, tuple((path, path.stat().st_mtime_ns) for path in sorted(folder.glob("*.*.json"))))


@lru_cache(maxsize=2)
def _found(root: Path, files: tuple) -> dict[tuple[str, str], Found]:
    records = (
        {(record["lab"], record["setting"]): record for record in replications.read(root / FOLDER)} if files else {}
    )
    decided = report.decide(records.values())
    old = {}
    for (lab, setting), record in records.items():
        notebook = root / f"notebooks/{lab}.ipynb"
        if not notebook.exists() or replications.stale(record, notebook):
            old.setdefault(lab, {})[setting] = replications.age(record)
    result = {}
    for lab in dict.fromkeys(lab for lab, _ in records):
        of_lab = {setting: record["verdicts"] for (name, setting), record in records.items() if name == lab}
        for key in dict.fromkeys(key for verdicts in of_lab.values() for key in verdicts):
            looks = {name: of_lab[name][key] for name in ROBUSTNESS if key in of_lab.get(name, {})}
            verdict = decided.get((lab, key))
            fresh = verdict.to_dict() if verdict else of_lab.get("fresh", {}).get(key)
            result[lab, key] = Found(fresh, looks, old.get(lab, {}))
    return result


def table(root: Path, lab: str, setting: str, key: str) -> dict[str, list] | None:
    """A table that a lab quoted in a setting; None where there is no record."""
    record = replications.find(root / FOLDER, lab, setting)
    return record and record["tables"].get(key)


def supports(verdict: dict) -> bool:
    return verdict["status"] in ("holds", "agrees")


def robustness(of: Found) -> str:
    """One sentence, made from the looks; empty where there are none.

    Measured against the verdict: a claim that is contradicted is robust where other settings disagree with it too.
    """
    if not of.looks:
        return ""
    wanted = ("contradicted", "disagrees") if of.status() == "contradicted" else ("holds", "agrees")
    word = "Disagrees" if "disagrees" in wanted else "Agrees"
    same = [name for name, look in of.looks.items() if look["status"] in wanted]
    others = [WORDS[name] for name in of.looks if name not in same]
    head = f"{word} in {len(same)} of {len(of.looks)} other settings"
    if not others:
        return f"{head}."
    return f"{head}; not {others[0] if len(others) == 1 else ', '.join(others[:-1]) + ', nor ' + others[-1]}."
