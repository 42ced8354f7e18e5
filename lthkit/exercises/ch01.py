"""Tasks of chapter 01, masks."""

import math

import numpy as np
import torch

from lthkit.exercises.compare import Fault, form, is_number, options
from lthkit.exercises.task import Mistake, Task

GOALS = ("count what a mask removes", "say what it does not save")


def _mask(rng: np.random.Generator, rows: int, columns: int, dead: int) -> torch.Tensor:
    order = rng.permutation(rows * columns)
    return torch.from_numpy(order >= dead).view(rows, columns)


_VALUE = "You rank by value. Magnitude pruning ranks by |weight|: is an abs() missing?"
_WIPED = "A threshold cuts through equal scores, and all of them go at once. Pick positions from a sorted list instead."


def _verify_guesses(args: tuple, got: object) -> Fault | None:
    if not isinstance(got, tuple | list) or len(got) != 3 or not all(map(is_number, got)):
        return Fault("Give three numbers: weights left, percentage of zeros, times faster.", got=got)
    kept, percentage, speedup = got
    if not 0 <= kept <= 1000:
        return Fault(f"Of 1,000 weights, {kept:g} cannot be left: guess from 0 to 1000.", got=got)
    if not 0 <= percentage <= 100:
        return Fault(f"{percentage:g} is no percentage: guess from 0 to 100.", got=got)
    return None if speedup > 0 else Fault(f"{speedup:g} times as fast is not possible: 1 means equally fast.", got=got)


PREDICT = Task(
    id="1.0",
    kind="predict",
    title="what a mask saves",
    goal=GOALS[1],
    difficulty="easy",
    minutes=3,
    hints=(
        "After one round 800 of the 1,000 weights are left. The second round takes its 20 % from those.",
        "For each kept weight, a sparse tensor stores the value and also where it stands.",
    ),
    why="Sections 4 and 5 show your guesses beside what was measured.",
    next="Sections 4 and 5 show it beside what was measured.",
    verify=_verify_guesses,
    answer=(400, 30, 2),
    reveals=(
        "lead",
        "times",
        "left_of_all",
        "left_of_alive",
        "percentile_keeps_pruning",
        "bytes_coo",
        "crossover_coo",
        "sparse_from_half",
        "ratio_masked",
        "ratio_hook",
        "pruned_forward_faster",
    ),
)


def prune_layer(weights, mask, rate):
    alive = mask.flatten().nonzero().flatten()  # positions of the alive weights
    order = weights.flatten()[alive].abs().argsort()
    new_mask = mask.clone()
    new_mask.view(-1)[alive[order[: round(rate * len(alive))]]] = False
    return new_mask


def _layers(rng: np.random.Generator) -> list[tuple]:
    """Small and large layers, some pruned before; ties, near ties, zeros; rates end on .5 or just below a whole one."""
    drawn = []
    for rows, columns, dead, rate in [(1, 2, 0, 0.5), (2, 2, 1, 0.5), (1, 5, 0, 0.5), (2, 4, 3, 0.4), (3, 5, 0, 0.0),
                                      (3, 5, 6, 1.0), (10, 10, 0, 0.29),
                                      (8, 9, 20, float(rng.uniform(0.1, 0.9)))]:  # fmt: skip
        weights = torch.from_numpy(rng.normal(size=(rows, columns)).astype(rng.choice(["float32", "float64"])))
        drawn.append((weights, _mask(rng, rows, columns, dead), rate))
    tied = torch.from_numpy(rng.choice([-1.0, 1.0], size=(2, 3))) * float(rng.uniform(0.1, 2))
    near = (1 + torch.from_numpy(rng.permutation(12)).view(3, 4) * 2.0**-20).float()  # all one in half precision
    few = torch.from_numpy(rng.integers(-2, 3, size=(4, 6)).astype("float32"))
    return [
        *drawn,
        (tied, _mask(rng, 2, 3, 0), 0.5),
        (few, _mask(rng, 4, 6, 5), 0.35),
        (near, _mask(rng, 3, 4, 0), 0.5),
    ]


def _verify_round(args: tuple, got: object) -> Fault | None:
    weights, mask, rate = args
    expected = prune_layer(weights, mask, rate)
    if fault := form(expected, got):
        return fault
    got = torch.as_tensor(got)
    if (got & ~mask).any():
        return Fault("A pruned weight came back: only alive weights may be kept.", expected, got)
    alive, asked = int(mask.sum()), int((mask & ~expected).sum())
    removed = alive - int(got.sum())
    if removed != asked:
        of = f"{removed} of the {alive} alive weights are removed, not round({rate:g} * {alive}) = {asked}."
        return Fault(of[0].upper() + of[1:], expected, got)
    gone, kept = weights[mask & ~got].abs(), weights[got].abs()
    if len(gone) and len(kept) and gone.max() > kept.min():
        return Fault("The count is right, but a weight was removed while a smaller one stayed.", expected, got)
    return None


def _by_value(weights, mask, rate):
    return prune_layer(weights - weights.min(), mask, rate)


def _largest_first(weights, mask, rate):
    return prune_layer(1 / (weights.abs() + 1e-9), mask, rate)


def _truncated(weights, mask, rate):
    alive = int(mask.sum())
    return prune_layer(weights, mask, int(rate * alive) / max(1, alive))


def _rate_of_all(weights, mask, rate):
    alive = int(mask.sum())
    return prune_layer(weights, mask, min(1.0, round(rate * mask.numel()) / max(1, alive)))


def _below_threshold(weights, mask, rate):
    alive = weights[mask].abs().sort().values
    removed = round(rate * len(alive))
    return mask & (weights.abs() > alive[removed - 1]) if removed else mask.clone()


def _dead_ranked(weights, mask, rate):
    new_mask = mask.clone()
    new_mask.view(-1)[(weights * mask).flatten().abs().argsort()[: round(rate * int(mask.sum()))]] = False
    return new_mask


def _revives(weights, mask, rate):
    return prune_layer(weights, torch.ones_like(mask), rate)


def _untouched(weights, mask, rate):
    return mask.clone()


PRUNE_LAYER = Task(
    id="1.1",
    kind="build",
    title="prune one layer",
    goal=GOALS[0],
    difficulty="easy",
    minutes=10,
    hints=(
        (
            "Find the positions of the alive weights first: mask.flatten().nonzero().flatten(). Or rank all positions, "
            "the dead ones last: weights.abs().masked_fill(~mask, torch.inf)."
        ),
        (
            "Sort by magnitude, in one dimension: .flatten().argsort() gives an order, not values. Whichever way you "
            "took, the first places hold alive weights only."
        ),
        (
            "Set the first round(rate * alive) of them to False in a clone of the mask, through view(-1). "
            "`new[mask][i] = False` indexes twice and writes into a copy."
        ),
    ),
    why="Sorting picks an exact number of weights. A threshold does not: where all weights are equal, "
    "`weights.abs() > threshold` removes all of them. `int` in place of `round` cuts off: Python computes "
    "`0.29 * 100` as 28.999…, and `int` makes 28 of it.",
    next="Which of two equal weights goes is open. How would you make it a fair draw?",
    verify=_verify_round,
    reference=prune_layer,
    trials=_layers,
    mistakes=(
        Mistake(_VALUE, _by_value),
        Mistake("You remove the largest weights. The smallest go first.", _largest_first),
        Mistake("int(rate * alive) cuts off the fraction: use round().", _truncated),
        Mistake("The rate counts the alive weights, not all of them: divide mask.sum(), not numel().", _rate_of_all),
        Mistake(_WIPED, _below_threshold),
        Mistake(
            "Pruned weights are ranked too. They are 0, so they come first: sort the alive ones only.", _dead_ranked
        ),
        Mistake("A pruned weight came back: start from the given mask, not from a new one.", _revives),
        Mistake(
            "No weight is removed. `new[mask][i] = False` indexes twice and writes into a copy: index once.",
            _untouched,
        ),
    ),
)


def prune_faulty(weights, mask, rate):
    size = (weights * mask).abs().numpy()
    threshold = np.percentile(size, 100 * rate)
    return mask & torch.from_numpy(size > threshold)


def prune_repaired(weights, mask, rate):
    size = (weights * mask).abs().numpy()
    threshold = np.percentile(size[mask.numpy()], 100 * rate)
    return mask & torch.from_numpy(size > threshold)


def _layers_for_percentiles(rng: np.random.Generator) -> list[tuple]:
    """Layers without ties, at rates where percentile and rounding remove the same number of weights.

    At a rate of 3/4 the percentile of five weights is one of them.  In the second an alive weight is 0.  The third
    is large enough to tell 100 from 101.
    """
    drawn = []
    for alive, dead, rate in [(5, 2, 0.75), (4, 2, 0.5), (120, 20, 0.875)]:
        weights = torch.from_numpy(rng.normal(size=(1, alive + dead)).astype("float32"))
        drawn.append((weights, _mask(rng, 1, alive + dead, dead), rate))
    weights, mask, _ = drawn[1]
    weights[0, mask[0].nonzero()[0]] = 0
    while len(drawn) < 8:
        alive, dead = int(rng.integers(4, 7 + 10 * len(drawn))), int(rng.integers(1, 4 + 5 * len(drawn)))
        rate = round(float(rng.uniform(0.1, 0.9)), 2)
        if math.floor(rate * (alive - 1)) + 1 == round(rate * alive):
            weights = torch.from_numpy(rng.normal(size=(1, alive + dead)).astype("float32"))
            drawn.append((weights, _mask(rng, 1, alive + dead, dead), rate))
    return drawn


def _signed_percentile(weights, mask, rate):
    values = weights.numpy()
    return mask & torch.from_numpy(values > np.percentile(values[mask.numpy()], 100 * rate))


def _percentile_revives(weights, mask, rate):
    size = weights.abs().numpy()
    return torch.from_numpy(size > np.percentile(size, 100 * rate))


def _unscaled_percentile(weights, mask, rate):
    size = weights.abs().numpy()
    return mask & torch.from_numpy(size > np.percentile(size[mask.numpy()], rate))


def _above_zero(weights, mask, rate):
    size = (weights * mask).abs().numpy()
    return mask & torch.from_numpy(size > np.percentile(size[size > 0], 100 * rate))


PRUNE = Task(
    id="1.2",
    kind="find the bug",
    title="the mask that stops pruning",
    goal=GOALS[0],
    difficulty="medium",
    minutes=8,
    hints=(
        "Print `size` and `threshold` in the second round. How many zeros stand in `size`?",
        (
            "The percentile counts the pruned weights too. Which entries of `size` belong to alive weights? Take the "
            "threshold from those, and still compare all of `size` with it."
        ),
    ),
    why="After the first round 20 % of the numbers in `size` are zeros of pruned weights. The 20th percentile of "
    "*all* numbers falls where those zeros end, so no alive weight lies below it. The percentile must be that of "
    "the *alive* weights. `prune_layer` from 1.1 is a repair as well, and it can count where weights are equal.",
    next="Feed a layer of equal weights to your repair, and to prune_layer. Which one removes the asked share?",
    verify=_verify_round,
    reference=prune_repaired,
    trials=_layers_for_percentiles,
    faulty=prune_faulty,
    mistakes=(
        Mistake("The percentile still counts pruned weights: take it over size[mask].", prune_faulty),
        Mistake("`size > 0` leaves out alive weights that are 0 as well: take size[mask].", _above_zero),
        Mistake(_VALUE, _signed_percentile),
        Mistake("np.percentile counts in percent: 100 * rate.", _unscaled_percentile),
        Mistake("A pruned weight came back: the new mask must stay inside the old one.", _percentile_revives),
        Mistake("A pruned weight came back: the new mask must stay inside the old one.", _revives),
        Mistake("You remove the largest weights. The smallest go first.", _largest_first),
    ),
)


def keep_best_faulty(scores, keep):
    lowest_kept = scores.flatten().sort(descending=True).values[keep]
    return scores > lowest_kept


def keep_best(scores, keep):
    mask = torch.zeros_like(scores, dtype=torch.bool)
    mask.view(-1)[scores.flatten().argsort(descending=True)[:keep]] = True
    return mask


def _score_tables(rng: np.random.Generator) -> list[tuple]:
    """Scores with and without ties; keep runs from none to all."""
    drawn = [(torch.full((2, 2), float(rng.normal())), 2)]
    near = 1 + torch.from_numpy(rng.permutation(12)).view(3, 4) * 2.0**-23
    drawn.append((near.float(), 6))
    for rows, columns, keep in [(1, 3, 1), (2, 2, 4), (2, 3, 0), (4, 5, 7)]:
        drawn.append((torch.from_numpy(rng.normal(size=(rows, columns)).astype("float32")), keep))
        drawn.append((torch.from_numpy(rng.integers(0, 2, size=(rows, columns)).astype("float32")), keep))
    return drawn


def _verify_kept(args: tuple, got: object) -> Fault | None:
    scores, keep = args
    expected = keep_best(scores, keep)
    if fault := form(expected, got):
        return fault
    got = torch.as_tensor(got)
    if int(got.sum()) != keep:
        return Fault(f"{int(got.sum())} scores are kept, not {keep}.", expected, got)
    if 0 < keep < scores.numel() and scores[got].min() < scores[~got].max():
        return Fault("The count is right, but a score was dropped while a smaller one stayed.", expected, got)
    return None


def _at_least(scores, keep):
    return scores >= scores.flatten().sort(descending=True).values[max(0, keep - 1)] if keep else scores > scores.max()


def _at_least_one_more(scores, keep):
    ordered = scores.flatten().sort(descending=True).values
    return scores >= ordered[min(keep, len(ordered) - 1)]


def _one_more(scores, keep):
    return keep_best(scores, keep + 1)


def _at_least_last(scores, keep):
    return scores >= scores.flatten().sort(descending=True).values[keep - 1]


def _ties_dropped(scores, keep):
    ordered = scores.flatten().sort(descending=True).values
    return scores > (ordered[keep] if keep < len(ordered) else -torch.inf)


def _lowest(scores, keep):
    return keep_best(-scores, keep)


_EQUALS = "`>=` keeps every score that equals the threshold: more than asked for."
_ONE_MORE = "One too many is kept: positions count from 0, so `keep` is the first that goes."

KEEP_BEST = Task(
    id="1.3",
    kind="find the bug",
    title="the layer that vanishes",
    goal=GOALS[0],
    difficulty="medium",
    minutes=8,
    hints=(
        (
            "Try it with four equal scores and keep=2. How many are greater than the threshold, and how many are "
            "at least as large?"
        ),
        "Two answers are needed: what happens to equal scores, and what happens where keep is all of them?",
        "Positions can be counted exactly, values cannot: argsort, then the first `keep` positions.",
    ),
    why="`>` treats equal scores alike, so a mask by threshold keeps all of them or none. Layers of equal weights are "
    "not rare: a constant initialisation makes them. Where `keep` is all, `values[keep]` lies outside the list: "
    "sparsity 0 crashes. Positions from `argsort` have neither fault.",
    next="How many weights does lthkit.masks.prune keep of a layer of equal weights? Try it.",
    verify=_verify_kept,
    reference=keep_best,
    trials=_score_tables,
    faulty=keep_best_faulty,
    mistakes=(
        Mistake(_WIPED, _ties_dropped),
        Mistake(_EQUALS, _at_least),
        Mistake(_ONE_MORE, _one_more),
        Mistake(_ONE_MORE, _at_least_one_more),
        Mistake(_EQUALS, _at_least_last),
        Mistake("You keep the lowest scores. The highest stay.", _lowest),
    ),
)


_SAVED = {"A": "not less", "B": "not less", "C": "not less", "D": "less", "E": "less"}
_SAVED_WHY = {
    "A": "The weights keep their tensor: a zero takes as many bytes as any other number.",
    "B": "A dense product multiplies the zeros as well; section 1 showed it with infinity.",
    "C": "Adam keeps its averages in tensors of the weight's shape, zeros included.",
    "D": "This is what the mask is for: a pruned weight counts as zero, whatever its input is.",
    "E": "That file holds no zeros: look at the lowest line of the figure in section 5.",
}

INTERPRET = Task(
    id="1.4",
    kind="interpret",
    title="what a mask saves, and what not",
    goal=GOALS[1],
    difficulty="easy",
    minutes=5,
    hints=(
        "Ask of each: is there a tensor with one entry per weight, kept or not?",
        "A and C are such tensors, and B runs over one. D and E are about something else.",
    ),
    why="The weights (A) and the averages (C) are tensors of the same shape as before, zeros included. The product (B) "
    "runs over all of them. D is what the mask is for: a pruned weight counts as zero. E is another way to store "
    "the network. The mask makes it possible, but does not write that file.",
    next="Which hardware or format would turn D into B? Chapter 10 comes back to it.",
    verify=options("ABCDE", ("less", "not less"), _SAVED, _SAVED_WHY),
    answer=_SAVED,
)


TASKS = (PREDICT, PRUNE_LAYER, PRUNE, KEEP_BEST, INTERPRET)
