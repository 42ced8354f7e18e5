"""Ctrl-C, and an error in one part: the caller has it soon, and no thread works on.

The bars are 1 s (convolutions 3 s) and 0.2 s on a quiet machine, which benchmarks/stopping.py measures.  Here nothing
is asserted but that a call returns long before it would end, on however busy a machine; the figures are printed.
"""

import copy
import itertools
import os
import signal
import threading
import time
from functools import partial

import pytest
import torch

from lthkit import lottery, supermask
from lthkit.data import Dataset
from lthkit.networks import conv_2, lenet_300_100
from lthkit.training import evaluate, fit, loop, weights
from lthkit.training.loop import batches_of

LONG = 10**6  # steps: hours
SOON = 8.0  # seconds
REPLICATES = range(4)


def noise(shape, test: int) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    parts = [(torch.rand(n, *shape, generator=generator), torch.arange(n) % 10) for n in (600, 200, test)]
    return Dataset.from_tensors("noise", *parts)


@pytest.fixture(scope="module")
def worlds():
    grey, colour = noise((1, 28, 28), 4000), noise((3, 32, 32), 4000)
    return {"dense": (lenet_300_100(grey), grey), "28×28": (conv_2(grey), grey), "32×32×3": (conv_2(colour), colour)}


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def ours() -> list[str]:
    """The threads beside the main one, but for those that tqdm, Dask and IPython leave where they were used before."""
    others = ("tqdm", "IO loop", "IPython")
    return [thread.name for thread in threading.enumerate() if not any(name in thread.name for name in others)][1:]


def to_the_process() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def to_another_thread() -> None:
    """The kernel may hand the signal to any thread; it then does not wake the main one out of a wait for a lock."""
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)


def interrupt(call, when, send=to_the_process) -> None:
    """Press Ctrl-C once `when()` is true; `call` must give up soon."""
    pressed, over = [], threading.Event()

    def press() -> None:
        while not when():
            if over.wait(0.001):
                return
        pressed.append(time.monotonic())
        send()
        if not over.wait(2 * SOON):
            to_the_process()  # too late to pass, but the tests go on

    presser = threading.Thread(target=press)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    presser.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
        seconds = time.monotonic() - pressed[0]
    finally:
        over.set()
        presser.join()
        signal.signal(signal.SIGINT, before)
    print(f"back after {seconds:.3f} s")
    assert seconds < SOON


def after(seconds: float):
    """when() is true so many seconds from now."""
    ends = time.monotonic() + seconds
    return lambda: time.monotonic() >= ends


def few(data: Dataset) -> Dataset:
    """The same with twenty images of each part."""
    return Dataset(
        **{name: value[:20] if isinstance(value, torch.Tensor) else value for name, value in vars(data).items()}
    )


def as_before(network, data, threads: int) -> None:
    """No thread works on, and the next call works.  One that Ctrl-C met while it was being started ends by itself."""
    ends = time.monotonic() + 1
    while ours() and time.monotonic() < ends:
        time.sleep(0.01)
    assert ours() == [] and torch.get_num_threads() == threads
    result = fit(network, network.init([0]), few(data), iterations=1)
    assert result.history.val_loss.isfinite().all()


CALLS = {
    "fit": lambda network, data: fit(network, network.init(REPLICATES), data, iterations=LONG),
    "learn": lambda network, data: supermask.learn(network, data, REPLICATES, iterations=LONG),
    "edge-popup": lambda network, data: supermask.edge_popup(network, data, REPLICATES, iterations=LONG),
    "search": lambda network, data: lottery.search(network, data, REPLICATES, rounds=LONG, iterations=2),
}


@pytest.mark.parametrize("send", [to_the_process, to_another_thread])
@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c_ends_a_call(name, send, threads, worlds):
    network, data = worlds["dense"]
    interrupt(partial(CALLS[name], network, data), after(0.3), send)
    as_before(network, data, threads)


@pytest.mark.parametrize("world", ["28×28", "32×32×3"])
@pytest.mark.parametrize("name", ["fit", "learn"])
def test_ctrl_c_ends_a_call_with_convolutions(name, world, worlds):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        network, data = worlds[world]
        interrupt(partial(CALLS[name], network, data), after(0.6))
        as_before(network, data, 2)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("world", ["dense", "28×28", "32×32×3"])
def test_ctrl_c_ends_the_evaluation_inside_a_fit(world, threads, worlds, monkeypatch):
    """Pressed once a part works on test images, of which there are thousands."""
    network, data = worlds[world]
    data = Dataset(**vars(data) | {"test_x": data.test_x.repeat(5, 1, 1, 1), "test_y": data.test_y.repeat(5)})
    busy = threading.Event()

    def watched(network, params, x, y, **given):
        if len(x) == len(data.test_y):
            busy.set()
        return evaluate(network, params, x, y, **given)

    monkeypatch.setattr(weights, "evaluate", watched)
    looks = fit, network, network.init(REPLICATES), data
    interrupt(partial(*looks, iterations=LONG, test_curve=True, eval_every=1, batch_size=1), busy.is_set)
    monkeypatch.undo()
    as_before(network, data, threads)


def test_ctrl_c_while_the_parts_set_out(threads, worlds, monkeypatch):
    network, data = worlds["dense"]
    about = threading.Event()

    def slowly(*given):
        time.sleep(0.1)
        about.set()
        time.sleep(0.3)
        return batches_of(*given)

    monkeypatch.setattr(loop, "batches_of", slowly)
    interrupt(partial(CALLS["fit"], network, data), about.is_set)
    monkeypatch.undo()
    as_before(network, data, threads)


# --- errors ---


def failing(network, part: int, at: int, failed: list):
    """The same network, whose step number `at` raises in one thread of two alone."""
    names, lock, plain, network = [], threading.Lock(), network.differentiator, copy.copy(network)

    def differentiator(params, grads):
        step, numbers, me = plain(params, grads), itertools.count(), threading.current_thread().name
        with lock:
            names.append(me)

        def failing_step(x, y):
            if next(numbers) == at:
                while len(names) < 2:
                    time.sleep(0.01)
                if sorted(names).index(me) == part:
                    failed.append(time.monotonic())
                    raise RuntimeError("as intended")
            return step(x, y)

        return failing_step

    network.differentiator = differentiator
    return network


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("name", CALLS)
def test_an_error_in_either_part_surfaces_though_the_other_has_hours_to_go(part, name, worlds):
    plain, data = worlds["dense"]
    before, failed = torch.get_num_threads(), []
    torch.set_num_threads(2)
    network = failing(plain, part, 5, failed)
    call = {"fit": partial(fit, network, network.init(REPLICATES)), "search": partial(lottery.search, network)}
    call |= {"learn": partial(supermask.learn, network), "edge-popup": partial(supermask.edge_popup, network)}
    try:
        with pytest.raises(RuntimeError, match="as intended"):
            call[name](data, seeds=REPLICATES, iterations=LONG)
        seconds = time.monotonic() - failed[0]
        print(f"surfaced after {seconds:.3f} s")
        assert seconds < SOON
        as_before(plain, data, 2)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("world", ["dense", "28×28"])
@pytest.mark.parametrize("replicate", [0, 3])
def test_a_step_that_fails_for_one_replicate_surfaces(replicate, world, worlds):
    network, data = worlds[world][0], few(worlds[world][1])
    before, failed = torch.get_num_threads(), []
    params = network.init(REPLICATES)
    name, whole = network.prunable[0], network.differentiator

    def differentiator(params_of_part, grads):
        step, mine = (
            whole(params_of_part, grads),
            any(map(partial(torch.equal, params[name][replicate]), params_of_part[name])),
        )
        left = [3]

        def counted(x, y):
            left[0] -= 1
            if mine and left[0] == 0:
                failed.append(time.monotonic())
                raise RuntimeError(f"replicate {replicate}")
            return step(x, y)

        return counted

    torch.set_num_threads(2)
    network.differentiator = differentiator
    try:
        with pytest.raises(RuntimeError, match=f"replicate {replicate}"):
            fit(network, params, data, seeds=REPLICATES, iterations=LONG)
        seconds = time.monotonic() - failed[0]
        print(f"surfaced after {seconds:.3f} s")
        assert seconds < SOON
        del network.differentiator
        as_before(network, data, 2)
    finally:
        vars(network).pop("differentiator", None)
        torch.set_num_threads(before)
