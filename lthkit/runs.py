"""`Run`: what an experiment leaves behind, in tables, histories and masks, with save and load."""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from lthkit.data import Dataset
from lthkit.files import read_1
from lthkit.masks import Masks, Params, sparsity, validate
from lthkit.networks import Network
from lthkit.tickets import Ticket, prefixed, with_prefix
from lthkit.training import Fit, History, effective

FORMAT = 1


class Run:
    """All rounds of all arms of one experiment.

    table: a DataFrame with a row per (arm, seed, round): kept, nonzero (the share of the prunable weights that are not 0
    when the round's training starts, frozen ones too), accuracy_at_start (on the test images, before that training),
    test_accuracy (of the last iteration), test_accuracy_early_stop, val_accuracy, early_stop_iteration, censored,
    seconds (a replicate's share).
    initial: parameters {name: [R, …]} at the rewind point.  dense: those of the trained dense network.
    """

    def __init__(self, network: Network | None, data: Dataset | None, seeds, initial: Params, dense: Params, settings):
        self.network, self.data = network, data
        self.seeds, self.initial, self.dense = list(seeds), initial, dense
        self.settings = dict(settings)
        self._rows: list[pd.DataFrame] = []
        self._masks: dict[tuple[str, int], Masks] = {}
        self._histories: dict[tuple[str, int], History] = {}
        self._frozen: dict[tuple[str, int], Params] = {}  # only where some pruned weight is not 0

    @property
    def table(self) -> pd.DataFrame:
        return pd.concat(self._rows, ignore_index=True)

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(arm for arm, _ in self._masks))

    def rounds(self, arm: str | None = None) -> list[int]:
        """The round numbers of an arm, dense first."""
        arm = self.only_arm(arm)
        return [number for name, number in self._masks if name == arm]

    def history(self, arm: str | None = None, round: int = 0) -> History:
        """The curves of one round, all replicates."""
        return self._histories[self._key(arm, round)]

    def masks(self, arm: str | None = None, round: int = 0) -> Masks:
        """The masks {name: [R, …]} under which a round was trained."""
        return self._masks[self._key(arm, round)]

    def ticket(self, round: int, seed: int, arm: str | None = None) -> Ticket:
        """The ticket that one replicate had drawn in a round."""
        if seed not in self.seeds:
            raise ValueError(f"no seed {seed} in this run: it has {self.seeds}")
        k = self.seeds.index(seed)
        parts = (self.initial, self.masks(arm, round), self._frozen.get(self._key(arm, round), {}))
        initial, masks, frozen = ({name: value[k].clone() for name, value in part.items()} for part in parts)
        return Ticket(initial, masks, seed, round, frozen or None, self.network)

    def add(self, arm: str, round: int, masks: Masks, start: Params, fitted: Fit, frozen: Params | None = None) -> None:
        """Record one round, trained from `start`."""
        self._masks[arm, round] = masks
        if frozen is not None and any((frozen[name].ne(0) & ~masks[name]).any() for name in frozen):
            self._frozen[arm, round] = frozen
        self._histories[arm, round] = fitted.history
        self._rows.append(rows(arm, round, masks, effective(start, masks, frozen), fitted))

    def copy_round(self, other: "Run", arm: str, round: int, as_arm: str) -> None:
        """Take over a round of another run under another arm's name."""
        key = other._key(arm, round)
        self._masks[as_arm, round], self._histories[as_arm, round] = (other._masks[key], other._histories[key])
        table = other.table
        self._rows.append(table[(table.arm == arm) & (table["round"] == round)].assign(arm=as_arm))

    def only_arm(self, arm: str | None) -> str:
        """`arm` itself, if the run has it; the run's only arm for None."""
        if arm is None and len(self.arms) == 1:
            return self.arms[0]
        if arm not in self.arms:
            raise ValueError(f"name one of this run's arms {self.arms}, got {arm!r}")
        return arm

    def _key(self, arm: str | None, round: int) -> tuple[str, int]:
        arm = self.only_arm(arm)
        if (arm, round) not in self._masks:
            raise ValueError(f"arm {arm!r} has no round {round}: it has {self.rounds(arm)}")
        return arm, round

    def save(self, folder: str | Path) -> None:
        """Write the run into a new folder; a failed write leaves nothing behind.

        Network and data are not saved: set `run.network` and `run.data` after loading to retrain.
        Raises FileExistsError if the folder exists, ValueError for settings that JSON cannot hold.
        """
        folder = Path(folder)
        if folder.exists():
            raise FileExistsError(f"{folder} exists: choose another folder, or delete it first")
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        part.mkdir()
        try:
            keys = [list(key) for key in self._masks]
            head = {"format": FORMAT, "seeds": self.seeds, "settings": self.settings, "rounds": keys}
            try:
                (part / "run.json").write_text(json.dumps(head, indent=1))
            except TypeError as error:
                raise ValueError(f"settings {self.settings} cannot be saved: {error}") from None
            self.table.to_csv(part / "table.csv", index=False)
            tensors = prefixed("initial", self.initial) | prefixed("dense", self.dense)
            for i, key in enumerate(self._masks):
                tensors |= prefixed(f"masks/{i}", self._masks[key])
                tensors |= prefixed(f"frozen/{i}", self._frozen.get(key, {}))
                history = {name: value for name, value in vars(self._histories[key]).items() if name != "seeds"}
                tensors |= prefixed(f"history/{i}", history)
            write_tensors(tensors, part / "tensors.safetensors")
            part.replace(folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a dict of tensors in format 1."""
    from safetensors.torch import save_file

    order = {"order": json.dumps(list(tensors))}  # the format sorts its names
    # clone: the format refuses tensors that share memory
    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, path, order)


def load(folder: str | Path) -> Run:
    """Read a run that `Run.save` wrote; its `network` and `data` are None until set.

    Raises FileNotFoundError for a folder without a run, ValueError for one that is damaged or of another format.
    """
    folder = Path(folder)
    for name in ("run.json", "table.csv", "tensors.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} holds no saved run: {name} is missing")
    try:
        head = json.loads((folder / "run.json").read_text())
        number = head["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / 'run.json'} is damaged ({error}): save the run again") from error
    if number != FORMAT:
        raise ValueError(f"{folder} has format {number!r}, this lthkit reads format {FORMAT}: update lthkit")
    try:
        return _restore(head, _read_table(folder / "table.csv"), read_1(folder / "tensors.safetensors"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder} holds a damaged run ({error}): save it again") from error


def _restore(head: dict, table: pd.DataFrame, tensors: dict[str, Tensor]) -> Run:
    """The run from what its files hold; an error of any kind where these do not fit together."""
    initial, dense = with_prefix("initial", tensors), with_prefix("dense", tensors)
    run = Run(None, None, head["seeds"], initial, dense, head["settings"])
    run._rows.append(table)
    shapes = [{name: value.shape for name, value in part.items()} for part in (initial, dense)]
    if not initial or shapes[0] != shapes[1] or any(shape[0] != len(run.seeds) for shape in shapes[0].values()):
        raise ValueError("parameters are missing or of another shape")
    for i, (arm, number) in enumerate(head["rounds"]):
        key = (arm, number)
        run._masks[key] = with_prefix(f"masks/{i}", tensors)
        validate(run._masks[key], initial)
        if frozen := with_prefix(f"frozen/{i}", tensors):
            run._frozen[key] = frozen
        run._histories[key] = History(tuple(run.seeds), **with_prefix(f"history/{i}", tensors))
    expected = [(arm, seed, number) for arm, number in run._masks for seed in run.seeds]
    if list(zip(table["arm"], table["seed"], table["round"], strict=True)) != expected:
        raise ValueError("the table's rows are not those of the rounds")
    return run


def _read_table(path: Path) -> pd.DataFrame:
    """The table with every bit of its numbers; an arm called "007" or "NA" keeps its name."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table["censored"] = table["censored"].map({"True": True, "False": False}).astype(bool)
    whole = ("seed", "round", "early_stop_iteration")
    return table.astype(
        {column: int if column in whole else float for column in table if column not in ("arm", "censored")}
    )


def rows(arm: str, round: int, masks: Masks, start: Params, fitted: Fit) -> pd.DataFrame:
    """The rows of `Run.table` for one round, trained from effective parameters `start`: one a seed."""
    history = fitted.history
    check = history.early_stop_check
    count = len(history.seeds)
    nonzero = sum((start[name] != 0).flatten(1).sum(1) for name in masks)  # [R]
    size = sum(mask[0].numel() for mask in masks.values())
    columns: dict[str, Tensor] = {
        "kept": 1 - sparsity(masks)["overall"],
        "nonzero": nonzero.double() / size,
        "accuracy_at_start": history.test_accuracy[:, 0],
        "test_accuracy": history.test_accuracy[:, -1],
        "test_accuracy_early_stop": history.test_accuracy[torch.arange(count), check],
        "val_accuracy": history.val_accuracy[:, -1],
        "early_stop_iteration": history.early_stop_iteration,
        "censored": history.censored,
    }
    table = pd.DataFrame({"arm": arm, "seed": history.seeds, "round": round})
    for name, column in columns.items():
        table[name] = column.cpu().numpy()
    return table.assign(seconds=fitted.seconds / count)
