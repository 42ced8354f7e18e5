"""Convolutional networks on CIFAR-10, from a file of arrays, as in `--data cifar10-jpeg.npz`.

Ours went through JPEG, so it is not CIFAR-10 bit for bit; its records say "cifar10-jpeg".  Conv-2 has one seed and a
part of the papers' iterations, which two cores finish in hours.  Conv-4 and Conv-6 have the papers' full schedules and
wait for a GPU: nobody has run them yet.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lthkit import networks
from lthkit.data import Dataset
from lthkit.experiments.cells import Cell, curves, on_device, rounds
from lthkit.experiments.zhou import learned
from lthkit.lottery import retrain, search


def tickets(
    data: Dataset, seeds: Sequence[int], checkpoint: Path, network: str, count: int, rate: float,
    device: str = "cpu", **settings,
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """Dense, ticket and re-init control, for `count` rounds."""
    net = on_device(getattr(networks, network)(data), device)
    run = search(net, data, seeds, count, rate, checkpoint=checkpoint / "search", **settings)
    control = retrain(run, "reinit", checkpoint=checkpoint / "control")
    tables = {"rounds": rounds(run, control), "curves": curves(run, control, numbers=run.rounds())}
    return {name: table[(table.arm == "rewind") | (table["round"] > 0)] for name, table in tables.items()}


DATA, BATCHES = "cifar10-jpeg", {"batch_size": 60, "optimizer": "adam"}
LEARNED = {
    "weights": "initial", "rates": [0.02, 0.05, 0.15], "checks": 20,
    "tried": {"seeds": [100], "iterations": 500, "eval_every": 500},
}  # fmt: skip
# The papers': iterations and rate by network, and the test accuracy of learned masks (rescaled, not), Table 1.
SCHEDULES = {"conv_4": (25_000, 3e-4), "conv_6": (30_000, 3e-4)}
TABLE_1 = {"conv_2": (0.644, 0.650), "conv_4": (0.654, 0.717), "conv_6": (0.653, 0.763)}
LEADS = {"conv_2": (3.5, 0.034), "conv_4": (3.5, 0.035), "conv_6": (2.5, 0.033)}


def _supermasks(network: str, minutes: float | None, seeds: tuple[int, ...], **settings) -> tuple[Cell, ...]:
    return tuple(
        Cell(
            f"{network}_supermask" + "_rescaled" * rescale, f"How good is a learned mask of {network}?", learned,
            {"network": network, "rescale": rescale, **LEARNED, **BATCHES, **settings}, DATA, minutes, seeds,
            stack=len(seeds), device=settings.get("device", "cpu"),
            paper={"test accuracy": TABLE_1[network][rescale]},
        )
        for rescale in (False, True)
    )  # fmt: skip


def _tickets(network: str, minutes: float | None, seeds: tuple[int, ...], **settings) -> Cell:
    faster, better = LEADS[network]
    return Cell(
        f"{network}_tickets", f"Does a ticket of {network} learn faster and end better?", tickets,
        {"network": network, **BATCHES, **settings}, DATA, minutes, seeds, stack=len(seeds),
        device=settings.get("device", "cpu"),
        paper={"faster than dense, at most": faster, "more accurate than dense, at most": better},
    )  # fmt: skip


CELLS = (
    *_supermasks("conv_2", 50, (0,), epochs=20),
    # Two rounds that keep about 30 % and 9 %, where the paper's tickets of Conv-2 lead most.
    _tickets("conv_2", 55, (0,), count=2, rate=0.7, iterations=4_000, lr=2e-4, eval_every=200),
    *(
        cell
        for network, (iterations, lr) in SCHEDULES.items()
        for cell in (
            *_supermasks(network, None, (0, 1, 2, 3), epochs=100, device="cuda"),
            _tickets(
                network, None, (0, 1, 2, 3), count=16, rate=0.2, iterations=iterations, lr=lr, eval_every=100,
                device="cuda",
            ),
        )
    ),
)  # fmt: skip
