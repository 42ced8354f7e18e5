"""The mask algebra: what is removed, how many, and never again."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from lthkit import files
from lthkit import masks as m
from lthkit.streams import streams

from . import oracles
from .oracles import clone, examples, same_bits

rates = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.36, 0.5, 0.75, 1.0]))
layers = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple), min_size=1, max_size=3)


def named(shapes, fill) -> dict[str, torch.Tensor]:
    return {f"layer{i}": fill(shape) for i, shape in enumerate(shapes)}


def distinct(shapes, replicates: int, seed: int) -> dict[str, torch.Tensor]:
    """Positive scores, no two of one replicate equal."""
    size = sum(int(np.prod(shape)) for shape in shapes)
    rng = np.random.default_rng(seed)
    drawn = torch.tensor(np.stack([rng.permutation(size) + 1.0 for _ in range(replicates)]))
    parts = drawn.split([int(np.prod(shape)) for shape in shapes], dim=1)
    return {f"layer{i}": part.view(replicates, *s) for i, (part, s) in enumerate(zip(parts, shapes, strict=True))}


def all_of(scores) -> dict[str, torch.Tensor]:
    return m.ones(scores, list(scores))


def in_torch(scores, rounds, scope: str, k: int) -> dict[str, torch.Tensor]:
    """The masks of replicate k after pruning modules that hold the scores as weights, by torch's own functions."""
    modules = {name: nn.Module() for name in scores}
    for name, module in modules.items():
        module.weight = nn.Parameter(scores[name][k].clone())
    for rate in rounds:
        if scope == "layer":
            for module in modules.values():
                torch_prune.l1_unstructured(module, "weight", amount=rate)
        else:
            pairs = [(module, "weight") for module in modules.values()]
            torch_prune.global_unstructured(pairs, torch_prune.L1Unstructured, amount=rate)
    return {name: module.weight_mask.bool() for name, module in modules.items()}


@pytest.mark.parametrize("scope", ["layer", "global"])
@examples
@given(layers, st.integers(1, 3), st.lists(rates, min_size=1, max_size=4), st.integers(0, 999))
def test_prune_agrees_with_torch_round_after_round(scope, shapes, replicates, rounds, seed):
    scores = distinct(shapes, replicates, seed)
    kept = all_of(scores)
    for rate in rounds:
        kept = m.prune(scores, kept, rate, scope)
    for k in range(replicates):
        expected = in_torch(scores, rounds, scope, k)
        assert all(torch.equal(kept[name][k], expected[name]) for name in scores)


@pytest.mark.parametrize("scope", ["layer", "global"])
@examples
@given(layers, st.integers(1, 3), rates, rates, st.integers(1, 4), st.integers(0, 999))
def test_with_ties_exactly_the_asked_count_goes_lowest_first(scope, shapes, replicates, first, second, levels, seed):
    rng = np.random.default_rng(seed)
    scores = named(shapes, lambda shape: torch.tensor(rng.integers(0, levels, (replicates, *shape)).astype(np.float32)))
    before = m.prune(scores, all_of(scores), first, scope)
    after = m.prune(scores, before, second, scope)
    groups = [list(scores)] if scope == "global" else [[name] for name in scores]
    for k in range(replicates):
        for group in groups:
            old = np.concatenate([before[name][k].numpy().ravel() for name in group])
            new = np.concatenate([after[name][k].numpy().ravel() for name in group])
            score = np.concatenate([scores[name][k].numpy().ravel() for name in group])
            assert not (new & ~old).any()  # nothing revives
            assert (old & ~new).sum() == np.rint(second * old.sum())
            if new.any() and (old & ~new).any():
                assert score[old & ~new].max() <= score[new].min()


FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
DTYPES = [*FLOATS, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]


def awkward(dtype: torch.dtype, shape: tuple, levels: int, rng: np.random.Generator) -> torch.Tensor:
    """Scores with ties, both zeros and infinities, the smallest and the largest numbers of their type."""
    scores = torch.tensor(rng.integers(0, levels, shape)).to(dtype)
    if levels > 20:
        scores = torch.tensor(rng.standard_normal(shape) * 50).to(dtype)
    info = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
    extremes = [info.min, info.max, 0]
    if dtype.is_floating_point:
        extremes += [-torch.inf, torch.inf, -0.0, info.smallest_normal / 2, -info.smallest_normal / 2]
    for extreme in extremes:
        scores[torch.tensor(rng.random(shape) < rng.choice([0, 0, 0.1, 0.5]))] = extreme
    return scores


def agrees_with_the_oracle(scores, masks, rate, scope, seed) -> None:
    """The same masks, contiguous and in the same order, and the generators left in the same state."""
    replicates = next(iter(masks.values())).shape[0]
    draws, expected_draws = (streams(range(seed, seed + replicates), "ties") for _ in range(2))
    found = m.prune(scores, masks, rate, scope, draws)
    all_rates = rate if isinstance(rate, dict) else dict.fromkeys(masks, rate)
    assert same_bits(found, oracles.prune_stacks(scores, masks, all_rates, scope, expected_draws))
    assert all(mask.is_contiguous() and mask.dtype == torch.bool for mask in found.values())
    for one, other in zip(draws, expected_draws, strict=True):
        assert torch.equal(one.get_state(), other.get_state())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scope", ["layer", "global"])
@examples
@given(
    st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=3).map(tuple), min_size=1, max_size=4),
    st.integers(1, 4),
    st.lists(st.sampled_from(DTYPES), min_size=1, max_size=4),
    st.sampled_from([1, 2, 5, 1000]),
    st.lists(rates, min_size=4, max_size=4),
    st.integers(0, 10**6),
)
def test_prune_does_bit_for_bit_what_it_did_at_first(scope, shapes, replicates, dtypes, levels, all_rates, seed):
    """Any dtypes, mixed too; replicates alive in different numbers; NaN scores of pruned weights; empty layers."""
    rng = np.random.default_rng(seed)
    names = [f"layer{i}" for i in range(len(shapes))]
    scores = {
        name: awkward(dtypes[i % len(dtypes)], (replicates, *shape), levels, rng)
        for i, (name, shape) in enumerate(zip(names, shapes, strict=True))
    }
    share = rng.choice([0, 0.1, 0.5, 1], (len(shapes), replicates))
    masks = {
        name: torch.tensor(np.stack([rng.random(shape) < share[i, r] for r in range(replicates)]))
        for i, (name, shape) in enumerate(zip(names, shapes, strict=True))
    }
    for name, score in scores.items():
        if score.is_floating_point():
            score[~masks[name] & torch.tensor(rng.random(score.shape) < 0.5)] = torch.nan
    rate = dict(zip(names, all_rates, strict=False)) if scope == "layer" else all_rates[0]
    agrees_with_the_oracle(scores, masks, rate, scope, seed)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_prune_does_what_it_did_at_first_on_large_layers_round_after_round(scope, dtype):
    rng = np.random.default_rng(7)
    shapes = {"a": (300, 64), "b": (100, 300), "c": (7, 3, 3)}
    kept = {name: torch.ones(3, *shape, dtype=torch.bool) for name, shape in shapes.items()}
    for number in range(4):
        scores = {name: awkward(dtype, (3, *shape), 1000, rng) for name, shape in shapes.items()}
        agrees_with_the_oracle(scores, kept, 0.36, scope, number)
        kept = m.prune(scores, kept, 0.36, scope)


def test_prune_reads_scores_however_they_lie_in_memory():
    rng = np.random.default_rng(3)
    turned = awkward(torch.float32, (3, 40, 5), 9, rng).transpose(1, 2)
    with_gradient = torch.randn(3, 8, requires_grad=True)
    scores = {"a": turned, "b": with_gradient, "c": torch.rand(1, 6).expand(3, 6)}
    masks = {
        "a": torch.rand(3, 40, 5).transpose(1, 2) < 0.8,
        "b": with_gradient.detach() < 1,
        "c": torch.ones(3, 6) > 0,
    }
    for scope in ("layer", "global"):
        agrees_with_the_oracle(scores, masks, 0.4, scope, 0)


def test_prune_takes_hundreds_of_replicates():
    scores = {"a": torch.rand(300, 20).mul(5).round(), "b": torch.rand(300, 3, 2)}
    for scope in ("layer", "global"):
        agrees_with_the_oracle(scores, all_of(scores), 0.3, scope, 0)


@pytest.mark.parametrize(
    "size, rate, removed",
    [(10, 0.36, 4), (5, 0.1, 0), (5, 0.3, 2), (25, 0.1, 2), (35, 0.1, 4), (100, 0.2, 20), (1, 0.5, 0), (3, 0.5, 2)],
)
def test_counts_are_rounded_half_to_even(size, rate, removed):
    scores = {"w": torch.arange(size, dtype=torch.float64).view(1, size)}
    assert (~m.prune(scores, all_of(scores), rate)["w"]).sum() == removed
    equal = {"w": torch.ones(1, size)}
    assert (~m.prune(equal, all_of(equal), rate)["w"]).sum() == removed


def test_rates_are_shares_of_what_is_left():
    scores = {"w": torch.rand(1, 1000)}
    kept, counts = all_of(scores), []
    for _ in range(3):
        kept = m.prune(scores, kept, 0.2)
        counts.append(int(kept["w"].sum()))
    assert counts == [800, 640, 512]


def test_rate_0_keeps_and_rate_1_removes_everything():
    scores = distinct([(3, 2), (4,)], 2, 0)
    assert same_bits(m.prune(scores, all_of(scores), 0), all_of(scores))
    for scope in ("layer", "global"):
        assert not any(mask.any() for mask in m.prune(scores, all_of(scores), 1, scope).values())


def test_a_dict_gives_each_layer_its_own_rate():
    scores = {"a": torch.tensor([[4.0, 3, 2, 1]]), "b": torch.tensor([[1.0, 2, 3, 4]])}
    kept = m.prune(scores, all_of(scores), {"b": 0.25, "a": 0.5})
    assert kept["a"].tolist() == [[True, True, False, False]] and kept["b"].tolist() == [[False, True, True, True]]


def test_global_ranks_all_layers_together():
    scores = {"a": torch.tensor([[4.0, 3, 8, 1]]), "b": torch.tensor([[10.0, 20, 30, 40]])}
    kept = m.prune(scores, all_of(scores), 0.5, "global")
    assert not kept["a"].any() and kept["b"].all()


def test_minus_infinity_goes_first_and_infinity_last():
    inf = float("inf")
    scores = {"w": torch.tensor([[-inf, 5, inf, -1e30, -inf, -inf]])}
    assert m.prune(scores, all_of(scores), 0.5)["w"].tolist() == [[False, True, True, True, False, False]]
    assert m.prune(scores, all_of(scores), 5 / 6)["w"].tolist() == [[False, False, True, False, False, False]]
    some = m.prune(scores, all_of(scores), 1 / 3)["w"]
    assert some.sum() == 4 and some[0, [1, 2, 3]].all()


def test_scores_of_pruned_weights_are_not_read():
    scores = {"w": torch.tensor([[3.0, 1.0, 2.0, 4.0]])}
    half = m.prune(scores, all_of(scores), 0.5)
    scores["w"][~half["w"]] = float("nan")
    assert m.prune(scores, half, 0.5)["w"].tolist() == [[False, False, False, True]]
    scores["w"][0, 3] = float("nan")
    with pytest.raises(ValueError, match="'w' hold 1 NaN"):
        m.prune(scores, half, 0.5)


def test_ties_are_drawn_by_the_seed():
    equal = {"a": torch.ones(3, 20), "b": torch.ones(3, 20)}
    kept = m.prune(equal, all_of(equal), 0.5, generators=streams([1, 2, 1000], "ties"))
    assert same_bits(kept, m.prune(equal, all_of(equal), 0.5, generators=streams([1, 2, 1000], "ties")))
    assert not torch.equal(kept["a"][0], kept["a"][1]) and not torch.equal(kept["a"][0], kept["b"][0])
    alone = {name: value[:1] for name, value in equal.items()}
    one = m.prune(alone, all_of(alone), 0.5, generators=streams([1000], "ties"))
    assert torch.equal(one["a"][0], kept["a"][2])  # a replicate's draw does not depend on its neighbours
    torch.manual_seed(99)
    by_default = m.prune(equal, all_of(equal), 0.5)
    assert same_bits(by_default, m.prune(equal, all_of(equal), 0.5, generators=streams(range(3), "ties")))


def test_the_draw_among_ties_is_even():
    """900 layers of three equal weights, one of which goes: each about 300 times (standard deviation 14)."""
    equal = {"w": torch.ones(900, 3)}
    gone = (~m.prune(equal, all_of(equal), 1 / 3)["w"]).sum(0)
    assert gone.sum() == 900 and (gone - 300).abs().max() < 60


@examples
@given(layers, st.integers(1, 3), rates, st.sampled_from(["layer", "global"]))
def test_prune_changes_none_of_its_inputs(shapes, replicates, rate, scope):
    scores = distinct(shapes, replicates, 0)
    kept = m.prune(scores, all_of(scores), 0.3, scope)
    before = clone(scores), clone(kept)
    after = m.prune(scores, kept, rate, scope)
    assert same_bits(scores, before[0]) and same_bits(kept, before[1])
    for mask in after.values():
        mask.fill_(False)
    assert same_bits(kept, before[1])  # and shares no memory with them


GOOD = {"a": torch.ones(2, 3, 4), "b": torch.ones(2, 5)}
KEPT = {"a": torch.ones(2, 3, 4, dtype=torch.bool), "b": torch.ones(2, 5, dtype=torch.bool)}


@pytest.mark.parametrize(
    "change, said",
    [
        ({"rate": 1.5}, r"'a'.*1\.5"),
        ({"rate": -0.1}, r"-0\.1"),
        ({"rate": float("nan")}, "nan"),
        ({"rate": True}, "True"),
        ({"rate": "a lot"}, "'a lot'"),
        ({"rate": {"a": 0.1, "b": 2}}, r"'b'.*2"),
        ({"rate": {"a": 0.1}}, r"\['a', 'b'\].*\['a'\]"),
        ({"rate": {"a": 0.1, "b": 0.1, "c": 0.1}}, "'c'"),
        ({"rate": {"a": 0.1, "b": 0.1}, "scope": "global"}, "global.*dict"),
        ({"scope": "everywhere"}, "'everywhere'.*layer, global"),
        ({"scores": {"a": GOOD["a"]}}, r"\['b'\]"),
        ({"scores": GOOD | {"b": torch.ones(2, 6)}}, r"'b'.*\(2, 6\).*\(2, 5\)"),
        ({"scores": GOOD | {"b": torch.tensor([[1, 2, float("nan"), 4, 5]] * 2)}}, "'b' hold 2 NaN"),
        ({"generators": streams([1], "ties")}, "1 generators for 2"),
        ({"masks": {}}, "empty"),
        ({"masks": KEPT | {"b": torch.ones(2, 5)}}, r"'b'.*float32"),
        ({"masks": KEPT | {"b": torch.ones(3, 5, dtype=torch.bool)}}, "'b': 3"),
    ],
)
def test_a_bad_input_is_named(change, said):
    given = {"scores": GOOD, "masks": KEPT, "rate": 0.5} | change
    with pytest.raises(ValueError, match=said):
        m.prune(**given)


def test_check_rates_gives_each_layer_its_rate():
    assert m.check_rates(0.2, ("a", "b")) == {"a": 0.2, "b": 0.2} == m.check_rates(0.2, ["a", "b"], "global")
    assert m.check_rates({"b": 1, "a": 0}, ("a", "b")) == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    "given, said",
    [
        ((1.5, ("a", "b")), r"'a' must be a share between 0 and 1, got 1\.5"),
        ((float("nan"), ("a",)), "nan"),
        ((True, ("a",)), "True"),
        (({"a": 0.5}, ("a", "b")), r"\['a', 'b'\], got \['a'\]"),
        (({"a": 0.5}, ("a",), "global"), "one float rate, got a dict"),
        ((0.5, ("a",), "local"), "unknown scope 'local': known are layer, global"),
        ((0.5, ("a",), None), "unknown scope None"),
    ],
)
def test_check_rates_says_what_is_wrong(given, said):
    with pytest.raises(ValueError, match=said):
        m.check_rates(*given)


def test_ones_and_validate():
    params = {"w": torch.zeros(2, 3, 4), "bias": torch.zeros(2, 3)}
    kept = m.ones(params, ["w"])
    assert list(kept) == ["w"] and kept["w"].dtype == torch.bool and kept["w"].shape == (2, 3, 4) and kept["w"].all()
    m.validate(kept, params)
    with pytest.raises(ValueError, match=r"\['v'\].*\['w', 'bias'\]"):
        m.ones(params, ["w", "v"])
    faults = [
        ({"v": kept["w"]}, "'v'.*'w'"),
        ({"w": kept["w"][:, :2]}, r"'w'.*\(2, 2, 4\).*\(2, 3, 4\)"),
        ({"w": torch.ones(3, dtype=torch.bool)}, r"'w'.*\(3,\)"),
        ({"w": kept["w"].numpy()}, "'w'.*ndarray"),
        ({"w": kept["w"].to(torch.uint8)}, "'w'.*uint8"),
    ]
    for mask, said in faults:
        with pytest.raises(ValueError, match=said):
            m.validate(mask, params)


def test_sparsity_by_hand():
    kept = {
        "a": torch.tensor([[True, True, False, True], [False, False, False, False]]),
        "b": torch.tensor([[[True, False]], [[True, True]]]),
    }
    found = m.sparsity(kept)
    assert list(found) == ["overall", "a", "b"]
    assert found["a"].tolist() == [0.25, 1.0] and found["b"].tolist() == [0.5, 0.0]
    assert found["overall"].tolist() == [2 / 6, 4 / 6] and found["overall"].dtype == torch.float64


KEPTS = {"layer0": torch.ones(2, 3, 2, dtype=torch.bool), "layer1": torch.ones(2, 4, dtype=torch.bool)}


def test_masks_come_back_from_a_file_as_they_were(tmp_path):
    kept = m.prune(distinct([(3, 2), (4,)], 2, 0), KEPTS, 0.4)
    m.save(kept, tmp_path / "kept.safetensors")
    found = m.load(tmp_path / "kept.safetensors")
    assert set(found) == set(kept) and all(torch.equal(found[name], kept[name]) for name in kept)
    m.save(m.prune(distinct([(3, 2), (4,)], 2, 0), kept, 1.0), tmp_path / "kept.safetensors")  # replaces
    assert not any(mask.any() for mask in m.load(tmp_path / "kept.safetensors").values())
    assert [path.name for path in tmp_path.iterdir()] == ["kept.safetensors"]


def test_masks_from_a_file_are_pruned_like_those_that_were_saved(tmp_path):
    """The format sorts its names; the draw among ties must not notice."""
    equal = {"b": torch.ones(1, 20), "a": torch.ones(1, 20)}
    m.save(all_of(equal), tmp_path / "kept")
    for scope in ("layer", "global"):
        before, after = m.prune(equal, all_of(equal), 0.5, scope), m.prune(equal, m.load(tmp_path / "kept"), 0.5, scope)
        assert all(torch.equal(before[name], after[name]) for name in equal)


def test_masks_that_share_memory_can_be_saved(tmp_path):
    shared = torch.ones(2, 6, dtype=torch.bool)
    m.save({"a": shared[:, :3], "b": shared[:, 3:], "c": shared}, tmp_path / "shared")
    assert m.load(tmp_path / "shared")["b"].shape == (2, 3)


def test_a_failed_save_leaves_nothing_and_keeps_what_was_there(tmp_path, monkeypatch):
    m.save(KEPTS, tmp_path / "kept")
    before = (tmp_path / "kept").read_bytes()
    with pytest.raises(ValueError, match="float32"):
        m.save({"w": torch.ones(2, 2)}, tmp_path / "kept")

    def break_off(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", break_off)
    with pytest.raises(OSError, match="disk full"):
        m.save(KEPTS, tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"] and (tmp_path / "kept").read_bytes() == before


def test_damaged_mask_files_are_named(tmp_path):
    path = tmp_path / "kept.safetensors"
    with pytest.raises(FileNotFoundError, match="kept.safetensors"):
        m.load(path)
    m.save(KEPTS, path)
    whole = path.read_bytes()
    for damaged in (b"", b"nonsense", whole[:-1], b"\xff" * 64):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="kept.safetensors"):
            m.load(path)
    files.write(path, "masks", {"w": torch.ones(2, 2)})
    with pytest.raises(ValueError, match="'w'.*float32"):
        m.load(path)


def test_shuffle_keeps_the_count_of_each_layer_and_draws_the_places():
    kept = {"a": torch.rand(3, 8, 9, generator=torch.Generator().manual_seed(0)) < 0.3, "b": torch.ones(3, 4).bool()}
    before = clone(kept)
    found = m.shuffle(kept, streams(range(3), "action"))
    assert same_bits(kept, before) and torch.equal(found["b"], kept["b"])
    assert torch.equal(found["a"].flatten(1).sum(1), kept["a"].flatten(1).sum(1))
    assert all(not torch.equal(*pair) for pair in zip(found["a"], kept["a"], strict=True))
    assert same_bits(found, m.shuffle(kept, streams(range(3), "action")))
    alone = m.shuffle({name: mask[1:2] for name, mask in kept.items()}, streams([1], "action"))
    assert torch.equal(alone["a"][0], found["a"][1])


def test_shuffle_puts_a_weight_anywhere():
    one = torch.zeros(4000, 2, 2, dtype=torch.bool)
    one[:, 0, 0] = True
    places = m.shuffle({"a": one}, streams(range(4000), "action"))["a"].flatten(1).sum(0)
    assert ((places - 1000).abs() < 120).all() and places.sum() == 4000  # four standard deviations


def test_shuffle_needs_a_generator_for_each_replicate():
    with pytest.raises(ValueError, match="1 generators for 2 replicates"):
        m.shuffle({"a": torch.ones(2, 3).bool()}, streams([0], "action"))
