"""A supermask that Conv-2 learns on Fashion-MNIST in a few hundred steps: accuracy and seconds.

    python benchmarks/supermask_fashion.py --root data [--iterations 300] [--lr 0.3]

Needs the data where `lthkit.data.load` finds it.  README.md says what is measured.
"""

import argparse
import time
from dataclasses import replace

import torch

from lthkit import data, supermask
from lthkit.networks import conv_2

BAR, TESTED = 0.8, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="data", help="folder of the data, as data.load takes it (default data)")
    parser.add_argument("--iterations", type=int, default=300, help="steps of learning (default 300)")
    parser.add_argument("--lr", type=float, default=0.3, help="learning rate (default 0.3: the best on validation)")
    given = parser.parse_args()
    whole = data.load("fashion_mnist", root=given.root)
    part = {name: getattr(whole, name)[:TESTED] for name in ("val_x", "val_y", "test_x", "test_y")}
    images = replace(whole, **part)
    network = conv_2(images)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; {network.name}, batches of 60")
    began = time.perf_counter()
    found = supermask.learn(network, images, [0], iterations=given.iterations, lr=given.lr, eval_every=given.iterations)
    seconds, row = time.perf_counter() - began, found.table.iloc[0]
    met = "met" if row.test_accuracy >= BAR else "MISSED"
    print(f"  {given.iterations} steps, {seconds:.0f} s: {100 * row.test_accuracy:.1f} % of {TESTED} test images,")
    print(f"  the mean of ten drawn masks (validation {100 * row.val_accuracy:.1f} %)   ≥{100 * BAR:.0f} %   {met}")


if __name__ == "__main__":
    main()
