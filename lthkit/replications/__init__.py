"""Every lab again, in other settings: what is to run, the runner, and the records that it leaves."""

from lthkit.replications.choose import choose_rates
from lthkit.replications.labs import Lab, labs
from lthkit.replications.moved import canary
from lthkit.replications.records import age, find, merge, read, stale
from lthkit.replications.runner import replicate
from lthkit.replications.settings import EXEMPT, SETTINGS, Setting
from lthkit.replications.tasks import Task, rates, tasks

__all__ = [
    "EXEMPT", "SETTINGS", "Lab", "Setting", "Task", "age", "canary", "choose_rates", "find", "labs", "merge", "rates",
    "read", "replicate", "stale", "tasks",
]  # fmt: skip
