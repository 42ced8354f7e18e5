"""Lines between networks, and hidden units in another order."""

import pytest
import torch

from lthkit.connectivity import instability, line, match, permute
from lthkit.data import Dataset
from lthkit.networks import Dense, from_module
from lthkit.training import fit

from .oracles import forward, pairs, same_bits, stack

NETWORK = Dense("small", [6, 5, 4, 3])
DATA = Dataset.from_tensors("random", *pairs(), classes=3)


def single(weights: list[list[float]]) -> dict[str, torch.Tensor]:
    """One replicate of a layer from two pixels to two classes."""
    return {"fc1.weight": torch.tensor([weights]), "fc1.bias": torch.zeros(1, 2)}


def orders(seed: int, replicates: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    draws = {layer: [torch.randperm(n, generator=generator) for _ in range(replicates)] for layer, n in
             (("fc1", 5), ("fc2", 4))}  # fmt: skip
    return {layer: torch.stack(drawn) for layer, drawn in draws.items()}


def test_a_line_by_hand():
    # One image [1, 0] of class 0: the logits on the way from (2, 0) to (0, 1) are (2 − 2t, t), equal at t = 2/3.
    x, y = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([0])
    data = Dataset.from_tensors("one", (x, y), (x, y), (x, y), classes=2)
    network, a, b = Dense("one layer", [2, 2]), single([[2.0, 0], [0, 0]]), single([[0.0, 0], [1, 0]])
    assert line(network, a, b, data, points=4).tolist()[0][:2] == [0, 0]
    assert line(network, a, b, data, points=11).tolist() == [[0.0] * 7 + [1.0] * 4]
    assert instability(network, a, b, data).tolist() == [0.5]


def test_a_hill_between_two_good_ends():
    # Two units that have changed places: half way both compute the mean, and the image is wrong.
    network = Dense("two units", [2, 2, 2])
    a = {"fc1.weight": torch.tensor([[[1.0, 0], [0, 1]]]), "fc1.bias": torch.zeros(1, 2),
         "fc2.weight": torch.tensor([[[2.0, -2], [-0.4, 0.6]]]), "fc2.bias": torch.tensor([[0.0, 0.1]])}  # fmt: skip
    b = permute(network, a, {"fc1": torch.tensor([[1, 0]])})
    x, y = torch.tensor([[[[1.0, 0]]]]), torch.tensor([0])
    data = Dataset.from_tensors("one", (x, y), (x, y), (x, y), classes=2)
    assert line(network, a, b, data, points=3).tolist() == [[0, 1, 0]]
    assert instability(network, a, b, data, points=3).tolist() == [1]
    assert torch.equal(match(network, a, b)["fc1"], torch.tensor([[1, 0]]))


def test_a_line_against_plain_code_point_by_point():
    a, b = stack(1, NETWORK.shapes, 3), stack(2, NETWORK.shapes, 3)
    found = line(NETWORK, a, b, DATA, points=5)
    assert found.shape == (3, 5) and found.dtype == torch.float64
    for i, share in enumerate((0, 0.25, 0.5, 0.75, 1)):
        logits = forward({name: (1 - share) * a[name] + share * b[name] for name in a}, DATA.test_x.double())
        assert found[:, i].tolist() == pytest.approx((logits.argmax(-1) != DATA.test_y.numpy()).mean(1))
    high = instability(NETWORK, a, b, DATA, points=5)
    assert torch.equal(high, found.max(1).values - (found[:, 0] + found[:, 4]) / 2)


def test_both_ends_are_the_networks_themselves():
    a, b = NETWORK.init(range(2)), NETWORK.init(range(2, 4))
    ends = line(NETWORK, a, b, DATA, points=2)
    assert torch.equal(ends[:, 0], line(NETWORK, a, a, DATA, points=2)[:, 0])
    assert torch.equal(ends[:, 1], line(NETWORK, b, b, DATA, points=2)[:, 0])


def test_counters_stay_and_running_means_move():
    def normed():
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4),
                                   torch.nn.Linear(4, 3))  # fmt: skip

    network = from_module(normed)
    runs = [fit(network, network.init([0]), DATA, epochs=1, order_seeds=[seed]).params for seed in (1, 2)]
    assert instability(network, *runs, DATA).isfinite().all()


@pytest.mark.parametrize("points", [1, 0, 2.5])
def test_a_line_has_two_points(points):
    params = NETWORK.init([0])
    with pytest.raises(ValueError, match=f"points must be a whole number of at least 2, got {points}"):
        line(NETWORK, params, params, DATA, points)


def test_stacks_that_do_not_fit():
    a, b = NETWORK.init(range(2)), NETWORK.init(range(3))
    for function in (lambda: line(NETWORK, a, b, DATA), lambda: match(NETWORK, a, b)):
        with pytest.raises(ValueError, match="2 replicates cannot be compared with 3"):
            function()
    with pytest.raises(ValueError, match="parameters must be"):
        line(NETWORK, a, {"fc1.weight": a["fc1.weight"]}, DATA)


def test_units_in_another_order_compute_the_same():
    params, order = stack(3, NETWORK.shapes, 3), orders(0, 3)
    moved = permute(NETWORK, params, order)
    assert not torch.equal(moved["fc2.weight"], params["fc2.weight"])
    images = DATA.test_x.double()
    torch.testing.assert_close(NETWORK.forward(moved, images), NETWORK.forward(params, images))
    for k in range(3):
        first, second = order["fc1"][k], order["fc2"][k]
        assert torch.equal(moved["fc1.weight"][k], params["fc1.weight"][k][first])
        assert torch.equal(moved["fc1.bias"][k], params["fc1.bias"][k][first])
        assert torch.equal(moved["fc2.weight"][k], params["fc2.weight"][k][second][:, first])
        assert torch.equal(moved["fc3.weight"][k], params["fc3.weight"][k][:, second])
        assert torch.equal(moved["fc3.bias"][k], params["fc3.bias"][k])


def test_masks_move_with_their_weights():
    params, order = stack(4, NETWORK.shapes, 2), orders(1, 2)
    masks = {name: params[name] > 0 for name in NETWORK.prunable}
    moved, weights = permute(NETWORK, masks, order), permute(NETWORK, params, order)
    assert list(moved) == list(masks) and all(torch.equal(mask, weights[name] > 0) for name, mask in moved.items())
    assert same_bits(masks, {name: params[name] > 0 for name in NETWORK.prunable})


def test_match_finds_an_order_that_was_applied():
    params, order = stack(5, NETWORK.shapes, 3), orders(2, 3)
    found = match(NETWORK, params, permute(NETWORK, params, order))
    assert all(torch.equal(found[layer], order[layer]) for layer in order)


def test_match_brings_networks_nearer_and_is_what_each_replicate_gives_alone():
    a, b = NETWORK.init(range(3)), NETWORK.init(range(3, 6))
    found = match(NETWORK, a, b)

    def apart(params):
        return sum((params[name] - b[name]).square().flatten(1).sum(1) for name in params)

    assert (apart(permute(NETWORK, a, found)) < apart(a)).all()
    for k in range(3):
        alone = match(NETWORK, *({name: value[k : k + 1] for name, value in stack.items()} for stack in (a, b)))
        assert all(torch.equal(alone[layer][0], found[layer][k]) for layer in found)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({"fc1": torch.tensor([[0, 1, 2, 3, 3]])}, r"order of 'fc1' must be \[1, 5\]"),
        ({"fc1": torch.arange(4)[None]}, r"got \[1, 4\]"),
        ({"fc1": torch.arange(5).repeat(2, 1)}, r"got \[2, 5\]"),
        ({"fc3": torch.arange(3)[None]}, "unknown hidden layer 'fc3': known are fc1, fc2"),
    ],
)
def test_an_order_that_is_none(order, message):
    with pytest.raises(ValueError, match=message):
        permute(NETWORK, NETWORK.init([0]), order)


def test_only_dense_networks_are_matched():
    network = from_module(lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 3)))
    params = network.init([0])
    with pytest.raises(TypeError, match="in dense networks only, not in"):
        match(network, params, params)
