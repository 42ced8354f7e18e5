"""Randomness: one CPU generator for each (seed, purpose, round).

Arms of an experiment that ask for the same stream see the same draw, so that they differ in nothing but what they test.
Nothing in `lthkit` reads torch's global random state.
"""

import hashlib
import random
from collections.abc import Iterable
from operator import index

import numpy as np
import torch

PURPOSES = ("init", "batches", "ties", "action", "sample")


def stream(seed: int, purpose: str, round: int = 0) -> torch.Generator:
    """A fresh CPU generator at the start of the stream (seed, purpose, round).

    Raises ValueError for a purpose that is not in `PURPOSES`.
    """
    if purpose not in PURPOSES:
        raise ValueError(f"unknown purpose {purpose!r}: known are {', '.join(PURPOSES)}")
    # A hash spreads neighbouring seeds over the whole range; torch seeds a generator poorly from small numbers.
    digest = hashlib.sha256(f"{index(seed)}/{purpose}/{index(round)}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def streams(seeds: Iterable[int], purpose: str, round: int = 0) -> list[torch.Generator]:
    """One generator a replicate, in the order of `seeds`."""
    return [stream(seed, purpose, round) for seed in seeds]


def global_states(device: torch.device) -> dict[str, object]:
    """Where the generators stand that belong to all of a program: comparing two answers shows who drew from them."""
    states = [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]
    drawn = {"torch": [state.numpy().tobytes() for state in states]}
    _, numbers, *rest = np.random.get_state()
    return drawn | {"NumPy": [numbers.tobytes(), *rest], "random": random.getstate()}


def as_seeds(seeds: int | Iterable[int]) -> list[int]:
    """The seeds as a list of distinct ints.  A single int stands for one replicate.

    Raises ValueError for an empty, repeated or non-integer seed: a repeated seed would count one run twice; and for
    one that the tables' 64 bits do not hold.
    """
    try:
        listed = [index(seeds)] if not isinstance(seeds, Iterable) else [index(seed) for seed in seeds]
    except TypeError:
        raise ValueError(f"seeds must be integers, got {seeds!r}") from None
    if not listed:
        raise ValueError("seeds is empty: give at least one, as in seeds=range(10)")
    if wide := [seed for seed in listed if not -(2**63) <= seed < 2**63]:
        raise ValueError(f"seeds must lie within 64 bits, from −2⁶³ to 2⁶³ − 1, got {wide}")
    if len(set(listed)) != len(listed):
        raise ValueError(f"seeds repeat: {listed}; each replicate needs its own")
    return listed
