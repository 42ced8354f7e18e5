"""What is left of each layer, on networks that one counts on paper."""

import math

import pandas as pd
import pytest
import torch

from lthkit import lottery
from lthkit.data import Dataset
from lthkit.lottery import Arm
from lthkit.networks import Dense
from lthkit.report import nonzeros

from ..oracles import pairs

NETWORK = Dense("small", [6, 5, 3])  # 30 and 15 weights; the output layer is pruned at half the rate
DATA = Dataset.from_tensors("small", *pairs())
COLUMNS = ["arm", "round", "seed", "layer", "weights", "kept", "nonzero", "pruned", "compression"]


def search(**settings):
    return lottery.search(NETWORK, DATA, seeds=[4, 7], rounds=2, rate=0.5, epochs=1, **settings)


def pruned(table: pd.DataFrame, **where) -> dict[str, int]:
    for column, value in where.items():
        table = table[table[column] == value]
    return dict(zip(table["layer"], table["pruned"], strict=True))


def test_a_run_counted_on_paper():
    # fc1: 30, 15, round(7.5) = 8 more.  fc2 loses a quarter: round(3.75) = 4 of 15, round(2.75) = 3 of 11.
    table = nonzeros(search())
    assert list(table) == COLUMNS and len(table) == 3 * 2 * 3
    for seed in (4, 7):
        assert pruned(table, round=0, seed=seed) == {"fc1.weight": 0, "fc2.weight": 0, "overall": 0}
        assert pruned(table, round=1, seed=seed) == {"fc1.weight": 15, "fc2.weight": 4, "overall": 19}
        assert pruned(table, round=2, seed=seed) == {"fc1.weight": 23, "fc2.weight": 7, "overall": 30}
    row = table[(table["round"] == 2) & (table.seed == 7) & (table.layer == "overall")].iloc[0]
    assert (row.arm, row.weights, row.kept, row.nonzero, row.compression) == ("rewind", 45, 1 / 3, 1 / 3, 3)


def test_frozen_values_are_pruned_and_not_zero():
    table = nonzeros(search(arms=[Arm("zero"), Arm("freeze", mask_0="freeze")]))
    assert list(table.arm.unique()) == ["zero", "freeze"]
    last = table[table["round"] == 2].set_index(["arm", "seed", "layer"])
    assert (last.loc["zero"].pruned == last.loc["freeze"].pruned).all()
    assert (last.loc["zero"].nonzero == last.loc["zero"].kept).all() and (last.loc["freeze"].nonzero == 1).all()


@pytest.mark.parametrize("mask_0", ["zero", "freeze", "variant_1"])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_all_layers_together_are_those_of_the_runs_table(mask_0, scope):
    run = search(mask_0=mask_0, scope=scope)
    overall = nonzeros(run).query("layer == 'overall'").sort_values(["round", "seed"])
    for column in ("kept", "nonzero"):
        assert overall[column].tolist() == pytest.approx(run.table.sort_values(["round", "seed"])[column].tolist())


def test_each_seed_and_each_frozen_value_counts_for_itself():
    # By hand: seed 4 keeps 3 of fc1, seed 7 none; two pruned weights of seed 7 are frozen at 1, one at 0.
    run = search()
    run.round(None, 2).masks["fc1.weight"].fill_(False)
    run.round(None, 2).masks["fc1.weight"][0, 0, :3] = True
    before = nonzeros(run)
    first = before[(before["round"] == 2) & (before.layer == "fc1.weight")]
    assert first.pruned.tolist() == [27, 30] and first.compression.tolist() == [10, math.inf]

    frozen = {"fc1.weight": torch.zeros(2, 5, 6)}
    frozen["fc1.weight"][1, 4, :2] = 1.0
    again = lottery.Run(None, None, run.seeds, run.initial, run.dense, run.settings)
    again.add(lottery.Round("rewind", 2, run.masks(round=2), frozen, run.history(), run.round().rows))
    first = nonzeros(again).query("layer == 'fc1.weight'")
    assert first.kept.tolist() == [0.1, 0] and first.nonzero.tolist() == [3 / 30, 2 / 30]
    assert first.pruned.tolist() == [27, 30] and first.compression.tolist() == [10, 15]


def test_a_run_from_disk(tmp_path):
    run = search(mask_0="variant_1")
    run.save(tmp_path / "run")
    pd.testing.assert_frame_equal(nonzeros(lottery.load(tmp_path / "run")), nonzeros(run))
