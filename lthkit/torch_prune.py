"""The bridge to `torch.nn.utils.prune`: masks onto an ordinary module as `weight_orig` and `weight_mask`, and back.

Masks here have no replicate axis: {"fc1.weight": bool tensor of the weight's own shape}.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from lthkit.stacks import Masks


def apply(module: nn.Module, masks: Masks) -> nn.Module:
    """Prune `module`, in place, by the given masks, and return it.

    Each weight `name.weight` becomes the parameter `name.weight_orig` and the buffer `name.weight_mask`; their product
    is computed anew in each forward.  A module that is pruned already can be pruned further.
    Raises ValueError, before anything is changed, for a name without a weight, an unequal shape, a mask that is not
    bool, a mask that would revive a pruned weight, a weight that two layers share, and for masks that are empty.
    """
    if not masks:
        raise ValueError("masks are empty: there is nothing to prune")
    found = {name: _layer(module, name) for name in masks}
    _check_shared(module, masks)
    for name, (layer, tensor) in found.items():
        _check_mask(name, layer, tensor, masks[name])
    for name, (layer, tensor) in found.items():
        prune.custom_from_mask(layer, tensor, masks[name].to(getattr(layer, tensor).device))
    return module


def read(module: nn.Module) -> Masks:
    """The masks that a module carries: {name: bool}, one for each `name_mask` buffer that pruning left.

    Raises ValueError for a module that carries none.
    """
    masks = {}
    for path, layer in module.named_modules():
        for name, buffer in layer.named_buffers(recurse=False):
            tensor = name.removesuffix("_mask")
            if name.endswith("_mask") and tensor + "_orig" in layer._parameters:
                masks[f"{path}.{tensor}" if path else tensor] = buffer != 0
    if not masks:
        raise ValueError("the module carries no masks: prune it first, or was prune.remove called?")
    return masks


def _layer(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The layer that owns a weight, and the weight's name in it."""
    path, _, tensor = name.rpartition(".")
    layer = dict(module.named_modules(remove_duplicate=False)).get(path)
    if layer is None or _stored(layer, tensor) is None:
        known = [n.removesuffix("_orig") for n, p in module.named_parameters() if p.dim() > 1]
        raise ValueError(f"the module has no weight {name!r}: it has {known}")
    return layer, tensor


def _stored(layer: nn.Module, tensor: str) -> nn.Parameter | None:
    """The parameter behind a weight, `weight_orig` where it is pruned already; None if there is no such weight."""
    if tensor.endswith("_orig") and tensor.removesuffix("_orig") + "_mask" in layer._buffers:
        return None
    return layer._parameters.get(tensor + "_orig", layer._parameters.get(tensor))


def _check_shared(module: nn.Module, masks: Masks) -> None:
    owners: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name.removesuffix("_orig"))
    for names in owners.values():
        if len(names) > 1 and set(names) & set(masks):
            shared = f"{' and '.join(names)} are one shared parameter"
            raise ValueError(f"{shared}, which torch.nn.utils.prune cannot mask: untie them")


def _check_mask(name: str, layer: nn.Module, tensor: str, mask: Tensor) -> None:
    weight = _stored(layer, tensor)
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        found = getattr(mask, "dtype", type(mask).__name__)
        raise ValueError(f"mask {name!r} must be a torch.bool tensor, got {found}")
    if mask.shape != weight.shape:
        hint = ": take one replicate, as in mask[0]" if mask.shape[1:] == weight.shape else ""
        raise ValueError(f"mask {name!r} has shape {tuple(mask.shape)}, its weight {tuple(weight.shape)}{hint}")
    before = getattr(layer, tensor + "_mask", None)
    if before is not None and (revived := int((mask.to(before.device) & (before == 0)).sum())):
        raise ValueError(f"mask {name!r} keeps {revived} weights that the module has pruned: call prune.remove first")
