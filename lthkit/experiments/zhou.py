"""Zhou et al. (2019) on MNIST: mask criteria and actions on their ladder, and the table of supermasks.

A round removes 36 %, and 18 % of the output layer; eleven rounds keep 0.9 %.  Supermasks are learned with Adam, at a
rate that is chosen on validation, and once by the paper's own schedule: SGD with momentum 0.9, rate 100, batches of
250, 2,000 epochs.  The paper chose on the test set, which nothing here does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from lthkit import networks
from lthkit.data import Dataset
from lthkit.experiments.cells import Cell, best_on_validation, on_device, rounds, thinned
from lthkit.lottery import Arm, search
from lthkit.supermask import WEIGHTS, by_criterion, learn
from lthkit.training import Settings, fit


def ladder(
    data: Dataset, seeds: Sequence[int], checkpoint: Path, arms: Mapping[str, Mapping[str, str]], count: int,
    rate: float, **settings,
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """Several arms, {name: what sets it apart}, that share the dense training, for `count` rounds."""
    own = {"arms": [Arm(name, **fields) for name, fields in arms.items()], "checkpoint": checkpoint / "search"}
    return {"rounds": rounds(search(networks.lenet_300_100(data), data, seeds, count, rate, **own, **settings))}


def pruned_once(
    data: Dataset, seeds: Sequence[int], checkpoint: Path, criteria: list[str], shares: list[float], **settings
) -> dict[str, pd.DataFrame]:
    """The trained network, and its masks by each criterion on weights that were not trained."""
    network = networks.lenet_300_100(data)
    initial = network.init(seeds)
    dense = fit(network, initial, data, seeds=seeds, checkpoint=checkpoint / "dense", **settings)
    ends = {"val_accuracy": dense.history.val_accuracy[:, -1], "test_accuracy": dense.history.test_accuracy[:, -1]}
    found = []
    for criterion in criteria:
        for weights in WEIGHTS:
            own = {"initial": initial, "final": dense.params, "criterion": criterion, "weights": weights}
            table = by_criterion(network, data, seeds, shares, **own).table
            table = table.assign(criterion=criterion, weights=weights)
            found.append(table[["criterion", "weights", "kept", "chosen", "seed", "val_accuracy", "test_accuracy"]])
    trained = pd.DataFrame({"seed": list(seeds)} | {name: value.numpy() for name, value in ends.items()})
    return {"trained": trained, "by_criterion": pd.concat(found, ignore_index=True)}


def learned(
    data: Dataset, seeds: Sequence[int], checkpoint: Path, network: str, weights: str, rescale: bool,
    rates: list[float], tried: Mapping[str, object], checks: int, device: str = "cpu", **settings,
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """A learned supermask.

    rates: of which the best on validation is taken, after a short training as `tried` says: {seeds, iterations}.
    checks: how often validation is looked at.
    """
    net = on_device(getattr(networks, network)(data), device)
    own, tables, lr = {"weights": weights, "rescale": rescale}, {}, rates[0]
    if len(rates) > 1:
        untested = replace(data, test_x=data.val_x[:1], test_y=data.val_y[:1])  # none of the test images is looked at

        def accuracy(rate: float) -> float:
            short = settings | dict(tried) | {"lr": rate, "checkpoint": checkpoint / f"rate-{rate:g}"}
            return float(learn(net, untested, **own, **short).table.val_accuracy.mean())

        lr, tables["rates"] = best_on_validation(accuracy, rates)
    every = max(1, Settings.of({**settings, "lr": lr}).total(data) // checks)
    own |= {"lr": lr, "eval_every": every, "checkpoint": checkpoint / "learned"}
    found = learn(net, data, seeds, **own, **settings)
    curve = found.history
    at = curve.iteration.unique()
    curve = curve[curve.iteration.isin(at[thinned(len(at))])]
    which = {"weights": weights, "rescale": rescale}
    tables["accuracy"] = pd.DataFrame({**which, "lr": lr} | dict(found.table))
    tables["curves"] = pd.DataFrame(which | {n: curve[n] for n in ("iteration", "seed", "val_accuracy", "kept_mean")})
    return tables


ADAM = {"batch_size": 60, "optimizer": "adam"}
LADDER = {"count": 11, "rate": 0.36, "epochs": 10, "eval_every": 100, "lr": 1.2e-3, **ADAM}
NINE = (
    "large_final", "small_final", "large_init", "small_init", "large_init_large_final", "small_init_small_final",
    "magnitude_increase", "movement", "random",
)  # fmt: skip
SAME_SIGN = ("large_final_same_sign", "magnitude_increase_same_sign")
ACTIONS = ("rewind", "reinit", "reshuffle", "constant", "signed_reinit", "signed_reshuffle", "signed_constant")

LADDERS = (
    Cell(
        "criteria", "Which criterion finds the better tickets?", ladder,
        {"arms": {name: {"criterion": name} for name in NINE}, **LADDER}, "mnist", minutes=17,
    ),
    Cell(
        "mask_1", "What of a ticket's weights matters: their values, their order, or their signs?", ladder,
        {"arms": {name: {"mask_1": name} for name in ACTIONS}, **LADDER}, "mnist", minutes=13,
    ),
    Cell(
        "mask_0", "What should pruned weights be: zero, or as they were drawn?", ladder,
        {"arms": {name: {"mask_0": name} for name in ("zero", "freeze", "variant_1", "variant_2")}, **LADDER},
        "mnist", minutes=9,
    ),
)  # fmt: skip

TABLE_1 = {  # test accuracy: the paper's Table 1, MNIST, as recalled where the text does not repeat it
    ("initial", False): 0.953, ("signed_constant", False): 0.964,
    ("initial", True): 0.978, ("signed_constant", True): 0.980,
}  # fmt: skip
LEARNED = {"network": "lenet_300_100", "epochs": 100, "checks": 100, **ADAM}
TRIED = {"rates": [0.05, 0.15, 0.5], "tried": {"seeds": [100], "epochs": 5}}
BY_PAPER = {"optimizer": "sgd", "momentum": 0.9, "batch_size": 250, "epochs": 2_000, "rates": [100.0], "tried": {}}

SUPERMASKS = (
    Cell(
        "by_criterion", "How far does a trained network's mask get on weights that were never trained?", pruned_once,
        {
            "criteria": [*NINE, *SAME_SIGN], "shares": [0.1, 0.2, 0.3, 0.5, 0.7, 0.9], "epochs": 20, "lr": 1.2e-3,
            **ADAM,
        },
        "mnist", minutes=5, stack=4,
        paper={"by criterion, initial": 0.793, "by criterion, signed_constant": 0.863, "trained": 0.977},
    ),
    *(
        Cell(
            f"learned_{weights}" + "_rescaled" * rescale, "How good is a mask learned with Adam?", learned,
            {"weights": weights, "rescale": rescale, **LEARNED, **TRIED}, "mnist", minutes=12, stack=4,
            paper={"test accuracy": TABLE_1[weights, rescale]},
        )
        for rescale in (False, True)
        for weights in WEIGHTS
    ),
    *(
        Cell(
            "paper_initial" + "_rescaled" * rescale, "And one learned by the paper's own schedule?", learned,
            {"weights": "initial", "rescale": rescale, **LEARNED, **BY_PAPER}, "mnist", minutes=35, seeds=(0,),
            paper={"test accuracy": TABLE_1["initial", rescale]},
        )
        for rescale in (False, True)
    ),
)  # fmt: skip
