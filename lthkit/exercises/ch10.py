"""Tasks of chapter 10, after the hypothesis."""

import numpy as np
import torch

from lthkit.exercises.compare import Fault, compare, form, is_number, options
from lthkit.exercises.task import Mistake, Task

GOALS = ("judge what transfers", "test a claim of your own")


def _normal(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(rng.normal(size=shape).astype("float32"))


def _verify_guesses(args: tuple, got: object) -> Fault | None:
    if not isinstance(got, tuple | list) or len(got) != 2 or not all(map(is_number, got)):
        return Fault("Give two numbers of points: as it is, and matched.", got=got)
    if outside := [lost for lost in got if not -100 <= lost <= 100]:
        return Fault(f"{outside[0]:g} points are not possible: guess from -100 to 100.", got=got)
    return None


PREDICT = Task(
    id="10.0",
    kind="predict",
    title="another network's mask",
    goal=GOALS[0],
    difficulty="medium",
    minutes=3,
    hints=(
        "Unit 1 of one network has nothing to do with unit 1 of another. What does a mask know of units?",
        "The re-init control of lab 2 also has a mask that was found with other weights.",
    ),
    why="Section 5 shows your guesses beside what was measured.",
    next="Section 5 shows it beside what was measured.",
    verify=_verify_guesses,
    answer=(10, 5),
    reveals=(
        "transfer",
        "own",
        "as_is",
        "matched",
        "as_is_behind",
        "matched_behind",
        "matched_beats_as_is",
        "matched_near_own",
    ),
)


def between_faulty(a, b, share):
    point = dict(a)
    for name in point:
        point[name] += share * (b[name] - a[name])
    return point


def between_repaired(a, b, share):
    return {name: a[name] + share * (b[name] - a[name]) for name in a}


def _states(rng: np.random.Generator) -> list[tuple]:
    """Two states of one network and a share; the shares are no mirror images of each other."""
    drawn = []
    for out, into, share in [(1, 2, 1.0), (1, 2, 0.25), (2, 2, 0.1), (2, 3, 0.7), (4, 5, 0.0), (3, 6, 0.4)]:
        a, b = ({"weight": _normal(rng, out, into), "bias": _normal(rng, out)} for _ in range(2))
        drawn.append((a, b, share))
    return drawn


def _verify_between(args: tuple, got: object) -> Fault | None:
    return compare(between_repaired(*args), got)


def _from_the_other_end(a, b, share):
    return between_repaired(b, a, share)


def _half_way(a, b, share):
    return between_repaired(a, b, 0.5)


def _only_the_way(a, b, share):
    return {name: share * (b[name] - a[name]) for name in a}


def _beyond(a, b, share):
    return {name: a[name] + share * b[name] for name in a}


BETWEEN = Task(
    id="10.1",
    kind="find the bug",
    title="the line that moves its start",
    goal=GOALS[0],
    difficulty="medium",
    minutes=6,
    hints=(
        "Call it twice with the same networks, and compare what you put in before and after.",
        "dict(a) copies the names, not the tensors: += then writes into those of a.",
        "Make new tensors: a[name] + share * (b[name] - a[name]).",
    ),
    why="`dict(a)` is a new dict with the old tensors. `+=` works in place, so each call moves the start of the line. "
    "The second point is then too far along. A plain sum makes a new tensor.",
    next="Which of your own functions write into a state dict that somebody else still holds?",
    verify=_verify_between,
    reference=between_repaired,
    trials=_states,
    faulty=between_faulty,
    mistakes=(
        Mistake("The line runs the wrong way: a share of 0 is a, a share of 1 is b.", _from_the_other_end),
        Mistake("This is always half way. Use the share.", _half_way),
        Mistake("This is the way from a, without a itself: add it.", _only_the_way),
        Mistake("A share of 1 must give b alone: add a share of the difference b - a.", _beyond),
    ),
)


def permute_units(weight, bias, outgoing, order):
    return weight[order], bias[order], outgoing[:, order]


def _hidden_layers(rng: np.random.Generator) -> list[tuple]:
    """A hidden layer with outgoing weights to as many units; from the second on, no order is its own inverse."""
    drawn = []
    for units, into in [(2, 1), (3, 2), (3, 3), (4, 2), (5, 5), (6, 3)]:
        circle = rng.permutation(units)
        order = np.empty(units, dtype=np.int64)
        order[circle] = np.roll(circle, 1)  # each unit to the place of the next one
        layer = _normal(rng, units, into), _normal(rng, units), _normal(rng, units, units)
        drawn.append((*layer, torch.from_numpy(order)))
    return drawn


def _verify_units(args: tuple, got: object) -> Fault | None:
    return compare(permute_units(*args), got)


def _incoming_alone(weight, bias, outgoing, order):
    return weight[order], bias[order], outgoing


def _rows_of_both(weight, bias, outgoing, order):
    return weight[order], bias[order], outgoing[order]


def _there_and_back(weight, bias, outgoing, order):
    return weight[order], bias[order], outgoing[:, order.argsort()]


def _inverse(weight, bias, outgoing, order):
    return permute_units(weight, bias, outgoing, order.argsort())


def _without_bias(weight, bias, outgoing, order):
    return weight[order], bias, outgoing[:, order]


PERMUTE = Task(
    id="10.2",
    kind="build",
    title="the same network in another order",
    goal=GOALS[0],
    difficulty="medium",
    minutes=8,
    hints=(
        "A unit is a row of its layer's weight, an entry of its bias, and a column of the next layer's weight.",
        "weight[order] puts row order[i] at place i.",
        "The columns of the next weight move in the same way: outgoing[:, order].",
    ),
    why="A unit takes its row, its bias and its outgoing column along, so each sum of the next layer adds the same "
    "products in another order. If only the rows move, the next layer reads the wrong units.",
    next="Compute the logits before and after. How far apart may they be, in float32?",
    verify=_verify_units,
    reference=permute_units,
    trials=_hidden_layers,
    mistakes=(
        Mistake("The next layer still reads the old places: permute its columns too.", _incoming_alone),
        Mistake("Units are the columns of the next layer's weight, not its rows.", _rows_of_both),
        Mistake("The columns move by the inverse: use the same order as for the rows.", _there_and_back),
        Mistake("This is the inverse order: unit order[i] must come to place i.", _inverse),
        Mistake("A unit takes its bias along.", _without_bias),
    ),
)


def shuffle_mask(mask):
    return mask.flatten()[torch.randperm(mask.numel())].view(mask.shape)


def _blocks(rng: np.random.Generator) -> list[tuple]:
    """Masks; in the larger ones a block is kept, so that no true shuffle leaves the counts of all rows or columns."""
    drawn = []
    for rows, columns in [(1, 2), (2, 3), (3, 4)]:
        kept = rng.permutation(rows * columns) < rng.integers(1, rows * columns)
        drawn.append((torch.from_numpy(kept).view(rows, columns),))
    for rows, columns in [(10, 12), (14, 10)]:
        mask = torch.zeros(rows, columns, dtype=torch.bool)
        mask[: rows // 2, : columns // 2] = True
        drawn.append((mask,))
    return drawn


def _verify_places(args: tuple, got: object) -> Fault | None:
    (mask,) = args
    expected = f"{int(mask.sum())} of {mask.numel()} kept, at drawn places"
    if fault := form(mask, got):
        return fault
    got = torch.as_tensor(got)
    if got.sum() != mask.sum():
        return Fault("Another number of weights is kept: move the entries, do not draw each anew.", expected, got)
    if mask.numel() < 100:
        return None
    for axis, line in ((1, "row"), (0, "column")):
        if torch.equal(got.sum(axis), mask.sum(axis)):
            return Fault(f"Each {line} keeps as many as before. Draw places over the whole layer.", expected, got)
    if any(torch.equal(mask.flatten().roll(k), got.flatten()) for k in range(mask.numel())):
        return Fault("The entries keep their order. Draw it.", expected, got)
    return None


SHUFFLE = Task(
    id="10.3",
    kind="build",
    title="a mask without its places",
    goal=GOALS[0],
    difficulty="easy",
    minutes=5,
    hints=(
        "Only the number kept may survive. Lay the mask out as one row, and permute that.",
        "torch.randperm(n) draws an order of n entries; index with it, then view as before.",
    ),
    why="All that is left is how many weights the layer keeps. Shuffled row by row, each unit would keep its number of "
    "inputs. Drawn entry by entry, the layer would keep another number.",
    next="Which of the criteria of lab 3 would you expect to lose nothing by this?",
    verify=_verify_places,
    reference=shuffle_mask,
    trials=_blocks,
    draws=True,
)


_DESIGNS = ("sound", "unequal arms", "chosen on the test set", "fixed too late")
_RIGHT = {"A": "unequal arms", "B": "chosen on the test set", "C": "fixed too late", "D": "sound"}
_SAYS = {
    "A": "Count the epochs of each arm.",
    "B": "What picked the rate that is reported?",
    "C": "When was the margin named?",
    "D": "Undecided is an outcome, not a fault. Is anything wrong with the arms, the choice or the order?",
}

INTERPRET = Task(
    id="10.4",
    kind="interpret",
    title="four designs",
    goal=GOALS[1],
    difficulty="medium",
    minutes=5,
    hints=(
        "Ask of each: do both arms get the same? What saw the test images? What was fixed before the look?",
        "One design is sound although it decides nothing.",
    ),
    why="In A one arm trains three times as long. In B the test images picked the rate, so they no longer stand for "
    "unseen ones. In C the margin was cut to fit the data. D did all in order; that its seeds could not decide is what "
    "it found.",
    next="Section 6 has a rubric: hold your own design against it.",
    verify=options("ABCD", _DESIGNS, _RIGHT, _SAYS),
    answer=_RIGHT,
)


TASKS = (PREDICT, BETWEEN, PERMUTE, SHUFFLE, INTERPRET)
