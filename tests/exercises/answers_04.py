"""Answers to the tasks of chapter 04 as readers write them: wrong ones with the hint each must meet, and right ones."""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn.utils import prune

from lthkit import torch_prune


def layers_of(net, masks):
    return {name: net.get_submodule(name.rpartition(".")[0]) for name in masks}


def put_masks(net, masks):
    for name, layer in layers_of(net, masks).items():
        prune.custom_from_mask(layer, "weight", masks[name])


# 4.1, wrong


def multiplies(net, masks, first):
    net.load_state_dict(first) if "0.weight" in net.state_dict() else None
    for name, layer in layers_of(net, masks).items():
        layer.weight.data *= masks[name]
        if hasattr(layer, "weight_mask"):
            prune.remove(layer, "weight")


def removes(net, masks, first):
    put_masks(net, masks)
    for layer in layers_of(net, masks).values():
        prune.remove(layer, "weight")
    net.load_state_dict(first)


def into_the_product(net, masks, first):
    put_masks(net, masks)
    for name, layer in layers_of(net, masks).items():
        layer.weight.data.copy_(first[name])


def into_the_product_masked(net, masks, first):
    put_masks(net, masks)
    for name, values in first.items():
        tensor = getattr(net.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2])
        tensor.data[...] = values * masks.get(name, 1)


def only_masks(net, masks, first):
    torch_prune.apply(net, masks)


def forgets_biases(net, masks, first):
    put_masks(net, masks)
    for name, layer in layers_of(net, masks).items():
        layer.weight_orig.data.copy_(first[name])


def masked_first_values(net, masks, first):
    put_masks(net, masks)
    own = dict(net.named_parameters())
    for name, values in first.items():
        values = values * masks[name] if name in masks else values
        own.get(name, own.get(f"{name}_orig")).data.copy_(values)


def shares(net, masks, first):
    put_masks(net, masks)
    for name, p in net.named_parameters():
        p.data = first[name.replace("_orig", "")]


def shares_biases(net, masks, first):
    put_masks(net, masks)
    for name, p in net.named_parameters():
        if name.endswith("bias"):
            p.data = first[name]
        else:
            p.data.copy_(first[name.replace("_orig", "")])


def inverted(net, masks, first):
    good(net, {name: ~mask for name, mask in masks.items()}, first)


def own_masks(net, masks, first):
    for layer in layers_of(net, masks).values():
        prune.random_unstructured(layer, "weight", amount=1)
    good(net, {}, first)


def into_first(net, masks, first):
    put_masks(net, masks)
    for name, p in net.named_parameters():
        first[name.replace("_orig", "")].copy_(p.detach())


def no_hook(net, masks, first):
    good(net, masks, first)
    for layer in layers_of(net, masks).values():
        layer._forward_pre_hooks.clear()
        layer.weight = layer.weight_orig.detach() + 1


def orphans(net, masks, first):
    good(net, masks, first)
    for layer in layers_of(net, masks).values():
        layer.weight_orig = nn.Parameter(layer.weight_orig.detach().clone())


def freezes(net, masks, first):
    put_masks(net, masks)
    for name, p in net.named_parameters():
        p.requires_grad_(False).copy_(first[name.replace("_orig", "")])


def casts(net, masks, first):
    good(net, masks, first)
    net.double()


# 4.1, right


def good(net, masks, first):
    put_masks(net, masks)
    for name, p in net.named_parameters():
        p.data = first[name.replace("_orig", "")].clone()


def takes_masks_off_first(net, masks, first):
    for layer in layers_of(net, masks).values():
        if prune.is_pruned(layer):
            prune.remove(layer, "weight")
    net.load_state_dict(first)
    torch_prune.apply(net, masks)


def by_state_dict(net, masks, first):
    torch_prune.apply(net, masks)
    state = net.state_dict()
    for name in state:
        if not name.endswith("_mask"):
            state[name] = first[name.removesuffix("_orig")]
    net.load_state_dict(state)


def fuzz_trained(rng):
    cases = []
    for _ in range(50):
        inputs, hidden, outputs = (int(n) for n in rng.integers(1, 5, size=3))
        net = nn.Sequential(
            nn.Linear(inputs, hidden, bias=bool(rng.integers(2))), nn.ReLU(), nn.Linear(hidden, outputs)
        )
        first = {name: torch.from_numpy(rng.normal(size=p.shape)).float() for name, p in net.named_parameters()}
        masks = {name: torch.from_numpy(rng.random(p.shape) < 0.5) for name, p in first.items() if p.dim() == 2}
        if rng.integers(2):
            even = {name: (torch.arange(mask.numel()) % 2 == 0).view_as(mask) for name, mask in masks.items()}
            torch_prune.apply(net, {name: mask | even[name] for name, mask in masks.items()})
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(torch.from_numpy(rng.normal(size=p.shape)))
            net(torch.ones(1, inputs))
        cases.append((net, masks, first))
    return cases


# 4.2, wrong


def linear(net):
    return [m for m in net.modules() if type(m) is nn.Linear]


def into_weight(net):
    for layer in linear(net):
        nn.init.kaiming_uniform_(layer.weight, a=5**0.5)
        layer.bias.data.uniform_(-(layer.in_features**-0.5), layer.in_features**-0.5)


def bakes_in(net):
    for layer in linear(net):
        prune.remove(layer, "weight")
        layer.reset_parameters()


def finds_own_masks(net):
    for layer in linear(net):
        keep = int(layer.weight_mask.sum())
        prune.remove(layer, "weight")
        layer.reset_parameters()
        prune.l1_unstructured(layer, "weight", amount=layer.weight.numel() - keep + (keep > 1) - (keep < 2))


def glorot(net):
    for layer in linear(net):
        layer.reset_parameters()
        nn.init.xavier_normal_(layer.weight_orig)


def he(net):
    for layer in linear(net):
        layer.reset_parameters()
        nn.init.kaiming_uniform_(layer.weight_orig)


def narrow(net):
    for layer in linear(net):
        layer.reset_parameters()
        layer.weight_orig.data.normal_(0, 0.05 * layer.in_features**-0.5)


def reshuffles(net):
    for layer in linear(net):
        layer.reset_parameters()
        kept = layer.weight_mask.bool()
        values = layer.weight_orig.data[kept]
        layer.weight_orig.data[kept] = -values.roll(1)


def first_layer_only(net):
    layer = linear(net)[0]
    layer.reset_parameters()
    nn.init.uniform_(layer.weight_orig, -(layer.in_features**-0.5), layer.in_features**-0.5)
    for other in linear(net)[1:]:
        other.reset_parameters()


def keeps_biases(net):
    for layer in linear(net):
        nn.init.kaiming_uniform_(layer.weight_orig, a=5**0.5)


def zero_biases(net):
    for layer in linear(net):
        nn.init.kaiming_uniform_(layer.weight_orig, a=5**0.5)
        nn.init.zeros_(layer.bias)


def works_on_a_copy(net):
    copied = copy.deepcopy(net)
    redraws_kept(copied)
    return copied


def evenly_spaced(net):
    for layer in linear(net):
        limit = layer.in_features**-0.5
        for p in (layer.weight_orig, layer.bias):
            p.data = (limit * (torch.arange(p.numel()) + 0.5) / p.numel() * 2 - limit).view(p.shape)


def seeds_itself(net):
    torch.manual_seed(0)
    redraws_kept(net)
    for layer in linear(net):
        nn.init.uniform_(layer.bias, -(layer.in_features**-0.5), layer.in_features**-0.5)


# 4.2, right


def masks_again(net):
    masks = torch_prune.read(net)
    for layer in linear(net):
        prune.remove(layer, "weight")
        layer.reset_parameters()
    torch_prune.apply(net, masks)


def from_fresh_layers(net):
    for layer in linear(net):
        fresh = nn.Linear(layer.in_features, layer.out_features)
        with torch.no_grad():
            layer.weight_orig.copy_(fresh.weight)
            layer.bias.copy_(fresh.bias)


def redraws_kept(net):
    for layer in linear(net):
        limit = layer.in_features**-0.5
        kept = layer.weight_mask.bool()
        layer.weight_orig.data[kept] = torch.empty(int(kept.sum())).uniform_(-limit, limit)
        layer.bias.data = torch.from_numpy(np.random.uniform(-limit, limit, layer.out_features)).float()


def fuzz_tickets(rng):
    nets = []
    for _ in range(50):
        inputs, hidden, outputs = (int(n) for n in rng.integers(1, 9, size=3))
        net = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(torch.from_numpy(rng.normal(size=p.shape)))
            torch_prune.apply(net, {name: torch.from_numpy(rng.random(p.shape) < 0.5) for name, p in
                                    net.named_parameters() if p.dim() == 2})  # fmt: skip
            net(torch.ones(1, inputs))
        nets.append((net,))
    return nets


# 4.3, wrong


def signed(weight, gradient):
    return torch.where(weight < 1e-6, torch.zeros_like(gradient), gradient)


def zeros_only(weight, gradient):
    return gradient * (weight != 0)


def inverted_rule(weight, gradient):
    return gradient * (weight.abs() < 1e-6)


def negatives_only(weight, gradient):
    return gradient * (weight < 1e-6)


def of_the_gradient(weight, gradient):
    result = gradient.clone()
    result[result.abs() < 1e-6] = 0
    return result


def returns_weight(weight, gradient):
    return weight * (weight.abs() >= 1e-6)


def squared(weight, gradient):
    return gradient * (weight**2 >= 1e-6)


def border_too(weight, gradient):
    return gradient * (weight.abs() > 1e-6)


def in_place(weight, gradient):
    gradient[weight.abs() < 1e-6] = 0
    return gradient


def ones(weight, gradient):
    return torch.where(weight.abs() < 1e-6, 1.0, gradient)


def above_the_border(weight, gradient):
    return gradient.masked_fill(weight > -1e-6, 0)


def up_to_the_border(weight, gradient):
    return gradient * (weight > -1e-6)


# 4.3, right


def multiplied(weight, gradient):
    return gradient * (weight.abs() >= 1e-6)


def with_numpy(weight, gradient):
    return np.where(np.abs(weight.numpy()) < 1e-6, 0, gradient.numpy())


def loops(weight, gradient):
    result = gradient.clone()
    for i in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            if -0.000001 < weight[i, j] < 0.000001:
                result[i, j] = 0
    return result


def fuzz_gradients(rng):
    cases = []
    for _ in range(50):
        rows, columns = rng.integers(1, 6, size=2)
        weight = rng.normal(size=(rows, columns)) * rng.choice([0, 1e-7, 1e-6, 1e-3, 1], size=(rows, columns))
        weight[rng.random((rows, columns)) < 0.1] = rng.choice([1e-6, -1e-6])
        cases.append((torch.from_numpy(weight), torch.from_numpy(rng.normal(size=(rows, columns)))))
    return cases


def guesses(*moves):
    return dict(zip(("SGD", "SGD + weight decay", "Adam, with history"), moves))


def causes(letters):
    lines = ("layer.weight_orig.data = saved[name]", "prune.remove(layer, 'weight')")
    return dict(zip((*lines, "nn.init.xavier_normal_(layer.weight)"), letters, strict=True))


WRONG = {
    "4.0": [(guesses(True, False), "a dict with the keys"), (True, "a dict with the keys"),
            (guesses(True, False, "maybe"), "Adam, with history: answer True or False"),
            (guesses(0.5, True, True), "SGD: answer True or False")],
    "4.1": [(multiplies, "no mask on layer"), (removes, "no mask on layer"), (into_the_product, "went into `weight`"),
            (into_the_product_masked, "went into `weight`"), (only_masks, "nothing is rewound"),
            (forgets_biases, "Biases have first values"), (masked_first_values, "the pruned ones too"),
            (shares, "one and the same now"), (shares_biases, "one and the same now"), (inverted, "another mask"),
            (own_masks, "another mask"), (into_first, "not into it"), (no_hook, "puts a hook there"),
            (orphans, "is a new parameter"), (freezes, "asks for no gradient"), (casts, "is torch.float64 now")],
    "4.2": [(into_weight, "No kept weight is new"), (bakes_in, "no mask on layer"),
            (finds_own_masks, "the ticket's masks"),
            (glorot, "Torch's own law"), (he, "draws smaller weights"), (narrow, "spreads the weights"),
            (reshuffles, "the old values in other places"), (first_layer_only, "Fresh values everywhere"),
            (keeps_biases, "0 % of the biases"), (zero_biases, "spreads the biases"),
            (works_on_a_copy, "No kept weight is new"),
            (evenly_spaced, "Draw anew in each call"), (seeds_itself, "Draw anew in each call")],
    "4.3": [(signed, "missing"), (zeros_only, "Nearly zero is not zero"), (inverted_rule, "that should learn"),
            (negatives_only, "that should learn"), (of_the_gradient, "not at the gradient"),
            (returns_weight, "return the weights"), (squared, "A square moves"), (border_too, "the condition is `<`"),
            (in_place, "`gradient` in place"), (ones, "other values than expected"),
            (above_the_border, "`weight > -1e-6`"), (up_to_the_border, "`weight > -1e-6`")],
    "4.4": [(causes("BAC"), "layer.weight_orig.data = saved[name]: Training"), (causes("CBA"), "prune.remove"),
            (causes("CAC"), "nn.init.xavier_normal_(layer.weight): The next forward"),
            (causes("CAD"), "'A' or 'B' or 'C'"), ("CAB", "a dict with the keys")],
}  # fmt: skip
RIGHT = {
    "4.0": [guesses(True, False, True), guesses(np.True_, False, np.False_)],
    "4.1": [good, takes_masks_off_first, by_state_dict],
    "4.2": [masks_again, from_fresh_layers, redraws_kept],
    "4.3": [multiplied, with_numpy, loops],
    "4.4": [causes("CAB"), causes("cab")],
}
FUZZ = {"4.1": fuzz_trained, "4.2": fuzz_tickets, "4.3": fuzz_gradients}
