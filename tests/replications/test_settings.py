"""The table of settings, and that each pair of lab and setting is a task or exempt."""

from itertools import chain
from pathlib import Path

import pytest

from lthkit import replications
from lthkit.replications import EXEMPT, SETTINGS, Task
from lthkit.replications.choose import SEEDS

from .course import PARAMETERS, course, lab

ROOT = Path(__file__).parents[2]
LABS = {one.name: one for one in replications.labs(ROOT / "notebooks").values()}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", LABS)
def test_every_pair_is_a_task_or_exempt(name, setting):
    task = Task(LABS[name], setting, ROOT / "book/results/replications")
    if task.exempt:
        return
    assert SETTINGS[setting].about <= LABS[name].defaults.keys()
    if setting != "fresh":
        for given, run in zip(task.given(), SETTINGS[setting].runs, strict=True):
            assert given.keys() >= run.keys()


def test_exemptions_name_what_there_is_in_sentences():
    assert {name for name, _ in EXEMPT} <= LABS.keys() and {setting for _, setting in EXEMPT} <= SETTINGS.keys()
    for reason in EXEMPT.values():
        assert reason[0].isupper() and reason[-1] == "." and len(reason.split()) >= 5


def test_no_seed_serves_twice():
    seeds = [*range(10), *SEEDS, *chain(*(run["seeds"] for s in SETTINGS.values() for run in s.runs if "seeds" in run))]
    assert len(seeds) == len(set(seeds))
    assert [len(SETTINGS[name].runs) for name in SETTINGS] == [1, 1, 4, 1, 1, 1, 1]
    assert all(len(run["seeds"]) == 5 for run in SETTINGS["split"].runs)


@pytest.fixture
def tiny(tmp_path):
    course(tmp_path, _06_x=lab(parameters=PARAMETERS + "long_epochs = 60\n"))
    (tmp_path / "sgd_rates.json").write_text('{"lr": {"chosen": 0.2}, "logit_lr": {"chosen": 50}}')
    return lambda setting: Task(replications.labs(tmp_path / "notebooks")["06"], setting, tmp_path)


def test_only_parameters_that_the_lab_has_are_given(tiny):
    assert tiny("live").given() == [{}]
    assert tiny("long").given() == [{"seeds": [*range(4000, 4010)], "epochs": 10, "long_epochs": 300}]
    assert tiny("sgd").given() == [{"optimizer": "sgd", "seeds": [*range(3000, 3010)], "lr": 0.2}]
    assert [run["split"] for run in tiny("split").given()] == [1, 2, 3, 4]
    (run,) = tiny("mnist").given()
    assert run == {"dataset": "mnist", "subset": 1197, "seeds": [*range(6000, 6010)]}


def test_a_lab_that_lacks_what_a_setting_is_about_must_be_exempt(tmp_path):
    course(tmp_path, _06_x=lab(parameters="seeds = range(3)\nepochs = 1"))
    known = replications.labs(tmp_path / "notebooks")
    for setting, missing in {"split": "split", "mnist": "dataset", "sgd": "optimizer"}.items():
        (tmp_path / "sgd_rates.json").write_text('{"lr": {"chosen": 0.2}, "logit_lr": {"chosen": 50}}')
        with pytest.raises(ValueError, match=f"06_x has no parameter {missing}: exempt it from '{setting}'"):
            Task(known["06"], setting, tmp_path).given()
    course(tmp_path, _06_x=lab(parameters="seeds = range(3)"))
    with pytest.raises(ValueError, match="06_x has no parameter epochs: exempt it from 'long'"):
        Task(replications.labs(tmp_path / "notebooks")["06"], "long", tmp_path).given()
