"""`Run`: what an experiment leaves behind, round by round, in tables, histories and masks, with save and load."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from lthkit import files
from lthkit.data import Dataset
from lthkit.lottery.ticket import Ticket, check_network
from lthkit.masks import sparsity, validate
from lthkit.networks import Network
from lthkit.stacks import Masks, Params
from lthkit.training import Fit, History, Settings


@dataclass(frozen=True)
class Round:
    """One round of one arm, all replicates.

    masks: {name: [R, …]} under which it was trained.  frozen: the pruned weights' values, None where all are 0.
    history: its curves.  rows: its part of `Run.table`.
    """

    arm: str
    number: int
    masks: Masks
    frozen: Params | None
    history: History
    rows: pd.DataFrame

    @classmethod
    def of(
        cls, arm: str, number: int, masks: Masks, start: Params, fitted: Fit, frozen: Params | None = None,
        lost: Tensor | bool = False,
    ) -> "Round":  # fmt: skip
        """From a fit that began at `start`; lost: [R] bool, the replicates that diverged in a round before."""
        values = {name: value.ne(0) & ~masks[name] for name, value in (frozen or {}).items()}
        frozen = frozen if any(value.any() for value in values.values()) else None
        nonzero = {name: start[name].ne(0) & mask | values.get(name, False) for name, mask in masks.items()}
        return cls(arm, number, masks, frozen, fitted.history, rows(arm, number, masks, nonzero, fitted, lost))

    @property
    def diverged(self) -> Tensor:
        """[R] bool: the replicates whose training diverged, here or in a round before."""
        return torch.tensor(self.rows["diverged"].to_numpy(dtype=bool))

    def renamed(self, arm: str) -> "Round":
        """The same round in another arm."""
        return replace(self, arm=arm, rows=self.rows.assign(arm=arm))


class Run:
    """All rounds of all arms of one experiment.

    table: a DataFrame with a row per (arm, seed, round): kept, nonzero (the share of the prunable weights that are not
    0 when the round's training starts, frozen ones too), accuracy_at_start (on the test images, before that training),
    test_accuracy (of the last iteration), test_accuracy_early_stop, val_accuracy, early_stop_iteration, censored,
    diverged (in this round of its arm or in one before: accuracies and early stop are NaN then), seconds (a replicate's
    share).
    initial: parameters {name: [R, …]} at the rewind point.  dense: those of the trained dense network.
    """

    def __init__(
        self, network: Network | None, data: Dataset | None, seeds: Iterable[int], initial: Params, dense: Params,
        settings: Settings,
    ):  # fmt: skip
        self.network, self.data = network, data
        self.seeds, self.initial, self.dense, self.settings = list(seeds), initial, dense, settings
        self._rounds: dict[tuple[str, int], Round] = {}

    def add(self, round: Round) -> None:
        """Record a round."""
        self._rounds[round.arm, round.number] = round

    @property
    def table(self) -> pd.DataFrame:
        return pd.concat([round.rows for round in self._rounds.values()], ignore_index=True)

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(arm for arm, _ in self._rounds))

    def rounds(self, arm: str | None = None) -> list[int]:
        """The round numbers of an arm, dense first."""
        arm = self.only_arm(arm)
        return [number for name, number in self._rounds if name == arm]

    def round(self, arm: str | None = None, number: int = 0) -> Round:
        """One round of an arm, by default of the run's only arm."""
        arm = self.only_arm(arm)
        if (arm, number) not in self._rounds:
            raise ValueError(f"arm {arm!r} has no round {number}: it has {self.rounds(arm)}")
        return self._rounds[arm, number]

    def history(self, arm: str | None = None, round: int = 0) -> History:
        """The curves of one round, all replicates."""
        return self.round(arm, round).history

    def masks(self, arm: str | None = None, round: int = 0) -> Masks:
        """The masks {name: [R, …]} under which a round was trained."""
        return self.round(arm, round).masks

    def ticket(self, round: int, seed: int, arm: str | None = None) -> Ticket:
        """The ticket that one replicate had drawn in a round."""
        if seed not in self.seeds:
            raise ValueError(f"no seed {seed} in this run: it has {self.seeds}")
        k, found = self.seeds.index(seed), self.round(arm, round)
        parts = (self.initial, found.masks, found.frozen or {})
        initial, masks, frozen = ({name: value[k].clone() for name, value in part.items()} for part in parts)
        return Ticket(initial, masks, seed, round, frozen or None, self.network)

    def only_arm(self, arm: str | None) -> str:
        """`arm` itself, if the run has it; the run's only arm for None."""
        if arm is None and len(self.arms) == 1:
            return self.arms[0]
        if arm not in self.arms:
            raise ValueError(f"name one of this run's arms {self.arms}, got {arm!r}")
        return arm

    def save(self, folder: str | Path) -> None:
        """Write the run into a new folder; a failed write leaves nothing behind.

        Network and data are not saved: give them to `load` to retrain.
        Raises FileExistsError if the folder exists, OSError that names it, ValueError for settings no file can hold.
        """
        with files.new_folder(folder) as part:
            write_base(part, self, list(self._rounds))
            for (arm, _), each in self._rounds.items():
                write_round(part, self.arms.index(arm), each)


def load(folder: str | Path, network: Network | None = None, data: Dataset | None = None) -> Run:
    """Read a run that `Run.save` wrote, or the finished rounds of a search's checkpoint.

    network, data: what the run was made with, needed to retrain; they are not saved.
    Raises FileNotFoundError for a folder without a run, ValueError for one that is damaged, or of another network.
    """
    folder = Path(folder)
    old = (folder / "run.json").exists()
    for name in ("table.csv", "tensors.safetensors") if old else ("run.safetensors",):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} holds no saved run: {name} is missing")
    run = _load_1(folder) if old else _load_2(folder)
    if network is not None:
        check_network(f"{folder} holds a run", network, {name: value[0] for name, value in run.initial.items()})
    run.network, run.data = network, data
    return run


def write_base(folder: Path, run: Run, rounds: list[tuple[str, int]] | None, arms: list[str] | None = None) -> None:
    """What all rounds of a run share; rounds: None for a checkpoint, in which they come one by one."""
    settings = asdict(run.settings)
    if rounds is None and settings["lr_schedule"] is not None:
        settings["lr_schedule"] = "not saved"
    head = {"seeds": run.seeds, "settings": settings, "rounds": rounds, "arms": arms or run.arms}
    files.write(folder / "run.safetensors", "run", files.pack(initial=run.initial, dense=run.dense), head)


def read_base(folder: Path) -> tuple[Run, dict]:
    """A run without its rounds, and the head of its file."""
    head, tensors = files.read(folder / "run.safetensors", "run")
    initial, dense = files.unpack("initial", tensors), files.unpack("dense", tensors)
    settings = head["settings"] | ({"lr_schedule": _not_saved} if head["settings"]["lr_schedule"] else {})
    return Run(None, None, head["seeds"], initial, dense, Settings(**settings)), head


def _not_saved(iteration: int) -> float:
    raise ValueError("this run's lr_schedule was not saved: give it again, as in retrain(run, lr_schedule=…)")


def round_path(folder: Path, arm: int, number: int) -> Path:
    """The file of a round; arm: its place among the arms."""
    return folder / f"round-{arm}-{number}.safetensors"


def write_round(folder: Path, arm: int, round: Round, final: Params | None = None) -> None:
    """final: trained parameters, for a checkpoint to go on from."""
    columns = {name: torch.tensor(round.rows[name].to_numpy()) for name in round.rows if name not in ("arm", "seed")}
    history = {name: value for name, value in vars(round.history).items() if name != "seeds"}
    parts = {"masks": round.masks, "frozen": round.frozen or {}, "history": history, "rows": columns}
    tensors = files.pack(**parts, final=final or {})
    head = {"arm": round.arm, "place": arm, "number": round.number, "seeds": list(round.history.seeds)}
    files.write(round_path(folder, arm, round.number), "round", tensors, head)


def read_round(folder: Path, arm: int, number: int, base: Run) -> tuple[Round, Params]:
    """(round, trained parameters as far as they were written).

    Raises ValueError, naming the file, for a round of another run.
    """
    path = round_path(folder, arm, number)
    head, tensors = files.read(path, "round")
    parts = ("masks", "frozen", "history", "rows", "final")
    masks, frozen, history, columns, final = (files.unpack(part, tensors) for part in parts)
    try:
        validate(masks, base.initial)
        if (head["place"], head["number"], head["seeds"]) != (arm, number, base.seeds):
            raise ValueError(f"it is round {head['number']} of arm {head['arm']!r}, seeds {head['seeds']}")
    except ValueError as error:
        raise ValueError(f"{path} is of another run than the files beside it: {error}") from None
    table = pd.DataFrame({"arm": head["arm"], "seed": head["seeds"]} | {n: v.numpy() for n, v in columns.items()})
    return Round(head["arm"], number, masks, frozen or None, History(tuple(head["seeds"]), **history), table), final


def _load_2(folder: Path) -> Run:
    run, head = read_base(folder)
    found = [(arm, number) for arm, number in head["rounds"] or ()]
    for place, arm in enumerate(head["arms"] if head["rounds"] is None else ()):
        number = 0
        while round_path(folder, place, number).exists():
            found, number = [*found, (arm, number)], number + 1
    for arm, number in found:
        run.add(read_round(folder, head["arms"].index(arm), number, run)[0])
    return run


def _load_1(folder: Path) -> Run:
    """A run of format 1: run.json, table.csv, tensors.safetensors, without checksums."""
    try:
        head = json.loads((folder / "run.json").read_text())
        if head["format"] == 1:
            return _restore_1(head, _read_table_1(folder / "table.csv"), files.read_1(folder / "tensors.safetensors"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder} holds a damaged run ({error}): save it again") from error
    raise ValueError(f"{folder} has format {head['format']!r}, this lthkit reads formats 1 and 2: update lthkit")


def _restore_1(head: dict, table: pd.DataFrame, tensors: dict[str, Tensor]) -> Run:
    """The run from what its files hold; an error of any kind where these do not fit together."""
    initial, dense = files.unpack("initial", tensors), files.unpack("dense", tensors)
    run = Run(None, None, head["seeds"], initial, dense, Settings(**head["settings"]))
    shapes = [{name: value.shape for name, value in part.items()} for part in (initial, dense)]
    if not initial or shapes[0] != shapes[1] or any(shape[0] != len(run.seeds) for shape in shapes[0].values()):
        raise ValueError("parameters are missing or of another shape")
    if len(table) != len(head["rounds"]) * len(run.seeds):
        raise ValueError("the table's rows are not those of the rounds")
    for i, (arm, number) in enumerate(head["rounds"]):
        masks, frozen, history = (files.unpack(f"{part}/{i}", tensors) for part in ("masks", "frozen", "history"))
        validate(masks, initial)
        part = table.iloc[i * len(run.seeds) : (i + 1) * len(run.seeds)].reset_index(drop=True)
        if list(zip(part["arm"], part["seed"], part["round"])) != [(arm, seed, number) for seed in run.seeds]:
            raise ValueError("the table's rows are not those of the rounds")
        run.add(Round(arm, number, masks, frozen or None, History(tuple(run.seeds), **history), part))
    return run


def _read_table_1(path: Path) -> pd.DataFrame:
    """The table with every bit of its numbers; an arm called "007" or "NA" keeps its name."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table["censored"] = table["censored"].map({"True": True, "False": False})
    kinds = {"arm": str, "censored": bool, "seed": int, "round": int, "early_stop_iteration": int}
    table = table.astype({column: kinds.get(column, float) for column in table})
    table.insert(len(table.columns) - 1, "diverged", False)
    return table


def rows(arm: str, number: int, masks: Masks, nonzero: Masks, fitted: Fit, lost: Tensor | bool) -> pd.DataFrame:
    """The rows of `Run.table` for one round: one a seed.  nonzero: where an effective weight was not 0 at the start."""
    history = fitted.history
    count = len(history.seeds)
    diverged = history.diverged | lost
    check = history.val_loss.where(history.val_loss.isfinite(), torch.inf).argmin(1)
    measured: dict[str, Tensor] = {
        "accuracy_at_start": history.test_accuracy[:, 0],
        "test_accuracy": history.test_accuracy[:, -1],
        "test_accuracy_early_stop": history.test_accuracy[torch.arange(count), check],
        "val_accuracy": history.val_accuracy[:, -1],
        "early_stop_iteration": history.iterations[check],
    }
    if diverged.any():
        measured = {name: column.double().masked_fill(diverged, torch.nan) for name, column in measured.items()}
    filled = sum(value.flatten(1).sum(1) for value in nonzero.values())  # [R]
    share = filled.double() / sum(mask[0].numel() for mask in masks.values())
    columns = {"kept": 1 - sparsity(masks)["overall"], "nonzero": share, **measured}
    columns |= {"censored": (check == len(history.iterations) - 1) & ~diverged, "diverged": diverged}
    table = pd.DataFrame({"arm": arm, "seed": history.seeds, "round": number})
    for name, column in columns.items():
        table[name] = column.cpu().numpy()
    return table.assign(seconds=fitted.seconds / count)
