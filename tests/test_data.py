"""Data sets: the split of the digits, and what `from_tensors` refuses."""

import hashlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from lthkit import data
from lthkit.data import Dataset

from .oracles import pairs


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


PARTS = ("train", "val", "test")


def test_digits_have_the_promised_sizes_and_types(digits):
    assert [len(getattr(digits, f"{part}_y")) for part in PARTS] == [1197, 200, 400]
    for part in PARTS:
        x, y = getattr(digits, f"{part}_x"), getattr(digits, f"{part}_y")
        assert x.shape == (len(y), 1, 8, 8) and x.dtype == torch.float32 and y.dtype == torch.int64
        assert x.is_contiguous() and x.min() == 0 and x.max() == 1
    assert (digits.name, digits.classes, digits.image_shape) == ("digits", 10, (1, 8, 8))


def test_the_three_parts_are_all_of_scikit_learns_digits_once(digits):
    images, labels = load_digits(return_X_y=True)
    x = torch.cat([getattr(digits, f"{part}_x") for part in PARTS]).flatten(1).numpy() * 16
    y = torch.cat([getattr(digits, f"{part}_y") for part in PARTS]).numpy()
    found = sorted(map(tuple, np.c_[x, y].astype(int)))
    assert found == sorted(map(tuple, np.c_[images, labels].astype(int)))


def test_the_split_is_stratified(digits):
    _, labels = load_digits(return_X_y=True)
    share = np.bincount(labels) / len(labels)
    for part in PARTS:
        y = getattr(digits, f"{part}_y").numpy()
        assert np.abs(np.bincount(y, minlength=10) - share * len(y)).max() <= 1


def test_the_split_never_changes(digits):
    pixels = (torch.cat([getattr(digits, f"{part}_x") for part in PARTS]) * 16).to(torch.uint8)
    assert hashlib.sha256(pixels.numpy().tobytes()).hexdigest()[:16] == "c5f2a625ef231be1"


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
    for given, said in faults:
        with pytest.raises(ValueError, match=said):
            Dataset.from_tensors("broken", *given)
    with pytest.raises(ValueError, match="labels must lie in 0 … 1, got 0 … 2"):
        Dataset.from_tensors("broken", *pairs(), classes=2)


def test_no_images_at_all_is_named_too():
    nothing = (torch.zeros(0, 1, 2, 3), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="train: no images"):
        Dataset.from_tensors("empty", nothing, nothing, nothing)


def test_bool_images_are_black_and_white():
    drawn = (torch.ones(4, 1, 2, 2, dtype=torch.bool), torch.arange(4))
    assert Dataset.from_tensors("stamps", drawn, drawn, drawn).train_x.max() == 1
