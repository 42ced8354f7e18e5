"""Conv-2, Conv-4 and Conv-6 of Frankle & Carbin (2019): a small VGG each."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lthkit.data import Dataset
from lthkit.networks.base import Network
from lthkit.networks.dense import Dense
from lthkit.stacks import Params
from lthkit.stopping import check_stop

HIDDEN = (256, 256)  # units of the dense layers


class Conv(Network):
    """Pairs of 3×3 convolutions, each pair followed by 2×2 max-pooling, then dense layers of 256, 256 and `classes`.

    channels: of the pairs, as in (64, 128).  conv_rate: pruning rate of a convolution relative to a dense layer.
    Weights are Glorot-normal, biases zero; the output layer is pruned at half the rate.
    """

    long_steps = True

    def __init__(self, name: str, data: Dataset, channels: Sequence[int], conv_rate: float):
        depth, height, width = data.image_shape
        if min(height, width) < 2 ** len(channels):
            needs = f"halves images {len(channels)} times and needs at least {2 ** len(channels)} pixels a side"
            raise ValueError(f"{name} {needs}, got {height}×{width}")
        shapes, rates = {}, {}
        self.convs = [f"conv{i}" for i in range(1, 2 * len(channels) + 1)]
        for i, conv in enumerate(self.convs):
            out = channels[i // 2]
            shapes[f"{conv}.weight"], shapes[f"{conv}.bias"] = ((out, depth, 3, 3), (out,))
            rates[f"{conv}.weight"] = conv_rate
            depth = out
        n_in = depth * (height >> len(channels)) * (width >> len(channels))
        self.dense = Dense(name, [n_in, *HIDDEN, data.classes])
        super().__init__(name, shapes | self.dense.shapes, rates | self.dense.rates)

    def forward(self, params: Params, x: Tensor, training: bool = False) -> Tensor:
        if x.device.type == "cpu":  # grouped convolution was 1.5 to 2.9 times slower here
            replicates = range(len(params["fc1.weight"]))
            return torch.stack([self._one(params, k, x if x.dim() == 4 else x[k]) for k in replicates])
        return self._grouped(params, x)

    def _one(self, params: Params, k: int, x: Tensor) -> Tensor:
        """Logits [B, classes] of replicate k."""
        check_stop()
        for i, conv in enumerate(self.convs):
            x = F.conv2d(x, params[f"{conv}.weight"][k], params[f"{conv}.bias"][k], padding=1).relu_()
            x = F.max_pool2d(x, 2) if i % 2 else x  # [B, channels, H, W]
        x = x.flatten(1)
        for layer in self.dense.layers:
            x = F.linear(x, params[f"{layer}.weight"][k], params[f"{layer}.bias"][k])
            x = x.relu_() if layer != self.dense.layers[-1] else x
        return x

    def _grouped(self, params: Params, x: Tensor) -> Tensor:
        """All replicates in one call a layer: replicate k is the k-th group of channels."""
        count = len(params["fc1.weight"])
        x = x.expand(count, *x.shape) if x.dim() == 4 else x
        batch = x.shape[1]
        x = x.transpose(0, 1).flatten(1, 2)  # [B, R·C, H, W]
        for i, conv in enumerate(self.convs):
            weight, bias = (params[f"{conv}.weight"].flatten(0, 1), params[f"{conv}.bias"].flatten())
            x = F.conv2d(x, weight, bias, padding=1, groups=count).relu_()
            x = F.max_pool2d(x, 2) if i % 2 else x
        return self.dense.forward(params, x.view(batch, count, -1).transpose(0, 1))  # of [R, B, features]

    def module(self) -> nn.Module:
        """`nn.Sequential` of conv1, relu, …, pool, …, flatten, fc1, …"""
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i, conv in enumerate(self.convs, start=1):
            n_out, n_in, *kernel = self.shapes[f"{conv}.weight"]
            layers[conv], layers[f"relu_{conv}"] = (nn.Conv2d(n_in, n_out, kernel, padding=1), nn.ReLU())
            if i % 2 == 0:
                layers[f"pool{i // 2}"] = nn.MaxPool2d(2)
        dense = self.dense.module().named_children()
        return nn.Sequential(layers | {name.replace("relu", "relu_fc"): layer for name, layer in dense})


def conv_2(data: Dataset) -> Network:
    """Conv-2: one pair of 64 channels; 4,300,992 weights on 3×32×32.  Convolutions are pruned at half the rate."""
    return Conv("Conv-2", data, (64,), 0.5)


def conv_4(data: Dataset) -> Network:
    """Conv-4: pairs of 64 and 128 channels; 2,425,024 weights on 3×32×32.  Convolutions are pruned at half the rate."""
    return Conv("Conv-4", data, (64, 128), 0.5)


def conv_6(data: Dataset) -> Network:
    """Conv-6: pairs of 64, 128 and 256 channels; 2,261,184 weights on 3×32×32 (the paper prints 1.7 M).

    Convolutions are pruned at three quarters of the rate: 15 % where dense layers lose 20 %.
    """
    return Conv("Conv-6", data, (64, 128, 256), 0.75)
