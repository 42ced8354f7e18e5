"""Any module as a network of replicates, held to plain PyTorch loops on single modules."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lthkit import actions, lottery
from lthkit.data import Dataset
from lthkit.networks import from_module
from lthkit.streams import stream, streams
from lthkit.training import evaluate, fit

from ..oracles import clone, optimizer, order, pairs, same_bits, worst


class Net(nn.Module):
    """A convolution, batch norm and a dense layer, for images of 1×4×3 and three classes."""

    def __init__(self):
        super().__init__()
        # No bias: batch norm cancels it, and Adam would blow up what rounding leaves of its gradient.
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * 4 * 3, 3)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().flatten(1))


BUFFERS = ("norm.running_mean", "norm.running_var", "norm.num_batches_tracked")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return Dataset.from_tensors("small", *pairs(shape=(1, 4, 3)))


@pytest.fixture(scope="module")
def network():
    return from_module(Net)


def double(params):
    return {name: value.double() if value.is_floating_point() else value for name, value in params.items()}


def module(network, params, k: int) -> nn.Module:
    """Replicate k as a module of its own, in the dtype of `params`."""
    net = network.factory().to(params["head.weight"].dtype)
    net.load_state_dict({name: value[k] for name, value in params.items()})
    return net


def state(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in [*net.named_parameters(), *net.named_buffers()]}


def plain_loop(net, data, seed, steps, batch_size, masks=None, name="adam", lr=1.2e-3, weight_decay=0.0, round=0):
    """The usual loop, pruned weights set back to 0 after each step."""
    batches = order(stream(seed, "batches", round), len(data.train_y), batch_size, steps)
    update = optimizer(name, [value for value in net.parameters() if value.requires_grad], lr, 0.9, weight_decay)
    net.train()
    named = dict(net.named_parameters())
    for chosen in batches:
        x, y = data.train_x[chosen].to(named["head.weight"].dtype), data.train_y[chosen]
        update.zero_grad()
        F.cross_entropy(net(x), y).backward()
        update.step()
        for weight, mask in (masks or {}).items():
            named[weight].data.mul_(mask)
    return net


def accuracy(net, x, y) -> float:
    net.eval()
    with torch.no_grad():
        return (net(x.to(next(net.parameters()).dtype)).argmax(1) == y).double().mean().item()


def replicate(tensors, k: int):
    return {name: value[k] for name, value in tensors.items()}


LOOPS = {
    "adam": {"optimizer": "adam", "lr": 5e-3},
    "adamw": {"optimizer": "adamw", "lr": 5e-3, "weight_decay": 0.05},
    "sgd": {"optimizer": "sgd", "lr": 0.05, "weight_decay": 0.01},
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("dtype, error", [(torch.float64, 1e-12), (torch.float32, 1e-4)])
@pytest.mark.parametrize("masked", [False, True])
def test_training_equals_a_plain_loop(network, data, loop, dtype, error, masked):
    seeds, steps = [5, 11], 12
    params = network.init(seeds)
    params = double(params) if dtype == torch.float64 else params
    masks = None
    if masked:
        generator = torch.Generator().manual_seed(0)
        masks = {name: torch.rand(params[name].shape, generator=generator) < 0.6 for name in network.prunable}
    before = clone(params)
    settings = LOOPS[loop]
    found = fit(network, params, data, masks=masks, seeds=seeds, iterations=steps, batch_size=20, **settings)
    assert same_bits(params, before), "fit changes none of its inputs, buffers included"
    for k, seed in enumerate(seeds):
        net = module(network, params, k)
        of_k = replicate(masks, k) if masks else {}
        for name, mask in of_k.items():
            net.get_parameter(name).data.mul_(mask)
        others = {"name": loop, "lr": settings["lr"], "weight_decay": settings.get("weight_decay", 0.0)}
        plain_loop(net, data, seed, steps, 20, of_k, **others)
        expected = state(net)
        assert worst(replicate(found.params, k), expected) < error
        assert found.params["norm.num_batches_tracked"][k] == steps
        for name, mask in of_k.items():
            assert not found.params[name][k][~mask].any() and found.params[name][k][mask].all()
        if dtype == torch.float64:
            assert found.history.test_accuracy[k, -1] == accuracy(net, data.test_x, data.test_y)
            assert found.history.val_accuracy[k, -1] == accuracy(net, data.val_x, data.val_y)


def test_buffers_are_those_of_each_replicate(network, data):
    params = network.init([1, 2])
    assert network.buffers == BUFFERS and not set(BUFFERS) & set(network.prunable)
    assert not params["norm.running_mean"].any() and params["norm.num_batches_tracked"].tolist() == [0, 0]
    found = fit(network, params, data, seeds=[1, 2], iterations=5).params
    for name in BUFFERS[:2]:
        assert found[name].shape == (2, 4) and not torch.isclose(found[name][0], found[name][1]).any()
    assert found["norm.num_batches_tracked"].tolist() == [5, 5]
    assert found["norm.num_batches_tracked"].dtype == torch.int64


def test_replicate_k_equals_its_seed_alone(network, data):
    params = double(network.init([4, 9, 2]))
    assert same_bits(network.init([9]), {name: value[1:2] for name, value in network.init([4, 9, 2]).items()})
    both = fit(network, params, data, seeds=[4, 9, 2], iterations=15, batch_size=20, test_curve=True)
    alone = fit(
        network,
        {name: value[1:2] for name, value in params.items()},
        data,
        seeds=[9],
        iterations=15,
        batch_size=20,
        test_curve=True,
    )
    assert worst({name: value[1:2] for name, value in both.params.items()}, alone.params) < 1e-12
    assert (both.history.val_loss[1:2] - alone.history.val_loss).abs().max() < 1e-12
    assert torch.equal(both.history.test_accuracy[1:2], alone.history.test_accuracy)


@pytest.mark.parametrize("rewind_to", [0, 2])
def test_search_rewinds_the_buffers_with_the_weights(network, data, rewind_to):
    starts = []

    def spy(network, initial, final, masks, generators):
        starts.append((clone(initial), clone(final)))
        return actions.rewind(network, initial, final, masks, generators)

    settings = {"iterations": 6, "batch_size": 20}
    run = lottery.search(network, data, seeds=[3, 7], rounds=2, rate=0.5, mask_1=spy, rewind_to=rewind_to, **settings)
    dense = fit(network, network.init([3, 7]), data, seeds=[3, 7], snapshot_at=[rewind_to], **settings)
    assert len(starts) == 2
    for initial, final in starts:
        assert same_bits(initial, dense.snapshots[rewind_to])
        assert initial["norm.num_batches_tracked"].tolist() == [rewind_to] * 2
        # Training after the rewind starts from the rewound statistics: its count goes on from there.
        assert final["norm.num_batches_tracked"].tolist() == [6 if final is starts[0][1] else rewind_to + 6] * 2
        assert not torch.equal(initial["norm.running_mean"], final["norm.running_mean"])
    # 4·9 = 36 and 48·3 = 144 weights; 50 %, the output layer 25 %.
    kept = [1.0, (18 + 108) / 180, (9 + 81) / 180]
    table = run.table.sort_values(["seed", "round"])
    assert table.kept.tolist() == pytest.approx(kept * 2) and table.test_accuracy.between(0, 1).all()

    ticket = run.ticket(round=1, seed=7)
    net = module(network, ticket.params(), 0)
    plain_loop(net, data, 7, 6, 20, ticket.masks, round=1)
    found = table[(table.seed == 7) & (table["round"] == 1)].test_accuracy.item()
    assert found == pytest.approx(accuracy(net, data.test_x, data.test_y), abs=1 / 30 + 1e-9)


def test_training_continues_from_the_buffers_it_is_given(network, data):
    first = fit(network, network.init([1]), data, iterations=3)
    second = fit(network, first.params, data, iterations=4, round=1)
    assert second.params["norm.num_batches_tracked"].tolist() == [7]


def test_evaluation_uses_the_running_statistics_and_leaves_them(network, data):
    params = fit(network, network.init([1, 2]), data, iterations=5).params
    before = clone(params)
    whole = network.forward(params, data.test_x)
    assert (whole[:, :1] - network.forward(params, data.test_x[:1])).abs().max() < 1e-6, "one image or thirty"
    for k in range(2):
        assert (whole[k] - module(network, params, k).eval()(data.test_x)).abs().max() < 1e-6
        assert (whole[k] - module(network, params, k).train()(data.test_x)).abs().max() > 1e-2
    evaluate(network, params, data.test_x, data.test_y, chunk=7)
    assert same_bits(params, before)


def test_training_mode_uses_batch_statistics_and_updates_them(network, data):
    params = network.init([1, 2])
    net = module(network, params, 1).train()
    found, expected = network.forward(params, data.val_x, training=True), net(data.val_x)
    assert (found[1] - expected).abs().max() < 1e-6
    assert worst({name: params[name][1] for name in BUFFERS}, {name: state(net)[name] for name in BUFFERS}) < 1e-7
    assert params["norm.num_batches_tracked"].tolist() == [1, 1]


def test_no_replicate_sees_what_another_trains_on(network, data):
    x = torch.stack([data.train_x[:20], data.val_x])  # [R, B, C, H, W]
    other = torch.stack([torch.zeros(20, 1, 4, 3), data.val_x])
    first, second = network.init([1, 2]), network.init([1, 2])
    logits = [network.forward(params, images, training=True) for params, images in ((first, x), (second, other))]
    assert torch.equal(logits[0][1], logits[1][1]) and not torch.equal(logits[0][0], logits[1][0])
    for name in BUFFERS:
        assert torch.equal(first[name][1], second[name][1])
    assert not torch.equal(first[BUFFERS[0]][0], second[BUFFERS[0]][0])
    # The module that the replicates share is left without a trace of them.
    assert not network.template.norm.running_mean.any()


def test_all_replicates_in_one_backward_pass_as_on_a_gpu(network, data):
    params = double(network.init([1, 2]))
    x, y = torch.stack([data.train_x[:20], data.val_x]).double(), torch.stack([data.train_y[:20], data.val_y])
    grads = {name: torch.zeros_like(params[name]) for name in params if name not in BUFFERS}
    looped = clone(params)
    network.differentiator(looped, grads)(x, y)
    leaves = {name: value.clone().requires_grad_(name in grads) for name, value in params.items()}
    logits = network.forward(leaves, x, training=True)
    (F.cross_entropy(logits.flatten(0, 1), y.flatten()) * 2).backward()
    assert worst({name: leaves[name].grad for name in grads}, grads) < 1e-12
    assert same_bits({name: leaves[name] for name in BUFFERS}, {name: looped[name] for name in BUFFERS})


class Zoo(nn.Module):
    """Every kind of layer with something called a weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 3))
        self.embed = nn.Embedding(5, 4)
        self.blocks = nn.ModuleList(
            [nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2)), nn.Conv2d(1, 2, 3, bias=False)]
        )
        self.up = nn.ConvTranspose2d(2, 1, 3)
        self.norms = nn.ModuleList([nn.LayerNorm(4), nn.GroupNorm(1, 2), nn.InstanceNorm2d(2, affine=True)])
        self.slope = nn.PReLU()
        self.recurrent = nn.LSTM(3, 2)
        self.body, self.head = nn.Linear(3, 2), nn.Linear(2, 3)


def test_linear_and_convolutional_weights_are_prunable_and_nothing_else():
    rates = {"blocks.0.0.weight": 1.0, "blocks.1.weight": 1.0, "up.weight": 1.0, "body.weight": 1.0, "head.weight": 0.5}
    network = from_module(Zoo)
    assert network.rates == rates and network.prunable == tuple(rates)
    assert network.shapes["embed.weight"] == (5, 4) and network.shapes["blocks.0.0.weight"] == (2, 1, 3)
    assert network.name == "Zoo"


def test_rates_where_there_is_no_hidden_layer_or_no_dense_output():
    assert from_module(lambda: nn.Linear(2, 3)).rates == {"weight": 1.0}
    assert from_module(lambda: nn.Sequential(nn.Linear(4, 4), nn.Conv2d(1, 1, 1))).rates == {
        "0.weight": 1.0,
        "1.weight": 1.0,
    }


@pytest.mark.parametrize(
    "layer",
    [nn.Dropout(0.5), nn.Dropout2d(0.1), nn.AlphaDropout(0.2), nn.RReLU(), nn.FractionalMaxPool2d(2, output_size=2),
     nn.MultiheadAttention(4, 2, dropout=0.1), nn.LSTM(4, 4, 2, dropout=0.1)],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_what_draws_from_the_global_random_state_is_refused(layer):
    with pytest.raises(ValueError, match=f"^'1.0' is {type(layer).__name__}, which draws from the global random state"):
        from_module(lambda: nn.Sequential(nn.Linear(4, 4), nn.Sequential(layer)))


def test_a_dropout_of_nothing_is_taken():
    assert from_module(lambda: nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.0))).prunable == ("0.weight",)


def pruned():
    net = Net()
    nn.utils.prune.l1_unstructured(net.conv, "weight", 0.5)
    return net


ONE = Net()
FACTORIES = {
    "a module": (Net(), TypeError, "function that makes a new module, got Net: pass a class"),
    "no function": (None, TypeError, "function that makes a new module, got NoneType"),
    "no module": (lambda: 3, TypeError, "must return a new nn.Module, got int"),
    "the class inside": (lambda: Net, TypeError, "must return a new nn.Module, got type"),
    "nothing to prune": (lambda: nn.Sequential(nn.BatchNorm2d(1)), ValueError, "nothing to prune"),
    "nothing to train": (lambda: nn.Linear(2, 2).requires_grad_(False), ValueError, "nothing to prune"),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), ValueError, "nothing to prune"),
    "pruned": (pruned, ValueError, r"pruned already \(conv.weight_mask\)"),
}


@pytest.mark.parametrize("factory, kind, said", FACTORIES.values(), ids=FACTORIES)
def test_what_is_no_factory_is_named(factory, kind, said):
    with pytest.raises(kind, match=said) as raised:
        from_module(factory)
    assert "\n" not in str(raised.value)


def test_a_factory_must_make_a_new_module_each_time():
    with pytest.raises(ValueError, match="same module twice"):
        from_module(lambda: ONE)
    widths = iter([3, 3, 3, 3, 4])  # the first three are looked at, the others drawn
    network = from_module(lambda: nn.Linear(2, next(widths)))
    with pytest.raises(ValueError, match="differ in name or shape"):
        network.init([1, 2])


def seeded():
    torch.manual_seed(0)
    return Net()


def from_numpy():
    net = Net()
    net.head.weight.data = torch.from_numpy(np.random.normal(size=(3, 48))).float()
    return net


def from_random():
    net = Net()
    nn.init.constant_(net.head.bias, random.random())
    return net


OWN = stream(0, "init")


def from_a_stream_of_its_own():
    net = Net()
    nn.init.normal_(net.conv.weight, generator=OWN)
    return net


def constant():
    net = Net()
    for value in net.parameters():
        nn.init.constant_(value, 0.1)
    return net


@pytest.mark.parametrize("factory", [seeded, constant])
def test_a_factory_that_gives_every_seed_the_same_weights_is_refused(factory):
    with pytest.raises(ValueError, match="factory draws the same weights from every random state: .* torch.manual_see"):
        from_module(factory)


@pytest.mark.parametrize("factory", [from_numpy, from_random, from_a_stream_of_its_own])
def test_a_factory_that_draws_from_elsewhere_is_refused(factory):
    said = "factory draws other numbers from the same random state of torch: draw all with torch, not with NumPy, rando"
    with pytest.raises(ValueError, match=said):
        from_module(factory)


def test_a_factory_may_load_weights_that_are_not_drawn():
    def half_loaded():
        net = Net()
        nn.init.ones_(net.conv.weight)
        return net

    drawn = from_module(half_loaded).init([1, 2])
    assert drawn["conv.weight"].eq(1).all() and not torch.equal(*drawn["head.weight"])


class Drawing(Net):
    """Takes noise from somewhere, but in training or in evaluation only, if asked to."""

    def __init__(self, noise, training=None):
        super().__init__()
        self.noise, self.when = noise, training

    def forward(self, x):
        return super().forward(self.noise(x) if self.when in (None, self.training) else x)


NOISE = {
    "torch": lambda x: x + torch.randn(x.shape),
    "torch ": lambda x: F.dropout(x, 0.1),
    "NumPy": lambda x: x + float(np.random.normal()),
    "random": lambda x: x * random.random(),
}


@pytest.mark.parametrize("training", [None, True, False])
@pytest.mark.parametrize("source", NOISE)
def test_a_forward_that_draws_from_a_global_random_state_is_refused(data, source, training):
    network = from_module(lambda: Drawing(NOISE[source], training))
    said = f"Drawing draws from the global random state of {source.strip()}, which no seed of a run sets: leave it"
    with pytest.raises(ValueError, match=said):
        fit(network, network.init([1]), data, iterations=1)


def test_what_other_threads_draw_meanwhile_is_not_held_against_a_forward(data):
    once = iter([1.0])
    network = from_module(lambda: Drawing(lambda x: x * (random.random() if next(once, 0) else 1)))
    assert fit(network, network.init([1]), data, iterations=1).history.val_loss.isfinite().all()


WRITES = {
    "minus": lambda x: x.sub_(0.5),
    "border": lambda x: x.index_fill_(2, torch.tensor(0), 0.0),
    "view": lambda x: x.view(-1).mul_(2).view(x.shape),
}


@pytest.mark.parametrize("training", [None, True, False])
@pytest.mark.parametrize("write", WRITES)
def test_a_forward_that_writes_into_the_images_is_refused(data, write, training):
    network = from_module(lambda: Drawing(WRITES[write], training))
    before = data.train_x.clone(), data.val_x.clone()
    with pytest.raises(ValueError, match="the forward of Drawing writes into its images: let it work on a copy"):
        fit(network, network.init([1]), data, iterations=1)
    assert torch.equal(before[0], data.train_x) and torch.equal(before[1], data.val_x)


ONES = [{"batch_size": 1, "epochs": 1}, {"batch_size": 7}, {"batch_size": 49, "iterations": 2}]


@pytest.mark.parametrize("settings", ONES)
def test_a_batch_of_one_under_batch_norm_is_refused_at_the_door(data, settings):
    """50 training images: the last batch of seven has one."""
    network = from_module(lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)))
    params = network.init([1])
    before = clone(params)
    said = r"Sequential cannot train on one image \(Expected more .*\), but 50 training images leave a batch of 1: .* b"
    with pytest.raises(ValueError, match=said):
        fit(network, params, data, **settings)
    assert same_bits(params, before)


@pytest.mark.parametrize("settings", [{"batch_size": 7, "iterations": 7}, {"batch_size": 49, "iterations": 1}])
def test_a_batch_of_one_that_never_comes_is_no_fault(data, settings):
    network = from_module(lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)))
    assert fit(network, network.init([1]), data, **settings).history.val_loss.isfinite().all()


def test_the_global_random_state_is_neither_read_nor_changed(data):
    def everything(seed: int):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        network = from_module(Net)
        found = fit(network, network.init([1, 2]), data, iterations=3).params
        drawn, net = network.draw(streams([1, 2], "action", 1)), network.module()
        assert torch.equal(torch.get_rng_state(), before)
        return found | {f"drawn {name}": value for name, value in (drawn | state(net)).items()}

    assert same_bits(everything(0), everything(1))


def test_a_reinit_draws_other_numbers_and_fresh_buffers(network, data):
    initial = network.init([1, 2])
    final = fit(network, initial, data, iterations=3).params
    drawn = actions.reinit(network, initial, final, {}, streams([1, 2], "action", 1))
    for name in ("conv.weight", "head.weight", "head.bias"):
        values = [*drawn[name], *initial[name]]
        assert all(not torch.isclose(a, b).any() for i, a in enumerate(values) for b in values[:i])
    assert same_bits({name: drawn[name] for name in BUFFERS}, {name: initial[name] for name in BUFFERS})
    assert same_bits(drawn, actions.reinit(network, initial, final, {}, streams([1, 2], "action", 1)))
    bound = 1 / 9**0.5  # of PyTorch's own law for a convolution of one channel and 3×3
    assert initial["conv.weight"].abs().max() <= bound and drawn["conv.weight"].abs().max() > 0.8 * bound


class Tied(nn.Module):
    """Two layers that share a weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.head(self.second(self.first(x.flatten(1)).relu()).relu())


def test_a_shared_weight_is_one_parameter_and_trains_as_one(data):
    network = from_module(Tied)
    assert "second.weight" not in network.shapes and network.rates == {"first.weight": 1.0, "head.weight": 0.5}
    params = double(network.init([6]))
    masks = {name: torch.rand(params[name].shape, generator=stream(0, "ties")) < 0.5 for name in network.prunable}
    found = fit(network, params, data, masks=masks, seeds=[6], iterations=10, batch_size=20).params
    net = Tied().double()
    net.load_state_dict({name: value[0] for name, value in params.items()}, strict=False)
    for name, mask in masks.items():
        net.get_parameter(name).data.mul_(mask[0])
    plain_loop(net, data, 6, 10, 20, replicate(masks, 0))
    assert net.second.weight is net.first.weight and worst(replicate(found, 0), state(net)) < 1e-12


@pytest.mark.parametrize("embedding_first", [True, False])
def test_a_weight_shared_with_an_embedding_is_not_prunable(embedding_first):
    def factory():
        layers = [("embed", nn.Embedding(5, 4)), ("head", nn.Linear(4, 5)), ("body", nn.Linear(4, 4))]
        net = nn.ModuleDict(dict(layers if embedding_first else reversed(layers)))
        net.head.weight = net.embed.weight
        return net

    assert from_module(factory).prunable == ("body.weight",)


class Odd(nn.Module):
    """A layer that is not used, a layer that is not trained, and a buffer that is replaced, not written to."""

    def __init__(self):
        super().__init__()
        self.fixed, self.unused, self.head = nn.Linear(12, 5), nn.Linear(2, 2), nn.Linear(5, 3)
        self.fixed.requires_grad_(False)
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x):
        if self.training:
            self.seen = self.seen + len(x)
        return self.head(self.fixed(x.flatten(1)).relu())


def test_odd_modules_train_as_in_a_plain_loop(data):
    network = from_module(Odd)
    assert network.prunable == ("unused.weight", "head.weight")
    params = double(network.init([1, 2]))
    found = fit(network, params, data, seeds=[1, 2], iterations=4, batch_size=20, snapshot_at=[2])
    for k, seed in enumerate([1, 2]):
        net = plain_loop(module(network, params, k), data, seed, 4, 20)
        assert worst(replicate(found.params, k), state(net)) < 1e-12
    assert found.params["seen"].tolist() == [[20 + 20 + 10 + 20] * 3] * 2
    assert torch.equal(found.params["fixed.weight"], params["fixed.weight"])
    assert found.snapshots[2]["seen"].tolist() == [[40.0] * 3] * 2
    again = fit(network, found.snapshots[2], data, iterations=1)
    assert not torch.equal(again.params["head.weight"], found.snapshots[2]["head.weight"])
