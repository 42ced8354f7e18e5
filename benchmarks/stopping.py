"""Seconds until a call that is interrupted, or of which one part fails, is back, against the bars.

`python benchmarks/stopping.py` interrupts each call again and again, each time later, and prints the slowest.
"""

import argparse
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial

import torch

from lthkit import lottery, supermask, training
from lthkit.data import Dataset
from lthkit.networks import Network, conv_2, lenet_300_100

LONG = 10**6  # steps: hours


def noise(shape: tuple[int, int, int], train: int = 6000, test: int = 10_000) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    parts = [
        (torch.rand(count, *shape, generator=generator), torch.arange(count) % 10) for count in (train, 2000, test)
    ]
    return Dataset.from_tensors("noise", *parts)


def interrupted(call: Callable[[], object], after: float) -> float:
    """Seconds from Ctrl-C, pressed so many seconds after the call begins, until the caller has it."""
    pressed = []

    def press() -> None:
        pressed.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(after, press)
    timer.start()
    try:
        call()
    except KeyboardInterrupt:
        return time.perf_counter() - pressed[0]
    finally:
        timer.join()
    raise RuntimeError("the call ended before it was interrupted")


def failing(network: Network, data: Dataset, replicates: int, part: int) -> float:
    """Seconds from an error in one part of a fit until the caller has it."""
    raised = []

    def fail(slot: int, step: Callable) -> Callable:
        steps = 0

        def counted(x, y):
            nonlocal steps
            steps += 1
            if steps == 20 and slot == part:
                raised.append(time.perf_counter())
                raise RuntimeError("as intended")
            return step(x, y)

        return counted

    made, differentiator = threading.Lock(), network.differentiator
    first = network.init(range(replicates))[network.prunable[0]]

    def differentiating(params, grads):
        with made:
            own = params[network.prunable[0]]
            slot = 0 if torch.equal(own[0], first[0]) else 1
            return fail(slot, differentiator(params, grads))

    network.differentiator = differentiating
    try:
        training.fit(network, network.init(range(replicates)), data, iterations=LONG)
    except RuntimeError as error:
        assert str(error) == "as intended"
        return time.perf_counter() - raised[0]
    finally:
        del network.differentiator
    raise RuntimeError("nothing failed")


def calls(network: Network, data: Dataset, replicates: int) -> dict[str, Callable[[], object]]:
    """What may take long.  In "evaluate", nothing but checks is done."""
    params = network.init(range(replicates))
    return {
        "fit": partial(training.fit, network, params, data, iterations=LONG),
        "evaluate inside fit": partial(
            training.fit, network, params, data, iterations=LONG, eval_every=1, test_curve=True, batch_size=1
        ),
        "learn": partial(supermask.learn, network, data, range(replicates), iterations=LONG),
        "edge_popup": partial(supermask.edge_popup, network, data, range(replicates), iterations=LONG),
        "search": partial(
            lottery.search, network, data, range(replicates), rounds=1000, iterations=3, batch_size=60
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5, help="interruptions of each call")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"torch {torch.__version__}, {given.threads} threads; the slowest of {given.times}, in seconds")
    grey, colour = noise((1, 28, 28)), noise((3, 32, 32))
    worlds = {
        "LeNet-300-100, 28×28": (lenet_300_100(grey), grey, 1.0),
        "Conv-2, 28×28": (conv_2(grey), grey, 3.0),
        "Conv-2, 32×32×3": (conv_2(colour), colour, 3.0),
    }
    for world, (network, data, bar) in worlds.items():
        for name, call in calls(network, data, 4).items():
            moments = [1.0 + 0.4 * k for k in range(given.times)]
            slowest = max(interrupted(call, moment) for moment in moments)
            print(f"{world}, 4 replicates: Ctrl-C in {name:20} {slowest:6.3f}  (bar {bar})", flush=True)
            print(threading.enumerate(), torch.get_num_threads())
    network, data, _ = worlds["LeNet-300-100, 28×28"]
    for part in range(min(2, given.threads)):
        slowest = max(failing(network, data, 4, part) for _ in range(given.times))
        print(f"LeNet-300-100, 28×28, 4 replicates: error in part {part} {slowest:6.3f}  (bar 0.2)", flush=True)


if __name__ == "__main__":
    main()
