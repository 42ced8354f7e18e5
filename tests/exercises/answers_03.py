"""Answers to the tasks of chapter 03 as readers write them: wrong ones with the hint each must meet, and right ones."""

import copy
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

# Wrong


def backward(model, images, labels, reduction="mean"):
    model.zero_grad()
    F.cross_entropy(model(images), labels, reduction=reduction).backward()
    return {name: (p.data, p.grad) for name, p in model.named_parameters() if p.dim() > 1}


def only_gradient(model, images, labels):
    return {name: g.abs() for name, (_, g) in backward(model, images, labels).items()}


def only_weight(model, images, labels):
    return {name: p.detach().abs() for name, p in model.named_parameters() if "weight" in name and p.dim() == 2}


def no_abs(model, images, labels):
    return {name: w * g for name, (w, g) in backward(model, images, labels).items()}


def like_fisher(model, images, labels):
    return {name: (w * g) ** 2 for name, (w, g) in backward(model, images, labels).items()}


def sums_the_loss(model, images, labels):
    return {name: (w * g).abs() for name, (w, g) in backward(model, images, labels, "sum").items()}


def each_image(model, images, labels):
    total = {}
    for i in range(len(labels)):
        for name, (w, g) in backward(model, images[i : i + 1], labels[i : i + 1]).items():
            total[name] = total.get(name, 0) + (w * g).abs() / len(labels)
    return total


def softmax_first(model, images, labels):
    loss = F.cross_entropy(F.softmax(model(images), dim=1), labels)
    model.zero_grad()
    loss.backward()
    return {name: (p * p.grad).abs().detach() for name, p in model.named_parameters() if p.dim() == 2}


def takes_a_step(model, images, labels):
    scores = {name: (w * g).abs() for name, (w, g) in backward(model, images, labels).items()}
    for p in model.parameters():
        p.data -= 0.01 * p.grad
    return scores


def scores_biases(model, images, labels):
    backward(model, images, labels)
    return {name: (p * p.grad).abs().detach() for name, p in model.named_parameters()}


def list_of_scores(model, images, labels):
    return [(w * g).abs() for w, g in backward(model, images, labels).values()]


def no_return(model, images, labels):
    {name: (w * g).abs() for name, (w, g) in backward(model, images, labels).items()}


def by_name(model):
    found = []
    for name, parameter in model.named_parameters():
        if name.find("weight") >= 0:
            found.append(name)
    return found


def by_ending(model):
    return [name for name in dict(model.named_parameters()) if name.split(".")[-1] == "weight"]


def by_dimensions(model):
    return [name for name, p in model.named_parameters() if len(p.shape) > 1]


def no_convolutions(model):
    return [name for name, p in model.named_parameters()
            if name.endswith("weight") and type(model.get_submodule(name.rpartition(".")[0])) is nn.Linear]  # fmt: skip


def first_level(model):
    found = []
    for name, child in model.named_children():
        if type(child) in (nn.Linear, nn.Conv1d, nn.Conv2d):
            found.append(name + ".weight")
    return found


def leading_dot(model):
    kinds = nn.Linear, nn.Conv1d, nn.Conv2d
    return [path + ".weight" for path, layer in model.named_modules() if isinstance(layer, kinds)]


def biases_too(model):
    found = []
    for path, layer in model.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            found += [".".join(filter(None, (path, name))) for name, _ in layer.named_parameters()]
    return found


def layers_themselves(model):
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)]


def layer_paths(model):
    return [path for path, layer in model.named_modules() if type(layer) in (nn.Linear, nn.Conv1d, nn.Conv2d)]


def rows_with_weights(masks):
    return [(mask.sum(1) > 0).sum().item() for mask in masks]


def two_layers_only(masks):
    counts = [int((masks[0].sum(1) > 0).sum())]
    for before, mask in pairwise(masks):
        counts.append(int(((mask & (before.sum(1) > 0)).sum(1) > 0).sum()))
    return counts


def kept_weights(masks):
    return [mask.count_nonzero().item() for mask in masks]


def used_inputs(masks):
    return [(mask.sum(0) > 0).sum().item() for mask in masks]


def silent_units(masks):
    signal, counts = torch.ones(masks[0].shape[1]), []
    for mask in masks:
        signal = ((mask.float() @ signal) > 0).float()
        counts.append(int((signal == 0).sum()))
    return counts


def all_needed(masks):
    signal, counts = torch.ones(masks[0].shape[1], dtype=torch.bool), []
    for mask in masks:
        signal = torch.tensor([all(m for m, s in zip(row, signal) if s) for row in mask])
        counts.append(int(signal.sum()))
    return counts


def from_outputs(masks):
    useful, counts = torch.ones(masks[-1].shape[0]), []
    for mask in masks[::-1]:
        counts.insert(0, int((useful > 0).sum()))
        useful = mask.float().T @ useful
    return counts


def last_only(masks):
    return matrix_products(masks)[-1]


# Right


def with_backward(model, images, labels):
    return {name: (w * g).abs() for name, (w, g) in backward(model, images, labels).items()}


def by_masking(model, images, labels):
    """As the paper derives it: by a mask of ones in front of each weight."""
    names = [name for name, p in model.named_parameters() if p.dim() == 2]
    ones = {name: torch.ones_like(model.get_parameter(name), requires_grad=True) for name in names}
    state = dict(model.named_parameters())
    masked = state | {name: state[name].detach() * ones[name] for name in names}
    loss = F.cross_entropy(torch.func.functional_call(model, masked, (images,)), labels)
    return {name: g.abs() for name, g in zip(names, torch.autograd.grad(loss, list(ones.values())))}


def in_double(model, images, labels):
    return with_backward(copy.deepcopy(model).double(), images.double(), labels)


def by_type(model):
    found = []
    for name, _ in model.named_parameters():
        path, _, last = name.rpartition(".")
        if last == "weight" and isinstance(model.get_submodule(path), nn.Linear | nn.Conv1d | nn.Conv2d):
            found.append(name)
    return found


def by_base_class(model):
    kinds = nn.Linear, nn.modules.conv._ConvNd
    return [f"{path}.weight".lstrip(".") for path, layer in model.named_modules() if isinstance(layer, kinds)]


def as_a_set(model):
    wanted = {id(layer.weight) for layer in model.modules() if type(layer) in (nn.Linear, nn.Conv1d, nn.Conv2d)}
    return {name for name, p in model.named_parameters() if id(p) in wanted}


def as_a_dict(model):
    return {name: model.get_parameter(name) for name in by_type(model)}


def matrix_products(masks):
    signal, counts = torch.ones(masks[0].shape[1]), []
    for mask in masks:
        signal = (mask.float() @ signal).clamp(max=1)
        counts.append(int(signal.sum()))
    return counts


def loops(masks):
    reached = set(range(masks[0].shape[1]))
    counts = []
    for mask in masks:
        reached = {i for i in range(mask.shape[0]) if any(mask[i, j] for j in reached)}
        counts.append(len(reached))
    return tuple(counts)


def with_numpy(masks):
    reached, counts = np.ones(masks[0].shape[1], bool), []
    for mask in masks:
        reached = mask.numpy()[:, reached].any(axis=1)
        counts.append(reached.sum())
    return np.array(counts)


def fuzz_networks(rng):
    cases = []
    for _ in range(50):
        widths = rng.integers(1, 5, size=rng.integers(2, 5))
        layers = [nn.Linear(int(a), int(b), bias=bool(rng.random() < 0.7)) for a, b in pairwise(widths)]
        model = nn.Sequential(*(part for layer in layers for part in (layer, nn.Tanh())), nn.LayerNorm(int(widths[-1])))
        with torch.no_grad():
            for p in model.double().parameters():
                p.copy_(torch.from_numpy(rng.normal(size=tuple(p.shape))))
        count = int(rng.integers(1, 6))
        images = torch.from_numpy(rng.normal(size=(count, widths[0])))
        cases.append((model, images, torch.from_numpy(rng.integers(0, widths[-1], size=count))))
    return cases


def fuzz_models(rng):
    def part():
        a, b = (int(n) for n in rng.integers(1, 5, size=2))
        kinds = (nn.Linear(a, b), nn.Conv1d(a, b, 1), nn.Conv2d(a, b, 1), nn.LayerNorm(a), nn.BatchNorm1d(a),
                 nn.Embedding(a, b), nn.PReLU(), nn.ReLU(),
                 nn.Sequential(nn.Linear(a, b), nn.GroupNorm(1, b)))  # fmt: skip
        return kinds[rng.integers(len(kinds))]

    return [
        (part() if rng.random() < 0.2 else nn.Sequential(*(part() for _ in range(rng.integers(1, 5)))),)
        for _ in range(50)
    ]


def fuzz_stacks(rng):
    cases = []
    for _ in range(50):
        widths = rng.integers(1, 7, size=rng.integers(2, 6))
        density = rng.choice([0.1, 0.3, 0.6, 1.0])
        cases.append(([torch.from_numpy(rng.random((b, a)) < density) for a, b in pairwise(widths)],))
    return cases


def found(answers):
    return dict(zip("ABCDE", answers.split(", "), strict=True))


WRONG = {
    "3.0": [(("magnitude", 5), "three things"), (("random", 5, 1), "not 'random'"),
            (("gradient", 500, 1), "from 0 to 100"),
            (("gradient", "many", 1), "from 0 to 100"), (("magnitude", 5, 4), "not 4")],
    "3.1": [(only_gradient, "gradient alone"), (only_weight, "does not enter"), (no_abs, "have a sign"),
            (like_fisher, "square the product"), (sums_the_loss, "sum over the images"), (each_image, "image by image"),
            (softmax_first, "softmax itself"), (takes_a_step, "`model` in place"), (scores_biases, "with the keys"),
            (list_of_scores, "with the keys"), (no_return, "`return` missing")],
    "3.2": [(by_name, "name does not say"), (by_ending, "name does not say"), (by_dimensions, "two dimensions as well"),
            (no_convolutions, "convolutional layers are missing"), (first_level, "first level only"),
            (leading_dot, "Its path is empty"), (biases_too, "Biases are not pruned"),
            (layers_themselves, "list of names"),
            (layer_paths, "paths of layers")],
    "3.3": [(rows_with_weights, "is reached itself"), (two_layers_only, "one layer back"),
            (kept_weights, "kept weights"),
            (used_inputs, "count inputs"), (silent_units, "no signal reaches"), (all_needed, "any, not all"),
            (from_outputs, "start at the outputs"), (last_only, "an int, not")],
    "3.4": [(found("healthy, healthy, no path, lost classes, healthy"), "A: Look"),
            (found("empty layer, lost classes, no path, lost classes, healthy"), "B: Every"),
            (found("empty layer, healthy, healthy, lost classes, healthy"), "C: Every"),
            (found("empty layer, healthy, no path, healthy, healthy"), "D: There"),
            (found("empty layer, healthy, no path, lost classes, lost classes"), "E: Few"), ("A", "keys 'A', 'B'")],
}  # fmt: skip
RIGHT = {
    "3.0": [("magnitude", 0, 2), ["gradient", 12.5, 1], (" Magnitude", np.float64(4), np.int64(3))],
    "3.1": [with_backward, by_masking, in_double],
    "3.2": [by_type, by_base_class, as_a_set, as_a_dict],
    "3.3": [matrix_products, loops, with_numpy],
    "3.4": [found("empty layer, healthy, no path, lost classes, healthy")],
}
FUZZ = {"3.1": fuzz_networks, "3.2": fuzz_models, "3.3": fuzz_stacks}
