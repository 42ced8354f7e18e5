"""`replicate` on tiny labs: what runs, in which order, where; and each thing that may go wrong, in one line."""

import errno
import json
import os
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from typer.testing import CliRunner

from lthkit import cli, data, files, replications
from lthkit.replications import execute, moved, runner

from .course import JUDGED, comparable, course, lab

RATES = {"lr": {"chosen": 0.2}, "logit_lr": {"chosen": 50}}
FACTS = {
    "versions": {"torch": "2", "numpy": "2", "python": "3", "lthkit": "0"}, "commit": "c" * 40, "processor": "p",
    "threads": 1, "seconds": 12.0,
}  # fmt: skip


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A course of one lab, as the current folder."""
    monkeypatch.chdir(course(tmp_path, _06_x=lab()))
    return tmp_path


@pytest.fixture
def quick(monkeypatch):
    """No process: each task is noted, and answered at once with differences that are all 0.02, or by an error."""
    asked = []

    def instead(text, runs, limit):
        if "no answer" in text:
            return {"error": "code cell 4 raised ValueError: no answer"}
        number = next(n for n in range(1, 100) if f"# Lab {n}\n" in text.replace("\\n", "\n") or n == 99)
        asked.append((number, runs))
        seeds = [run.get("seeds", range(10)) for run in runs]
        return {"verdicts": [{"k": verdict(each)} for each in seeds], "tables": [{} for _ in seeds], **FACTS}

    monkeypatch.setattr(runner, "execute", instead)
    return asked


def verdict(seeds, **changed) -> dict:
    return {
        "kind": "better", "status": "agrees", "claim": "A beats b", "scope": "digits", "column": "test_accuracy",
        "better": "a", "than": "b", "effect": 0.01, "n": len(seeds), "difference": 0.02, "low": 0.01, "high": 0.03,
        "confidence": 0.95, "differences": {"a − b": {str(seed): 0.02 + seed % 3 * 0.01 for seed in seeds}},
    } | changed  # fmt: skip


def replicate(*arguments, root=None):
    more = ["--root", str(root)] if root else []
    return CliRunner().invoke(cli.app, ["replicate", "--out", "found", *arguments, *more])


def record(name: str) -> dict:
    return json.loads(open(f"found/{name}.json").read())


@pytest.mark.labs
def test_a_lab_runs_in_its_settings_and_leaves_records(tiny, monkeypatch):
    (tiny / "found").mkdir()
    (tiny / "found/sgd_rates.json").write_text(json.dumps(RATES))
    monkeypatch.setenv("LTHKIT_RESULTS", str(tiny / "results"))
    own = [f"--setting={name}" for name in ("live", "fresh", "split", "sgd", "long")]
    done = replicate(*own, "--workers", "2")
    assert done.exit_code == 0, done.output
    found = {one["setting"]: one for one in replications.read("found")}
    assert found.keys() == {"live", "fresh", "split", "sgd", "long"}
    for one in found.values():
        assert list(one["verdicts"]) == ["both", "one", "seen"] and one["threads"] == 1 and one["seconds"] > 0
        assert one["versions"].keys() == {"torch", "numpy", "python", "lthkit"}
        assert str(tiny) not in json.dumps(one)
    seeds = {name: list(one["verdicts"]["one"]["differences"]["a − b"]) for name, one in found.items()}
    assert seeds["live"] == [str(n) for n in range(10)] and seeds["sgd"] == [str(n) for n in range(3000, 3010)]
    assert (
        sorted(seeds["split"]) == [str(n) for n in range(2000, 2020)] and found["split"]["verdicts"]["one"]["n"] == 20
    )
    assert found["long"]["verdicts"]["one"]["scope"] == "digits, split 0, 10 epochs"
    assert 50 <= len(seeds["fresh"]) <= 200 and seeds["fresh"][0] == "10000"
    assert sorted(os.listdir(tiny)) == ["found", "notebooks"]
    # Nothing runs twice, and a changed lab runs again.
    before = comparable(tiny / "found")
    times = {path: path.stat().st_mtime_ns for path in (tiny / "found").iterdir()}
    assert replicate(*own).exit_code == 0
    assert times == {path: path.stat().st_mtime_ns for path in (tiny / "found").iterdir()}
    course(tiny, _06_x=lab(judged=JUDGED + "# new"))
    assert replicate("--setting=live").exit_code == 0
    after = comparable(tiny / "found")
    live = "06_x.live.json"
    assert after[live]["hash"] != before[live]["hash"] and after[live]["verdicts"] == before[live]["verdicts"]


@pytest.mark.labs
def test_a_lab_of_the_real_calls(tiny):
    real = lab(
        "import pandas as pd\nfrom lthkit import report\nfrom lthkit.lab import quote\n"
        "rows = [{'arm': a, 'seed': s, 'test_accuracy': (s % 3 + (a == 'x')) / 100} for s in seeds for a in 'xy']\n"
        "quote(real=report.compare(pd.DataFrame(rows), 'test_accuracy', 'arm', 'x', 'y'), number=3)"
    )
    course(tiny, _06_x=real)
    assert replicate("--setting=live").exit_code == 0
    found = record("06_x.live")["verdicts"]["real"]
    assert found["differences"] == {"x − y": {str(seed): 0.01 for seed in range(10)}} and found["step"] == 0.01


def test_a_kernel_knows_nothing_of_the_reader_and_has_one_thread(tiny, monkeypatch):
    home = tiny / "home"
    (home / ".ipython/profile_default/startup").mkdir(parents=True)
    (home / ".ipython/profile_default/startup/00.py").write_text("epochs = 77")
    for name in ("HOME", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(home / ".ipython" if name == "IPYTHONDIR" else home))
    monkeypatch.setenv("LTHKIT_RESULTS", str(tiny / "results"))
    code = """import os, sys
from pathlib import Path
assert Path.cwd().parent == Path.home() and not list(Path.cwd().iterdir())
assert not [name for name in os.environ if name.startswith("LTHKIT_")]
assert all(os.environ[f"{name}_NUM_THREADS"] == "1" for name in ("OMP", "MKL", "OPENBLAS"))
assert Path(os.environ["IPYTHONDIR"]).parent == Path(os.environ["JUPYTER_DATA_DIR"]).parent == Path.home()
assert str(Path.home()) != %r and epochs == 2
""" % str(home)  # noqa: UP031 (the code has braces)
    course(tiny, _06_x=lab(code))
    done = replicate("--setting=live")
    assert done.exit_code == 0, done.output


def test_live_looks_run_first_then_fresh_seeds_then_the_cheapest(tiny, quick):
    for n, seconds in {2: 300.0, 3: 20.0}.items():
        course(tiny, **{f"_0{n}_x": lab(f"# Lab {n}\n")})
        old = FACTS | {"lab": f"0{n}_x", "setting": "split", "defaults": {}, "parameters": [], "hash": "0"}
        old |= {"verdicts": {}, "tables": {}, "date": "2026-11-24T21:00:00+00:00", "seconds": seconds}
        files_in = tiny / "found"
        files_in.mkdir(exist_ok=True)
        replications.records.write(files_in, old)
    (tiny / "notebooks/06_x.ipynb").unlink()
    asked = [f"--setting={name}" for name in ("split", "fresh", "live")]
    assert replicate(*asked, "--workers", "1").exit_code == 0
    kinds = [(n, len(runs), runs[0].get("seeds", [0])[0]) for n, runs in quick]
    assert kinds == [(2, 1, 0), (3, 1, 0), (2, 1, 10000), (3, 1, 10000), (3, 4, 2000), (2, 4, 2000)]


def test_fresh_seeds_are_as_many_as_needed_and_stay(tiny, quick):
    done = replicate("--setting=fresh")
    assert (done.exit_code, quick) == (
        1,
        [],
    ) and "06_x, fresh: needs the lab's record in setting 'live' first" in done.output
    assert replicate("--setting=live", "--setting=fresh").exit_code == 0
    (first,) = record("06_x.fresh")["parameters"]
    live = replications.find("found", "06_x", "live")
    wide = {"a − b": {str(seed): 0.5 * (seed % 2) for seed in range(10)}}
    live["verdicts"]["k"]["differences"] = wide
    replications.records.write("found", live)
    assert replicate("--setting=fresh").exit_code == 0 and len(quick) == 2, "the count has changed after the fact"
    # A changed claim gets seeds that were not used.
    course(tiny, _06_x=lab(judged=JUDGED + "# new"))
    assert replicate("--setting=live", "--setting=fresh").exit_code == 0
    (second,) = record("06_x.fresh")["parameters"]
    assert second["seeds"][0] == first["seeds"][-1] + 1 == 10050
    last = record("06_x.fresh") | {"hash": "0", "parameters": [{"seeds": [10960]}]}
    replications.records.write("found", last)
    assert "06_x, fresh: has used up its 1,000 fresh seeds" in replicate("--setting=fresh").stderr


@pytest.mark.labs
def test_a_task_that_fails_is_one_line_and_the_others_go_on(tiny):
    course(
        tiny, _07_y=lab("seeds[0]\nraise ValueError('no such thing\\nand more')"), _08_z=lab("import os; os._exit(3)")
    )
    done = replicate("--setting=live", "--workers", "2")
    assert done.exit_code == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("0")]
    assert "07_y, live: code cell 4 raised ValueError: no such thing" in said
    assert any(re.fullmatch("08_z, live: .*DeadKernelError.*", line) for line in said)
    assert [path.name for path in (tiny / "found").iterdir()] == ["06_x.live.json"]


@pytest.mark.labs
def test_a_task_has_a_time_limit(tiny):
    course(tiny, _06_x=lab("while True: pass"))
    assert replications.replicate(["06"], ["live"], "found", limit=0.1) == ["06_x, live: stopped after 0.1 minutes"]
    assert not list((tiny / "found").iterdir())


def test_runs_that_do_not_fit_together_are_a_failure(tiny, quick, monkeypatch):
    def instead(text, runs, limit):
        return {"verdicts": [{"k": verdict([1])} for _ in runs], "tables": [{} for _ in runs], **FACTS}

    monkeypatch.setattr(runner, "execute", instead)
    assert replications.replicate(["06"], ["split"], "found") == ["06_x, split: k: seeds ['1'] ran twice"]


ERRORS = {
    "a lab": (["--lab", "77"], "unknown lab '77': known are 06"),
    "a setting": (["--setting", "winter"], "unknown setting 'winter': known are live, fresh, split, .*"),
    "data": (["--setting", "fashion"], "no complete fashion_mnist under .*nowhere: load it once with download=True.*"),
    "rates": (["--setting", "sgd"], "no found/sgd_rates.json: choose the rates of SGD first, .* --choose-rates"),
    "a report": (["--report"], "no records to report: run lthkit replicate first"),
    "a canary": (["--canary"], "no live records in found: run lthkit replicate --setting live first"),
    "a scheduler": (
        ["--setting", "live", "--scheduler", "tcp://127.0.0.1:9"], "no Dask scheduler answers at tcp://127.0.0.1:9",
    ),
    "an address": (["--setting", "live", "--scheduler", "x://y"], "no Dask scheduler answers at x://y"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "says"), ERRORS.values(), ids=ERRORS)
def test_what_stops_all_is_one_line(arguments, says, tiny):
    done = replicate(*arguments, root=tiny / "nowhere")
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.fullmatch(says, done.stderr.strip()), done.stderr
    assert not [*(tiny / "found").glob("*")]


def test_a_scheduler_without_workers(tiny):
    import distributed

    empty = {"n_workers": 0, "processes": False, "protocol": "tcp://", "dashboard_address": None}
    with distributed.LocalCluster(**empty) as cluster:
        done = replicate("--setting=live", "--scheduler", cluster.scheduler_address)
    assert (done.exit_code, done.stdout) == (2, ""), (done.stderr, done.exc_info)
    assert done.stderr.strip() == f"the Dask scheduler at {cluster.scheduler_address} has no worker"


def test_a_folder_without_labs_or_with_a_broken_one(tiny):
    course(tiny, _07_y=nbformat.v4.new_notebook())
    assert "07_y.ipynb is no lab: it has no cell tagged `parameters`" in replicate().stderr
    (tiny / "notebooks/07_y.ipynb").write_text("{}")
    assert "07_y.ipynb is no lab" in replicate().stderr
    for path in (tiny / "notebooks").iterdir():
        path.unlink()
    done = replicate()
    assert done.exit_code == 2 and "call from the folder that holds the course" in done.stderr


@pytest.mark.parametrize("package", ["papermill", "distributed"])
def test_a_missing_package_is_named_with_its_extra(package, tiny, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    monkeypatch.setattr(runner.importlib.util, "find_spec", lambda name: None if name == package else name)
    extra = {"papermill": "replicate", "distributed": "dask"}[package]
    more = ["--scheduler", "tcp://127.0.0.1:9"] if package == "distributed" else []
    done = replicate("--setting=live", *more)
    assert done.exit_code == 2
    assert done.stderr.strip() == f'replicating needs {package}: pip install "lthkit[{extra}]"'


def test_a_full_disk_stops_all_in_one_line_and_leaves_no_half(tiny, monkeypatch):
    course(tiny, _07_y=lab("import time; time.sleep(600)"))
    write = os.fsync

    def full(number):
        if ".live.json" in os.readlink(f"/proc/self/fd/{number}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(number)

    monkeypatch.setattr(files.os, "fsync", full)
    done = replicate("--setting=live", "--workers", "2")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1] == "No space left on device: found/06_x.live.json"
    assert not list((tiny / "found").iterdir()) and not execute._running


def test_the_list(tiny, quick):
    assert replicate("--setting=live", "--setting=long").exit_code == 0
    course(tiny, _00_ticket_in_ten_minutes=lab(), _07_y=lab())
    text = (tiny / "found/06_x.live.json").read_text()
    (tiny / "found/06_x.live.json").write_text(re.sub('"date": "....-', '"date": "2020-', text))
    lines = [line.split(maxsplit=2) for line in replicate("--list").stdout.splitlines()]
    shown = {(name, setting): state for name, setting, state in lines}
    assert len(shown) == 3 * 7
    assert re.fullmatch(r"done, \d{4} days old, 0\.2 min", shown["06_x", "live"])
    assert shown["06_x", "mnist"] == "to do, 2.0 min" and shown["07_y", "live"] == "to do"
    assert shown["00_ticket_in_ten_minutes", "long"].startswith("exempt: The start page")
    course(tiny, _06_x=lab(judged=JUDGED + "# new"))
    assert "stale, 0 days old, 0.2 min" in replicate("--list", "--lab", "06", "--setting", "long").stdout


def test_the_report(tiny, quick):
    assert replicate("--setting=live", "--setting=split").exit_code == 0
    said = replicate("--report").stdout.splitlines()
    assert said[0] == "### Replications" and said[2].startswith(
        "- lthkit 0, numpy 2, python 3, torch 2 at cccccccccccc; p,"
    )
    assert "| 06 | live | k | agrees: +2.0 points (+1.0 to +3.0), 10 seeds |" in said
    assert any(line.startswith("| 06 | split | k | agrees: +3.0 points") and "20 seeds" in line for line in said)


def test_the_canary_names_labs_that_moved(tiny, quick, monkeypatch):
    course(tiny, _07_y=lab(), _08_z=lab())
    assert replicate("--setting=live").exit_code == 0
    assert (replicate("--canary").exit_code, [runs for _, runs in quick[3:]]) == (
        0,
        3 * [[where(tiny)]],
    )
    other = replications.find("found", "07_y", "live")
    other["verdicts"]["k"]["differences"]["a − b"]["1"] += 0.0025
    replications.records.write("found", other)
    done = replicate("--canary")
    assert done.exit_code == 1 and done.stderr.splitlines()[-1] == "07_y: k moved by up to 0.25 points in a seed"


def where(folder) -> dict:
    return {"root": str(folder / "data")}


def test_the_canary_compares_seed_by_seed_and_no_times():
    fact = {"kind": "observed", "status": "holds", "claim": "It is so"}
    old = {"k": verdict(range(3)), "time": verdict(range(3), column="seconds"), "fact": fact}
    new = {"k": verdict(range(3)), "time": verdict(range(3), column="seconds", differences={"a − b": {"0": 9.0}})}
    assert moved.differs(old, new | {"fact": fact}) == []
    new["fact"] = fact | {"status": "contradicted"}
    new["k"]["differences"]["a − b"]["2"] += 0.9 * moved.TOLERANCE
    assert moved.differs(old, new) == ["fact is contradicted, with 0 differences: it was holds, with 0"]
    new["k"]["differences"]["a − b"]["2"] += 0.2 * moved.TOLERANCE
    assert moved.differs(old, new | {"fact": fact}) == ["k moved by up to 0.11 points in a seed"]
    new["k"]["differences"] = {"a − b": {"77": 0.02}}
    assert moved.differs(old, new)[1:] == ["k is agrees, with 1 differences: it was agrees, with 3"]
    assert moved.differs(old, {}) == [f"{key} is new, or gone" for key in ("fact", "k", "time")]


def test_lthkit_data_answers_whether_it_is_what_was_published(tmp_path, monkeypatch):
    def called(name):
        return CliRunner().invoke(cli.app, ["data", name, "--root", str(tmp_path)])

    assert called("digits").output.endswith("10 classes): complete, as published\n")
    done = called("nist")
    assert done.exit_code == 2 and done.stderr.startswith("unknown data set 'nist': known are digits, mnist")
    monkeypatch.setattr("torchvision.datasets.MNIST.download", lambda self: lay_out(tmp_path / "MNIST/raw"))
    done = called("mnist")
    assert done.exit_code == 2 and not done.stdout
    assert done.stderr.startswith(f"mnist in {tmp_path}/MNIST/raw holds other files than published")
    monkeypatch.setitem(data.PUBLISHED, "mnist", data._fingerprint(tmp_path / "MNIST/raw"))
    assert called("mnist").output.startswith("Dataset('mnist': 1,000 / 5,000 / 20 images of 1×28×28")

    def no_network(self):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.FashionMNIST.download", no_network)
    done = called("fashion_mnist")
    assert (done.exit_code, done.stdout) == (2, "") and done.stderr.startswith("could not download fashion_mnist")


def lay_out(raw: Path) -> None:
    """Files in MNIST's format: 6,000 and 20 grey images."""
    raw.mkdir(parents=True)
    for part, count in (("train", 6_000), ("t10k", 20)):
        for what, shape in (("images-idx3", (count, 28, 28)), ("labels-idx1", (count,))):
            head = np.array([0x0800 + len(shape), *shape], dtype=">u4").tobytes()
            body = np.resize(np.arange(10, dtype=np.uint8), shape).tobytes()
            (raw / f"{part}-{what}-ubyte").write_bytes(head + body)
