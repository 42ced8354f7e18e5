"""Tickets as ordinary modules: the same logits, the same training, rewinding, saving, what a mask cannot express."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lthkit import lottery, torch_prune
from lthkit.data import Dataset
from lthkit.lottery import Run, Ticket
from lthkit.networks import Conv, Dense, from_module
from lthkit.streams import stream
from lthkit.training import fit

from ..oracles import clone, order, pairs, same_bits, worst

DATA = Dataset.from_tensors("small", *pairs(shape=(1, 4, 4)))


def block() -> nn.Module:
    inner = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())
    return nn.Sequential(inner, nn.Flatten(), nn.Linear(48, 3))


NETWORKS = {
    "dense": Dense("small", [16, 8, 5, 3]),
    "conv": Conv("small", DATA, (2,), 0.5),
    "module": from_module(block),
}
SEEDS = [3, 8]
SETTINGS = {"iterations": 6, "batch_size": 20}


def freeze(start, initial, final, masks):
    return start, {name: initial[name] for name in masks}


@pytest.fixture(scope="module")
def found() -> dict[str, Run]:
    return {name: lottery.search(net, DATA, SEEDS, rounds=2, rate=0.5, **SETTINGS) for name, net in NETWORKS.items()}


@pytest.fixture(scope="module")
def frozen_run() -> Run:
    return lottery.search(NETWORKS["dense"], DATA, SEEDS, rounds=1, rate=0.5, mask_0=freeze, **SETTINGS)


kinds = pytest.mark.parametrize("kind", NETWORKS)


@kinds
@pytest.mark.parametrize("seed", SEEDS)
def test_the_module_carries_the_masks_and_all_initial_values(found, kind, seed):
    run = found[kind]
    ticket, k = run.ticket(round=2, seed=seed), SEEDS.index(seed)
    net = ticket.to_module()
    assert same_bits(torch_prune.read(net), ticket.masks)
    assert same_bits(ticket.masks, {name: mask[k] for name, mask in run.masks(round=2).items()})
    assert 0 < ticket.kept < 0.6
    for name, mask in ticket.masks.items():
        layer = net.get_submodule(name.rpartition(".")[0])
        assert torch.equal(layer.weight_orig, run.initial[name][k]), "the values of pruned weights are there too"
        assert layer.weight_orig[~mask].any() and torch.equal(layer.weight, layer.weight_orig * mask)


@kinds
@pytest.mark.parametrize("build", [Ticket.to_module, Ticket.to_dense])
def test_the_module_gives_the_logits_of_the_stack(found, kind, build):
    run = found[kind]
    for k, seed in enumerate(SEEDS):
        ticket = run.ticket(round=1, seed=seed)
        stacked = {
            name: value * run.masks(round=1)[name] if name in ticket.masks else value
            for name, value in run.initial.items()
        }
        expected = run.network.forward(stacked, DATA.test_x)[k]
        assert (build(ticket).eval()(DATA.test_x) - expected).abs().max() < 1e-6
        assert expected.std() > 1e-3


@kinds
@pytest.mark.parametrize("momentum, decay", [(0.0, 0.0), (0.9, 0.01)])
def test_the_module_trains_as_the_stack(found, kind, momentum, decay):
    run, steps = found[kind], 20
    masks = run.masks(round=2)
    settings = {"optimizer": "sgd", "lr": 0.05, "momentum": momentum, "weight_decay": decay}
    stacked = fit(
        run.network, run.initial, DATA, masks=masks, seeds=SEEDS, iterations=steps, batch_size=20, round=2, **settings
    )
    for k, seed in enumerate(SEEDS):
        net = run.ticket(round=2, seed=seed).to_module().train()
        update = torch.optim.SGD(net.parameters(), lr=0.05, momentum=momentum, weight_decay=decay)
        for chosen in order(stream(seed, "batches", 2), len(DATA.train_y), 20, steps):
            update.zero_grad()
            F.cross_entropy(net(DATA.train_x[chosen]), DATA.train_y[chosen]).backward()
            update.step()
        net(DATA.train_x[:2].clone()) if kind != "module" else net.eval()(
            DATA.train_x[:2]
        )  # weight is stale until here
        trained = {name: net.get_submodule(name.rpartition(".")[0]).weight for name in masks}
        trained |= {name: value for name, value in net.named_parameters() if "weight_orig" not in name}
        trained |= {name: value for name, value in net.named_buffers() if "weight_mask" not in name}
        assert worst({name: value[k] for name, value in stacked.params.items()}, trained) < 1e-4
        moved = [(stacked.params[name][k] - run.initial[name][k])[masks[name][k]].abs().max() for name in masks]
        assert min(moved) > 1e-4


@kinds
def test_training_a_module_leaves_its_ticket_and_run_alone(found, kind):
    run = found[kind]
    ticket = run.ticket(round=1, seed=8)
    before, initial = clone(ticket.initial | ticket.params()), clone(run.initial)
    for net in (ticket.to_module(), ticket.to_dense()):
        update = torch.optim.SGD(net.parameters(), lr=0.1)
        F.cross_entropy(net(DATA.train_x), DATA.train_y).backward()
        update.step()
        for value in net.parameters():
            value.data.add_(1)
    assert same_bits(ticket.initial | ticket.params(), before) and same_bits(run.initial, initial)
    rewound = ticket.to_module().state_dict()
    assert same_bits(rewound, run.ticket(round=1, seed=8).to_module().state_dict())


@pytest.mark.parametrize("rewind_to", [0, 4])
def test_a_ticket_is_at_the_rewind_point(rewind_to):
    net = NETWORKS["module"]
    run = lottery.search(net, DATA, SEEDS, rounds=1, rate=0.5, rewind_to=rewind_to, **SETTINGS)
    point = fit(net, net.init(SEEDS), DATA, seeds=SEEDS, snapshot_at=[rewind_to], **SETTINGS).snapshots[rewind_to]
    ticket = run.ticket(round=1, seed=8)
    assert same_bits(ticket.initial, {name: value[1] for name, value in point.items()})
    state = ticket.to_module().state_dict()
    assert state["0.1.num_batches_tracked"] == rewind_to
    assert torch.equal(state["0.1.running_mean"], point["0.1.running_mean"][1])
    assert torch.equal(state["0.0.weight_orig"], point["0.0.weight"][1])


def test_a_trained_module_is_rewound_through_weight_orig(found):
    ticket = found["dense"].ticket(round=1, seed=3)
    net = ticket.to_module()
    start = net(DATA.test_x).detach()
    F.cross_entropy(net(DATA.train_x), DATA.train_y).backward()
    torch.optim.SGD(net.parameters(), lr=0.5).step()
    assert (net(DATA.test_x) - start).abs().max() > 1e-3
    with torch.no_grad():
        for name, value in net.named_parameters():
            value.copy_(ticket.initial[name.removesuffix("_orig")])
    assert torch.equal(net(DATA.test_x), start) and same_bits(torch_prune.read(net), ticket.masks)


def test_dtype_and_shape_by_hand():
    layer = Dense("one", [2, 2])
    initial = {"fc1.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "fc1.bias": torch.tensor([0.5, 0.0])}
    mask = torch.tensor([[True, False], [True, True]])
    frozen = {"fc1.weight": torch.full((2, 2), -7.0)}
    x = torch.tensor([10.0, 1.0], dtype=torch.float64).view(1, 1, 1, 2)
    wide = {name: value.double() for name, value in initial.items()}
    ticket = Ticket(wide, {"fc1.weight": mask}, seed=0, round=1, network=layer)
    assert ticket.to_module()(x).tolist() == [[10.5, 34.0]] == ticket.to_dense()(x).tolist()
    ticket = Ticket(initial, {"fc1.weight": mask}, seed=0, round=1, frozen=frozen, network=layer)
    assert ticket.to_dense()(x.float()).tolist() == [[3.5, 34.0]] and ticket.kept == 0.75


def test_values_at_pruned_weights_need_the_dense_module(frozen_run):
    ticket = frozen_run.ticket(round=1, seed=8)
    with pytest.raises(ValueError, match=r"pruned weights are not 0.*weight_mask.*to_dense\(\)") as raised:
        ticket.to_module()
    assert "\n" not in str(raised.value)
    net = ticket.to_dense()
    # Freezing at the initial values leaves the whole initial network.
    assert same_bits(dict(net.state_dict()), ticket.initial)
    with pytest.raises(ValueError, match="carries no masks"):
        torch_prune.read(net)
    k = SEEDS.index(8)
    expected = frozen_run.network.forward(
        {name: value[k : k + 1] for name, value in frozen_run.initial.items()}, DATA.test_x
    )
    assert (net(DATA.test_x) - expected[0]).abs().max() < 1e-6
    assert frozen_run.ticket(round=0, seed=8).to_module() is not None, "the dense round has nothing pruned"


def test_the_dense_module_holds_the_effective_weights_and_no_masks(found):
    ticket = found["conv"].ticket(round=1, seed=3)
    net = ticket.to_dense()
    for name, mask in ticket.masks.items():
        assert torch.equal(net.get_parameter(name), ticket.initial[name] * mask)
    assert not list(net.buffers())
    F.cross_entropy(net(DATA.train_x), DATA.train_y).backward()
    assert net.fc3.weight.grad[~ticket.masks["fc3.weight"]].any(), "training it revives what was pruned"


@kinds
def test_a_saved_ticket_gives_the_same_module(found, kind, tmp_path):
    ticket = found[kind].ticket(round=2, seed=8)
    ticket.save(tmp_path / "ticket")
    loaded = Ticket.load(tmp_path / "ticket", NETWORKS[kind])
    assert (loaded.seed, loaded.round, loaded.frozen) == (8, 2, None)
    expected, net = ticket.to_module(), loaded.to_module()
    assert same_bits(dict(net.state_dict()), dict(expected.state_dict()))
    assert torch.equal(net.eval()(DATA.test_x), expected.eval()(DATA.test_x))


def test_a_saved_ticket_keeps_its_frozen_values(frozen_run, tmp_path):
    ticket = frozen_run.ticket(round=1, seed=3)
    ticket.save(tmp_path / "ticket")
    loaded = Ticket.load(tmp_path / "ticket", frozen_run.network)
    assert same_bits(loaded.frozen, ticket.frozen)
    assert same_bits(dict(loaded.to_dense().state_dict()), dict(ticket.to_dense().state_dict()))
    with pytest.raises(ValueError, match="to_dense"):
        loaded.to_module()


@pytest.mark.parametrize("build", [Ticket.to_module, Ticket.to_dense])
def test_a_ticket_without_its_network_says_how_to_give_it(found, tmp_path, build):
    found["dense"].ticket(round=1, seed=3).save(tmp_path / "ticket")
    with pytest.raises(ValueError, match=r"Ticket.load\(path, network\)"):
        build(Ticket.load(tmp_path / "ticket"))


def test_a_saved_run_gives_the_same_modules(found, frozen_run, tmp_path):
    for name, run in (("module", found["module"]), ("dense", frozen_run)):
        run.save(tmp_path / name)
        loaded = lottery.load(tmp_path / name)
        loaded.network = NETWORKS[name]
        for build in (Ticket.to_module, Ticket.to_dense) if name == "module" else (Ticket.to_dense,):
            states = [dict(build(each.ticket(round=1, seed=8)).state_dict()) for each in (run, loaded)]
            assert same_bits(*states)
    with pytest.raises(ValueError, match="to_dense"):
        loaded.ticket(round=1, seed=8).to_module()


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.head(self.second(self.first(x.flatten(1)).relu()).relu())


def test_a_ticket_of_a_shared_weight_comes_as_dense_only():
    network = from_module(Tied)
    run = lottery.search(network, DATA, [1], rounds=1, rate=0.5, **SETTINGS)
    ticket = run.ticket(round=1, seed=1)
    with pytest.raises(ValueError, match="first.weight and second.weight are one shared parameter"):
        ticket.to_module()
    net = ticket.to_dense()
    assert net.second.weight is net.first.weight and not net.second.weight[~ticket.masks["first.weight"]].any()
    assert (net(DATA.test_x) - network.forward(ticket.params(), DATA.test_x)[0]).abs().max() < 1e-6
