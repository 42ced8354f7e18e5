"""Settings: what they allow, and how many iterations they make."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from lthkit.data import Dataset
from lthkit.training import Settings

from ..oracles import pairs

DATA = Dataset.from_tensors("small", *pairs())  # 50 / 20 / 30 images


@pytest.mark.parametrize(
    "given, said",
    [
        ({"optimizer": "rmsprop"}, "'rmsprop'.*adam, adamw, sgd"),
        ({"momentum": 1.0}, r"momentum.*1\.0"),
        ({"momentum": -0.1}, r"momentum.*-0\.1"),
        ({"momentum": float("nan")}, "momentum.*nan"),
        ({"weight_decay": -1.0}, r"weight_decay.*-1\.0"),
        ({"weight_decay": float("nan")}, "weight_decay.*nan"),
        ({"lr": 0}, "lr.*0"),
        ({"lr": "0.1"}, "lr.*'0.1'"),
        ({"lr": float("inf")}, "lr.*inf"),
        ({"lr": True}, "lr.*True"),
        ({"lr_schedule": 0.5}, r"lr_schedule.*0\.5"),
        ({"epochs": -1}, "epochs.*-1"),
        ({"epochs": 2.5}, r"epochs.*2\.5"),
        ({"iterations": -1}, "iterations.*-1"),
        ({"batch_size": 0}, "batch_size.*0"),
        ({"eval_every": 0}, "eval_every.*0"),
        ({"epoch": 3}, "unknown setting 'epoch': known are epochs, iterations, batch_size"),
    ],
)
def test_a_bad_setting_is_named_when_settings_are_made(given, said):
    with pytest.raises(ValueError, match=said):
        Settings.of(given)


def test_numbers_of_numpy_become_plain_ones():
    given = {"epochs": np.int64(2), "batch_size": np.int32(15), "eval_every": np.int8(3), "lr": np.float32(0.5)}
    settings = Settings(**given)
    assert settings == Settings(epochs=2, batch_size=15, eval_every=3, lr=0.5)
    assert all(type(getattr(settings, name)) in (int, float) for name in given)


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(FrozenInstanceError):
        Settings().lr = 0.1


@pytest.mark.parametrize(
    "given, total, checked",
    [
        ({"epochs": 2, "batch_size": 15}, 8, [0, 4, 8]),
        ({"epochs": 2, "batch_size": 15, "eval_every": 3}, 8, [0, 3, 6, 8]),
        ({"epochs": 2, "batch_size": 15, "eval_every": 99}, 8, [0, 8]),
        ({"iterations": 5, "batch_size": 50}, 5, [0, 1, 2, 3, 4, 5]),
        ({"epochs": 0}, 0, [0]),
        ({"epochs": 10, "iterations": 0}, 0, [0]),
    ],
)
def test_iterations_and_checks_on_paper(given, total, checked):
    """50 training images."""
    settings = Settings(**given)
    assert settings.total(DATA) == total and settings.checked(DATA) == checked


@pytest.mark.parametrize(
    "given, smallest",
    [
        ({"batch_size": 15}, 5),
        ({"batch_size": 15, "iterations": 3}, 15),
        ({"batch_size": 15, "iterations": 4}, 5),
        ({"batch_size": 7, "epochs": 3}, 1),
        ({"batch_size": 25}, 25),
    ],
)
def test_the_smallest_batch_on_paper(given, smallest):
    """50 training images."""
    assert Settings(**given).smallest(DATA) == smallest


def test_the_rate_follows_its_schedule():
    assert Settings(lr=0.2).rate(7) == 0.2
    assert Settings(lr=0.2, lr_schedule=lambda i: 0.5**i).rate(2) == pytest.approx(0.05)


def test_a_schedule_is_asked_before_training_for_all_threads_alike():
    asked = []
    settings = Settings(lr=0.2, iterations=3, lr_schedule=lambda i: asked.append(i) or 0.5**i).tabulated(DATA)
    before = list(asked)
    assert [settings.rate(i) for i in range(3)] == [0.2, 0.1, 0.05] and asked == before == [0, 1, 2] * 2
    assert Settings().tabulated(DATA) == Settings()


def test_a_schedule_that_remembers_is_refused():
    left = iter(range(1, 99))
    with pytest.raises(ValueError, match=r"lr_schedule\(0\) was 1, then 4: it must depend on the iteration alone"):
        Settings(iterations=3, lr_schedule=lambda i: next(left)).tabulated(DATA)
