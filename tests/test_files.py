"""Files: every bit comes back or is missed, a write is whole or leaves no trace, and no other module writes."""

import ast
import builtins
import errno
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

import lthkit
from lthkit import files, masks
from lthkit.lottery import Ticket
from lthkit.networks import Dense, from_module

from .oracles import same_bits

MASKS = {"fc1.weight": torch.tensor([[[True, False], [False, True]]]), "b": torch.zeros(1, 3, dtype=torch.bool)}
SMALL = Dense("small", [2, 2])
TICKET = Ticket(
    {"fc1.weight": torch.tensor([[1.0, -2.0], [0.5, 3.0]]), "fc1.bias": torch.tensor([0.25, 0.0])},
    {"fc1.weight": torch.tensor([[True, False], [False, True]])},
    seed=7,
    round=3,
    frozen={"fc1.weight": torch.tensor([[0.0, 9.0], [0.0, 0.0]])},
)
HEAD = {"seeds": [5, 2], "settings": {"lr": 1.2e-3, "name": 'é "q" \\', "none": None, "yes": True}, "empty": {}}
MIXED = {
    "z": torch.tensor([[1.5, float("nan")], [-0.0, float("inf")]]),
    "a": torch.tensor(True),
    "half": torch.tensor([1.0, 2.0], dtype=torch.float16),
    "long": torch.tensor(-(2**62)),
    "brain": torch.ones(3, 1, dtype=torch.bfloat16),
    "bytes": torch.arange(5, dtype=torch.uint8),
    "none": torch.ones(0, 4, dtype=torch.float64),
}


def part_of(path: Path, pid: int) -> Path:
    return path.with_name(f".{path.name}.{pid}.part")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def as_before(tensors, path, order=True):
    """A plain file as lthkit wrote it in format 1."""
    safetensors.torch.save_file(tensors, path, {"order": json.dumps(list(tensors))} if order else None)


# --- what comes back ---


@pytest.mark.parametrize("tensors", [MIXED, MASKS, {}], ids=["mixed", "masks", "empty"])
@pytest.mark.parametrize("head", [HEAD, {}, None], ids=["head", "empty", "none"])
def test_head_and_tensors_come_back_bit_by_bit_and_in_their_order(tensors, head, tmp_path):
    files.write(tmp_path / "x", "run", tensors, head)
    said, found = files.read(tmp_path / "x", "run")
    assert said == (head or {}) and list(found) == list(tensors)
    assert all(found[name].dtype == value.dtype for name, value in tensors.items())
    as_bytes = [
        {name: value.reshape(-1).view(torch.uint8) for name, value in each.items()} for each in (found, tensors)
    ]
    assert same_bits(*as_bytes) and all(found[name].shape == value.shape for name, value in tensors.items())


def test_safetensors_own_tools_read_a_file(tmp_path):
    files.write(tmp_path / "x", "run", MIXED, HEAD)
    with safetensors.safe_open(tmp_path / "x", "pt") as file:
        header = file.metadata()
        assert sorted(file.keys()) == sorted(MIXED) and torch.equal(file.get_tensor("long"), MIXED["long"])
    assert (header["format"], header["kind"]) == ("2", "run")
    assert header["head"] == json.dumps(HEAD, sort_keys=True, separators=(",", ":"))
    assert json.loads(header["names"]) == list(MIXED)
    assert set(header) == {"format", "kind", "head", "names", "sha256"}


def test_views_of_one_memory_and_tensors_that_need_a_gradient(tmp_path):
    whole = torch.arange(12.0, requires_grad=True)
    given = {"t": whole.view(3, 4).t(), "part": whole[2:4], "whole": whole, "again": whole}
    files.write(tmp_path / "x", "run", given)
    found = files.read(tmp_path / "x", "run")[1]
    assert same_bits(found, {name: value.detach() for name, value in given.items()})
    found["part"].fill_(0)
    assert found["whole"][2] == 2 and not found["whole"].requires_grad


def test_a_head_that_holds_what_looks_like_a_digest(tmp_path):
    bait = f'"sha256":"{"0" * 64}"'
    head = {"sha256": "0" * 64, bait: bait, "text": f"\\{bait}"}
    for _ in range(20):  # the format shuffles its header
        files.write(tmp_path / "x", "run", {bait: torch.ones(2)}, head)
        assert files.read(tmp_path / "x", "run")[0] == head


@pytest.mark.parametrize(
    "head, said",
    [
        ({"settings": {"lr": 1.0, "lr_schedule": print}}, r"settings\.lr_schedule.*print"),
        ({"settings": {"lr": float("nan")}}, r"settings\.lr .*nan"),
        ({"losses": [1.0, float("inf")]}, r"losses\.1 .*inf"),
        ({"rates": {1: 0.5}}, r"rates .*\[1\]"),
        ({"seeds": [{"a": {2}}]}, r"seeds\.0\.a .*\{2\}"),
        ({"seed": torch.tensor(1)}, "seed .*tensor"),
    ],
)
def test_a_head_that_json_would_refuse_or_change_is_named(head, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        files.write(tmp_path / "x", "run", {}, head)
    assert names(tmp_path) == []


# --- what is refused ---


def read_ticket(path):
    return Ticket.load(path, SMALL)


KINDS = {
    "masks": (lambda path: masks.save(MASKS, path), masks.load),
    "ticket": (TICKET.save, read_ticket),
    "run": (lambda path: files.write(path, "run", MASKS, HEAD), lambda path: files.read(path, "run")),
    "checkpoint": (
        lambda path: files.write(path, "checkpoint", MIXED, {"round": 1}),
        lambda path: files.read(path, "checkpoint", old=True),
    ),
}


def refused(reader, path) -> bool:
    """Whether the file is refused as damaged, by name."""
    try:
        reader(path)
    except ValueError as error:
        return str(error).startswith(f"{path} is damaged")
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_every_single_bit_that_flips_is_noticed(kind, tmp_path):
    """All bits of a small file, by the file's own loader and by the one of format 1."""
    write, load = KINDS[kind]
    path = tmp_path / "small"
    write(path)
    load(path)
    whole = path.read_bytes()
    assert len(whole) < 1200
    with open(path, "r+b", buffering=0) as file:
        for i, byte in enumerate(whole):
            for changed in (byte ^ 1 << bit for bit in range(8)):
                os.pwrite(file.fileno(), bytes([changed]), i)
                assert refused(load, path) and refused(files.read_1, path), (i, byte, changed)
            os.pwrite(file.fileno(), bytes([byte]), i)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_anywhere_or_with_something_behind_it_is_noticed(kind, tmp_path):
    write, load = KINDS[kind]
    path = tmp_path / "small"
    write(path)
    whole = path.read_bytes()
    for size in reversed(range(len(whole))):
        os.truncate(path, size)
        assert refused(load, path) and refused(files.read_1, path), size
    for changed in (whole + b"\0", whole + b" ", whole + whole, whole[1:]):
        path.write_bytes(changed)
        assert refused(load, path) and refused(files.read_1, path)


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"\xff" * 99, b"\x80\x04K\x01.", b"\x10" + b"\0" * 7 + b"[" * 16]
)
def test_what_is_no_file_of_ours_is_one_line_that_names_it(content, tmp_path):
    (tmp_path / "small").write_bytes(content)
    readers = (
        files.read_1,
        lambda path: files.read(path, "masks"),
        lambda path: files.read(path, "masks", old=True),
    )
    for reader in readers:
        with pytest.raises(ValueError, match="small is damaged.*save it again") as caught:
            reader(tmp_path / "small")
        assert "\n" not in str(caught.value)


def test_a_file_of_another_kind_says_what_it_holds(tmp_path):
    TICKET.save(tmp_path / "x")
    with pytest.raises(ValueError, match="x holds ticket, not masks"):
        masks.load(tmp_path / "x")
    masks.save(MASKS, tmp_path / "x")
    with pytest.raises(ValueError, match="x holds masks, not ticket"):
        Ticket.load(tmp_path / "x")


def test_a_newer_format_asks_for_another_lthkit(tmp_path, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(files, "FORMAT", 3)
        files.write(tmp_path / "x", "masks", MASKS)
    with pytest.raises(ValueError, match="x has format 3.*up to 2.*update lthkit"):
        masks.load(tmp_path / "x")


def test_missing_files_and_folders_are_named(tmp_path):
    for reader in (files.read_1, masks.load, Ticket.load):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            reader(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        masks.load(tmp_path)


# --- format 1 ---


@pytest.mark.parametrize("order", [True, False])
def test_masks_of_format_1_are_read(order, tmp_path):
    as_before(MASKS, tmp_path / "x", order)
    found = masks.load(tmp_path / "x")
    assert same_bits(found, MASKS if order else dict(sorted(MASKS.items())))
    assert same_bits(files.read_1(tmp_path / "x"), found)


def test_tickets_of_format_1_are_read(tmp_path):
    parts = {"initial": TICKET.initial, "mask": TICKET.masks, "frozen": TICKET.frozen}
    tensors = {f"{part}/{name}": value for part, named in parts.items() for name, value in named.items()}
    as_before({"head": torch.tensor([1, 7, 3])} | tensors, tmp_path / "x")
    found = Ticket.load(tmp_path / "x", SMALL)
    assert (found.seed, found.round, found.network) == (7, 3, SMALL)
    for part in ("initial", "masks", "frozen"):
        assert same_bits(getattr(found, part), getattr(TICKET, part))


@pytest.mark.parametrize("header", [{"format": "pt"}, {"order": '["b"]', "kind": "masks"}, {"sha256": "0" * 64}])
def test_a_file_with_any_other_header_is_not_of_format_1(header, tmp_path):
    safetensors.torch.save_file({"b": MASKS["b"]}, tmp_path / "x", header)
    for reader in (files.read_1, masks.load):
        with pytest.raises(ValueError, match="x is damaged"):
            reader(tmp_path / "x")


@pytest.mark.parametrize("order", ['["b", "c"]', "[1]", "5", "[", '"b c"'])
def test_a_damaged_order_of_format_1_is_named(order, tmp_path):
    safetensors.torch.save_file({"b": MASKS["b"]}, tmp_path / "x", {"order": order})
    with pytest.raises(ValueError, match="x is damaged"):
        masks.load(tmp_path / "x")


def test_format_1_is_read_only_where_asked_for(tmp_path):
    as_before(MASKS, tmp_path / "x")
    assert same_bits(files.read(tmp_path / "x", "masks", old=True)[1], MASKS)
    with pytest.raises(ValueError, match="x is damaged, or no file of lthkit"):
        files.read(tmp_path / "x", "masks")


def test_values_that_look_like_a_digest_are_no_header(tmp_path):
    text = f'"sha256":"{"0" * 64}"'.encode()
    as_before({"bytes": torch.tensor(list(text), dtype=torch.uint8)}, tmp_path / "x")
    assert bytes(files.read(tmp_path / "x", "run", old=True)[1]["bytes"].tolist()) == text


# --- tickets and their networks ---


def norm():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))


def ticket_of(network) -> Ticket:
    params = network.init(0)
    kept = {name: torch.ones_like(params[name][0], dtype=torch.bool) for name in network.prunable}
    return Ticket({name: value[0] for name, value in params.items()}, kept, 0, 1, network=network)


@pytest.mark.parametrize("network", [Dense("deep", [4, *[3] * 10, 2]), from_module(norm)], ids=["deep", "norm"])
def test_a_ticket_fits_the_network_that_it_is_of(network, tmp_path):
    ticket = ticket_of(network)
    ticket.save(tmp_path / "ticket")
    found = Ticket.load(tmp_path / "ticket", network)
    assert same_bits(dict(found.to_dense().state_dict()), dict(ticket.to_dense().state_dict()))


@pytest.mark.parametrize(
    "other, said",
    [
        ([4, 3, 3, 2], r"'fc2\.weight' is \(2, 3\) there, \(3, 3\) here"),
        ([4, 3], r"'fc2\.weight' is \(2, 3\) there, no such tensor here"),
        ([4, 3, 2, 2], r"'fc3\.weight' is no such tensor there, \(2, 2\) here"),  # deeper: was filled at random
        ([5, 3, 2], r"'fc1\.weight' is \(3, 4\) there, \(3, 5\) here"),
    ],
)
def test_a_ticket_of_another_network_is_refused(other, said, tmp_path):
    ticket_of(Dense("own", [4, 3, 2])).save(tmp_path / "ticket")
    with pytest.raises(ValueError, match=f"ticket holds a ticket of another network than other: {said}"):
        Ticket.load(tmp_path / "ticket", Dense("other", other))


def test_numbers_of_a_table_are_seed_and_round_too(tmp_path):
    Ticket(TICKET.initial, TICKET.masks, torch.tensor(7).numpy()[()], torch.tensor(3).numpy()[()]).save(tmp_path / "x")
    found = Ticket.load(tmp_path / "x")
    assert (found.seed, found.round, type(found.seed), found.frozen) == (7, 3, int, None)


def test_frozen_values_of_no_weight_are_no_ticket(tmp_path):
    Ticket(TICKET.initial, TICKET.masks, 7, 3, {"fc9.weight": torch.ones(2, 2)}).save(tmp_path / "x")
    with pytest.raises(ValueError, match="x holds no ticket"):
        Ticket.load(tmp_path / "x")


# --- whole or not at all ---

WRITERS = {
    "tensors": lambda path: files.write(path, "run", {"w": torch.ones(30_000)}),
    "text": lambda path: files.write_text(path, "é" * 60_000),
}


@pytest.fixture(params=WRITERS)
def writer(request):
    return WRITERS[request.param]


def folder_at(path):
    with files.new_folder(path) as part:
        files.write_text(part / "a.txt", "a")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002, 0o000])
def test_the_umask_decides_who_may_read(umask, writer, tmp_path):
    before = os.umask(umask)
    try:
        writer(tmp_path / "x")
        folder_at(tmp_path / "folder")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~umask
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~umask
    assert (tmp_path / "folder/a.txt").stat().st_mode & 0o777 == 0o666 & ~umask


def test_text_is_utf_8_and_replaces_what_was_there(tmp_path):
    for text in ("é\n", "", "later\r\n"):
        files.write_text(str(tmp_path / "x"), text)
        assert (tmp_path / "x").read_bytes() == text.encode()
    assert names(tmp_path) == ["x"]


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_what_dead_processes_left_is_removed_and_nothing_else(dead, writer, tmp_path):
    path = tmp_path / "x[1]"
    left = [part_of(path, dead), part_of(path, os.getpid()), part_of(path, 2**70)]
    left[0].mkdir()
    (left[0] / "inside").write_text("half")
    left[1].write_text("half")
    left[2].write_text("half")
    others = [part_of(path, os.getppid()), part_of(tmp_path / "x1", dead), part_of(tmp_path / "y", dead)]
    others += [tmp_path / f"x[1].{dead}.part", tmp_path / f".x[1].{dead}.part.txt", tmp_path / ".x[1].a.part"]
    for other in others:
        other.write_text("not ours")
    writer(path)
    assert names(tmp_path) == sorted([path.name, *(other.name for other in others)])


def test_a_process_of_another_user_lives(dead, tmp_path, monkeypatch):
    def refuse(pid, number):
        raise PermissionError

    part_of(tmp_path / "x", dead).write_text("half")
    monkeypatch.setattr(os, "kill", refuse)
    files.write_text(tmp_path / "x", "whole")
    assert names(tmp_path) == [f".x.{dead}.part", "x"]


def test_a_folder_too_clears_what_dead_processes_left(dead, tmp_path):
    part_of(tmp_path / "run", dead).mkdir()
    part_of(tmp_path / "run", os.getpid()).mkdir()
    folder_at(tmp_path / "run")
    assert names(tmp_path) == ["run"] and names(tmp_path / "run") == ["a.txt"]


def test_a_killed_write_leaves_the_old_file_whole_and_the_next_one_clears_up(tmp_path):
    path = tmp_path / "x"
    files.write(path, "run", {"w": torch.ones(2)})
    kill = "import os, signal; os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)"
    code = f"import torch; from lthkit import files; {kill}; files.write({str(path)!r}, 'run', {{'w': torch.zeros(2)}})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 2
    assert files.read(path, "run")[1]["w"].tolist() == [1, 1]
    files.write(path, "run", {"w": torch.zeros(2)})
    assert names(tmp_path) == ["x"] and files.read(path, "run")[1]["w"].tolist() == [0, 0]


def test_an_interrupted_write_leaves_the_old_file_whole(writer, tmp_path, monkeypatch):
    def interrupt(descriptor):
        assert len(names(tmp_path)) == 2  # there is something to clear
        raise KeyboardInterrupt

    files.write_text(tmp_path / "x", "old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        writer(tmp_path / "x")
    assert names(tmp_path) == ["x"] and (tmp_path / "x").read_text() == "old"


@pytest.mark.parametrize("writer", [*WRITERS.values(), lambda path: files.write_text(path, "short")])
def test_what_is_written_is_on_the_disk_before_it_has_its_name(writer, tmp_path, monkeypatch):
    sizes = []

    def note(descriptor):
        assert not (tmp_path / "x").exists()
        sizes.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", note)
    writer(tmp_path / "x")
    assert sizes == [(tmp_path / "x").stat().st_size]


def test_a_file_that_grows_too_large_is_an_error_of_the_system_that_names_it(writer, tmp_path):
    files.write_text(tmp_path / "x", "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match=f"File too large: '{tmp_path}/x'") as caught:
            writer(tmp_path / "x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert names(tmp_path) == ["x"] and (tmp_path / "x").read_text() == "old"


@pytest.mark.parametrize(
    "number, kind",
    [(errno.ENOSPC, OSError), (errno.EROFS, OSError), (errno.EACCES, PermissionError), (errno.EDQUOT, OSError)],
)
@pytest.mark.parametrize("where", ["open", "fsync"])
def test_a_full_or_read_only_disk_is_an_error_that_names_the_target(number, kind, where, writer, tmp_path, monkeypatch):
    def fail(*given, **settings):
        raise OSError(number, os.strerror(number), *[str(given[0])] * (where == "open"))

    (tmp_path / "x").write_text("old")
    monkeypatch.setattr(*{"open": (builtins, "open"), "fsync": (os, "fsync")}[where], fail)
    with pytest.raises(kind) as caught:
        writer(tmp_path / "x")
    monkeypatch.undo()
    assert type(caught.value) is kind and caught.value.errno == number and caught.value.filename == str(tmp_path / "x")
    assert str(tmp_path / "x") in str(caught.value) and ".part" not in str(caught.value)
    assert names(tmp_path) == ["x"] and (tmp_path / "x").read_text() == "old"


@pytest.mark.parametrize(
    "place, kind", [("no/x", FileNotFoundError), ("file/x", NotADirectoryError), ("folder", IsADirectoryError)]
)
def test_a_place_that_cannot_be_written_is_named(place, kind, writer, tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(kind, match=f"'{tmp_path}/{place}'"):
        writer(tmp_path / place)
    assert names(tmp_path) == ["file", "folder"] and names(tmp_path / "folder") == []


# --- folders ---


def test_a_new_folder_is_there_only_when_it_is_whole(tmp_path):
    with files.new_folder(tmp_path / "deep/run") as part:
        assert part.parent == tmp_path / "deep" and part.is_dir()
        files.write_text(part / "a", "1")
        assert not (tmp_path / "deep/run").exists()
    assert names(tmp_path / "deep") == ["run"] and names(tmp_path / "deep/run") == ["a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_inside_a_new_folder_leaves_nothing_and_stays_as_it_is(error, tmp_path):
    with pytest.raises(error, match="mine"), files.new_folder(tmp_path / "run") as part:
        files.write_text(part / "a", "1")
        raise error("mine")
    assert names(tmp_path) == []


def test_a_full_disk_inside_a_new_folder_names_the_folder(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/run'"):
        folder_at(tmp_path / "run")
    assert names(tmp_path) == []


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_what_is_there_is_never_replaced_by_a_new_folder(when, make, tmp_path):
    path = tmp_path / "run"
    if when == "before":
        make(path)
    with pytest.raises(FileExistsError, match="exists: choose another folder.*run'"), files.new_folder(path):
        assert when == "meanwhile"
        make(path)
    assert names(tmp_path) == ["run"] and (path.is_file() or names(path) == [])


# --- nobody else opens a file for writing ---

WRITING = {
    "NamedTemporaryFile", "TemporaryDirectory", "copy2", "copyfile", "copytree", "link_to", "makedirs", "mkdir",
    "mkdtemp", "mkstemp", "move", "rename", "renames", "save_file", "savefig", "savetxt", "savez", "symlink_to",
    "to_csv", "to_feather", "to_hdf", "to_json", "to_parquet", "to_pickle", "touch", "write_bytes", "write_text",
    "torch.save", "np.save", "json.dump", "pickle.dump", "os.open", "os.replace",
}  # fmt: skip
KNOWN = {  # (module, call): what is no file of ours
    ("checkpoints.py", "mkdir"),  # an empty folder, which a caller may have made as well
    ("exercises/grade.py", "mkdir"),
    ("exercises/grade.py", "TemporaryDirectory"),
    ("replications/choose.py", "mkdir"),  # the folder of the records
    ("replications/execute.py", "TemporaryDirectory"),
    ("replications/execute.py", "mkdir"),
    ("replications/runner.py", "mkdir"),
    ("experiments/execute.py", "mkdir"),  # a checkpoint
    ("experiments/runner.py", "mkdir"),  # the folder of the records
    ("lab.py", "savefig"),  # into memory
}


def writes(source: str) -> set[str]:
    """The calls in a module that may write a file, other than those of `files`."""
    tree = ast.parse(source)
    ours = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "lthkit.files"
        for alias in node.names
    }
    return {name for node in ast.walk(tree) if isinstance(node, ast.Call) and (name := _writing(node, ours))}


def _writing(call: ast.Call, ours: set[str]) -> str | None:
    whole = ast.unparse(call.func)
    name = whole.rpartition(".")[2]
    if whole in ours or whole.rpartition(".")[0] in ("files", "lthkit.files"):
        return None
    if name == "open":  # open(path, mode) or path.open(mode); a mode that is no literal may be any
        place = 1 if whole in ("open", "io.open", "gzip.open", "bz2.open", "lzma.open") else 0
        modes = [key.value for key in call.keywords if key.arg == "mode"] + call.args[place : place + 1]
        reads = all(isinstance(mode, ast.Constant) and not set(str(mode.value)) & set("wax+") for mode in modes)
        return None if reads else name
    if name == "replace":  # a text's takes two arguments, a dataclass's has names
        path = len(call.args) == 1 and not call.keywords and whole != name
        return name if path or whole == "os.replace" else None
    return name if name in WRITING or whole in WRITING else None


MODULES = {
    path.relative_to(Path(lthkit.__file__).parent).as_posix(): path
    for path in Path(lthkit.__file__).parent.rglob("*.py")
}


def test_nobody_else_opens_a_file_for_writing():
    found = {(name, call) for name, path in MODULES.items() if name != "files.py" for call in writes(path.read_text())}
    assert found == KNOWN
    assert writes(MODULES["files.py"].read_text()) >= {"open", "mkdir", "rename", "replace"}


@pytest.mark.parametrize(
    "line",
    [
        'open(path, "w")', 'open(path, mode="ab")', 'path.open("x")', 'open(path, "r+")', "open(path, how)",
        'gzip.open(path, "wb")', "path.write_text(text)", "part.replace(path)", "os.replace(a, b)",
        "table.to_csv(path)",
        "from safetensors.torch import save_file\nsave_file(tensors, path)", "torch.save(x, path)", "folder.mkdir()",
        "from lthkit.files import read\nwrite_text(path)", "os.open(path, flags)", "figure.savefig(path)",
    ],
)  # fmt: skip
def test_the_search_for_writing_finds_it(line):
    assert writes(line)


@pytest.mark.parametrize(
    "line",
    [
        "open(path)", 'open(path, "rb")', "path.open()", 'gzip.open(path, "rt")', 'text.replace("a", "b")',
        "path.read_text()",
        "replace(settings, lr=1)", "dataclasses.replace(settings, lr=1)", "files.write_text(path, text)",
        "run.save(path)",
        "from lthkit.files import write_text\nwrite_text(path, text)", "file.write(text)", "json.dumps(head)",
    ],
)  # fmt: skip
def test_the_search_for_writing_leaves_the_rest(line):
    assert not writes(line)
