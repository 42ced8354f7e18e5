"""Dense networks of which few weights are left: matrix products that skip the pruned ones.

The weights of a layer are a matrix in compressed rows with a block for each replicate; its values are the kept weights,
and they alone are trained.
"""

import warnings
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from lthkit.networks.base import Network, Step
from lthkit.stacks import Masks, Params

# A step of LeNet-300-100 takes as long both ways where 29 to 34 % are kept (digits, five replicates and one; MNIST, two
# and one); with 27 % it takes 0.8 to 0.9 times as long as the dense one, with 10 % 0.4 to 0.6, with 3 % 0.2 to 0.4.
SHARE = 0.27


def compressible(network: Network, params: Params, masks: Masks) -> Masks:
    """Masks {name: [R, out, in]} of all prunable weights where products that skip the others are faster, else none.

    params: effective ones.  Pruned weights must be 0 to be skipped.
    """
    like = params[network.prunable[0]]
    if not network.compresses or not like.is_cpu or like.dtype not in dtypes():
        return {}
    masks = {n: masks.get(n, torch.ones_like(params[n], dtype=torch.bool)) for n in network.prunable}
    kept, total = (sum(map(count, masks.values())) for count in (torch.count_nonzero, torch.numel))
    if kept > SHARE * total or any(params[n].masked_fill(mask, 0).any() for n, mask in masks.items()):
        return {}
    return masks


def compress(mask: Tensor, values: Tensor) -> Tensor:
    """The weights of which a mask [R, out, in] keeps `values`, in its order: [R·out, R·in], a block a replicate.

    The matrix and `values` share their memory.
    """
    replicates, n_out, n_in = mask.shape
    starts = F.pad(mask.flatten(0, 1).sum(1).cumsum(0), (1, 0))
    replicate, _, column = mask.nonzero(as_tuple=True)
    return _matrix(starts, replicate * n_in + column, values, (replicates * n_out, replicates * n_in))


def differentiator(layers: Sequence[str], params: Params, grads: Params) -> Step:
    """That of `Dense`, where weights and their gradients are compressed.

    What a layer puts out for all replicates lies one below the other, [R·out, B].
    """
    weights, biases = [params[f"{n}.weight"] for n in layers], [params[f"{n}.bias"].view(-1, 1) for n in layers]
    weight_grads, bias_grads = [grads[f"{n}.weight"] for n in layers], [grads[f"{n}.bias"].view(-1) for n in layers]
    transposed = [None, *map(_transpose, weights[1:])]
    replicates, last = len(params[f"{layers[0]}.bias"]), len(layers) - 1
    threshold_backward = torch.ops.aten.threshold_backward.grad_input

    def step(x: Tensor, y: Tensor) -> Tensor:
        inputs = [x.flatten(2).mT.flatten(0, 1)]  # [R·in, B]
        for i in range(last):
            inputs.append(torch.addmm(biases[i], weights[i], inputs[i]).clamp_min_(0))  # [R·out, B]
        logits = torch.addmm(biases[last], weights[last], inputs[last])
        log_p = torch.log_softmax(logits.view(replicates, -1, x.shape[1]), 1)  # [R, classes, B]
        label_grad = torch.zeros_like(log_p).scatter_(1, y.unsqueeze(1), -1 / x.shape[1])
        delta = torch._log_softmax_backward_data(label_grad, log_p, 1, log_p.dtype).flatten(0, 1)  # [R·classes, B]
        for i in range(last, -1, -1):
            weight_grads[i].values().zero_()  # as it is multiplied by beta, which leaves NaN
            torch.sparse.sampled_addmm(weight_grads[i], delta, inputs[i].t(), beta=0, out=weight_grads[i])
            torch.sum(delta, 1, out=bias_grads[i])
            if i:
                back, order = transposed[i]
                torch.index_select(weights[i].values(), 0, order, out=back.values())
                delta = torch.mm(back, delta)  # [R·in, B]
                threshold_backward(delta, inputs[i], 0, grad_input=delta)
        return (label_grad * log_p).sum((1, 2))

    return step


def _transpose(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The transposed matrix, and the order in which it takes the values."""
    columns, order = matrix.col_indices().sort(stable=True)
    starts = F.pad(columns.bincount(minlength=matrix.shape[1]).cumsum(0), (1, 0))
    rows = torch.arange(len(matrix)).repeat_interleave(matrix.crow_indices().diff())
    return _matrix(starts, rows[order], matrix.values()[order], matrix.shape[::-1]), order


def _matrix(starts: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """In compressed rows; with indices of 32 bits, as MKL wants them."""
    return torch.sparse_csr_tensor(starts.int(), columns.int(), values, size=size, check_invariants=False)


def _works(dtype: torch.dtype) -> bool:
    """Whether this build of torch has these products, and does known ones right."""
    ones, values = torch.ones(2, 2, dtype=dtype), torch.zeros(3, dtype=dtype)
    try:
        matrix = compress(torch.tensor([[[True, False], [True, True]]]), values)
        torch.sparse.sampled_addmm(matrix, ones, ones, beta=0, out=matrix)
        return values.tolist() == [2, 2, 2] and torch.addmm(ones, matrix, ones).tolist() == [[3, 3], [5, 5]]
    except RuntimeError:
        return False


@cache
def dtypes() -> set[torch.dtype]:
    """Those for which this build of torch has such products.

    Ask once before threads are started: torch warns once in a process that compressed rows are new to it, and in a
    thread no warning can be silenced.  Not at import: a process that has computed with torch can no longer be forked.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        possible = (torch.float32, torch.float64) if torch.backends.mkl.is_available() else ()
        return {dtype for dtype in possible if _works(dtype)}
