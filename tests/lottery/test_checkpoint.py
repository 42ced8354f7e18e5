"""A search with a checkpoint: broken off or killed wherever it may be, it ends as if it had not been."""

import json
import pickle
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from lthkit import actions, lottery
from lthkit.data import Dataset
from lthkit.lottery import Arm, retrain, search
from lthkit.networks import Dense, from_module

from ..oracles import pairs
from ..test_checkpoints import BrokenOff, broken_off, contents, in_pieces, rising, same
from . import killed


class Double(Dense):
    """Drawn in float64, so that weights can be finite and their products not."""

    def draw(self, generators):
        return {name: value.double() for name, value in super().draw(generators).items()}


class Norm(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))


NETWORK, NORM = Double("double", [6, 8, 5, 3]), from_module(Norm)
DATA = Dataset.from_tensors("small", *pairs())  # 50 / 20 / 30 images
SEEDS = [5, 2, 11]
SMALL = {"seeds": SEEDS, "rounds": 2, "rate": 0.4, "epochs": 2, "batch_size": 15, "lr": 0.01}  # 8 steps a round
ARMS = [Arm("a"), Arm("b", "movement", mask_1="reinit", mask_0="freeze"), Arm("c", schedule="one_shot")]


def small(network=NETWORK, data=DATA, **changes):
    return search(network, data, **SMALL | changes)


def poisoned(network, initial, final, masks, generators):
    """In round 2, where 36 % are kept, the second seed starts from weights that overflow."""
    start = actions.rewind(network, initial, final, masks, generators)
    if 0.3 < masks["fc1.weight"].double().mean() < 0.5:
        start = {name: value.index_fill(0, torch.tensor(1), 1e200) for name, value in start.items()}
    return start


def last(evidence):
    """A criterion of a name that another one has."""
    return {name: value.abs() for name, value in evidence.final.items() if name in evidence.masks}


def another_last():
    def last(evidence):
        return {name: -value.abs() for name, value in evidence.final.items() if name in evidence.masks}

    return last


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fits(monkeypatch):
    """The name of each fit with a checkpoint, as it begins."""
    found, fit = [], lottery.fit

    def logged(*given, checkpoint=None, **named):
        if checkpoint is not None:
            found.append(checkpoint.prefix.rstrip("-"))
        return fit(*given, checkpoint=checkpoint, **named)

    monkeypatch.setattr(lottery, "fit", logged)
    return found


def whole_files(arms: int, rounds: int) -> set[str]:
    """What a checkpoint holds in the end."""
    names = {f"round-{place}-{number}" for place in range(arms) for number in range(rounds + 1)}
    return {f"{name}.safetensors" for name in names | {"call", "run"}}


# --- what goes on ---

SEARCHES = {
    "adam": {},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
    "sgd": {"optimizer": "sgd", "weight_decay": 0.1, "lr": 0.1},
    "schedule": {"lr_schedule": rising},
    "orders": {"order_seeds": [1, 1, 2]},
    "rewound": {"rewind_to": 3},
    "continued": {"mask_1": "continue"},
    "arms": {"arms": ARMS},
    "one shot": {"schedule": "one_shot"},
    "global": {"scope": "global"},
    "few weights": {"rounds": 4},
    "rates by layer": {"rate": {"fc1.weight": 0.5, "fc2.weight": 0.2, "fc3.weight": 0}},
    "random": {"criterion": "random"},
    "fisher": {"criterion": "fisher"},
    "callable": {"criterion": last},
    "batch norm": {"network": NORM, "rewind_to": 3},
    "diverged": {"mask_1": poisoned, "rounds": 3},
    "all diverged": {"optimizer": "sgd", "lr": 1e300},
    "all test images": {"test_curve": True, "eval_every": 3},
    **{name: {"mask_0": name} for name in actions.MASK_0},
    **{name: {"mask_1": name} for name in actions.MASK_1 if "re" in name or "constant" in name},
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_goes_on_bit_for_bit(name, two_threads, tmp_path):
    call = partial(small, **SEARCHES[name])
    whole = call()
    found, pieces = in_pieces(call, tmp_path, 11)
    assert pieces >= 2 and same(found, whole)
    arms, rounds = len(whole.arms), max(whole.rounds(whole.arms[0]))
    assert set(contents(tmp_path)) == whole_files(arms, rounds)
    if name == "diverged":
        assert whole.table.groupby("round").diverged.sum().tolist() == [0, 0, 1, 1]
    loaded = lottery.load(tmp_path)
    loaded.settings = found.settings  # a schedule is not saved
    assert same(loaded, whole)
    assert same(loaded.ticket(2, 2, whole.arms[-1]), whole.ticket(2, 2, whole.arms[-1]))


def test_a_finished_search_trains_nothing_and_more_rounds_may_be_asked_for(fits, tmp_path):
    whole = small(arms=ARMS, rounds=3)
    fits.clear()
    first = small(arms=ARMS, rounds=1, checkpoint=tmp_path)
    assert fits == ["dense", "round-0-1", "round-1-1", "round-2-1"]
    fits.clear()
    again = small(arms=ARMS, rounds=1, checkpoint=tmp_path)
    assert fits == [] and same(again, first)
    assert again.table.equals(first.table)  # the seconds are those that were taken then
    more = small(arms=ARMS, rounds=3, checkpoint=tmp_path)
    assert fits == [f"round-{arm}-{number}" for arm in range(3) for number in (2, 3)] and same(more, whole)
    fits.clear()
    assert same(small(arms=ARMS, rounds=1, checkpoint=tmp_path), first) and fits == []


def test_each_round_is_there_once_it_is_finished(fits, tmp_path):
    """Broken off after the last step of each fit, before its round is written: the steps are there, and are used."""
    for number, name in enumerate(["dense", "round-0-1", "round-0-2"]):
        with pytest.raises(BrokenOff), broken_off(8):
            small(checkpoint=tmp_path)
        assert fits == [name]
        assert set(contents(tmp_path)) == {
            *(whole_files(1, number - 1) if number else ["call.safetensors"]), f"{name}-steps-0-3.safetensors"
        }  # fmt: skip
        with broken_off(1):  # no step is left to be taken
            small(checkpoint=tmp_path, rounds=number)
        assert fits == [name, name] and set(contents(tmp_path)) == whole_files(1, number)
        fits.clear()
    assert same(small(checkpoint=tmp_path), small())


@pytest.mark.parametrize("name", ["dense", "round-0-1"])
def test_steps_that_outlive_their_round_are_removed(name, tmp_path):
    """Killed between writing a round and forgetting its steps, or while steps were written."""
    whole = small(checkpoint=tmp_path)
    left = [tmp_path / f"{name}-steps-0-3.safetensors", tmp_path / f".{name}-steps-0-3.safetensors.999999999.part"]
    for path in left:
        path.write_bytes(b"old")
    assert same(small(checkpoint=tmp_path), whole)
    assert not any(path.exists() for path in left)


# --- retrain ---


@pytest.mark.parametrize(
    "change", [{}, {"mask_1": "signed_constant"}, {"mask_0": "freeze"}, {"epochs": 3}, {"rounds": [2]}], ids=str
)
def test_a_control_goes_on_bit_for_bit_and_trains_no_finished_round(change, two_threads, fits, tmp_path):
    run = small(rounds=3)
    whole = retrain(run, **change)
    found, pieces = in_pieces(partial(retrain, run, **change), tmp_path, 5)
    assert pieces >= 2 and same(found, whole)
    names = {f"round-0-{number}" for number in whole.rounds() if number}
    assert set(contents(tmp_path)) == {f"{name}.safetensors" for name in {*names, "call"}} and set(fits) == names
    fits.clear()
    again = retrain(run, **change, checkpoint=tmp_path)
    assert fits == [] and again.table.equals(found.table)
    left = tmp_path / f"{min(names)}-steps-0-3.safetensors"
    left.write_bytes(b"old")
    retrain(run, **change, checkpoint=tmp_path)
    assert not left.exists()


CONTROLS = {
    "another action": ({"mask_1": "reshuffle"}, "mask_1"),
    "another mask-0 action": ({"mask_0": "freeze"}, "mask_0"),
    "other settings": ({"lr": 0.02}, "settings"),
    "other rounds": ({"rounds": [1]}, "masks"),
    "another name": ({"name": "other"}, "name"),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_the_folder_of_another_control_is_refused_with_what_differs(name, tmp_path):
    change, what = CONTROLS[name]
    run = small()
    retrain(run, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=f"is the checkpoint of another call: its {what} is "):
        retrain(run, **change, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="is the checkpoint of another call: its call is "):
        small(checkpoint=tmp_path)
    with pytest.raises(ValueError, match="is the checkpoint of another call: its .* is "):
        retrain(small(seeds=[5, 2, 12]), checkpoint=tmp_path)


# --- what is loaded ---


def test_a_checkpoint_is_loaded_and_trained_again(tmp_path):
    whole = small(arms=ARMS, lr_schedule=rising)
    small(arms=ARMS, lr_schedule=rising, checkpoint=tmp_path)
    loaded = lottery.load(tmp_path, NETWORK, DATA)
    for arm in ("a", "b", "c"):
        control = retrain(loaded, arm=arm, lr_schedule=rising)
        assert same(control, retrain(whole, arm=arm))
    with pytest.raises(ValueError, match="lr_schedule was not saved: give it again"):
        retrain(loaded, arm="a")
    with pytest.raises(ValueError, match="run of another network"):
        lottery.load(tmp_path, Dense("small", [6, 8, 3]))


def test_the_finished_rounds_of_an_unfinished_checkpoint_are_loaded(tmp_path):
    whole = small(arms=ARMS)
    with pytest.raises(BrokenOff), broken_off(8 * 4 + 3):  # dense, a 1, a 2, b 1 and three steps of b 2
        small(arms=ARMS, checkpoint=tmp_path)
    before = contents(tmp_path)
    loaded = lottery.load(tmp_path, NETWORK, DATA)
    assert {arm: loaded.rounds(arm) for arm in loaded.arms} == {"a": [0, 1, 2], "b": [0, 1], "c": [0]}
    for arm in loaded.arms:
        for number in loaded.rounds(arm):
            assert same(loaded.round(arm, number), whole.round(arm, number))
    assert same(retrain(loaded, arm="b"), retrain(whole, arm="b", rounds=[1]))
    assert contents(tmp_path) == before
    loaded.save(tmp_path / "saved")
    assert same(lottery.load(tmp_path / "saved"), loaded)


def test_a_checkpoint_without_a_finished_round_holds_no_run(tmp_path):
    with pytest.raises(BrokenOff), broken_off(3):
        small(checkpoint=tmp_path)
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} holds no saved run"):
        lottery.load(tmp_path)


# --- what is refused ---

OTHERS = {
    "another network": ({"network": Double("double", [6, 7, 5, 3])}, "network"),
    "another kind of network": ({"network": Dense("double", [6, 8, 5, 3])}, "network"),
    "other data": ({"data": Dataset.from_tensors("small", *pairs(1))}, "data"),
    "other seeds": ({"seeds": [5, 2, 12]}, "seeds"),
    "fewer seeds": ({"seeds": [5, 2]}, "seeds"),
    "another criterion": ({"criterion": "movement"}, "arms"),
    "other source": ({"criterion": another_last()}, "arms"),
    "another action": ({"mask_1": "reinit"}, "arms"),
    "another mask-0 action": ({"mask_0": "freeze"}, "arms"),
    "another scope": ({"scope": "global"}, "arms"),
    "another schedule": ({"schedule": "one_shot"}, "arms"),
    "other arms": ({"arms": ARMS}, "arms"),
    "another rate": ({"rate": 0.3}, "rate"),
    "rates by layer": ({"rate": {"fc1.weight": 0.4, "fc2.weight": 0.4, "fc3.weight": 0.2}}, "rate"),
    "another rewind point": ({"rewind_to": 1}, "rewind_to"),
    "another learning rate": ({"lr": 0.02}, "settings"),
    "more epochs": ({"epochs": 3}, "settings"),
    "a schedule": ({"lr_schedule": rising}, "settings"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_folder_of_another_search_is_refused_with_what_differs(name, tmp_path, fits):
    change, what = OTHERS[name]
    small(criterion=last, checkpoint=tmp_path)
    before = contents(tmp_path)
    fits.clear()
    with pytest.raises(ValueError) as caught:
        small(**{"criterion": last} | change, checkpoint=tmp_path)
    assert str(caught.value).startswith(f"{tmp_path} is the checkpoint of another call: its {what} is ")
    assert contents(tmp_path) == before and fits == []


def test_another_number_of_threads_is_refused(two_threads, tmp_path):
    small(checkpoint=tmp_path)
    torch.set_num_threads(1)
    with pytest.raises(ValueError, match="its threads is 2, here 1"):
        small(checkpoint=tmp_path)


def test_a_saved_run_is_no_checkpoint(tmp_path):
    small().save(tmp_path / "run")
    before = contents(tmp_path / "run")
    with pytest.raises(ValueError, match="holds files, but no checkpoint"):
        small(checkpoint=tmp_path / "run")
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("file", ["call", "run", "round-0-0", "round-0-1", "round-1-2", "round-2-1-steps-0-3"])
def test_a_damaged_file_is_refused_by_name(file, tmp_path):
    with pytest.raises(BrokenOff), broken_off(8 * 5 + 3):
        small(arms=ARMS, checkpoint=tmp_path)
    path = tmp_path / f"{file}.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        small(arms=ARMS, checkpoint=tmp_path)
    path.write_bytes(whole)
    assert same(small(arms=ARMS, checkpoint=tmp_path), small(arms=ARMS))


def test_a_round_of_another_arm_is_refused(tmp_path):
    small(arms=ARMS, checkpoint=tmp_path)
    path = tmp_path / "round-1-1.safetensors"
    path.write_bytes((tmp_path / "round-0-1.safetensors").read_bytes())
    for call in (partial(small, arms=ARMS, checkpoint=tmp_path), partial(lottery.load, tmp_path)):
        with pytest.raises(ValueError, match=f"{path} is of another run"):
            call()


# --- SIGKILL ---

KILLS = {"search": 20, "learn": 5}


@pytest.fixture(scope="module")
def make():
    """Make a call of `killed.WORK` in a process of its own."""
    with subprocess.Popen(
        [sys.executable, killed.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:

        def make(what: str, place: Path, delay: float | None = None) -> dict:
            task = {"what": what, "folder": f"{place / 'folder'}", "log": f"{place / 'log'}", "out": f"{place / 'out'}"}
            place.mkdir(exist_ok=True)
            (place / "log").write_text("")
            print(json.dumps(task | {"delay": delay}), file=server.stdin, flush=True)
            return json.loads(server.stdout.readline())

        yield make
        server.stdin.close()


@pytest.mark.parametrize("what", KILLS)
def test_a_killed_call_ends_as_if_it_had_not_been(what, make, tmp_path):
    """Killed at random moments; each time the same call then ends with the same bits, and trains no round twice."""
    seed = 0
    moments = random.Random(seed)
    print("seed", seed)
    whole = tmp_path / "whole"
    made = make(what, whole)
    assert made["status"] == 0
    undisturbed, every = pickle.loads((whole / "out").read_bytes()), (whole / "log").read_text().split()
    if what == "search":
        assert every == ["dense", "round-0-1", "round-0-2", "round-1-1", "round-1-2"]
    kills, fits, amid = 0, 0, 0
    for number in range(3 * KILLS[what]):
        place, delay = tmp_path / str(number), made["seconds"] * moments.random()
        status = make(what, place, delay)["status"]
        assert status in (0, -9)
        if status == 0:  # it was faster this time
            continue
        kills += 1
        left = {path.name.removesuffix(".safetensors") for path in (place / "folder").glob("*")}
        finished = left & set(every) | ({"dense"} if "run" in left else set())
        amid += any("steps" in name for name in left)
        assert make(what, place)["status"] == 0
        again = (place / "log").read_text().split()
        assert again == [name for name in every if name not in finished], (number, delay)
        assert same(pickle.loads((place / "out").read_bytes()), undisturbed), (number, delay)
        if what == "search":
            assert set(contents(place / "folder")) == whole_files(2, 2)
            assert same(lottery.load(place / "folder"), undisturbed)
        fits += len(again)
        if kills == KILLS[what]:
            break
    print(f"{kills} kills, {amid} amid a fit; {fits} of {kills * len(every)} fits made again")
    assert kills == KILLS[what] and amid
