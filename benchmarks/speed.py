"""How long lthkit trains, as ratios to plain PyTorch measured in the same minutes.

    python benchmarks/speed.py [digits mnist sparse long busy search] [--against TREE] [--turns N] [--threads 2]

All sides of a comparison run in turn (A B C A B C …).  A ratio is taken in each turn; printed are its median, lowest
and highest, the ratio of each side's fastest turn, and the bar for the median.  README.md says what is timed.
"""

import argparse
import importlib
import itertools
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path
from unittest import mock

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

import lthkit
from lthkit import data, lottery, masks, networks, training

NEVER = 10**9  # eval_every: checks at the start and the end only
LOOP = ("lthkit.training", "run")  # where `fit` finds the training loop, which runs once for each part of a stack
TREE = Path(__file__).resolve().parents[1]


def interleave(
    sides: dict[str, Callable[[], None]], turns: int, beside_a_busy_process: Collection[str] = ()
) -> dict[str, list[float]]:
    """Seconds of each side in each turn; a first turn to warm up does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, side in sides.items():
            with busy_process() if name in beside_a_busy_process else nullcontext():
                began = time.perf_counter()
                side()
                if turn:
                    seconds[name].append(time.perf_counter() - began)
    return seconds


@contextmanager
def busy_process() -> Iterator[None]:
    """A process that keeps one core busy; it ends with this one, however that ends."""
    spin = "import os; parent = os.getppid(); print(flush=True)\nwhile os.getppid() == parent: pass"
    with subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE) as child:
        try:
            child.stdout.readline()
            yield
        finally:
            child.kill()


def on(threads: int, side: Callable[[], None]) -> Callable[[], None]:
    """`side` at a thread count of its own."""

    def run():
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        side()
        torch.set_num_threads(before)

    return run


def show(what: str, top: Sequence[float], bottom: Sequence[float], bar: str = "", factor: float = 1.0) -> None:
    ratios = [factor * a / b for a, b in zip(top, bottom, strict=True)]
    middle, best = statistics.median(ratios), factor * min(top) / min(bottom)
    met = ""
    if bar:
        limit = float(bar[1:])
        met = "met" if (middle >= limit if bar[0] == "≥" else middle <= limit) else "MISSED"
    spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"  {what:<52} {middle:5.2f}  {spread:<16} {best:5.2f}   {bar:<6} {met}", flush=True)


def largest(network, params, share: float) -> dict[str, torch.Tensor]:
    """Masks that keep this share of each layer, the largest weights."""
    return masks.prune(
        {name: params[name].abs() for name in network.prunable}, masks.ones(params, network.prunable), 1 - share
    )


def pruned_module(params, kept, k: int) -> nn.Sequential:
    """Replicate k as `nn.Linear` layers under `torch.nn.utils.prune`."""
    parts: list[nn.Module] = [nn.Flatten()]
    for name, mask in kept.items():
        n_out, n_in = mask.shape[1:]
        linear = nn.Linear(n_in, n_out)
        linear.weight.data.copy_(params[name][k])
        linear.bias.data.copy_(params[name.replace("weight", "bias")][k])
        prune.custom_from_mask(linear, "weight", mask[k])
        parts += [linear, nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def train_module(module: nn.Sequential, dataset: data.Dataset, steps: int, batch_size: int = 60) -> None:
    """The usual loop, with nothing to wait for: tensors in memory, index batches, Adam as it comes.

    Like `fit`, it measures validation and test once before the first step and once after the last.
    """

    @torch.no_grad()
    def check():
        for x, y in ((dataset.val_x, dataset.val_y), (dataset.test_x, dataset.test_y)):
            logits = module(x)
            F.cross_entropy(logits, y).item(), (logits.argmax(-1) == y).float().mean().item()

    optimizer = torch.optim.Adam(module.parameters(), lr=1.2e-3)
    check()
    done = 0
    while done < steps:
        for chosen in torch.randperm(len(dataset.train_y)).split(batch_size)[: steps - done]:
            loss = F.cross_entropy(module(dataset.train_x[chosen]), dataset.train_y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
    check()


def products(widths: list[int], batch: int, steps: int, hidden: str) -> Callable[[], None]:
    """The matrix products of dense layers and nothing else: one a layer forward, two backward, one for the first layer.

    hidden: "out, in" or "in, out", how the weights and gradients of the hidden layers lie in memory; which is faster
    depends on the number of threads.  The small output layer is [out, in], the faster for it in any case.
    """
    inputs = [torch.rand(batch, n) for n in widths[:-1]]
    deltas = [torch.rand(batch, n) for n in widths[1:]]
    outputs, back = [torch.empty_like(delta) for delta in deltas], [torch.empty_like(h) for h in inputs]
    turned = [hidden == "in, out"] * (len(widths) - 2) + [False]
    shapes = list(zip(pairwise(widths), turned, strict=True))
    weights = [torch.rand(n_in, n_out).t() if turn else torch.rand(n_out, n_in) for (n_in, n_out), turn in shapes]
    grads = [torch.empty_like(weight) for weight in weights]  # in the same layout

    def run():
        for _ in range(steps):
            for h, weight, out in zip(inputs, weights, outputs, strict=True):
                torch.mm(h, weight.t(), out=out)
            for i in range(len(weights) - 1, -1, -1):
                torch.mm(deltas[i].t(), inputs[i], out=grads[i])
                if i:
                    torch.mm(deltas[i], weights[i], out=back[i])

    return run


def noise() -> data.Dataset:
    """Images of 28×28, 55,000 to train on, as many as MNIST leaves; what they show does not matter to the time."""
    generator = torch.Generator().manual_seed(0)

    def part(size):
        x = torch.rand(size, 1, 28, 28, generator=generator)
        return x, torch.randint(10, (size,), generator=generator)

    return data.Dataset.from_tensors("noise", part(55_000), part(100), part(100), classes=10)


def digits(turns: int = 20) -> None:
    """Ten replicates of LeNet-300-100 on the digits, half of the weights pruned, ten epochs."""
    dataset = data.load("digits")
    network = networks.lenet_300_100(dataset)
    params = network.init(range(10))
    kept = largest(network, params, 0.5)

    def modules():
        for k in range(10):
            train_module(pruned_module(params, kept, k), dataset, steps=200)

    sides = {
        "lthkit": lambda: training.fit(network, params, dataset, masks=kept, epochs=10, eval_every=NEVER),
        "modules": modules,
    }
    seconds = interleave(sides, turns)
    print("digits: ten replicates, ten epochs (200 steps of 60 images), half of the weights pruned")
    show("ten prune modules in turn / ten replicates of lthkit", seconds["modules"], seconds["lthkit"], "≥6")


def mnist(turns: int = 20, steps: int = 100) -> None:
    """A step of LeNet-300-100 on 28×28 images, beside its matrix products."""
    dataset, threads = noise(), torch.get_num_threads()
    network = networks.lenet_300_100(dataset)
    one, four = network.init(range(1)), network.init(range(4))
    kept = largest(network, one, 0.5)

    def fit(params, masks, iterations):
        return lambda: training.fit(network, params, dataset, masks=masks, iterations=iterations, eval_every=NEVER)

    def module(iterations):
        return lambda: train_module(pruned_module(one, kept, 0), dataset, iterations)

    bare = {  # on one thread and on all
        (count, layout): on(count, products([784, 300, 100, 10], 60, steps, layout))
        for count in sorted({1, threads})
        for layout in ("out, in", "in, out")
    }
    sides = {f"products, {count}, {layout}": side for (count, layout), side in bare.items()}
    # Set-up, checks and the shuffle, which a real training spreads over thousands of steps, are timed apart: in a call
    # of one step, which is taken off.
    trained = {
        "one": lambda n: on(1, fit(one, None, n)),
        "four": lambda n: fit(four, None, n),
        "pruned": lambda n: fit(one, kept, n),
        "module": module,
    }
    for name, side in trained.items():
        sides[name], sides[f"{name}, a step"] = side(steps + 1), side(1)
    seconds = interleave(sides, turns)
    for name in trained:
        seconds[name] = [a - b for a, b in zip(seconds[name], seconds[f"{name}, a step"], strict=True)]

    print(f"mnist: 55,000 images of 28×28, {steps} steps of 60 images; milliseconds a step of bare products:")
    for count, layout in bare:
        milliseconds = 1e3 * statistics.median(seconds[f"products, {count}, {layout}"]) / steps
        as_linear = ", as torch.nn.Linear" if layout == "out, in" else ""
        print(f"  {count} thread(s), hidden weights [{layout}]: {milliseconds:.3f}{as_linear}")
    alone, shared = seconds["products, 1, out, in"], seconds[f"products, {threads}, out, in"]
    show("one replicate / bare products, on one thread both", seconds["one"], alone, "≤2.0")
    show("the same / products with weights [in, out]", seconds["one"], seconds["products, 1, in, out"])
    show("four replicates, per model / bare products", seconds["four"], shared, "≤1.4", 1 / 4)
    show("one replicate, half pruned / bare products", seconds["pruned"], shared)
    show("one replicate, half pruned / a prune module", seconds["pruned"], seconds["module"], "≤0.5")


def sparse(turns: int = 10, steps: int = 100) -> None:
    """What a step takes where few weights are left, beside one of the dense network, on one thread."""
    print(f"sparse: {steps} steps of 60 images on one thread; microseconds of a dense step:")
    for what, dataset, replicates in (("28×28, one", noise(), 1), ("digits, five", data.load("digits"), 5)):
        network = networks.lenet_300_100(dataset)
        params = network.init(range(replicates))
        kept = {1.0: None} | {share: largest(network, params, share) for share in (0.5, 0.2, 0.1, 0.03)}
        fit = partial(training.fit, network, params, dataset, eval_every=NEVER)
        calls = itertools.product(kept, (1, steps + 1))  # a call of one step is taken off
        sides = {(share, n): on(1, partial(fit, masks=kept[share], iterations=n)) for share, n in calls}
        taken = interleave(sides, turns)
        seconds = {s: [a - b for a, b in zip(taken[s, steps + 1], taken[s, 1], strict=True)] for s in kept}
        dense = seconds.pop(1.0)
        print(f"  {what}: {1e6 * statistics.median(dense) / steps:.0f}")
        for share, found in seconds.items():
            show(f"{what}: {share:.0%} kept / dense", found, dense, {0.1: "≤0.6", 0.03: "≤0.4"}.get(share, ""))


def long(turns: int = 3) -> None:
    """Whether training slows down: moments that fade to denormal numbers cost ten times as much."""
    dataset = noise()
    network = networks.lenet_300_100(dataset)
    epoch, plain = -(-len(dataset.train_y) // 60), network.differentiator

    def epochs(replicates: int) -> tuple[float, float]:
        """Seconds of the first and of the fifth, check and shuffle for the next included."""
        came: dict[int, float] = {}  # iteration: when the last part of the stack came to it

        def timed(params, grads):
            step, numbers = plain(params, grads), itertools.count()

            def timed_step(x, y):
                came[next(numbers)] = time.perf_counter()
                return step(x, y)

            return timed_step

        network.differentiator = timed
        settings = {"iterations": 5 * epoch + 1, "eval_every": epoch}
        training.fit(network, network.init(range(replicates)), dataset, **settings)
        return came[epoch] - came[0], came[5 * epoch] - came[4 * epoch]

    print("long: 55,000 images of 28×28 (noise), batches of 60, five epochs")
    for replicates, many in ((1, "one replicate"), (4, "four replicates")):
        first, fifth = zip(*(epochs(replicates) for _ in range(turns)), strict=True)
        show(f"{many}: the fifth epoch / the first", fifth, first, "≤1.15")


def busy(turns: int = 5, steps: int = 1000) -> None:
    """What another process on one of the cores costs."""
    dataset = noise()
    network = networks.lenet_300_100(dataset)

    def fit(replicates):
        params = network.init(range(replicates))
        return lambda: training.fit(network, params, dataset, iterations=steps, eval_every=NEVER)

    sides = {f"{many}, {where}": fit(n) for n, many in ((1, "one"), (4, "four")) for where in ("alone", "beside")}
    seconds = interleave(sides, turns, beside_a_busy_process=("one, beside", "four, beside"))
    print(f"busy: 55,000 images of 28×28, {steps} steps of 60 images, a process beside that keeps one core busy")
    show("one replicate, beside it / alone", seconds["one, beside"], seconds["one, alone"], "≤2.5")
    show("four replicates, beside it / alone", seconds["four, beside"], seconds["four, alone"], "≤2.5")


class Inside:
    """Seconds during which at least one thread was in a function."""

    def __init__(self):
        self.lock, self.threads, self.seconds, self.since = threading.Lock(), 0, 0.0, 0.0

    def change(self, by: int) -> None:
        with self.lock:
            now = time.perf_counter()
            self.seconds += now - self.since if self.threads else 0.0
            self.threads, self.since = self.threads + by, now

    def timed(self, function: Callable) -> Callable:
        def run(*args, **kwargs):
            self.change(1)
            try:
                return function(*args, **kwargs)
            finally:
                self.change(-1)

        return run


def whole_search(rounds: int = 9, epochs: int = 10) -> float:
    """Seconds of a search with ten seeds on the digits."""
    dataset = data.load("digits")
    network = networks.lenet_300_100(dataset)
    began = time.perf_counter()
    lottery.search(network, dataset, seeds=range(10), rounds=rounds, rate=0.36, epochs=epochs)
    return time.perf_counter() - began


def search(turns: int = 3, against: Path | None = None) -> None:
    """A whole search: how much of it is not training, and how it compares with another tree's."""
    print("search: digits, ten seeds, nine rounds")
    module, name = importlib.import_module(LOOP[0]), LOOP[1]
    loop = getattr(module, name)
    whole, outside = [], []
    for turn in range(turns + 1):
        inside = Inside()
        with mock.patch.object(module, name, inside.timed(loop)):
            seconds = whole_search()
        if turn:  # the first warms up
            whole.append(seconds)
            outside.append(seconds - inside.seconds)
    print(
        f"  {statistics.median(whole):.2f} seconds, {statistics.median(outside):.2f} of them outside the training loop"
    )
    show("outside the training loop / the whole", outside, whole, "≤0.12")
    if against is not None:
        trees: dict[Path, list[float]] = {against.resolve(): [], TREE: []}
        for _ in range(turns):
            for tree, taken in trees.items():
                taken.append(search_in(tree))
        there, here = trees.values()
        print(
            f"  median seconds: {statistics.median(there):.2f} in {against}, {statistics.median(here):.2f} in this tree"
        )
        show("the search in the other tree / in this one", there, here, "≥1.3")


def search_in(tree: Path) -> float:
    """Seconds of the search in a process of its own, with the lthkit of `tree`."""
    command = [sys.executable, __file__, "--search-once", "--threads", str(torch.get_num_threads())]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    found = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds, where = found.split(maxsplit=1)
    if Path(where.strip()) != tree / "lthkit":
        sys.exit(f"expected the lthkit of {tree}, got {where.strip()}")
    return float(seconds)


PARTS = {"digits": digits, "mnist": mnist, "sparse": sparse, "long": long, "busy": busy, "search": search}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--against", type=Path, metavar="TREE", help="another tree, to compare the search with")
    parser.add_argument("--turns", type=int, help="turns that count (default: each part's own number)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: all)")
    parser.add_argument("--search-once", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.search_once:
        whole_search(rounds=1, epochs=1)  # loads what a first call loads
        print(whole_search(), Path(lthkit.__file__).parent)
        return
    if unknown := [name for name in given.parts if name not in PARTS]:
        parser.error(f"unknown {', '.join(unknown)}: known are {', '.join(PARTS)}")
    print(f"torch {torch.__version__}, {given.threads} threads")
    print(f"  {'':<52} {'median':>6} {'(range)':<15} {'fastest':>7}  bar")
    for name in given.parts or PARTS:
        turns = {} if given.turns is None else {"turns": given.turns}
        PARTS[name](**turns, **({"against": given.against} if name == "search" else {}))


if __name__ == "__main__":
    main()
