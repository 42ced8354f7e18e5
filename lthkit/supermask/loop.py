"""Stacks of replicates whose masks are learned."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from lthkit.data import Dataset
from lthkit.loop import batches_of, evaluate, flatten
from lthkit.masks import Params
from lthkit.networks import Network
from lthkit.optimizers import Optimizer
from lthkit.streams import streams
from lthkit.supermask.gates import Bernoulli, TopK
from lthkit.threads import in_parts

LEARNING, CHECKING, DRAWING = 0, 1, 2  # rounds of the "sample" streams; draw k of a learned mask is DRAWING + k


@dataclass(frozen=True)
class Plan:
    """The settings that all stacks share.  gate: makes the gate from the numbers that a stack starts from."""

    network: Network
    data: Dataset
    gate: Callable[[Params], Bernoulli | TopK]
    rescale: bool
    total: int
    batch_size: int
    eval_every: int
    snapshot_at: set[int]
    optimizer: str
    lr: float
    momentum: float


@dataclass(frozen=True)
class Check:
    """What was measured after `iteration`: [R] each.  shares: those of the gate, {column: {name: [R]}}."""

    iteration: int
    columns: dict[str, Tensor]
    shares: dict[str, Params]


@dataclass(frozen=True)
class Found:
    """What a stack brings home: the learned numbers, the network's buffers, checks, snapshots of the probabilities."""

    learned: Params
    buffers: Params
    checks: list[Check]
    snapshots: dict[int, Params]


def learn_part(plan: Plan, weights: Params, start: Params, seeds: list[int], tick: Callable[[], bool]) -> Found:
    """Learn the numbers that `start` begins with; tick: called after each iteration, gives up where it returns False."""
    network, data = plan.network, plan.data
    gate = plan.gate(start)
    flat_grads, grads = flatten(start)
    flat_masked, masked = flatten(start)  # a drawn mask, then the effective weight that it makes
    layers = Layers(weights, masked, grads, plan.rescale, gate.varies)
    buffers = {name: weights[name].clone() for name in network.buffers}
    params = {name: masked.get(name, buffers.get(name, weights[name])) for name in network.shapes}
    # The gradients of what stays frozen are written somewhere, too.
    others = {n: torch.empty_like(weights[n]) for n in network.shapes if n not in grads and n not in buffers}
    differentiate = network.differentiator(params, grads | others)
    take_step = Optimizer(plan.optimizer, gate.flat, flat_grads, momentum=plan.momentum)
    batches = batches_of(data, streams(seeds, "batches"), plan.batch_size)
    generators, check_generators = streams(seeds, "sample", LEARNING), streams(seeds, "sample", CHECKING)

    checks: list[Check] = []
    snapshots: dict[int, Params] = {}
    running, since = flat_grads.new_zeros(len(seeds)), 0
    for i in range(plan.total + 1):
        if i % plan.eval_every == 0 or i == plan.total:
            gate.draw(masked, grads, check_generators)
            shares = gate.shares(masked, grads)
            layers.forward()
            accuracies = {
                f"{part}_accuracy": evaluate(network, params, x, y, chunk=plan.batch_size)[1]
                for part, x, y in (("val", data.val_x, data.val_y), ("test", data.test_x, data.test_y))
            }
            loss = running / since if since else running * math.nan
            checks.append(Check(i, {"train_loss": loss, **accuracies}, shares))
            running, since = torch.zeros_like(running), 0
        if i in plan.snapshot_at:
            snapshots[i] = gate.values()
        if i == plan.total:
            break
        gate.draw(masked, grads, generators)
        layers.forward()
        running += differentiate(*next(batches))
        since += 1
        layers.backward()
        gate.backward(flat_grads, flat_masked)
        take_step(plan.lr)
        if not tick():
            break
    return Found(gate.values(), buffers, checks, snapshots)


class Layers:
    """mask → effective weight and back, in place, layer by layer.

    With factor s = size / sum(mask) the effective weight is w · mask · s.  Where the sum varies, the gradient flows
    through the factor too: dL/dmask_i = s · (w_i · g_i − mean of g · effective weight over the layer), g being
    dL/d(effective weight), as ds/dmask_i is −s / sum(mask).  A layer that keeps nothing has the factor of one kept
    weight, and no gradient by it.
    """

    def __init__(self, weights: Params, masked: Params, grads: Params, rescale: bool, varies: bool):
        self.layers = [(weights[name].flatten(1), masked[name].flatten(1), grads[name].flatten(1)) for name in masked]
        self.rescale, self.varies = rescale, rescale and varies
        self.factors: list[Tensor] = []

    def forward(self) -> None:
        """Turn masks into effective weights."""
        self.factors = []
        for weight, mask, _ in self.layers:
            if self.rescale:
                self.factors.append(mask.shape[1] / mask.sum(1, keepdim=True).clamp_(min=1))  # [R, 1]
            mask.mul_(weight)
            if self.rescale:
                mask.mul_(self.factors[-1])

    def backward(self) -> None:
        """Turn dL/d(effective weight) into dL/dmask."""
        for i, (weight, effective, grad) in enumerate(self.layers):
            if self.varies:
                pull = torch.linalg.vecdot(grad, effective).div_(grad.shape[1]).unsqueeze(1)  # [R, 1]
            grad.mul_(weight)
            if self.varies:
                grad.sub_(pull)
            if self.rescale:
                grad.mul_(self.factors[i])


def learn_in_parts(plan: Plan, weights: Params, start: Params, seeds: list[int]) -> Found:
    """All replicates, in as many parts as there are threads to use."""

    def part(cut: slice, tick: Callable[[], bool]) -> Found:
        own = [{name: value[cut] for name, value in tensors.items()} for tensors in (weights, start)]
        return learn_part(plan, *own, seeds[cut], tick)

    with tqdm(total=plan.total, desc="learning masks", unit=" steps", leave=False, delay=2) as bar:
        return _joined(in_parts(part, plan.network, len(seeds), next(iter(start.values())).is_cpu, bar))


def _joined(parts: list[Found]) -> Found:
    checks = [
        Check(
            each[0].iteration,
            _cat([check.columns for check in each]),
            {column: _cat([check.shares[column] for check in each]) for column in each[0].shares},
        )
        for each in zip(*(part.checks for part in parts), strict=True)
    ]
    snapshots = {i: _cat([part.snapshots[i] for part in parts]) for i in parts[0].snapshots}
    return Found(_cat([part.learned for part in parts]), _cat([part.buffers for part in parts]), checks, snapshots)


def _cat(parts: Iterable[Params]) -> Params:
    parts = list(parts)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
