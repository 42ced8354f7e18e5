"""Data sets: the split of the digits, and what `from_tensors` refuses."""

import hashlib
import pickle
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from lthkit import data
from lthkit.data import Dataset

from .oracles import examples, pairs


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


PARTS = ("train", "val", "test")
COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # of the digits 0 … 9, as scikit-learn's page gives them


def test_digits_have_the_promised_sizes_and_types(digits):
    assert [len(getattr(digits, f"{part}_y")) for part in PARTS] == [1197, 200, 400]
    for part in PARTS:
        x, y = getattr(digits, f"{part}_x"), getattr(digits, f"{part}_y")
        assert x.shape == (len(y), 1, 8, 8) and x.dtype == torch.float32 and y.dtype == torch.int64
        assert x.is_contiguous() and x.min() == 0 and x.max() == 1
    assert (digits.name, digits.classes, digits.image_shape) == ("digits", 10, (1, 8, 8))


def rows(found, parts=PARTS):
    """Each image with its label, as a tuple of whole numbers, sorted."""
    x = torch.cat([getattr(found, f"{part}_x") for part in parts]).flatten(1).numpy() * 16
    y = torch.cat([getattr(found, f"{part}_y") for part in parts]).numpy()
    return sorted(map(tuple, np.c_[x, y].astype(int)))


def in_order(found):
    """Each training image with its label, as a tuple of numbers."""
    return list(map(tuple, np.c_[found.train_x.flatten(1).numpy(), found.train_y.numpy()].tolist()))


@pytest.mark.parametrize("split", [0, 1, 2, 17])
def test_the_three_parts_are_all_of_scikit_learns_digits_once(split):
    images, labels = load_digits(return_X_y=True)
    assert rows(data.load("digits", split=split)) == sorted(map(tuple, np.c_[images, labels].astype(int)))


@pytest.mark.parametrize("split", [0, 1, 2, 17])
def test_a_split_is_stratified(split):
    found = data.load("digits", split=split)
    for part, size in zip(PARTS, (1197, 200, 400), strict=True):
        y = getattr(found, f"{part}_y").numpy()
        assert len(y) == size
        assert np.abs(np.bincount(y, minlength=10) - np.array(COUNTS) / 1797 * size).max() <= 1


def test_the_split_never_changes(digits):
    pixels = (torch.cat([getattr(digits, f"{part}_x") for part in PARTS]) * 16).to(torch.uint8)
    assert hashlib.sha256(pixels.numpy().tobytes()).hexdigest()[:16] == "c5f2a625ef231be1"


def test_another_split_is_another_division_and_always_the_same(digits):
    found = {split: data.load("digits", split=split) for split in (0, 1, 2)}
    for part in PARTS:
        assert len({tuple(rows(each, [part])) for each in found.values()}) == 3
    again = data.load("digits", split=1)
    for part in PARTS:
        assert torch.equal(getattr(again, f"{part}_x"), getattr(found[1], f"{part}_x"))
    assert torch.equal(found[0].test_x, digits.test_x)
    assert [each.name for each in found.values()] == ["digits", "digits, split 1", "digits, split 2"]


@examples
@given(st.integers(0, 3), st.integers(10, 1197))
def test_a_subset_is_a_stratified_part_of_the_training_images(split, size):
    whole, found = data.load("digits", split=split), data.load("digits", split=split, subset=size)
    assert len(found.train_y) == size == len(rows(found, ["train"]))
    counts = whole.train_y.bincount().numpy()
    assert np.abs(found.train_y.bincount(minlength=10).numpy() - counts * size / 1197).max() <= 1
    # In the order of the whole, each image once: whoever walks along the whole meets them all.
    images, walk = in_order(found), iter(in_order(whole))
    assert all(image in walk for image in images)
    for name in ("val_x", "val_y", "test_x", "test_y"):
        assert torch.equal(getattr(found, name), getattr(whole, name))
    larger = data.load("digits", split=split, subset=min(1197, size + 100))
    assert set(rows(found, ["train"])) <= set(rows(larger, ["train"]))


def test_a_subset_never_changes_and_says_so_in_its_name(digits):
    found = [data.load("digits", subset=600) for _ in range(2)]
    assert torch.equal(found[0].train_x, found[1].train_x)
    assert found[0].name == "digits, 600 training images"
    assert data.load("digits", split=3, subset=1_000).name == "digits, split 3, 1,000 training images"
    smallest, all_of_them = (data.load("digits", subset=size) for size in (10, 1197))
    assert sorted(smallest.train_y.tolist()) == list(range(10))
    assert torch.equal(all_of_them.train_x, digits.train_x) and torch.equal(all_of_them.train_y, digits.train_y)


def unequal(split, root, download):
    """Eight images of class 0 and four of class 1, told apart by their grey."""
    train = (torch.arange(12).view(12, 1, 1, 1) / 12, torch.tensor([0, 0, 1] * 4))
    return Dataset.from_tensors("unequal", train, train, train)


@pytest.mark.parametrize("split", range(5))
@pytest.mark.parametrize("size, counts", [(2, [1, 1]), (3, [2, 1]), (6, [4, 2]), (9, [6, 3]), (12, [8, 4])])
def test_class_counts_of_a_subset_on_paper(monkeypatch, size, counts, split):
    # Places of class 0: 1/16, 3/16, …; of class 1: 1/8, 3/8, …; the subset holds the images with the smallest.
    monkeypatch.setitem(data.DATASETS, "unequal", unequal)
    found = data.load("unequal", split=split, subset=size)
    assert found.train_y.bincount().tolist() == counts and len(found.train_x.unique()) == size
    assert len(found.val_y) == len(found.test_y) == 12


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"split": -1}, "split must be a whole number of at least 0, got -1"),
        ({"split": 1.0}, r"split must be a whole number of at least 0, got 1\.0"),
        ({"split": True}, "split must be a whole number of at least 0, got True"),
        ({"split": "data"}, "split must be a whole number of at least 0, got 'data'"),
        ({"subset": 9}, "subset must be a whole number of at least 10, got 9"),
        ({"subset": 0.5}, r"subset must be a whole number of at least 10, got 0\.5"),
        ({"subset": 1198}, "subset 1,198 is more than the 1,197 training images of digits: take fewer"),
        ({"split": 2, "subset": 2000}, "subset 2,000 is more than the 1,197 training images of digits, split 2: take"),
    ],
)
def test_a_split_or_subset_out_of_range_is_named(settings, said):
    with pytest.raises(ValueError, match=said):
        data.load("digits", **settings)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="'minst'.*digits"):
        data.load("minst")


def test_from_tensors_keeps_floats_and_divides_integers():
    (x, y), _, test = pairs()
    whole = (torch.tensor([0, 51, 255] * 40, dtype=torch.uint8).view(20, 1, 2, 3), torch.arange(20) % 3)
    found = Dataset.from_tensors("mixed", (x.double().numpy(), y.numpy()), whole, test)
    assert torch.equal(found.train_x, x) and torch.equal(found.train_y, y)
    assert found.val_x.flatten()[:3].tolist() == pytest.approx([0, 0.2, 1])
    assert found.classes == 3 and found.image_shape == (1, 2, 3)
    assert repr(found) == "Dataset('mixed': 50 / 20 / 30 images of 1×2×3 in train / val / test, 3 classes)"


def test_classes_can_exceed_the_labels_seen():
    assert Dataset.from_tensors("few", *pairs(), classes=7).classes == 7


def test_to_converts_images_and_not_labels():
    found = Dataset.from_tensors("small", *pairs())
    moved = found.to(dtype=torch.float64)
    assert moved.train_x.dtype == moved.test_x.dtype == torch.float64 and moved.val_y.dtype == torch.int64
    assert found.train_x.dtype == torch.float32 and moved.name == "small"


def broken(part: int, x=None, y=None):
    found = pairs()
    found[part] = (found[part][0] if x is None else x, found[part][1] if y is None else y)
    return found


def test_every_fault_names_its_part():
    nan = pairs()[1][0].clone()
    nan[3, 0, 1, 1] = float("nan")
    faults = [
        (broken(0, x=torch.rand(50, 6)), r"train: .*\(50, 6\)"),
        (broken(1, y=torch.zeros(19, dtype=torch.int64)), r"val: 20 images .*\(19,\)"),
        (broken(2, x=torch.zeros(0, 1, 2, 3), y=torch.zeros(0, dtype=torch.int64)), "test: no images"),
        (broken(2, x=2 * torch.ones(30, 1, 2, 3)), r"test: .*2"),
        (broken(0, x=-torch.rand(50, 1, 2, 3)), r"train: .*\[0, 1\], got -"),
        (broken(1, x=nan), "val: .*nan"),
        (broken(0, y=torch.zeros(50)), "train: .*float32"),
        (broken(0, y=torch.zeros(50, dtype=torch.bool)), "train: .*bool"),
        (broken(1, y=torch.full((20,), -1)), "val: .*0 … 2, got -1"),
        (broken(1, x=torch.rand(20, 1, 3, 3)), r"differ in shape"),
    ]
    for parts, said in faults:
        with pytest.raises(ValueError, match=said):
            Dataset.from_tensors("broken", *parts)
    with pytest.raises(ValueError, match="labels must lie in 0 … 1, got 0 … 2"):
        Dataset.from_tensors("broken", *pairs(), classes=2)


def test_no_images_at_all_is_named_too():
    nothing = (torch.zeros(0, 1, 2, 3), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="train: no images"):
        Dataset.from_tensors("empty", nothing, nothing, nothing)


def test_bool_images_are_black_and_white():
    drawn = (torch.ones(4, 1, 2, 2, dtype=torch.bool), torch.arange(4))
    assert Dataset.from_tensors("stamps", drawn, drawn, drawn).train_x.max() == 1


def test_a_data_set_shares_no_memory_with_what_it_was_made_from():
    (x, y), val, test = pairs()
    array, labels = val[0].numpy(), val[1].numpy()
    found = Dataset.from_tensors("own", (x, y), (array, labels), test)
    before = [value.clone() for value in (found.train_x, found.train_y, found.val_x, found.val_y)]
    x.zero_(), y.zero_(), array.fill(0), labels.fill(0)
    for value, kept in zip((found.train_x, found.train_y, found.val_x, found.val_y), before, strict=True):
        assert torch.equal(value, kept) and value.any()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_integer_images_of_0_and_1_are_asked_about(dtype):
    x = torch.tensor([0, 1] * 12).view(4, 1, 2, 3)
    part = (x.to(dtype), torch.arange(4))
    said = "train: integer images of 0 and 1, of 255 or of 1 at most\\? Give bool ones, or divide them"
    with pytest.raises(ValueError, match=said):
        Dataset.from_tensors("stamps", part, part, part)
    assert Dataset.from_tensors("stamps", *[(x.bool(), part[1])] * 3).train_x.max() == 1
    assert Dataset.from_tensors("black", *[(0 * x, part[1])] * 3).train_x.max() == 0


@pytest.mark.parametrize("classes", [2.5, 3.0, True, 0, "3"])
def test_classes_are_a_whole_number(classes):
    with pytest.raises(ValueError, match=f"classes must be a whole number of at least 1, got {classes!r}"):
        Dataset.from_tensors("half", *pairs(), classes=classes)


def test_numbers_of_numpy_are_numbers():
    assert type(Dataset.from_tensors("few", *pairs(), classes=np.int64(7)).classes) is int
    assert len(data.load("digits", split=np.int64(1), subset=np.int32(20)).train_y) == 20


@pytest.mark.parametrize("shape", [(0, 8, 8), (1, 0, 8), (1, 8, 0)])
def test_images_without_pixels_are_named(shape):
    part = (torch.zeros(4, *shape), torch.arange(4))
    with pytest.raises(ValueError, match=r"train: images have no pixels: shape \(4, "):
        Dataset.from_tensors("nothing", part, part, part)


# --- from_npz ---


def arrays(shape=(3, 5, 4), **changed):
    """Arrays of a file: 40 training images, 10 test images, of four classes; `shape`: of an image.  None leaves out."""
    generator = np.random.default_rng(0)
    found = {}
    for part, count in (("train", 40), ("test", 10)):
        found[f"{part}_x"] = generator.integers(0, 256, (count, *shape), dtype=np.uint8)
        found[f"{part}_y"] = np.arange(count) % 4
    return {key: value for key, value in (found | changed).items() if value is not None}


def saved(folder, **given):
    np.savez(folder / "mine.npz", **given)
    return folder / "mine.npz"


def test_a_file_of_arrays(tmp_path):
    given = arrays()
    found = Dataset.from_npz(saved(tmp_path, **given), val=8)
    assert repr(found) == "Dataset('mine': 32 / 8 / 10 images of 3×5×4 in train / val / test, 4 classes)"
    assert np.array_equal(found.test_x.numpy(), given["test_x"].astype(np.float32) / 255)
    assert found.test_y.tolist() == given["test_y"].tolist() and found.val_y.bincount().tolist() == [2, 2, 2, 2]
    both = torch.cat([found.train_x, found.val_x]).flatten(1)
    assert sorted(both.tolist()) == sorted((given["train_x"].reshape(40, -1).astype(np.float32) / 255).tolist())
    again = Dataset.from_npz(str(tmp_path / "mine.npz"), val=8)
    assert torch.equal(again.val_x, found.val_x)


@pytest.mark.parametrize("kind", ["<f4", ">f4", "f2", "f8"])
def test_a_file_of_shares_and_a_validation_part_of_its_own(kind, tmp_path):
    given = arrays()
    given = {key: (value / 256).astype(kind) if key[-1] == "x" else value for key, value in given.items()}
    own = {"val_x": given["train_x"][:7], "val_y": np.array([3] * 7, dtype=">u2")}
    found = Dataset.from_npz(saved(tmp_path, **given, **own))
    assert len(found.train_y) == 40 and found.val_y.tolist() == [3] * 7
    assert np.array_equal(found.val_x.numpy(), own["val_x"].astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "as_shape"),
    [
        ((5, 4), (1, 5, 4)),
        ((3, 5, 4), (3, 5, 4)),
        ((5, 4, 3), (3, 5, 4)),
        ((1, 5, 4), (1, 5, 4)),
        ((5, 4, 1), (1, 5, 4)),
    ],
)
def test_channels_are_found_where_they_are(shape, as_shape, tmp_path):
    given = arrays(shape)
    found = Dataset.from_npz(saved(tmp_path, **given), val=8)
    assert found.image_shape == as_shape
    image = given["test_x"][7] if shape[-1] > 3 else given["test_x"][7].transpose(2, 0, 1)
    assert np.array_equal(found.test_x[7].numpy() * 255, image.reshape(as_shape).astype(np.float32))


ODD = {
    "no key": ({"test_y": None}, "it has no test_y, but train_x, train_y, test_x: save it under that key"),
    "half a part": ({"val_x": np.zeros((2, 3, 5, 4))}, "it has no val_y, but .*"),
    "channels on both sides": (arrays((3, 5, 3)), r"train_x has the shape \(40, 3, 5, 3\), which does not tell .*"),
    "channels on neither": (
        arrays((4, 5, 6)),
        r"train_x has the shape .*: save \[N, C, H, W\] with 1 or 3 channels, .*",
    ),
    "no images": (arrays((20,)), r"train_x has the shape \(40, 20\), .*"),
    "objects": ({"train_y": np.array([{}] * 40)}, "train_y holds Python objects: save numbers"),
    "text": ({"train_y": np.array(["cat"] * 40)}, "train_y holds <U3: save numbers"),
    "too few labels": ({"train_y": np.arange(39) % 4}, r"train: 40 images but labels of shape \(39,\)"),
    "labels by class": ({"test_y": np.eye(4, dtype=int)[[0] * 10]}, r"test: 10 images but labels of shape \(10, 4\)"),
    "labels that are shares": ({"test_y": np.full(10, 0.5)}, "test: labels must be integers, got torch.float64"),
    "negative labels": ({"test_y": np.full(10, -1)}, r"test: labels must lie in 0 … 3, got -1 … -1"),
    "wide pixels": ({"test_x": np.full((10, 3, 5, 4), 400, np.uint16)}, r"test: images must lie in \[0, 1\], got .*"),
    "not finite": ({"test_x": np.full((10, 3, 5, 4), np.nan)}, r"test: images must lie in \[0, 1\], got nan … nan"),
    "another shape": ({"test_x": np.zeros((10, 3, 5, 5))}, "train, val and test images differ in shape: .*"),
}


@pytest.mark.parametrize(("changed", "says"), ODD.values(), ids=ODD)
def test_an_odd_file_is_named_with_what_is_odd(changed, says, tmp_path):
    path = saved(tmp_path, **arrays(**changed))
    with pytest.raises(ValueError) as raised:
        Dataset.from_npz(path, val=8)
    assert re.fullmatch(re.escape(f"{path} is no data set: ") + says, str(raised.value)), raised.value


def test_what_is_no_file_of_arrays(tmp_path):
    path = saved(tmp_path, **arrays())
    whole = path.read_bytes()
    np.save(tmp_path / "one.npy", np.zeros(3))
    pickled = tmp_path / "pickled.npz"
    pickled.write_bytes(pickle.dumps(arrays()))
    bad = {
        "cut": whole[:-500],
        "flipped": whole[:900] + bytes([whole[900] ^ 255]) + whole[901:],
        "empty": b"",
        "text": b"x",
    }
    for name, content in bad.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
    for name in (*bad, "pickled"):
        remedy = "write it with numpy.savez" if name in ("empty", "text", "pickled") else ""
        with pytest.raises(ValueError, match=f"{name}.npz is no data set: .+{remedy}") as raised:
            Dataset.from_npz(tmp_path / f"{name}.npz")
        assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match="one.npy is no data set: it is no archive of arrays with names"):
        Dataset.from_npz(tmp_path / "one.npy")
    with pytest.raises(ValueError, match="is no data set: .*val|test_size"):
        Dataset.from_npz(path, val=40)
    with pytest.raises(FileNotFoundError):
        Dataset.from_npz(tmp_path / "none.npz")
