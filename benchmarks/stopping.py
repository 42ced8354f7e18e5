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
from itertools import count

import torch

from lthkit import lottery, supermask, training
from lthkit.data import Dataset
from lthkit.networks import Network, conv_2, lenet_300_100

LONG = 10**6  # steps: hours


def noise(shape: tuple[int, int, int]) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    parts = [(torch.rand(n, *shape, generator=generator), torch.arange(n) % 10) for n in (6000, 2000, 10_000)]
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


def failing(network: Network, data: Dataset, part: int) -> float:
    """Seconds from an error in step 20 of one of two parts, two replicates each, until the caller of `fit` has it."""
    params, raised = network.init(range(4)), []
    name, differentiator = network.prunable[0], network.differentiator

    def differentiating(own, grads):
        step, steps = differentiator(own, grads), count(1)
        mine = torch.equal(own[name][0], params[name][2 * part])

        def failing_step(x, y):
            if next(steps) == 20 and mine:
                raised.append(time.perf_counter())
                raise RuntimeError("as intended")
            return step(x, y)

        return failing_step

    network.differentiator = differentiating
    try:
        training.fit(network, params, data, iterations=LONG)
    except RuntimeError as error:
        if str(error) == "as intended":
            return time.perf_counter() - raised[0]
        raise
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
        "search": partial(lottery.search, network, data, range(replicates), rounds=1000, iterations=3, batch_size=60),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5, help="interruptions of each call")
    times = parser.parse_args().times
    torch.set_num_threads(2)
    print(f"torch {torch.__version__}, 2 threads, 4 replicates; the slowest of {times}, in seconds")
    grey, colour = noise((1, 28, 28)), noise((3, 32, 32))
    worlds = {
        "LeNet-300-100, 28×28": (lenet_300_100(grey), grey, 1.0),
        "Conv-2, 28×28": (conv_2(grey), grey, 3.0),
        "Conv-2, 32×32×3": (conv_2(colour), colour, 3.0),
    }
    for world, (network, data, bar) in worlds.items():
        for name, call in calls(network, data, 4).items():
            moments = [1.0 + 0.4 * k for k in range(times)]
            slowest = max(interrupted(call, moment) for moment in moments)
            print(f"{world:20}  Ctrl-C in {name:19}  {slowest:5.3f}  (bar {bar})", flush=True)
            left = [thread.name for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]
            if left or torch.get_num_threads() != 2:
                raise RuntimeError(f"{left} work on, {torch.get_num_threads()} threads")
    network, data, _ = worlds["LeNet-300-100, 28×28"]
    for part in range(2):
        slowest = max(failing(network, data, part) for _ in range(times))
        print(f"LeNet-300-100, 28×28  error in part {part}                 {slowest:5.3f}  (bar 0.2)", flush=True)


if __name__ == "__main__":
    main()
