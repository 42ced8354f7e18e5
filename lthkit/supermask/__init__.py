"""Supermasks: masks that make a network of frozen weights compute (Zhou et al. 2019).

`by_criterion` takes them from a trained network, `learn` learns a probability of each weight, `edge_popup` a score.
"""

from lthkit.supermask.bernoulli import learn
from lthkit.supermask.by_criterion import OneShot, by_criterion
from lthkit.supermask.edge_popup import edge_popup
from lthkit.supermask.frozen import WEIGHTS, Supermask
from lthkit.supermask.learned import Learned

__all__ = ["WEIGHTS", "Learned", "OneShot", "Supermask", "by_criterion", "edge_popup", "learn"]
