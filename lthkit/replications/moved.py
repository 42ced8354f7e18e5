"""The canary: a few seeds of each lab again, to see which labs a change of `lthkit` has moved."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from lthkit import columns
from lthkit.replications.runner import work
from lthkit.replications.tasks import Task, tasks
from lthkit.report import Verdict

SEEDS = [0, 1, 2]
TOLERANCE = 1e-3  # relative, and in shares of 1


def canary(
    labs: Iterable[str] = (), out: str | Path = "book/results/replications", notebooks: str | Path = "notebooks",
    workers: int | None = None, root: str | Path = "data", progress: bool = False,
) -> list[str]:  # fmt: skip
    """Run each lab that has a live record with three of its seeds; a line for each whose differences moved, or failed.

    Times are not compared.  Raises as `replicate` does.
    """
    known = [task for task in tasks(labs, ["live"], out, notebooks) if task.fresh_enough(task.record())]
    if not known:
        raise ValueError(f"no live records in {out}: run lthkit replicate --setting live first")
    moved = []

    def compare(task: Task, given: list[dict], outcome: dict) -> None:
        lines = differs(task.record()["verdicts"], outcome["verdicts"][0])
        moved.extend(f"{task.lab.name}: {line}" for line in lines)

    failed = work(known, lambda task: [{"seeds": SEEDS}], compare, None, workers, root, progress)
    return failed + moved


def differs(before: Mapping[str, Mapping], now: Mapping[str, Mapping]) -> list[str]:
    """What differs between verdicts {key: `to_dict()`}, seed by seed, over the seeds of `now`: a line a claim."""
    lines = [f"{key} is new, or gone" for key in sorted(before.keys() ^ now.keys())]
    for key in sorted(before.keys() & now.keys()):
        old, new = Verdict.from_dict(before[key]), Verdict.from_dict(now[key])
        if old.column == "seconds":
            continue
        apart = [
            abs(value - old.differences.get(pair, {}).get(seed, float("nan")))
            for pair, by_seed in new.differences.items()
            for seed, value in by_seed.items()
        ]
        sizes = [abs(value) for by_seed in old.differences.values() for value in by_seed.values()]
        allowed = TOLERANCE * max(1.0, *sizes, 0.0)
        if not all(one <= allowed for one in apart):
            shown = columns.of(old.column)
            lines.append(f"{key} moved by up to {shown.scale * max(apart):.{shown.digits + 1}f}{shown.unit} in a seed")
    return lines
