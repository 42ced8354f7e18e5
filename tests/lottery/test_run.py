"""Runs and tickets: what can be asked of them, and that files give back every bit."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from lthkit import files, lottery
from lthkit.data import Dataset
from lthkit.files import read_1
from lthkit.lottery import Arm, Ticket, retrain, search
from lthkit.networks import Dense
from lthkit.training import fit

from ..oracles import pairs, same_bits

NETWORK = Dense("small", [6, 8, 5, 3])
DATA = Dataset.from_tensors("small", *pairs())
SEEDS = [5, 2]


def small(*names, **changes):
    settings = {"seeds": SEEDS, "rounds": 2, "rate": 0.4, "epochs": 2, "batch_size": 15, "rewind_to": 1}
    return search(NETWORK, DATA, arms=[Arm(name) for name in names] or None, **settings | changes)


@pytest.fixture(scope="module")
def run():
    return small("first", "second")


@pytest.fixture
def saved(run, tmp_path):
    run.save(tmp_path / "run")
    return tmp_path / "run"


# --- what a run answers ---


def test_a_ticket_is_one_replicates_start_and_masks(run):
    ticket = run.ticket(round=2, seed=2, arm="second")
    assert (ticket.seed, ticket.round) == (2, 2)
    for name, value in run.initial.items():
        assert torch.equal(ticket.initial[name], value[1])
    for name, mask in run.masks("second", 2).items():
        assert torch.equal(ticket.masks[name], mask[1])
        assert torch.equal(ticket.params()[name][0], torch.where(mask[1], run.initial[name][1], 0))
    row = run.table.query("arm == 'second' and seed == 2 and round == 2").iloc[0]
    assert ticket.kept == pytest.approx(row.kept)
    ticket.initial["fc1.weight"].fill_(9)
    assert not (run.initial["fc1.weight"] == 9).any()


def test_a_ticket_trains_to_what_the_run_measured(run):
    ticket = run.ticket(round=2, seed=2, arm="first")
    stacked = {name: mask.unsqueeze(0) for name, mask in ticket.masks.items()}
    again = fit(NETWORK, ticket.params(), DATA, masks=stacked, seeds=2, round=2, epochs=2, batch_size=15)
    assert again.history.val_loss[0].tolist() == pytest.approx(run.history("first", 2).val_loss[1].tolist(), rel=1e-5)


@pytest.mark.parametrize(
    "ask, said",
    [
        (lambda run: run.history("third", 1), r"\['first', 'second'\].*'third'"),
        (lambda run: run.masks(), r"\['first', 'second'\].*None"),
        (lambda run: run.masks("first", 7), r"no round 7.*\[0, 1, 2\]"),
        (lambda run: run.ticket(1, 3, "first"), r"no seed 3.*\[5, 2\]"),
        (lambda run: run.ticket(9, 5, "first"), "no round 9"),
    ],
)
def test_asking_for_what_is_not_there_lists_what_is(run, ask, said):
    with pytest.raises(ValueError, match=said):
        ask(run)


# --- files ---


def test_a_run_comes_back_bit_by_bit(run, saved):
    found = lottery.load(saved)
    same(found, run)
    assert found.settings == run.settings and found.network is None and found.data is None


def same(found, run):
    pd.testing.assert_frame_equal(found.table, run.table, check_exact=True)
    assert found.seeds == run.seeds and found.arms == run.arms
    assert same_bits(found.initial, run.initial) and same_bits(found.dense, run.dense)  # also in their order
    for arm in run.arms:
        assert found.rounds(arm) == run.rounds(arm) == [0, 1, 2]
        for number in run.rounds(arm):
            assert same_bits(found.masks(arm, number), run.masks(arm, number))
            ours, theirs = vars(run.history(arm, number)), vars(found.history(arm, number))
            assert list(ours) == list(theirs) and ours["seeds"] == theirs["seeds"]
            for name, value in ours.items():
                assert name == "seeds" or (
                    value.dtype == theirs[name].dtype and np.array_equal(value, theirs[name], equal_nan=True)
                )
            ours, theirs = run.round(arm, number).frozen, found.round(arm, number).frozen
            assert (ours is None) == (theirs is None) and (ours is None or same_bits(ours, theirs))


def test_a_loaded_run_can_be_retrained_once_it_has_network_and_data(run, saved):
    found = lottery.load(saved)
    with pytest.raises(ValueError, match=r"run\.network and run\.data"):
        retrain(found, arm="first")
    found.network, found.data = NETWORK, DATA
    for mask_1 in ("reinit", "rewind", "continue"):
        ours = retrain(run, arm="first", mask_1=mask_1).table.drop(columns="seconds")
        assert retrain(found, arm="first", mask_1=mask_1).table.drop(columns="seconds").equals(ours)


def test_layers_keep_their_order_where_their_names_sort_otherwise(tmp_path):
    deep = Dense("deep", [6, *[3] * 10, 3])  # fc10 sorts before fc2
    run = search(deep, DATA, seeds=SEEDS, rounds=1, epochs=1)
    run.save(tmp_path / "run")
    found = lottery.load(tmp_path / "run")
    assert list(found.masks(round=1)) == list(run.masks(round=1)) == list(deep.prunable)
    assert list(found.initial) == list(run.initial)


@pytest.mark.parametrize("names", [("1", "2"), ("007", "07"), ("NA", "nan"), ("a,b", 'say "c"'), ("true", "é")])
def test_arms_keep_their_names_and_rows(names, tmp_path):
    run = small(*names, rounds=1)
    run.save(tmp_path / "run")
    found = lottery.load(tmp_path / "run")
    assert found.arms == list(names) and found.table.arm.tolist() == run.table.arm.tolist()
    found.network, found.data = NETWORK, DATA
    assert len(retrain(found, arm=names[0]).table) == 4


def test_others_may_read_a_saved_run(saved):
    mask = os.umask(0)
    os.umask(mask)
    assert saved.stat().st_mode & 0o777 == 0o777 & ~mask


def test_a_folder_that_exists_is_never_touched(run, saved):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises(FileExistsError, match="run"):
        run.save(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


@pytest.mark.parametrize("files_first", [0, 1, 3])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["full", "interrupted"])
def test_a_save_that_breaks_off_leaves_nothing(run, tmp_path, monkeypatch, files_first, error):
    with pytest.raises(ValueError, match="lr_schedule"):
        small(rounds=0, lr_schedule=lambda i: 1.0).save(tmp_path / "run")
    assert not list(tmp_path.iterdir())
    whole, written = os.fsync, []

    def break_off(descriptor):
        written.append(descriptor)
        if len(written) > files_first:
            raise error
        whole(descriptor)

    monkeypatch.setattr(os, "fsync", break_off)
    with pytest.raises(type(error)):
        run.save(tmp_path / "run")
    assert len(written) == files_first + 1 and not list(tmp_path.iterdir())


# --- format 1, which lthkit 0.1.0 wrote ---


def save_1(run, folder):
    """A run as format 1 kept it: a head in JSON, a table in CSV, tensors, and no checksum anywhere."""
    folder.mkdir()
    keys = [(arm, number) for arm in run.arms for number in run.rounds(arm)]
    entries = {"format": 1, "seeds": run.seeds, "settings": SETTINGS_1, "rounds": [list(key) for key in keys]}
    (folder / "run.json").write_text(json.dumps(entries, indent=1))
    run.table.drop(columns="diverged").to_csv(folder / "table.csv", index=False)
    parts = {"initial": run.initial, "dense": run.dense}
    for i, key in enumerate(keys):
        found = run.round(*key)
        history = {name: value for name, value in vars(found.history).items() if name != "seeds"}
        parts |= {f"masks/{i}": found.masks, f"frozen/{i}": found.frozen or {}, f"history/{i}": history}
    write_tensors(files.pack(**parts), folder / "tensors.safetensors")


SETTINGS_1 = {"epochs": 2, "batch_size": 15}


def write_tensors(tensors, path):
    order = {"order": json.dumps(list(tensors))}
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, path, order)


@pytest.fixture
def old(run, tmp_path):
    save_1(run, tmp_path / "old")
    return tmp_path / "old"


@pytest.mark.parametrize("names", [("1", "2"), ("007", "07"), ("NA", "nan"), ("a,b", 'say "c"'), ("true", "é")])
def test_a_run_of_format_1_is_still_read_bit_by_bit(names, tmp_path):
    run = small(*names, mask_0="variant_1")
    save_1(run, tmp_path / "old")
    same(lottery.load(tmp_path / "old", NETWORK, DATA), run)


def without(*prefixes):
    """Break a run by leaving out tensors."""

    def change(folder):
        tensors = read_1(folder / "tensors.safetensors")
        left = {name: value for name, value in tensors.items() if not name.startswith(prefixes)}
        assert len(left) < len(tensors)
        write_tensors(left, folder / "tensors.safetensors")

    return change


def head(**changes):
    """Break a run by other entries in its head; None leaves one out."""

    def change(folder):
        entries = json.loads((folder / "run.json").read_text()) | changes
        (folder / "run.json").write_text(json.dumps({k: v for k, v in entries.items() if v is not None}))

    return change


def cut(name, share):
    def change(folder):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: int(len(whole) * share)])

    return change


def rubbish(name):
    return lambda folder: (folder / name).write_bytes(b"\xff\xfe\x00\x81" * 99)


DAMAGE = {
    "cut table": cut("table.csv", 0.5),
    "empty table": cut("table.csv", 0),
    "rubbish table": rubbish("table.csv"),
    "cut head": cut("run.json", 0.5),
    "empty head": cut("run.json", 0),
    "rubbish head": rubbish("run.json"),
    "list head": lambda folder: (folder / "run.json").write_text("[]"),
    "no seeds": head(seeds=None),
    "no settings": head(settings=None),
    "no rounds": head(rounds=None),
    "fewer seeds": head(seeds=[5]),
    "cut tensors": cut("tensors.safetensors", 0.9),
    "empty tensors": cut("tensors.safetensors", 0),
    "rubbish tensors": rubbish("tensors.safetensors"),
    "no masks": without("masks/4"),
    "no history": without("history/4"),
    "no losses": without("history/1/val_loss"),
    "no initial": without("initial"),
    "no dense": without("dense"),
    "a weight less": without("initial/fc1.weight"),
    "a bias less": without("initial/fc1.bias"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_is_one_clear_error_that_names_the_place(damage, old):
    DAMAGE[damage](old)
    with pytest.raises(ValueError, match=str(old)) as caught:
        lottery.load(old)
    assert type(caught.value) is ValueError  # no parser's own kind of error


def test_another_format_asks_for_another_lthkit(old):
    head(format=3, rounds=None)(old)
    with pytest.raises(ValueError, match=r"format 3.*update lthkit"):
        lottery.load(old)


@pytest.mark.parametrize("name", ["run.json", "table.csv", "tensors.safetensors"])
def test_a_missing_file_of_format_1_is_named(name, old):
    (old / name).unlink()
    with pytest.raises(FileNotFoundError, match="run.safetensors" if name == "run.json" else name):
        lottery.load(old)


# --- damage ---


@pytest.mark.parametrize("name", ["run.safetensors", "round-0-0.safetensors", "round-1-2.safetensors"])
def test_a_missing_or_damaged_file_is_named(name, saved):
    whole = (saved / name).read_bytes()
    for broken in (whole[:-1], whole[: len(whole) // 2], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        (saved / name).write_bytes(broken)
        with pytest.raises(ValueError, match=rf"{name} is damaged"):
            lottery.load(saved)
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        lottery.load(saved)


def test_a_round_of_another_run_is_refused(run, saved, tmp_path):
    for other, said in ((small("first", seeds=[1, 2]), "seeds"), (wide("first"), "shape")):
        other.save(tmp_path / said)
        shutil.copy(tmp_path / said / "round-0-1.safetensors", saved)
        with pytest.raises(ValueError, match=rf"round-0-1.safetensors is of another run.*{said}"):
            lottery.load(saved)
    shutil.copy(saved / "round-0-2.safetensors", saved / "round-0-1.safetensors")
    with pytest.raises(ValueError, match="it is round 2"):
        lottery.load(saved)


def wide(*names):
    network, arms = Dense("wide", [6, 9, 5, 3]), [Arm(name) for name in names]
    return search(network, DATA, seeds=SEEDS, rounds=1, epochs=1, arms=arms)


def test_a_run_of_another_network_is_refused(saved):
    deep = Dense("deep", [6, 8, 5, 5, 3])
    with pytest.raises(ValueError, match=rf"{saved}.*another network than deep.*fc3"):
        lottery.load(saved, network=deep)
    assert lottery.load(saved, network=NETWORK, data=DATA).network is NETWORK


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        lottery.load(tmp_path / "nowhere")


def test_a_run_can_be_moved(run, saved, tmp_path):
    shutil.move(saved, tmp_path / "elsewhere")
    assert lottery.load(tmp_path / "elsewhere").table.equals(run.table)


def test_a_ticket_comes_back_bit_by_bit_and_can_be_trained(run, tmp_path):
    ticket = run.ticket(round=1, seed=5, arm="first")
    ticket.save(tmp_path / "ticket")
    found = Ticket.load(tmp_path / "ticket")
    assert (found.seed, found.round, found.kept) == (5, 1, ticket.kept)
    assert same_bits(found.initial, ticket.initial) and same_bits(found.masks, ticket.masks)
    stacked = {name: mask.unsqueeze(0) for name, mask in found.masks.items()}
    ours = fit(NETWORK, found.params(), DATA, masks=stacked, iterations=2).params
    assert same_bits(ours, fit(NETWORK, ticket.params(), DATA, masks=stacked, iterations=2).params)


def test_a_file_without_a_ticket_is_named(run, tmp_path):
    path = tmp_path / "ticket"
    with pytest.raises(FileNotFoundError, match="ticket"):
        Ticket.load(path)
    whole = run.ticket(round=1, seed=5, arm="first")
    whole.save(path)
    head, tensors = files.read(path, "ticket")
    broken = [
        run.masks("first", 1),
        {name: value for name, value in tensors.items() if not name.startswith("mask")},
        {name: value for name, value in tensors.items() if not name.startswith("initial/fc2.weight")},
    ]
    for other in broken:
        files.write(path, "ticket", other, head)
        with pytest.raises(ValueError, match="ticket"):
            Ticket.load(path)
    old = {"head": torch.tensor([1, 5, 1])} | tensors  # of format 1, where the head was a tensor
    broken = [
        *broken,
        {"head": torch.tensor(1)},
        {"head": torch.tensor([1, 5])},
        tensors,
        old | {"head": torch.tensor([9, 5, 1])},
        *({"head": old["head"]} | other for other in broken),
    ]
    for other in broken:
        write_tensors(other, path)
        with pytest.raises(ValueError, match="ticket"):
            Ticket.load(path)
    path.write_bytes(b"\xff" * 50)
    with pytest.raises(ValueError, match="ticket"):
        Ticket.load(path)
