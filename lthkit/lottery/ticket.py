"""`Ticket`: the initial parameters and masks of one replicate, as a file or as an ordinary module."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lthkit import torch_prune
from lthkit.masks import Masks, Params, read_tensors, write_tensors
from lthkit.networks import Network
from lthkit.training import effective

FORMAT = 1  # of saved runs and tickets


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
        frozen = {name: value.unsqueeze(0) for name, value in (self.frozen or {}).items()}
        masks = {name: mask.unsqueeze(0) for name, mask in self.masks.items()}
        return effective({name: value.unsqueeze(0) for name, value in self.initial.items()}, masks, frozen)

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
        head = {"head": torch.tensor([FORMAT, self.seed, self.round])}
        parts = {"initial": self.initial, "mask": self.masks, "frozen": self.frozen or {}}
        write_tensors(head | {k: v for prefix, part in parts.items() for k, v in prefixed(prefix, part).items()}, path)

    @classmethod
    def load(cls, path: str | Path, network: Network | None = None) -> "Ticket":
        """Read what `save` wrote.  network: needed for `to_module` and `to_dense` only, as it is not saved.

        Raises FileNotFoundError, or ValueError for a file that holds no ticket.
        """
        tensors = read_tensors(path)
        initial, masks, frozen = (with_prefix(prefix, tensors) for prefix in ("initial", "mask", "frozen"))
        head = tensors.get("head", torch.tensor([])).flatten().tolist()
        fits = all(name in initial and initial[name].shape == mask.shape for name, mask in masks.items())
        if len(head) != 3 or head[0] != FORMAT or not masks or not fits:
            raise ValueError(f"{path} holds no ticket of format {FORMAT}: was it written by Ticket.save?")
        return cls(initial, masks, head[1], head[2], frozen or None, network)


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": value for name, value in tensors.items()}


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}/"): value for name, value in tensors.items() if name.startswith(f"{prefix}/")}
