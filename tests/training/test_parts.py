"""Parts: which threads work on what, in which mode, and what the caller's threads are like afterwards."""

import threading
import time
from types import SimpleNamespace

import pytest
import torch

from lthkit import data, stopping
from lthkit.data import Dataset
from lthkit.networks import Conv, Dense, from_module
from lthkit.training import fit
from lthkit.training.parts import WORKERS, in_parts

from ..oracles import pairs, stack

DATA = Dataset.from_tensors("small", *pairs(shape=(1, 4, 4)))
DENSE, CONV = Dense("dense", [16, 5, 3]), Conv("conv", DATA, (2,), 0.5)
MODULE = from_module(lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)))
FADED = 1e-30  # its square is denormal in float32
MANY = 2**20  # enough numbers for all threads to take some


@pytest.fixture(autouse=True)
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(getattr(request, "param", 2))
    yield torch.get_num_threads()
    torch.set_num_threads(before)


def denormals(count: int = 1) -> int:
    """How many of so many products are 0, though they should be denormal."""
    factor = torch.full((count,), FADED**0.5 * 1e-5)
    return int((factor * factor).eq(0).sum())


def in_new_thread(ask):
    found = []
    thread = threading.Thread(target=lambda: found.append(ask()))
    thread.start()
    thread.join()
    return found[0]


def as_it_was(threads: int) -> bool:
    """The caller's mode, its number of threads, and that of threads to come."""
    return (
        denormals(MANY) == 0
        and torch.get_num_threads() == threads
        and in_new_thread(torch.get_num_threads) == threads
        and not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]
    )


def parts(work, network=DENSE, replicates=5, on_cpu=True):
    return in_parts(work, network, replicates, on_cpu)


# --- who does what ---


@pytest.mark.parametrize(
    ("threads", "network", "replicates", "on_cpu", "cuts"),
    [
        (1, DENSE, 5, True, [(0, 5)]),
        (2, DENSE, 5, True, [(0, 2), (2, 5)]),
        (3, DENSE, 5, True, [(0, 1), (1, 3), (3, 5)]),
        (2, DENSE, 1, True, [(0, 1)]),
        (7, DENSE, 2, True, [(0, 1), (1, 2)]),
        (WORKERS + 3, DENSE, WORKERS + 1, True, [(0, 1), (1, 2), (2, 3), (3, 5)]),
        (2, CONV, 3, True, [(0, 1), (1, 3)]),
        (2, MODULE, 3, True, [(0, 3)]),  # has one template
        (2, DENSE, 5, False, [(0, 5)]),  # a GPU's stack is one
    ],
    indirect=["threads"],
)
def test_there_is_a_part_for_each_thread_to_use(threads, network, replicates, on_cpu, cuts):
    """In order, each in a thread of its own that is not the caller's."""
    together = threading.Barrier(len(cuts), timeout=20)

    def work(replicates):
        together.wait()
        time.sleep(0.02 if replicates.start == 0 else 0)  # the first one ends last
        return (replicates.start, replicates.stop), threading.get_ident()

    found = parts(work, network, replicates, on_cpu)
    assert [cut for cut, _ in found] == cuts
    assert len({ident for _, ident in found} - {threading.get_ident()}) == len(cuts)
    assert as_it_was(threads)


@pytest.mark.parametrize("threads", [1, 2, 4], indirect=True)
def test_the_first_part_alone_moves_the_bar(threads):
    """Once an iteration, from one thread that is not the caller's."""
    moved = []
    bar = SimpleNamespace(update=lambda: moved.append(threading.get_ident()))
    fit(DENSE, DENSE.init(range(5)), DATA, iterations=7, progress=bar)
    assert len(moved) == 7 and len(set(moved) - {threading.get_ident()}) == 1


@pytest.mark.parametrize("threads", [1, 2, 4, 5], indirect=True)
def test_short_steps_get_one_thread_and_long_ones_share_all(threads):
    def work(replicates):
        return torch.get_num_threads()

    for replicates in (1, 2, 5):
        workers = min(replicates, threads, WORKERS)
        assert parts(work, DENSE, replicates) == [1] * workers
        assert parts(work, CONV, replicates) == [threads // workers] * workers
    assert as_it_was(threads)


def test_networks_say_whether_their_steps_are_long():
    images = data.load("digits")
    assert Conv("conv", images, (2,), 0.5).long_steps and not Dense("dense", [64, 10]).long_steps
    assert from_module(lambda: torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten())).long_steps
    assert not MODULE.long_steps


# --- denormals ---


@pytest.mark.parametrize("network", [DENSE, CONV, MODULE], ids=["dense", "conv", "module"])
@pytest.mark.parametrize("replicates", [1, 3])
def test_denormals_are_0_in_all_threads_of_a_part_and_stay_with_the_caller(network, replicates, threads):
    """In each number of a long tensor, as all threads that share its product must agree."""
    assert denormals(MANY) == 0  # the caller's OpenMP threads are there before, in their own mode
    found = parts(lambda cut: (denormals(MANY), denormals()), network, replicates)
    assert found == [(MANY, 1)] * len(found) and as_it_was(threads)
    again = parts(lambda cut: denormals(MANY), network, replicates)
    assert again == [MANY] * len(again) and as_it_was(threads)


def test_threads_that_share_a_product_keep_the_mode_they_were_born_with():
    """So the test above tells something: set too late, the mode holds in one of two threads only."""

    def too_late():
        torch.set_num_threads(2)
        denormals(MANY)
        torch.set_flush_denormal(True)
        return denormals(MANY)

    assert 0 < in_new_thread(too_late) < MANY


def test_a_fit_leaves_the_callers_mode(threads):
    params = {name: value.float() for name, value in stack(0, DENSE.shapes, 3).items()}
    fit(DENSE, params, DATA, iterations=3)
    assert as_it_was(threads)
    torch.set_flush_denormal(True)  # a caller who wants it so
    try:
        fit(DENSE, params, DATA, iterations=3)
        assert denormals() == 1
    finally:
        torch.set_flush_denormal(False)


# --- errors ---


def until_stopped(seconds: float = 60.0) -> None:
    """Work that takes hours, but looks whether it was told to stop."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        stopping.check_stop()
        time.sleep(0.001)


@pytest.mark.parametrize("threads", [2, 3], indirect=True)
@pytest.mark.parametrize("part", [0, 1, -1])
def test_an_error_in_one_part_ends_all(part, threads):
    failed = []

    def work(replicates):
        if replicates.start == (0, 1, 2)[:threads][part] * 3 // threads:
            failed.append(time.monotonic())
            raise RuntimeError("as intended")
        until_stopped()

    with pytest.raises(RuntimeError, match="as intended"):
        parts(work, replicates=3)
    seconds = time.monotonic() - failed[0]
    print(f"surfaced after {seconds:.3f} s (bar 0.2)")
    assert seconds < 5 and as_it_was(threads)


def test_of_several_errors_the_first_parts_is_raised():
    together = threading.Barrier(2, timeout=20)

    def work(replicates):
        together.wait()
        raise RuntimeError(f"part {replicates.start}")

    with pytest.raises(RuntimeError, match="part 0"):
        parts(work, replicates=2)


def test_a_part_that_begins_late_leaves_the_number_of_threads(threads, monkeypatch):
    """Each part sets it for itself, and torch for all threads to come: also after another part has failed."""
    first, second, flush = threading.Event(), threading.Event(), torch.set_flush_denormal

    def late(mode: bool) -> None:
        if first.is_set():
            second.set()
            time.sleep(0.2)
        first.set()
        flush(mode)

    monkeypatch.setattr(torch, "set_flush_denormal", late)

    def work(replicates):
        second.wait(20)
        raise RuntimeError("at once")

    with pytest.raises(RuntimeError, match="at once"):
        parts(work, replicates=2)
    assert as_it_was(threads)


def test_stopping_concerns_the_threads_of_one_call_only():
    with pytest.raises(RuntimeError):
        parts(lambda cut: (_ for _ in ()).throw(RuntimeError("no")))
    stopping.check_stop()
    assert parts(lambda cut: stopping.check_stop()) == [None, None]
