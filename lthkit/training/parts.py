"""A stack of replicates worked on in parts, side by side, each in a thread of its own."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from queue import Empty, SimpleQueue
from threading import Event
from typing import TypeVar

import torch

from lthkit.networks import Network
from lthkit.stopping import Stopped, stop_at

NAP = 0.1  # seconds; a keyboard interrupt that another thread receives does not end a wait of the main one
WORKERS = 4  # beyond this many threads Python itself is what they wait for
Part = TypeVar("Part")


def in_parts(work: Callable[[slice], Part], network: Network, replicates: int, on_cpu: bool) -> list[Part]:
    """What `work(replicates to take)` returns for each part, in order: as many parts as there are threads to use.

    An error in one part, or a keyboard interrupt here, ends all others at their next `check_stop`, and is raised.

    One thread a part needs no barrier between the cores in every operation.  Where another program holds a core, two
    threads that share each operation wait for each other, and were seen to take fifty times as long; so only the long
    steps of convolutions are shared.  Denormal numbers, ten times as slow, are taken for 0: where units are dead,
    Adam's moments fade into them.  torch sets this mode for a thread and those that it starts: the caller's stays.
    """
    before = torch.get_num_threads()
    workers = min(before, replicates, WORKERS) if on_cpu and network.threads_safe else 1
    cuts = [slice(*ends) for ends in pairwise(replicates * k // workers for k in range(workers + 1))]
    stop, done = Event(), SimpleQueue()

    def begin() -> None:
        stop_at(stop)
        torch.set_flush_denormal(True)
        torch.set_num_threads(before // workers if network.long_steps else 1)

    try:
        with ThreadPoolExecutor(workers, initializer=begin) as pool:
            try:
                parts = [pool.submit(work, replicates) for replicates in cuts]
                for part in parts:
                    part.add_done_callback(done.put)
                for _ in parts:
                    if _next(done).exception():
                        break
            finally:
                stop.set()
    finally:  # after the last part has begun, as each sets the number for all threads to come
        torch.set_num_threads(before)
    errors = [error for part in parts if (error := part.exception()) and not isinstance(error, Stopped)]
    if errors:
        raise errors[0]
    return [part.result() for part in parts]


def _next(done: SimpleQueue) -> Future:
    """The next part that is done, waited for in short naps and with no lock that an interrupt could leave closed."""
    while True:
        try:
            return done.get(timeout=NAP)
        except Empty:
            continue
