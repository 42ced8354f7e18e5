"""Columns: all that tables, labs and figures have are known, and no name is guessed at."""

import ast
import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lthkit import columns, lottery, supermask
from lthkit.columns import COLUMNS, Column, of
from lthkit.data import Dataset
from lthkit.networks import Dense
from lthkit.report import compare, nonzeros

from .oracles import pairs

LABS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
KEYS = {"arm", "seed", "round", "layer", "chosen", "censored", "diverged"}  # which row it is, and flags


def test_every_column_of_every_table_is_known():
    data, network = Dataset.from_tensors("small", *pairs()), Dense("small", [6, 5, 3])
    run = lottery.search(network, data, seeds=[0, 1], rounds=1, epochs=1)
    learned = supermask.learn(network, data, seeds=[0, 1], epochs=1)
    popup = supermask.edge_popup(network, data, seeds=[0, 1], epochs=1)
    masks = supermask.by_criterion(network, data, [0, 1])
    tables = [run.table, run.history().table(), nonzeros(run), masks.table]
    tables += [table for found in (learned, popup) for table in (found.table, found.history, found.shares)]
    met = {column for table in tables for column in table} - KEYS
    of_labs = {"share", "cosine", "reached", "lead", "relative_time", "instability"}
    assert met == set(COLUMNS) - of_labs, "the labs' own aside"


def asked_for(path: Path) -> list[str]:
    """Columns that a lab compares, or has drawn by plots.intervals or plots.curves, as source."""
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    found = []
    for node in ast.walk(ast.parse("\n".join(cell for cell in cells if "%pip" not in cell))):
        if isinstance(node, ast.Call):
            found += [keyword.value for keyword in node.keywords if keyword.arg == "column"]
            if ast.unparse(node.func) in ("report.compare", "plots.intervals", "plots.curves"):
                found += node.args[1:2]
        elif isinstance(node, ast.Dict):  # settings that several comparisons share
            found += [v for k, v in zip(node.keys, node.values, strict=True) if k and ast.unparse(k) == "'column'"]
    return [ast.unparse(value) for value in found]


def test_every_column_that_a_lab_compares_is_known():
    asked = [column for path in LABS for column in asked_for(path)]
    assert len(asked) > 20 and set(asked) <= {repr(name) for name in COLUMNS}


@pytest.mark.parametrize(
    "column, expected",
    [
        ("test_accuracy", (" points", 100, 1, "more accurate", "less accurate", False)),
        ("early_stop_iteration", (" iterations", 1, 0, "earlier", "later", True)),
        ("seconds", (" seconds", 1, 3, "faster", "slower", True)),
        ("val_loss", ("", 1, 3, "lower", "higher", True)),
        ("nonzero", (" points", 100, 1, "higher", "lower", False)),
        ("share", (" points", 100, 1, "higher", "lower", False)),
        ("instability", (" points", 100, 1, "lower", "higher", True)),
        ("cosine", ("", 1, 3, "higher", "lower", False)),
    ],
)
def test_what_columns_mean(column, expected):
    found = of(column)
    shown = (found.unit, found.scale, found.digits, found.better, found.worse, found.less_is_better)
    assert shown == expected and found is COLUMNS[column]


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_does_not_contradict_itself(name):
    found = COLUMNS[name]
    assert (found.scale == 100) == (found.unit == " points") == found.label.endswith((", %", ", points"))
    assert found.better != found.worse and found.label and found.unit == found.unit.rstrip()
    assert found.less_is_better == (found.better in ("lower", "earlier", "faster"))
    with pytest.raises(FrozenInstanceError):
        found.scale = 1


@pytest.mark.parametrize("name", ["anything", "loss_of_sleep", "accuracy_rank", "shareholders", "seconds_saved", ""])
def test_a_column_that_is_not_listed_is_shown_as_it_is(name):
    assert of(name) == Column(name, "", 1, 3, "higher", "lower", False)
    assert name not in COLUMNS, "asking adds nothing"


def test_a_column_can_be_added(monkeypatch):
    rows = pd.DataFrame({"arm": ["a"] * 4 + ["b"] * 4, "seed": [*range(4)] * 2, "batches": np.arange(8.0)})
    assert compare(rows, "batches", "arm", "a", "b").finding == "a is lower than b"
    added = Column("batches", " batches", digits=0, better="earlier", worse="later", less_is_better=True)
    monkeypatch.setitem(columns.COLUMNS, "batches", added)
    verdict = compare(rows, "batches", "arm", "a", "b")
    assert (verdict.status, verdict.sentence) == ("agrees", "A is earlier than b: −4 batches (−5 to −3), 4 seeds.")
