"""The papers' experiments at their own scale: grids of cells, a runner that can be stopped, and the records."""

from lthkit.experiments.cells import Cell
from lthkit.experiments.records import find, read, tables
from lthkit.experiments.runner import CHECKPOINTS, RECORDS, run
from lthkit.experiments.table import EXPERIMENTS
from lthkit.experiments.tasks import Task, tasks

__all__ = ["CHECKPOINTS", "EXPERIMENTS", "RECORDS", "Cell", "Task", "find", "read", "run", "tables", "tasks"]
