"""Damage: a random bit flips, or a file is cut, in every kind of file; its own loader refuses it by name."""

import random
from functools import partial
from pathlib import Path

import pytest

from lthkit import files, lottery, masks, supermask
from lthkit.data import Dataset
from lthkit.lottery import Arm, Ticket, search
from lthkit.networks import Dense
from lthkit.training import fit

from .oracles import pairs
from .test_checkpoints import BrokenOff, broken_off

SEED, FLIPS, CUTS = 0, 1000, 50
DATA = Dataset.from_tensors("small", *pairs())  # 50 / 20 / 30 images
NETWORK = Dense("small", [6, 4, 3])
ARMS = [Arm("a"), Arm("b", mask_0="freeze")]


def searched(**given):
    return search(NETWORK, DATA, [4, 0], 2, arms=ARMS, iterations=4, batch_size=15, **given)


def resume(folder):
    return searched(checkpoint=folder)


def fitted(folder):
    return fit(NETWORK, NETWORK.init([4, 0]), DATA, iterations=4, batch_size=15, checkpoint=folder)


def learned(folder):
    return supermask.learn(NETWORK, DATA, [4, 0], iterations=4, batch_size=15, checkpoint=folder)


def unfinished(call, folder: Path, steps: int) -> Path:
    with pytest.raises(BrokenOff), broken_off(steps):
        call(folder)
    return folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """{what: (file, what reads it)}: all that lthkit writes, each with all the public calls that read it."""
    place = tmp_path_factory.mktemp("kept")
    run = searched()
    run.save(place / "run")
    run.ticket(2, 4, "b").save(place / "ticket")
    masks.save(run.masks("a", 2), place / "masks")
    begun = unfinished(resume, place / "begun", 14)  # dense, a 1, a 2 and two steps of b 1
    in_fit, in_learn = unfinished(fitted, place / "fit", 2), unfinished(learned, place / "learn", 2)
    load_ticket = partial(Ticket.load, network=NETWORK)
    found = {"masks": (place / "masks", [masks.load]), "ticket": (place / "ticket", [load_ticket])}
    for name in ("run", "round-0-0", "round-0-2", "round-1-1"):
        found[f"run: {name}"] = (place / "run" / f"{name}.safetensors", [lambda path: lottery.load(path.parent)])
    in_folder = {"search": (begun, resume), "fit": (in_fit, fitted), "learn": (in_learn, learned)}
    for what, (folder, call) in in_folder.items():
        for path in sorted(folder.iterdir()):
            calls = [lambda path, call=call: call(path.parent)]
            if path.name.startswith(("run", "round")) and "steps" not in path.name:
                calls.append(lambda path: lottery.load(path.parent))
            if path.stem == "round-1-0":  # the dense round once more: a search takes the first arm's
                calls = calls[1:]
            found[f"{what}: {path.stem}"] = (path, calls)
    return found


def test_all_kinds_of_file_are_there(kept):
    kinds = set()
    for path, _ in kept.values():
        for kind in ("masks", "ticket", "run", "round", "call", "steps"):
            try:
                files.read(path, kind)
                kinds.add(kind)
            except ValueError as error:
                assert f"not {kind}" in str(error)
    assert kinds == {"masks", "ticket", "run", "round", "call", "steps"}
    assert {name.split(":")[0] for name in kept} == {"masks", "ticket", "run", "search", "fit", "learn"}
    assert sum("steps" in name for name in kept) == 3


def refused(path: Path, whole: bytes, damaged: bytes, readers) -> None:
    path.write_bytes(damaged)
    try:
        for read in readers:
            with pytest.raises(ValueError) as caught:
                read(path)
            assert str(caught.value).startswith(f"{path} is damaged, or no file of lthkit")
        with pytest.raises(ValueError, match="is damaged, or no file of lthkit"):
            files.read_1(path)
    finally:
        path.write_bytes(whole)


def test_random_bits_and_cuts_in_all_kinds_of_file(kept):
    """1,000 flips and 50 cuts, shared evenly; no file of format 2 passes for one of format 1, which has no checksum."""
    draw = random.Random(SEED)
    print("seed", SEED)
    names, counts = list(kept), dict.fromkeys(kept, 0)
    before = {path: path.read_bytes() for path, _ in kept.values()}
    for number in range(FLIPS + CUTS):
        name = names[number % len(names)]
        path, readers = kept[name]
        whole = before[path]
        if number < FLIPS:
            bit = draw.randrange(8 * len(whole))
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
        else:
            bit = 8 * draw.randrange(len(whole))
            damaged = whole[: bit // 8]
        refused(path, whole, bytes(damaged), readers)
        counts[name] += 1
    print(sum(counts.values()), "damaged files refused:", counts)
    assert min(counts.values()) >= (FLIPS + CUTS) // len(names)
    for path, readers in kept.values():  # the last ones, as they end the unfinished calls
        assert path.read_bytes() == before[path]
    for name in ("masks", "ticket", "run: run", "search: call", "fit: call", "learn: call"):
        path, readers = kept[name]
        for read in readers:
            read(path)
