"""Answers to the tasks of chapter 10 as readers write them: wrong ones with the hint each must meet, and right ones."""

import numpy as np
import torch

# Wrong


def in_place(a, b, share):
    for name in a:
        a[name].add_(share * (b[name] - a[name]))
    return a


def shallow_copy(a, b, share):
    point = a.copy()
    for name in point:
        point[name] += share * (b[name] - point[name])
    return point


def wrong_way(a, b, share):
    return {name: share * a[name] + (1 - share) * b[name] for name in a}


def mean(a, b, share):
    return {name: (a[name] + b[name]) / 2 for name in a}


def difference(a, b, share):
    return {name: (b[name] - a[name]) * share for name in a}


def sum_of_both(a, b, share):
    return {name: a[name] + b[name] * share for name in a}


def weights_alone(a, b, share):
    return {"weight": torch.lerp(a["weight"], b["weight"], share)}


def list_of_tensors(a, b, share):
    return [torch.lerp(a[name], b[name], share) for name in a]


def only_the_rows(weight, bias, outgoing, order):
    return weight[order], bias[order], outgoing.clone()


def rows_everywhere(weight, bias, outgoing, order):
    return weight[order], bias[order], outgoing[order, :]


def back_again(weight, bias, outgoing, order):
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order))
    return weight[order], bias[order], outgoing[:, inverse]


def scattered(weight, bias, outgoing, order):
    moved = torch.zeros_like(weight), torch.zeros_like(bias), torch.zeros_like(outgoing)
    moved[0][order], moved[1][order], moved[2][:, order] = weight, bias, outgoing
    return moved


def bias_stays(weight, bias, outgoing, order):
    return weight.index_select(0, order), bias, outgoing.index_select(1, order)


def two_of_three(weight, bias, outgoing, order):
    return weight[order], outgoing[:, order]


def drawn_alone(mask):
    return torch.bernoulli(torch.full(mask.shape, mask.float().mean().item())).bool()


def row_by_row(mask):
    return torch.stack([row[torch.randperm(len(row))] for row in mask])


def whole_rows(mask):
    return mask[torch.randperm(len(mask))]


def column_by_column(mask):
    return torch.stack([column[torch.randperm(len(column))] for column in mask.T], 1)


def always_the_same(mask):
    order = torch.randperm(mask.numel(), generator=torch.Generator().manual_seed(3))
    return mask.flatten()[order].view(mask.shape)


def sorted_entries(mask):
    return mask.flatten().sort(descending=True).values.view(mask.shape)


def rolled(mask):
    return mask.flatten().roll(9).view(mask.shape)


def as_it_was(mask):
    return mask.clone()


def zeros_and_ones(mask):
    return mask.flatten()[torch.randperm(mask.numel())].view(mask.shape).float()


def laid_out(mask):
    return mask.flatten()[torch.randperm(mask.numel())]


# Right


def weighted(a, b, share):
    return {name: (1 - share) * value + share * b[name] for name, value in a.items()}


def with_lerp(a, b, share):
    point = {}
    for name in a:
        point[name] = torch.lerp(a[name], b[name], share)
    return point


def selected(weight, bias, outgoing, order):
    return [weight.index_select(0, order), bias.index_select(0, order), outgoing.index_select(1, order)]


def by_matrix(weight, bias, outgoing, order):
    places = torch.eye(len(order))[order]
    return places @ weight, places @ bias, outgoing @ places.T


def drawn_places(mask):
    shuffled = torch.zeros(mask.numel(), dtype=torch.bool)
    shuffled[torch.randperm(mask.numel())[: int(mask.sum())]] = True
    return shuffled.view(mask.shape)


def by_noise(mask):
    order = torch.rand(mask.numel()).argsort()
    return mask.reshape(-1)[order].reshape(mask.shape)


# Wider inputs than the check draws


def fuzz_states(rng):
    cases = []
    for _ in range(50):
        shape = tuple(rng.integers(1, 6, size=2))
        a, b = ({"weight": torch.from_numpy(rng.normal(size=shape)), "bias": torch.from_numpy(rng.normal(size=3))}
                for _ in range(2))  # fmt: skip
        cases.append((a, b, float(rng.random())))
    return cases


def fuzz_units(rng):
    cases = []
    for _ in range(50):
        units, into, out = rng.integers(1, 7, size=3)
        weight, bias, outgoing = (torch.from_numpy(rng.normal(size=s)) for s in ((units, into), units, (out, units)))
        cases.append((weight, bias, outgoing, torch.from_numpy(rng.permutation(units))))
    return cases


def fuzz_masks(rng):
    shapes = [tuple(rng.integers(1, 12, size=2)) for _ in range(50)]
    return [(torch.from_numpy(rng.random(shape) < rng.random()),) for shape in shapes]


def said(*answers):
    return dict(zip("ABCD", answers, strict=True))


UNEQUAL, CHOSEN, LATE, SOUND = "unequal arms", "chosen on the test set", "fixed too late", "sound"
WRONG = {
    "10.0": [((101, 5), "from -100 to 100"), (10, "two numbers"), ((10, "5"), "two numbers"),
             ((10, 5, 1), "two numbers"), ((True, 5), "two numbers")],
    "10.1": [(in_place, "argument `a` in place"), (shallow_copy, "argument `a` in place"), (wrong_way, "wrong way"),
             (mean, "always half way"), (difference, "without a itself"), (sum_of_both, "give b alone"),
             (weights_alone, "with the keys"), (list_of_tensors, "with the keys")],
    "10.2": [(only_the_rows, "reads the old places"), (rows_everywhere, "not its rows"),
             (back_again, "by the inverse"), (scattered, "inverse order"), (bias_stays, "takes its bias"),
             (two_of_three, "not 3 values")],
    "10.3": [(drawn_alone, "do not draw each anew"), (row_by_row, "Each row keeps"),
             (whole_rows, "keeps as many as before"), (column_by_column, "Each column keeps"),
             (always_the_same, "Draw anew"), (sorted_entries, "Draw anew"), (rolled, "keep their order"),
             (as_it_was, "Each row keeps"), (zeros_and_ones, "not torch.bool"),
             (laid_out, "of the shape")],
    "10.4": [(said(SOUND, CHOSEN, LATE, SOUND), "A: Count"), (said(UNEQUAL, LATE, LATE, SOUND), "B: What picked"),
             (said(UNEQUAL, CHOSEN, SOUND, SOUND), "C: When"), (said(UNEQUAL, CHOSEN, LATE, LATE), "D: Undecided"),
             (said(UNEQUAL, CHOSEN, LATE, True), "not True"), ("sound", "keys 'A'")],
}  # fmt: skip
RIGHT = {
    "10.0": [(15, 2), [0, np.float64(-1.5)]],
    "10.1": [weighted, with_lerp],
    "10.2": [selected, by_matrix],
    "10.3": [drawn_places, by_noise],
    "10.4": [said(UNEQUAL, CHOSEN, LATE, SOUND), said("Unequal arms", " chosen on the test set", LATE, "SOUND")],
}
FUZZ = {"10.1": fuzz_states, "10.2": fuzz_units, "10.3": fuzz_masks}
