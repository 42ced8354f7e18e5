"""Fully connected networks, with a backward pass of their own."""

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lthkit.data import Dataset
from lthkit.networks.base import Network, Step, glorot_normal
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
        """Forward and backward written out: three batched products a layer, into buffers made once a batch size.

        One replicate on several CPU threads has its layers cut into as many blocks of units: a core computes outputs
        and gradients of its own rows of a weight, which its cache still holds when the optimizer comes to them.
        The last layer, small and without a ReLU to put blocks together, is cut for its gradient only.
        """
        weights = [params[f"{layer}.weight"] for layer in self.layers]
        bias_grads = [grads[f"{layer}.bias"] for layer in self.layers]
        replicates, last = weights[0].shape[0], len(weights) - 1
        threads = torch.get_num_threads() if replicates == 1 and weights[0].device.type == "cpu" else 1
        cuts = [threads if weight.shape[1] % threads == 0 else 1 for weight in weights]

        def rows(kind: str, values: Params) -> list[Tensor]:
            """Of each layer [R, out, …] as [R · cut, out / cut, …]."""
            found = [values[f"{layer}.{kind}"] for layer in self.layers]
            return [v.view(replicates * cut, -1, *v.shape[2:]) for v, cut in zip(found, cuts, strict=True)]

        transposed = [*(weight.mT for weight in rows("weight", params)[:-1]), weights[-1].mT]
        biases = [bias.unsqueeze(1) for bias in (*rows("bias", params)[:-1], params[f"{self.layers[-1]}.bias"])]
        weight_grads = rows("weight", grads)
        rooms: dict[int, _Room] = {}
        # Bound once, overload named: at batches of 60 the look-up costs as much as the smaller products.
        threshold_backward = torch.ops.aten.threshold_backward.grad_input

        def step(x: Tensor, y: Tensor) -> Tensor:
            batch = x.shape[1]
            if batch not in rooms:
                rooms[batch] = _Room(weights, cuts, batch)
            room = rooms[batch]
            outputs, deltas, seed = room.outputs, room.deltas, room.seed

            images = x.flatten(2)
            inputs = [images.expand(replicates * cuts[0], -1, -1), *room.inputs]
            for i in range(last):
                torch.baddbmm(biases[i], inputs[i], transposed[i], out=room.sums[i])
                torch.clamp_min(room.sums[i], 0, out=room.output_blocks[i])
            logits = torch.baddbmm(biases[-1], outputs[last - 1] if last else images, transposed[-1], out=outputs[-1])

            # log_softmax's own backward op: a hand-made softmax − onehot drifts from autograd within 50 steps.
            log_p = torch.log_softmax(logits, dim=-1)
            torch.index_select(room.seeds, 0, y.flatten(), out=seed.flatten(0, 1))  # d(mean −log p)/d(log p)
            torch._log_softmax_backward_data(seed, log_p, -1, log_p.dtype, out=deltas[-1])
            for i in range(last, -1, -1):
                torch.bmm(room.delta_blocks[i], inputs[i], out=weight_grads[i])
                torch.sum(deltas[i], 1, out=bias_grads[i])
                if i:
                    torch.bmm(deltas[i], weights[i], out=deltas[i - 1])
                    threshold_backward(deltas[i - 1], outputs[i - 1], 0, grad_input=deltas[i - 1])
            # seed is −1/B at each label and 0 elsewhere, so that this product is the mean of −log p.
            return torch.bmm(seed.view(replicates, 1, -1), log_p.view(replicates, -1, 1)).view(replicates)

        return step


class _Room:
    """What `Dense` writes at one batch size, and the views that its products take: lists with an entry a layer.

    outputs, deltas: the layer's output h (of the last one: logits) and dL/dh, [R, B, out].
    output_blocks: h as blocks [R · cut, B, out / cut]; delta_blocks: dL/dh as blocks, transposed.
    sums: h before the ReLU, as contiguous blocks, for a product writes fast into those only.
    inputs: h once for each block of the next layer.  seed: dL/d(log p); seeds: its rows, a row a label.
    """

    def __init__(self, weights: list[Tensor], cuts: list[int], batch: int):
        replicates = len(weights[0])

        def blocks(value: Tensor, cut: int) -> Tensor:
            """[R, B, out] as [R · cut, B, out / cut]: a view, since R or cut is 1."""
            return value.unflatten(2, (cut, -1)).transpose(1, 2).view(replicates * cut, batch, -1)

        self.outputs, self.deltas = (
            [weight.new_empty(replicates, batch, weight.shape[1]) for weight in weights] for _ in range(2)
        )
        self.output_blocks = [blocks(output, cut) for output, cut in zip(self.outputs, cuts, strict=True)]
        self.delta_blocks = [blocks(delta, cut).mT for delta, cut in zip(self.deltas, cuts, strict=True)]
        self.sums = [
            block.new_empty(block.shape) if not block.is_contiguous() else block for block in self.output_blocks
        ]
        self.inputs = [
            output.expand(replicates * cut, -1, -1) for output, cut in zip(self.outputs[:-1], cuts[1:], strict=True)
        ]
        self.seed = torch.empty_like(self.outputs[-1])
        self.seeds = torch.eye(weights[-1].shape[1], dtype=self.seed.dtype, device=self.seed.device) / -batch


def lenet_300_100(data: Dataset) -> Network:
    """LeNet-300-100 (LeCun et al. 1998): two hidden layers of 300 and 100 units, for images of any size."""
    return Dense("LeNet-300-100", [math.prod(data.image_shape), 300, 100, data.classes])
