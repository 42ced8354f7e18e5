"""Masks onto ordinary modules and back: the round trip, and what is refused without a trace."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from lthkit import torch_prune

from .oracles import clone, examples, same_bits

widths = st.integers(1, 5)
layers = st.one_of(
    st.builds(nn.Linear, widths, widths, bias=st.booleans()),
    st.builds(nn.Conv1d, widths, widths, st.integers(1, 3), bias=st.booleans()),
    st.builds(nn.Conv2d, widths, widths, st.sampled_from([1, (2, 3)])),
    st.builds(nn.BatchNorm2d, widths),
    st.builds(nn.Embedding, widths, widths),
    st.builds(nn.ReLU),
)


def nest(parts) -> nn.Module:
    return nn.ModuleDict({"stem": parts[0], "rest": nn.Sequential(*parts[1:])})


modules = st.recursive(layers, lambda inner: st.lists(inner, min_size=1, max_size=4).map(nest), max_leaves=8)
MASKABLE = (nn.Linear, nn.Conv1d, nn.Conv2d)


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """The weights that can be masked, under the names that masks use."""
    found = {}
    for path, layer in module.named_modules():
        if isinstance(layer, MASKABLE):
            found[f"{path}.weight" if path else "weight"] = getattr(layer, "weight_orig", layer.weight)
    return found


def random_masks(drawn: dict[str, torch.Tensor], generator: torch.Generator, kept: float) -> dict[str, torch.Tensor]:
    return {name: torch.rand(value.shape, generator=generator) < kept for name, value in drawn.items()}


@examples
@given(modules, st.integers(0, 99), st.sampled_from([0.0, 0.3, 0.8, 1.0]), st.data())
def test_reading_gives_back_exactly_the_masks_applied(module, seed, kept, data):
    generator = torch.Generator().manual_seed(seed)
    before = clone({name: value.detach() for name, value in weights(module).items()})
    chosen = data.draw(st.sets(st.sampled_from(sorted(before)), min_size=1)) if before else set()
    if not chosen:
        with pytest.raises(ValueError, match="no masks"):
            torch_prune.read(module)
        return
    masks = random_masks({name: before[name] for name in before if name in chosen}, generator, kept)
    given_masks = clone(masks)
    objects = {name: id(value) for name, value in weights(module).items()}

    assert torch_prune.apply(module, masks) is module
    found = torch_prune.read(module)
    assert same_bits(found, given_masks) and same_bits(masks, given_masks)
    for path, layer in module.named_modules():
        name = f"{path}.weight" if path else "weight"
        if name in chosen:
            assert torch.equal(layer.weight_orig, before[name]) and torch.equal(
                layer.weight, before[name] * masks[name]
            )
            assert id(layer.weight_orig) == objects[name], "an optimizer made before must still own the weight"
        elif name in before:
            assert torch.equal(layer.weight, before[name]) and not hasattr(layer, "weight_mask")

    # Pruned once more, by masks that keep less, of other layers too.
    second = random_masks(before, generator, 0.5)
    second = {name: mask & found.get(name, torch.ones_like(mask)) for name, mask in second.items()}
    assert same_bits(torch_prune.read(torch_prune.apply(module, second)), second)
    for name, value in weights(module).items():
        assert torch.equal(value, before[name])


def test_layers_that_are_not_pruned_further_keep_their_masks():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    prune.l1_unstructured(net[0], "weight", amount=1)
    first = torch_prune.read(net)["0.weight"]
    assert first.sum() == 3
    torch_prune.apply(net, {"1.weight": torch.tensor([[True, False]])})
    found = torch_prune.read(net)
    assert torch.equal(found["0.weight"], first) and found["1.weight"].tolist() == [[True, False]]


def test_a_layer_of_four_weights_by_hand():
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    torch_prune.apply(layer, {"weight": torch.tensor([[True, False], [False, True]])})
    assert layer(torch.tensor([[10.0, 100.0]])).tolist() == [[10.0, 400.0]]
    torch_prune.apply(layer, {"weight": torch.tensor([[False, False], [False, True]])})
    assert layer(torch.tensor([[10.0, 100.0]])).tolist() == [[0.0, 400.0]]
    assert torch_prune.read(layer)["weight"].tolist() == [[False, False], [False, True]]
    prune.remove(layer, "weight")
    assert layer.weight.tolist() == [[0.0, 0.0], [0.0, 4.0]]
    with pytest.raises(ValueError, match="carries no masks.*remove"):
        torch_prune.read(layer)


def test_biases_can_be_masked_by_name():
    layer = torch_prune.apply(nn.Linear(2, 3), {"bias": torch.tensor([True, False, True])})
    assert torch_prune.read(layer)["bias"].tolist() == [True, False, True] and layer.bias[1] == 0


def test_a_buffer_that_only_looks_like_a_mask_is_not_read():
    layer = nn.Linear(2, 2)
    layer.register_buffer("causal_mask", torch.ones(2, 2))
    net = nn.Sequential(layer, nn.Linear(2, 2))
    mask = torch.eye(2, dtype=torch.bool)
    assert list(torch_prune.read(torch_prune.apply(net, {"1.weight": mask}))) == ["1.weight"]


class Net(nn.Module):
    """One plain layer, one pruned layer, two layers that share a weight, one without a bias."""

    def __init__(self):
        super().__init__()
        self.plain = nn.Linear(3, 2)
        self.pruned = nn.Conv2d(1, 2, 2)
        self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)
        self.two.weight = self.one.weight
        self.bare = nn.Linear(2, 2, bias=False)
        prune.custom_from_mask(self.pruned, "weight", torch.tensor([1, 1, 1, 0, 1, 1, 0, 0]).view(2, 1, 2, 2))


def trace(module: nn.Module):
    """All that `apply` could change."""
    named = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers())
    hooks = [len(layer._forward_pre_hooks) for layer in module.modules()]
    return (
        clone({name: value.detach() for name, value in named.items()}),
        hooks,
        [id(value) for value in named.values()],
    )


every = torch.ones
FAULTS = {
    "shared, first name": (
        "one.weight",
        every(2, 2).bool(),
        "one.weight and two.weight are one shared parameter.*untie",
    ),
    "shared, other name": (
        "two.weight",
        every(2, 2).bool(),
        "one.weight and two.weight are one shared parameter.*untie",
    ),
    "no such layer": ("fc9.weight", every(2, 2).bool(), r"no weight 'fc9.weight': it has \['plain.weight', 'pruned"),
    "no such weight": ("plain.kernel", every(2, 3).bool(), "no weight 'plain.kernel'"),
    "stored name": ("pruned.weight_orig", every(2, 1, 2, 2).bool(), r"no weight 'pruned.weight_orig'.*'pruned.weight'"),
    "no bias": ("bare.bias", every(2).bool(), "no weight 'bare.bias'"),
    "a module": ("plain", every(2, 3).bool(), "no weight 'plain'"),
    "shape": ("bare.weight", every(2, 3).bool(), r"'bare.weight' has shape \(2, 3\), its weight \(2, 2\)$"),
    "replicate axis": ("bare.weight", every(4, 2, 2).bool(), r"\(4, 2, 2\), its weight \(2, 2\): take one replicate"),
    "pruned, replicate axis": ("pruned.weight", every(1, 2, 1, 2, 2).bool(), "take one replicate, as in mask"),
    "broadcastable": ("bare.weight", every(1, 2).bool(), r"\(1, 2\), its weight \(2, 2\)$"),
    "float": ("bare.weight", every(2, 2), "'bare.weight' must be a torch.bool tensor, got torch.float32"),
    "uint8": ("bare.weight", every(2, 2).to(torch.uint8), "must be a torch.bool tensor, got torch.uint8"),
    "no tensor": ("bare.weight", [[True, True], [True, True]], "must be a torch.bool tensor, got list"),
    "reviving": (
        "pruned.weight",
        every(2, 1, 2, 2).bool(),
        "'pruned.weight' keeps 3 weights that the module has pruned",
    ),
}


@pytest.mark.parametrize("name, mask, said", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("first", [True, False])
def test_a_fault_is_named_and_changes_nothing(name, mask, said, first):
    net = Net()
    good = {"plain.weight": torch.tensor([[True, False, True], [False, True, True]])}
    masks = good | {name: mask} if first else {name: mask} | good
    before = trace(net)
    with pytest.raises(ValueError, match=said) as raised:
        torch_prune.apply(net, masks)
    assert "\n" not in str(raised.value)
    after = trace(net)
    assert same_bits(before[0], after[0]) and before[1:] == after[1:]
    torch_prune.apply(net, good)  # without the fault it goes through
    assert torch.equal(torch_prune.read(net)["plain.weight"], good["plain.weight"])


def test_other_layers_of_a_module_with_a_shared_weight_can_be_masked():
    mask = torch.eye(2, dtype=torch.bool)
    assert torch.equal(torch_prune.read(torch_prune.apply(Net(), {"bare.weight": mask}))["bare.weight"], mask)


def test_a_layer_used_under_two_names_counts_as_shared():
    layer = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="0.weight and 2.weight are one shared"):
        torch_prune.apply(nn.Sequential(layer, nn.ReLU(), layer), {"0.weight": torch.eye(2, dtype=torch.bool)})


def test_empty_masks_are_refused():
    with pytest.raises(ValueError, match="empty"):
        torch_prune.apply(nn.Linear(2, 2), {})
