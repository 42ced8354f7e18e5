"""What `torch.nn.utils.prune` does to pruned weights under nine optimizers, measured on the installed torch.

Three ways to prune 800 weights, each then trained for 20 steps:
hook: `prune.custom_from_mask`.  zeroed: set to 0 in place, once.  masked: zeroed, the gradients masked in each step.
"""

from functools import cache

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

PRUNED, STEPS = 800, 20


def sgd(**settings):
    return lambda parameters: torch.optim.SGD(parameters, lr=0.05, **settings)


def adam(kind=torch.optim.Adam, **settings):
    return lambda parameters: kind(parameters, lr=0.01, **settings)


# row: (optimizer, steps before pruning, the stored weight_orig moves, zeroed ones revive though gradients are masked)
ROWS = {
    "SGD": (sgd(), 0, False, False),
    "SGD + momentum, fresh": (sgd(momentum=0.9), 0, False, False),
    "Adam, fresh": (adam(), 0, False, False),
    "SGD + weight decay": (sgd(weight_decay=0.01), 0, True, False),
    "SGD + momentum, with history": (sgd(momentum=0.9), STEPS, True, True),
    "Adam, with history": (adam(), STEPS, True, True),
    "Adam + L2, fresh": (adam(weight_decay=0.01), 0, True, False),
    "AdamW, fresh": (adam(torch.optim.AdamW), 0, True, False),
    "AdamW, with history": (adam(torch.optim.AdamW), STEPS, True, True),
}
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(STEPS, 64, 40, generator=GENERATOR)
Y = torch.randint(4, (STEPS, 64), generator=GENERATOR)
MASK = (torch.randperm(1600, generator=GENERATOR) >= PRUNED).view(40, 40)
WAYS = ("hook", "zeroed", "masked", "remasked")


class Trial:
    """One way of pruning, trained: the values at the start and the end, and what was seen at the pruned positions."""

    def __init__(self, row: str, way: str):
        make, history, _, _ = ROWS[row]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            net = nn.Sequential(nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 4))  # tanh: no unit is ever dead
        optimizer = make(net.parameters())
        for i in range(history):
            step(net, optimizer, i)
        optimizer.zero_grad()
        self.layer = layer = net[0]
        if way == "hook":
            prune.custom_from_mask(layer, "weight", MASK)
        else:
            layer.weight.data[~MASK] = 0
        stored = getattr(layer, "weight_orig", layer.weight)
        self.start, self.gradients, self.effective = stored.detach().clone(), [], []
        for i in range(STEPS):
            step(net, optimizer, i, lambda: self.look(way))
            if way == "remasked":
                layer.weight.data.mul_(MASK)
        self.stored = stored.detach()
        effective = self.stored * MASK if way == "hook" else self.stored
        self.weights = [effective, layer.bias.detach(), *(value.detach() for value in net[2].parameters())]

    def look(self, way: str) -> None:
        """After a backward pass, before the step."""
        if way == "hook":
            self.gradients.append(self.layer.weight_orig.grad.clone())
            self.effective.append(self.layer.weight.detach().clone())
        if way == "masked":
            self.layer.weight.grad.mul_(MASK)


def step(net: nn.Module, optimizer: torch.optim.Optimizer, i: int, look=lambda: None) -> None:
    loss = F.cross_entropy(net(X[i]), Y[i])
    optimizer.zero_grad()
    loss.backward()
    look()
    optimizer.step()


@cache
def trial(row: str, way: str) -> Trial:
    return Trial(row, way)


def test_the_mask_prunes_eight_hundred():
    assert (~MASK).sum() == PRUNED and len(ROWS) == 9


@pytest.mark.parametrize("row", ROWS)
def test_whether_the_stored_weight_moves(row):
    found = trial(row, "hook")
    moved = (found.stored - found.start)[~MASK].abs()
    if ROWS[row][2]:
        assert moved.max() > 1e-4 and (moved > 0).sum() == PRUNED
    else:
        assert torch.equal(found.stored[~MASK], found.start[~MASK])
    assert (found.stored - found.start)[MASK].abs().min() > 0, "what is kept trains"


@pytest.mark.parametrize("row, shrinks", [("SGD + weight decay", 1 - 0.05 * 0.01), ("AdamW, fresh", 1 - 0.01 * 0.01)])
def test_decay_alone_moves_the_stored_weight_where_there_is_no_history(row, shrinks):
    found = trial(row, "hook")
    assert torch.allclose(found.stored[~MASK], found.start[~MASK] * shrinks**STEPS, rtol=1e-5)


@pytest.mark.parametrize("row", ROWS)
def test_gradient_and_effective_weight_are_zero_at_pruned_positions(row):
    found = trial(row, "hook")
    assert len(found.gradients) == len(found.effective) == STEPS
    for gradient, effective in zip(found.gradients, found.effective, strict=True):
        assert not gradient[~MASK].any() and not effective[~MASK].any()
        assert gradient[MASK].any() and effective[MASK].all()
    assert found.start[~MASK].all(), "the stored values are not zero: the product is"


@pytest.mark.parametrize("row", ROWS)
def test_weights_zeroed_once_all_revive(row):
    found = trial(row, "zeroed")
    assert not found.start[~MASK].any() and (found.stored[~MASK] != 0).sum() == PRUNED


@pytest.mark.parametrize("row", ROWS)
def test_whether_masking_the_gradients_keeps_zeroed_weights_at_zero(row):
    revived = (trial(row, "masked").stored[~MASK] != 0).sum()
    assert revived == (PRUNED if ROWS[row][3] else 0)


@pytest.mark.parametrize("row", ROWS)
def test_masking_again_after_each_step_equals_the_hook_bit_for_bit(row):
    hook, again = trial(row, "hook"), trial(row, "remasked")
    assert not torch.equal(hook.weights[0], hook.start * MASK)
    for a, b in zip(hook.weights, again.weights, strict=True):
        assert torch.equal(a, b)


def test_the_gradient_of_the_product_is_not_zero_where_that_of_the_stored_weight_is():
    layer = nn.Linear(40, 40)
    prune.custom_from_mask(layer, "weight", MASK)
    loss = F.cross_entropy(layer(X[0]), Y[0])
    layer.weight.retain_grad()
    loss.backward()
    assert (layer.weight.grad[~MASK] != 0).all()
    assert not layer.weight_orig.grad[~MASK].any()
    assert torch.equal(layer.weight_orig.grad, layer.weight.grad * MASK)
