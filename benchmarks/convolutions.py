"""Seconds per 1,000 training images of conv_2: lthkit, a plain module loop, and grouped convolutions, in turn.

    python benchmarks/convolutions.py [--turns 5] [--threads 2]

README.md says what is timed.
"""

import argparse
import statistics

import torch
from speed import NEVER, interleave, show
from torch.nn import functional as F

from lthkit import training
from lthkit.data import Dataset
from lthkit.networks import Conv, conv_2

BATCH, STEPS = 60, 10
SHAPES = {"28×28": (1, 28, 28), "32×32×3": (3, 32, 32)}


class Grouped(Conv):
    """conv_2 as it runs on a GPU, all replicates in one call a layer."""

    threads_safe = False  # so that the stack is not cut

    def forward(self, params, x, training=False):
        return self._grouped(params, x)

    def differentiator(self, params, grads):
        @torch.enable_grad()
        def step(x, y):
            leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
            logits = self.forward(leaves, x, training=True).flatten(0, 1)
            losses = F.cross_entropy(logits, y.flatten(), reduction="none").view(y.shape).mean(1)
            for name, gradient in zip(leaves, torch.autograd.grad(losses.sum(), list(leaves.values())), strict=True):
                grads[name].copy_(gradient)
            return losses.detach()

        return step


def noise(shape: tuple[int, ...]) -> Dataset:
    def part(size):
        return torch.rand(size, *shape), torch.randint(10, (size,))

    return Dataset.from_tensors("noise", part(STEPS * BATCH + BATCH), part(10), part(10), classes=10)


def train_module(module: torch.nn.Module, data: Dataset, steps: int) -> None:
    optimizer = torch.optim.Adam(module.parameters(), lr=1.2e-3, fused=True)
    for chosen in torch.randperm(len(data.train_y)).split(BATCH)[:steps]:
        loss = F.cross_entropy(module(data.train_x[chosen]), data.train_y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def compare(shape: tuple[int, ...], replicates: int, turns: int) -> dict[str, list[float]]:
    """Seconds of each side in each turn.  A call of one step, timed beside, is taken off a call of one more."""
    data = noise(shape)
    network, grouped = conv_2(data), Grouped("Conv-2, grouped", data, (64,), 0.5)
    params = network.init(range(replicates))

    def fit(network, steps):
        return lambda: training.fit(network, params, data, iterations=steps, batch_size=BATCH, eval_every=NEVER)

    def modules(steps):
        def run():
            for _ in range(replicates):
                train_module(network.module(), data, steps)

        return run

    sides = {}
    for name, side in {
        "lthkit": lambda steps: fit(network, steps),
        "modules": modules,
        "grouped": lambda steps: fit(grouped, steps),
    }.items():
        sides[name], sides[f"{name}, a step"] = side(STEPS + 1), side(1)
    seconds = interleave(sides, turns)
    return {
        name: [a - b for a, b in zip(seconds[name], seconds[f"{name}, a step"], strict=True)]
        for name in ("lthkit", "modules", "grouped")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5, help="turns that count (default 5)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: all)")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(
        f"torch {torch.__version__}, {given.threads} threads, batches of {BATCH}, {given.turns} turns of {STEPS} steps"
    )
    print(f"  {'':<52} {'median':>6} {'(range)':<15} {'fastest':>7}")
    for name, shape in SHAPES.items():
        for replicates in (1, 2):
            seconds = compare(shape, replicates, given.turns)
            images = replicates * STEPS * BATCH / 1000
            each = ", ".join(f"{side} {statistics.median(found) / images:.2f}" for side, found in seconds.items())
            print(f"{name}, {replicates} replicate(s); seconds per 1,000 images and replicate: {each}")
            show("lthkit / plain modules in turn", seconds["lthkit"], seconds["modules"])
            show("grouped convolutions / lthkit", seconds["grouped"], seconds["lthkit"])


if __name__ == "__main__":
    main()
