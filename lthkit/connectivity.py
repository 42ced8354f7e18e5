"""What lies between two trained networks: the error along a line, and the order of hidden units that brings them near.

All parameters and masks have a replicate axis: replicate k of one stack is compared with replicate k of the other.
"""

from itertools import pairwise

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lthkit.checks import check_count, lookup
from lthkit.data import Dataset
from lthkit.networks import Dense, Network
from lthkit.stacks import Params
from lthkit.training import evaluate

Orders = dict[str, Tensor]  # {hidden layer: [R, units]}: which unit stands at each place
SWEEPS = 100  # over the hidden layers, at most; about ten are enough


def line(network: Network, a: Params, b: Params, data: Dataset, points: int = 11) -> Tensor:
    """Test error at evenly spaced points of the straight line from `a` to `b` (Frankle et al. 2020, 1912.05671).

    a, b: effective parameters {name: [R, …]} of the same network; whole numbers among the buffers are those of `a`.
    points: how many, both ends included.  Returns [R, points], float64, from 0 to 1.
    Raises ValueError for parameters that do not fit the network or each other, or fewer than two points.
    """
    check_count("points", points, 2)
    a, b = network.check(a), network.check(b)
    _check_replicates(a, b)
    like = a[network.prunable[0]]
    data = data.to(device=like.device, dtype=like.dtype)
    errors = []
    for share in torch.linspace(0, 1, points).tolist():
        # Not a + share · (b − a), which misses b by rounding.
        between = {n: torch.lerp(v, b[n], share) if v.is_floating_point() else v for n, v in a.items()}
        errors.append(1 - evaluate(network, between, data.test_x, data.test_y)[1].cpu())
    return torch.stack(errors, dim=1)


def instability(network: Network, a: Params, b: Params, data: Dataset, points: int = 11) -> Tensor:
    """The highest test error on the line from `a` to `b`, less the mean error of its ends, [R]; arguments as of `line`.

    `a` and `b` share their start and differ in the order of their batches.  Frankle et al. (2020) call a network stable
    to this noise where it is about 0: both runs then end in one valley.
    """
    errors = line(network, a, b, data, points)
    return errors.amax(1) - (errors[:, 0] + errors[:, -1]) / 2


def match(network: Network, params: Params, like: Params) -> Orders:
    """The order of the hidden units of `params` that brings its weights nearest to those of `like`.

    Layer after layer the best assignment of units is found, by their incoming weights, biases and outgoing weights, and
    all over again until no unit moves: the weight matching of Ainsworth et al. (2023, 2209.04836).
    params, like: {name: [R, …]} of a dense network.  Returns {hidden layer: [R, units]}, as `permute` takes it.
    Raises TypeError for another kind of network, ValueError for parameters that do not fit it or each other.
    """
    layers = _layers(network)
    params, like = network.check(params), network.check(like)
    _check_replicates(params, like)
    replicates = len(params[network.prunable[0]])
    units = {layer: network.shapes[f"{layer}.bias"][0] for layer in layers[:-1]}
    orders = {layer: torch.arange(count).repeat(replicates, 1) for layer, count in units.items()}
    for k in range(replicates):
        moved, goal = ({name: value[k : k + 1].cpu() for name, value in stack.items()} for stack in (params, like))
        for _ in range(SWEEPS):
            settled = True
            for layer, following in pairwise(layers):
                names = f"{layer}.weight", f"{layer}.bias", f"{following}.weight"
                (w, b, out), (goal_w, goal_b, goal_out) = (
                    [stack[name][0] for name in names] for stack in (moved, goal)
                )
                alike = goal_w @ w.T + goal_b.outer(b) + goal_out.T @ out  # [place, unit]
                best = torch.from_numpy(linear_sum_assignment(alike.numpy(), maximize=True)[1])
                settled = settled and torch.equal(best, torch.arange(len(best)))
                moved = permute(network, moved, {layer: best[None]})
                orders[layer][k] = orders[layer][k][best]
            if settled:
                break
    return orders


def permute(network: Network, tensors: Params, orders: Orders) -> Params:
    """The same network with its hidden units in another order: what it computes does not change.

    tensors: parameters of a dense network, or masks, {name: [R, …]}.
    orders: {hidden layer: [R, units]}; unit orders[layer][k, i] of replicate k comes to place i.  A layer that is left
    out stays as it is.
    Raises TypeError for another kind of network, ValueError for an unknown layer or an order that is no permutation.
    """
    following = dict(pairwise(_layers(network)))
    moved = dict(tensors)
    for layer, order in orders.items():
        after = lookup("hidden layer", layer, following)
        weight = moved[f"{layer}.weight"]  # [R, units, in]
        places = torch.arange(weight.shape[1]).expand(weight.shape[:2])
        if not torch.equal(order.sort(1).values.cpu(), places):
            wanted = f"[{len(weight)}, {weight.shape[1]}], in each row every unit once"
            raise ValueError(f"the order of {layer!r} must be {wanted}, got {list(order.shape)}: {order}")
        order = order.to(weight.device)
        for name, index, dim in (
            (f"{layer}.weight", order[:, :, None], 1), (f"{layer}.bias", order, 1),
            (f"{after}.weight", order[:, None, :], 2),
        ):  # fmt: skip
            if name in moved:  # masks have no biases
                moved[name] = torch.take_along_dim(moved[name], index, dim)
    return moved


def _layers(network: Network) -> list[str]:
    if not isinstance(network, Dense):
        raise TypeError(f"hidden units are matched in dense networks only, not in {network.name}")
    return network.layers


def _check_replicates(a: Params, b: Params) -> None:
    counts = [len(next(iter(stack.values()))) for stack in (a, b)]
    if counts[0] != counts[1]:
        raise ValueError(f"{counts[0]} replicates cannot be compared with {counts[1]}, one by one")
