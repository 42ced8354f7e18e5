"""One record at full scale is computed anew, from the real Fashion-MNIST; where that is missing, CI fails."""

from pathlib import Path

import pytest

from lthkit import experiments, report
from lthkit.replications.execute import facts

from ..test_loaders import unpack

pytestmark = pytest.mark.labs
RECORDS = Path(__file__).parents[2] / "book/results/full_scale"
EXPERIMENT, CELL, SEEDS = "small", "tickets", [0, 1, 2]
WHAT = f"run lthkit run {EXPERIMENT}.{CELL}"


def test_the_named_record_is_what_its_cell_gives(tmp_path):
    record = experiments.find(RECORDS, EXPERIMENT, CELL, SEEDS)
    assert record is not None, f"no record: {WHAT}"
    unpack(tmp_path / "data")
    kept = {"out": tmp_path, "root": tmp_path / "data", "checkpoints": tmp_path / "checkpoints"}
    assert experiments.run(f"{EXPERIMENT}.{CELL}", **kept, workers=1) == []
    again = experiments.find(tmp_path, EXPERIMENT, CELL, SEEDS)
    assert again["hash"] == record["hash"], f"the record is stale: {WHAT}"
    assert again["images"] == record["images"]
    for found in (again, record):
        found["tables"]["rounds"].pop("seconds")
    if all(record[name] == facts()[name] for name in ("processor", "versions", "threads")):
        assert again["tables"] == record["tables"]
        return
    new, old = (experiments.tables(folder, EXPERIMENT, CELL)["rounds"] for folder in (tmp_path, RECORDS))
    about = ["arm", "round", "seed", "kept"]
    assert new[about].equals(old[about])
    for _, rows in old.groupby(["arm", "round"]):  # elsewhere rounding differs, and a seed by some images
        _, low, high = report.interval(rows.test_accuracy)
        assert low <= new.loc[rows.index].test_accuracy.mean() <= high
