"""Networks whose parameters carry a leading replicate axis R: draw R replicates and run them side by side.

A `Network` holds no parameters.  It knows how to draw them (`init`), how to use them (`forward`) and how to
differentiate the loss with respect to them (`differentiator`).
"""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lthkit.data import Dataset
from lthkit.masks import Params
from lthkit.streams import as_seeds, streams

Step = Callable[[Tensor, Tensor], Tensor]


class Network:
    """What all networks share.  Subclasses give `draw` and `forward`.

    name: for tables and badges.  shapes: {parameter: shape of one replicate}, in the order of drawing.
    prunable: names of the weights that masks may cover.  rates: pruning rate of each, relative to a run's rate.
    """

    def __init__(self, name: str, shapes: dict[str, tuple[int, ...]], rates: dict[str, float]):
        self.name = name
        self.shapes = shapes
        self.rates = rates
        self.prunable = tuple(rates)

    def init(self, seeds: int | Iterable[int]) -> Params:
        """Initial parameters {name: [R, …]}, float32; replicate k depends on seeds[k] alone."""
        return self.draw(streams(as_seeds(seeds), "init"))

    def draw(self, generators: Sequence[torch.Generator]) -> Params:
        """One fresh draw for each generator, from this network's own law."""
        raise NotImplementedError

    def forward(self, params: Params, x: Tensor) -> Tensor:
        """Logits [R, B, classes] for images [B, C, H, W] shared by all replicates, or [R, B, C, H, W] of their own."""
        raise NotImplementedError

    def differentiator(self, params: Params, grads: Params) -> Step:
        """A function of (x [R, B, C, H, W], y [R, B]) that writes the gradients into `grads`.

        It returns the cross-entropy [R] of each replicate, the mean over its own batch.  `params` and `grads` are
        written in place between and during calls and must keep their storage.  This one goes through autograd.
        """

        def step(x: Tensor, y: Tensor) -> Tensor:
            leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
            logits = self.forward(leaves, x)
            losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(y.shape).mean(1)
            found = torch.autograd.grad(losses.sum(), list(leaves.values()))
            for name, gradient in zip(leaves, found, strict=True):
                grads[name].copy_(gradient)
            return losses.detach()

        return step

    def __repr__(self) -> str:
        weights = sum(math.prod(self.shapes[name]) for name in self.prunable)
        return f"{type(self).__name__}({self.name!r}: {weights:,} prunable weights in {len(self.prunable)} layers)"


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
        params = {name: torch.zeros(len(generators), *shape) for name, shape in self.shapes.items()}
        for k, generator in enumerate(generators):
            for name in self.prunable:
                n_out, n_in = self.shapes[name]
                params[name][k].normal_(0, math.sqrt(2 / (n_in + n_out)), generator=generator)
        return params

    def forward(self, params: Params, x: Tensor) -> Tensor:
        replicates = params[self.prunable[0]].shape[0]
        h = x.flatten(1).expand(replicates, -1, -1) if x.dim() == 4 else x.flatten(2)  # [R, B, inputs]
        for layer in self.layers:
            h = torch.baddbmm(params[f"{layer}.bias"].unsqueeze(1), h, params[f"{layer}.weight"].mT)  # [R, B, out]
            h = h.relu_() if layer != self.layers[-1] else h
        return h

    def differentiator(self, params: Params, grads: Params) -> Step:
        """Forward and backward written out: three batched products a layer, into buffers made once a batch size."""
        weights = [params[f"{layer}.weight"] for layer in self.layers]
        transposed = [weight.mT for weight in weights]
        biases = [params[f"{layer}.bias"].unsqueeze(1) for layer in self.layers]
        weight_grads = [grads[f"{layer}.weight"] for layer in self.layers]
        bias_grads = [grads[f"{layer}.bias"] for layer in self.layers]
        replicates, last = weights[0].shape[0], len(weights) - 1
        buffers: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        aten = torch.ops.aten

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
            delta = aten._log_softmax_backward_data(seed, log_p, -1, h.dtype)
            for i in range(last, -1, -1):
                torch.bmm(delta.mT, inputs[i], out=weight_grads[i])
                torch.sum(delta, 1, out=bias_grads[i])
                if i:
                    torch.bmm(delta, weights[i], out=deltas[i - 1])
                    delta = aten.threshold_backward.grad_input(deltas[i - 1], inputs[i], 0, grad_input=deltas[i - 1])
            return -log_p.gather(-1, labels).mean((1, 2))

        return step


def lenet_300_100(data: Dataset) -> Network:
    """LeNet-300-100 (LeCun et al. 1998): two hidden layers of 300 and 100 units, for images of any size."""
    return Dense("LeNet-300-100", [math.prod(data.image_shape), 300, 100, data.classes])
