"""A minute of Fashion-MNIST: the one experiment that the tests run again and compare with its record."""

from lthkit.experiments.cells import Cell
from lthkit.experiments.frankle_carbin import tickets

SETTINGS = {"count": 2, "rate": 0.7, "drawn": [0, 1, 2], "iterations": 600, "eval_every": 100}
CELLS = (
    Cell(
        "tickets", "Ticket, re-init control and dense network on 3,000 images of Fashion-MNIST.", tickets, SETTINGS,
        "fashion_mnist", minutes=0.5, seeds=(0, 1, 2), stack=3, subset=3_000,
    ),
)  # fmt: skip
