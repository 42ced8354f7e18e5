"""Stacks: views, copies, effective weights, and whether all is finite."""

import math

import pytest
import torch

from lthkit.stacks import clone, cut, effective, finite, flatten, join

from .oracles import same_bits, stack

PARAMS = stack(0, {"b.weight": (2, 3), "b.bias": (2,), "a.weight": (4, 2)}, 3)


def test_a_flat_copy_is_seen_through_its_views():
    flat, views = flatten(PARAMS)
    assert same_bits(views, PARAMS) and all(view.is_contiguous() for view in views.values())
    flat.zero_()
    assert not any(view.any() for view in views.values()) and PARAMS["b.weight"].any()


def test_what_is_cut_can_be_joined_again():
    parts = [cut(PARAMS, slice(0, 1)), cut(PARAMS, slice(1, 3))]
    assert [len(part["b.bias"]) for part in parts] == [1, 2] and same_bits(join(parts), PARAMS)
    assert parts[0]["b.bias"].data_ptr() == PARAMS["b.bias"].data_ptr()
    copy = clone(PARAMS)
    copy["b.bias"].zero_()
    assert PARAMS["b.bias"].any()


def test_effective_weights_on_paper():
    params = {"w": torch.tensor([[1.0, 2.0, math.inf]]), "b": torch.tensor([[5.0]])}
    masks = {"w": torch.tensor([[True, False, False]])}
    assert effective(params, masks)["w"].tolist() == [[1, 0, 0]]
    assert effective(params, masks, {"w": torch.tensor([[7.0, 8.0, 9.0]])})["w"].tolist() == [[1, 8, 9]]
    assert effective(params, None)["w"] is params["w"] and effective(params, masks)["b"] is params["b"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_finite_is_not_misled_by_a_sum_that_overflows(dtype):
    large = torch.finfo(dtype).max
    assert finite(torch.tensor([large, large], dtype=dtype)) and finite(torch.tensor([large, -large], dtype=dtype))
    assert finite(torch.empty(0, dtype=dtype))
    for bad in (math.nan, math.inf, -math.inf):
        assert not finite(torch.tensor([1.0, bad, 2.0], dtype=dtype))
    assert not finite(torch.tensor([math.inf, -math.inf], dtype=dtype))
