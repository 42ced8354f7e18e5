"""One flat buffer, one fused call a step: the numbers of torch.optim."""

import pytest
import torch

from lthkit.training import optimizers
from lthkit.training.optimizers import Optimizer, fused_works

from ..oracles import optimizer

SETTINGS = [
    (name, momentum, decay)
    for name in ("adam", "adamw", "sgd")
    for momentum in (0.0, 0.9)
    for decay in (0.0, 0.1)
]  # fmt: skip


def descend(name, momentum, decay, dtype, steps=12):
    """Parameters after some steps down random slopes whose length changes, with a learning rate that changes."""
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(37, generator=generator, dtype=dtype)
    grads = torch.zeros_like(flat)
    step = Optimizer(name, flat, grads, momentum=momentum, weight_decay=decay)
    other = flat.clone().requires_grad_()
    theirs = optimizer(name, [other], 1.0, momentum, decay)
    for i in range(steps):
        grads.copy_(torch.randn(37, generator=generator, dtype=dtype) * 10.0 ** (i % 5 - 2))
        grads[:5] = 0  # as masks make them
        other.grad = grads.clone()
        theirs.param_groups[0]["lr"] = 0.05 / (1 + i)
        step(0.05 / (1 + i))
        theirs.step()
    return flat, other.detach(), step


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize("name, momentum, decay", SETTINGS)
def test_the_steps_are_those_of_torch(name, momentum, decay, dtype, tolerance):
    ours, theirs, _ = descend(name, momentum, decay, dtype)
    assert (ours - theirs).abs().max() <= tolerance


@pytest.mark.parametrize("name, momentum, decay", SETTINGS)
def test_the_fallback_takes_the_same_steps(name, momentum, decay, monkeypatch):
    fused, _, step = descend(name, momentum, decay, torch.float64)
    assert step.fallback is None  # this torch has the fused kernels: without them the test compares nothing
    monkeypatch.setattr(optimizers, "fused_works", lambda device, dtype: False)
    plain, theirs, step = descend(name, momentum, decay, torch.float64)
    assert step.fallback is not None
    assert (plain - fused).abs().max() <= 1e-12 and torch.equal(plain, theirs)


@pytest.mark.parametrize("kernel", ["_fused_adam_", "_fused_adamw_", "_fused_sgd_"])
def test_a_missing_or_changed_kernel_is_noticed(kernel, monkeypatch):
    cpu = torch.device("cpu")
    assert fused_works(cpu, torch.float32) and fused_works(cpu, torch.float64)
    monkeypatch.setattr(torch, kernel, lambda *a, **k: None)
    assert not fused_works(cpu, torch.float32)
    monkeypatch.delattr(torch, kernel)
    assert not fused_works(cpu, torch.float32)
