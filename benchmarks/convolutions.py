"""Seconds per 1,000 training images of conv_2 on 28×28 images: a loop over replicates against grouped convolutions.

`python benchmarks/convolutions.py` runs both in turn, step by step, and prints medians and their ratio.
"""

import argparse
import time
from statistics import median

import torch

from lthkit.data import Dataset
from lthkit.networks import Conv, conv_2

BATCH = 60


class Grouped(Conv):
    """conv_2 as it runs on a GPU."""

    def forward(self, params, x, training=False):
        return self._grouped(params, x)

    def differentiator(self, params, grads):
        def step(x, y):
            leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
            logits = self.forward(leaves, x, training=True).flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(logits, y.flatten(), reduction="sum") / y.shape[1]
            for name, gradient in zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True):
                grads[name].copy_(gradient)

        return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=15, help="timed steps of each side")
    steps = parser.parse_args().steps
    part = (torch.rand(100, 1, 28, 28), torch.randint(10, (100,)))
    data = Dataset.from_tensors("random", part, part, part, classes=10)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batches of {BATCH}")
    for replicates in (1, 4):
        loop, grouped = conv_2(data), Grouped("Conv-2", data, (64,), 0.5)
        params = loop.init(range(replicates))
        grads = {name: torch.empty_like(value) for name, value in params.items()}
        sides = [network.differentiator(params, grads) for network in (loop, grouped)]
        x, y = torch.rand(replicates, BATCH, 1, 28, 28), torch.randint(10, (replicates, BATCH))
        seconds = [[], []]
        for _ in range(steps + 1):
            for side, step in enumerate(sides):
                began = time.perf_counter()
                step(x, y)
                seconds[side].append(time.perf_counter() - began)
        per_1000 = [median(turns[1:]) * 1000 / (BATCH * replicates) for turns in seconds]
        ratio = median(g / one for one, g in zip(*(turns[1:] for turns in seconds), strict=True))
        print(
            f"{replicates} replicate(s): loop {per_1000[0]:.2f} s, grouped {per_1000[1]:.2f} s per 1,000 images and model; "
            f"grouped / loop {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
