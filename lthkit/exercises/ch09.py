"""Tasks of chapter 09, learned supermasks."""

import numpy as np
import torch

from lthkit.exercises.compare import Fault, compare, form, number, options
from lthkit.exercises.task import Mistake, Task

GOALS = ("train mask logits", "steer the kept share")


def _normal(rng: np.random.Generator, rows: int, columns: int) -> torch.Tensor:
    return torch.from_numpy(rng.normal(size=(rows, columns)).astype("float32"))


def _uniform(rng: np.random.Generator, rows: int, columns: int) -> torch.Tensor:
    return torch.from_numpy(rng.uniform(0.01, 0.99, size=(rows, columns)).astype("float32"))


PREDICT = Task(
    id="9.0",
    kind="predict",
    title="what share remains",
    goal=GOALS[1],
    difficulty="medium",
    minutes=2,
    hints=(
        "No term of the loss counts the kept weights. Only the labels push.",
        "Some weights help, some harm. A weight that does neither keeps its probability.",
    ),
    why="Section 5 shows your guess beside what came out of five different starts.",
    next="Section 5 shows it beside what came out.",
    verify=number(0, 100, "percent"),
    answer=95,
    reveals=("steering", "kept_from_3", "share_set"),
)


def straight_through(weight, logits, noise):
    p = logits.sigmoid()
    drawn = (noise < p).to(weight.dtype)
    return weight * (drawn + (p - p.detach()))


def _gates(rng: np.random.Generator) -> list[tuple]:
    """Weights, logits that need gradients, and even noise; some probabilities near 0 and 1."""
    drawn = []
    for rows, columns, spread in [(1, 2, 1), (2, 2, 1), (2, 3, 3), (4, 5, 2), (6, 7, 6)]:
        weight, logits = _normal(rng, rows, columns), _normal(rng, rows, columns) * spread
        noise = _uniform(rng, rows, columns)
        noise[0, 0] = 0  # one weight is always drawn
        drawn.append((weight, logits.requires_grad_(), noise))
    return drawn


def _verify_gate(args: tuple, got: object) -> Fault | None:
    weight, logits, _ = args
    expected = straight_through(*args).detach()
    if fault := form(expected, got):
        return fault
    if not isinstance(got, torch.Tensor) or (leaf := _leaf(got, logits)) is None:
        return Fault("No gradient reaches the logits: the draw alone is a step, and its slope is 0.", expected, got)
    slope = torch.autograd.grad(got.sum(), leaf, retain_graph=True)[0]
    if compare(weight, slope) is None:
        return Fault(
            "Logits are no probabilities: the sigmoid is missing, in the draw or in the gradient.", expected, got
        )
    values, p = got.detach(), logits.detach().sigmoid()
    if fault := compare(expected, values):
        if compare(weight * (p > 0.5), values) is None:
            return Fault("The mask is not drawn: p is compared with 0.5, not with the noise.", expected, values)
        return fault
    if compare(weight * p * (1 - p), slope):
        right = "it should be weight * p * (1 - p)"
        return Fault(f"The values are right, the gradient is not: {right}.", weight * p * (1 - p), slope)
    if not torch.equal(values, expected):
        off = "Almost right: a kept weight is off in its last digits."
        return Fault(f"{off} Add something that is exactly 0.", expected, values)
    return None


def _leaf(got: torch.Tensor, logits: torch.Tensor) -> torch.Tensor | None:
    """The copy of `logits` that the function was given, if `got` was computed from it."""
    queue, seen = [got.grad_fn], set()
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if getattr(variable, "original", None) is logits:
            return variable
        queue += [following for following, _ in node.next_functions]
    return None


def _soft(weight, logits, noise):
    return weight * logits.sigmoid()


def _inverted(weight, logits, noise):
    p = logits.sigmoid()
    return weight * ((noise >= p).to(weight.dtype) + (p - p.detach()))


STRAIGHT_THROUGH = Task(
    id="9.1",
    kind="build",
    title="a draw with a gradient",
    goal=GOALS[0],
    difficulty="hard",
    minutes=12,
    hints=(
        "p is logits.sigmoid(). A weight is drawn where noise < p: a tensor of zeros and ones, without a gradient.",
        "p - p.detach() is exactly 0, and its gradient is that of p.",
        "Multiply the weight by drawn + (p - p.detach()).",
    ),
    why="Forward, the bracket is exactly 0, so the mask is exactly 0 or 1. Backward, `drawn` has no gradient and "
    "`p.detach()` has none, so that of p passes: weight times p (1 - p). This is the straight-through gradient. "
    "In `(drawn + p) - p.detach()` the rounding of float32 leaves crumbs: some masks come out as 0.99999994.",
    next="What is the gradient of a weight that was not drawn? Not 0: it can come back.",
    verify=_verify_gate,
    reference=straight_through,
    trials=_gates,
    mistakes=(
        Mistake("This is the weight times its probability: a soft mask. Draw zeros and ones.", _soft),
        Mistake("It is the other way round: a weight is kept where noise < p.", _inverted),
    ),
)


def rescaled_faulty(weight, mask):
    return weight * mask * mask.sum() / mask.numel()


def rescaled_repaired(weight, mask):
    return weight * mask * (mask.numel() / mask.sum().clamp(min=1))


def _masked_layers(rng: np.random.Generator) -> list[tuple]:
    drawn = []
    for rows, columns, kept in [(1, 2, 1), (2, 2, 0), (2, 3, 6), (3, 4, 5), (5, 6, 1)]:
        mask = torch.from_numpy(rng.permutation(rows * columns) < kept).view(rows, columns)
        drawn.append((_normal(rng, rows, columns), mask.float()))
    return drawn


def _verify_rescaled(args: tuple, got: object) -> Fault | None:
    return compare(rescaled_repaired(*args), got)


def _by_hidden_size(weight, mask):
    return weight * mask * (mask.shape[0] / mask.sum().clamp(min=1))


def _unscaled(weight, mask):
    return weight * mask


def _no_mask(weight, mask):
    return weight * (mask.numel() / mask.sum().clamp(min=1))


def _root(weight, mask):
    return weight * mask * (mask.numel() / mask.sum().clamp(min=1)) ** 0.5


def _nan(weight, mask):
    return weight * mask * (mask.numel() / mask.sum())


RESCALED = Task(
    id="9.2",
    kind="find the bug",
    title="the factor upside down",
    goal=GOALS[0],
    difficulty="easy",
    minutes=6,
    hints=(
        "With half of the weights left, the sum that a unit sees is smaller. Should the factor lie above or below 1?",
        "The factor is the number of weights divided by the number kept. A layer that keeps none must stay 0.",
    ),
    why="Fewer weights give smaller sums. Dynamic weight rescaling makes up for it: size / sum, above 1. Upside down "
    "it shrinks the layer a second time. Where nothing is kept, 0 times infinity would be NaN, so the sum counts "
    "as 1.",
    next="By which factor does a layer grow that keeps 25 % of its weights?",
    verify=_verify_rescaled,
    reference=rescaled_repaired,
    trials=_masked_layers,
    faulty=rescaled_faulty,
    mistakes=(
        Mistake("The factor is still upside down: it shrinks what the mask has shrunk already.", rescaled_faulty),
        Mistake("The factor counts all weights of the layer, not its rows.", _by_hidden_size),
        Mistake("The factor is missing: kept weights must grow.", _unscaled),
        Mistake("Pruned weights must stay 0: multiply by the mask as well.", _no_mask),
        Mistake("The factor is size / sum itself, without a root.", _root),
        Mistake("A layer that keeps nothing gives NaN: divide by at least 1.", _nan),
    ),
)


def kept_shares(logits, noise):
    p = logits.sigmoid()
    return p.mean(), (noise < p).double().mean(), (p > 0.5).double().mean()


def _logit_layers(rng: np.random.Generator) -> list[tuple]:
    drawn = []
    for rows, columns, middle in [(1, 2, 1.0), (2, 2, -1.0), (3, 4, 0.0), (5, 5, 2.0)]:
        drawn.append((_normal(rng, rows, columns) * 2 + middle, _uniform(rng, rows, columns)))
    near = torch.from_numpy(rng.uniform(0.05, 0.45, size=(1, 3)).astype("float32"))  # p above 1/2, the logit below
    return [(torch.zeros(1, 2), torch.tensor([[0.3, 0.7]])), (near, _uniform(rng, 1, 3)), *drawn]  # first, p is 1/2


def _verify_shares(args: tuple, got: object) -> Fault | None:
    expected = tuple(float(share) for share in kept_shares(*args))
    if isinstance(got, torch.Tensor | np.ndarray) and got.ndim == 1:
        got = tuple(got)
    if fault := compare(expected, got):
        return fault
    return None


def _logit_mean(logits, noise):
    p = logits.sigmoid()
    return logits.mean(), (noise < p).double().mean(), (p > 0.5).double().mean()


def _swapped(logits, noise):
    mean, sampled, thresholded = kept_shares(logits, noise)
    return mean, thresholded, sampled


def _complement(logits, noise):
    return tuple(1 - share for share in kept_shares(logits, noise))


def _counts(logits, noise):
    return tuple(share * logits.numel() for share in kept_shares(logits, noise))


def _threshold_on_logit(logits, noise):
    p = logits.sigmoid()
    return p.mean(), (noise < p).double().mean(), (logits > 0.5).double().mean()


KEPT_SHARES = Task(
    id="9.3",
    kind="build",
    title="three kept shares",
    goal=GOALS[1],
    difficulty="easy",
    minutes=6,
    hints=(
        "All three are means: of p, of what the noise draws, of what the threshold keeps.",
        "A comparison of tensors gives bools: .double().mean() is the share that is True.",
    ),
    why="The mean of p is the share to expect. A draw comes near it, and differs each time. The threshold keeps what "
    "is more likely than not, which may be far fewer: 100 weights with p = 0.4 keep about 40 in a draw, and none "
    "here.",
    next="Find logits for which the drawn share is near 0.4 and the thresholded one is 0.",
    verify=_verify_shares,
    reference=kept_shares,
    trials=_logit_layers,
    mistakes=(
        Mistake("The first number is the mean of the logits. Asked for is the mean probability.", _logit_mean),
        Mistake("The second and the third are swapped: mean of p, drawn, thresholded.", _swapped),
        Mistake("These are the shares pruned. Asked for are the shares kept.", _complement),
        Mistake("These are counts. Divide by the number of weights.", _counts),
        Mistake("The threshold 0.5 is for probabilities. For logits it would be 0.", _threshold_on_logit),
    ),
)


_TRUE = {"A": True, "B": False, "C": False, "D": True}
_TRUE_WHY = {
    "A": "The weights are frozen: section 7 compares them bit for bit.",
    "B": "There is one logit for each weight, and every step moves all of them.",
    "C": "It is what comes out. The first logit shifts it, but nothing sets it.",
    "D": "A learned mask is random: each draw is another one. The mean of ten draws is reported.",
}

INTERPRET = Task(
    id="9.4",
    kind="interpret",
    title="trained or not?",
    goal=GOALS[1],
    difficulty="medium",
    minutes=5,
    hints=(
        "Ask of each what the optimizer moves, and what it never touches.",
        "Two are true. One of them is about the weights, one about the draws.",
    ),
    why="The weights are as they were drawn (A). But each has a logit, and the optimizer trains all logits with the "
    "labels (B). The kept share follows from the labels and the start (C). Every draw is another mask (D).",
    next="Count what is trained: how many logits has LeNet-300-100 on digits?",
    verify=options("ABCD", (True, False), _TRUE, _TRUE_WHY),
    answer=_TRUE,
)


TASKS = (PREDICT, STRAIGHT_THROUGH, RESCALED, KEPT_SHARES, INTERPRET)
