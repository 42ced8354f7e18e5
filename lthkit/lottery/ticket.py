"""`Ticket`: the initial parameters and masks of one replicate, as a file or as an ordinary module."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lthkit import files, torch_prune
from lthkit.networks import Network
from lthkit.stacks import Masks, Params, effective


@dataclass(frozen=True)
class Ticket:
    """Initial parameters and masks of one replicate, without the replicate axis: {name: tensor}.

    frozen: {name: values} of the pruned weights where they are not 0.  network: what can build the module.
    """

    initial: Params
    masks: Masks
    seed: int
    round: int
    frozen: Params | None = None
    network: Network | None = None

    @property
    def kept(self) -> float:
        """Share of the prunable weights that remains."""
        return sum(int(mask.sum()) for mask in self.masks.values()) / sum(mask.numel() for mask in self.masks.values())

    def params(self) -> Params:
        """Effective parameters {name: [1, …]}: the initial values, and those of `frozen` or 0 where pruned."""
        parts = (self.initial, self.masks, self.frozen or {})
        return effective(*({name: value.unsqueeze(0) for name, value in part.items()} for part in parts))

    def to_module(self) -> nn.Module:
        """An ordinary module whose weights are pruned by `torch.nn.utils.prune`: `weight_orig` and `weight_mask`.

        `weight_orig` holds the initial values of all weights, the pruned ones too.
        Raises ValueError if pruned weights have values other than 0, which a mask cannot express: use `to_dense`.
        """
        if any((value.ne(0) & ~self.masks[name]).any() for name, value in (self.frozen or {}).items()):
            raise ValueError("this ticket's pruned weights are not 0, which weight_mask cannot express: use to_dense()")
        return torch_prune.apply(self._module(self.initial), self.masks)

    def to_dense(self) -> nn.Module:
        """An ordinary module with the effective weights and no masks: training it would revive the pruned ones."""
        return self._module({name: value[0] for name, value in self.params().items()})

    def _module(self, state: Params) -> nn.Module:
        if self.network is None:
            raise ValueError("a loaded ticket does not know its network: give it, as in Ticket.load(path, network)")
        first = next(value for value in state.values() if value.is_floating_point())
        module = self.network.module().to(device=first.device, dtype=first.dtype)
        targets = dict(module.named_parameters()) | dict(module.named_buffers())
        with torch.no_grad():
            for name, value in state.items():
                targets[name].copy_(value)
        return module

    def save(self, path: str | Path) -> None:
        """Write the ticket as one safetensors file."""
        tensors = files.pack(initial=self.initial, mask=self.masks, frozen=self.frozen or {})
        files.write(path, "ticket", tensors, {"seed": int(self.seed), "round": int(self.round)})

    @classmethod
    def load(cls, path: str | Path, network: Network | None = None) -> "Ticket":
        """Read what `save` wrote.  network: needed for `to_module` and `to_dense` only, as it is not saved.

        Raises FileNotFoundError, or ValueError for a file that holds no ticket, or one of another network.
        """
        head, tensors = files.read(path, "ticket", old=True)
        initial, masks, frozen = (files.unpack(prefix, tensors) for prefix in ("initial", "mask", "frozen"))
        seed, round = (head["seed"], head["round"]) if head else _head_1(path, tensors)
        parts = [*masks.items(), *frozen.items()]
        if not masks or any(name not in initial or initial[name].shape != value.shape for name, value in parts):
            raise ValueError(f"{path} holds no ticket, as its masks do not fit: was it written by Ticket.save?")
        if network is not None:
            check_network(f"{path} holds a ticket", network, initial)
        return cls(initial, masks, seed, round, frozen or None, network)


def _head_1(path: str | Path, tensors: dict[str, Tensor]) -> tuple[int, int]:
    """Seed and round, which format 1 kept in a tensor."""
    head = tensors.get("head", torch.tensor([])).flatten().tolist()
    if len(head) != 3 or head[0] != 1:
        raise ValueError(f"{path} holds no ticket: was it written by Ticket.save?")
    return head[1], head[2]


def check_network(what: str, network: Network, params: Params) -> None:
    """Raises ValueError, naming the first that differs, unless a file holds just what the network has.

    what: the file, as in "x holds a run".  params: its parameters, of one replicate.
    """
    there = {name: tuple(value.shape) for name, value in params.items()}
    for name in network.shapes | there:
        ours, theirs = network.shapes.get(name, "no such tensor"), there.get(name, "no such tensor")
        if ours != theirs:
            raise ValueError(f"{what} of another network than {network.name}: {name!r} is {theirs} there, {ours} here")
