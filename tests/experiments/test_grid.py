"""The declared cells are sound, and each does what it should on a few small images."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from lthkit.data import Dataset
from lthkit.experiments import EXPERIMENTS, cells, read, tables
from lthkit.networks import Dense

FOLDER = Path(__file__).parents[2] / "book/results/full_scale"
CELLS = {f"{name}.{cell.name}": cell for name, grid in EXPERIMENTS.items() for cell in grid}
SHORT = {
    "iterations": 6, "epochs": 1, "count": 2, "at": [1, 2], "drawn": [0, 1], "shares": [0.3, 0.6], "checks": 2,
    "tried": {"seeds": [9], "iterations": 2}, "eval_every": 2, "device": "cpu",
}  # fmt: skip
# Of each function, the columns that its rows are about, by table.
ABOUT = {
    "rounds": ["arm", "round"], "curves": None, "by_criterion": ["criterion", "weights", "kept", "chosen"],
    "trained": [], "accuracy": ["weights", "rescale", "lr"], "rates": None,
}  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_says_what_it_is(name):
    cell = CELLS[name]
    assert len(CELLS) == sum(map(len, EXPERIMENTS.values())), "a name twice"
    assert all(part.isascii() and part.replace("_", "").isalnum() for part in name.split("."))
    for value in (cell.settings, cell.paper):
        assert json.loads(json.dumps(dict(value))) == dict(value)
    assert cell.asks and "\n" not in cell.asks and cell.asks[-1] in ".?"
    assert len(set(cell.seeds)) == len(cell.seeds) > 0 and 1 <= cell.stack <= len(cell.seeds)
    assert cell.device == cell.settings.get("device", "cpu")
    assert (cell.minutes is None) == (cell.device == "cuda")
    assert cell.minutes is None or 0 < cell.minutes <= 60 or name.startswith("convolutions.")


@pytest.fixture(scope="module")
def small():
    generator = torch.Generator().manual_seed(0)
    parts = [(torch.rand(n, 3, 8, 8, generator=generator), torch.arange(n) % 3) for n in (40, 12, 15)]
    return Dataset.from_tensors("small", *parts)


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_runs_and_goes_on_to_the_same_tables(name, small, tmp_path):
    cell = CELLS[name]
    settings = {name: SHORT.get(name, value) for name, value in cell.settings.items()} | {"batch_size": 20}
    if cell.function.__name__ == "tickets" and "lr" not in settings:
        assert cell.subset  # the one that has the defaults of `Settings`
    first, again = (cell.function(small, [3, 1], tmp_path, **settings) for _ in range(2))
    assert first.keys() == again.keys()
    for what, table in first.items():
        assert len(table) and not table.drop(columns="seconds", errors="ignore").isna().any().any()
        pd.testing.assert_frame_equal(table, again[what].assign(seconds=table.get("seconds"))[table.columns])
        if ABOUT[what] is not None:
            assert list(table.columns[: table.columns.get_loc("seed")]) == ABOUT[what]
        if "seed" in table:
            assert set(table.seed) == {3, 1}
            assert not table.duplicated([*table.columns[: table.columns.get_loc("seed") + 1]]).any()
    if len(cell.settings.get("rates", [])) > 1:
        best = first["rates"].lr[first["rates"].val_accuracy.idxmax()]
        assert set(first["accuracy"].lr) == {best} and list(first["rates"].lr) == sorted(cell.settings["rates"])


def test_the_papers_schedule_is_the_papers():
    tickets = {cell.name: cell for cell in EXPERIMENTS["frankle_carbin"]}["tickets"]
    own = {"iterations": 50_000, "batch_size": 60, "optimizer": "adam", "lr": 1.2e-3, "count": 16, "rate": 0.2}
    assert own.items() <= tickets.settings.items() and tickets.settings["eval_every"] == 100
    # Hidden layers lose 20 % a round, the output layer 10 %: below 3 % after 16 rounds, not after 15.
    sizes = {784 * 300: 0.8, 300 * 100: 0.8, 100 * 10: 0.9}
    kept = [sum(size * left**n for size, left in sizes.items()) / sum(sizes) for n in (3, 7, 9, 15, 16)]
    assert [round(100 * share, 2) for share in kept] == [51.28, 21.07, 13.52, 3.58, 2.87]
    (paper,) = [cell for cell in EXPERIMENTS["zhou_supermask"] if cell.name == "paper_initial"]
    own = {"optimizer": "sgd", "momentum": 0.9, "rates": [100.0], "batch_size": 250, "epochs": 2_000}
    assert own.items() <= paper.settings.items() and not paper.settings["rescale"]


def test_one_shot_removes_what_the_ladder_has(small, tmp_path):
    cell = {cell.name: cell for cell in EXPERIMENTS["frankle_carbin"]}
    short = {"rate": 0.2, "iterations": 2, "batch_size": 20, "eval_every": 2}
    once = cell["one_shot"].function(small, [3], tmp_path / "once", at=[1, 3], **short)["rounds"]
    steps = cell["tickets"].function(small, [3], tmp_path / "steps", count=3, drawn=[0], **short)["rounds"]
    steps = steps[steps.arm == "rewind"].set_index("round").kept
    assert list(once["round"]) == [1, 3]
    for number, kept in zip(once["round"], once.kept, strict=True):
        assert kept == pytest.approx(steps[number], abs=1e-4)  # each round rounds to whole weights


def test_rates_are_chosen_on_validation_without_test_images(small, tmp_path):
    cell = CELLS["zhou_supermask.learned_initial"]
    settings = {name: SHORT.get(name, value) for name, value in cell.settings.items()}
    other = replace(small, test_y=small.test_y.flip(0))
    found, moved = (cell.function(data, [3], tmp_path / str(i), **settings) for i, data in enumerate([small, other]))
    pd.testing.assert_frame_equal(found["rates"], moved["rates"])
    assert found["accuracy"].test_accuracy[0] != moved["accuracy"].test_accuracy[0]
    rate, table = cells.best_on_validation({0.1: 0.7, 0.3: 0.9, 0.2: 0.9}.get, [0.3, 0.1, 0.2])
    assert rate == 0.2 and list(table.lr) == [0.1, 0.2, 0.3]


def test_curves_keep_both_ends_and_few_points():
    for count in (1, 2, 30, 501):
        at = cells.thinned(count).tolist()
        assert at[0] == 0 and at[-1] == count - 1 and len(at) == len(set(at)) <= cells.POINTS
    assert len(cells.thinned(501)) == cells.POINTS and cells.thinned(12).tolist() == list(range(12))


def test_a_hash_tells_settings_data_and_source():
    cell = CELLS["small.tickets"]
    others = [
        cell.hash("mnist"), replace(cell, settings={**cell.settings, "rate": 0.5}).hash(cell.dataset),
        replace(cell, subset=9).hash(cell.dataset), replace(cell, function=lambda *_: {}).hash(cell.dataset),
    ]  # fmt: skip
    assert len({cell.hash(cell.dataset), *others}) == 5
    assert replace(cell, asks="Other?", minutes=9).hash(cell.dataset) == cell.hash(cell.dataset)


def test_on_device_places_every_draw():
    network = cells.on_device(Dense("d", [4, 3]), "meta")
    assert {value.device.type for value in network.init([0]).values()} == {"meta"}


def test_the_records_of_the_course_are_few_bytes_and_of_the_cells_as_they_stand():
    found = read(FOLDER)
    assert found and sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_000_000
    for record in found:
        cell = CELLS[f"{record['experiment']}.{record['cell']}"]
        remedy = f"lthkit run {record['experiment']}.{record['cell']}"
        assert record["hash"] == cell.hash(record["dataset"]) and record["dataset"] == cell.dataset, remedy
        assert tables(FOLDER, record["experiment"], record["cell"])
