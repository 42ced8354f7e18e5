"""The learning rates of SGD, chosen once, by validation accuracy, on seeds that no record uses."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tqdm.auto import tqdm

from lthkit import data, files, networks, supermask, training
from lthkit.replications import records
from lthkit.replications.tasks import RATES

SEEDS = range(100, 105)
TRIED = {"lr": (0.02, 0.05, 0.1, 0.2, 0.5), "logit_lr": (20.0, 50.0, 100.0, 200.0, 500.0)}
EPOCHS = {"lr": 10, "logit_lr": 50}  # those of the labs


def choose_rates(folder: str | Path, progress: bool = False) -> dict:
    """Try each rate on the digits with LeNet-300-100, and write what was found, and the choice, beside the records.

    "lr": of the dense network, "logit_lr": of a learned and rescaled supermask.  {rate's name: {"chosen", "epochs",
    "val_accuracy": {rate: mean over the seeds}}}.  Of equal rates the smaller is taken.
    """
    digits = data.load("digits")
    network = networks.lenet_300_100(digits)

    def trained(lr: float, epochs: int) -> float:
        done = training.fit(network, network.init(SEEDS), digits, seeds=SEEDS, epochs=epochs, optimizer="sgd", lr=lr)
        return float(done.history.val_accuracy[:, -1].mean())

    def learned(lr: float, epochs: int) -> float:
        done = supermask.learn(network, digits, SEEDS, epochs, optimizer="sgd", lr=lr)
        return float(done.table.val_accuracy.mean())

    how: dict[str, Callable[[float, int], float]] = {"lr": trained, "logit_lr": learned}
    found: dict = {}
    for name, rates in TRIED.items():
        tried = tqdm(rates, desc=name, disable=not progress)
        accuracies = {rate: round(how[name](rate, EPOCHS[name]), 6) for rate in tried}
        best = max(accuracies, key=accuracies.__getitem__)
        found[name] = {"chosen": best, "epochs": EPOCHS[name], "val_accuracy": accuracies}
    found |= {"data": repr(digits), "network": network.name, "seeds": list(SEEDS), "optimizer": "sgd, momentum 0.9"}
    found["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    Path(folder).mkdir(parents=True, exist_ok=True)
    files.write_text(Path(folder, RATES), records.text(found))
    return found
