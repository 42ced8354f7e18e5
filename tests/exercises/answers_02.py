"""Answers to the tasks of chapter 02 as readers write them: wrong ones with the hint each must meet, and right ones."""

import copy

import numpy as np
import torch
from torch import nn

# 2.1, wrong


def pruned(trained, mask, number, size=torch.abs):
    """The mask without the `number` alive weights of smallest size."""
    ranked = size(trained).masked_fill(~mask, torch.inf).flatten().argsort()
    return mask.flatten().scatter(0, ranked[:number], False).view_as(mask)


def fine_tunes(trained, initial, mask, rate):
    new = pruned(trained, mask, round(rate * mask.sum().item()))
    return new, torch.where(new, trained, torch.zeros_like(trained))


def starts_dense(trained, initial, mask, rate):
    return pruned(trained, mask, round(rate * mask.sum().item())), initial.clone()


def starts_by_old_mask(trained, initial, mask, rate):
    return pruned(trained, mask, round(rate * mask.sum().item())), torch.where(mask, initial, 0)


def ranks_initial(trained, initial, mask, rate):
    new = pruned(initial, mask, round(rate * mask.sum().item()))
    return new, initial * new


def ranks_values(trained, initial, mask, rate):
    new = pruned(trained, mask, round(rate * mask.sum().item()), size=torch.clone)
    return new, initial * new


def cuts_off(trained, initial, mask, rate):
    new = pruned(trained, mask, int(rate * mask.sum().item()))
    return new, initial * new


def ranks_the_dead(trained, initial, mask, rate):
    number = round(rate * mask.sum().item())
    new = mask.clone()
    for i in trained.flatten().abs().sort().indices[:number].tolist():
        new[i // mask.shape[1], i % mask.shape[1]] = False
    return new, new * initial


def by_threshold(trained, initial, mask, rate):
    number = round(rate * mask.sum().item())
    new = mask & (trained.abs() > trained[mask].abs().kthvalue(number).values) if number else mask.clone()
    return new, new * initial


def changes_initial(trained, initial, mask, rate):
    new = pruned(trained, mask, round(rate * mask.sum().item()))
    initial[~new] = 0
    return new, initial


def mask_only(trained, initial, mask, rate):
    return pruned(trained, mask, round(rate * mask.sum().item()))


def start_first(trained, initial, mask, rate):
    new = pruned(trained, mask, round(rate * mask.sum().item()))
    return initial * new, new


def redraws(trained, initial, mask, rate):
    new = pruned(trained, mask, round(rate * mask.sum().item()))
    return new, torch.randn(initial.shape) * new


# 2.1, right


def loops(trained, initial, mask, rate):
    rows, columns = mask.shape
    alive = sorted((abs(trained[i, j].item()), i, j) for i in range(rows) for j in range(columns) if mask[i, j])
    new, start = mask.clone(), initial.clone()
    for _, i, j in alive[: round(rate * len(alive))]:
        new[i, j] = False
    for i in range(rows):
        for j in range(columns):
            if not new[i, j]:
                start[i, j] = 0.0
    return new, start


def with_numpy(trained, initial, mask, rate):
    keep = mask.numpy().copy()
    size = np.where(keep, np.abs(trained.numpy()), np.inf)
    keep.flat[np.argsort(size, axis=None)[: round(rate * keep.sum())]] = False
    return [keep, initial.double().numpy() * keep]


def from_the_top(trained, initial, mask, rate):
    alive = int(mask.sum())
    size = trained.abs().masked_fill(~mask, -1).flatten()
    new = torch.zeros(mask.numel(), dtype=torch.bool)
    new[size.topk(alive - round(rate * alive)).indices] = True
    new = new.view_as(mask)
    return new, initial.masked_fill(~new, 0)


def fuzz_rounds(rng):
    cases = []
    for _ in range(50):
        rows, columns = rng.integers(1, 7, size=2)
        draw = (lambda s: rng.normal(size=s)) if rng.random() < 0.6 else (lambda s: rng.integers(-3, 4, size=s))
        trained, initial = (torch.from_numpy(draw((rows, columns)).astype("float32")) for _ in range(2))
        mask = torch.from_numpy(rng.random((rows, columns)) < rng.choice([0.3, 0.8, 1.0]))
        cases.append((trained * mask, initial, mask, float(rng.choice([0, 0.2, 0.29, 0.36, 0.5, 1]))))
    return cases


# 2.2, wrong


def shares_with_load(model, saved):
    model.load_state_dict(saved, assign=True)


def shares_by_parameter(model, saved):
    for name in saved:
        path, _, last = name.rpartition(".")
        setattr(model.get_submodule(path), last, nn.Parameter(saved[name]))


def shares_detached(model, saved):
    for name, p in model.named_parameters():
        p.data = saved[name].detach().view(p.shape)


def shares_biases(model, saved):
    for name, p in model.named_parameters():
        if p.dim() == 1:
            p.data = saved[name]
        else:
            p.data.copy_(saved[name])


def forgets_biases(model, saved):
    for name, p in model.named_parameters():
        if "weight" in name:
            p.data.copy_(saved[name])


def renames(model, saved):
    own = dict(model.named_parameters())
    for name in own:
        own[name] = saved[name].clone()


def wrong_way(model, saved):
    for name, p in model.named_parameters():
        saved[name].copy_(p.detach())


def works_on_a_copy(model, saved):
    model = copy.deepcopy(model)
    model.load_state_dict(saved)
    return model


def shifts(model, saved):
    for name, p in model.named_parameters():
        p.data += saved[name]


def orphans(model, saved):
    for name, values in saved.items():
        path, _, last = name.rpartition(".")
        setattr(model.get_submodule(path), last, nn.Parameter(values.clone()))


def freezes(model, saved):
    for name, p in model.named_parameters():
        p.requires_grad_(False).copy_(saved[name])


def casts(model, saved):
    model.load_state_dict(saved)
    model.double()


# 2.2, right


def loads(model, saved):
    model.load_state_dict(saved)


def clones(model, saved):
    for name, p in model.named_parameters():
        p.data = saved[name].clone()


def one_by_one(model, saved):
    own = dict(model.named_parameters())
    for name, values in copy.deepcopy(saved).items():
        own[name].data[...] = values


def fuzz_models(rng):
    cases = []
    for _ in range(50):
        inputs, hidden, outputs = (int(n) for n in rng.integers(1, 6, size=3))
        layers = [nn.Linear(inputs, hidden, bias=bool(rng.integers(2))), nn.Tanh(), nn.Linear(hidden, outputs)]
        model = nn.Sequential(*layers[: rng.choice([1, 3])])
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.from_numpy(rng.normal(size=p.shape)))
        saved = {name: torch.from_numpy(rng.normal(size=p.shape)).float() for name, p in model.named_parameters()}
        cases.append((model, saved))
    return cases


# 2.3, wrong


def threshold(weights, mask, removed):
    return sorted(weights[mask].abs().tolist())[removed]


def only_rounds(weights, rate, rounds):
    mask = torch.ones(weights.shape, dtype=torch.bool)
    for _ in range(rounds):
        cut = threshold(weights, mask, min(round(rate * mask.sum().item()), int(mask.sum()) - 1))
        mask = mask & (weights.abs() > cut)
    return mask


def only_greater_equal(weights, rate, rounds):
    mask = torch.ones(weights.shape, dtype=torch.bool)
    for _ in range(rounds):
        mask = mask & (weights.abs() >= threshold(weights, mask, int(rate * mask.sum().item())))
    return mask


def neither(weights, rate, rounds):
    mask = torch.ones(weights.shape, dtype=torch.bool)
    for _ in range(rounds):
        mask = mask & (weights.abs() > threshold(weights, mask, int(rate * mask.sum().item())))
    return mask


def share_of_all(weights, rate, rounds):
    mask = torch.ones(weights.shape, dtype=torch.bool)
    for _ in range(rounds):
        mask = pruned(weights, mask, min(round(rate * weights.numel()), int(mask.sum()) - 1))
    return mask


def values_not_sizes(weights, rate, rounds):
    mask = torch.ones(weights.shape, dtype=torch.bool)
    for _ in range(rounds):
        mask = pruned(weights, mask, round(rate * mask.sum().item()), size=torch.clone)
    return mask


def in_one_go(weights, rate, rounds):
    mask = torch.ones(weights.shape, dtype=torch.bool)
    return pruned(weights, mask, round((1 - (1 - rate) ** rounds) * weights.numel()))


def one_round(weights, rate, rounds):
    mask = torch.ones(weights.shape, dtype=torch.bool)
    return pruned(weights, mask, round(rate * weights.numel()))


def counts(weights, rate, rounds):
    left = weights.numel()
    for _ in range(rounds):
        left -= round(rate * left)
    return left


# 2.3, right


def by_position(weights, rate, rounds):
    mask = torch.ones(weights.shape, dtype=torch.bool)
    for _ in range(rounds):
        mask = pruned(weights, mask, round(rate * mask.sum().item()))
    return mask


def by_count(weights, rate, rounds):
    order = np.argsort(-np.abs(weights.numpy()), axis=None)
    keep = np.zeros(weights.numel(), dtype=bool)
    keep[order[: counts(weights, rate, rounds)]] = True
    return keep.reshape(weights.shape)


def fuzz_ladders(rng):
    cases = []
    while len(cases) < 50:
        rows, columns, rounds = (int(n) for n in rng.integers(1, 6, size=3))
        weights = rng.normal(size=(rows, columns)) if rng.random() < 0.7 else rng.integers(-3, 4, size=(rows, columns))
        rate = float(rng.choice([0, 0.2, 0.29, 0.36, 0.5]))
        if counts(torch.from_numpy(weights), rate, rounds) > 1:
            cases.append((torch.from_numpy(weights.astype("float32")), rate, rounds))
    return cases


def labels(letters):
    return dict(zip(("ticket", "re-init control", "fine-tuning"), letters, strict=True))


WRONG = {
    "2.0": [("a lot", "one number"), (250, "from -100 to 100"), ([5], "one number"), (False, "one number")],
    "2.1": [(fine_tunes, "that is fine-tuning"), (starts_dense, "the pruned ones too"),
            (starts_by_old_mask, "not the old one"), (ranks_initial, "You rank by `initial`"),
            (ranks_values, "rank by value"), (cuts_off, "cuts off the fraction"), (ranks_the_dead, "ranked too"),
            (by_threshold, "cuts through equal"), (changes_initial, "`initial` in place"),
            (mask_only, "Return two tensors"), (start_first, "not torch.bool"), (redraws, "start from `initial`")],
    "2.2": [(shares_with_load, "one and the same now"), (shares_by_parameter, "one and the same now"),
            (shares_detached, "one and the same now"), (shares_biases, "one and the same now"),
            (forgets_biases, "Biases have first values"), (renames, "unchanged"), (works_on_a_copy, "unchanged"),
            (wrong_way, "not into it"), (shifts, "Not rewound"),
            (orphans, "is a new parameter"), (freezes, "asks for no gradient"), (casts, "is torch.float64 now")],
    "2.3": [(only_rounds, "`>` still removes"), (only_greater_equal, "int() still cuts off"),
            (neither, "Both faults"), (share_of_all, "not all of them"), (values_not_sizes, "rank by value"),
            (in_one_go, "All at once"), (one_round, "are left after"), (counts, "of the shape")],
    "2.4": [(labels("BCA"), "ticket: A ticket starts"), (labels("ABC"), "re-init control: A control"),
            (labels("ACC"), "fine-tuning: Fine-tuning goes on"), (labels("ACD"), "'A' or 'B' or 'C'"),
            ("ACB", "a dict with the keys")],
}  # fmt: skip
RIGHT = {
    "2.0": [12, -0.5, np.float64(7)],
    "2.1": [loops, with_numpy, from_the_top],
    "2.2": [loads, clones, one_by_one],
    "2.3": [by_position, by_count],
    "2.4": [labels("ACB"), labels("acb")],
}
FUZZ = {"2.1": fuzz_rounds, "2.2": fuzz_models, "2.3": fuzz_ladders}
