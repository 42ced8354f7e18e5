"""Tasks of chapter 03, which weights to keep."""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lthkit.exercises.compare import Fault, compare, is_number, options, plain
from lthkit.exercises.task import Mistake, Task

GOALS = ("compute scores", "tell layer collapse from a missing path")


def _drawn(rng: np.random.Generator, module: nn.Module, dtype: torch.dtype) -> None:
    """Give the module parameters from `rng`, instead of those from torch's global random state."""
    with torch.no_grad():
        for parameter in module.to(dtype).parameters():
            parameter.copy_(torch.from_numpy(rng.normal(size=tuple(parameter.shape))))


def _verify_guesses(args: tuple, got: object) -> Fault | None:
    if not isinstance(got, tuple | list) or len(got) != 3:
        return Fault("Give three things: the winner, the points and the layer.", got=got)
    winner, points, layer = got
    if plain(winner) not in ("magnitude", "gradient"):
        return Fault(f'The winner is "magnitude" or "gradient", not {winner!r}.', got=got)
    if not is_number(points) or not 0 <= points <= 100:
        return Fault("Guess the points as a number from 0 to 100.", got=got)
    return None if layer in (1, 2, 3) else Fault(f"The layers are 1, 2 and 3, not {layer!r}.", got=got)


PREDICT = Task(
    id="3.0",
    kind="predict",
    title="gradient or magnitude",
    goal=GOALS[0],
    difficulty="easy",
    minutes=3,
    hints=(
        "One of the two scores knows how the training ended. How much should that be worth with 3 % of the weights?",
        "For the layer: which one has the most weights to share the same total?",
    ),
    why="Section 5 shows your guesses beside what was measured.",
    next="Section 5 shows it beside what was measured.",
    verify=_verify_guesses,
    answer=("gradient", 5, 3),
    reveals=(
        "lead",
        "gradient_beats_magnitude",
        "gradient_ends_better",
        "no_single_best",
        "magnitude_at_8",
        "gradient_at_8",
        "runs_out",
        "one_step_in_layer_2",
    ),
)


def snip_scores(model, images, labels):
    weights = {name: p for name, p in model.named_parameters() if p.dim() == 2}
    loss = F.cross_entropy(model(images), labels)
    gradients = torch.autograd.grad(loss, tuple(weights.values()))
    return {name: (w * g).abs().detach() for (name, w), g in zip(weights.items(), gradients)}


def _networks(rng: np.random.Generator) -> list[tuple]:
    """(model, images, labels): one layer and up to three, with a norm, without biases, with a weight of 0."""
    small = [nn.Sequential(OrderedDict(out=nn.Linear(1, 2, bias=False))) for _ in range(2)]
    medium = nn.Sequential(OrderedDict(fc1=nn.Linear(3, 2), tanh=nn.Tanh(), fc2=nn.Linear(2, 3)))
    normed = nn.Sequential(OrderedDict(fc1=nn.Linear(2, 4), norm=nn.LayerNorm(4), relu=nn.ReLU(), fc2=nn.Linear(4, 2)))
    images = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    drawn = []
    for model, shape, classes, count in [(small[0], (1,), 2, 1), (small[1], (1,), 2, 3), (medium, (3,), 3, 4),
                                         (normed, (2,), 2, 5), (images, (1, 2, 2), 3, 6)]:  # fmt: skip
        dtype = torch.float64 if rng.random() < 0.5 else torch.float32
        _drawn(rng, model, dtype)
        x = torch.from_numpy(rng.normal(size=(count, *shape))).to(dtype)
        drawn.append((model, x, torch.from_numpy(rng.integers(0, classes, size=count))))
    for model, *_ in drawn:
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
    with torch.no_grad():
        medium.fc1.weight[0, 0] = 0.0
    return drawn


def _verify_scores(args: tuple, got: object) -> Fault | None:
    return compare(snip_scores(*args), got)


def _scores(model, images, labels, score, reduction="mean"):
    """score(w, g) of every 2-D weight."""
    weights = {name: p for name, p in model.named_parameters() if p.dim() == 2}
    loss = F.cross_entropy(model(images), labels, reduction=reduction)
    gradients = torch.autograd.grad(loss, tuple(weights.values()))
    return {name: score(w, g).detach() for (name, w), g in zip(weights.items(), gradients, strict=True)}


def _gradient_alone(model, images, labels):
    return _scores(model, images, labels, lambda w, g: g.abs())


def _weight_alone(model, images, labels):
    return _scores(model, images, labels, lambda w, g: w.abs())


def _signed(model, images, labels):
    return _scores(model, images, labels, lambda w, g: w * g)


def _squared(model, images, labels):
    return _scores(model, images, labels, lambda w, g: (w * g).square())


def _summed(model, images, labels):
    return _scores(model, images, labels, lambda w, g: (w * g).abs(), "sum")


def _image_by_image(model, images, labels):
    each = [snip_scores(model, x[None], y[None]) for x, y in zip(images, labels, strict=True)]
    return {name: sum(scores[name] for scores in each) / len(each) for name in each[0]}


def _softmax_twice(model, images, labels):
    weights = {name: p for name, p in model.named_parameters() if p.dim() == 2}
    loss = F.cross_entropy(model(images).softmax(-1), labels)
    gradients = torch.autograd.grad(loss, tuple(weights.values()))
    return {name: (w * g).abs().detach() for (name, w), g in zip(weights.items(), gradients, strict=True)}


SNIP_SCORES = Task(
    id="3.1",
    kind="build",
    title="the SNIP score",
    goal=GOALS[0],
    difficulty="medium",
    minutes=10,
    hints=(
        (
            "The loss is F.cross_entropy(model(images), labels), a mean over the images. Which tensors do you need its "
            "gradient for?"
        ),
        (
            "torch.autograd.grad(loss, weights) returns one gradient for each tensor of the tuple `weights`. "
            "`loss.backward()` would add to the gradients that the model already holds."
        ),
        "Collect {name: p for name, p in model.named_parameters() if p.dim() == 2} first. Then (w * g).abs().",
    ),
    why="`torch.autograd.grad` leaves `.grad` alone, so nothing is left over from an earlier call. The product says, "
    "to first order, by how much the loss changes if the weight becomes 0. Its sign does not matter here: a "
    "weight that the loss feels, either way, is kept.",
    next="Feed it labels drawn at random. How many of the best tenth of a layer stay the same?",
    verify=_verify_scores,
    reference=snip_scores,
    trials=_networks,
    mistakes=(
        Mistake("This is the gradient alone. SNIP multiplies it by the weight.", _gradient_alone),
        Mistake("This is the magnitude of the weights: the gradient does not enter.", _weight_alone),
        Mistake("Your scores have a sign. SNIP takes the magnitude of the product: is an abs() missing?", _signed),
        Mistake("You square the product. The score is its magnitude.", _squared),
        Mistake("Your loss is a sum over the images. Take the mean, as cross_entropy does by itself.", _summed),
        Mistake("You take magnitudes image by image. Take one gradient of the mean loss.", _image_by_image),
        Mistake("cross_entropy applies the softmax itself: hand it the model's outputs as they are.", _softmax_twice),
    ),
)


def prunable_faulty(model):
    return [name for name, _ in model.named_parameters() if "weight" in name]


def prunable(model):
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d)
    layers = {path: layer for path, layer in model.named_modules() if isinstance(layer, kinds)}
    return [f"{path}.weight" if path else "weight" for path in layers]


def _models(rng: np.random.Generator) -> list[tuple]:
    """Models in which names mislead: norms, embeddings, a layer alone, layers within layers, a path with "weight"."""
    n, m, k = (int(v) for v in rng.integers(2, 6, size=3))
    names = rng.permutation(["fc", "head", "body", "gate"])
    block = nn.Sequential(OrderedDict([("conv", nn.Conv2d(n, m, 3)), ("norm", nn.BatchNorm2d(m)), ("act", nn.PReLU())]))
    models = [
        nn.Linear(n, m),
        nn.Sequential(nn.Linear(n, m), nn.LayerNorm(m)),
        nn.Sequential(OrderedDict([(names[0], nn.Embedding(k, n)), (names[1], nn.Linear(n, m))])),
        nn.Sequential(OrderedDict([(f"{names[0]}_weights", nn.Linear(n, m)), ("out", nn.Linear(m, k))])),
        nn.Sequential(OrderedDict([("block", block), ("flat", nn.Flatten()), (names[2], nn.Linear(m, k))])),
        nn.Sequential(nn.Conv1d(n, m, 2), nn.GroupNorm(1, m), nn.Sequential(nn.ReLU(), nn.Linear(m, k, bias=False))),
        nn.Sequential(nn.Embedding(k, n), nn.LayerNorm(n)),
        nn.Sequential(nn.EmbeddingBag(n, m), nn.Conv1d(m, k, 2), nn.Bilinear(n, m, k)),
    ]
    for model in models:
        _drawn(rng, model, torch.float32)
    return [(model,) for model in models]


def _verify_names(args: tuple, got: object) -> Fault | None:
    expected = prunable(*args)
    names = list(got) if isinstance(got, Iterable) and not isinstance(got, str) else [got]
    if not all(isinstance(name, str) for name in names) or isinstance(got, str):
        return Fault("Give a list of names.", expected, got)
    if extra := [name for name in names if name not in expected]:
        return Fault(f"{extra[0]!r} is no weight of a linear or convolutional layer.", expected, names)
    if missing := [name for name in expected if name not in names]:
        return Fault(f"{missing[0]!r} is missing.", expected, names)
    return Fault("A name stands in your list twice.", expected, names) if len(set(names)) < len(names) else None


def _ends_in_weight(model):
    return [name for name, _ in model.named_parameters() if name.endswith("weight")]


def _two_dimensions(model):
    return [name for name, p in model.named_parameters() if p.dim() >= 2]


def _linear_only(model):
    return [
        f"{path}.weight" if path else "weight" for path, layer in model.named_modules() if isinstance(layer, nn.Linear)
    ]


def _children_only(model):
    return [
        f"{path}.weight"
        for path, layer in model.named_children()
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)
    ]


def _dotted(model):
    return [
        f"{path}.weight"
        for path, layer in model.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)
    ]


def _paths(model):
    return [path for path, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)]


def _with_biases(model):
    return [name for layer in prunable(model) for name in (layer, layer.removesuffix("weight") + "bias")
            if name in dict(model.named_parameters())]  # fmt: skip


_NAMES = "A name does not say what a layer is: norms and embeddings have a `weight` too. Ask for the layer's type."

PRUNABLE = Task(
    id="3.2",
    kind="find the bug",
    title="the layer that is none",
    goal=GOALS[0],
    difficulty="medium",
    minutes=8,
    hints=(
        "Print the names for nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)). Which of them belong to a linear layer?",
        (
            "named_modules() yields (path, layer) pairs, from the model itself down. isinstance(layer, nn.Linear) asks "
            "for its type."
        ),
        (
            "A weight is called f'{path}.weight'. If the model itself is a layer, its path is empty and the name is "
            "'weight'."
        ),
    ),
    why="The `weight` of a norm scales whole units, and that of an embedding is a table to look things up in. Pruning "
    'them by magnitude does something else than pruning connections. A path may even hold "weight" and end in '
    "`bias`. Types do not lie in this way.",
    next="What does nn.MultiheadAttention call its weights, and which of them does your function find?",
    verify=_verify_names,
    reference=prunable,
    trials=_models,
    faulty=prunable_faulty,
    mistakes=(
        Mistake(_NAMES, prunable_faulty),
        Mistake(_NAMES, _ends_in_weight),
        Mistake("The weight of an embedding has two dimensions as well. Ask for the layer's type.", _two_dimensions),
        Mistake("The convolutional layers are missing: nn.Conv1d, nn.Conv2d.", _linear_only),
        Mistake("You look at the first level only. named_modules() goes all the way down.", _children_only),
        Mistake("The model may be a layer itself. Its path is empty, and its weight is called 'weight'.", _dotted),
        Mistake("These are paths of layers. Give the names of their weights, as in 'fc.weight'.", _paths),
        Mistake("Biases are not pruned: leave them out.", _with_biases),
    ),
)


def reached_units(masks):
    reached = torch.ones(masks[0].shape[1], dtype=torch.bool)  # every input is there
    counts = []
    for mask in masks:
        reached = (mask & reached).any(dim=1)
        counts.append(len(reached.nonzero()))
    return counts


def _stacks(rng: np.random.Generator) -> list[tuple]:
    """Masks of one to four layers: a chain, an empty layer, a cut between kept weights, then any."""
    yes, no = torch.tensor([[True]]), torch.tensor([[False]])
    first, second = (int(k) for k in rng.permutation(2))
    cut = [torch.zeros(2, 2, dtype=torch.bool), torch.zeros(1, 2, dtype=torch.bool)]
    cut[0][first, int(rng.integers(2))] = True  # only one unit gets a signal, and the other one is asked for it
    cut[1][0, second] = True
    drawn = [
        [yes],
        [yes, no],
        cut,
        [no, yes, yes],
        [torch.ones(3, 2, dtype=torch.bool), torch.ones(2, 3, dtype=torch.bool)],
    ]
    for layers, density in [(1, 0.5), (2, 0.4), (3, 0.3), (3, 0.5), (4, 0.4), (4, 0.6)]:
        widths = rng.integers(2, 6, size=layers + 1)
        drawn.append([torch.from_numpy(rng.random((b, a)) < density) for a, b in pairwise(widths)])
    return [(masks,) for masks in drawn]


def _verify_reached(args: tuple, got: object) -> Fault | None:
    if isinstance(got, Tensor | np.ndarray):
        got = got.tolist()
    expected = reached_units(*args)
    fault = compare(expected, got)
    return fault and Fault(fault.mistake, expected, got)  # all counts, not the first wrong one alone


def _any_weight(masks):
    return [int(mask.any(dim=1).sum()) for mask in masks]


def _weights(masks):
    return [int(mask.sum()) for mask in masks]


def _columns(masks):
    return [int(mask.any(dim=0).sum()) for mask in masks]


def _unreached(masks):
    return [len(mask) - count for mask, count in zip(masks, reached_units(masks), strict=True)]


def _only_last(masks):
    """Whether the layer just before was reached, and not what reached that one."""
    before, counts = torch.ones(masks[0].shape[1], dtype=torch.bool), []
    for mask in masks:
        counts.append(int((mask & before).any(dim=1).sum()))
        before = mask.any(dim=1)
    return counts


def _all_inputs(masks):
    reached, counts = torch.ones(masks[0].shape[1], dtype=torch.bool), []
    for mask in masks:
        reached = (mask | ~reached).all(dim=1)
        counts.append(int(reached.sum()))
    return counts


def _from_the_end(masks):
    """How many units of each layer lead to an output."""
    leads, counts = torch.ones(len(masks[-1]), dtype=torch.bool), []
    for mask in reversed(masks):
        counts.append(int(leads.sum()))
        leads = (mask & leads[:, None]).any(dim=0)
    return counts[::-1]


REACHED_UNITS = Task(
    id="3.3",
    kind="build",
    title="how far the signal gets",
    goal=GOALS[1],
    difficulty="medium",
    minutes=10,
    hints=(
        "Row i of a mask says which units of the layer before still feed unit i.",
        "Carry a bool vector along: which units of the layer before are reached? At first all inputs are.",
        "(mask & reached) keeps the weights that carry a signal. A row with any of them is reached.",
    ),
    why="A unit without kept weights sends nothing on, so the weights behind it are as good as pruned. `mask & "
    "reached` takes them out, and `any(dim=1)` asks each row for one that is left. Where a count is 0, no image "
    "reaches the outputs any more: training has nothing to learn from.",
    next="Go through the layers backwards as well. Which kept weights lie on no path at all?",
    verify=_verify_reached,
    reference=reached_units,
    trials=_stacks,
    mistakes=(
        Mistake("A unit counts as reached only if one of the units that feed it is reached itself.", _any_weight),
        Mistake(
            "You look one layer back only. Carry along which units were reached, not which have weights.",
            _only_last,
        ),
        Mistake("These are kept weights. Count the units that a signal reaches.", _weights),
        Mistake("You count inputs. A mask has a row for each output unit: any(dim=1).", _columns),
        Mistake("You count the units that no signal reaches.", _unreached),
        Mistake("One kept weight from a reached unit is enough: any, not all.", _all_inputs),
        Mistake("You start at the outputs. Start at the inputs, where every signal comes from.", _from_the_end),
    ),
)


_FOUND = {
    "A": ("empty layer", "Look at its second layer: how many weights are left?"),
    "B": ("healthy", "Every layer keeps weights, and all ten outputs are reached."),
    "C": ("no path", "Every layer keeps weights, but follow the units: where does the signal stop?"),
    "D": ("lost classes", "There are ten digits. How many outputs does the signal reach?"),
    "E": ("healthy", "Few weights are no fault by themselves. Is every output reached?"),
}

INTERPRET = Task(
    id="3.4",
    kind="interpret",
    title="five masks",
    goal=GOALS[1],
    difficulty="easy",
    minutes=5,
    hints=(
        "Look for a 0 among the kept weights first, then for a 0 among the reached units.",
        "Where neither is 0, compare the last count with the ten digits.",
    ),
    why="A has a layer without weights. C has none, but no unit of its second layer gets a signal: a count of weights "
    "would miss it. D reaches four of ten outputs, and the other six cannot depend on the image. B and E are "
    "both in order, E with a third of the weights.",
    next='Which of the five could a search with scope="layer" and rates below 99 % have made?',
    verify=options(
        tuple(_FOUND),
        ("healthy", "empty layer", "no path", "lost classes"),
        {letter: right for letter, (right, _) in _FOUND.items()},
        {letter: why for letter, (_, why) in _FOUND.items()},
    ),
    answer={letter: right for letter, (right, _) in _FOUND.items()},
)


TASKS = (PREDICT, SNIP_SCORES, PRUNABLE, REACHED_UNITS, INTERPRET)
