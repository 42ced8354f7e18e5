"""Seconds and peak memory of pruning 25 million weights, all layers ranked together, beside torch.nn.utils.prune.

    python benchmarks/prune.py [--turns 5]

Each measurement in a process of its own, the two sides in turn.  README.md says what is measured.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from supermask_memory import forget_peak, peak, resident
from torch import nn
from torch.nn.utils import prune

from lthkit import masks

SHAPES = [(4096, 4096), (2000, 2000), (2048, 2048), (10, 2848)]  # 25 million, two thirds of them in one layer
RATE = 0.2
BARS = {"seconds": 1.0, "growth": 0.5}


def torch_side(weights: list[torch.Tensor], kept: list[torch.Tensor] | None) -> Callable[[], object]:
    layers = []
    for i, weight in enumerate(weights):
        layer = nn.Module()
        layer.weight = nn.Parameter(weight)
        if kept is not None:
            prune.custom_from_mask(layer, "weight", kept[i])
        layers.append((layer, "weight"))
    return lambda: prune.global_unstructured(layers, prune.L1Unstructured, amount=RATE)


def lthkit_side(weights: list[torch.Tensor], kept: list[torch.Tensor] | None) -> Callable[[], object]:
    scores = {str(i): weight.abs().unsqueeze(0) for i, weight in enumerate(weights)}
    before = masks.ones(scores, list(scores))
    if kept is not None:
        before = {str(i): mask.unsqueeze(0) for i, mask in enumerate(kept)}
    return lambda: masks.prune(scores, before, RATE, "global")


SIDES = {"torch": torch_side, "lthkit": lthkit_side}


def measure(side: str, alive: float) -> tuple[float, int]:
    """(seconds, growth of the peak in bytes) of one call; what a first call loads is loaded before."""
    generator = torch.Generator().manual_seed(0)

    def prepared(shapes):
        weights = [torch.randn(shape, generator=generator) for shape in shapes]
        kept = None if alive == 1 else [torch.rand(shape, generator=generator) < alive for shape in shapes]
        return SIDES[side](weights, kept)

    prepared([(50, 50), (50, 50)])()
    call = prepared(SHAPES)
    forget_peak()
    before, began = resident(), time.perf_counter()
    result = call()
    seconds = time.perf_counter() - began
    del result
    return seconds, peak() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5, help="turns (default 5)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: all)")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--alive", type=float, default=1.0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if not Path("/proc/self/clear_refs").exists():
        sys.exit("This needs Linux: it reads the peak from /proc/self/status.")
    if given.side:
        print(*measure(given.side, given.alive))
        return
    print(f"torch {torch.__version__}, {given.threads} threads, {given.turns} turns; 25 M weights, {RATE:.0%} go")
    for alive in (1.0, 0.5):
        found = {(side, what): [] for side in SIDES for what in BARS}
        for _ in range(given.turns):
            for side in SIDES:
                command = [sys.executable, __file__, "--side", side, "--alive", str(alive)]
                command += ["--threads", str(given.threads)]
                answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
                for what, value in zip(BARS, map(float, answer), strict=True):
                    found[side, what].append(value)
        print(f"{alive:.0%} of them alive:")
        for what, bar in BARS.items():
            ours, theirs = found["lthkit", what], found["torch", what]
            ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
            ratio = statistics.median(ratios)
            unit, scale = ("s", 1) if what == "seconds" else ("MiB", 2**20)
            sizes = f"{statistics.median(ours) / scale:.4g} / {statistics.median(theirs) / scale:.4g} {unit}"
            print(
                f"  {what:<8} lthkit / torch {sizes:<20} {ratio:5.2f}  ({min(ratios):.2f} to {max(ratios):.2f})   "
                f"≤{bar}   {'met' if ratio <= bar else 'MISSED'}"
            )


if __name__ == "__main__":
    main()
