"""The procedure: train, score, prune, act on the weights, and train again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from operator import index
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from lthkit.actions import MASK_0, MASK_1, Mask0, Mask1
from lthkit.checkpoints import Checkpoint
from lthkit.checks import check_count, check_label, lookup
from lthkit.criteria import CRITERIA, Criterion, Evidence, scored
from lthkit.data import Dataset
from lthkit.lottery.run import Round, Run, load, read_base, read_round, round_path, write_base, write_round
from lthkit.lottery.ticket import Ticket
from lthkit.masks import check_rates, ones, prune
from lthkit.networks import Network
from lthkit.stacks import Masks, Params, clone, lend
from lthkit.streams import as_seeds, streams
from lthkit.training import Settings, fit

__all__ = ["Arm", "Round", "Run", "Ticket", "load", "retrain", "search"]

SCHEDULES = {"iterative": True, "one_shot": False}  # whether a round prunes what the round before has trained


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
    network: Network, data: Dataset, seeds: int | Iterable[int] = range(10), rounds: int = 11,
    rate: float | dict[str, float] = 0.36, criterion: str | Criterion = "large_final", mask_1: str | Mask1 = "rewind",
    mask_0: str | Mask0 = "zero", scope: str = "layer", schedule: str = "iterative", rewind_to: int = 0,
    epochs: int = 10, arms: Sequence[Arm] | None = None, checkpoint: str | Path | None = None, **settings,
) -> Run:  # fmt: skip
    """Find tickets in every replicate: train dense once, then prune and retrain for `rounds` rounds.

    rate: share of the alive weights removed in a round; a float counts `network.rates` times in each layer (with
    scope="global" it counts as it is), a dict names every prunable layer.
    criterion, mask_1, mask_0: names from `CRITERIA`, `MASK_1`, `MASK_0`, or callables of the same signature; these get
    copies, and may work in place.
    rewind_to: iteration of the dense training that is the rewind point; 0 is the initial draw.
    arms: several ways at once; they share the initial draw, the dense training and each round's batch order.  Without
    it there is one arm, named after its mask-1 action.
    checkpoint: a folder that gets each round as it is finished, and the steps of long fits.  The same call at the same
    number of threads goes on from there, bit for bit; more rounds may be asked for.
    settings: those of `training.Settings`, by name: batch_size, optimizer, lr, eval_every, …
    A seed whose training diverges gets rows that say so; the others are not touched by it.
    Returns a `Run`.  Raises ValueError for an unknown name, a setting out of range or a checkpoint of another call,
    before anything is trained, and TypeError for a criterion or an action that does not return what its kind must.
    """
    seeds = as_seeds(seeds)
    settings = Settings.of({"epochs": epochs, **settings})
    defaults = Arm("", criterion, mask_1, mask_0, scope, schedule)
    arms = [_with_defaults(arm, defaults) for arm in ([Arm(_name(mask_1).lstrip("_"))] if arms is None else arms)]
    _check_search(arms, rounds, rate, network)
    total = settings.total(data)
    check_count("rewind_to", rewind_to, 0)
    if rewind_to > total:
        raise ValueError(f"rewind_to must lie in the {total} iterations of the dense training, got {rewind_to}")
    call = {"network": network, "data": data, "seeds": seeds, "arms": arms, "rate": rate, "rewind_to": rewind_to}
    kept = None if checkpoint is None else Checkpoint(checkpoint, call="lottery.search", **call, settings=settings)
    with tqdm(total=total * (1 + rounds * len(arms)), desc="searching", unit=" steps", leave=False, delay=2) as bar:
        run, first = _dense(network, data, seeds, settings, rewind_to, [arm.name for arm in arms], kept, bar)
        for place, arm in enumerate(arms):
            run.add(first.renamed(arm.name))
            _search_arm(arm, place, run, rounds, rate, kept, bar)
    if kept is not None:
        kept.clear()  # of a process that died between writing a round and this
    return run


def retrain(
    run: Run, mask_1: str | Mask1 = "reinit", mask_0: str | Mask0 = "zero", arm: str | None = None,
    rounds: Iterable[int] | None = None, name: str = "control", checkpoint: str | Path | None = None, **settings,
) -> Run:  # fmt: skip
    """Train other weights under the masks that `run` found.

    With mask_1="reinit" this is the re-init control of Frankle & Carbin (2019): the ticket's own masks, fresh weights.
    `final`, where an action looks at it, is the trained dense network.
    arm: whose masks, by default those of the run's only arm.
    rounds: which, by default all from 1 on; the dense round is carried over as row 0.
    name: what the new arm is called.
    checkpoint: a folder as in `search`, but of its own.
    settings: changes to the settings of the run.
    """
    if run.network is None or run.data is None:
        raise ValueError("this run was loaded from disk: set run.network and run.data, or load(folder, network, data)")
    arm = run.only_arm(arm)
    check_label("an arm's name", name)
    own = Arm(name, None, _known("mask-1 action", mask_1, MASK_1), _known("mask-0 action", mask_0, MASK_0))
    numbers = sorted(set(map(index, run.rounds(arm) if rounds is None else rounds)) - {0})
    found = [run.round(arm, number) for number in numbers]
    settings = Settings.of({**vars(run.settings), **settings})
    control = Run(run.network, run.data, run.seeds, run.initial, run.dense, settings)
    control.add(run.round(arm, 0).renamed(name))
    kept = None
    if checkpoint is not None:
        call = {"network": run.network, "data": run.data, "seeds": run.seeds, "initial": run.initial}
        call |= {"dense": run.dense, "masks": {each.number: each.masks for each in found}, "name": name}
        call |= {"mask_1": own.mask_1, "mask_0": own.mask_0, "settings": settings}
        kept = Checkpoint(checkpoint, call="lottery.retrain", **call)
    total = settings.total(run.data)
    with tqdm(total=total * len(numbers), desc="retraining", unit=" steps", leave=False, delay=2) as bar:
        for each in found:
            number, lost = each.number, each.diverged
            if kept is not None and round_path(kept.folder, 0, number).exists():
                control.add(read_round(kept.folder, 0, number, control)[0])
                bar.update(total)
                continue
            final = _where(lost, run.initial, run.dense)
            within = None if kept is None else kept.within(f"round-0-{number}")
            done = _train(own, control, number, each.masks, final, lost, within, bar)[0]
            if kept is not None:
                write_round(kept.folder, 0, done)
                within.clear()
            control.add(done)
    if kept is not None:
        kept.clear()
    return control


def _dense(network, data, seeds, settings, rewind_to, arms, kept, bar) -> tuple[Run, Round]:
    """A run without rounds, and the dense one: read from the checkpoint, or trained and written there."""
    if kept is not None and (kept.folder / "run.safetensors").exists():
        run = read_base(kept.folder)[0]
        run.network, run.data, run.settings = network, data, settings
        bar.update(settings.total(data))
        return run, read_round(kept.folder, 0, 0, run)[0]
    drawn = network.init(seeds)
    within = None if kept is None else kept.within("dense")
    own = {"progress": bar, "checkpoint": within, **vars(settings)}
    dense = fit(network, drawn, data, seeds=seeds, snapshot_at=[rewind_to], **own)
    initial = _where(~_finite(dense.snapshots[rewind_to]), drawn, dense.snapshots[rewind_to])
    run = Run(network, data, seeds, initial, dense.params, settings)
    first = Round.of(arms[0], 0, ones(initial, network.prunable), drawn, dense)
    if kept is not None:
        for place, arm in enumerate(arms):
            write_round(kept.folder, place, first.renamed(arm))
        write_base(kept.folder, run, None, arms)  # last: with it, the dense round is finished
        within.clear()
    return run, first


def _search_arm(arm: Arm, place: int, run: Run, rounds: int, rate, kept: Checkpoint | None, bar: tqdm) -> None:
    """Add the pruned rounds of one arm to the run: read from the checkpoint, or trained and written there."""
    network, seeds, initial = run.network, run.seeds, run.initial
    iterative, step = SCHEDULES[arm.schedule], _layer_rates(rate, network, arm.scope)
    masks, final, lost = ones(initial, network.prunable), run.dense, run.round(arm.name, 0).diverged
    for number in range(1, rounds + 1):
        if kept is not None and round_path(kept.folder, place, number).exists():
            done, trained = read_round(kept.folder, place, number, run)
            bar.update(run.settings.total(run.data))
        else:
            source = masks if iterative else ones(initial, network.prunable)
            final = _where(lost, initial, final)
            evidence = Evidence(network, initial, final, source, run.data, streams(seeds, "sample", number))
            scores = scored(evidence, arm.criterion)
            rates = step if iterative else _compound(step, number)
            masks = prune(scores, source, rates, arm.scope, streams(seeds, "ties", number))
            within = None if kept is None else kept.within(f"round-{place}-{number}")
            done, trained = _train(arm, run, number, masks, final, lost, within, bar)
            if kept is not None:
                write_round(kept.folder, place, done, trained if iterative else None)
                within.clear()
        run.add(done)
        masks, lost = done.masks, done.diverged
        if iterative:
            final = trained


def _train(arm: Arm, run: Run, number: int, masks: Masks, final: Params, lost: Tensor, checkpoint, bar):
    """(round, trained parameters): act on the weights, then train them under the masks."""
    act_1, act_0 = arm.mask_1, arm.mask_0
    start = act_1(run.network, *lend(act_1, MASK_1, run.initial, final, masks), streams(run.seeds, "action", number))
    if not isinstance(start, dict):
        raise TypeError(f"a mask-1 action returns a dict of parameters, {_name(act_1)} gave {type(start).__name__}")
    acted = act_0(start, *lend(act_0, MASK_0, run.initial, final, masks))
    if not (isinstance(acted, tuple) and len(acted) == 2 and all(isinstance(part, dict) for part in acted)):
        raise TypeError(f"a mask-0 action returns (start, frozen), two dicts; {_name(act_0)} gave another thing")
    start, frozen = acted
    own = {"progress": bar, "checkpoint": checkpoint, **vars(run.settings)}
    fitted = fit(run.network, start, run.data, masks, frozen, seeds=run.seeds, round=number, **own)
    return Round.of(arm.name, number, masks, start, fitted, frozen, lost), fitted.params


def _finite(params: Params) -> Tensor:
    """[R] bool: the replicates all of whose values are finite."""
    return torch.stack([value.reshape(len(value), -1).isfinite().all(1) for value in params.values()]).all(0)


def _where(replicates: Tensor, chosen: Params, others: Params) -> Params:
    """`others`, with `chosen` for the replicates [R] that are True."""
    if not replicates.any():
        return others
    found = clone(others)
    for name, value in found.items():
        value[replicates] = chosen[name][replicates]
    return found


def _layer_rates(rate, network: Network, scope: str):
    if isinstance(rate, bool) or not isinstance(rate, Real):
        return rate  # `check_rates` says what is wrong with anything but a number or a dict
    rate = float(rate)
    return rate if scope == "global" else {name: rate * relative for name, relative in network.rates.items()}


def _compound(rate, number: int):
    """The share that `number` rounds at `rate` remove together."""
    if isinstance(rate, dict):
        return {name: _compound(value, number) for name, value in rate.items()}
    return 1 - (1 - rate) ** number


def _with_defaults(arm: Arm, defaults: Arm) -> Arm:
    arm = replace(defaults, **{field: value for field, value in vars(arm).items() if value is not None})
    criterion = _known("criterion", arm.criterion, CRITERIA)
    act_1, act_0 = _known("mask-1 action", arm.mask_1, MASK_1), _known("mask-0 action", arm.mask_0, MASK_0)
    return replace(arm, criterion=criterion, mask_1=act_1, mask_0=act_0)


def _known(kind: str, given, table: dict):
    return given if callable(given) else lookup(kind, given, table)


def _name(given) -> str:
    return given if isinstance(given, str) else getattr(given, "__name__", type(given).__name__)


def _check_search(arms: list[Arm], rounds: int, rate, network: Network) -> None:
    names = [arm.name for arm in arms]
    for name in names:
        check_label("an arm's name", name)
    if not arms or len(set(names)) != len(names):
        raise ValueError(f"arms need names of their own, got {names}")
    for arm in arms:
        lookup("schedule", arm.schedule, SCHEDULES)
        check_rates(_layer_rates(rate, network, arm.scope), network.prunable, arm.scope)
    check_count("rounds", rounds, 0)
