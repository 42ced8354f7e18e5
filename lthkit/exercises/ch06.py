"""Tasks of chapter 06, mask-1 actions."""

import random

import numpy as np
import torch

from lthkit.exercises.compare import Fault, compare, form, is_number, options
from lthkit.exercises.task import Mistake, Task

GOALS = ("write a mask-1 action", "design the control that separates sign from magnitude")


def _tensor(rng: np.random.Generator, values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(rng.choice(["float32", "float64"])))


def _mask(rng: np.random.Generator, rows: int, columns: int, dead: int) -> torch.Tensor:
    return torch.from_numpy(rng.permutation(rows * columns) >= dead).view(rows, columns)


_ZERO = "A weight of 0 has no sign, so nothing can have its sign: 0 stays there."


def _verify_guesses(args: tuple, got: object) -> Fault | None:
    if not isinstance(got, tuple | list) or len(got) != 3 or not all(map(is_number, got)):
        return Fault("Give three numbers: points lost with both fresh, fresh magnitudes, fresh signs.", got=got)
    for guess in got:
        if not -100 <= guess <= 100:
            return Fault(f"{guess:g} points cannot be lost: guess from -100 to 100.", got=got)
    return None


PREDICT = Task(
    id="6.0",
    kind="predict",
    title="what a ticket loses",
    goal=GOALS[1],
    difficulty="easy",
    minutes=3,
    hints=(
        "Fresh values under the ticket's masks are the re-init control of lab 2. How many points did it lose there?",
        "If only signs counted, one of the last two numbers would be 0, and the other as large as the first.",
    ),
    why="Section 5 shows your guesses beside what was measured.",
    next="Section 5 shows it beside what was measured.",
    verify=_verify_guesses,
    answer=(10, 5, 5),
    reveals=(
        "lead",
        "actions",
        "sign_learns_faster",
        "sign_ends_better",
        "sign_ends_alike",
        "lead_short",
        "lead_long",
        "drawn_fail",
        "signed_keep_up",
        "signed_close_gap",
        "lost_reinit",
        "signed_reinit",
        "closed_reinit",
        "lost_points",
        "lag_points",
        "start_magnitudes",
        "start_signs",
    ),
)


def signed_constant(initial, mask):
    alpha = initial.std(correction=0)
    return mask * alpha * initial.sign()


def _layers(rng: np.random.Generator) -> list[tuple]:
    """(initial, mask): small layers, most off the mean of 0; a row, equal weights, zeros; none or all pruned."""
    equal = torch.full((2, 2), -float(rng.uniform(0.1, 2)))
    drawn = [(_tensor(rng, rng.normal(size=(1, 2))), _mask(rng, 1, 2, 0)), (equal, _mask(rng, 2, 2, 1))]
    for rows, columns, dead in [(1, 3, 0), (1, 4, 2), (2, 3, 3), (2, 3, 6), (3, 4, 5), (4, 5, 12)]:
        weights = rng.normal(rng.choice([-0.7, 0.7]), 1, size=(rows, columns))
        weights[0, int(rng.integers(columns))] = 0
        drawn.append((_tensor(rng, weights), _mask(rng, rows, columns, dead)))
    return drawn


def _alpha_of(alpha):
    return lambda initial, mask: mask * alpha(initial, mask) * initial.sign()


def _of_kept(initial, mask):
    kept = initial[mask]
    return kept.std(correction=0) if len(kept) else 0


def _unsigned(initial, mask):
    return mask * initial.std(correction=0)


def _unmasked(initial, mask):
    return initial.std(correction=0) * initial.sign()


def _zero_signed(initial, mask):
    return mask * torch.where(initial < 0, -1, 1) * initial.std(correction=0)


def _rewound(initial, mask):
    return initial * mask


_WHOLE = "alpha is the standard deviation of all initial weights of the layer, the pruned ones too."
_ROOT = "Subtract the mean first: the standard deviation is not the root of the mean square."

SIGNED_CONSTANT = Task(
    id="6.1",
    kind="build",
    title="signed constants",
    goal=GOALS[0],
    difficulty="easy",
    minutes=6,
    hints=(
        "Two factors are enough: one number for the whole layer, and the sign of each initial weight.",
        "initial.std(correction=0) divides by n. It belongs to the whole layer, so no mask goes in.",
        "initial.sign() is -1, 0 or 1. Multiply it by alpha and by the mask.",
    ),
    why="alpha belongs to the law that the layer was drawn from, so all initial weights enter, pruned or not. `sign()` "
    "gives 0 for a weight of 0, and the mask makes pruned places 0. All that is left of a weight is one bit.",
    next="Your function is the arm signed_constant in section 5. How many bits does a ticket of 1,500 weights hold "
    "now?",
    verify=lambda args, got: compare(signed_constant(*args), got),
    reference=signed_constant,
    trials=_layers,
    mistakes=(
        Mistake(_WHOLE, _alpha_of(_of_kept)),
        Mistake(_WHOLE, _alpha_of(lambda initial, mask: (initial * mask).std(correction=0))),
        Mistake("Divide by n: std(correction=0). The default divides by n - 1.", _alpha_of(lambda w, mask: w.std())),
        Mistake(
            "alpha is the spread of the weights, not of their magnitudes: leave out the abs().",
            _alpha_of(lambda w, mask: w.abs().std(correction=0)),
        ),
        Mistake(
            "This is the mean magnitude. alpha is the standard deviation.",
            _alpha_of(lambda w, mask: w.abs().mean()),
        ),
        Mistake(_ROOT, _alpha_of(lambda w, mask: w.square().mean().sqrt())),
        Mistake(_ZERO, _zero_signed),
        Mistake("Every weight is positive. Give each the sign of its initial weight.", _unsigned),
        Mistake("Pruned places must be 0: multiply by the mask.", _unmasked),
        Mistake("These are the initial values. Their magnitudes should all be alpha.", _rewound),
    ),
)


def reshuffle_faulty(initial, mask):
    values = initial[mask]
    random.shuffle(values)
    start = torch.zeros_like(initial)
    start[mask] = values
    return start


def reshuffle_repaired(initial, mask):
    values = initial[mask]
    start = torch.zeros_like(initial)
    start[mask] = values[torch.randperm(len(values))]
    return start


def _layers_to_shuffle(rng: np.random.Generator) -> list[tuple]:
    """(initial, mask) without equal weights; in the last ones no chance leaves the order or a row as it was."""
    drawn = []
    for rows, columns, dead in [
        (1, 2, 0),
        (1, 3, 1),
        (2, 3, 2),
        (2, 3, 5),
        (3, 4, 12),
        (4, 5, 8),
        (5, 8, 4),
        (6, 10, 24),
    ]:
        drawn.append((_tensor(rng, rng.normal(size=(rows, columns))), _mask(rng, rows, columns, dead)))
    return drawn


def _verify_shuffle(args: tuple, got: object) -> Fault | None:
    initial, mask = args
    if fault := form(initial, got):
        return fault
    got, expected = torch.as_tensor(got).to(initial), "the kept values, in a drawn order"
    if got[~mask].any():
        return Fault("A value stands in a pruned place. Permute the kept values among the kept places.", expected, got)
    values, moved = initial[mask], got[mask]
    if torch.equal(values.sort().values, moved.sort().values):
        return _verify_order(initial, got, mask)
    if torch.isin(moved, initial[~mask]).any():
        return Fault("A pruned weight's value came in. Permute the kept values alone.", expected, got)
    if len(moved.unique()) < len(values) and torch.isin(moved, values).all():
        return Fault("A value stands twice, and another one is lost.", expected, got)
    return Fault("Values came up that the layer did not have: move them, do not change them.", expected, got)


def _verify_order(initial: torch.Tensor, got: torch.Tensor, mask: torch.Tensor) -> Fault | None:
    """The values are the right ones.  With many of them, an order that no draw would give is a fault."""
    values, moved = initial[mask], got[mask]
    if len(values) < 12:
        return None
    if torch.equal(values, moved):
        return Fault("No value has moved.", "the kept values, in a drawn order", got)
    ordered = [values.flip(0), values.sort().values, values.sort(descending=True).values]
    ordered += [values.roll(k) for k in range(1, len(values))]
    if any(torch.equal(moved, order) for order in ordered):
        return Fault("The values are turned round or sorted. Draw their order.", "a drawn order", got)
    for axis in (0, 1):
        lines = zip(initial.unbind(axis), got.unbind(axis), mask.unbind(axis), strict=True)
        if all(torch.equal(a[m].sort().values, b[m].sort().values) for a, b, m in lines):
            return Fault("The values stay in their row or column. Permute them over the layer.", "a drawn order", got)
    return None


RESHUFFLE = Task(
    id="6.2",
    kind="find the bug",
    title="the shuffle that loses values",
    goal=GOALS[0],
    difficulty="medium",
    minutes=8,
    hints=(
        "Shuffle torch.arange(5.) a few times with random.shuffle and look at the values.",
        "random.shuffle swaps with x[i], x[j] = x[j], x[i]. In a tensor, x[i] is a view, not a copy.",
        "Draw positions in place of values: torch.randperm(len(values)), then index with them.",
    ),
    why="`x[i]` of a tensor is a view. In `x[i], x[j] = x[j], x[i]` the first assignment overwrites what the second "
    "one reads, so one value stands twice. `torch.randperm` draws positions, and indexing with them copies. The "
    "mask on both sides keeps the values in kept places.",
    next="Does random.shuffle do the same to a NumPy array with one axis? And with two? Try it.",
    verify=_verify_shuffle,
    reference=reshuffle_repaired,
    trials=_layers_to_shuffle,
    faulty=reshuffle_faulty,
    draws=True,
)


def cross(initial, fresh):
    return fresh.abs() * initial.sign(), initial.abs() * fresh.sign()


def _pairs(rng: np.random.Generator) -> list[tuple]:
    """(initial, fresh): one weight for each pair of signs, then zeros on either side, then any."""
    size = torch.from_numpy(rng.uniform(0.1, 2, size=(2, 1, 4)).astype("float32"))
    signs = torch.tensor([[[1.0, 1, -1, -1]], [[1, -1, 1, -1]]])
    initial, fresh = size * signs
    drawn = [(initial[:, k : k + 1], fresh[:, k : k + 1]) for k in range(4)]
    zero = torch.zeros(1, 1)
    drawn += [(zero, fresh[:, :1]), (initial[:, 2:3], zero), (zero, zero.clone())]
    for rows, columns in [(2, 3), (4, 5)]:
        drawn.append(tuple(_tensor(rng, rng.normal(size=(rows, columns))) for _ in range(2)))
    return drawn


def _exchanged(initial, fresh):
    return cross(fresh, initial)


def _signs_multiplied(initial, fresh):
    return fresh * initial.sign(), initial * fresh.sign()


def _first_alike(initial, fresh):
    return cross(initial, fresh)[0], initial


def _second_alike(initial, fresh):
    return cross(initial, fresh)[0], fresh


def _signs_alone(initial, fresh):
    return initial.sign(), fresh.sign()


def _copied_signs(initial, fresh):
    return fresh.abs().copysign(initial), initial.abs().copysign(fresh)


CROSS = Task(
    id="6.3",
    kind="build",
    title="the control that changes one thing",
    goal=GOALS[1],
    difficulty="medium",
    minutes=8,
    hints=(
        "A weight is its magnitude times its sign: w.abs() * w.sign().",
        "First cell: the magnitudes of fresh, the signs of initial. Second cell: the other way round.",
    ),
    why="A weight is magnitude times sign. Taking one from each draw gives two cells that each differ from the ticket "
    "in one thing. Without `abs()` the two signs would multiply, and the product of two drawn signs is a drawn "
    "sign.",
    next="Section 5 trains your two cells. Which one do you expect to learn?",
    verify=lambda args, got: compare(cross(*args), got),
    reference=cross,
    trials=_pairs,
    mistakes=(
        Mistake("The two are exchanged: the first has the signs of initial.", _exchanged),
        Mistake("Two signs multiply here. Take abs() of what should give the magnitude.", _signs_multiplied),
        Mistake("Your second tensor is initial itself: give it the signs of fresh.", _first_alike),
        Mistake("Your second tensor is fresh itself: give it the magnitudes of initial.", _second_alike),
        Mistake("These are signs alone: multiply each by a magnitude.", _signs_alone),
        Mistake(_ZERO, _copied_signs),
    ),
)


_DIFFERS = {
    "A": ("both", "The re-init control has the ticket's masks and new weights: new signs come with new magnitudes."),
    "B": ("magnitude", "A signed form has the sign of the initial weight, as the ticket has. What is left?"),
    "C": ("sign", "Both have one magnitude a layer, the same in both. Only one of them looks at the initial signs."),
    "D": ("sign", "The magnitudes are the ticket's own. What was drawn anew?"),
    "E": ("masks", "Both start from the same fresh draw. One finds its own masks, the other one takes the ticket's."),
}


INTERPRET = Task(
    id="6.4",
    kind="interpret",
    title="what differs between two arms",
    goal=GOALS[1],
    difficulty="medium",
    minutes=5,
    hints=(
        "Go through sign, magnitude and masks, and ask of each whether the two arms share it.",
        "In A to D all arms have the ticket's masks. In E they have not, and the fresh draw is the same.",
    ),
    why="A changes two things at once, so a loss in A has two possible causes. B and C take it apart, one thing each. "
    "D is the cell that the paper's actions leave out. E needs care: an arm that searches its own masks differs "
    "in these too.",
    next="Which of the five pairs would you show to somebody who says that only the magnitudes count?",
    verify=options(
        tuple(_DIFFERS),
        ("sign", "magnitude", "both", "masks"),
        {letter: right for letter, (right, _) in _DIFFERS.items()},
        {letter: why for letter, (_, why) in _DIFFERS.items()},
    ),
    answer={letter: right for letter, (right, _) in _DIFFERS.items()},
)


TASKS = (PREDICT, SIGNED_CONSTANT, RESHUFFLE, CROSS, INTERPRET)
