"""How long lthkit trains, as ratios to plain PyTorch measured in the same minutes.

    python benchmarks/speed.py [--repeats 20] [--threads 2]

All sides of a comparison run in turn (A B C A B C …).  A ratio is taken within each turn; printed are its median, lowest
and highest, the ratio of each side's fastest turn, and the bar for the median.  README.md says what is timed.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from lthkit import data, masks, networks, training

NEVER = 10**9  # eval_every: checks at the start and the end only


def interleave(sides: dict[str, Callable[[], None]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each side in each turn; a first turn to warm up does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, side in sides.items():
            began = time.perf_counter()
            side()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def show(what: str, top: list[float], bottom: list[float], bar: str = "", factor: float = 1.0) -> None:
    ratios = [factor * a / b for a, b in zip(top, bottom, strict=True)]
    middle, best = statistics.median(ratios), factor * min(top) / min(bottom)
    met = ""
    if bar:
        limit = float(bar[1:])
        met = "met" if (middle >= limit if bar[0] == "≥" else middle <= limit) else "MISSED"
    spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"  {what:<52} {middle:5.2f}  {spread:<16} {best:5.2f}   {bar:<6} {met}", flush=True)


def half(network, params) -> dict[str, torch.Tensor]:
    """Masks that keep the larger half of each layer."""
    return masks.prune(
        {name: params[name].abs() for name in network.prunable}, masks.ones(params, network.prunable), 0.5
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


def digits(repeats: int) -> None:
    """Ten replicates of LeNet-300-100 on the digits, half of the weights pruned, ten epochs."""
    dataset = data.load("digits")
    network = networks.lenet_300_100(dataset)
    params = network.init(range(10))
    kept = half(network, params)

    def modules():
        for k in range(10):
            train_module(pruned_module(params, kept, k), dataset, steps=200)

    sides = {
        "lthkit": lambda: training.fit(network, params, dataset, masks=kept, epochs=10, eval_every=NEVER),
        "modules": modules,
    }
    seconds = interleave(sides, repeats)
    print("digits, ten replicates, ten epochs (200 steps of 60 images), half of the weights pruned")
    show("ten prune modules in turn / ten replicates of lthkit", seconds["modules"], seconds["lthkit"], "≥4")


def mnist_sized(repeats: int, steps: int = 100) -> None:
    """LeNet-300-100 for 60,000 images of 28×28 (noise: the time does not depend on what they show)."""
    generator = torch.Generator().manual_seed(0)

    def part(size):
        x = torch.rand(size, 1, 28, 28, generator=generator)
        return x, torch.randint(10, (size,), generator=generator)

    dataset = data.Dataset.from_tensors("noise", part(60_000), part(100), part(100), classes=10)
    network = networks.lenet_300_100(dataset)
    one, four = network.init(range(1)), network.init(range(4))
    kept = half(network, one)

    def fit(params, masks, iterations):
        return lambda: training.fit(network, params, dataset, masks=masks, iterations=iterations, eval_every=NEVER)

    def module(iterations):
        return lambda: train_module(pruned_module(one, kept, 0), dataset, iterations)

    # Set-up, checks and the shuffle, which a real training spreads over thousands of steps, are timed apart: in a call
    # of one step, which is taken off.
    layouts = ("out, in", "in, out")
    sides = {f"products, [{layout}]": products([784, 300, 100, 10], 60, steps, layout) for layout in layouts}
    for name, side in {
        "one": lambda n: fit(one, None, n),
        "four": lambda n: fit(four, None, n),
        "pruned": lambda n: fit(one, kept, n),
        "module": module,
    }.items():
        sides[name], sides[f"{name}, a step"] = side(steps + 1), side(1)
    seconds = interleave(sides, repeats)
    for name in ("one", "four", "pruned", "module"):
        seconds[name] = [a - b for a, b in zip(seconds[name], seconds[f"{name}, a step"], strict=True)]

    seconds["products"] = seconds["products, [out, in]"]
    print(f"60,000 images of 28×28, {steps} steps of 60 images; milliseconds a step of bare products:")
    for layout in layouts:
        milliseconds = 1e3 * statistics.median(seconds[f"products, [{layout}]"]) / steps
        print(
            f"  hidden weights [{layout}]: {milliseconds:.3f}" + (", as torch.nn.Linear" if layout == "out, in" else "")
        )
    show("one replicate / bare matrix products", seconds["one"], seconds["products"], "≤1.5")
    show("one replicate / products with weights [in, out]", seconds["one"], seconds["products, [in, out]"])
    show("four replicates, per model / bare matrix products", seconds["four"], seconds["products"], "≤1.35", 1 / 4)
    show("one replicate, half pruned / bare matrix products", seconds["pruned"], seconds["products"])
    show("one replicate, half pruned / a prune module", seconds["pruned"], seconds["module"], "≤0.5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20, help="turns that count (default 20)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: all)")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"torch {torch.__version__}, {given.threads} threads, {given.repeats} turns")
    print(f"  {'':<52} {'median':>6} {'(range)':<15} {'fastest':>7}  bar")
    digits(given.repeats)
    mnist_sized(given.repeats)


if __name__ == "__main__":
    main()
