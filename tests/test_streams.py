"""One stream a (seed, purpose, round), and nothing of torch's global random state."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from lthkit.streams import PURPOSES, as_seeds, stream, streams

from .oracles import examples

triples = st.tuples(st.integers(-5, 2**40), st.sampled_from(PURPOSES), st.integers(0, 30))


def draw(generator: torch.Generator) -> list[float]:
    return torch.rand(4, generator=generator).tolist()


@examples
@given(triples)
def test_a_stream_always_starts_at_its_start(triple):
    assert draw(stream(*triple)) == draw(stream(*triple))


@examples
@given(triples, triples)
def test_streams_differ_as_soon_as_seed_purpose_or_round_does(a, b):
    assume(a != b)
    assert draw(stream(*a)) != draw(stream(*b))


def test_neighbouring_seeds_rounds_and_purposes_share_no_draw():
    draws = {tuple(draw(stream(s, p, r))) for s in range(10) for p in PURPOSES for r in range(12)}
    assert len(draws) == 10 * len(PURPOSES) * 12


def test_global_random_state_is_neither_read_nor_moved():
    torch.manual_seed(0)
    before, first = torch.get_rng_state(), draw(stream(3, "init"))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert draw(stream(3, "init")) == first


def test_streams_are_in_the_order_of_the_seeds():
    assert [draw(g) for g in streams([5, 2], "ties", 1)] == [draw(stream(5, "ties", 1)), draw(stream(2, "ties", 1))]


def test_unknown_purpose_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'shuffle'.*init, batches, ties, action, sample"):
        stream(0, "shuffle")


@pytest.mark.parametrize(
    "given, expected",
    [(3, [3]), (range(3), [0, 1, 2]), ((7, 2), [7, 2]), (np.arange(2), [0, 1]), (torch.tensor([4, 1]), [4, 1]),
     (np.int64(6), [6]), ([2**63 - 1, -(2**63)], [2**63 - 1, -(2**63)]), (iter([1, 9]), [1, 9])],
)  # fmt: skip
def test_seeds_become_a_list_of_plain_ints(given, expected):
    found = as_seeds(given)
    assert found == expected and all(type(seed) is int for seed in found)


@pytest.mark.parametrize(
    "bad, said",
    [([], "empty"), (range(0), "empty"), ([1, 2, 1], r"\[1, 2, 1\]"), ([0.5], r"\[0.5\]"), (1.0, "1.0"),
     ("ab", "'ab'"), (None, "None"), ([3, 2**63], f"64 bits.*{2**63}"), (-(2**63) - 1, "64 bits")],
)  # fmt: skip
def test_bad_seeds_are_named(bad, said):
    with pytest.raises(ValueError, match=said):
        as_seeds(bad)
