"""Records: what is written is read, what is broken is named, runs are merged, and an old one is told from a new."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from lthkit import replications, report
from lthkit.replications import records
from lthkit.replications.labs import Lab

from .course import JUDGED, PARAMETERS, course, lab


def looked(seeds, scope="digits, split 1, 5 seeds") -> report.Verdict:
    rng = np.random.default_rng(list(seeds))
    rows = [
        {"arm": a, "seed": s, "test_accuracy": round(400 * v) / 400}
        for a in "ab"
        for s, v in zip(seeds, rng.random(len(seeds)), strict=True)
    ]
    return report.compare(pd.DataFrame(rows), "test_accuracy", "arm", "a", "b", claim="A beats b", scope=scope)


def record(**changed) -> dict:
    found = {
        "lab": "06_x", "setting": "live", "defaults": {"epochs": 2}, "parameters": [{}],
        "verdicts": {"k": looked(range(5)).to_dict(), "f": report.fact("It is", True).to_dict()},
        "tables": {}, "versions": {"torch": "2"}, "commit": None, "processor": "p", "threads": 1, "seconds": 1.25,
        "date": "2026-11-24T21:00:00+00:00", "hash": "0",
    }  # fmt: skip
    return found | changed


def test_what_is_written_is_read(tmp_path):
    records.write(tmp_path, record())
    (tmp_path / "sgd_rates.json").write_text("{}")
    (found,) = replications.read(tmp_path)
    assert found == json.loads(records.text(record())) and found["seconds"] == 1.25
    assert replications.find(tmp_path, "06_x", "live") == found and replications.find(tmp_path, "06_x", "mnist") is None
    for verdict, before in ((found["verdicts"][key], record()["verdicts"][key]) for key in "kf"):
        assert report.Verdict.from_dict(verdict).status == before["status"]
    assert list(found["verdicts"]["k"]["differences"]["a − b"]) == list("01234")


def test_floats_keep_six_digits_and_a_file_has_a_line_a_verdict(tmp_path):
    differences = {"a − b": {"0": 1 / 3, "1": 2e5 / 3}}
    verdict = looked(range(5)).to_dict() | {"differences": differences}
    text = records.text(record(verdicts={"k": verdict}))
    assert '"0":0.333333,"1":66666.7}' in text
    assert len(text.splitlines()) < 30


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda text: text[:-20], "is no record: "),
        (lambda text: "[]", "is no record: "),
        (lambda text: text.replace('"hash"', '"hush"'), "is no record: it has no 'hash'"),
        (lambda text: text.replace('"threads": 1', '"threads": "1"'), "threads is '1'"),
        (lambda text: text.replace('"06_x"', '"07_x"'), "it is of 07_x, live"),
        (lambda text: text.replace('"kind":"better"', '"sort":"better"'), "is no record: .*sort"),
        (lambda text: text.replace('"differences":{"a − b"', '"differences":{},"source":{"a − b"'), "no differences"),
    ],
)
def test_a_broken_file_is_named(spoil, says, tmp_path):
    records.write(tmp_path, record())
    path = records.place(tmp_path, "06_x", "live")
    before = path.read_text()
    path.write_text(spoil(before))
    assert path.read_text() != before
    with pytest.raises(ValueError, match=says) as raised:
        replications.read(tmp_path)
    assert str(path) in str(raised.value)


def test_runs_are_merged_as_if_they_were_one():
    runs = [looked(range(5 * n, 5 * n + 5), f"digits, split {n + 1}, 5 seeds") for n in range(4)]
    facts = [report.fact("It is", n != 2, kind="observed") for n in range(4)]
    found = [{"k": run.to_dict(), "f": fact.to_dict()} for run, fact in zip(runs, facts, strict=True)]
    merged = {key: report.Verdict.from_dict(one) for key, one in replications.merge(found).items()}
    assert merged["f"].status == "contradicted" and replications.merge(found[:1]) == found[0]
    together = {str(seed): value for run in runs for seed, value in run.differences["a − b"].items()}
    assert merged["k"].differences == {"a − b": together} and merged["k"].n == 20
    assert merged["k"].scope == "digits, split 1 / split 2 / split 3 / split 4, 5 seeds"
    mean, low, high = report.interval(list(together.values()))
    assert (merged["k"].difference, merged["k"].low, merged["k"].high) == pytest.approx((mean, low, high))
    with pytest.raises(ValueError, match=r"seeds .*4.* ran twice"):
        replications.merge([found[0], found[0]])
    with pytest.raises(ValueError, match=r"k is missing in runs \[2\] of 2"):
        replications.merge([found[0], {"f": found[1]["f"]}])


def test_tables_of_several_runs_stand_below_each_other():
    runs = [{"leads": {"seed": [0, 1], "lead": [0.5, 0.25]}}, {"leads": {"seed": [2], "lead": [0.125]}}]
    assert records.joined(runs) == {"leads": {"seed": [0, 1, 2], "lead": [0.5, 0.25, 0.125]}}
    assert records.joined([{}, {}]) == {}


def test_a_record_is_stale_once_verdict_cells_or_parameters_change(tmp_path):
    path = course(tmp_path, _06_x=lab()) / "notebooks/06_x.ipynb"
    old = record(hash=Lab("06_x", path.read_text()).hash([{}]))
    assert not replications.stale(old, path)
    for changed, expected in (
        (lab("print('more')"), False),
        (lab(parameters=PARAMETERS.replace('"data"', '"elsewhere"').replace("one a pair", "a pair each")), False),
        (lab(judged=JUDGED + "# a remark"), True),
        (lab(parameters=PARAMETERS.replace("epochs = 2", "epochs = 3")), True),
        (lab(parameters=PARAMETERS + "rounds = 4"), True),
    ):
        nbformat.write(changed, path)
        assert replications.stale(old, path) == expected
    assert replications.stale(record(hash=old["hash"], parameters=[{"split": 1}]), path)


@pytest.fixture
def committed() -> Path:
    return Path(__file__).parents[2] / "book/results/replications"


def test_the_records_of_the_course_are_whole_and_small(committed):
    found = replications.read(committed)
    assert sum(path.stat().st_size for path in committed.iterdir()) < 2_000_000
    pairs = {(one["lab"], one["setting"]) for one in found}
    assert not pairs & replications.EXEMPT.keys(), "a pair is exempt and has a record"
    for one in found:
        seeds = [seed for run in one["parameters"] for seed in run.get("seeds", [])]
        assert len(seeds) == len(set(seeds))


def test_stale_records_are_listed(committed):
    """Below pytest's results.  They do no harm, as pages show their age."""
    for one in replications.read(committed):
        notebook = committed.parents[2] / f"notebooks/{one['lab']}.ipynb"
        assert notebook.exists(), f"{one['lab']} has a record and is no lab"
        if replications.stale(one, notebook):
            warnings.warn(f"{one['lab']}, {one['setting']}: stale, {replications.age(one)} days old", stacklevel=1)


def test_a_look_again_at_the_same_differences_is_the_same_look():
    one = looked(range(12))
    assert report.again(one, one.differences) == one
    both = report.every(
        [one, replace(one, differences={"a − c": {1: 0.5, 2: -0.5, 3: 0.0}})], claim="Both", better="each"
    )
    other = report.again(both, {"a − b": {1: 0.3, 2: 0.3, 3: 0.3}, "a − c": {1: -0.3, 2: -0.3, 3: -0.3}})
    assert (other.status, other.difference, other.better, other.n) == ("disagrees", -0.3, "each", 3)
    half = 4.302653 * one.step / 6**0.5 / 3**0.5  # equal to the image: the spread of rounding
    assert other.high - other.difference == pytest.approx(half, rel=1e-6)
    with pytest.raises(ValueError, match="is not measured: its kind is exact"):
        report.again(report.fact("It is", True), one.differences)
