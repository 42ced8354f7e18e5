"""Criteria that need derivatives: of the loss, of its gradient's norm, of the logits, or of the network's own output.

All of them differentiate `Network.forward` with autograd, one replicate after another, so that one graph at a time is
in memory and a replicate gives what it gives alone.  Initial weights are effective ones: 0 where the evidence's masks
prune.  Training images come in batches of `BATCH`, in an order drawn from the evidence's generators.  No step is taken.

SNIP, GraSP and SynFlow as published rank all layers together, `scope="global"`; with "layer" they order each layer.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps

import torch
from torch import Tensor
from torch.nn import functional as F

from lthkit.criteria.evidence import Evidence
from lthkit.masks import prune
from lthkit.stacks import Masks, Params, cut, join

BATCH = 60
COPIES, NUMBERS = 16, 2**24  # for `fisher`: images that get a replicate each, and numbers that these may fill together
STEPS, LOWEST = 100, 1e-3  # SynFlow's pruning steps (Tanaka et al. 2020), and the share kept after them
TEMPERATURE = 200  # of the softmax in GraSP's loss, as in its authors' code, not in the paper


def _alone(score: Callable[[Evidence], Params]) -> Callable[[Evidence], Params]:
    """Score each replicate alone, from effective initial weights, with images of the parameters' dtype and device."""

    @wraps(score)
    @torch.enable_grad()
    def criterion(evidence: Evidence) -> Params:
        if evidence.network is None or evidence.data is None:
            missing = "network" if evidence.network is None else "data"
            raise ValueError(f"{score.__name__} needs a gradient, but the evidence has no {missing}: pass one")
        try:
            scores = [score(one) for one in _replicates(evidence)]
        except RuntimeError as error:
            raise ValueError(f"{score.__name__} cannot differentiate {evidence.network.name}: {error}") from error
        return join(scores)

    return criterion


def _replicates(evidence: Evidence) -> Iterator[Evidence]:
    like = evidence.initial[next(iter(evidence.masks))]
    data = evidence.data.to(device=like.device, dtype=like.dtype)
    for k, generator in enumerate(evidence.generators):
        one = slice(k, k + 1)
        initial, final, masks = (cut(part, one) for part in (evidence.initial, evidence.final, evidence.masks))
        initial |= {name: initial[name].masked_fill(~mask, 0) for name, mask in masks.items()}
        # cloned: a forward in training mode writes into its buffers
        initial |= {name: initial[name].clone() for name in evidence.network.buffers}
        yield replace(evidence, initial=initial, final=final, masks=masks, data=data, generators=[generator])


@_alone
def gradient(one: Evidence) -> Params:
    """The accumulated gradient at the initial weights: the sum over the training batches of |∂L/∂wi|."""
    return _total(one, _batches(one), lambda value, share: value.abs())


@_alone
def snip(one: Evidence) -> Params:
    """|g · wi|, g the gradient of the mean loss over all training images (Lee et al. 2019)."""
    g = _total(one, _batches(one), torch.mul)
    return {name: (value * one.initial[name]).abs() for name, value in g.items()}


@_alone
def grasp(one: Evidence) -> Params:
    """wi · (Hg): the first-order share of each weight in the gradient flow ‖g‖² (Wang et al. 2020).

    g is the gradient of the mean loss over all training images by the alive weights, H its Hessian.  The paper
    removes the highest −wi · (Hg).  The loss has its logits divided by `TEMPERATURE`.  The softmax is then nearly even,
    and H holds little of how a weight shifts it: without the division far worse weights are kept.
    """
    batches = _batches(one)
    total = _total(one, batches, torch.mul, TEMPERATURE)
    g = {name: value * one.masks[name] for name, value in total.items()}
    product = {name: torch.zeros_like(value) for name, value in g.items()}
    for x, y in batches:
        leaves, by_batch = _gradient(one, x, y, TEMPERATURE, create_graph=True)
        flow = sum((g[name] * by_batch[name]).sum() for name in g)
        # No zeros for what autograd cannot reach: a function that is differentiable once would give them all.
        for name, value in zip(leaves, torch.autograd.grad(flow, list(leaves.values())), strict=True):
            product[name] += value * (y.shape[1] / len(one.data.train_y))
    return {name: value * one.initial[name] for name, value in product.items()}


@_alone
def fisher(one: Evidence) -> Params:
    """½ · F · wf², F the diagonal of the Fisher matrix at the trained weights (LeCun et al. 1990, F for the Hessian).

    F is the *true* Fisher matrix, with labels as the network predicts them, not the empirical one of the real labels:
    its diagonal is that of the Gauss-Newton matrix, for ReLU networks that of the Hessian itself, which real labels
    miss by far once they are fitted (Kunstner et al. 2019).  The mean over labels is taken along one random direction
    of the logits for each image, v = e·√p − p·Σ(e·√p) with signs e and the softmax p, as E[v vᵀ] = diag(p) − p pᵀ.
    """
    total = {name: torch.zeros_like(one.final[name]) for name in one.masks}
    images = one.data.train_x
    size = max(1, min(COPIES, NUMBERS // sum(value.numel() for value in total.values())))
    for x in images.split(size):
        copies = {name: value.expand(len(x), *value.shape[1:]) for name, value in one.final.items()}
        leaves, params = _leaves(copies, one.masks)
        logits = one.network.forward(params, x[:, None])[:, 0]  # [B, classes]
        p = logits.detach().softmax(-1)
        v = p.sqrt() * (torch.randint(0, 2, p.shape, generator=one.generators[0]).to(p) * 2 - 1)
        v = v - p * v.sum(-1, keepdim=True)
        for name, value in zip(leaves, _differentiate((v * logits).sum(), leaves), strict=True):
            total[name] += value.square().sum(0)
    return {name: value * one.final[name].square() / (2 * len(images)) for name, value in total.items()}


@_alone
def synflow(one: Evidence) -> Params:
    """The order in which iterative SynFlow removes the weights (Tanaka et al. 2020); no images, no labels.

    Its synaptic flow |w · ∂R/∂w|, R the sum of the logits of the network with |w| for an image of ones, must be
    computed anew after each small step.  So `STEPS` steps are taken here, each removing the same share of the weights
    left, from all layers together; the score is the step that removes a weight, plus its place within that step.  A
    mask at any rate, pruned with scope="global", is then the mask of an iteration that stops there.  In float64: R
    overflows early.
    """
    flow = _synaptic_flow(one, alive := one.masks)
    scores = {name: torch.zeros_like(value) for name, value in flow.items()}
    for step in range(STEPS + 1):
        rate = 1 - LOWEST ** (1 / STEPS) if step < STEPS else 1.0
        left = prune(flow, alive, rate, "global", one.generators)
        gone = {name: mask & ~left[name] for name, mask in alive.items()}
        values = torch.cat([flow[name][mask] for name, mask in gone.items()]).sort().values
        for name, mask in gone.items():
            scores[name][mask] = step + torch.searchsorted(values, flow[name][mask]).double() / max(1, len(values))
        flow = _synaptic_flow(one, alive := left)
    return scores


def _batches(one: Evidence) -> list[tuple[Tensor, Tensor]]:
    """All training images once: x [1, B, C, H, W], y [1, B]."""
    order = torch.randperm(len(one.data.train_y), generator=one.generators[0]).to(one.data.train_x.device)
    return [(one.data.train_x[chosen][None], one.data.train_y[chosen][None]) for chosen in order.split(BATCH)]


def _leaves(params: Params, names) -> tuple[Params, Params]:
    """(leaves to differentiate by, all parameters with these leaves among them)."""
    leaves = {name: params[name].detach().requires_grad_() for name in names}
    return leaves, params | leaves


def _differentiate(value: Tensor, leaves: Params, create_graph: bool = False) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value, list(leaves.values()), create_graph=create_graph, materialize_grads=True)


def _gradient(one: Evidence, x: Tensor, y: Tensor, temperature: float, create_graph=False) -> tuple[Params, Params]:
    """(leaves, gradient by them) of the mean cross-entropy of a batch, its logits divided by the temperature."""
    leaves, params = _leaves(one.initial, one.masks)
    loss = F.cross_entropy(one.network.forward(params, x, training=True)[0] / temperature, y[0])
    return leaves, dict(zip(leaves, _differentiate(loss, leaves, create_graph), strict=True))


def _total(one: Evidence, batches, term: Callable[[Tensor, float], Tensor], temperature: float = 1) -> Params:
    """Sum over the batches of term(gradient, share of the images in this batch); with `torch.mul` the mean gradient."""
    total = {name: torch.zeros_like(one.initial[name]) for name in one.masks}
    for x, y in batches:
        for name, value in _gradient(one, x, y, temperature)[1].items():
            total[name] += term(value, y.shape[1] / len(one.data.train_y))
    return total


def _synaptic_flow(one: Evidence, alive: Masks) -> Params:
    network = one.network
    params = {name: v.double() if v.is_floating_point() else v for name, v in one.initial.items()}
    params |= {name: params[name].abs() for name in network.shapes if name not in network.buffers}
    leaves, params = _leaves(params | {name: params[name] * mask for name, mask in alive.items()}, alive)
    total = network.forward(params, one.data.train_x.new_ones(1, *one.data.image_shape).double()).sum()
    return {n: (v * leaves[n].detach()).abs() for n, v in zip(leaves, _differentiate(total, leaves), strict=True)}
