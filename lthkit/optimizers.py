"""Adam, AdamW and SGD on one flat buffer, as one fused call a step."""

import torch
from torch import Tensor

KNOWN = ("adam", "adamw", "sgd")
BETA_2, EPS = 0.999, 1e-8  # torch's defaults


class Optimizer:
    """Update `flat` from `grads`, in place, when called with a learning rate.

    name: "adam" (weight decay as an L2 term), "adamw" (decoupled) or "sgd"; momentum is SGD's, and Adam's first beta.
    torch's fused kernels are called directly; where this torch does not offer them as expected, `torch.optim` is used.
    Raises ValueError for an unknown name or a setting out of range.
    """

    def __init__(self, name: str, flat: Tensor, grads: Tensor, momentum: float = 0.9, weight_decay: float = 0.0):
        if name not in KNOWN:
            raise ValueError(f"unknown optimizer {name!r}: known are {', '.join(KNOWN)}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        if not weight_decay >= 0:
            raise ValueError(f"weight_decay must not be negative, got {weight_decay}")
        self.name, self.flat, self.grads = name, flat, grads
        self.momentum, self.weight_decay = momentum, weight_decay
        self.steps = torch.zeros((), dtype=torch.float32, device=flat.device)
        self.moments = [torch.zeros_like(flat) for _ in range(1 if name == "sgd" else 2)]
        self.fallback = None if fused_works(flat.device, flat.dtype) else self._torch_optim()

    def __call__(self, lr: float) -> None:
        if self.fallback is not None:
            self.fallback.param_groups[0]["lr"] = lr
            self.flat.grad = self.grads
            self.fallback.step()
        elif self.name == "sgd":
            fused_sgd(self.flat, self.grads, self.moments, self.steps, lr, self.momentum, self.weight_decay)
        else:
            kernel = torch._fused_adam_ if self.name == "adam" else torch._fused_adamw_
            fused_adam(kernel, self.flat, self.grads, self.moments, self.steps, lr, self.momentum, self.weight_decay)

    def _torch_optim(self) -> torch.optim.Optimizer:
        if self.name == "sgd":
            return torch.optim.SGD([self.flat], lr=1.0, momentum=self.momentum, weight_decay=self.weight_decay)
        kind = torch.optim.Adam if self.name == "adam" else torch.optim.AdamW
        return kind([self.flat], lr=1.0, betas=(self.momentum, BETA_2), eps=EPS, weight_decay=self.weight_decay)


def fused_adam(kernel, flat, grads, moments, steps, lr, beta_1, weight_decay) -> None:
    steps += 1
    first, second = moments
    kernel(
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


def fused_works(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch's private fused kernels exist here and do one known step right, on this device and dtype."""
    try:
        for kernel in (torch._fused_adam_, torch._fused_adamw_):
            flat, moments = torch.ones(2, device=device, dtype=dtype), torch.zeros(2, 2, device=device, dtype=dtype)
            steps = torch.zeros((), device=device)
            fused_adam(kernel, flat, torch.ones_like(flat), list(moments), steps, 0.5, 0.9, 0.0)
            if not torch.allclose(flat, torch.full_like(flat, 0.5), atol=1e-3):  # the first step of Adam is lr
                return False
        flat, moment = torch.ones(2, device=device, dtype=dtype), torch.zeros(2, device=device, dtype=dtype)
        fused_sgd(flat, torch.ones_like(flat), [moment], torch.zeros(()), 0.5, 0.9, 0.0)
        return torch.allclose(flat, torch.full_like(flat, 0.5), atol=1e-3)
    except (AttributeError, TypeError, RuntimeError):
        return False
