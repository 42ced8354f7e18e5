"""Tasks of chapter 02, winning tickets."""

from itertools import accumulate

import numpy as np
import torch
from torch import Tensor, nn

from lthkit.exercises import ch01
from lthkit.exercises.compare import Fault, compare, form, number, options
from lthkit.exercises.task import Mistake, Task

GOALS = ("write the prune–rewind loop", "tell a ticket, a re-init control and fine-tuning apart")


PREDICT = Task(
    id="2.0",
    kind="predict",
    title="the ticket's lead over its control",
    goal=GOALS[1],
    difficulty="easy",
    minutes=2,
    hints=(
        "A lead of 0 says that the mask alone makes the ticket. What would a lead of 10 points say?",
        "Both networks train for equally long on the same batches. Only the values that they start from differ.",
    ),
    why="Section 5 shows your guess beside the interval of ten seeds.",
    next="Section 5 shows it beside the interval of ten seeds.",
    verify=number(-100, 100, "points"),
    answer=5,
    reveals=(
        "lead",
        "learning",
        "ticket_beats_control",
        "accuracy_rewind",
        "accuracy_control",
        "reinit_strategy",
    ),
)


def prune_and_rewind(trained, initial, mask, rate):
    new_mask = mask.clone()
    alive = mask.flatten().nonzero().flatten()  # positions of the alive weights
    order = trained.flatten()[alive].abs().argsort()
    new_mask.view(-1)[alive[order[: round(rate * len(alive))]]] = False
    return new_mask, initial * new_mask


def _trained_layers(rng: np.random.Generator) -> list[tuple]:
    """The layers of task 1.1, where pruned weights are now 0, each with the weights that it started from."""
    drawn = []
    for weights, mask, rate in ch01.PRUNE_LAYER.trials(rng):
        initial = torch.from_numpy(rng.normal(size=weights.shape)).to(weights.dtype)
        drawn.append((weights * mask, initial, mask, rate))
    return drawn


def _verify_round(args: tuple, got: object) -> Fault | None:
    trained, initial, mask, rate = args
    expected = prune_and_rewind(*args)
    if not isinstance(got, tuple | list) or len(got) != 2:
        says = "Return two tensors: the new mask, and the weights that the next training starts from."
        return Fault(says, expected, got)
    if fault := ch01.PRUNE_LAYER.verify((trained, mask, rate), got[0]):
        return fault
    new_mask, start = torch.as_tensor(got[0]), got[1]
    rewound = initial * new_mask
    if form(rewound, start):
        return compare(rewound, start, "As the start, your function")
    if compare(rewound, start):
        return Fault("Kept weights start from `initial`, pruned ones from 0.", (new_mask, rewound), got)
    return None


def _from_lesson_1(mistake: Mistake) -> Mistake:
    """The same mistake in the mask; the rewinding is right."""

    def does(trained, initial, mask, rate):
        new_mask = mistake.does(trained, mask, rate)
        return new_mask, initial * new_mask

    return Mistake(mistake.says, does)


def _trained_start(trained, initial, mask, rate):
    return prune_and_rewind(trained, trained, mask, rate)


def _ranked_by_initial(trained, initial, mask, rate):
    new_mask = prune_and_rewind(initial, initial, mask, rate)[0]
    return new_mask, initial * new_mask


def _dense_start(trained, initial, mask, rate):
    return prune_and_rewind(trained, initial, mask, rate)[0], initial


def _old_mask_start(trained, initial, mask, rate):
    return prune_and_rewind(trained, initial, mask, rate)[0], initial * mask


PRUNE_AND_REWIND = Task(
    id="2.1",
    kind="build",
    title="one round of prune and rewind",
    goal=GOALS[0],
    difficulty="medium",
    minutes=10,
    hints=(
        "Three tensors, three jobs: `mask` says who takes part, `trained` ranks, `initial` gives the values.",
        "The mask is that of exercise 1.1: rank |trained| among the alive weights, and drop the lowest.",
        "The start is a product of `initial` and one of the two masks. Which one?",
    ),
    why="Only alive weights are ranked: a pruned weight is 0 and would win every contest for the smallest value. "
    "`trained` gives the ranking and `initial` the values. Return `trained * new_mask` instead, and the same loop "
    "is fine-tuning. Return fresh values, and it is the re-init arm.",
    next="Which line would you change to get fine-tuning, and which for the re-init arm?",
    verify=_verify_round,
    reference=prune_and_rewind,
    trials=_trained_layers,
    mistakes=(
        Mistake(
            "Kept weights start from their trained values: that is fine-tuning. A ticket starts from `initial`.",
            _trained_start,
        ),
        Mistake("All weights start from `initial`, the pruned ones too. Those start from 0.", _dense_start),
        Mistake(
            "The start still holds the weights that this round prunes: it needs the new mask, not the old one.",
            _old_mask_start,
        ),
        Mistake("You rank by `initial`. Its values are those to start from; `trained` ranks.", _ranked_by_initial),
        *(_from_lesson_1(mistake) for mistake in ch01.PRUNE_LAYER.mistakes),
    ),
)


def rewind_faulty(model, saved):
    for name, parameter in model.named_parameters():
        parameter.data = saved[name]


def rewind_repaired(model, saved):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(saved[name])


def _trained_models(rng: np.random.Generator) -> list[tuple]:
    """Models after some training, each with its first values: one layer, then several, and a convolution."""
    models = [nn.Linear(1, 1), nn.Linear(2, 2, bias=False), nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)),
              nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Sequential(nn.Linear(2, 2)))]  # fmt: skip
    drawn = []
    for model in models:
        saved = {}
        with torch.no_grad():
            for name, p in model.named_parameters():
                saved[name] = torch.from_numpy(rng.normal(size=p.shape).astype("float32"))
                p.copy_(saved[name] + torch.from_numpy(rng.uniform(0.1, 1, size=p.shape)))
        drawn.append((model, saved))
    return drawn


def _verify_rewound(args: tuple, got: tuple) -> Fault | None:
    (trained, first), (model, saved) = args, got
    now = dict(model.named_parameters())
    if set(now) != set(first):
        return Fault(
            "The model has other parameters than before: write into those that it has.", list(first), list(now)
        )
    if any(compare(first[name], saved.get(name)) for name in first):
        return Fault("`saved` has changed: copy from it, not into it.", first, saved)
    off = [name for name in first if compare(first[name], now[name])]
    if off and not any(compare(p, now[name]) for name, p in trained.named_parameters()):
        says = (
            "The model is unchanged. `parameter = …` only gives the name to something else: write into the parameter."
        )
        return Fault(says, first, now)
    if off:
        return Fault(f"Not rewound: {', '.join(off)}. Biases have first values as well.", first, now)
    return verify_copied(now, saved) or verify_trainable(now)


def verify_trainable(parameters: dict[str, Tensor]) -> Fault | None:
    """A fault where a parameter is not the one that was handed over, or an optimizer could no longer train it."""
    for name, parameter in parameters.items():
        before = getattr(parameter, "original", None)
        if before is None:
            says = f"{name} is a new parameter: an optimizer made before knows only the old one. Write into that one."
            return Fault(says, "the parameter that was there", "another one")
        if parameter.requires_grad != before.requires_grad:
            says = f"{name} asks for no gradient any more: the next training would leave it as it is."
            return Fault(says, "requires_grad as it was", "requires_grad = False")
        if parameter.dtype != before.dtype:
            return Fault(f"{name} is {parameter.dtype} now: it was {before.dtype}.", before.dtype, parameter.dtype)
    return None


def verify_copied(parameters: dict[str, Tensor], saved: dict[str, Tensor]) -> Fault | None:
    """A fault where a parameter has its values in the memory of a saved tensor."""
    memory = {tensor.untyped_storage().data_ptr() for tensor in saved.values()}
    shared = [name for name, p in parameters.items() if p.untyped_storage().data_ptr() in memory]
    if not shared:
        return None
    says = "Parameter and saved tensor are one and the same now: the next training changes both. Copy the values."
    return Fault(says, "a copy of each saved tensor", f"{', '.join(shared)}: the saved tensor itself")


REWIND = Task(
    id="2.2",
    kind="find the bug",
    title="the rewind that works once",
    goal=GOALS[0],
    difficulty="medium",
    minutes=8,
    hints=(
        "Call it, add 1 to every parameter, and print `saved`. What has happened to it?",
        "`parameter.data = saved[name]` copies nothing: it makes the parameter *be* that tensor.",
        "`copy_` moves values into a parameter. Around it, `with torch.no_grad():` keeps autograd from refusing.",
    ),
    why="`parameter.data = saved[name]` makes the parameter *be* the saved tensor. The next training then "
    "changes both. `copy_` moves the values and leaves the saved tensor alone. "
    "`model.load_state_dict(saved)` copies as well.",
    next="Which other line of this lab saves values that must not change later, and how does it make sure?",
    verify=_verify_rewound,
    reference=rewind_repaired,
    trials=_trained_models,
    faulty=rewind_faulty,
    in_place=True,
)


def rounds_faulty(weights, rate, rounds):
    mask = torch.ones_like(weights, dtype=torch.bool)
    for _ in range(rounds):
        alive = weights[mask].abs().sort().values
        removed = int(rate * len(alive))
        mask &= weights.abs() > alive[removed]
    return mask


def rounds_repaired(weights, rate, rounds):
    mask = torch.ones_like(weights, dtype=torch.bool)
    for _ in range(rounds):
        alive = weights[mask].abs().sort().values
        removed = round(rate * len(alive))
        mask &= weights.abs() >= alive[removed]
    return mask


def left_after(count: int, rate: float, rounds: int) -> list[int]:
    """How many of `count` weights are left after each round."""
    return list(accumulate(range(rounds), lambda alive, _: alive - round(rate * alive), initial=count))[1:]


def _ladders(rng: np.random.Generator) -> list[tuple]:
    """Layers without ties, of which something is left after all rounds.

    3 weights at 0.5 show what `int` does, 4 at 0.25 what `>` does.  At 0.29 of 100 the two faults cancel,
    and at 0.36 of 10 in the first of two rounds only.
    """
    fixed = [(3, 0.5, 1), (4, 0.25, 1), (5, 0.2, 0), (5, 0.0, 2), (5, 0.5, 1), (5, 0.5, 2), (10, 0.36, 2),
             (60, 0.36, 3), (100, 0.29, 1)]  # fmt: skip
    drawn = [(rng.normal(size=(1, count)), rate, rounds) for count, rate, rounds in fixed]
    while len(drawn) < 11:
        rows, columns, rounds = (int(n) for n in rng.integers(2, 8, size=3))
        rate = round(float(rng.uniform(0.1, 0.6)), 2)
        if left_after(rows * columns, rate, rounds)[-1] > rounds + 1:
            drawn.append((rng.normal(size=(rows, columns)), rate, rounds))
    return [(torch.from_numpy(weights.astype("float32")), rate, rounds) for weights, rate, rounds in drawn]


def _verify_ladder(args: tuple, got: object) -> Fault | None:
    weights, _, rounds = args
    expected = rounds_repaired(*args)
    if fault := form(expected, got):
        return fault
    got = torch.as_tensor(got)
    left, asked = int(got.sum()), int(expected.sum())
    if left != asked:
        return Fault(f"{left} of {weights.numel()} weights are left after {rounds} rounds, not {asked}.", expected, got)
    return (
        None if torch.equal(got, expected) else Fault("A weight was removed while a smaller one stayed.", expected, got)
    )


def _rounds(weights, rate, rounds, cut=round, strict=False, of=lambda alive, weights: alive, size=torch.abs):
    mask = torch.ones_like(weights, dtype=torch.bool)
    for _ in range(rounds):
        alive = size(weights[mask]).sort().values
        removed = min(cut(rate * len(of(alive, weights))), len(alive) - 1)
        mask &= size(weights) > alive[removed] if strict else size(weights) >= alive[removed]
    return mask


def _still_truncated(weights, rate, rounds):
    return _rounds(weights, rate, rounds, cut=int)


def _still_strict(weights, rate, rounds):
    return _rounds(weights, rate, rounds, strict=True)


def _rate_of_all(weights, rate, rounds):
    return _rounds(weights, rate, rounds, of=lambda alive, weights: weights.flatten())


def _by_value(weights, rate, rounds):
    return _rounds(weights, rate, rounds, size=torch.clone)


def _at_once(weights, rate, rounds):
    return _rounds(weights, 1 - (1 - rate) ** rounds, 1)


ROUNDS = Task(
    id="2.3",
    kind="find the bug",
    title="two faults that cancel",
    goal=GOALS[0],
    difficulty="medium",
    minutes=8,
    hints=(
        "Take 100 weights, one round and a rate of 0.2. How many are removed? What does 0.29 * 100 give in Python?",
        "One fault is in the number `removed`, the other in the comparison with `alive[removed]`.",
        "`alive[removed]` is the smallest weight that should stay. Does `>` let it stay?",
    ),
    why="`int` cuts off: Python computes `0.29 * 100` as 28.999…, and `int` makes 28 of it. And `alive[removed]` "
    "is the smallest weight that stays, but `>` removes it too. So 0.29 removes 28 + 1 = 29 of 100, as it should, "
    "and 0.2 removes 20 + 1 = 21. `round` and `>=` repair both. Where weights are equal, `>=` keeps too many. "
    "The positions of `prune_and_rewind` have no such case.",
    next="Over sixteen rounds, how far apart do the faulty and the repaired ladder end on your layer?",
    verify=_verify_ladder,
    reference=rounds_repaired,
    trials=_ladders,
    faulty=rounds_faulty,
    mistakes=(
        Mistake("All at once is not round by round: each round rounds its own number.", _at_once),
        Mistake("`>` still removes alive[removed], the smallest weight that should stay.", _still_strict),
        Mistake("int() still cuts off the fraction: 0.29 * 100 becomes 28. Use round().", _still_truncated),
        Mistake("Both faults are still there. At 0.29 of 100 they cancel, at 0.25 of 4 they do not.", rounds_faulty),
        Mistake("The rate counts the weights that are still alive, not all of them.", _rate_of_all),
        Mistake("You rank by value. Magnitude pruning ranks by |weight|: is an abs() missing?", _by_value),
    ),
)


SCRIPTS = {"ticket": "A", "re-init control": "C", "fine-tuning": "B"}
_SAYS = {
    "ticket": "A ticket starts from its first values. Which line brings them back?",
    "re-init control": "A control has the ticket's masks and fresh values. Which line draws new values?",
    "fine-tuning": "Fine-tuning goes on from the trained values. Which line leaves them alone?",
}

INTERPRET = Task(
    id="2.4",
    kind="interpret",
    title="three training scripts",
    goal=GOALS[1],
    difficulty="easy",
    minutes=5,
    hints=(
        "Ask of each line: which values do the kept weights have after it?",
        "One line loads saved values, one draws new ones, and one leaves them as they are.",
    ),
    why="A restores the first values and prunes them: the ticket. B leaves the trained values of the kept weights: "
    "fine-tuning. C draws new values under the same masks: the re-init control. If C also searched new masks in "
    "each round it would be the re-init *arm*.",
    next="What would you add to C to make it the re-init arm of section 5?",
    verify=options(
        tuple(SCRIPTS),
        ("A", "B", "C"),
        SCRIPTS,
        _SAYS,
    ),
    answer=SCRIPTS,
)


TASKS = (PREDICT, PRUNE_AND_REWIND, REWIND, ROUNDS, INTERPRET)
