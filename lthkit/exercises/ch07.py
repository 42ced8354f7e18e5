"""Tasks of chapter 07, mask-0 actions."""

import numpy as np
import torch

from lthkit.exercises.compare import Fault, compare, form, is_number, options
from lthkit.exercises.task import Mistake, Task

GOALS = ("choose the values of pruned weights", 'argue "masking is training"')
SHAPES = ((1, 2), (1, 4), (2, 3), (4, 5), (6, 7))


def _layer(rng: np.random.Generator, rows: int, columns: int) -> list[torch.Tensor]:
    """initial, final and mask of a layer in which, if it is large enough, every way to move occurs.

    Some weights shrink, grow or cross zero; some stay where they are, or end at the mirror image of where they began;
    some begin at 0.  At least one is pruned.
    """
    kind = rng.choice(["float32", "float64"])
    initial = rng.choice([-1, 1], (rows, columns)) * rng.uniform(0.2, 2, (rows, columns))
    final = initial * rng.choice([-1.6, -0.5, 0.0, 0.4, 1.7], initial.shape)
    ways = rng.permutation(initial.size)
    if initial.size > 3:
        final.flat[ways[0]] = initial.flat[ways[0]]
        final.flat[ways[1]] = -initial.flat[ways[1]]
    if initial.size > 5:
        initial.flat[ways[2]] = 0
        final.flat[ways[3:5]] = initial.flat[ways[3:5]] * [-1.6, 0.4]
    mask = rng.random(initial.shape) < 0.5
    mask.flat[ways[: 1 + 3 * (initial.size > 5)]] = False
    return [torch.from_numpy(initial.astype(kind)), torch.from_numpy(final.astype(kind)), torch.from_numpy(mask)]


_STRICT = "A weight that never moved, or ended as large as it began, did not move toward zero: `<`, not `<=`."
_CROSSED = "A weight that crosses zero and ends up larger moved away from zero: compare magnitudes, not directions."


def _verify_guesses(args: tuple, got: object) -> Fault | None:
    if not isinstance(got, tuple | list) or len(got) != 3 or not all(map(is_number, got)):
        return Fault("Give three numbers: points, percentage that is not 0, accuracy in percent.", got=got)
    lead, nonzero, before = got
    if not -100 <= lead <= 100:
        return Fault(f"A lead of {lead:g} points is not possible: guess from -100 to 100.", got=got)
    if not 0 <= nonzero <= 100:
        return Fault(f"{nonzero:g} is no percentage of weights: guess from 0 to 100.", got=got)
    return None if 0 <= before <= 100 else Fault(f"{before:g} is no accuracy in percent: guess from 0 to 100.", got=got)


PREDICT = Task(
    id="7.0",
    kind="predict",
    title="what variant 1 gains, and what it costs",
    goal=GOALS[0],
    difficulty="easy",
    minutes=3,
    hints=(
        "Variant 1 leaves those pruned weights alone that training did not move toward zero. How many may that be?",
        "Without training at all, the digits network is right in one of ten cases.",
    ),
    why="Section 5 shows your guesses beside what was measured.",
    next="Section 5 shows it beside what was measured.",
    verify=_verify_guesses,
    answer=(1, 50, 50),
    reveals=(
        "lead",
        "before",
        "same_masks",
        "variant_1_learns_faster",
        "variant_1_before_training",
        "places_matter",
        "lead_short",
        "zero_at_equal_cost",
        "lead_long",
        "sparse_network",
        "zero_sparse",
        "variant_1_sparse",
        "variant_1_nonzero",
        "variant_1_before",
        "same_masks_variant_1",
        "same_masks_variant_1_before",
    ),
)


def variant_1(start, initial, final, mask):
    toward_zero = final.abs() < initial.abs()
    return start, initial.masked_fill(toward_zero, 0)


def _rewound_layers(rng: np.random.Generator) -> list[tuple]:
    """(start, initial, final, mask), with kept weights that start from their first values or from anything else."""
    drawn = []
    for n, shape in enumerate(SHAPES):
        initial, final, mask = _layer(rng, *shape)
        start = initial.clone() if n % 2 == 0 else torch.from_numpy(rng.normal(size=shape)).to(initial)
        drawn.append((start, initial, final, mask))
    initial, final, mask = _layer(rng, 2, 3)
    return [*drawn, (final.clone(), initial, final, torch.zeros_like(mask)), (final, initial, final, mask | True)]


def _verify_variant_1(args: tuple, got: object) -> Fault | None:
    mask, expected = args[-1], variant_1(*args)
    if not isinstance(got, tuple | list) or len(got) != 2:
        return Fault("Return two tensors: start, frozen.", expected, got)
    for name, want, have, where in zip(("start", "frozen"), expected, got, (mask, ~mask), strict=True):
        if fault := form(want, have, f"The `{name}` of your function"):
            return fault
        if compare(want[where], torch.as_tensor(have)[where]):
            which = "kept weights of `start`" if name == "start" else "pruned weights of `frozen`"
            return Fault(f"The {which} have other values than expected.", expected, got)
    return None


def _zero(start, initial, final, mask):
    return start, torch.zeros_like(initial)


def _freeze(start, initial, final, mask):
    return start, initial.clone()


def _away_is_zero(start, initial, final, mask):
    return start, initial.masked_fill(final.abs() >= initial.abs(), 0)


def _by_value(start, initial, final, mask):
    return start, initial.masked_fill(final < initial, 0)


def _unmoved_are_zero(start, initial, final, mask):
    return start, initial.masked_fill(final.abs() <= initial.abs(), 0)


def _by_direction(start, initial, final, mask):
    return start, initial.masked_fill((final - initial) * initial < 0, 0)


def _trained_values(start, initial, final, mask):
    return start, final.masked_fill(final.abs() < initial.abs(), 0)


def _start_values(start, initial, final, mask):
    return start, start.masked_fill(final.abs() < initial.abs(), 0)


def _variant_2(start, initial, final, mask):
    toward_zero = final.abs() < initial.abs()
    return start.masked_fill(toward_zero, 0), initial.masked_fill(toward_zero, 0)


def _rewinds(start, initial, final, mask):
    return initial, variant_1(start, initial, final, mask)[1]


VARIANT_1 = Task(
    id="7.1",
    kind="build",
    title="variant 1 on one layer",
    goal=GOALS[0],
    difficulty="easy",
    minutes=8,
    hints=(
        "A weight moved toward zero if its magnitude is smaller after training than before.",
        "`final.abs() < initial.abs()` is a bool tensor: True where a pruned weight becomes 0.",
        "masked_fill puts a number where a bool tensor is True, and gives a new tensor. `start` stays as it is.",
    ),
    why="Only magnitudes decide: a weight that crosses zero and ends up larger moved away. `<` is strict, so a weight "
    "that never moved stays at its initial value. `mask` is not needed: what stands in `frozen` at a kept position is "
    "never used.",
    next="Which line turns this into variant 2?",
    verify=_verify_variant_1,
    reference=variant_1,
    trials=_rewound_layers,
    mistakes=(
        Mistake("This is the action zero: every pruned weight becomes 0.", _zero),
        Mistake("This is the action freeze: every pruned weight stays at its initial value.", _freeze),
        Mistake("The other way round: weights that moved toward zero become 0.", _away_is_zero),
        Mistake("You compare values. Toward zero means a smaller magnitude: is an abs() missing?", _by_value),
        Mistake(_STRICT, _unmoved_are_zero),
        Mistake(_CROSSED, _by_direction),
        Mistake("Pruned weights that moved away are frozen at `initial`, not at `final`.", _trained_values),
        Mistake("Pruned weights that moved away are frozen at `initial`, not at `start`.", _start_values),
        Mistake("This is variant 2: variant 1 leaves the kept weights of `start` alone.", _variant_2),
        Mistake("The kept weights start from `start`, which need not be `initial`.", _rewinds),
    ),
)


def next_frozen_faulty(stored, frozen, mask, initial):
    toward_zero = stored.abs() < initial.abs()
    return initial.masked_fill(toward_zero, 0)


def next_frozen(stored, frozen, mask, initial):
    effective = torch.where(mask, stored, frozen)
    return initial.masked_fill(effective.abs() < initial.abs(), 0)


def _layers_of_round_two(rng: np.random.Generator) -> list[tuple]:
    """(stored, frozen, mask, initial): pruned weights are 0 or as they began; what is stored for them means nothing."""
    drawn = []
    for n, shape in enumerate(SHAPES):
        initial, final, mask = _layer(rng, *shape)
        frozen = initial * torch.from_numpy(rng.random(shape) < 0.5)
        if len(places := torch.from_numpy(rng.permutation(mask.numel()))) > 3:
            mask.view(-1)[places[:4]] = torch.tensor([True, True, False, False])
            final.view(-1)[places[0]] = initial.view(-1)[places[0]]  # an alive weight that did not move
            frozen.view(-1)[places[2:4]] = initial.view(-1)[places[2:4]] * torch.tensor([0, 1])
        left = initial if n % 2 == 0 else initial * torch.from_numpy(rng.uniform(0.5, 1.5, shape))
        drawn.append((torch.where(mask, final, left.to(initial)), frozen, mask, initial))
    return drawn


def _verify_next(args: tuple, got: object) -> Fault | None:
    return compare(next_frozen(*args), got)


def _masked_stored(stored, frozen, mask, initial):
    return next_frozen_faulty(stored * mask, frozen, mask, initial)


def _swapped(stored, frozen, mask, initial):
    return next_frozen(stored, frozen, ~mask, initial)


def _effective(stored, frozen, mask, initial):
    return torch.where(mask, stored, frozen)


def _frozen_again(stored, frozen, mask, initial):
    return frozen.clone()


def _only_dead(stored, frozen, mask, initial):
    return torch.where(mask, initial, frozen)


def _unmoved_too(stored, frozen, mask, initial):
    effective = torch.where(mask, stored, frozen)
    return initial.masked_fill(effective.abs() <= initial.abs(), 0)


NEXT_FROZEN = Task(
    id="7.2",
    kind="find the bug",
    title="the variant that forgets",
    goal=GOALS[0],
    difficulty="medium",
    minutes=8,
    hints=(
        "Take a weight that is pruned and frozen at 0. Which number does `stored` hold for it, and what follows?",
        "The network computed with `stored` where the mask is True, and with `frozen` where it is False.",
        "Put that together with torch.where, and compare its magnitudes with those of `initial`.",
    ),
    why="A pruned weight is no longer trained, so `stored` still holds its rewound first value. That is not smaller "
    "than `initial`: the faulty function lets it come back, and variant 1 becomes freeze. The *effective* weight "
    "is what the network computed with. For a pruned weight it is 0 or its first value, and deciding again gives "
    "the same.",
    next="What would happen with weight decay, which shrinks what is stored? Which action does the bug become then?",
    verify=_verify_next,
    reference=next_frozen,
    trials=_layers_of_round_two,
    faulty=next_frozen_faulty,
    mistakes=(
        Mistake("A weight pruned before is still judged by what is stored for it: use `frozen`.", next_frozen_faulty),
        Mistake(
            "Now every weight pruned before becomes 0, even one that was frozen at its first value.", _masked_stored
        ),
        Mistake("The other way round: `stored` counts where the mask is True, `frozen` where it is False.", _swapped),
        Mistake("You return the effective weights. They are what to decide by, not the frozen values.", _effective),
        Mistake("Weights pruned next need a value too: decide for every entry.", _frozen_again),
        Mistake("The alive weights are not decided yet: one of them may be pruned next.", _only_dead),
        Mistake(_STRICT, _unmoved_too),
    ),
)


def agreement(initial, final, mask):
    toward_zero = final.abs() < initial.abs()
    share = toward_zero[~mask].double().mean()
    masking, training = mask * initial - initial, final - initial
    return share, (masking * training).sum() / (masking.norm() * training.norm())


def _trained_layers(rng: np.random.Generator) -> list[tuple]:
    """(initial, final, mask), with weights kept and pruned; the pruned ones are not all 0 at first, nor all unmoved.

    The first is no accident: a pruned negative weight moves away from zero, to a smaller value.
    """
    shapes, drawn = (*SHAPES, (3, 8), (5, 9)), []
    away = torch.tensor([[1.0, -2.0, 0.5]]) * float(rng.uniform(0.5, 2))
    drawn.append((away, away * torch.tensor([[1.5, 1.2, 0.5]]), torch.tensor([[True, False, False]])))
    while len(drawn) < 1 + len(shapes):
        initial, final, mask = _layer(rng, *shapes[len(drawn) - 1])
        if mask.any() and initial[~mask].any() and (final != initial).any():
            drawn.append((initial, final, mask))
    return drawn


def _verify_agreement(args: tuple, got: object) -> Fault | None:
    expected = agreement(*args)
    if isinstance(got, torch.Tensor | np.ndarray) and got.ndim == 1:
        got = tuple(got)
    if not isinstance(got, tuple | list) or len(got) != 2:
        return Fault("Return two numbers: share, cosine.", expected, got)
    for name, want, have in zip(("share", "cosine"), expected, got, strict=True):
        if fault := compare(want, have, f"The {name} of your function"):
            return Fault(fault.mistake.replace("returns", "has"), expected, got)
    return None


def _with(share=None, cosine=None):
    """`agreement` with another share, another cosine or both."""

    def mistaken(initial, final, mask):
        right = agreement(initial, final, mask)
        return tuple(r if other is None else other(initial, final, mask) for r, other in zip(right, (share, cosine)))

    return mistaken


def _angle(a, b):
    return (a * b).sum() / (a.norm() * b.norm())


_of_kept = _with(share=lambda wi, wf, m: (wf.abs() < wi.abs())[m].double().mean())
_of_all = _with(share=lambda wi, wf, m: (wf.abs() < wi.abs()).double().mean())
_of_layer = _with(share=lambda wi, wf, m: ((wf.abs() < wi.abs()) & ~m).double().mean())
_with_unmoved = _with(share=lambda wi, wf, m: (wf.abs() <= wi.abs())[~m].double().mean())
_by_sign = _with(share=lambda wi, wf, m: ((wf - wi) * wi < 0)[~m].double().mean())
_plain_less = _with(share=lambda wi, wf, m: (wf < wi)[~m].double().mean())
_backwards = _with(cosine=lambda wi, wf, m: _angle(wi - m * wi, wf - wi))
_to_final = _with(cosine=lambda wi, wf, m: _angle(m * wi - wi, wf))
_no_change = _with(cosine=lambda wi, wf, m: _angle(m * wi, wf))
_pruned_alone = _with(cosine=lambda wi, wf, m: _angle(-wi[~m], (wf - wi)[~m]))
_masks_final = _with(cosine=lambda wi, wf, m: _angle(m * wf - wf, wf - wi))
_not_divided = _with(cosine=lambda wi, wf, m: ((m * wi - wi) * (wf - wi)).sum())

AGREEMENT = Task(
    id="7.3",
    kind="build",
    title="did masking go where training went?",
    goal=GOALS[1],
    difficulty="medium",
    minutes=10,
    hints=(
        "`~mask` picks the pruned weights. The mean of True and False, as numbers, is a share.",
        (
            "Masking takes `initial` to `mask * initial`. Training takes `initial` to `final`. Subtract the starting "
            "point."
        ),
        "Cosine: the sum of the products, divided by the product of the two norms, over the whole layer.",
    ),
    why="Both changes start at `initial`. Where a weight is kept, masking changes nothing, but training does: that "
    "makes the norm of `training` longer and the cosine smaller. The share looks at the pruned weights alone.",
    next="Which of the two numbers can be negative? Draw two weights where it is.",
    verify=_verify_agreement,
    reference=agreement,
    trials=_trained_layers,
    mistakes=(
        Mistake("The share is that of the kept weights: the pruned ones are `~mask`.", _of_kept),
        Mistake("The share is that of all weights: look at the pruned ones, `~mask`.", _of_all),
        Mistake("You divide by the number of all weights. Divide by the number of pruned ones.", _of_layer),
        Mistake(_STRICT, _with_unmoved),
        Mistake(_CROSSED, _by_sign),
        Mistake("You compare values. Toward zero means a smaller magnitude: is an abs() missing?", _plain_less),
        Mistake("The cosine has the wrong sign: a change is *after* minus *before*.", _backwards),
        Mistake("Training's change is `final - initial`, not `final`.", _to_final),
        Mistake("The cosine is that of the weights, not of their changes: subtract `initial`.", _no_change),
        Mistake("The cosine covers the pruned weights alone. Take the whole layer.", _pruned_alone),
        Mistake("Masking starts at `initial`, not at `final`.", _masks_final),
        Mistake("This is the product of the changes. For the cosine, divide by both norms.", _not_divided),
    ),
)


_BORNE_OUT = {
    "A": ("no", "Look at the lower panel of the first figure: how many of its weights are not 0?"),
    "B": ("yes", "Compare variant 1 with the row that has as many zeros, at random places."),
    "C": ("no", "The same share comes out when each movement lands on a random weight: selection makes it."),
    "D": ("no", "Follow the cosine of large_final to the right: it ends below 0."),
    "E": ("yes", "It compares trained with initial weights, and training looked at the labels."),
}


INTERPRET = Task(
    id="7.4",
    kind="interpret",
    title='what speaks for "masking is training"',
    goal=GOALS[1],
    difficulty="medium",
    minutes=6,
    hints=(
        "For A look at the share that is not 0, for B at the rows of the second experiment.",
        "For C and D compare large_final with the line of movements that landed elsewhere, and look at its right end.",
    ),
    why="A is wrong: the frozen weights take part in every prediction. B is the argument: with the same masks and as "
    "many zeros, only their places differ. C is no argument, because selecting small final weights gives that "
    "share whatever training did. D fails where little is kept. E is why variant 1 works *before* its round's "
    "training: the training of earlier rounds chose the zeros.",
    next="Chapter 08 takes the next step: a mask on the initial weights, and no training after it.",
    verify=options(
        tuple(_BORNE_OUT),
        ("yes", "no"),
        {letter: right for letter, (right, _) in _BORNE_OUT.items()},
        {letter: why for letter, (_, why) in _BORNE_OUT.items()},
    ),
    answer={letter: right for letter, (right, _) in _BORNE_OUT.items()},
)


TASKS = (PREDICT, VARIANT_1, NEXT_FROZEN, AGREEMENT, INTERPRET)
