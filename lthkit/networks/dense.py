"""Fully connected networks, with a backward pass of their own."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache, partial

import torch
from torch import Tensor, nn

from lthkit.data import Dataset
from lthkit.networks import compressed
from lthkit.networks.base import Network, Step
from lthkit.stacks import Params


class Dense(Network):
    """Fully connected layers with ReLU between them; images are flattened.

    widths: inputs, hidden widths, classes.  Weights are Glorot-normal (Glorot & Bengio 2010), biases zero; the output
    layer is pruned at half the rate (Frankle & Carbin 2019).
    """

    def __init__(self, name: str, widths: Sequence[int]):
        shapes, rates = {}, {}
        self.layers = [f"fc{i}" for i in range(1, len(widths))]
        for layer, n_in, n_out in zip(self.layers, widths[:-1], widths[1:], strict=True):
            shapes[f"{layer}.weight"], shapes[f"{layer}.bias"] = (n_out, n_in), (n_out,)
            rates[f"{layer}.weight"] = 1.0 if layer != self.layers[-1] else 0.5
        super().__init__(name, shapes, rates)

    @property
    def compresses(self) -> bool:
        """Not where a subclass has another differentiator."""
        return type(self).differentiator is Dense.differentiator

    def forward(self, params: Params, x: Tensor, training: bool = False) -> Tensor:
        replicates = params[self.prunable[0]].shape[0]
        h = x.flatten(1).expand(replicates, -1, -1) if x.dim() == 4 else x.flatten(2)  # [R, B, inputs]
        for layer in self.layers:
            h = torch.baddbmm(params[f"{layer}.bias"].unsqueeze(1), h, params[f"{layer}.weight"].mT)  # [R, B, out]
            h = h.relu_() if layer != self.layers[-1] else h
        return h

    def module(self) -> nn.Module:
        """`nn.Sequential` of flatten, fc1, relu1, fc2, …"""
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        for i, layer in enumerate(self.layers, start=1):
            n_out, n_in = self.shapes[f"{layer}.weight"]
            layers[layer] = nn.Linear(n_in, n_out)
            if layer != self.layers[-1]:
                layers[f"relu{i}"] = nn.ReLU()
        return nn.Sequential(layers)

    def differentiator(self, params: Params, grads: Params) -> Step:
        """Forward and backward written out: three batched products a layer, into buffers made once a batch size."""
        if params[self.prunable[0]].layout == torch.sparse_csr:
            return compressed.differentiator(self.layers, params, grads)
        layers = [f"{layer}." for layer in self.layers]
        weights, biases = [params[f"{n}weight"] for n in layers], [params[f"{n}bias"].unsqueeze(1) for n in layers]
        weight_grads, bias_grads = [grads[f"{n}weight"] for n in layers], [grads[f"{n}bias"] for n in layers]
        transposed = [weight.mT for weight in weights]  # [R, in, out]
        replicates, last = len(weights[0]), len(weights) - 1
        buffers_at = cache(partial(_Buffers, weights))  # made once a batch size
        # Bound once, overload named: at batches of 60 the look-up costs as much as the smaller products.
        threshold_backward = torch.ops.aten.threshold_backward.grad_input

        def step(x: Tensor, y: Tensor) -> Tensor:
            buffers = buffers_at(x.shape[1])
            outputs, deltas, label_grad = buffers.outputs, buffers.deltas, buffers.label_grad

            inputs = [x.flatten(2), *outputs[:-1]]  # [R, B, in]
            for i, output in enumerate(outputs):  # [R, B, out]
                torch.baddbmm(biases[i], inputs[i], transposed[i], out=output)
                if i < last:
                    output.clamp_min_(0)

            # log_softmax's own backward op: a hand-made softmax − onehot drifts from autograd within 50 steps.
            log_p = torch.log_softmax(outputs[-1], dim=-1)  # [R, B, classes]
            torch.index_select(buffers.label_grads, 0, y.flatten(), out=label_grad.flatten(0, 1))
            torch._log_softmax_backward_data(label_grad, log_p, -1, log_p.dtype, out=deltas[-1])
            for i in range(last, -1, -1):
                torch.bmm(deltas[i].mT, inputs[i], out=weight_grads[i])  # [R, out, in]
                torch.sum(deltas[i], 1, out=bias_grads[i])  # [R, out]
                if i:
                    torch.bmm(deltas[i], weights[i], out=deltas[i - 1])  # [R, B, in]
                    threshold_backward(deltas[i - 1], outputs[i - 1], 0, grad_input=deltas[i - 1])
            # label_grad is −1/B at each label and 0 elsewhere, so that this product is the mean of −log p.
            return torch.bmm(label_grad.view(replicates, 1, -1), log_p.view(replicates, -1, 1)).view(replicates)

        return step


class _Buffers:
    """What `Dense` writes at one batch size.

    outputs, deltas: of each layer the output h (of the last one: logits) and dL/dh, [R, B, out].
    label_grad: dL/d(log p), [R, B, classes]; label_grads: its rows, a row a label.
    """

    def __init__(self, weights: list[Tensor], batch: int):
        self.outputs = [weight.new_empty(len(weight), batch, weight.shape[1]) for weight in weights]
        self.deltas = [torch.empty_like(output) for output in self.outputs]
        self.label_grad = torch.empty_like(self.outputs[-1])
        self.label_grads = torch.eye(weights[-1].shape[1]).to(self.label_grad) / -batch


def lenet_300_100(data: Dataset) -> Network:
    """LeNet-300-100 (LeCun et al. 1998): two hidden layers of 300 and 100 units, for images of any size."""
    return Dense("LeNet-300-100", [math.prod(data.image_shape), 300, 100, data.classes])
