"""Tasks of chapter 05, mask criteria."""

import numpy as np
import torch

from lthkit.exercises.compare import Fault, compare, form, is_number, options
from lthkit.exercises.task import Mistake, Task

GOALS = ("implement a criterion", "place it in the (initial, final) plane")


def _pairs(rng: np.random.Generator) -> list[tuple]:
    """(initial, final) of small layers: a weight for each of the six ways to move, zeros and ties, then any."""
    size = rng.uniform(0.1, 2, size=(2, 1, 6)).astype("float32")
    small, large = torch.from_numpy(size).sort(dim=0).values
    moves = [(small, large), (large, small), (-small, -large), (-large, -small), (small, -large), (large, -small)]
    drawn = [(initial[:, k : k + 1], final[:, k : k + 1]) for k, (initial, final) in enumerate(moves)]
    zero = torch.zeros(1, 2)
    some = torch.from_numpy(rng.choice([-1.0, 1.0], size=(1, 2)).astype("float32")) * float(rng.uniform(0.1, 2))
    drawn += [(zero, some), (some, zero), (some, some.clone()), (some, -some), (zero, zero.clone())]
    for rows, columns in [(2, 3), (4, 5)]:
        dtype = rng.choice(["float32", "float64"])
        drawn.append(tuple(torch.from_numpy(rng.normal(size=(rows, columns)).astype(dtype)) for _ in range(2)))
    return drawn


RANKED = ("large_final", "magnitude_increase", "large_init_large_final", "movement", "random")


def _verify_order(args: tuple, got: object) -> Fault | None:
    if not isinstance(got, tuple | list) or len(got) != 2:
        return Fault("Give two things: the list of five names, and the points.", got=got)
    order, points = got
    if not isinstance(order, tuple | list) or not all(isinstance(name, str) for name in order):
        return Fault("Give the order as a list of names in quotation marks.", got=got)
    if sorted(order) != sorted(RANKED):
        return Fault(f"Name each of these once: {', '.join(RANKED)}.", got=got)
    if not is_number(points) or not -100 <= points <= 100:
        return Fault("Guess the lead in percentage points, a number from -100 to 100.", got=got)
    return None


PREDICT = Task(
    id="5.0",
    kind="predict",
    title="which weights to keep",
    goal=GOALS[1],
    difficulty="easy",
    minutes=3,
    hints=(
        "Look at what the score reads. Which of the five know nothing of the training?",
        "A random mask keeps useful and useless weights alike. A guess of 0 points says that the choice is no matter.",
    ),
    why="Section 5 shows your order and your guess beside what was measured.",
    next="Section 5 shows it beside what was measured.",
    verify=_verify_order,
    answer=(list(RANKED), 5),
    reveals=(
        "lead",
        "ladder",
        "large_final_best",
        "leaders_alike",
        "both_large_before_movement",
        "choice_matters",
        "accuracy_large_final",
        "accuracy_magnitude_increase",
        "accuracy_large_init_large_final",
        "accuracy_movement",
        "accuracy_random",
    ),
)


def magnitude_increase(initial, final):
    return final.abs() - initial.abs()


def _movement(initial, final):
    return (final - initial).abs()


def _difference(initial, final):
    return final - initial


def _decrease(initial, final):
    return initial.abs() - final.abs()


def _change_of_size(initial, final):
    return (final.abs() - initial.abs()).abs()


def _large_final(initial, final):
    return final.abs()


def _ratio(initial, final):
    return final.abs() / initial.abs()


def _clamped(initial, final):
    return (final.abs() - initial.abs()).clamp(min=0)


MAGNITUDE_INCREASE = Task(
    id="5.1",
    kind="build",
    title="magnitude increase",
    goal=GOALS[0],
    difficulty="easy",
    minutes=5,
    hints=(
        "A weight's magnitude is its distance from 0. How large was it before, how large is it after?",
        "Two calls of abs() and one minus are enough. A weight from -0.1 to -0.4 grew by 0.3.",
    ),
    why="Each magnitude is taken before the difference. `(final - initial).abs()` takes it afterwards and asks how far "
    "a weight moved, wherever to. The two differ for each weight that shrank or changed its sign.",
    next="Draw the line where this score is 0 into the figure of section 1. Why is it a pair of lines?",
    verify=lambda args, got: compare(magnitude_increase(*args), got),
    reference=magnitude_increase,
    trials=_pairs,
    mistakes=(
        Mistake("This is how far the weight moved, the score of movement. Take both magnitudes first.", _movement),
        Mistake("You subtract values. A weight from -0.1 to -0.4 grew: take both magnitudes first.", _difference),
        Mistake("The sign is reversed: your score is high where a weight shrank.", _decrease),
        Mistake("The outer abs() scores a weight that shrank as high as one that grew.", _change_of_size),
        Mistake("This is large_final: the initial weight does not enter.", _large_final),
        Mistake("You divide. The score is a difference, and for a weight that starts at 0 it must exist.", _ratio),
        Mistake("A weight that shrank has a negative score. Cut off at 0, all of these become equal.", _clamped),
    ),
)


def both_large_faulty(initial, final, mask, keep):
    # ranks: 0 for the smallest
    ranks = [w.abs().flatten().argsort().argsort() for w in (initial, final)]
    score = torch.minimum(*ranks).masked_fill(~mask.flatten(), -1)
    new_mask = torch.zeros_like(mask)
    new_mask.view(-1)[score.argsort(descending=True)[:keep]] = True
    return new_mask


def both_large(initial, final, mask, keep):
    alive = mask.flatten().nonzero().flatten()  # positions of the alive weights
    ranks = [w.flatten()[alive].abs().argsort().argsort() for w in (initial, final)]
    best = torch.minimum(*ranks).argsort(descending=True)[:keep]
    new_mask = torch.zeros_like(mask)
    new_mask.view(-1)[alive[best]] = True
    return new_mask


def _rounds(rng: np.random.Generator) -> list[tuple]:
    """(initial, final, mask, keep) without equal magnitudes, the two at different scales.

    In final the pruned weights are 0, in initial they are not.
    """
    drawn = []
    for rows, columns, dead, keep in [(1, 3, 0, 1), (1, 4, 2, 1), (2, 3, 2, 0), (2, 4, 3, 5), (3, 4, 6, 2),
                                      (3, 5, 0, 4), (4, 5, 9, 3), (6, 8, 24, 8), (8, 9, 50, 6),
                                      (9, 8, 20, 20)]:  # fmt: skip
        dtype = rng.choice(["float32", "float64"])
        scales = rng.permutation([0.2, 1.0])
        initial, final = (torch.from_numpy(rng.normal(0, s, size=(rows, columns)).astype(dtype)) for s in scales)
        if rows == 9:
            final = final**3  # another law: what is large for both is a question of ranks, not of spreads
        mask = torch.from_numpy(rng.permutation(rows * columns) >= dead).view(rows, columns)
        drawn.append((initial, final * mask, mask, keep))
    return drawn


def _smaller_rank(initial: torch.Tensor, final: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """[alive weights], for each the smaller of its two ranks among them."""
    sizes = [w[mask].double().abs() for w in (initial, final)]
    return torch.minimum(*((size[:, None] > size).sum(1) for size in sizes))


def _verify_both(args: tuple, got: object) -> Fault | None:
    initial, final, mask, keep = args
    expected = both_large(*args)
    if fault := form(expected, got):
        return fault
    got = torch.as_tensor(got)
    if (got & ~mask).any():
        return Fault("A pruned weight came back: only alive weights may be kept.", expected, got)
    if int(got.sum()) != keep:
        return Fault(f"{int(got.sum())} weights are kept, not {keep}.", expected, got)
    rank, chosen = _smaller_rank(initial, final, mask), got[mask]
    if 0 < keep < len(rank) and rank[chosen].min() < rank[~chosen].max():
        return Fault(
            "The count is right, but a weight was dropped while one of a lower common rank stayed.", expected, got
        )
    return None


def _by_value(initial, final, mask, keep):
    return both_large(initial - initial.min() + 1, final - final.min() + 1, mask, keep)


def _either(initial, final, mask, keep):
    return _highest(torch.maximum(*_ranks(initial, final, mask)), mask, keep)


def _sum_of_ranks(initial, final, mask, keep):
    return _highest(sum(_ranks(initial, final, mask)), mask, keep)


def _one_threshold(initial, final, mask, keep):
    return _highest(torch.minimum(initial.abs()[mask], final.abs()[mask]), mask, keep)


def _over_spread(initial, final, mask, keep):
    return _highest(torch.minimum(*(w.abs()[mask] / w[mask].std() for w in (initial, final))), mask, keep)


def _over_whole_spread(initial, final, mask, keep):
    return _highest(torch.minimum(*(w.abs()[mask] / w.std() for w in (initial, final))), mask, keep)


def _lowest(initial, final, mask, keep):
    return _highest(-torch.minimum(*_ranks(initial, final, mask)), mask, keep)


def _final_alone(initial, final, mask, keep):
    return _highest(final[mask].abs(), mask, keep)


def _initial_alone(initial, final, mask, keep):
    return _highest(initial[mask].abs(), mask, keep)


def _ranked_among_all(initial, final, mask, keep):
    return _highest(
        torch.minimum(*(w.abs().flatten().argsort().argsort().view_as(w)[mask] for w in (initial, final))), mask, keep
    )


def _ranks(initial, final, mask):
    return [w[mask].abs().argsort().argsort() for w in (initial, final)]


def _highest(score, mask, keep):
    new_mask = torch.zeros_like(mask)
    best = score.argsort(descending=True, stable=True)[:keep]
    new_mask.view(-1)[mask.flatten().nonzero().flatten()[best]] = True
    return new_mask


_SPREAD = "You divide by the spread. Two sizes become comparable by their ranks, whatever the law of the weights."
_COUNTED = "The ranks still count pruned weights: rank the alive ones alone."

BOTH_LARGE = Task(
    id="5.2",
    kind="find the bug",
    title="the criterion that forgets the training",
    goal=GOALS[0],
    difficulty="medium",
    minutes=10,
    hints=(
        "Prune half of a layer, then look at the two ranks of the alive weights. Between which numbers does each lie?",
        "In `final` the pruned weights are 0 and take the lowest ranks. In `initial` they are spread over all ranks.",
        "Common means: counted among the same weights. Cut the alive ones out first, then rank.",
    ),
    why="The pruned weights are 0 in `final`, so every alive weight outranks them there. In `initial` they still have "
    "their first values. The rank by |final| is then high for all alive weights, and the smaller of the two ranks "
    "is nearly always that by |initial|. Among the alive weights alone, the two ranks run over the same numbers.",
    next="How does both_large change if you set `initial` to 0 at the pruned positions instead of ranking the alive?",
    verify=_verify_both,
    reference=both_large,
    trials=_rounds,
    faulty=both_large_faulty,
    mistakes=(
        Mistake("A sum of ranks lets one make up for the other. Both must be large: take the smaller.", _sum_of_ranks),
        Mistake(_COUNTED, both_large_faulty),
        Mistake(_COUNTED, _ranked_among_all),
        Mistake("You rank by value. The criterion asks for large magnitudes: is an abs() missing?", _by_value),
        Mistake("The larger of two ranks asks for one large magnitude. Both must be large: take the smaller.", _either),
        Mistake(
            "You compare |initial| with |final|. What they have in common is the rank, not the size.",
            _one_threshold,
        ),
        Mistake(_SPREAD, _over_spread),
        Mistake(_SPREAD, _over_whole_spread),
        Mistake("You keep the lowest ranks. The highest stay.", _lowest),
        Mistake("This is large_final: the initial weights do not enter.", _final_alone),
        Mistake("This is large_init: the trained weights do not enter.", _initial_alone),
    ),
)


def fate(initial, final):
    flipped = initial.sign() * final.sign() < 0
    grew = final.abs() > initial.abs()
    return torch.where(flipped, 2, grew.long())


def _verify_fate(args: tuple, got: object) -> Fault | None:
    fault = compare(fate(*args), got)
    if fault is None or form(fault.expected, got):
        return fault
    strange = set(torch.as_tensor(got).flatten().tolist()) - {0, 1, 2}
    if strange:
        return Fault(f"Give each weight 0, 1 or 2, not {min(strange):g}.", fault.expected, got)
    return fault


def _grew_first(initial, final):
    flipped = initial.sign() * final.sign() < 0
    return torch.where(final.abs() > initial.abs(), 1, 2 * flipped.long())


def _never_flipped(initial, final):
    return (final.abs() > initial.abs()).long()


def _stayed_grew(initial, final):
    return torch.where(initial.sign() * final.sign() < 0, 2, (final.abs() >= initial.abs()).long())


def _zero_flips(initial, final):
    return torch.where(initial.sign() != final.sign(), 2, (final.abs() > initial.abs()).long())


def _grew_by_value(initial, final):
    return torch.where(initial.sign() * final.sign() < 0, 2, (final > initial).long())


def _exchanged(initial, final):
    return torch.where(initial.sign() * final.sign() < 0, 2, (final.abs() <= initial.abs()).long())


FATE = Task(
    id="5.3",
    kind="build",
    title="grew, shrank or flipped",
    goal=GOALS[1],
    difficulty="medium",
    minutes=8,
    hints=(
        "A flip needs opposite signs. Which sign has the product of two numbers with opposite signs?",
        "Flipped comes first: a weight from 0.2 to -0.5 is larger than before, and still a flip.",
        "torch.where(flipped, 2, grew.long()) gives 2 where flipped is true, else 0 or 1.",
    ),
    why="In the plane, a flip lies in the upper left or the lower right quadrant. In the other two quadrants the "
    "diagonals part growth from shrinking. A weight that is 0 before or after has no sign to lose.",
    next="Where in the plane are the weights that training could not move? Section 5 looks at the pixels they belong "
    "to.",
    verify=_verify_fate,
    reference=fate,
    trials=_pairs,
    mistakes=(
        Mistake("A weight that changed its sign and grew counts as flipped: decide on the flip first.", _grew_first),
        Mistake("No weight of yours ever flips: compare the signs before the magnitudes.", _never_flipped),
        Mistake("A weight of unchanged magnitude did not grow: use > in place of >=.", _stayed_grew),
        Mistake("A weight that is 0 has no sign. Only opposite signs are a flip.", _zero_flips),
        Mistake("You compare values. A weight from -0.1 to -0.4 grew: compare magnitudes.", _grew_by_value),
        Mistake("0 and 1 are exchanged: 1 is for a weight that grew.", _exchanged),
    ),
)


_FOLLOWS = {
    "A": ("yes", "Both scores leave the trained weight out, so their masks can be drawn before the training."),
    "B": (
        "no",
        "Where more is kept than grew, the rest comes from weights that shrank: look at its first-round column.",
    ),
    "C": (
        "yes",
        "A weight that goes from 0.5 to 0 has moved by 0.5. Movement scores that as high as a way from 0 to 0.5.",
    ),
    "D": ("no", "Their accuracies are close, but look at the column that says how many weights the two share."),
    "E": ("yes", "One score is the other with a minus sign. Of the same layer they keep opposite ends."),
}


INTERPRET = Task(
    id="5.4",
    kind="interpret",
    title="what the scores can and cannot see",
    goal=GOALS[1],
    difficulty="medium",
    minutes=6,
    hints=(
        "Three of the five follow from the formulas alone. Find the two that need the table of section 5.",
        "For C, put a weight at initial = 0.5, final = 0, and read off the score of movement.",
    ),
    why="A criterion sees a weight as one point of the plane. large_init and small_init read its horizontal position "
    "only (A). The V-shaped border of magnitude_increase slides down as more is kept, and below the diagonals lie "
    "weights that shrank (B). The band of movement cuts through the horizontal axis, where weights end at 0 (C). "
    "Equal accuracy does not mean equal masks (D). A minus sign turns a region into its complement (E).",
    next="Which criterion would keep the weights that flipped, and nothing else? Write it as an arm of section 8.",
    verify=options(
        tuple(_FOLLOWS),
        ("yes", "no"),
        {letter: right for letter, (right, _) in _FOLLOWS.items()},
        {letter: why for letter, (_, why) in _FOLLOWS.items()},
    ),
    answer={letter: right for letter, (right, _) in _FOLLOWS.items()},
)


TASKS = (PREDICT, MAGNITUDE_INCREASE, BOTH_LARGE, FATE, INTERPRET)
