"""A stack of replicates worked on in parts, side by side, each in a thread of its own."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TypeVar

import torch
from tqdm import tqdm

from lthkit.networks import Network

WORKERS = 4  # beyond this many threads Python itself is what they wait for
Part = TypeVar("Part")


def in_parts(
    work: Callable[[slice, Callable[[], bool]], Part], network: Network, replicates: int, on_cpu: bool, bar: tqdm
) -> list[Part]:
    """What `work(replicates to take, tick)` returns, for each part, in order: as many parts as threads to use.

    work calls tick after each iteration, and gives up where it returns False.  bar counts the first part's iterations.

    One thread a part needs no barrier between the cores in every operation.  Where another program holds a core, two
    threads that share each operation wait for each other, and were seen to take fifty times as long.
    """
    before = torch.get_num_threads()
    workers = min(before, replicates, WORKERS) if on_cpu and network.threads_safe else 1
    if workers == 1:
        return [work(slice(None), lambda: bar.update() or True)]
    stopped = Event()
    bounds = [replicates * k // workers for k in range(workers + 1)]

    def part(k: int) -> Part:
        try:
            return work(slice(bounds[k], bounds[k + 1]), tick if k else tick_and_show)
        except BaseException:
            stopped.set()  # an error ends the other parts too
            raise

    def tick() -> bool:
        return not stopped.is_set()

    def tick_and_show() -> bool:
        bar.update()
        return tick()

    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(before // workers,)) as pool:
        try:
            return [future.result() for future in [pool.submit(part, k) for k in range(workers)]]
        finally:
            stopped.set()  # as does a keyboard interrupt
            torch.set_num_threads(before)
