"""The canary: each lab's live look again, to see which labs a change of `lthkit` has moved.

With all its seeds: a lab that chooses by their mean, as 08 chooses shares, gives a seed other numbers among fewer.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from lthkit import columns
from lthkit.replications.execute import LIMIT
from lthkit.replications.runner import run_labs
from lthkit.replications.tasks import Task, tasks
from lthkit.report import Verdict

TOLERANCE = 1e-3  # of the largest difference, at least of 1: less than one test image of 400


def canary(
    labs: Iterable[str] = (), out: str | Path = "book/results/replications", notebooks: str | Path = "notebooks",
    workers: int | None = None, root: str | Path = "data", progress: bool = False,
) -> list[str]:  # fmt: skip
    """Run each lab that has a live record again; a line for each claim that moved and each lab that failed.

    Times are not compared.  Raises as `replicate` does.
    """
    known = [task for task in tasks(labs, ["live"], out, notebooks) if task.up_to_date(task.record())]
    if not known:
        raise ValueError(f"no live records in {out}: run lthkit replicate --setting live first")
    moved = []

    def compare(task: Task, given: list[dict], outcome: dict) -> None:
        lines = differs(task.record()["verdicts"], outcome["verdicts"][0])
        moved.extend(f"{task.lab.name}: {line}" for line in lines)

    failed = run_labs(known, compare, None, workers, root, LIMIT, progress)
    return failed + moved


def differs(before: Mapping[str, Mapping], now: Mapping[str, Mapping]) -> list[str]:
    """What differs between verdicts {key: `to_dict()`}, seed by seed: a line a claim."""
    lines = [f"{key} is new, or gone" for key in sorted(before.keys() ^ now.keys())]
    for key in sorted(before.keys() & now.keys()):
        old, new = Verdict.from_dict(before[key]), Verdict.from_dict(now[key])
        was, is_now = _by_seed(old), _by_seed(new)
        if old.column == "seconds":
            continue
        if was.keys() != is_now.keys() or (not old.measured and old.status != new.status):
            lines.append(f"{key} is {new.status}, with {len(is_now)} differences: it was {old.status}, with {len(was)}")
        elif was:
            apart = max(abs(is_now[place] - was[place]) for place in was)
            if not apart <= TOLERANCE * max(1.0, *map(abs, was.values())):
                shown = columns.of(old.column)
                lines.append(f"{key} moved by up to {shown.scale * apart:.{shown.digits + 1}f}{shown.unit} in a seed")
    return lines


def _by_seed(verdict: Verdict) -> dict[tuple[str, str], float]:
    return {(pair, seed): value for pair, found in verdict.differences.items() for seed, value in found.items()}
