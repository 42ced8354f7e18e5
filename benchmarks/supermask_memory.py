"""Peak memory growth of learning a supermask for conv_6, in multiples of the size of its weights.

    python benchmarks/supermask_memory.py [--iterations 20]

One replicate, batches of one image, Adam; each measurement in a process of its own.  README.md says what is measured.
"""

import argparse
import math
import resource
import subprocess
import sys
from pathlib import Path

import torch

from lthkit import supermask
from lthkit.data import Dataset
from lthkit.networks import conv_2, conv_6

SHAPES = {"1×28×28": (1, 28, 28), "3×32×32": (3, 32, 32)}
BAR = 10.0


def noise(shape: tuple[int, ...]) -> Dataset:
    part = (torch.rand(10, *shape), torch.arange(10))
    return Dataset.from_tensors("noise", part, part, part)


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """The most bytes of this process in memory since `forget_peak`."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def measure(shape: tuple[int, ...], iterations: int) -> tuple[int, int]:
    """(bytes of the weights, growth of the peak): the libraries that a first call loads are loaded before."""
    settings = {"iterations": iterations, "batch_size": 1, "optimizer": "adam"}
    small = noise((1, 4, 4))
    supermask.learn(conv_2(small), small, [0], **settings | {"iterations": 2})
    data = noise(shape)
    network = conv_6(data)
    forget_peak()
    before = resident()
    supermask.learn(network, data, [0], **settings)
    return 4 * sum(math.prod(network.shapes[name]) for name in network.prunable), peak() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=20, help="steps of learning (default 20)")
    parser.add_argument("--shape", choices=SHAPES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not Path("/proc/self/clear_refs").exists():
        sys.exit("This needs Linux: it reads the peak from /proc/self/status.")
    if given.shape:
        print(*measure(SHAPES[given.shape], given.iterations))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; conv_6, one replicate, batches of 1, Adam")
    for shape in SHAPES:
        command = [sys.executable, __file__, "--shape", shape, "--iterations", str(given.iterations)]
        size, growth = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
        ratio = growth / size
        print(
            f"  images of {shape}: weights {size / 2**20:.1f} MiB, growth {growth / 2**20:.1f} MiB: {ratio:.1f} times  "
            f"≤{BAR:.0f}   {'met' if ratio <= BAR else 'MISSED'}"
        )


if __name__ == "__main__":
    main()
