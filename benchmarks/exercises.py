"""How long a check takes: `python benchmarks/exercises.py`.  Milliseconds over all tasks with a function."""

import contextlib
import io
from time import perf_counter

import numpy as np
import torch

from lthkit.exercises import check
from lthkit.exercises.judge import CORRECT, judge
from lthkit.exercises.task import tasks


def milliseconds(function, *args) -> float:
    begin = perf_counter()
    function(*args)
    return 1000 * (perf_counter() - begin)


def line(name: str, core: list[float], whole: list[float]) -> str:
    return f"{name:5} core {np.median(core):6.1f} ms (median), call {max(whole):6.1f} ms (longest)"


def main(seeds: int = 20) -> None:
    torch.set_num_threads(1)
    all_core, all_whole = [], []
    for id, task in tasks().items():
        if task.reference:
            assert judge(task, task.reference, 0).status == CORRECT
            core = [milliseconds(judge, task, task.reference, seed) for seed in range(seeds)]
            with contextlib.redirect_stdout(io.StringIO()):
                whole = [milliseconds(check, id, task.reference, seed) for seed in range(seeds)]
            print(line(id, core, whole))
            all_core, all_whole = all_core + core, all_whole + whole
    print(line("all", all_core, all_whole))


if __name__ == "__main__":
    main()
