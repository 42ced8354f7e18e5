"""Answers to the tasks of chapter 09 as readers write them: wrong ones with the hint each must meet, and right ones."""

import numpy as np
import torch

# Wrong


def soft_mask(weight, logits, noise):
    return torch.sigmoid(logits) * weight


def only_drawn(weight, logits, noise):
    return torch.where(noise < torch.sigmoid(logits), weight, torch.zeros(()))


def crumbs(weight, logits, noise):
    p = torch.sigmoid(logits)
    b = torch.lt(noise, p).float()
    return weight * ((b + p) - p.detach())


def other_way_round(weight, logits, noise):
    p = torch.sigmoid(logits)
    b = 1 - (noise < p).float()
    return (b + (p - p.detach())) * weight


def by_threshold(weight, logits, noise):
    p = torch.sigmoid(logits)
    b = (logits > 0).float()
    return (b + (p - p.detach())) * weight


def without_sigmoid(weight, logits, noise):
    b = (noise < logits).float()
    return (b + (logits - logits.detach())) * weight


def gradient_of_logits(weight, logits, noise):
    b = (noise < torch.sigmoid(logits)).float()
    return (b + (logits - logits.detach())) * weight


def mask_alone(weight, logits, noise):
    p = torch.sigmoid(logits)
    return (noise < p).float() + (p - p.detach())


def of_a_copy(weight, logits, noise):
    return good_gate(weight, logits.detach().requires_grad_(), noise)


def good_gate(weight, logits, noise):
    p = torch.sigmoid(logits)
    return weight * ((noise < p).float() + (p - p.detach()))


def shrinks(weight, mask):
    return (weight * mask) * mask.mean()


def by_rows(weight, mask):
    return weight * mask * len(mask) / max(1.0, mask.sum().item())


def not_rescaled(weight, mask):
    return torch.where(mask.bool(), weight, torch.zeros(()))


def scaled_everything(weight, mask):
    return weight * mask.numel() / max(1.0, mask.sum().item())


def with_root(weight, mask):
    return weight * mask * (mask.numel() / max(1.0, mask.sum().item())) ** 0.5


def divides_by_zero(weight, mask):
    return (weight * mask) / mask.mean()


def mean_logit(logits, noise):
    p = 1 / (1 + (-logits).exp())
    return [logits.mean().item(), (noise < p).float().mean().item(), (p > 0.5).float().mean().item()]


def swapped(logits, noise):
    p = 1 / (1 + (-logits).exp())
    return p.mean().item(), (p > 0.5).float().mean().item(), (noise < p).float().mean().item()


def shares_pruned(logits, noise):
    p = 1 / (1 + (-logits).exp())
    return 1 - p.mean().item(), (noise >= p).float().mean().item(), (p <= 0.5).float().mean().item()


def counts(logits, noise):
    p = torch.sigmoid(logits)
    return p.sum(), (noise < p).sum(), (p > 0.5).sum()


def half_on_the_logit(logits, noise):
    p = torch.sigmoid(logits)
    return p.mean(), torch.lt(noise, p).float().mean(), torch.gt(logits, 0.5).float().mean()


def only_two(logits, noise):
    p = torch.sigmoid(logits)
    return p.mean(), (p > 0.5).float().mean()


# Right


def with_where(weight, logits, noise):
    p = torch.sigmoid(logits)
    return torch.where(noise < p, 1.0, 0.0) * weight + weight * (p - p.detach())


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(context, p, noise):
        return (noise < p).float()

    @staticmethod
    def backward(context, gradient):
        return gradient, None


def own_function(weight, logits, noise):
    return weight * Straight.apply(logits.sigmoid(), noise)


def divides(weight, mask):
    share = mask.mean()
    return torch.zeros_like(weight) if share == 0 else weight * mask / share


def in_numpy(weight, mask):
    kept = np.maximum(mask.numpy().sum(), 1)
    return np.where(mask.numpy() > 0, weight.numpy() * mask.numel() / kept, 0)


def as_floats(logits, noise):
    p = 1 / (1 + np.exp(-logits.numpy().astype(float)))
    return [float(p.mean()), float((noise.numpy() < p).mean()), float((p > 0.5).mean())]


def counted(logits, noise):
    p = torch.sigmoid(logits)
    kept = torch.stack([p.sum(), (noise < p).sum().float(), (logits > 0).sum().float()])
    return kept / p.numel()


def fuzz_gates(rng):
    cases = []
    for _ in range(50):
        shape = tuple(rng.integers(1, 6, size=2))
        weight, logits = (torch.from_numpy((rng.normal(size=shape) * s).astype("float32")) for s in (1, 3))
        cases.append(
            (weight, logits.requires_grad_(), torch.from_numpy(rng.uniform(0.01, 0.99, shape).astype("float32")))
        )
    return cases


def fuzz_masks(rng):
    cases = []
    for _ in range(50):
        shape = tuple(rng.integers(1, 6, size=2))
        weight = torch.from_numpy(rng.normal(size=shape).astype("float32"))
        cases.append((weight, torch.from_numpy((rng.random(shape) < rng.random()).astype("float32"))))
    return cases


def fuzz_logits(rng):
    cases = []
    for _ in range(50):
        shape = tuple(rng.integers(1, 6, size=2))
        logits = np.round(rng.normal(size=shape) * 2).astype("float32")
        cases.append((torch.from_numpy(logits), torch.from_numpy(rng.uniform(0.01, 0.99, shape).astype("float32"))))
    return cases


def said(answers):
    return dict(zip("ABCD", answers, strict=True))


WRONG = {
    "9.0": [(110, "from 0 to 100"), (-5, "from 0 to 100"), ("95", "one number"), (True, "one number")],
    "9.1": [(soft_mask, "a soft mask"), (only_drawn, "No gradient"), (crumbs, "last digits"),
            (other_way_round, "other way round"),
            (by_threshold, "not drawn"), (without_sigmoid, "sigmoid is missing"),
            (gradient_of_logits, "sigmoid is missing"),
            (mask_alone, "other values"), (of_a_copy, "No gradient")],
    "9.2": [(shrinks, "upside down"), (by_rows, "not its rows"), (not_rescaled, "factor is missing"),
            (scaled_everything, "stay 0"), (with_root, "without a root"), (divides_by_zero, "gives NaN")],
    "9.3": [(mean_logit, "mean of the logits"), (swapped, "are swapped"), (shares_pruned, "shares pruned"),
            (counts, "are counts"), (half_on_the_logit, "would be 0"), (only_two, "not 3 values")],
    "9.4": [(said([False, False, False, True]), "A: The weights"), (said([True, True, False, True]), "B: There is"),
            (said([True, False, True, True]), "C: It is"), (said([True, False, False, False]), "D: A learned"),
            (said(["yes", False, False, False]), "not 'yes'"), (True, "keys 'A'")],
}  # fmt: skip
RIGHT = {
    "9.0": [30, 95.5, np.int32(40)],
    "9.1": [with_where, own_function],
    "9.2": [divides, in_numpy],
    "9.3": [as_floats, counted],
    "9.4": [said([True, False, False, True]), said(list(np.array([True, False, False, True])))],
}
FUZZ = {"9.1": fuzz_gates, "9.2": fuzz_masks, "9.3": fuzz_logits}
