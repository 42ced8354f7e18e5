"""Answers to the tasks of chapter 05 as readers write them: wrong ones with the hint each must meet, and right ones."""

import numpy as np
import torch

# Wrong


def moved(initial, final):
    return torch.sqrt((initial - final) ** 2)


def signed_step(initial, final):
    return torch.sub(final, initial)


def shrinkage(initial, final):
    return torch.abs(initial) - torch.abs(final)


def unsigned_growth(initial, final):
    return torch.abs(initial.abs() - final.abs())


def only_final(initial, final):
    return torch.where(final < 0, -final, final)


def growth_factor(initial, final):
    return torch.abs(final / initial)


def growth_above_zero(initial, final):
    return torch.relu(final.abs() - initial.abs())


def increase_in_place(initial, final):
    return final.abs_().sub_(initial.abs())


def increase_summed(initial, final):
    return (final.abs() - initial.abs()).sum()


def keeps(score, mask, keep):
    """The `keep` alive weights of highest score."""
    order = np.argsort(np.where(mask.numpy(), -score.double().numpy(), np.inf), axis=None, kind="stable")
    chosen = np.zeros(mask.numel(), dtype=bool)
    chosen[order[:keep]] = True
    return torch.from_numpy(chosen.reshape(mask.shape))


def rank_of(values, among):
    return (values.double()[..., None] > among.double()).sum(-1)


def percentiles_of_all(initial, final, mask, keep):
    initial, final = initial.abs(), final.abs()
    return keeps(torch.minimum(rank_of(initial, initial.flatten()), rank_of(final, final.flatten())), mask, keep)


def ranks_values(initial, final, mask, keep):
    return keeps(torch.minimum(rank_of(initial, initial[mask]), rank_of(final, final[mask])), mask, keep)


def one_is_enough(initial, final, mask, keep):
    initial, final = initial.abs(), final.abs()
    return keeps(torch.maximum(rank_of(initial, initial[mask]), rank_of(final, final[mask])), mask, keep)


def mean_rank(initial, final, mask, keep):
    initial, final = initial.abs(), final.abs()
    return keeps((rank_of(initial, initial[mask]) + rank_of(final, final[mask])) / 2, mask, keep)


def smaller_magnitude(initial, final, mask, keep):
    return keeps(torch.minimum(initial.abs(), final.abs()), mask, keep)


def over_the_spread(initial, final, mask, keep):
    return keeps(torch.minimum(initial.abs() / initial[mask].std(), final.abs() / final[mask].std()), mask, keep)


def smallest_first(initial, final, mask, keep):
    initial, final = initial.abs(), final.abs()
    return keeps(-torch.minimum(rank_of(initial, initial[mask]), rank_of(final, final[mask])), mask, keep)


def by_final(initial, final, mask, keep):
    return keeps(final.abs(), mask, keep)


def by_initial(initial, final, mask, keep):
    return keeps(initial.abs(), mask, keep)


def returns_scores(initial, final, mask, keep):
    initial, final = initial.abs(), final.abs()
    return torch.minimum(rank_of(initial, initial[mask]), rank_of(final, final[mask]))


def removes_keep(initial, final, mask, keep):
    alive = int(mask.sum())
    return descends(initial, final, mask, alive - keep)


def growth_before_flips(initial, final):
    result = torch.zeros_like(initial, dtype=torch.long)
    result[initial * final < 0] = 2
    result[final.abs() > initial.abs()] = 1
    return result


def without_flips(initial, final):
    return torch.where(torch.abs(final) > torch.abs(initial), 1, 0)


def stays_as_grew(initial, final):
    result = torch.where(final.abs() < initial.abs(), 0, 1)
    result[initial * final < 0] = 2
    return result


def zero_has_a_sign(initial, final):
    result = torch.where(final.abs() > initial.abs(), 1, 0)
    result[torch.sign(initial) != torch.sign(final)] = 2
    return result


def grew_in_value(initial, final):
    result = (final - initial > 0).int()
    result[initial * final < 0] = 2
    return result


def shrank_is_one(initial, final):
    result = 1 - (final.abs() > initial.abs()).int()
    result[initial * final < 0] = 2
    return result


def flipped_or_not(initial, final):
    return initial * final < 0


def minus_one_for_flips(initial, final):
    return torch.where(initial * final < 0, -1, (final.abs() > initial.abs()).int())


# Right


def increase_with_numpy(initial, final):
    return np.abs(final.numpy()) - np.abs(initial.numpy())


def increase_in_loops(initial, final):
    rows, columns = initial.shape
    return [[abs(final[i, j].item()) - abs(initial[i, j].item()) for j in range(columns)] for i in range(rows)]


def increase_by_sign(initial, final):
    return final * final.sign() - initial * initial.sign()


def ranks_with_searchsorted(initial, final, mask, keep):
    initial, final = initial.abs(), final.abs()
    ranks = [torch.searchsorted(w[mask].sort().values, w.contiguous()) for w in (initial, final)]
    return keeps(torch.minimum(*ranks), mask, keep)


def descends(initial, final, mask, keep):
    """Lower the common percentile by one weight at a time."""
    initial, final = initial.double().abs(), final.double().abs()
    ranks = rank_of(initial, initial[mask]), rank_of(final, final[mask])
    kept = torch.zeros_like(mask)
    for threshold in range(int(mask.sum()), -1, -1):
        for position in (mask & (ranks[0] >= threshold) & (ranks[1] >= threshold) & ~kept).nonzero().tolist():
            if kept.sum() < keep:
                kept[tuple(position)] = True
    return kept


def quantile_ranks(initial, final, mask, keep):
    ranks = []
    for w in (initial, final):
        size = w.abs().masked_fill(~mask, -1).flatten()
        rank = torch.empty(len(size))
        rank[size.argsort()] = torch.linspace(0, 1, len(size))
        ranks.append(rank)
    best = torch.stack(ranks).amin(0).masked_fill(~mask.flatten(), -1)
    result = torch.zeros(len(best), dtype=torch.bool)
    result[best.topk(keep).indices] = True
    return result.view(mask.shape)


def fate_in_loops(initial, final):
    result = torch.zeros(initial.shape, dtype=torch.int64)
    for i, (first_row, last_row) in enumerate(zip(initial.tolist(), final.tolist(), strict=True)):
        for j, (first, last) in enumerate(zip(first_row, last_row, strict=True)):
            if first * last < 0:
                result[i, j] = 2
            elif abs(last) > abs(first):
                result[i, j] = 1
    return result


def fate_with_numpy(initial, final):
    first, last = initial.numpy(), final.numpy()
    return np.select([first * last < 0, np.abs(last) > np.abs(first)], [2, 1], default=0)


def fate_as_floats(initial, final):
    grew = (final.abs() > initial.abs()).float()
    return grew.masked_fill(initial * final < 0, 2.0)


def fuzz_pairs(rng):
    cases = []
    for _ in range(50):
        shape = rng.integers(1, 7, size=2)
        if rng.random() < 0.5:
            pair = rng.normal(size=(2, *shape)) * rng.choice([0.01, 1, 100])
        else:
            pair = rng.integers(-2, 3, size=(2, *shape))
        cases.append(tuple(torch.from_numpy(pair.astype(rng.choice(["float32", "float64"])))))
    return cases


def fuzz_rounds(rng):
    cases = []
    for _ in range(50):
        rows, columns = rng.integers(1, 7, size=2)
        initial, final = torch.from_numpy(rng.normal(size=(2, rows, columns)).astype("float32"))
        mask = torch.from_numpy(rng.random((rows, columns)) < rng.choice([0.2, 0.5, 1.0]))
        cases.append((initial, final * mask, mask, int(rng.integers(0, int(mask.sum()) + 1))))
    return cases


def order(*names, points=10):
    return (list(names), points)


def follows(answers):
    return dict(zip("ABCDE", answers.split(), strict=True))


GOOD = ("large_final", "magnitude_increase", "large_init_large_final", "movement")
WRONG = {
    "5.0": [((list(GOOD), 10), "each of these once"), (order(*GOOD, "movement"), "each of these once"),
            (order(*GOOD, "random", points="many"), "percentage points"),
            (order(*GOOD, "random", points=200), "percentage points"),
            ("large_final", "two things"), (("large_final", 5), "a list of names")],
    "5.1": [(moved, "score of movement"), (signed_step, "subtract values"), (shrinkage, "is reversed"),
            (unsigned_growth, "outer abs()"), (only_final, "is large_final"), (growth_factor, "You divide"),
            (growth_above_zero, "Cut off at 0"), (increase_in_place, "`final` in place"),
            (increase_summed, "of the shape")],
    "5.2": [(percentiles_of_all, "still count pruned"), (ranks_values, "by value"),
            (one_is_enough, "larger of two ranks"),
            (mean_rank, "sum of ranks"), (smaller_magnitude, "compare |initial|"), (smallest_first, "keep the lowest"),
            (by_final, "is large_final"), (by_initial, "is large_init"), (returns_scores, "not torch.bool"),
            (removes_keep, "are kept, not"), (over_the_spread, "You divide by the spread")],
    "5.3": [(growth_before_flips, "decide on the flip"), (without_flips, "ever flips"), (stays_as_grew, "did not grow"),
            (zero_has_a_sign, "has no sign"), (grew_in_value, "compare values"), (shrank_is_one, "are exchanged"),
            (flipped_or_not, "torch.bool"), (minus_one_for_flips, "0, 1 or 2")],
    "5.4": [(follows("no no yes no yes"), "A: Both"), (follows("yes yes yes no yes"), "B: Where"),
            (follows("yes no no no yes"), "C: A weight"), (follows("yes no yes yes yes"), "D: Their"),
            (follows("yes no yes no no"), "E: One"), (follows("true no yes no yes"), "not 'true'"),
            ("A", "keys 'A', 'B'")],
}  # fmt: skip
RIGHT = {
    "5.0": [order("random", *GOOD, points=-3), (("movement", "random", *GOOD[:3]), np.float32(20.5))],
    "5.1": [increase_with_numpy, increase_in_loops, increase_by_sign],
    "5.2": [ranks_with_searchsorted, descends, quantile_ranks],
    "5.3": [fate_in_loops, fate_with_numpy, fate_as_floats],
    "5.4": [follows("yes no yes no yes"), follows("Yes NO yes no Yes"), follows("yes no yes no yes") | {"A": " yes "}],
}
FUZZ = {"5.1": fuzz_pairs, "5.2": fuzz_rounds, "5.3": fuzz_pairs}
