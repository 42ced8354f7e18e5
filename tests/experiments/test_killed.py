"""A killed `lthkit run` leaves no process; called again, it trains no finished round, and ends with the same bits."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import lthkit

from ..replications.test_killed import MARK, alive, gone
from . import toy

pytestmark = [pytest.mark.labs, pytest.mark.skipif(sys.platform != "linux", reason="reads other processes' variables")]
CODE = "import toy; from lthkit import cli, experiments; experiments.EXPERIMENTS.update(toy.CELLS); cli.app()"


def command(folder: Path) -> subprocess.Popen:
    path = [str(Path(toy.__file__).parent), str(Path(lthkit.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    own = {"PYTHONPATH": os.pathsep.join(filter(None, path)), "TOY_LOG": str(folder / "log"), MARK: str(folder)}
    arguments = ["run", "toy.search", "--data", "toy-images.npz", "--out", "found"]
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *arguments], cwd=folder, env=os.environ | own, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def begun(folder: Path) -> list[str]:
    """The fits that have begun."""
    log = folder / "log"
    return log.read_text().splitlines() if log.exists() else []


def finished(folder: Path) -> set[str]:
    """The rounds that are written, by the names that `begun` has."""
    found = (folder / "checkpoints").glob("*/*/[!.]*.safetensors")
    names = {f"{path.parent.name}/{path.stem}" for path in found if "steps" not in path.name}
    return names | ({"search/dense"} if "search/run" in names else set())


def result(folder: Path) -> dict:
    """The record without what differs between two runs."""
    (path,) = (folder / "found").iterdir()
    record = json.loads(path.read_text())
    record["tables"]["rounds"].pop("seconds")
    return {name: value for name, value in record.items() if name not in ("seconds", "date")} | {"name": path.name}


def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(tmp_path):
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "toy-images.npz", **toy.images())
    whole, folder = tmp_path / "undisturbed", tmp_path / "killed"
    runner, began = command(whole), None
    while runner.poll() is None:
        began = began or (time.monotonic() if begun(whole) else None)
        time.sleep(0.01)
    assert runner.returncode == 0, runner.stderr.read()
    takes = time.monotonic() - began
    assert len(begun(whole)) == 5 == len(set(begun(whole)))

    seed = int(os.environ.get("LTHKIT_KILL_SEED", random.randrange(10**6)))
    print(f"moments drawn from {seed}")
    rng, kills = random.Random(seed), 0
    while kills < 4:
        before, known = finished(folder), len(begun(folder))
        runner = command(folder)
        while len(begun(folder)) == known and runner.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, takes / 2))
        if runner.poll() is not None:
            break
        os.kill(runner.pid, signal.SIGKILL)
        runner.wait()
        kills += 1
        assert gone(str(folder), 2)
        assert not before & set(begun(folder)[known:]), "a finished round began again"
    print(f"killed {kills} times; of {len(begun(whole))} fits, begun were {begun(folder)}")
    assert kills, "it was never killed"
    before, known = finished(folder), len(begun(folder))
    runner = command(folder)
    assert runner.wait(300) == 0, runner.stderr.read()
    assert not before & set(begun(folder)[known:])
    assert result(folder) == result(whole)
    assert not list((folder / "checkpoints").iterdir()) and not alive(str(folder))
