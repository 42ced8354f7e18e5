"""`lthkit experiments`, `run` and `report` on cells that take seconds: what runs, what is kept, what is refused."""

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from lthkit import cli, experiments
from lthkit.experiments import records, runner, show, table
from lthkit.replications.execute import facts

from . import toy as own


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The toy cells in place of all others, their data in the current folder; children find the module by its name."""
    here = str(Path(own.__file__).parent)
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")])))
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    import toy as found

    for name in list(table.EXPERIMENTS):
        monkeypatch.delitem(table.EXPERIMENTS, name)
    for name, cells in found.CELLS.items():
        monkeypatch.setitem(table.EXPERIMENTS, name, cells)
    monkeypatch.chdir(tmp_path)
    np.savez("toy-images.npz", **found.images())
    return found


def called(*arguments: str):
    return CliRunner().invoke(cli.app, list(arguments))


def run(name: str, *arguments: str):
    return called("run", name, "--data", "toy-images.npz", "--out", "found", *arguments)


def recorded(name: str) -> dict:
    return json.loads(Path(f"found/{name}.json").read_text())


def test_a_cell_runs_once_in_stacks_of_seeds_and_leaves_records(toy, tmp_path):
    done = run("toy.answer")
    assert done.exit_code == 0, done.output
    assert sorted(os.listdir("found")) == ["toy.answer.0-1.json", "toy.answer.2-3.json"]
    assert not list(Path("checkpoints").iterdir()), "a checkpoint whose record is written is of no use"
    first = recorded("toy.answer.0-1")
    assert first["tables"]["found"] == {"arm": ["a", "a"], "seed": [0, 1], "test_accuracy": [0.5, 0.625]}
    assert first["seeds"] == [0, 1] and first["dataset"] == "toy-images" and first["settings"] == {}
    assert first["device"] == "cpu" and first["threads"] == 1 and str(tmp_path) not in json.dumps(first)
    assert {name: first[name] for name in facts()} == facts()
    times = {path: path.stat().st_mtime_ns for path in Path("found").iterdir()}
    assert run("toy.answer").exit_code == 0
    assert times == {path: path.stat().st_mtime_ns for path in Path("found").iterdir()}
    # Other seeds lie beside them, and a changed cell runs again.
    assert run("toy.answer", "--seeds", "7,9").exit_code == 0 and "toy.answer.7,9.json" in os.listdir("found")
    table.EXPERIMENTS["toy"] = tuple(replace(cell, settings={"lost": 1}) for cell in toy.CELLS["toy"])
    assert re.search(r"toy\.answer\.0-1 +stale", called("experiments", "--out", "found").stdout)
    assert run("toy.answer", "--seeds", "0-1").exit_code == 0
    assert recorded("toy.answer.0-1")["tables"]["found"]["test_accuracy"] == [0.5, None]


def test_the_list_says_how_each_stands(toy):
    assert run("toy.answer", "--seeds", "0-1").exit_code == 0
    Path("checkpoints/bad.hangs.0").mkdir(parents=True)
    Path("checkpoints/bad.hangs.0/seconds.json").write_text("130.0")
    listed = runner.tasks(None, None, "found", "checkpoints", "toy-images.npz")
    said = dict(line.split(maxsplit=1) for line in show.listed(listed).splitlines() if line[:2] == "  ")
    assert re.fullmatch(r"done, 0\.\d min +0\.1 min", said["toy.answer.0-1"])
    assert re.fullmatch(r"to do +0\.1 min", said["toy.answer.2-3"])
    assert re.fullmatch(r"to do, 2 min in part +0\.1 min", said["bad.hangs.0"])
    assert re.fullmatch(r"(needs a GPU|to do) +not measured yet", said["bad.gpu.0"])
    table.EXPERIMENTS["toy"] = tuple(replace(cell, settings={"lost": 1}) for cell in toy.CELLS["toy"])
    listed = runner.tasks("toy.answer", [0, 1], "found", "checkpoints", "toy-images.npz")
    assert re.search(r"toy\.answer\.0-1 +stale +0\.1 min", show.listed(listed))


def test_what_fails_is_one_line_and_the_others_go_on(toy, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    table.EXPERIMENTS["bad"] = tuple(cell for cell in toy.CELLS["bad"] if cell.name != "hangs")
    done = run("bad", "--workers", "2")
    assert done.exit_code == 1
    assert {line for line in done.stderr.splitlines() if line.startswith("bad.")} == {
        "bad.fails.0: RuntimeError: no such thing", "bad.gpu.0: ValueError: needs a GPU, and torch sees none here",
    }  # fmt: skip
    assert not list(Path("found").iterdir())


def test_a_task_is_stopped_at_its_limit_and_its_checkpoint_is_kept(toy):
    done = run("bad.hangs", "--limit", "0.4")
    said = "bad.hangs.0: stopped after 0.4 minutes: the same command goes on from there"
    assert done.exit_code == 1 and done.stderr.splitlines()[-1] == said
    assert not list(Path("found").iterdir()) and Path("checkpoints/bad.hangs.0").is_dir()


ERRORS = {
    "an experiment": (["run", "winter"], "unknown experiment 'winter': known are toy, bad"),
    "a cell": (["run", "toy.winter"], "unknown cell of toy 'winter': known are search, answer"),
    "seeds": (["run", "toy", "--seeds", "3-1"], "seeds must be as in 0-3 or 0,2,5, got '3-1'"),
    "seeds twice": (["run", "toy", "--seeds", "1,1"], "seeds repeat: .*"),
    "no file": (["run", "toy"], r"toy\.search\.5,2 needs its data from a file: --data toy-images\.npz"),
    "a file": (["run", "toy", "--data", "no.npz"], "No such file or directory: .*no.npz"),
    "a broken file": (["run", "toy", "--data", "log"], ".*log is no data set: .*"),
    "a scheduler": (
        ["run", "toy", "--data", "toy-images.npz", "--scheduler", "tcp://127.0.0.1:9"],
        "no Dask scheduler answers at tcp://127.0.0.1:9",
    ),
    "a report": (["report", "found"], "no records of anything in found: there are none"),
    "other data": (
        ["run", "toy.answer", "--data", "others.npz", "--out", "found"],
        r"found holds a record of toy\.answer\.0-1 on toy-images, not on others: give another folder, --out DIR",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "says"), ERRORS.values(), ids=ERRORS)
def test_what_stops_all_is_one_line(arguments, says, toy):
    Path("log").write_text("no archive")
    np.savez("others.npz", **toy.images())
    if "others.npz" in arguments:
        assert run("toy.answer", "--seeds", "0-1").exit_code == 0
    done = called(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.fullmatch(says, done.stderr.strip()), done.stderr


def test_a_missing_package_is_named_with_its_extra(toy, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = run("toy.answer", "--scheduler", "tcp://127.0.0.1:9")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.strip() == 'this needs distributed: pip install "lthkit[dask]"'


def test_help_shows_an_example():
    for command in ("experiments", "run", "report"):
        assert f"Example: lthkit {command} " in " ".join(called(command, "--help").stdout.split())


def test_on_dask(toy):
    import distributed

    one = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "protocol": "tcp://", "dashboard_address": None}
    with distributed.LocalCluster(**one) as cluster:
        done = run("toy.answer", "--seeds", "0-1", "--scheduler", cluster.scheduler_address)
    assert done.exit_code == 0, done.output
    assert recorded("toy.answer.0-1")["tables"]["found"]["test_accuracy"] == [0.5, 0.625]


def test_the_report_has_means_and_intervals(toy):
    assert run("toy.answer").exit_code == 0
    said = called("report", "found").stdout
    assert said.startswith("toy.answer: At once?\ntoy-images, ") and "paper, it: 0.9" in said
    # Of 0.5, 0.625, 0.75, 0.875: mean 0.6875, t(3) 3.182, standard error 0.0807
    assert re.search(r"a +4 +68\.75 \(43\.07 to 94\.43\)", said) and "0.25" in said
    assert called("report", "found", "--name", "toy").stdout == said
    done = called("report", "found", "--name", "bad")
    assert done.exit_code == 2 and done.stderr.strip() == "no records of bad in found: there are toy.answer"


# Records themselves.


@pytest.fixture
def one(toy):
    assert run("toy.answer", "--seeds", "0-3").exit_code == 0
    return Path("found/toy.answer.0-1.json")


def test_tables_come_back_with_all_seeds(one):
    found = experiments.tables("found", "toy", "answer")
    assert list(found["found"].seed) == [0, 1, 2, 3] and found["found"].test_accuracy.dtype == float
    assert list(found["found"].columns) == ["arm", "seed", "test_accuracy"]
    pd.testing.assert_frame_equal(found["chosen"], own.answer(None, [0], one)["chosen"])
    record = json.loads(one.read_text()) | {"seeds": [1]}
    records.write("found", record)
    with pytest.raises(ValueError, match=r"answer\.0-1.*answer\.1.*do not fit together"):
        experiments.tables("found", "toy", "answer")
    Path("found/toy.answer.1.json").unlink()
    record = json.loads(one.read_text()) | {"seeds": [8], "images": "0"}
    records.write("found", record)
    with pytest.raises(ValueError, match="do not fit together"):
        experiments.tables("found", "toy", "answer")
    with pytest.raises(ValueError, match=r"no record of toy\.search in found: call lthkit run toy\.search"):
        experiments.tables("found", "toy", "search")


def test_numbers_keep_six_digits_and_a_lost_one_is_null(toy, one):
    record = json.loads(one.read_text())
    table = pd.DataFrame({"seed": [0, 1], "x": [2 / 3, np.nan], "n": [100_000_001, 2]})
    records.write("found", record | {"tables": {"t": records.as_columns(table)}})
    assert json.loads(one.read_text())["tables"]["t"] == {"seed": [0, 1], "x": [0.666667, None], "n": [100000001, 2]}


DAMAGE = {
    "cut": lambda text: text[: len(text) // 2],
    "a field": lambda text: text.replace('"seeds"', '"sedes"'),
    "a type": lambda text: text.replace('"threads": 1', '"threads": "1"'),
    "a column": lambda text: text.replace('"seed":[0,1]', '"seed":[0]'),
    "a newer one": lambda text: text.replace('"format": 1', '"format": 2'),
    "another's": lambda text: text.replace('"cell": "answer"', '"cell": "search"'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_record_is_named_with_a_remedy(damage, one):
    text = damage(one.read_text())
    assert text != one.read_text()
    one.write_text(text)
    reads = (["run", "toy.answer", "--out", "found"], ["report", "found"], ["experiments", "--out", "found"])
    for done in (called(*arguments) for arguments in reads):
        assert (done.exit_code, done.stdout) == (2, "")
        said = done.stderr.strip()
        assert "\n" not in said and said.startswith("found/toy.answer.0-1.json is no record: ")
        assert said.endswith("; delete it, and call lthkit run toy.answer again")


def test_seeds_in_a_name():
    for seeds, name in (([3], "3"), ([0, 1, 2], "0-2"), ([5, 2], "5,2"), ([0, 2, 3], "0,2,3")):
        assert records.span(seeds) == name
