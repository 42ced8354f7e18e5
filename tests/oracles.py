"""Slow, plain versions of what lthkit does, and the small worlds they are compared on.  Nothing here calls lthkit."""

import copy

import numpy as np
import torch
from hypothesis import settings
from torch import nn
from torch.nn import functional as F

# Results are compared at one thread count: sums in float32 depend on it after some hundred steps. One thread also keeps
# these small tests from waiting for each other where several run at once.
torch.set_num_threads(1)

# The same examples on every machine: a failure that a reader reports can be seen again.
examples = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def pairs(seed: int = 0, sizes=(50, 20, 30), shape=(1, 2, 3), classes: int = 3) -> list:
    """Train, validation and test pairs of random images [N, C, H, W] and labels [N] that depend on them a little."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for size in sizes:
        x = torch.rand(size, *shape, generator=generator)
        y = (x.flatten(1).sum(1) * 2.5).long() % classes
        found.append((x, y))
    return found


def stack(seed: int, shapes: dict[str, tuple], replicates: int, scale: float = 0.5) -> dict[str, torch.Tensor]:
    """Random parameters [R, …], float64."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: scale * torch.randn(replicates, *shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }


def two_units(params: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Masks of dense layers: replicate k sees every other input and uses units k and k + 1 of each hidden layer.

    Few weights are left, and no gradient is cut off by the masks.
    """
    names, masks = [name for name in params if name.endswith(".weight")], {}
    for name in names:
        masks[name] = torch.zeros_like(params[name], dtype=torch.bool)
        for k, mask in enumerate(masks[name]):
            rows = slice(None) if name == names[-1] else slice(k, k + 2)
            mask[rows, slice(k % 2, None, 2) if name == names[0] else slice(k, k + 2)] = True
    return masks


def clone(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in tensors.items()}


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def worst(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """The largest absolute difference in any tensor."""
    assert set(a) == set(b)
    return max((a[name] - b[name]).abs().max().item() for name in a)


def prune_stacks(scores, masks, rates: dict[str, float], scope: str, generators) -> dict[str, torch.Tensor]:
    """Without the lowest of the alive, a replicate at a time: lthkit's first implementation, draws included."""
    kept = {}
    for group in [[name] for name in masks] if scope == "layer" else [list(masks)]:
        flat_scores = torch.cat([scores[name].flatten(1) for name in group], dim=1)
        flat_mask = torch.cat([masks[name].flatten(1) for name in group], dim=1)
        for r, generator in enumerate(generators):
            alive = flat_mask[r].nonzero().flatten()
            left, k = flat_scores[r, alive], round(rates[group[0]] * len(alive))
            if k == 0:
                continue
            threshold = left.kthvalue(k).values
            below, tied = (left < threshold).nonzero().flatten(), (left == threshold).nonzero().flatten()
            if k - len(below) < len(tied):
                tied = tied[torch.randperm(len(tied), generator=generator)[: k - len(below)]]
            flat_mask[r, alive[torch.cat([below, tied])]] = False
        for name, part in zip(group, flat_mask.split([masks[name][0].numel() for name in group], dim=1), strict=True):
            kept[name] = part.reshape(masks[name].shape)
    return kept


def forward(params: dict[str, torch.Tensor], x: torch.Tensor) -> np.ndarray:
    """Logits [R, B, classes] of dense layers fc1, fc2, … with ReLU between them, one replicate and layer at a time."""
    layers = [name.removesuffix(".weight") for name in params if name.endswith(".weight")]
    found = []
    for k in range(len(params[f"{layers[0]}.weight"])):
        h = (x if x.dim() == 4 else x[k]).flatten(1).numpy()
        for layer in layers:
            h = h @ params[f"{layer}.weight"][k].numpy().T + params[f"{layer}.bias"][k].numpy()
            if layer != layers[-1]:
                h = np.maximum(h, 0)
        found.append(h)
    return np.stack(found)


def measures(params: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean cross-entropy [R] and accuracy [R]."""
    logits = forward(params, x)
    shifted = logits - logits.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    labels = y.numpy()
    return -log_p[:, np.arange(len(labels)), labels].mean(1), (logits.argmax(-1) == labels).mean(1)


def module(params: dict[str, torch.Tensor], k: int = 0) -> nn.Sequential:
    """Replicate k as ordinary `nn.Linear` modules; its parameters come in the order of `params`."""
    weights = [name for name in params if name.endswith(".weight")]
    parts: list[nn.Module] = [nn.Flatten()]
    for name in weights:
        n_out, n_in = params[name].shape[1:]
        linear = nn.Linear(n_in, n_out, dtype=params[name].dtype)
        linear.weight.data.copy_(params[name][k])
        linear.bias.data.copy_(params[name.replace("weight", "bias")][k])
        parts += [linear, nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def values(net: nn.Sequential) -> dict[str, torch.Tensor]:
    """The parameters of `module`, by the names that they came from."""
    linears = [part for part in net if isinstance(part, nn.Linear)]
    found = {}
    for i, linear in enumerate(linears, 1):
        found[f"fc{i}.weight"], found[f"fc{i}.bias"] = linear.weight.data.clone(), linear.bias.data.clone()
    return found


def order(generator: torch.Generator, size: int, batch_size: int, steps: int) -> list[torch.Tensor]:
    """The batches of `steps` steps: a new permutation of the data each epoch, cut into batches, the last smaller."""
    found: list[torch.Tensor] = []
    while len(found) < steps:
        found += torch.randperm(size, generator=generator).split(batch_size)
    return found[:steps]


def optimizer(name: str, parameters, lr: float, momentum: float, weight_decay: float) -> torch.optim.Optimizer:
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    return kind(parameters, lr=lr, betas=(momentum, 0.999), weight_decay=weight_decay)


def train(
    net: nn.Sequential, x, y, batches, name="adam", lr=1.2e-3, momentum=0.9, weight_decay=0.0, schedule=None,
    masks=None, frozen=None,
):  # fmt: skip
    """Train one module by the usual loop, setting its pruned weights back to `frozen` (0 unless given) after each step.

    masks, frozen: {name: tensor}, without a replicate axis.
    Returns the values before the first step and after each, and the loss of each step.
    """
    masks = masks or {}

    def remask():
        for i, linear in enumerate((part for part in net if isinstance(part, nn.Linear)), 1):
            if f"fc{i}.weight" in masks:
                pruned = ~masks[f"fc{i}.weight"]
                linear.weight.data[pruned] = frozen[f"fc{i}.weight"][pruned] if frozen else 0.0

    remask()
    steps = optimizer(name, net.parameters(), lr, momentum, weight_decay)
    seen, losses = [values(net)], []
    for i, chosen in enumerate(batches):
        for group in steps.param_groups:
            group["lr"] = lr * (schedule(i) if schedule else 1)
        loss = F.cross_entropy(net(x[chosen]), y[chosen])
        steps.zero_grad()
        loss.backward()
        steps.step()
        remask()
        seen.append(values(net))
        losses.append(loss.item())
    return seen, losses


def prune(weights: np.ndarray, mask: np.ndarray, rate: float) -> np.ndarray:
    """Magnitude pruning of one layer without ties: sort the alive weights, drop the first rint(rate · alive)."""
    alive = np.flatnonzero(mask)
    ranked = alive[np.argsort(np.abs(weights.ravel()[alive]))]
    left = copy.deepcopy(mask).ravel()
    left[ranked[: int(np.rint(rate * len(alive)))]] = False
    return left.reshape(mask.shape)
