"""Answers to the tasks of chapter 06 as readers write them: wrong ones with the hint each must meet, and right ones."""

import math
import random

import numpy as np
import torch

# Wrong


def spread_of_kept(initial, mask):
    kept = initial[mask]
    alpha = (kept - kept.mean()).square().mean().sqrt() if len(kept) else 0.0
    return torch.where(mask, initial.sign() * alpha, torch.zeros_like(initial))


def spread_of_masked(initial, mask):
    alpha = float(np.std((initial * mask).numpy()))
    return torch.sign(initial) * mask * alpha


def sample_spread(initial, mask):
    return torch.sign(initial) * torch.std(initial) * mask


def spread_of_magnitudes(initial, mask):
    return torch.sign(initial) * float(np.abs(initial.numpy()).std()) * mask


def mean_magnitude(initial, mask):
    return initial.sign() * mask * (initial.abs().sum() / initial.numel())


def root_mean_square(initial, mask):
    return mask * initial.sign() * (initial.norm() / math.sqrt(initial.numel()))


def one_positive_number(initial, mask):
    start = torch.zeros_like(initial)
    start[mask] = initial.var(correction=0).sqrt()
    return start


def without_mask(initial, mask):
    return initial.sign().mul(float(np.std(initial.numpy())))


def plus_at_zero(initial, mask):
    alpha = initial.std(correction=0)
    return torch.where(initial >= 0, alpha, -alpha) * mask


def initial_values(initial, mask):
    return torch.where(mask, initial, 0.0)


def variance(initial, mask):
    return initial.sign() * mask * initial.var(correction=0)


def signs_in_place(initial, mask):
    alpha = initial.std(correction=0)
    return initial.sign_().mul_(alpha).mul_(mask)


def whole_layer(initial, mask):
    return initial.flatten()[torch.randperm(initial.numel())].view_as(initial)


def zeros_travel(initial, mask):
    masked = (initial * mask).flatten()
    return masked[torch.randperm(len(masked))].view_as(initial)


def masked_afterwards(initial, mask):
    return initial.flatten()[torch.randperm(initial.numel())].view_as(initial) * mask


def drawn_with_replacement(initial, mask):
    values, start = initial[mask], torch.zeros_like(initial)
    if len(values):
        start[mask] = values[torch.randint(len(values), (len(values),))]
    return start


def swaps_views(initial, mask):
    start = initial * mask
    places = mask.nonzero().tolist()
    for n in range(len(places) - 1, 0, -1):
        (a, b), (c, d) = places[n], places[random.randrange(n + 1)]
        start[a, b], start[c, d] = start[c, d], start[a, b]
    return start


def not_moved(initial, mask):
    values = initial[mask].tolist()
    random.shuffle(list(values))
    start = torch.zeros_like(initial)
    start[mask] = torch.tensor(values, dtype=initial.dtype)
    return start


def turned_round(initial, mask):
    start = torch.zeros_like(initial)
    start[mask] = initial[mask].flip(0)
    return start


def moved_on(initial, mask):
    start = torch.zeros_like(initial)
    start[mask] = initial[mask].roll(1)
    return start


def row_by_row(initial, mask):
    start = torch.zeros_like(initial)
    for i, row in enumerate(mask):
        values = initial[i][row]
        start[i][row] = values[torch.randperm(len(values))]
    return start


def signs_shuffled_too(initial, mask):
    values = initial[mask]
    start = torch.zeros_like(initial)
    start[mask] = values[torch.randperm(len(values))] * values.abs()
    return start


def kept_values_only(initial, mask):
    values = initial[mask]
    return values[torch.randperm(len(values))][None]


def other_way_round(initial, fresh):
    return torch.abs(initial) * torch.sign(fresh), torch.abs(fresh) * torch.sign(initial)


def signs_cancel(initial, fresh):
    return initial.sign() * fresh, fresh.sign() * initial


def ticket_second(initial, fresh):
    return fresh.abs() * initial.sign(), initial.clone()


def control_second(initial, fresh):
    return fresh.abs() * initial.sign(), fresh.clone()


def no_magnitudes(initial, fresh):
    return torch.sign(initial), torch.sign(fresh)


def sign_for_zero(initial, fresh):
    signs = [torch.where(w < 0, -1.0, 1.0) for w in (initial, fresh)]
    return fresh.abs() * signs[0], initial.abs() * signs[1]


def first_cell_only(initial, fresh):
    return fresh.abs() * initial.sign()


def cells_in_a_dict(initial, fresh):
    return {"fresh magnitudes": fresh.abs() * initial.sign(), "fresh signs": initial.abs() * fresh.sign()}


def overwritten(initial, fresh):
    return fresh.abs_() * initial.sign(), initial.abs() * fresh.sign()


# Right


def constants_with_numpy(initial, mask):
    weights = initial.numpy()
    return np.where(mask.numpy(), np.sign(weights) * np.std(weights), 0)


def constants_in_loops(initial, mask):
    weights = [w for row in initial.tolist() for w in row]
    mean = sum(weights) / len(weights)
    alpha = math.sqrt(sum((w - mean) ** 2 for w in weights) / len(weights))
    return [[m * alpha * ((w > 0) - (w < 0)) for w, m in zip(*rows)] for rows in zip(initial.tolist(), mask.tolist())]


def constants_by_index(initial, mask):
    start = torch.zeros_like(initial)
    alpha = torch.std(initial.double(), unbiased=False).to(initial.dtype)
    start[mask & (initial > 0)] = alpha
    start[mask & (initial < 0)] = -alpha
    return start


def fixed_order(initial, mask):
    return moved_by(initial, mask, lambda n: torch.randperm(n, generator=torch.Generator().manual_seed(1)))


def odd_then_even(initial, mask):
    return moved_by(initial, mask, lambda n: torch.cat([torch.arange(n)[1::2], torch.arange(n)[::2]]))


def seeds_the_library(initial, mask):
    torch.manual_seed(0)
    return moved_by(initial, mask, torch.randperm)


def moved_by(initial, mask, order):
    start = torch.zeros_like(initial)
    start[mask] = initial[mask][order(int(mask.sum()))]
    return start


def shuffled_list(initial, mask):
    values = initial[mask].tolist()
    random.shuffle(values)
    start = torch.zeros_like(initial)
    start[mask] = torch.tensor(values, dtype=initial.dtype)
    return start


def permuted_with_numpy(initial, mask):
    start = np.zeros(initial.shape, dtype=initial.numpy().dtype)
    start[mask.numpy()] = np.random.permutation(initial[mask].numpy())
    return torch.from_numpy(start)


def swaps_numbers(initial, mask):
    start = initial * mask
    places = mask.nonzero().tolist()
    for n in range(len(places) - 1, 0, -1):
        (a, b), (c, d) = places[n], places[random.randrange(n + 1)]
        start[a, b], start[c, d] = start[c, d].item(), start[a, b].item()
    return start


def sorted_by_noise(initial, mask):
    start = initial.masked_fill(~mask, 0).flatten()
    places = mask.flatten().nonzero().flatten()
    start[places] = start[places[torch.rand(len(places)).argsort()]]
    return start.view_as(initial)


def crossed_with_numpy(initial, fresh):
    first, second = initial.numpy(), fresh.numpy()
    return [np.abs(second) * np.sign(first), np.abs(first) * np.sign(second)]


def crossed_by_flips(initial, fresh):
    flips = torch.sign(initial * fresh)
    return fresh * flips, initial * flips


def crossed_in_loops(initial, fresh):
    cells = torch.zeros(2, *initial.shape, dtype=torch.float64)
    for i in range(initial.shape[0]):
        for j in range(initial.shape[1]):
            a, b = initial[i, j].item(), fresh[i, j].item()
            cells[0, i, j] = math.copysign(b, a) if a else 0
            cells[1, i, j] = math.copysign(a, b) if b else 0
    return tuple(cells)


def fuzz_layers(rng):
    cases = []
    for _ in range(50):
        shape = rng.integers(1, 7), rng.integers(2, 7)
        weights = (
            rng.normal(rng.choice([-1, 0, 1]), 1, size=shape) if rng.random() < 0.5 else rng.integers(-2, 3, size=shape)
        )
        mask = torch.from_numpy(rng.random(shape) < rng.choice([0.0, 0.3, 0.8, 1.0]))
        cases.append((torch.from_numpy(weights.astype(rng.choice(["float32", "float64"]))), mask))
    return cases


def fuzz_pairs(rng):
    cases = []
    for _ in range(50):
        shape = (2, *rng.integers(1, 7, size=2))
        pair = rng.normal(size=shape) if rng.random() < 0.5 else rng.integers(-2, 3, size=shape)
        cases.append(tuple(torch.from_numpy(pair.astype(rng.choice(["float32", "float64"])))))
    return cases


def differs(answers):
    return dict(zip("ABCDE", answers.split(), strict=True))


WRONG = {
    "6.0": [((10, 5), "three numbers"), ((10, 5, 200), "cannot be lost"), (("many", 5, 5), "three numbers"),
            (7, "three numbers")],
    "6.1": [(spread_of_kept, "of all initial"), (spread_of_masked, "of all initial"), (sample_spread, "Divide by n"),
            (spread_of_magnitudes, "not of their magnitudes"), (mean_magnitude, "mean magnitude"),
            (root_mean_square, "Subtract the mean"), (one_positive_number, "is positive"), (without_mask, "must be 0"),
            (plus_at_zero, "has no sign"), (initial_values, "the initial values"), (variance, "other values"),
            (signs_in_place, "`initial` in place")],
    "6.2": [(whole_layer, "in a pruned place"), (zeros_travel, "in a pruned place"),
            (masked_afterwards, "pruned weight's value"),
            (drawn_with_replacement, "stands twice"), (swaps_views, "stands twice"), (not_moved, "has moved"),
            (turned_round, "Draw their order"), (moved_on, "Draw their order"), (row_by_row, "over the layer"),
            (signs_shuffled_too, "did not have"), (kept_values_only, "of the shape"),
            (fixed_order, "Draw anew in each call"), (odd_then_even, "Draw anew in each call"),
            (seeds_the_library, "Draw anew in each call")],
    "6.3": [(other_way_round, "exchanged"), (signs_cancel, "signs multiply"), (ticket_second, "initial itself"),
            (control_second, "fresh itself"), (no_magnitudes, "signs alone"), (sign_for_zero, "has no sign"),
            (first_cell_only, "2 values"), (cells_in_a_dict, "2 values"), (overwritten, "`fresh` in place")],
    "6.4": [(differs("sign magnitude sign sign masks"), "A: The"), (differs("both both sign sign masks"), "B: A"),
            (differs("both magnitude both sign masks"), "C: Both"),
            (differs("both magnitude sign magnitude masks"), "D: The"),
            (differs("both magnitude sign sign both"), "E: Both"),
            (differs("size magnitude sign sign masks"), "not 'size'"),
            ("A", "keys 'A', 'B'")],
}  # fmt: skip
RIGHT = {
    "6.0": [(15, 0, 15), [20.5, -1, 3], tuple(np.array([15, 0.5, 15]))],
    "6.1": [constants_with_numpy, constants_in_loops, constants_by_index],
    "6.2": [shuffled_list, permuted_with_numpy, swaps_numbers, sorted_by_noise],
    "6.3": [crossed_with_numpy, crossed_by_flips, crossed_in_loops],
    "6.4": [differs("both magnitude sign sign masks"), differs("Both magnitude SIGN sign masks") | {"E": " Masks"}],
}
FUZZ = {"6.1": fuzz_layers, "6.3": fuzz_pairs}
