"""Dense networks of which few weights are left: products with compressed rows, which skip what is pruned."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lthkit.networks.base import Network, Step
from lthkit.stacks import Masks, Params

SHARE = 0.25


def compressible(network: Network, params: Params, masks: Masks) -> Masks:
    """Masks of all prunable weights if it pays to train only what they keep, else none.

    Pruned weights must be 0.
    """
    masks = {n: masks.get(n, torch.ones_like(params[n], dtype=torch.bool)) for n in network.prunable}
    like, total = params[network.prunable[0]], sum(mask.numel() for mask in masks.values())
    if not network.compresses or not like.is_cpu or like.dtype not in DTYPES:
        return {}
    few = sum(int(mask.count_nonzero()) for mask in masks.values()) <= SHARE * total
    return masks if few and not any(params[n].masked_fill(mask, 0).any() for n, mask in masks.items()) else {}


def compress(mask: Tensor, values: Tensor) -> Tensor:
    """The weights [R, out, in] of which `mask` keeps `values`, in its order, as a matrix [R·out, R·in] of R blocks.

    The matrix shares the memory of `values`.
    """
    replicates, n_out, n_in = mask.shape
    starts = F.pad(mask.flatten(0, 1).sum(1).cumsum(0), (1, 0))
    replicate, _, column = mask.nonzero(as_tuple=True)
    columns, size = replicate * n_in + column, (replicates * n_out, replicates * n_in)
    return torch.sparse_csr_tensor(starts.int(), columns.int(), values, size=size, check_invariants=False)


def differentiator(layers: Sequence[str], params: Params, grads: Params) -> Step:
    """What `Dense.differentiator` is, for weights and their gradients that are compressed.

    A layer's outputs for all replicates lie below each other, [R·out, B], so that each product is one.
    """
    weights, biases = [params[f"{n}.weight"] for n in layers], [params[f"{n}.bias"].view(-1, 1) for n in layers]
    weight_grads, bias_grads = [grads[f"{n}.weight"] for n in layers], [grads[f"{n}.bias"].view(-1) for n in layers]
    replicates, last = len(params[f"{layers[-1]}.bias"]), len(layers) - 1
    transposed, orders = zip(*map(_transpose, weights), strict=True)
    threshold_backward = torch.ops.aten.threshold_backward.grad_input

    def step(x: Tensor, y: Tensor) -> Tensor:
        inputs = [x.flatten(2).mT.flatten(0, 1)]  # [R·in, B]
        for weight, bias in zip(weights, biases, strict=True):
            inputs.append(torch.addmm(bias, weight, inputs[-1]))  # [R·out, B]
            if len(inputs) <= last + 1:
                inputs[-1].clamp_min_(0)
        log_p = torch.log_softmax(inputs.pop().view(replicates, -1, x.shape[1]), 1)  # [R, classes, B]
        label_grad = torch.zeros_like(log_p).scatter_(1, y.unsqueeze(1), -1 / x.shape[1])
        delta = torch._log_softmax_backward_data(label_grad, log_p, 1, log_p.dtype).flatten(0, 1)
        for i in range(last, -1, -1):
            weight_grads[i].values().zero_()  # "beta=0" multiplies what was there all the same, and NaN stays
            torch.sparse.sampled_addmm(weight_grads[i], delta, inputs[i].t(), beta=0, out=weight_grads[i])
            torch.sum(delta, 1, out=bias_grads[i])
            if i:
                torch.index_select(weights[i].values(), 0, orders[i], out=transposed[i].values())
                delta = torch.mm(transposed[i], delta)  # [R·in, B]
                threshold_backward(delta, inputs[i], 0, grad_input=delta)
        return (label_grad * log_p).sum((1, 2))

    return step


def _transpose(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """A transposed matrix with room for the values, and the order in which it takes them."""
    columns, order = matrix.col_indices().sort(stable=True)
    rows = torch.arange(len(matrix), dtype=torch.int32).repeat_interleave(matrix.crow_indices().diff())
    starts = F.pad(columns.bincount(minlength=matrix.shape[1]).cumsum(0), (1, 0)).int()
    values = matrix.values()[order]
    size = matrix.shape[::-1]
    return torch.sparse_csr_tensor(starts, rows[order], values, size=size, check_invariants=False), order


def _works(dtype: torch.dtype) -> bool:
    """Whether this torch has these products, and does known ones right; not all builds do, nor all dtypes."""
    ones, values = torch.ones(2, 2, dtype=dtype), torch.zeros(3, dtype=dtype)
    try:
        matrix = compress(torch.tensor([[[True, False], [True, True]]]), values)
        torch.sparse.sampled_addmm(matrix, ones, ones, beta=0, out=matrix)
        return values.tolist() == [2, 2, 2] and torch.addmm(ones, matrix, ones).tolist() == [[3, 3], [5, 5]]
    except RuntimeError:
        return False


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch says once in a process that its compressed rows are young
    DTYPES = {d for d in (torch.float32, torch.float64) if torch.backends.mkl.is_available() and _works(d)}
