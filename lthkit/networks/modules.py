"""Any `nn.Module` as a `Network` of several replicates."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lthkit.files import fingerprint
from lthkit.networks.base import Network
from lthkit.stacks import Params
from lthkit.stopping import check_stop

# Weights are prunable by the type of their layer: a name like "weight" would also catch norms and embeddings.
PRUNABLE = (nn.Linear, nn.modules.conv._ConvNd)
DRAWS = (nn.modules.dropout._DropoutNd, nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)


class ModuleNetwork(Network):
    """See `from_module`."""

    threads_safe = False  # functional_call swaps the parameters of the one template

    def __init__(self, factory: Callable[[], nn.Module]):
        self.factory = factory
        self.template = self._make(0)
        _check_module(self.template)
        state, again, other = _state(self.template), _state(self._make(0)), _state(self._make(1))
        trained = [name for name, value in self.template.named_parameters() if value.requires_grad]
        names = [*trained, *(name for name in state if name not in trained)]
        self.long_steps = any(isinstance(layer, nn.modules.conv._ConvNd) for layer in self.template.modules())
        rates = _rates(self.template, trained)
        if not rates:
            raise ValueError("the module has no linear or convolutional weight to train: there is nothing to prune")
        if fingerprint(state) != fingerprint(again):
            remedy = "draw all with torch, not with NumPy, random or a generator of its own"
            raise ValueError(f"factory draws other numbers from the same random state of torch: {remedy}")
        if all(torch.equal(state[name], other[name]) for name in rates):
            remedy = "it must draw, and neither call torch.manual_seed nor load them"
            raise ValueError(f"factory draws the same weights from every random state: {remedy}")
        shapes = {name: tuple(state[name].shape) for name in names}
        super().__init__(type(self.template).__name__, shapes, rates, names[len(trained) :])

    def _make(self, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would also reseed the GPUs
            module = self.factory()
        if not isinstance(module, nn.Module):
            raise TypeError(f"factory must return a new nn.Module, got {type(module).__name__}")
        if module is getattr(self, "template", None):
            raise ValueError("factory returned the same module twice: it must make a new one in each call")
        return module

    def draw(self, generators: Sequence[torch.Generator]) -> Params:
        """The parameters of one fresh module a generator; the global random state is left as it was."""
        states = [_state(self._make(int(torch.randint(2**62, (), generator=each)))) for each in generators]
        for state in states:
            if {name: tuple(value.shape) for name, value in state.items()} != self.shapes:
                raise ValueError("factory returned modules whose parameters differ in name or shape")
        return {name: torch.stack([state[name] for state in states]) for name in self.shapes}

    def forward(self, params: Params, x: Tensor, training: bool = False) -> Tensor:
        self.template.train(training)
        logits = []
        for k in range(len(next(iter(params.values())))):
            check_stop()
            state = {name: value[k] for name, value in params.items()}
            logits.append(functional_call(self.template, state, (x if x.dim() == 4 else x[k],)))
            # A slice is a view: what batch norm writes into it is in the stack.  A buffer that the module has replaced
            # (self.seen = self.seen + 1) is now in `state` alone.
            for name in self.buffers if training else ():
                if state[name].data_ptr() != params[name][k].data_ptr():
                    params[name][k].copy_(state[name].detach())
        return torch.stack(logits)

    def module(self) -> nn.Module:
        """A fresh module from the factory."""
        return self._make(0)


def from_module(factory: Callable[[], nn.Module]) -> Network:
    """A network from a function that returns a new module, such as a module's class.

    The module must map images [B, C, H, W] to logits [B, classes].  It is made once a seed, each time from its own
    random state.  Prunable are the weights of linear and convolutional layers, never those of norms or embeddings; the
    last linear layer is pruned at half the rate.  Buffers (batch norm's running statistics) belong to each replicate
    and are rewound with the weights; training uses batch statistics, evaluation the running ones.  Parameters that do
    not require a gradient stay as they are.
    Raises ValueError for a module with dropout (its draws would come from the global random state), without a prunable
    layer, or pruned already, and for a factory that returns the same module again, gives every seed the same weights,
    or draws from elsewhere than torch's global state; TypeError for anything that is no factory.
    """
    if isinstance(factory, nn.Module) or not callable(factory):
        remedy = "pass a class, or a lambda, as in from_module(lambda: Net(10))"
        raise TypeError(f"from_module needs a function that makes a new module, got {type(factory).__name__}: {remedy}")
    return ModuleNetwork(factory)


def _state(module: nn.Module) -> Params:
    return {name: value.detach().clone() for name, value in [*module.named_parameters(), *module.named_buffers()]}


def _rates(module: nn.Module, trained: Sequence[str]) -> dict[str, float]:
    """Relative pruning rates of the trained weights of linear and convolutional layers, 0.5 for a last linear layer."""
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, PRUNABLE)}
    # A weight may be shared with an embedding, or have another name first: then it is not this layer's own.
    others = [layer for layer in module.modules() if not isinstance(layer, PRUNABLE)]
    elsewhere = {id(value) for layer in others for value in layer.parameters(recurse=False)}
    rates = {}
    for i, (path, layer) in enumerate(layers.items(), 1):
        name = f"{path}.weight" if path else "weight"
        if name in trained and id(layer.weight) not in elsewhere:
            rates[name] = 0.5 if i == len(layers) > 1 and isinstance(layer, nn.Linear) else 1.0
    return rates


def _check_module(module: nn.Module) -> None:
    for name, layer in module.named_modules():
        share = getattr(layer, "dropout", 0)  # of attention and recurrent layers
        if (isinstance(layer, DRAWS) and getattr(layer, "p", 1) > 0) or (isinstance(share, float) and share > 0):
            found = f"{name!r} is {type(layer).__name__}, which draws from the global random state"
            raise ValueError(f"{found}: set its dropout to 0, or leave it out")
    if pruned := [name for name, _ in module.named_buffers() if name.endswith("weight_mask")]:
        raise ValueError(f"the module is pruned already ({pruned[0]}): pass its masks to fit, after prune.remove")
