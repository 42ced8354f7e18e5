"""Answers to the tasks of chapter 01 as readers write them: wrong ones with the hint each must meet, and right ones."""

import math

import numpy as np
import torch

# Wrong


def by_value(weights, mask, rate):
    indices = torch.where(mask.flatten())[0]
    values, order = torch.sort(weights.flatten()[indices])
    result = mask.clone().flatten()
    result[indices[order[: round(rate * len(values))]]] = False
    return result.reshape(mask.shape)


def truncates(weights, mask, rate):
    n = int(rate * mask.sum().item())
    flat = [(abs(w), i) for i, (w, m) in enumerate(zip(weights.flatten().tolist(), mask.flatten().tolist())) if m]
    result = mask.flatten().clone()
    for _, i in sorted(flat)[:n]:
        result[i] = False
    return result.view_as(mask)


def by_threshold(weights, mask, rate):
    n = round(rate * int(mask.sum()))
    if n == 0:
        return mask.clone()
    threshold = torch.kthvalue(weights.abs()[mask], n).values
    return (weights.abs() > threshold) & mask


def counts_all(weights, mask, rate):
    n = min(round(rate * weights.numel()), int(mask.sum()))
    size = weights.abs().masked_fill(~mask, torch.inf)
    result = mask.clone()
    result.view(-1)[size.view(-1).argsort()[:n]] = False
    return result


def ranks_the_dead(weights, mask, rate):
    n = round(rate * int(mask.sum()))
    result = mask.clone()
    result.view(-1)[torch.argsort((weights * mask).abs().view(-1))[:n]] = False
    return result


def largest_go(weights, mask, rate):
    n = round(rate * int(mask.sum()))
    size = weights.abs().masked_fill(~mask, -1)
    result = mask.clone()
    result.view(-1)[size.view(-1).argsort(descending=True)[:n]] = False
    return result


def forgets_the_mask(weights, mask, rate):
    n = round(rate * weights.numel())
    result = torch.ones_like(mask)
    result.view(-1)[weights.abs().view(-1).argsort()[:n]] = False
    return result


def in_place(weights, mask, rate):
    size = weights.abs().masked_fill(~mask, torch.inf)
    mask.view(-1)[size.view(-1).argsort()[: round(rate * int(mask.sum()))]] = False
    return mask


def float_mask(weights, mask, rate):
    return sorts_with_numpy(weights, mask, rate).float()


def returns_weights(weights, mask, rate):
    return weights * sorts_with_numpy(weights, mask, rate)


def flat_mask(weights, mask, rate):
    return sorts_with_numpy(weights, mask, rate).flatten()


def no_return(weights, mask, rate):
    sorts_with_numpy(weights, mask, rate)


def percentile_of_all(weights, mask, rate):
    w = (weights * mask).abs()
    return (w > torch.quantile(w.double(), rate)) & mask


def percentile_of_values(weights, mask, rate):
    alive = weights[mask].double()
    return (weights > torch.quantile(alive, rate)) & mask


def percentile_in_shares(weights, mask, rate):
    alive = weights.abs()[mask].numpy()
    return mask & (weights.abs() > float(np.percentile(alive, rate)))


def percentile_revives(weights, mask, rate):
    w = weights.abs()
    return w > torch.quantile(w.double(), rate)


def percentile_from_above(weights, mask, rate):
    w = weights.abs()
    return mask & (w < torch.quantile(w[mask].double(), 1 - rate))


def above_zero(weights, mask, rate):
    size = (weights * mask).abs()
    return mask & (size > torch.quantile(size[size > 0].double(), rate))


def in_half_precision(weights, mask, rate):
    size = weights.abs().half().masked_fill(~mask, torch.inf)
    result = mask.clone()
    result.view(-1)[size.flatten().argsort()[: round(rate * int(mask.sum()))]] = False
    return result


def indexes_twice(weights, mask, rate):
    result = mask.clone()
    result[mask][weights[mask].abs().argsort()[: round(rate * int(mask.sum()))]] = False
    return result


def still_below(scores, keep):
    ordered = scores.flatten().sort(descending=True).values
    return scores >= ordered[keep] if keep < len(ordered) else scores >= ordered[-1]


def at_least_without_zero(scores, keep):
    return scores >= scores.flatten().sort(descending=True).values[keep - 1]


def strictly_above(scores, keep):
    if keep == scores.numel():
        return torch.ones_like(scores, dtype=torch.bool)
    return scores > torch.sort(scores.flatten(), descending=True)[0][keep]


def at_least(scores, keep):
    if keep == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    return scores >= torch.topk(scores.flatten(), keep).values[-1]


def lowest(scores, keep):
    chosen = scores.flatten().argsort()[:keep]
    return torch.zeros(scores.numel(), dtype=torch.bool).scatter(0, chosen, True).view_as(scores)


def one_too_many(scores, keep):
    chosen = scores.flatten().argsort(descending=True)[: keep + 1]
    return torch.zeros(scores.numel(), dtype=torch.bool).scatter(0, chosen, True).view_as(scores)


def keeps_positions(scores, keep):
    return scores.flatten().argsort(descending=True)[:keep]


# Right


def sorts_with_numpy(weights, mask, rate):
    size = np.where(mask.numpy(), np.abs(weights.numpy()), np.inf)
    n = round(rate * int(mask.sum()))
    result = mask.numpy().copy()
    result.ravel()[np.argsort(size, axis=None, kind="stable")[:n]] = False
    return torch.from_numpy(result)


def loops(weights, mask, rate):
    result = mask.clone()
    for _ in range(round(rate * mask.sum().item())):
        best, where = math.inf, None
        for i in range(weights.shape[0]):
            for j in range(weights.shape[1]):
                if result[i, j] and abs(weights[i, j].item()) < best:
                    best, where = abs(weights[i, j].item()), (i, j)
        result[where] = False
    return result


def topk_negative(weights, mask, rate):
    n = round(rate * int(mask.sum()))
    size = torch.where(mask, weights.abs(), torch.inf)
    result = mask.clone().flatten()
    result[torch.topk(size.flatten(), n, largest=False).indices] = False
    return result.reshape(weights.shape)


def quantile_of_alive(weights, mask, rate):
    size = weights.abs()
    return mask & (size > torch.quantile(size[mask].double(), rate))


def topk(scores, keep):
    mask = torch.zeros(scores.numel(), dtype=torch.bool)
    mask[torch.topk(scores.flatten(), keep).indices] = True
    return mask.reshape(scores.shape)


def ranked_with_numpy(scores, keep):
    ranks = np.empty(scores.numel(), dtype=int)
    ranks[np.argsort(-scores.numpy(), axis=None, kind="stable")] = np.arange(scores.numel())
    return ranks.reshape(scores.shape) < keep


def fuzz_rounds(rng):
    cases = []
    for _ in range(50):
        rows, columns = rng.integers(1, 7, size=2)
        weights = rng.normal(size=(rows, columns)) if rng.random() < 0.6 else rng.integers(-3, 4, size=(rows, columns))
        mask = torch.from_numpy(rng.random((rows, columns)) < rng.choice([0.3, 0.8, 1.0]))
        cases.append((torch.from_numpy(weights.astype("float32")), mask, float(rng.choice([0, 0.2, 0.29, 0.5, 1]))))
    return cases


def fuzz_scores(rng):
    cases = []
    for _ in range(50):
        rows, columns = rng.integers(1, 7, size=2)
        scores = rng.normal(size=(rows, columns)) if rng.random() < 0.5 else rng.integers(0, 3, size=(rows, columns))
        cases.append((torch.from_numpy(scores.astype("float32")), int(rng.integers(0, rows * columns + 1))))
    return cases


def saved(answers):
    return dict(zip("ABCDE", answers.split(", "), strict=True))


WRONG = {
    "1.0": [((400, 30), "three numbers"), ((4000, 30, 2), "cannot be left"), ((400, 130, 2), "no percentage"),
            ((400, 30, 0), "not possible"), (("many", 30, 2), "three numbers")],
    "1.1": [(by_value, "rank by value"), (truncates, "cuts off the fraction"), (by_threshold, "cuts through equal"),
            (counts_all, "not all of them"), (ranks_the_dead, "ranked too"), (largest_go, "remove the largest"),
            (forgets_the_mask, "came back"), (in_place, "`mask` in place"), (float_mask, "torch.float32"),
            (returns_weights, "not torch.bool"), (flat_mask, "of the shape"), (no_return, "`return` missing"),
            (in_half_precision, "while a smaller one stayed"), (indexes_twice, "writes into a copy")],
    "1.2": [(percentile_of_all, "still counts pruned"), (percentile_of_values, "rank by value"),
            (percentile_in_shares, "in percent"), (percentile_revives, "came back"),
            (percentile_from_above, "remove the largest"), (above_zero, "alive weights that are 0")],
    "1.3": [(strictly_above, "cuts through equal"), (at_least, "`>=` keeps"), (lowest, "keep the lowest"),
            (still_below, "One too many"), (at_least_without_zero, "`>=` keeps"),
            (one_too_many, "One too many"), (keeps_positions, "of the shape")],
    "1.4": [(saved("less, not less, not less, less, less"), "A: The weights"),
            (saved("not less, less, not less, less, less"), "B: A dense"),
            (saved("not less, not less, less, less, less"), "C: Adam"),
            (saved("not less, not less, not less, not less, less"), "D: This"),
            (saved("not less, not less, not less, less, not less"), "E: That"),
            (saved("yes, not less, not less, less, less"), "not 'yes'"), ("A", "keys 'A'")],
}  # fmt: skip
RIGHT = {
    "1.0": [(512, 50, 1), [0, 80.0, 10], (np.int64(512), np.float32(80), np.float64(1))],
    "1.1": [sorts_with_numpy, loops, topk_negative],
    "1.2": [quantile_of_alive, sorts_with_numpy, loops],
    "1.3": [topk, ranked_with_numpy],
    "1.4": [saved("not less, not less, not less, less, less")],
}
FUZZ = {"1.1": fuzz_rounds, "1.3": fuzz_scores}
