"""What all networks share: named parameters with a replicate axis, and gradients by autograd."""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lthkit.data import Dataset
from lthkit.masks import validate
from lthkit.stacks import Masks, Params, cut, effective, finite
from lthkit.stopping import check_stop
from lthkit.streams import as_seeds, global_states, streams

Step = Callable[[Tensor, Tensor], Tensor]


class Network:
    """A network without parameters of its own: it draws them, uses them and differentiates the loss by them.

    name: for tables and badges.  shapes: {name: shape of one replicate} of all parameters and buffers.
    prunable: names of the weights that masks may cover.  rates: pruning rate of each, relative to a run's rate.
    buffers: names among `shapes` that are not optimized, such as running means; they are stacked, rewound and continued
    like parameters.  threads_safe: whether threads may run this network side by side.  long_steps: whether a step is so
    long that several threads may well share each of its operations.  compresses: whether `differentiator` also takes
    all prunable weights and their gradients as the matrices of `compressed.compress`.
    """

    threads_safe = True
    long_steps = False
    compresses = False

    def __init__(
        self, name: str, shapes: dict[str, tuple[int, ...]], rates: dict[str, float], buffers: Sequence[str] = ()
    ):
        self.name, self.shapes, self.rates = name, shapes, rates
        self.prunable, self.buffers = tuple(rates), tuple(buffers)

    def init(self, seeds: int | Iterable[int]) -> Params:
        """Initial parameters {name: [R, …]}, float32; replicate k depends on seeds[k] alone."""
        return self.draw(streams(as_seeds(seeds), "init"))

    def draw(self, generators: Sequence[torch.Generator]) -> Params:
        """One fresh draw for each generator, from this network's own law.

        Unless a network says otherwise: Glorot-normal weights (Glorot & Bengio 2010), all other parameters 0.
        """
        params = {n: torch.zeros(len(generators), *shape, dtype=torch.float32) for n, shape in self.shapes.items()}
        for k, generator in enumerate(generators):
            for name in self.prunable:
                n_out, n_in, *kernel = self.shapes[name]
                std = math.sqrt(2 / ((n_in + n_out) * math.prod(kernel)))
                params[name][k].normal_(0, std, generator=generator)
        return params

    def forward(self, params: Params, x: Tensor, training: bool = False) -> Tensor:
        """Logits [R, B, classes] for images [B, C, H, W] shared by all replicates, or [R, B, C, H, W] of their own.

        training: use batch statistics and update the buffers in `params`, where the network has any.
        """
        raise NotImplementedError

    def module(self) -> nn.Module:
        """An ordinary module of one replicate, with parameters of the same names, shapes and meaning."""
        raise NotImplementedError

    def differentiator(self, params: Params, grads: Params) -> Step:
        """A function of (x [R, B, C, H, W], y [R, B]) that writes the gradients into `grads`.

        It returns the cross-entropy [R] of each replicate, the mean over its own batch.  `params` and `grads` are
        written in place between and during calls and must keep their storage.  This one goes through autograd: on a
        CPU replicate after replicate, so that one graph at a time is held in memory, elsewhere all at once.
        """
        first = next(iter(params.values()))
        parts = [slice(k, k + 1) for k in range(len(first))] if first.device.type == "cpu" else [slice(None)]

        @torch.enable_grad()
        def step(x: Tensor, y: Tensor) -> Tensor:
            losses = []
            for part in parts:
                check_stop()
                leaves = {name: value.detach() for name, value in cut(params, part).items()}
                trained = [leaves[name].requires_grad_() for name in grads]
                logits = self.forward(leaves, x[part], training=True)
                each = F.cross_entropy(logits.flatten(0, 1), y[part].flatten(), reduction="none")
                each = each.view(y[part].shape).mean(1)
                found = torch.autograd.grad(each.sum(), trained, materialize_grads=True)
                for name, gradient in zip(grads, found, strict=True):
                    grads[name][part].copy_(gradient)
                losses.append(each.detach())
            return torch.cat(losses)

        return step

    def check(self, params: Params, masks: Masks | None = None, frozen: Params | None = None) -> Params:
        """The effective parameters, in the network's own order, if all fits.

        Raises ValueError, naming tensor and value, for a name that is missing or too many, another shape or dtype, an
        effective value that is not finite, and for masks or frozen values that do not fit.
        """
        if set(params) != set(self.shapes):
            raise ValueError(f"parameters must be {list(self.shapes)}, got {list(params)}")
        like = params[self.prunable[0]]
        for name, value in params.items():
            if tuple(value.shape[1:]) != tuple(self.shapes[name]):
                shape = ", ".join(map(str, self.shapes[name]))
                raise ValueError(f"{name!r} must be [R, {shape}], got {list(value.shape)}")
            if not value.is_floating_point() and name not in self.buffers:
                raise ValueError(f"{name!r} must be floating point, got {value.dtype}")
            if name not in self.buffers and (value.dtype, value.device) != (like.dtype, like.device):
                found = f"{value.dtype} on {value.device}, others {like.dtype} on {like.device}"
                raise ValueError(f"parameters must agree in dtype and device: {name!r} is {found}")
        counts = {value.shape[0] for value in params.values()}
        if len(counts) > 1:
            raise ValueError(f"parameters differ in their number of replicates: {sorted(counts)}")
        if masks is not None:
            validate(masks, params)
            if others := [name for name in masks if name not in self.prunable]:
                raise ValueError(f"masks name {others}, which are not prunable: prunable are {list(self.prunable)}")
        for name, value in (frozen or {}).items():
            if masks is None or name not in masks:
                raise ValueError(f"frozen {name!r} has no mask: pass masks, or leave it out")
            found, wanted = (f"{list(part.shape)}, {part.dtype}" for part in (value, params[name]))
            if found != wanted:
                raise ValueError(f"frozen {name!r} is {found}, its weight {wanted}")
        found = effective({name: params[name].detach() for name in self.shapes}, masks, frozen)
        for name, value in found.items():
            if not finite(value):
                raise ValueError(f"{name!r} holds values that are not finite at the start")
        return found

    def check_images(self, data: Dataset, params: Params, smallest: int) -> None:
        """A few images through the network tell whether the two fit; ValueError where they do not.

        Nor may a forward write into its images, which are the data set's own, or draw from a global random state.
        smallest: images in the smallest batch of the training.
        """
        with torch.inference_mode(False), torch.no_grad():
            try:
                classes = self._tried(data, params, 1, training=False).shape[-1]
                self._tried(data, params, 2, training=True)
            except RuntimeError as error:
                shape = list(data.image_shape)
                raise ValueError(f"{self.name} does not take the images of {data.name!r}, {shape}: {error}") from error
            if classes < data.classes:
                needed = f"{data.classes} classes of {data.name!r}"
                raise ValueError(f"{self.name} has {classes} outputs, too few for the {needed}")
            try:
                if smallest == 1:
                    self._tried(data, params, 1, training=True)
            except ValueError as error:
                left = f"{len(data.train_y):,} training images leave a batch of 1"
                found = f"{self.name} cannot train on one image ({error})"
                raise ValueError(f"{found}, but {left}: choose another batch_size") from error

    def _tried(self, data: Dataset, params: Params, size: int, training: bool) -> Tensor:
        """The first replicate's logits of some images."""
        for _ in range(2):  # another thread may draw once meanwhile
            one, x = cut(params, slice(0, 1)), data.train_x[:size].clone()
            one |= {name: one[name].clone() for name in self.buffers}
            before, written = global_states(x.device), x._version
            logits = self.forward(one, x, training=training)
            if x._version != written:
                raise ValueError(f"the forward of {self.name} writes into its images: let it work on a copy")
            drawn = [source for source, state in global_states(x.device).items() if state != before[source]]
            if not drawn:
                return logits
        where = f"the global random state of {drawn[0]}"
        raise ValueError(f"the forward of {self.name} draws from {where}, which no seed of a run sets: leave it out")

    def __repr__(self) -> str:
        weights = sum(math.prod(self.shapes[name]) for name in self.prunable)
        return f"{type(self).__name__}({self.name!r}: {weights:,} prunable weights in {len(self.prunable)} layers)"
