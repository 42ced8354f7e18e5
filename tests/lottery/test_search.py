"""The procedure: train, prune, rewind, again; and what its arms and controls share."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch

from lthkit import data, lottery, report
from lthkit.actions import MASK_0, MASK_1, rewind
from lthkit.criteria import CRITERIA, Evidence, large_final
from lthkit.data import Dataset
from lthkit.lottery import Arm, retrain, search
from lthkit.networks import Dense, lenet_300_100
from lthkit.streams import stream
from lthkit.training import evaluate

from ..oracles import clone, measures, module, order, pairs, prune, same_bits, train, worst


class Double(Dense):
    """Drawn in float64, so that the order of sums cannot decide which weight is pruned."""

    def draw(self, generators):
        return {name: value.double() for name, value in super().draw(generators).items()}


NETWORK = Double("double", [6, 8, 5, 3])
DATA = Dataset.from_tensors("small", *pairs())  # 50 / 20 / 30 images
DOUBLE = DATA.to(dtype=torch.float64)
SEEDS = [5, 2, 11]
SMALL = {"seeds": SEEDS, "rounds": 3, "rate": 0.4, "epochs": 2, "batch_size": 15, "lr": 0.01}
RATES = {"fc1.weight": 0.4, "fc2.weight": 0.4, "fc3.weight": 0.2}
STEPS = 8
SIZE = sum(mask[0].numel() for mask in search(NETWORK, DATA, **SMALL | {"rounds": 0}).masks().values())


def small(**changes):
    return search(NETWORK, DATA, **SMALL | changes)


def by_hand(seed: int, rounds: int = 3, rewind_to: int = 0, continued: bool = False):
    """One seed's lottery with `nn.Linear` modules: (masks, values after training) of each round."""
    start = NETWORK.init(seed)
    masks = {name: np.ones(start[name].shape[1:], dtype=bool) for name in NETWORK.prunable}
    found, rewind_point = [], None
    for number in range(rounds + 1):
        batches = order(stream(seed, "batches", number), 50, 15, STEPS)
        kept = {name: torch.tensor(mask) for name, mask in masks.items()}
        seen, _ = train(module(start), DOUBLE.train_x, DOUBLE.train_y, batches, lr=0.01, masks=kept)
        found.append((masks, seen[-1]))
        rewind_point = rewind_point or seen[rewind_to]
        masks = {name: prune(seen[-1][name].numpy(), mask, RATES[name]) for name, mask in masks.items()}
        start = {name: value.unsqueeze(0) for name, value in (seen[-1] if continued else rewind_point).items()}
    return found


@pytest.mark.parametrize("settings", [{}, {"rewind_to": 3}, {"mask_1": "continue"}], ids=["rewind", "late", "continue"])
def test_search_finds_the_masks_of_a_plain_loop(settings):
    run = small(**settings)
    for k, seed in enumerate(SEEDS):
        expected = by_hand(seed, rewind_to=settings.get("rewind_to", 0), continued="mask_1" in settings)
        for number, (masks, _) in enumerate(expected):
            found = run.masks(round=number)
            assert all(np.array_equal(found[name][k].numpy(), mask) for name, mask in masks.items())
        for number, (_, values) in enumerate(expected):
            stacked = {name: value.unsqueeze(0) for name, value in values.items()}
            _, accuracy = evaluate(NETWORK, stacked, DOUBLE.test_x, DOUBLE.test_y)
            row = run.table[(run.table.seed == seed) & (run.table["round"] == number)].iloc[0]
            assert row.test_accuracy == pytest.approx(accuracy.item(), abs=1e-12)
            assert row.kept == pytest.approx(sum(mask.sum() for mask in expected[number][0].values()) / SIZE)


def test_the_table_has_a_row_a_seed_and_round_and_the_promised_columns():
    table = small().table
    promised = "arm seed round kept nonzero accuracy_at_start test_accuracy test_accuracy_early_stop val_accuracy \
early_stop_iteration censored diverged seconds"
    assert list(table) == promised.split()
    assert table["round"].tolist() == [number for number in range(4) for _ in SEEDS]
    assert table.seed.tolist() == SEEDS * 4 and set(table.arm) == {"rewind"}
    assert table.censored.dtype == bool and table.early_stop_iteration.dtype == np.int64
    assert (table.seconds > 0).all()


def test_the_tables_values_are_those_of_the_history_and_the_masks():
    run = small(eval_every=3)
    for number in run.rounds():
        history, part = run.history(round=number), run.table[run.table["round"] == number]
        columns = np.arange(len(SEEDS)), history.val_loss.numpy().argmin(1)
        assert part.accuracy_at_start.tolist() == history.test_accuracy[:, 0].tolist()
        assert part.test_accuracy.tolist() == history.test_accuracy[:, -1].tolist()
        assert part.val_accuracy.tolist() == history.val_accuracy[:, -1].tolist()
        assert part.test_accuracy_early_stop.tolist() == history.test_accuracy.numpy()[columns].tolist()
        assert part.early_stop_iteration.tolist() == [[0, 3, 6, 8][column] for column in columns[1]]
        assert part.censored.tolist() == (columns[1] == 3).tolist()
        kept = sum(mask.flatten(1).sum(1) for mask in run.masks(round=number).values()) / SIZE
        assert part.kept.tolist() == pytest.approx(kept.tolist()) and (part.nonzero <= part.kept + 1e-12).all()


def test_the_counts_of_each_round_on_paper():
    """48, 40 and 15 weights; 40 % a round of what is left, 20 % in the output layer."""
    counts = {"fc1.weight": [48, 29, 17, 10], "fc2.weight": [40, 24, 14, 8], "fc3.weight": [15, 12, 10, 8]}
    run = small()
    for name, expected in counts.items():
        for k in range(len(SEEDS)):
            assert [int(run.masks(round=number)[name][k].sum()) for number in range(4)] == expected


def test_one_shot_prunes_the_dense_weights_to_the_same_share_at_once():
    """After r rounds 1 − 0.6^r of each layer is gone, of the output layer 1 − 0.8^r."""
    run = small(schedule="one_shot")
    counts = {"fc1.weight": [48, 29, 17, 10], "fc2.weight": [40, 24, 14, 9], "fc3.weight": [15, 12, 10, 8]}
    for k, seed in enumerate(SEEDS):
        dense = by_hand(seed, rounds=0)[0][1]
        for name, expected in counts.items():
            weights = dense[name].numpy()
            for number, count in enumerate(expected):
                found = run.masks(round=number)[name][k].numpy()
                assert found.sum() == count
                assert np.abs(weights[found]).min() > np.abs(weights[~found]).max(initial=0)


def test_global_scope_takes_the_rate_as_it_is_and_ranks_all_layers():
    run = small(scope="global", rounds=1)
    for k in range(len(SEEDS)):
        weights = np.concatenate([np.abs(run.dense[name][k].numpy()).ravel() for name in NETWORK.prunable])
        kept = np.concatenate([run.masks(round=1)[name][k].numpy().ravel() for name in NETWORK.prunable])
        assert (~kept).sum() == np.rint(0.4 * 103) and weights[kept].min() > weights[~kept].max()


def test_a_dict_of_rates_is_taken_as_it_is():
    run = small(rate={"fc1.weight": 0.5, "fc2.weight": 0.0, "fc3.weight": 0.2}, rounds=1)
    counts = [int(run.masks(round=1)[name][0].sum()) for name in NETWORK.prunable]
    assert counts == [24, 40, 12]


def test_arms_share_the_initial_draw_the_dense_round_and_the_batches():
    arms = [Arm("rewind"), Arm("continue", mask_1="continue"), Arm("fresh", mask_1="reinit"), Arm("again")]
    run = small(arms=arms)
    dense = [run.table[(run.table.arm == arm.name) & (run.table["round"] == 0)].drop(columns="arm") for arm in arms]
    for arm, part in zip(arms, dense, strict=True):
        pd.testing.assert_frame_equal(part.reset_index(drop=True), dense[0].reset_index(drop=True))
        assert run.history(arm.name, 0) is run.history("rewind", 0)
        # the first masks follow from the dense round, so that all arms have them
        assert same_bits(run.masks(arm.name, 1), run.masks("rewind", 1))
    assert run.arms == [arm.name for arm in arms]
    for number in (1, 2, 3):
        assert torch.equal(run.history("again", number).val_loss, run.history("rewind", number).val_loss)
        assert not torch.equal(run.history("fresh", number).val_loss, run.history("rewind", number).val_loss)
    alone = small(mask_1="continue")
    assert torch.equal(alone.history(round=3).val_loss, run.history("continue", 3).val_loss)


def test_arms_fill_in_what_they_leave_open_from_the_call():
    run = small(
        arms=[Arm("one", schedule="one_shot"), Arm("two", criterion="large_init")], criterion="random", rounds=1
    )
    assert same_bits(run.masks("one", 1), small(criterion="random", rounds=1).masks(round=1))
    assert same_bits(run.masks("two", 1), small(criterion="large_init", rounds=1).masks(round=1))


def test_callables_stand_for_names():
    run = small(criterion=large_final, mask_1=rewind)
    assert run.arms == ["rewind"] and same_bits(run.masks(round=3), small().masks(round=3))
    named = small(mask_1=partial(rewind), rounds=1)
    assert all(isinstance(arm, str) for arm in named.arms)


def test_actions_see_the_rewind_point_and_the_round_before():
    seen = []

    def watch(network, initial, final, masks, generators):
        seen.append((clone(initial), clone(final), clone(masks)))
        return rewind(network, initial, final, masks, generators)

    run = small(mask_1=watch, rewind_to=2)
    assert len(seen) == 3
    for number, (initial, final, masks) in enumerate(seen, 1):
        assert same_bits(initial, run.initial) and same_bits(masks, run.masks(round=number))
        for name, mask in run.masks(round=number - 1).items():
            assert not final[name][~mask].any()  # effective weights
    assert same_bits(seen[0][1], run.dense)
    for k, seed in enumerate(SEEDS):
        expected = by_hand(seed, rounds=2, rewind_to=2)
        for number, (_, final, _) in enumerate(seen):
            assert worst({name: value[k] for name, value in final.items()}, expected[number][1]) < 1e-9


def test_a_run_remembers_its_initial_and_dense_parameters():
    run = small(rounds=0)
    assert same_bits(run.initial, NETWORK.init(SEEDS)) and run.rounds() == [0]
    for k, seed in enumerate(SEEDS):
        assert worst({name: value[k] for name, value in run.dense.items()}, by_hand(seed, 0)[0][1]) < 1e-9


def test_the_same_search_gives_the_same_bits_and_a_seed_does_not_know_its_neighbours():
    torch.manual_seed(0)
    first = small()
    torch.manual_seed(1)
    again = small()
    assert first.table.drop(columns="seconds").equals(again.table.drop(columns="seconds"))
    alone = small(seeds=2)
    for number in range(4):
        assert same_bits(first.masks(round=number), again.masks(round=number))
        masks = {name: mask[1:2] for name, mask in first.masks(round=number).items()}
        assert same_bits(alone.masks(round=number), masks)


# --- any combination ---


def test_every_pair_of_actions_can_be_an_arm_and_gives_what_it_gives_alone():
    arms = [Arm(f"{a} {b}", mask_1=a, mask_0=b) for a in MASK_1 for b in MASK_0]
    run = small(arms=arms, rounds=2, epochs=1)
    for arm in arms:
        for number, count in ((1, 29), (2, 17)):
            kept = run.masks(arm.name, number)
            assert [int(mask.sum()) for mask in kept["fc1.weight"]] == [count] * 3
            assert not any((kept[name] & ~mask).any() for name, mask in run.masks(arm.name, number - 1).items())
    for arm in (arms[6], arms[17], arms[31]):
        alone = small(mask_1=arm.mask_1, mask_0=arm.mask_0, rounds=2, epochs=1)
        assert torch.equal(alone.history(round=2).val_loss, run.history(arm.name, 2).val_loss)


@pytest.mark.parametrize("scope, schedule", [("layer", "iterative"), ("global", "iterative"), ("global", "one_shot")])
def test_every_criterion_can_be_an_arm(scope, schedule):
    arms = [Arm(name, criterion=name) for name in CRITERIA]
    run = small(arms=arms, rounds=2, epochs=1, scope=scope, schedule=schedule)
    for arm in arms:
        kept = [sum(int(mask.sum()) for mask in run.masks(arm.name, number).values()) for number in (0, 1, 2)]
        expected = {"layer": [103, 65, 41], "global": [103, 62, 37]}[scope]
        assert [count / 3 for count in kept] == expected


class Watch:
    """A mask-0 action that remembers what it saw and said."""

    def __init__(self, action):
        self.action, self.seen = action, []

    def __call__(self, start, initial, final, masks):
        acted = self.action(start, initial, final, masks)
        self.seen.append({"final": clone(final), "masks": masks, "start": clone(acted[0]), "frozen": clone(acted[1])})
        return acted


@pytest.mark.parametrize("settings", [{}, {"optimizer": "sgd", "weight_decay": 0.1}, {"weight_decay": 0.1}])
@pytest.mark.parametrize("name", MASK_0)
def test_frozen_weights_never_move_and_stay_what_they_first_became(name, settings):
    watch = Watch(MASK_0[name])
    run = small(mask_0=watch, **settings)
    for before, after in pairwise(watch.seen):
        for layer, mask in before["masks"].items():
            held = before["frozen"][layer]
            assert torch.equal(after["final"][layer][~mask], held[~mask])  # whatever momentum and decay say
            assert torch.equal(after["frozen"][layer][~mask], held[~mask])
            start = before["start"][layer][mask]  # all zeros, which variant 2 can give, have no gradient
            assert not start.any() or not torch.equal(after["final"][layer][mask], start)
            assert name == "zero" or held[~mask].any()
    for layer, held in watch.seen[-1]["frozen"].items():
        assert name != "freeze" or torch.equal(held, run.initial[layer])


@pytest.mark.parametrize("name", MASK_0)
def test_the_table_counts_and_measures_what_a_round_starts_from(name):
    watch = Watch(MASK_0[name])
    run = small(mask_0=watch)
    for number, seen in enumerate(watch.seen, 1):
        start = dict(seen["start"])
        for layer, mask in seen["masks"].items():
            start[layer] = torch.where(mask, start[layer], seen["frozen"][layer])
        part = run.table[run.table["round"] == number]
        nonzero = sum((start[layer].numpy() != 0).reshape(3, -1).sum(1) for layer in seen["masks"]) / SIZE
        assert part.nonzero.tolist() == pytest.approx(nonzero.tolist())
        _, accuracy = measures(start, DOUBLE.test_x, DOUBLE.test_y)
        assert part.accuracy_at_start.tolist() == pytest.approx(accuracy.tolist())
        pruned = 1 - part.kept.to_numpy()
        bounds = {"zero": (0, 0), "freeze": (1, 1), "variant_1": (0.1, 0.9), "variant_2": (-1, 0.8)}[name]
        frozen = (part.nonzero.to_numpy() - part.kept.to_numpy()) / pruned  # share of the pruned weights
        assert (frozen >= bounds[0] - 1e-9).all() and (frozen <= bounds[1] + 1e-9).all()
    assert (run.table[run.table["round"] == 0].nonzero == 1).all()


# --- controls ---


@pytest.fixture(scope="module")
def found():
    return small()


def test_the_control_trains_fresh_weights_under_the_very_same_masks(found):
    control = retrain(found)
    assert control.arms == ["control"] and control.rounds() == [0, 1, 2, 3]
    for number in control.rounds():
        assert same_bits(control.masks(round=number), found.masks(round=number))
    for k, seed in enumerate(SEEDS):
        for number in (1, 2, 3):
            fresh = NETWORK.draw([stream(seed, "action", number)])
            kept = {name: mask[k] for name, mask in found.masks(round=number).items()}
            batches = order(stream(seed, "batches", number), 50, 15, STEPS)
            _, losses = train(module(fresh), DOUBLE.train_x, DOUBLE.train_y, batches, lr=0.01, masks=kept)
            expected = [np.mean(losses[:4]), np.mean(losses[4:])]
            assert control.history(round=number).train_loss[k, 1:].tolist() == pytest.approx(expected, abs=1e-9)
    part = control.table[control.table["round"] == 0]
    assert part.test_accuracy.tolist() == found.table[found.table["round"] == 0].test_accuracy.tolist()
    assert control.table.kept.tolist() == found.table.kept.tolist()


def test_rewinding_in_retrain_repeats_the_ticket(found):
    again = retrain(found, mask_1="rewind", name="again")
    for number in (1, 2, 3):
        assert torch.equal(again.history(round=number).val_loss, found.history(round=number).val_loss)
    longer = retrain(found, mask_1="rewind", rounds=[2], epochs=3)
    assert longer.rounds() == [0, 2] and longer.history(round=2).iterations.tolist() == [0, 4, 8, 12]
    assert found.settings.epochs == 2


def test_the_control_does_not_change_the_run(found):
    before = clone(found.initial), clone(found.dense), found.table.copy()
    retrain(found, rounds=[1])
    assert same_bits(found.initial, before[0]) and same_bits(found.dense, before[1])
    assert found.table.equals(before[2]) and found.arms == ["rewind"]


def test_retrain_of_one_arm_among_several():
    run = small(arms=[Arm("a"), Arm("b", criterion="large_init")], rounds=1)
    with pytest.raises(ValueError, match=r"\['a', 'b'\].*None"):
        retrain(run)
    assert same_bits(retrain(run, arm="b").masks(round=1), run.masks("b", 1))


def test_retrain_gives_one_row_a_seed_and_round_however_rounds_are_named(found):
    for rounds in ([0, 1], [1, 1], [2, 1]):
        try:
            table = retrain(found, rounds=rounds).table
        except ValueError as error:  # refusing is as good
            assert "round" in str(error)
        else:
            assert not table.duplicated(["arm", "seed", "round"]).any()


def never(*given, **settings):
    raise AssertionError("trained before the error")


@pytest.mark.parametrize(
    "change, said",
    [
        ({"criterion": "largest"}, r"criterion 'largest'.*large_final.*random"),
        ({"mask_1": "rewnd"}, r"mask-1 action 'rewnd'.*rewind.*continue.*reinit"),
        ({"mask_0": "nil"}, r"mask-0 action 'nil'.*zero"),
        ({"schedule": "twice"}, r"'twice'.*iterative, one_shot"),
        ({"scope": "local"}, r"'local'.*layer, global"),
        ({"rate": 1.5}, r"1\.5"),
        ({"rate": -0.1}, r"-0\.1"),
        ({"rate": None}, "None"),
        ({"rate": {"fc1.weight": 0.5}}, "fc2.weight"),
        ({"rate": dict.fromkeys(NETWORK.prunable, 0.5), "scope": "global"}, "global.*dict"),
        ({"rounds": -1}, "rounds.*-1"),
        ({"rounds": 1.5}, r"rounds.*1\.5"),
        ({"seeds": []}, "empty"),
        ({"seeds": [1, 1]}, r"\[1, 1\]"),
        ({"arms": []}, r"\[\]"),
        ({"arms": [Arm("a"), Arm("a")]}, "'a', 'a'"),
        ({"arms": [Arm("a", criterion="largest")]}, "'largest'"),
        ({"criterion": ["large_final"]}, "large_final"),
        ({"snapshot_at": [3]}, "unknown setting 'snapshot_at'.*epochs.*lr"),
        ({"epoch": 3}, "unknown setting 'epoch'.*epochs"),
        ({"masks": None, "round": 2}, "unknown setting 'masks'"),
        ({"arms": [Arm("a\rb")]}, r"an arm's name must be plain text.*no leading underscore or \$, got 'a\\rb'"),
        ({"arms": [Arm("a"), Arm("two\nlines")]}, "an arm's name"),
        ({"arms": [Arm("$a$")]}, r"an arm's name.*'\$a\$'"),
        ({"arms": [Arm("_a")]}, "an arm's name.*'_a'"),
        ({"arms": [Arm("")]}, "an arm's name.*''"),
        ({"arms": [Arm(3)]}, "an arm's name.*3"),
        ({"arms": [Arm(["a"])]}, r"an arm's name.*\['a'\]"),
        ({"rewind_to": 2.5}, r"rewind_to.*2\.5"),
        ({"rewind_to": True}, "rewind_to.*True"),
    ],
)
def test_a_bad_search_is_refused_before_any_training(change, said, monkeypatch):
    monkeypatch.setattr(lottery, "fit", never)
    with pytest.raises(ValueError, match=said):
        small(**change)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"rewind_to": 9}, "rewind_to.*9"),
        ({"rewind_to": -1}, "rewind_to.*-1"),
        ({"optimizer": "lion"}, "'lion'"),
        ({"batch_size": 0}, "batch_size.*0"),
        ({"lr": 0}, "lr.*0"),
    ],
)
def test_a_bad_training_setting_is_refused_before_any_step(change, said, monkeypatch):
    monkeypatch.setattr(Dense, "differentiator", never)
    with pytest.raises(ValueError, match=said):
        small(**change)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"mask_1": "rewnd"}, "'rewnd'.*reinit"),
        ({"mask_0": "nil"}, "'nil'.*zero"),
        ({"arm": "other"}, r"\['rewind'\].*'other'"),
        ({"name": "_control"}, "an arm's name.*'_control'"),
        ({"rounds": [1, 9]}, "no round 9.*0, 1, 2, 3"),
        ({"frozen": {}}, "unknown setting 'frozen'"),
        ({"epoch": 3}, "unknown setting 'epoch'"),
    ],
)
def test_a_bad_control_is_refused_before_any_training(found, change, said, monkeypatch):
    monkeypatch.setattr(lottery, "fit", never)
    with pytest.raises(ValueError, match=said):
        retrain(found, **change)


def scores_of(value):
    return lambda evidence: {name: value(mask) for name, mask in evidence.masks.items()}


def no_scores(evidence):
    return [mask.double() for mask in evidence.masks.values()]


def whitener(evidence):
    evidence.data.train_x.copy_(evidence.data.train_x)  # what it writes does not matter
    return evidence.final


def only_start(start, initial, final, masks):
    return start


@pytest.mark.parametrize(
    "change, error, said",
    [
        ({"criterion": whitener}, ValueError, "whitener writes into the images or labels: let it work on a copy"),
        ({"criterion": no_scores}, TypeError, "criterion returns a dict.*no_scores gave list"),
        ({"criterion": scores_of(lambda mask: torch.full(mask.shape, np.nan))}, ValueError, "fc1.weight.*144 NaN"),
        ({"criterion": scores_of(lambda mask: mask[0].double())}, ValueError, r"fc1.weight.*\(8, 6\).*\(3, 8, 6\)"),
        ({"criterion": lambda evidence: {}}, ValueError, "no scores for.*fc1.weight"),
        ({"mask_1": lambda *given: None}, TypeError, "mask-1 action returns a dict.*NoneType"),
        ({"mask_1": lambda *given: {}}, ValueError, "parameters must be"),
        ({"mask_1": lambda *given: {n: v * np.nan for n, v in given[1].items()}}, ValueError, "fc1.weight.*not finite"),
        ({"mask_0": only_start}, TypeError, r"\(start, frozen\).*only_start"),
        ({"mask_0": lambda s, i, f, m: (s, {n: i[n][0] for n in m})}, ValueError, r"frozen 'fc1.weight' is \[8, 6\]"),
    ],
)
def test_a_callable_that_returns_something_else_is_named(change, error, said):
    change = {"mask_0": lambda start, *given: (start, {})} | change  # no built-in action that would trip over it first
    with pytest.raises(error, match=said):
        small(**change)


def greedy_criterion(evidence):
    """Right scores, made in place."""
    scores = {name: evidence.final[name].data.abs_() for name in evidence.masks}
    for tensors in (evidence.initial, evidence.masks):
        for value in tensors.values():
            value.data.zero_()
    return scores


def greedy_mask_1(network, initial, final, masks, generators):
    for value in (*final.values(), *masks.values()):
        value.data.zero_()
    for value in initial.values():
        value.data.mul_(-1)
    return initial


def greedy_mask_0(start, initial, final, masks):
    frozen = {name: initial[name].data.mul_(-1) for name in masks}
    for value in (*final.values(), *masks.values()):
        value.data.zero_()
    return start, frozen


def polite_mask_1(network, initial, final, masks, generators):
    return {name: -value for name, value in initial.items()}


def polite_mask_0(start, initial, final, masks):
    return start, {name: -initial[name] for name in masks}


def test_what_works_in_place_ruins_neither_its_own_arm_nor_its_neighbours():
    def arms(criterion, mask_1, mask_0):
        own = [Arm("scores", criterion), Arm("kept", mask_1=mask_1), Arm("pruned", mask_0=mask_0)]
        return small(arms=[*own, Arm("trained", mask_1="continue"), Arm("last", mask_0="freeze")], rounds=2)

    polite, greedy = (
        arms(large_final, polite_mask_1, polite_mask_0),
        arms(greedy_criterion, greedy_mask_1, greedy_mask_0),
    )
    pd.testing.assert_frame_equal(*(run.table.drop(columns="seconds") for run in (polite, greedy)))
    assert same_bits(polite.initial, greedy.initial) and same_bits(polite.dense, greedy.dense)
    for arm in polite.arms:
        assert same_bits(polite.masks(arm, 2), greedy.masks(arm, 2))
    again = [retrain(run, mask_1, arm="last") for run, mask_1 in ((polite, polite_mask_1), (greedy, greedy_mask_1))]
    pd.testing.assert_frame_equal(*(run.table.drop(columns="seconds") for run in again))


@pytest.mark.parametrize("function", [*CRITERIA.values(), *MASK_1.values(), *MASK_0.values()], ids=lambda f: f.__name__)
def test_our_own_criteria_and_actions_which_get_no_copies_write_into_nothing(found, function):
    start, masks, streams = clone(found.dense), found.masks(round=2), [stream(seed, "action") for seed in SEEDS]
    given = {"start": start, "initial": found.initial, "final": found.dense, "masks": masks}
    before = {name: clone(value) for name, value in given.items()} | {"data": clone(tensors(DOUBLE))}
    if function in CRITERIA.values():
        function(Evidence(NETWORK, found.initial, found.dense, masks, DOUBLE, streams))
    elif function in MASK_1.values():
        function(NETWORK, found.initial, found.dense, masks, streams)
    else:
        function(*given.values())
    assert all(same_bits(value, before[name]) for name, value in (given | {"data": tensors(DOUBLE)}).items())


def tensors(data):
    return {name: value for name, value in vars(data).items() if isinstance(value, torch.Tensor)}


def test_numbers_of_numpy_are_numbers(found, tmp_path):
    given = {"rounds": np.int64(1), "rewind_to": np.int32(3), "rate": np.float32(0.5), "epochs": np.int64(1)}
    run = small(**given, seeds=np.array([5, 2]))
    plain = small(**{name: value.item() for name, value in given.items()}, seeds=[5, 2])
    pd.testing.assert_frame_equal(*(each.table.drop(columns="seconds") for each in (run, plain)))
    control = retrain(found, rounds=np.arange(1, 3))
    control.save(tmp_path / "control")
    assert lottery.load(tmp_path / "control").rounds() == [0, 1, 2]


def test_a_criterion_without_its_evidence_is_named():
    with pytest.raises(ValueError, match="snip.*no data"):
        small(criterion=lambda evidence: CRITERIA["snip"](replace(evidence, data=None)), rounds=1)


def test_a_layer_without_kept_weights_is_named():
    rates = dict.fromkeys(NETWORK.prunable, 0.0) | {"fc2.weight": 1.0}
    assert not small(rate=rates, rounds=1, mask_1="signed_constant").masks(round=1)["fc2.weight"].any()
    with pytest.raises(ValueError, match="fc2.weight keeps no weight"):
        small(rate=rates, rounds=1, mask_1="reshuffle")


def test_a_seed_that_diverges_says_so_in_its_rows_and_the_others_go_on():
    """In round 2 the second seed starts from weights that overflow; from there on it has no numbers."""

    called = []

    def poisoned(network, initial, final, masks, generators):
        start = rewind(network, initial, final, masks, generators)
        called.append(masks)
        if len(called) == 2:
            start = {name: value.index_fill(0, torch.tensor(1), 1e200) for name, value in start.items()}
        return start

    sound, found = small(rate=0.4, rounds=3), small(rate=0.4, rounds=3, mask_1=poisoned)
    assert found.table.seed.tolist() == SEEDS * 4
    bad = (found.table.seed == SEEDS[1]) & (found.table["round"] >= 2)
    assert bad.sum() == 2 and (found.table.diverged == bad).all() and not found.table.censored[bad].any()
    numbers = ["accuracy_at_start", "test_accuracy", "test_accuracy_early_stop", "val_accuracy", "early_stop_iteration"]
    assert found.table.loc[bad, numbers].isna().all(axis=None)
    assert not found.table.loc[~bad].drop(columns="arm").isna().any(axis=None)
    ours, theirs = (part.table.loc[~bad].drop(columns=["arm", "seconds"]) for part in (found, sound))
    assert (ours == theirs).all(axis=None) and (found.table.kept == sound.table.kept).all()
    with pytest.raises(ValueError, match=rf"seeds \[{SEEDS[1]}\]"):
        report.compare(found.table.assign(other=found.table["round"]), "test_accuracy", "other", 3, 0)
    again = retrain(found).table
    assert (again.diverged == bad).all() and again.test_accuracy.isna().equals(bad)


def test_a_search_in_which_everything_diverges_still_returns():
    table = small(optimizer="sgd", lr=1e300).table
    assert table.diverged.all() and table.test_accuracy.isna().all() and len(table) == 4 * len(SEEDS)


# --- the finding that the course is about ---


@pytest.fixture(scope="module")
def digits():
    """Ten seeds, 36 % a round, down to the first round with at most 3.2 % kept."""
    images = data.load("digits")
    return search(lenet_300_100(images), images, seeds=range(10), rounds=8, eval_every=200)


def test_winning_tickets_on_real_handwriting(digits):
    kept = digits.table.groupby("round").kept.mean()
    assert kept[7] > 0.032 >= kept[8]
    control = retrain(digits, rounds=[8])

    def accuracy(run, number):
        return 100 * run.table[run.table["round"] == number].test_accuracy.mean()

    dense, ticket, fresh = accuracy(digits, 0), accuracy(digits, 8), accuracy(control, 8)
    assert ticket >= fresh + 10, (dense, ticket, fresh)
    assert ticket >= dense - 6, (dense, ticket, fresh)


def test_signs_carry_the_ticket_and_sizes_do_not(digits):
    """Zhou et al. (2019), under the ticket's own masks: with the initial signs any size does, without them none."""

    def accuracy(**actions):
        return 100 * retrain(digits, rounds=[8], **actions).table.query("round == 8").test_accuracy.mean()

    ticket = 100 * digits.table.query("round == 8").test_accuracy.mean()
    for name in ("reinit", "reshuffle", "constant"):
        unsigned, signed = accuracy(mask_1=name), accuracy(mask_1=f"signed_{name}")
        assert unsigned < ticket - 5 and signed > ticket - 4, (name, ticket, unsigned, signed)
        assert signed - unsigned > 0.8 * (ticket - unsigned), (name, ticket, unsigned, signed)
    assert accuracy(mask_1="rewind", mask_0="variant_1") > ticket + 1
