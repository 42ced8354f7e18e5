"""The procedure: train, score, prune, act on the weights, and train again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral

import torch
from tqdm import tqdm

from lthkit.actions import MASK_0, MASK_1, Mask0, Mask1
from lthkit.criteria import CRITERIA, Criterion, Evidence
from lthkit.data import Dataset
from lthkit.masks import Masks, Params, ones, prune
from lthkit.networks import Network
from lthkit.runs import Run, Ticket, load
from lthkit.streams import as_seeds, streams
from lthkit.training import Fit, count_iterations, fit

__all__ = ["Arm", "Run", "Ticket", "load", "retrain", "search"]


@dataclass(frozen=True)
class Arm:
    """One way to find and train tickets.  What is None is taken from the call of `search`.

    name: how tables and figures call it.  schedule: "iterative" prunes the weights trained last, a share in each round;
    "one_shot" prunes the dense network's trained weights to the same share at once.
    """

    name: str
    criterion: str | Criterion | None = None
    mask_1: str | Mask1 | None = None
    mask_0: str | Mask0 | None = None
    scope: str | None = None
    schedule: str | None = None


def search(
    network: Network,
    data: Dataset,
    seeds: int | Iterable[int] = range(10),
    rounds: int = 11,
    rate: float | dict[str, float] = 0.36,
    criterion: str | Criterion = "large_final",
    mask_1: str | Mask1 = "rewind",
    mask_0: str | Mask0 = "zero",
    scope: str = "layer",
    schedule: str = "iterative",
    rewind_to: int = 0,
    epochs: int = 10,
    arms: Sequence[Arm] | None = None,
    **fit_settings,
) -> Run:
    """Find tickets in every replicate: train dense once, then prune and retrain for `rounds` rounds.

    rate: share of the alive weights removed in a round; a float counts `network.rates` times in each layer (with
    scope="global" it counts as it is), a dict names every prunable layer.
    criterion, mask_1, mask_0: names from `CRITERIA`, `MASK_1`, `MASK_0`, or callables of the same signature.
    rewind_to: iteration of the dense training that is the rewind point; 0 is the initial draw.
    arms: several ways at once; they share the initial draw, the dense training and each round's batch order.  Without
    it there is one arm, named after its mask-1 action.
    fit_settings: passed on to `training.fit` (batch_size, optimizer, lr, eval_every, …).
    Returns a `Run`.  Raises ValueError for an unknown name or a setting out of range, before anything is trained, and
    TypeError for a criterion or an action that does not return what its kind must.
    """
    _check_own(fit_settings)
    seeds = as_seeds(seeds)
    defaults = Arm("", criterion, mask_1, mask_0, scope, schedule)
    arms = [Arm(_name(mask_1))] if arms is None else list(arms)
    arms = [_with_defaults(arm, defaults) for arm in arms]
    _check_search(arms, rounds, rate, network)
    settings = {"epochs": epochs, **fit_settings}
    total = count_iterations(data, **settings)
    if not 0 <= rewind_to <= total:
        raise ValueError(f"rewind_to must lie in the {total} iterations of the dense training, got {rewind_to}")
    with tqdm(total=total * (1 + rounds * len(arms)), desc="searching", unit=" steps", leave=False, delay=2) as bar:
        drawn = network.init(seeds)
        dense = fit(network, drawn, data, seeds=seeds, snapshot_at=[rewind_to], progress=bar, **settings)
        initial = dense.snapshots[rewind_to]
        run = Run(network, data, seeds, initial, dense.params, settings)
        for arm in arms:
            run.add(arm.name, 0, ones(initial, network.prunable), drawn, dense)
            for recorded in _rounds(arm, run, dense, rounds, rate, bar):
                run.add(arm.name, *recorded)
    return run


def retrain(
    run: Run,
    mask_1: str | Mask1 = "reinit",
    mask_0: str | Mask0 = "zero",
    arm: str | None = None,
    rounds: Iterable[int] | None = None,
    name: str = "control",
    **fit_settings,
) -> Run:
    """Train other weights under the masks that `run` found.

    With mask_1="reinit" this is the re-init control of Frankle & Carbin (2019): the ticket's own masks, fresh weights.
    `final`, where an action looks at it, is the trained dense network.
    arm: whose masks, by default those of the run's only arm.  rounds: which, by default all from 1 on; the dense round
    is carried over as row 0.  name: what the new arm is called.  fit_settings: changes to the settings of the run.
    """
    _check_own(fit_settings)
    if run.network is None or run.data is None:
        raise ValueError("this run was loaded from disk: set run.network and run.data before retraining")
    arm = run.only_arm(arm)
    rounds = sorted(set(run.rounds(arm) if rounds is None else rounds) - {0})
    masks_of = {number: run.masks(arm, number) for number in rounds}
    act_1, act_0 = (_lookup("mask-1 action", mask_1, MASK_1), _lookup("mask-0 action", mask_0, MASK_0))
    settings = {**run.settings, **fit_settings}
    control = Run(run.network, run.data, run.seeds, run.initial, run.dense, settings)
    control.copy_round(run, arm, 0, as_arm=name)
    total = count_iterations(run.data, **settings) * len(rounds)
    with tqdm(total=total, desc="retraining", unit=" steps", leave=False, delay=2) as bar:
        for number, masks in masks_of.items():
            start, frozen = _act(act_1, act_0, run, run.dense, masks, number)
            fitted = fit(
                run.network, start, run.data, masks, frozen, seeds=run.seeds, round=number, progress=bar, **settings
            )
            control.add(name, number, masks, start, fitted, frozen)
    return control


def _rounds(arm: Arm, run: Run, dense: Fit, rounds: int, rate, bar):
    """(number, masks, start, fit, frozen) of each pruned round of one arm."""
    network, data, seeds, initial = run.network, run.data, run.seeds, run.initial
    masks, final = ones(initial, network.prunable), dense.params
    for number in range(1, rounds + 1):
        source = ones(initial, network.prunable) if arm.schedule == "one_shot" else masks
        evidence = Evidence(network, initial, final, source, data, streams(seeds, "sample", number))
        step = _layer_rates(rate, network, arm.scope)
        if arm.schedule == "one_shot":
            step = _compound(step, number)
        scores = arm.criterion(evidence)
        if not isinstance(scores, dict):
            raise TypeError(
                f"a criterion returns a dict of scores, {_name(arm.criterion)} gave {type(scores).__name__}"
            )
        masks = prune(scores, source, step, arm.scope, streams(seeds, "ties", number))
        start, frozen = _act(arm.mask_1, arm.mask_0, run, final, masks, number)
        fitted = fit(network, start, data, masks, frozen, seeds=seeds, round=number, progress=bar, **run.settings)
        if arm.schedule == "iterative":
            final = fitted.params
        yield number, masks, start, fitted, frozen


def _act(mask_1: Mask1, mask_0: Mask0, run: Run, final: Params, masks: Masks, number: int) -> tuple[Params, Params]:
    """(start, frozen) of a round."""
    start = mask_1(run.network, run.initial, final, masks, streams(run.seeds, "action", number))
    if not isinstance(start, dict):
        raise TypeError(f"a mask-1 action returns a dict of parameters, {_name(mask_1)} gave {type(start).__name__}")
    acted = mask_0(start, run.initial, final, masks)
    if not (isinstance(acted, tuple) and len(acted) == 2 and all(isinstance(part, dict) for part in acted)):
        raise TypeError(f"a mask-0 action returns (start, frozen), two dicts; {_name(mask_0)} gave another thing")
    return acted


def _layer_rates(rate, network: Network, scope: str):
    if scope == "global" or isinstance(rate, bool) or not isinstance(rate, (int, float)):
        return rate  # `prune` says what is wrong with anything but a number or a dict
    return {name: rate * relative for name, relative in network.rates.items()}


def _compound(rate, number: int):
    """The share that `number` rounds at `rate` remove together."""
    if isinstance(rate, dict):
        return {name: _compound(value, number) for name, value in rate.items()}
    return 1 - (1 - rate) ** number


def _with_defaults(arm: Arm, defaults: Arm) -> Arm:
    given = {field: value for field, value in vars(arm).items() if value is not None}
    arm = replace(defaults, **given)
    return replace(
        arm,
        criterion=_lookup("criterion", arm.criterion, CRITERIA),
        mask_1=_lookup("mask-1 action", arm.mask_1, MASK_1),
        mask_0=_lookup("mask-0 action", arm.mask_0, MASK_0),
    )


def _name(given) -> str:
    return given if isinstance(given, str) else getattr(given, "__name__", type(given).__name__)


def _lookup(kind: str, given, known: dict):
    if callable(given):
        return given
    if not isinstance(given, str) or given not in known:
        raise ValueError(f"unknown {kind} {given!r}: known are {', '.join(sorted(known))}")
    return known[given]


def _check_own(fit_settings: dict) -> None:
    own = [name for name in ("masks", "frozen", "round", "progress", "snapshot_at") if name in fit_settings]
    if own:
        raise ValueError(
            f"{', '.join(own)} cannot be set for a whole search: train one round with training.fit for that"
        )


def _check_search(arms: list[Arm], rounds: int, rate, network: Network) -> None:
    names = [arm.name for arm in arms]
    if not arms or len(set(names)) != len(names):
        raise ValueError(f"arms need names of their own, got {names}")
    for arm in arms:
        if arm.schedule not in ("iterative", "one_shot"):
            raise ValueError(f"unknown schedule {arm.schedule!r}: known are iterative, one_shot")
        # Pruning nothing checks the rate and the scope as the rounds will, without training anything.
        probe = {name: torch.zeros(1, 1) for name in network.prunable}
        kept = {name: torch.ones(1, 1, dtype=torch.bool) for name in network.prunable}
        prune(probe, kept, _layer_rates(rate, network, arm.scope), arm.scope)
    if not isinstance(rounds, Integral) or rounds < 0:
        raise ValueError(f"rounds must be a whole number of at least 0, got {rounds!r}")
