"""All experiments by name, each a grid of cells."""

from lthkit.experiments import frankle_carbin, small
from lthkit.experiments.cells import Cell

EXPERIMENTS: dict[str, tuple[Cell, ...]] = {
    "small": small.CELLS,
    "frankle_carbin": frankle_carbin.CELLS,
}
