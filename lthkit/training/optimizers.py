"""Adam, AdamW and SGD on one flat buffer, as one fused call a step."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

BETA_2, EPS = 0.999, 1e-8  # torch's defaults


class Optimizer:
    """Update `flat` from `grads`, in place, when called with a learning rate.

    name: one of `OPTIMIZERS`.  momentum: SGD's, and Adam's first beta.
    torch's fused kernels are called directly; where this torch does not offer them as expected, `torch.optim` is used.
    """

    def __init__(self, name: str, flat: Tensor, grads: Tensor, momentum: float = 0.9, weight_decay: float = 0.0):
        self.rule, self.flat, self.grads = OPTIMIZERS[name], flat, grads
        self.momentum, self.weight_decay = momentum, weight_decay
        self.steps = torch.zeros((), dtype=torch.float32, device=flat.device)
        self.moments = [torch.zeros_like(flat) for _ in self.rule.moments]
        self.fallback = None if fused_works(flat.device, flat.dtype) else self._of_torch()

    def __call__(self, lr: float) -> None:
        if self.fallback is not None:
            self.fallback.param_groups[0]["lr"] = lr
            self.flat.grad = self.grads
            self.fallback.step()
        else:
            self.rule.fused(self.flat, self.grads, self.moments, self.steps, lr, self.momentum, self.weight_decay)

    def state(self) -> dict[str, Tensor]:
        """All that it remembers, as it is, by names that no parameter has."""
        return {"/steps": self.steps, **{f"/{k}": moment for k, moment in enumerate(self.moments)}}

    def _of_torch(self) -> torch.optim.Optimizer:
        """torch's own, which keeps its memory in ours."""
        kind = self.rule.of_torch
        own = {"momentum": self.momentum} if kind is torch.optim.SGD else {"betas": (self.momentum, BETA_2), "eps": EPS}
        optimizer = kind([self.flat], lr=1.0, weight_decay=self.weight_decay, **own)
        optimizer.state[self.flat] = {"step": self.steps, **dict(zip(self.rule.moments, self.moments, strict=True))}
        return optimizer


def fused_adam(flat, grads, moments, steps, lr, beta_1, weight_decay, kernel="_fused_adam_") -> None:
    steps += 1
    first, second = moments
    getattr(torch, kernel)(
        [flat], [grads], [first], [second], [], [steps],
        lr=lr, beta1=beta_1, beta2=BETA_2, weight_decay=weight_decay, eps=EPS, amsgrad=False, maximize=False,
    )  # fmt: skip


def fused_sgd(flat, grads, moments, steps, lr, momentum, weight_decay) -> None:
    first = float(steps) == 0
    steps += 1
    torch._fused_sgd_(
        [flat], [grads], moments if momentum else [], weight_decay=weight_decay, momentum=momentum, lr=lr,
        dampening=0.0, nesterov=False, maximize=False, is_first_step=first,
    )  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """An optimizer.  moments: torch's names of what it remembers a weight; fused, of_torch: two ways to have it."""

    moments: tuple[str, ...]
    fused: Callable[..., None]
    of_torch: type[torch.optim.Optimizer]


OPTIMIZERS: dict[str, Rule] = {
    "adam": Rule(("exp_avg", "exp_avg_sq"), fused_adam, torch.optim.Adam),
    "adamw": Rule(("exp_avg", "exp_avg_sq"), partial(fused_adam, kernel="_fused_adamw_"), torch.optim.AdamW),
    "sgd": Rule(("momentum_buffer",), fused_sgd, torch.optim.SGD),
}


def fused_works(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch's private fused kernels exist here and do one known step right, on this device and dtype."""
    try:
        for rule in OPTIMIZERS.values():
            flat = torch.ones(2, device=device, dtype=dtype)
            moments = [torch.zeros_like(flat) for _ in rule.moments]
            rule.fused(flat, torch.ones_like(flat), moments, torch.zeros((), device=device), 0.5, 0.9, 0.0)
            if not torch.allclose(flat, torch.full_like(flat, 0.5), atol=1e-3):  # the first step of Adam is lr
                return False
    except (AttributeError, TypeError, RuntimeError):
        return False
    return True
