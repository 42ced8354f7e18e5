"""All experiments by name, each a grid of cells."""

from lthkit.experiments import convolutions, frankle_carbin, small, zhou
from lthkit.experiments.cells import Cell

EXPERIMENTS: dict[str, tuple[Cell, ...]] = {
    "small": small.CELLS,
    "frankle_carbin": frankle_carbin.CELLS,
    "zhou": zhou.LADDERS,
    "zhou_supermask": zhou.SUPERMASKS,
    "convolutions": convolutions.CELLS,
}
