"""Every listed wrong answer meets its own hint, every correct variant passes, and blanks, crashes and loops are told apart."""

import importlib
import inspect
import pkgutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lthkit.exercises import engine
from lthkit.exercises.engine import CORRECT, CRASHED, NOT_ATTEMPTED, WRONG, judge, task, tasks
from lthkit.exercises.guard import alike, copied

SEEDS = range(20)
ANSWERS = [importlib.import_module(f.stem) for f in sorted(Path(__file__).parent.glob("answers_*.py"))]
WRONG_ANSWERS = [(id, *case) for module in ANSWERS for id, cases in module.WRONG.items() for case in cases]
RIGHT_ANSWERS = [(id, answer) for module in ANSWERS for id, answers in module.RIGHT.items() for answer in answers]
FUNCTIONS = [id for id, asked in tasks().items() if asked.reference]


def name(value):
    return getattr(value, "__name__", None)


@pytest.mark.parametrize(("id", "answer", "hint"), WRONG_ANSWERS, ids=name)
def test_a_wrong_answer_meets_its_own_hint(id, answer, hint):
    for seed in SEEDS:
        verdict = judge(task(id), answer, seed)
        assert verdict.status == WRONG, (seed, verdict)
        assert hint in verdict.mistake, (seed, verdict)
        assert task(id).reference is None or verdict.counterexample["input"]


@pytest.mark.parametrize(("id", "answer"), RIGHT_ANSWERS, ids=name)
def test_a_correct_variant_passes(id, answer):
    for seed in SEEDS:
        verdict = judge(task(id), answer, seed)
        assert verdict.status == CORRECT, (seed, verdict)


@pytest.mark.parametrize("id", tasks())
def test_the_reference_solution_passes_and_the_lists_are_long_enough(id):
    asked = task(id)
    for seed in SEEDS:
        assert judge(asked, asked.reference or asked.answer, seed).status == CORRECT
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
    verdict = judge(task(id), crashes, 0)
    assert (verdict.status, verdict.mistake) == (CRASHED, "crash")
    assert "KeyError" in verdict.message and 'raise KeyError("not there")' in verdict.message
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
    monkeypatch.setattr(engine, "LIMIT", 0.3)

    def endless(weights, mask, rate):
        while True:
            try:
                rate += 1
            except Exception:  # noqa: BLE001, S112
                continue

    begin = time.monotonic()
    verdict = judge(task("1.1"), endless, 0)
    assert time.monotonic() - begin < 3
    assert (verdict.status, verdict.mistake) == (CRASHED, "endless")
    assert "still running" in verdict.message


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


def test_goals_and_tasks_belong_to_each_other():
    import lthkit.exercises as package

    for module in pkgutil.iter_modules(package.__path__):
        if module.name.startswith("ch"):
            chapter = importlib.import_module(f"{package.__name__}.{module.name}")
            assert {asked.goal for asked in chapter.TASKS} == set(chapter.GOALS)
            assert [asked.id for asked in chapter.TASKS] == [f"{int(module.name[2:])}.{n}" for n in
                    range(int(chapter.TASKS[0].id.split(".")[1]), len(chapter.TASKS) + int(chapter.TASKS[0].id.split(".")[1]))]  # fmt: skip
            if module.name > "ch00":
                assert len(chapter.TASKS) >= 4
                assert {asked.kind for asked in chapter.TASKS} >= {"predict", "interpret"}


@pytest.mark.parametrize("id", tasks())
def test_a_task_is_complete(id):
    asked = task(id)
    assert asked.kind in engine.KINDS and asked.difficulty in ("easy", "medium", "hard") and asked.minutes > 0
    assert len(asked.hints) >= 2 and asked.why and asked.next
    if asked.reference:
        assert asked.trials and "self" not in inspect.signature(asked.reference).parameters
        assert (asked.faulty is not None) == (asked.kind == "find the bug")
        assert not any(asked.solution() in text for text in (*asked.hints, asked.next))
