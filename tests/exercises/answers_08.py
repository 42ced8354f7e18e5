"""Answers to the tasks of chapter 08 as readers write them: wrong ones with the hint each must meet, and right ones."""

from collections import Counter

import numpy as np
import torch

# Wrong


def forgets_the_sign(initial, trained, keep):
    best = torch.topk(trained.abs().flatten(), keep).indices
    return torch.zeros(trained.numel(), dtype=torch.bool).scatter(0, best, True).view_as(trained)


def largest_first_values(initial, trained, keep):
    best = torch.topk(initial.abs().flatten(), keep).indices
    return torch.zeros(trained.numel(), dtype=torch.bool).scatter(0, best, True).view_as(trained)


def keeps_the_flipped(initial, trained, keep):
    size = torch.where(initial.sign() == trained.sign(), -1.0, trained.abs())
    best = size.flatten().argsort(descending=True)[:keep]
    return torch.zeros(trained.numel(), dtype=torch.bool).scatter(0, best, True).view_as(trained)


def cuts_afterwards(initial, trained, keep):
    return forgets_the_sign(initial, trained, keep) & ~(initial * trained < 0)


def smallest(initial, trained, keep):
    size = torch.where(initial * trained < 0, torch.inf, trained.abs())
    best = size.flatten().argsort()[:keep]
    return torch.zeros(trained.numel(), dtype=torch.bool).scatter(0, best, True).view_as(trained)


def all_unflipped(initial, trained, keep):
    return ~(initial * trained < 0)


def positions(initial, trained, keep):
    return with_loops(initial, trained, keep).flatten().nonzero()


def trained_everything(initial, trained, mask):
    return torch.where(mask, torch.sign(trained) * np.std(trained.numpy()).item(), 0.0)


def trained_weights(initial, trained, mask):
    return torch.where(mask, trained, torch.zeros(()))


def sign_of_trained(initial, trained, mask):
    return torch.where(mask, torch.copysign(initial.std(unbiased=False), trained), torch.zeros(()))


def size_of_trained(initial, trained, mask):
    return torch.where(mask, torch.copysign(trained.std(unbiased=False), initial), torch.zeros(()))


def own_values(initial, trained, mask):
    return initial.clone().masked_fill(~mask, 0)


def spread_of_kept(initial, trained, mask):
    return initial.sign() * mask * initial[mask].std(unbiased=False)


def divides_by_n_minus_1(initial, trained, mask):
    return torch.std(initial) * torch.sign(initial) * mask


def without_mask(initial, trained, mask):
    return torch.sign(initial) * initial.var(unbiased=False).sqrt()


def no_sign(initial, trained, mask):
    return initial.std(unbiased=False) * mask


def one_over_classes(labels):
    return 1.0 / len(set(labels.tolist()))


def a_tenth(labels):
    return 1 / 10


def percent(labels):
    return 100 * max(Counter(labels.tolist()).values()) / len(labels)


def in_proportion(labels):
    shares = np.bincount(labels.numpy()) / len(labels)
    return float(np.sum(shares * shares))


def the_label(labels):
    return Counter(sorted(labels.tolist())).most_common(1)[0][0]


def rarest(labels):
    return min(Counter(labels.tolist()).values()) / (2 * len(labels))


# Right


def with_loops(initial, trained, keep):
    flat = [
        (-abs(t), i)
        for i, (w, t) in enumerate(zip(initial.flatten().tolist(), trained.flatten().tolist()))
        if w * t >= 0
    ]
    mask = torch.zeros(initial.numel(), dtype=torch.bool)
    for _, i in sorted(flat)[:keep]:
        mask[i] = True
    return mask.reshape(initial.shape)


def with_infinity(initial, trained, keep):
    score = np.where(initial.numpy() * trained.numpy() < 0, -np.inf, np.abs(trained.numpy()))
    mask = np.zeros(score.size, dtype=bool)
    mask[np.argsort(-score, axis=None, kind="stable")[:keep]] = True
    return torch.from_numpy(mask.reshape(score.shape))


def with_copysign(initial, trained, mask):
    return torch.where(mask, torch.copysign(initial.std(unbiased=False), initial), torch.zeros(()))


def in_numpy(initial, trained, mask):
    return np.sign(initial.numpy()) * initial.numpy().std() * mask.numpy()


def counted(labels):
    return max(Counter(labels.tolist()).values()) / len(labels)


def as_tensor(labels):
    return (labels == labels.mode().values).double().mean()


def fuzz_layers(rng):
    cases = []
    for _ in range(50):
        shape = tuple(rng.integers(1, 7, size=2))
        initial = torch.from_numpy(rng.normal(size=shape).astype("float32"))
        trained = torch.from_numpy(np.round(rng.normal(size=shape)).astype("float32"))
        cases.append((initial, trained, int(rng.integers(0, int((initial * trained >= 0).sum()) + 1))))
    return cases


def fuzz_masks(rng):
    cases = []
    for _ in range(50):
        shape = tuple(rng.integers(1, 7, size=2))
        initial, trained = (torch.from_numpy(rng.normal(size=shape).astype("float32")) for _ in range(2))
        cases.append((initial, trained, torch.from_numpy(rng.random(shape) < 0.6)))
    return cases


def fuzz_labels(rng):
    return [(torch.from_numpy(rng.integers(0, rng.integers(1, 12), size=rng.integers(1, 60))),) for _ in range(50)]


def decided(answers):
    return dict(zip("ABCD", answers.split(", "), strict=True))


WRONG = {
    "8.0": [(101, "from 0 to 100"), (-1, "from 0 to 100"), ("half", "one number"), (True, "one number")],
    "8.1": [(forgets_the_sign, "sign is not looked at"), (largest_first_values, "by the first value"),
            (keeps_the_flipped, "other way round"), (cuts_afterwards, "before you count"),
            (smallest, "keep the smallest"),
            (all_unflipped, "are kept, not"), (positions, "of the shape")],
    "8.2": [(trained_everything, "signs and the size still"), (trained_weights, "trained weights under a mask"),
            (sign_of_trained, "signs still come"), (size_of_trained, "size still comes"),
            (own_values, "first values themselves"),
            (spread_of_kept, "not from the kept"), (divides_by_n_minus_1, "divides by n"), (without_mask, "must be 0"),
            (no_sign, "other values")],
    "8.3": [(one_over_classes, "equally frequent"), (a_tenth, "count the labels"), (percent, "not percent"),
            (in_proportion, "in proportion"), (the_label, "the most frequent class"), (rarest, "other values")],
    "8.4": [(decided("training, initial draw, training, validation"), "A: It is"),
            (decided("initial draw, training, training, validation"), "B: A signed"),
            (decided("initial draw, initial draw, initial draw, validation"), "C: The criterion"),
            (decided("initial draw, initial draw, training, training"), "D: Several"),
            (decided("yes, initial draw, training, training"), "not 'yes'"), (["training"], "keys 'A'")],
}  # fmt: skip
RIGHT = {
    "8.0": [80, 12.5, np.float32(70)],
    "8.1": [with_loops, with_infinity],
    "8.2": [with_copysign, in_numpy],
    "8.3": [counted, as_tensor],
    "8.4": [decided("initial draw, initial draw, training, validation")],
}
FUZZ = {"8.1": fuzz_layers, "8.2": fuzz_masks, "8.3": fuzz_labels}
