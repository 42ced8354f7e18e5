"""Lottery tickets, tested: the companion package of the course.

`data`, `networks`, `masks`, `criteria`, `actions`, `training`, `lottery` and `supermask` run the experiments, many
seeds at once; `report` and `plots` turn their tables into verdicts and figures.
"""

from importlib import import_module

from lthkit import actions, criteria, data, lottery, masks, networks, report, supermask, torch_prune, training

__version__ = "0.1.0"

__all__ = [
    "actions", "criteria", "data", "lottery", "masks", "networks", "plots", "report", "supermask", "torch_prune",
    "training",
]  # fmt: skip


def __getattr__(name: str):
    if name == "plots":  # brings matplotlib, which not every user of the package needs
        return import_module("lthkit.plots")
    raise AttributeError(f"module 'lthkit' has no attribute {name!r}")
