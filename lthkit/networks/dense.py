"""Fully connected networks, with a backward pass of their own."""

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lthkit.data import Dataset
from lthkit.masks import Params
from lthkit.networks.base import Network, Step, glorot_normal


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

    def draw(self, generators: Sequence[torch.Generator]) -> Params:
        return glorot_normal(self.shapes, self.prunable, generators)

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
        weights = [params[f"{layer}.weight"] for layer in self.layers]
        transposed = [weight.mT for weight in weights]
        biases = [params[f"{layer}.bias"].unsqueeze(1) for layer in self.layers]
        weight_grads = [grads[f"{layer}.weight"] for layer in self.layers]
        bias_grads = [grads[f"{layer}.bias"] for layer in self.layers]
        replicates, last = weights[0].shape[0], len(weights) - 1
        buffers: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        # Bound once, overloads named: at batches of 60 the look-ups cost as much as the smaller products.
        log_softmax_backward = torch.ops.aten._log_softmax_backward_data.default
        threshold_backward = torch.ops.aten.threshold_backward.grad_input

        def step(x: Tensor, y: Tensor) -> Tensor:
            batch = x.shape[1]
            if batch not in buffers:
                shapes = [(replicates, batch, weight.shape[1]) for weight in weights]
                buffers[batch] = tuple([weights[0].new_empty(shape) for shape in shapes] for _ in range(2))
            outputs, deltas = buffers[batch]  # h and dL/dh of each layer, [R, B, out]

            h = x.flatten(2)
            inputs = []
            for i, out in enumerate(outputs):
                inputs.append(h)
                torch.baddbmm(biases[i], h, transposed[i], out=out)
                h = out.relu_() if i != last else out

            # log_softmax's own backward op: a hand-made softmax − onehot drifts from autograd within 50 steps.
            log_p = torch.log_softmax(h, dim=-1)
            labels = y.unsqueeze(-1)
            seed = deltas[last].zero_().scatter_(-1, labels, -1 / batch)  # d(mean −log p)/d(log p)
            delta = log_softmax_backward(seed, log_p, -1, h.dtype)
            for i in range(last, -1, -1):
                torch.bmm(delta.mT, inputs[i], out=weight_grads[i])
                torch.sum(delta, 1, out=bias_grads[i])
                if i:
                    torch.bmm(delta, weights[i], out=deltas[i - 1])
                    delta = threshold_backward(deltas[i - 1], inputs[i], 0, grad_input=deltas[i - 1])
            # seed is −1/B at each label and 0 elsewhere, so that this product is the mean of −log p.
            return torch.bmm(seed.view(replicates, 1, -1), log_p.view(replicates, -1, 1)).view(replicates)

        return step


def lenet_300_100(data: Dataset) -> Network:
    """LeNet-300-100 (LeCun et al. 1998): two hidden layers of 300 and 100 units, for images of any size."""
    return Dense("LeNet-300-100", [math.prod(data.image_shape), 300, 100, data.classes])
