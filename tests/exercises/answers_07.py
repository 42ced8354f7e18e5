"""Answers to the tasks of chapter 07 as readers write them: wrong ones with the hint each must meet, and right ones."""

import math

import numpy as np
import torch
from torch.nn import functional as F

# Wrong


def all_zero(start, initial, final, mask):
    return start, 0 * initial


def all_frozen(start, initial, final, mask):
    return start, torch.where(mask, torch.zeros_like(initial), initial) + initial * mask


def other_way_round(start, initial, final, mask):
    return start, torch.where(final.abs() < initial.abs(), initial, torch.zeros_like(initial))


def compares_values(start, initial, final, mask):
    return start, torch.where(final < initial, torch.zeros_like(initial), initial)


def less_or_equal(start, initial, final, mask):
    return start, initial * (final**2 > initial**2)


def looks_at_the_direction(start, initial, final, mask):
    toward = torch.sign(final - initial) == -torch.sign(initial)
    return start, initial * ~(toward & (initial != 0))


def keeps_trained_values(start, initial, final, mask):
    return start, torch.where(final.abs() < initial.abs(), torch.zeros_like(final), final)


def freezes_the_start(start, initial, final, mask):
    return start, start * ~(final.abs() < initial.abs())


def acts_on_both(start, initial, final, mask):
    stays = ~(final.abs() < initial.abs())
    return start * stays, initial * stays


def starts_from_initial(start, initial, final, mask):
    return initial.clone(), initial * (final.abs() >= initial.abs())


def one_tensor(start, initial, final, mask):
    return torch.where(mask, start, initial * (final.abs() >= initial.abs()))


def changes_initial(start, initial, final, mask):
    initial[final.abs() < initial.abs()] = 0
    return start, initial


def returns_the_bools(start, initial, final, mask):
    return start, final.abs() >= initial.abs()


def still_stored(stored, frozen, mask, initial):
    return torch.where(stored.abs() >= initial.abs(), initial, torch.zeros_like(initial))


def masked_out(stored, frozen, mask, initial):
    weight = torch.where(mask, stored, torch.zeros_like(stored))
    return initial * ~(weight.abs() < initial.abs())


def wrong_way_round(stored, frozen, mask, initial):
    weight = torch.where(mask, frozen, stored)
    return initial * (weight.abs() >= initial.abs())


def the_weights_themselves(stored, frozen, mask, initial):
    return stored * mask + frozen * ~mask


def nothing_new(stored, frozen, mask, initial):
    return 1 * frozen


def alive_undecided(stored, frozen, mask, initial):
    return initial * mask + frozen * ~mask


def unmoved_go(stored, frozen, mask, initial):
    weight = stored * mask + frozen * ~mask
    return initial * (weight.abs() > initial.abs())


def _pair(initial, final, mask, share=None, cosine=None):
    right = with_loops(initial, final, mask)
    return right[0] if share is None else share, right[1] if cosine is None else cosine


def _cos(a, b):
    return float(F.cosine_similarity(a.double().flatten(), b.double().flatten(), dim=0, eps=1e-30))


def kept_share(initial, final, mask):
    return _pair(initial, final, mask, share=np.mean((final.abs() < initial.abs()).numpy()[mask.numpy()]))


def share_of_everything(initial, final, mask):
    return _pair(initial, final, mask, share=(final.abs() < initial.abs()).sum() / mask.numel())


def divides_by_all(initial, final, mask):
    return _pair(initial, final, mask, share=((final.abs() < initial.abs()) * ~mask).sum() / mask.numel())


def counts_unmoved(initial, final, mask):
    return _pair(initial, final, mask, share=(final[~mask].abs() <= initial[~mask].abs()).float().mean())


def by_direction(initial, final, mask):
    toward = torch.where(initial > 0, final < initial, (final > initial) & (initial < 0))
    return _pair(initial, final, mask, share=toward[~mask].float().mean())


def signed_share(initial, final, mask):
    return _pair(initial, final, mask, share=(final < initial)[~mask].float().mean())


def sign_of_the_change(initial, final, mask):
    return _pair(initial, final, mask, cosine=_cos(initial * ~mask, final - initial))


def angle_to_final(initial, final, mask):
    return _pair(initial, final, mask, cosine=_cos(-initial * ~mask, final))


def angle_of_weights(initial, final, mask):
    return _pair(initial, final, mask, cosine=_cos(initial * mask, final))


def only_pruned(initial, final, mask):
    return _pair(initial, final, mask, cosine=_cos(-initial[~mask], (final - initial)[~mask]))


def masks_the_trained(initial, final, mask):
    return _pair(initial, final, mask, cosine=_cos(-final * ~mask, final - initial))


def scalar_product(initial, final, mask):
    return _pair(initial, final, mask, cosine=torch.dot((-initial * ~mask).flatten(), (final - initial).flatten()))


def row_by_row(initial, final, mask):
    return _pair(initial, final, mask, cosine=F.cosine_similarity(mask * initial - initial, final - initial))


def in_percent(initial, final, mask):
    share, cosine = with_loops(initial, final, mask)
    return 100 * share, cosine


def only_the_cosine(initial, final, mask):
    return with_loops(initial, final, mask)[1]


# Right


def with_where(start, initial, final, mask):
    return start.clone(), torch.where(final.abs() < initial.abs(), torch.zeros_like(initial), initial)


def with_numpy(start, initial, final, mask):
    frozen = np.where(np.abs(final.numpy()) < np.abs(initial.numpy()), 0.0, initial.numpy())
    return start.numpy().astype("float64"), frozen


def pruned_alone(start, initial, final, mask):
    frozen = torch.zeros_like(initial, dtype=torch.float64)
    for i, j in (~mask).nonzero().tolist():
        frozen[i, j] = 0 if abs(final[i, j]) < abs(initial[i, j]) else initial[i, j]
    return [start * mask, frozen]


def decided_once(stored, frozen, mask, initial):
    return torch.where(mask, initial * (stored.abs() >= initial.abs()), frozen)


def effective_with_numpy(stored, frozen, mask, initial):
    weight = np.where(mask.numpy(), stored.numpy(), frozen.numpy())
    return np.where(np.abs(weight) < np.abs(initial.numpy()), 0, initial.numpy())


def with_loops(initial, final, mask):
    headed = pruned = product = masking = training = 0
    for wi, wf, kept in zip(initial.flatten().tolist(), final.flatten().tolist(), mask.flatten().tolist(), strict=True):
        pruned += not kept
        headed += not kept and abs(wf) < abs(wi)
        change = 0 if kept else -wi
        product += change * (wf - wi)
        masking += change**2
        training += (wf - wi) ** 2
    return headed / pruned, product / math.sqrt(masking * training)


def with_cosine_similarity(initial, final, mask):
    toward = (final.abs() < initial.abs()) & ~mask
    return toward.sum() / (~mask).sum(), _cos(mask * initial - initial, final - initial)


def fuzz_layers(rng):
    rows, columns = rng.integers(1, 7, size=2)
    if rng.random() < 0.5:
        initial, final = rng.normal(size=(2, rows, columns))
    else:
        initial, final = rng.integers(-2, 3, size=(2, rows, columns))
    mask = rng.random((rows, columns)) < rng.choice([0.0, 0.3, 0.8])
    mask.flat[0] = False
    return (*(torch.from_numpy(part.astype("float32")) for part in (initial, final)), torch.from_numpy(mask))


def fuzz_rewound(rng):
    cases = []
    for _ in range(50):
        initial, final, mask = fuzz_layers(rng)
        start = [initial, final, torch.from_numpy(rng.normal(size=initial.shape)).float()][rng.integers(3)]
        cases.append((start.clone(), initial, final, mask))
    return cases


def fuzz_stored(rng):
    cases = []
    for _ in range(50):
        initial, final, mask = fuzz_layers(rng)
        frozen = initial * torch.from_numpy(rng.random(initial.shape) < 0.5)
        cases.append((torch.where(mask, final, initial if rng.random() < 0.5 else final), frozen, mask, initial))
    return cases


def fuzz_trained(rng):
    cases = []
    while len(cases) < 50:
        initial, final, mask = fuzz_layers(rng)
        if (initial * ~mask).any() and (initial != final).any():
            cases.append((initial, final, mask))
    return cases


def borne_out(answers):
    return dict(zip("ABCDE", answers.split(), strict=True))


WRONG = {
    "7.0": [((1, 50), "three numbers"), ((300, 50, 50), "not possible"), ((1, 130, 50), "no percentage"),
            ((1, 50, -5), "no accuracy"), (("some", 50, 50), "three numbers")],
    "7.1": [(all_zero, "action zero"), (all_frozen, "action freeze"), (other_way_round, "other way round"),
            (compares_values, "compare values"), (less_or_equal, "never moved"),
            (looks_at_the_direction, "crosses zero"), (keeps_trained_values, "not at `final`"),
            (freezes_the_start, "not at `start`"), (acts_on_both, "variant 2"), (starts_from_initial, "need not be"),
            (one_tensor, "two tensors"), (changes_initial, "`initial` in place"), (returns_the_bools, "torch.bool")],
    "7.2": [(still_stored, "still judged"), (masked_out, "even one that was frozen"),
            (wrong_way_round, "other way round"), (the_weights_themselves, "effective weights"),
            (nothing_new, "every entry"), (alive_undecided, "not decided yet"), (unmoved_go, "never moved")],
    "7.3": [(kept_share, "that of the kept"), (share_of_everything, "that of all"), (divides_by_all, "number of all"),
            (counts_unmoved, "never moved"), (by_direction, "crosses zero"), (signed_share, "compare values"),
            (sign_of_the_change, "wrong sign"), (angle_to_final, "not `final`"), (angle_of_weights, "of their changes"),
            (only_pruned, "pruned weights alone"), (masks_the_trained, "starts at `initial`"),
            (scalar_product, "both norms"), (row_by_row, "shape"), (in_percent, "share of your function"),
            (only_the_cosine, "two numbers")],
    "7.4": [(borne_out("yes yes no no yes"), "A: Look"), (borne_out("no no no no yes"), "B: Compare"),
            (borne_out("no yes yes no yes"), "C: The same"), (borne_out("no yes no yes yes"), "D: Follow"),
            (borne_out("no yes no no no"), "E: It compares"), (borne_out("no maybe no no yes"), "not 'maybe'"),
            ("B", "keys 'A', 'B'")],
}  # fmt: skip
RIGHT = {
    "7.0": [(0, 3, 10), [-2.5, 100, 97], (np.float32(1.5), np.int64(50), 95)],
    "7.1": [with_where, with_numpy, pruned_alone],
    "7.2": [decided_once, effective_with_numpy],
    "7.3": [with_loops, with_cosine_similarity],
    "7.4": [borne_out("no yes no no yes"), borne_out("No YES no no Yes") | {"C": " no "}],
}
FUZZ = {"7.1": fuzz_rewound, "7.2": fuzz_stored, "7.3": fuzz_trained}
