"""Every listed wrong answer meets its hint, every correct variant passes; blanks, crashes and loops are told apart."""

import importlib
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lthkit.exercises import judge as module
from lthkit.exercises.guard import alike, copied
from lthkit.exercises.judge import CORRECT, CRASHED, NOT_ATTEMPTED, NOTED, WRONG, judge
from lthkit.exercises.task import task, tasks

SEEDS = range(20)
ANSWERS = [importlib.import_module(f.stem) for f in sorted(Path(__file__).parent.glob("answers_*.py"))]
WRONG_ANSWERS = [(id, *case) for module in ANSWERS for id, cases in module.WRONG.items() for case in cases]
RIGHT_ANSWERS = [(id, answer) for module in ANSWERS for id, answers in module.RIGHT.items() for answer in answers]
FUNCTIONS = [id for id, asked in tasks().items() if asked.reference]


def name(value):
    return getattr(value, "__name__", None)


def done(task):
    """What a right answer is called."""
    return NOTED if task.kind == "predict" else CORRECT


@pytest.mark.parametrize(("id", "answer", "hint"), WRONG_ANSWERS, ids=name)
def test_a_wrong_answer_meets_its_own_hint(id, answer, hint):
    for seed in SEEDS:
        judgement = judge(task(id), answer, seed)
        assert judgement.status == WRONG, (seed, judgement)
        assert hint in judgement.mistake, (seed, judgement)
        assert task(id).reference is None or judgement.counterexample["input"]


@pytest.mark.parametrize(("id", "answer"), RIGHT_ANSWERS, ids=name)
def test_a_correct_variant_passes(id, answer):
    for seed in SEEDS:
        judgement = judge(task(id), answer, seed)
        assert judgement.status == done(task(id)), (seed, judgement)


@pytest.mark.parametrize("id", tasks())
def test_the_reference_solution_passes_and_the_lists_are_long_enough(id):
    asked = task(id)
    for seed in SEEDS:
        assert judge(asked, asked.reference or asked.answer, seed).status == done(asked)
    assert len([i for i, *_ in WRONG_ANSWERS if i == id]) >= (5 if asked.reference else 3)
    assert len([i for i, _ in RIGHT_ANSWERS if i == id]) >= (2 if asked.reference else 1)


@pytest.mark.parametrize("id", [id for id in tasks() if task(id).faulty])
def test_the_faulty_function_does_not_pass(id):
    assert all(judge(task(id), task(id).faulty, seed).status in (WRONG, CRASHED) for seed in SEEDS)


@pytest.mark.parametrize("id", FUNCTIONS)
def test_each_check_draws_new_inputs_from_its_seed(id):
    first, again, other = (task(id).trials(np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert alike(first, again)
    assert not alike(first, other)


@pytest.mark.parametrize("id", FUNCTIONS)
def test_blank_crash_and_nonsense_are_told_apart(id):
    def blank(*args):
        """What to do."""
        ...  # noqa: PIE790

    def half_done(*args):
        result = ...
        return result

    def crashes(*args):
        raise KeyError("not there")

    def exits(*args):
        raise SystemExit

    for unanswered in (None, ..., blank, half_done):
        assert judge(task(id), unanswered, 0).status == NOT_ATTEMPTED
    judgement = judge(task(id), crashes, 0)
    assert (judgement.status, judgement.mistake) == (CRASHED, "crash")
    assert "KeyError" in judgement.message and 'raise KeyError("not there")' in judgement.message
    assert judge(task(id), exits, 0).status == CRASHED
    assert judge(task(id), 3, 0).status == WRONG
    for nonsense in (
        object(),
        "text",
        [[1, 2], [3]],
        {"a": 1},
        torch.ones(3, 1, 4, dtype=torch.complex64),
        float("nan"),
    ):
        assert judge(task(id), lambda *args, returned=nonsense: returned, 0).status == WRONG


@pytest.mark.parametrize("id", [id for id in tasks() if not task(id).reference])
def test_values_that_make_no_sense_are_wrong_and_blanks_are_not_attempted(id):
    for nonsense in (object(), "text", (), {}, [[1]], torch.ones(2), float("nan"), lambda: 3):
        assert judge(task(id), nonsense, 0).status in (WRONG, NOT_ATTEMPTED)
    for unanswered in (None, ..., [..., 1], {"A": ...}):
        assert judge(task(id), unanswered, 0).status == NOT_ATTEMPTED


def test_an_endless_loop_is_stopped_and_its_line_named(monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 0.3)

    def endless(weights, mask, rate):
        while True:
            try:
                rate += 1
            except Exception:  # noqa: BLE001, S112
                continue

    begin = time.monotonic()
    judgement = judge(task("1.1"), endless, 0)
    assert time.monotonic() - begin < 3
    assert (judgement.status, judgement.mistake) == (CRASHED, "endless")
    assert "still running" in judgement.message


def test_a_seed_may_be_as_large_as_one_likes():
    assert judge(task("1.1"), task("1.1").reference, 2**70).status == CORRECT


def test_an_answer_is_judged_on_one_thread_and_the_reader_keeps_theirs():
    before, seen = torch.get_num_threads(), set()

    def counts(weights, mask, rate):
        seen.add(torch.get_num_threads())
        raise ValueError

    torch.set_num_threads(2)
    try:
        assert judge(task("1.1"), counts, 0).status == CRASHED
        assert (seen, torch.get_num_threads()) == ({1}, 2)
    finally:
        torch.set_num_threads(before)


def test_a_copy_knows_its_original_and_a_new_parameter_does_not():
    layer = torch.nn.Linear(2, 1)
    (twin,) = copied((layer,))
    assert [p.original is q for p, q in zip(twin.parameters(), layer.parameters(), strict=True)] == [True, True]
    assert not hasattr(torch.nn.Parameter(twin.weight.detach()), "original")


def test_a_check_changes_nothing_of_the_reader(monkeypatch):
    answer = {letter: "less" for letter in "ABCDE"}
    before = copied(answer)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    judge(task("1.4"), answer, 0)
    judge(task("1.1"), lambda w, m, r: torch.rand(2), 0)
    assert torch.equal(torch.rand(3), expected)
    assert answer == before
