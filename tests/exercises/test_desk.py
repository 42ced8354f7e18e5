"""The reader's side: what check, hint, solution, mine and progress show, and what they keep."""

import json

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from lthkit.exercises import ch01, check, desk, guess, hint, mine, progress, solution
from lthkit.exercises.task import task


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    for name in ("_judgements", "_passed", "_hints_given"):
        monkeypatch.setattr(desk, name, {})
    for name in ("LTHKIT_BOOK", "LTHKIT_RESULTS"):
        monkeypatch.delenv(name, raising=False)


def keeps_all(weights, mask, rate):
    return mask.clone()


def blank(weights, mask, rate):
    """Prune."""


def test_each_verdict_is_one_short_text(capsys):
    check("1.1")
    check("1.1", blank)
    assert capsys.readouterr().out == "1.1 not attempted\n" * 2
    check("1.1", ch01.prune_layer)
    assert capsys.readouterr().out == f"1.1 correct: {task('1.1').next}\n"
    check("1.1", keeps_all, seed=3)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("1.1 wrong: No weight is removed.")
    assert [line.split()[0] for line in rest] == ["input", "expected", "got", "the"]
    assert "weights = [[" in rest[0] and "rate = 0.5" in rest[0] and "seed=3" in rest[-1]
    check("1.1", lambda *args: 1 / 0)
    assert capsys.readouterr().out.startswith("1.1 crashed: ZeroDivisionError: division by zero, in your line `")


def test_the_seed_repeats_the_inputs(capsys):
    for seed in (3, 3, 4):
        check("1.1", keeps_all, seed=seed)
    first, second, third = capsys.readouterr().out.strip().split("1.1 wrong")[1:]
    assert first.strip() == second.strip() != third.strip()


def test_an_unknown_task_is_named_and_check_does_not_raise(capsys):
    for id in ("9.99", None, ["1.1"]):
        check(id, 3)
        assert f"unknown task {id!r}: known are" in capsys.readouterr().out
    check("1.1", keeps_all, seed=-1)
    assert "the seed must be a whole number of at least 0, got -1" in capsys.readouterr().out
    for function in (hint, solution, mine):
        with pytest.raises(ValueError, match=r"unknown task '9\.99'"):
            function("9.99")


def test_hints_come_one_by_one_and_end_with_the_way_to_the_solution(capsys):
    hints = task("1.1").hints
    for number, text in enumerate([*hints, hints[-1]], start=1):
        hint("1.1")
        out = capsys.readouterr().out
        assert out.startswith(f"Hint {min(number, len(hints))} of {len(hints)}: {text}")
        assert ('solution("1.1")' in out) == (number >= len(hints))


def test_the_solution_is_the_source_of_the_reference_with_its_reason(capsys):
    solution("1.1")
    out = capsys.readouterr().out
    assert out.startswith("def prune_layer(weights, mask, rate):\n") and task("1.1").why in out
    assert compile(task("1.1").solution(), "solution", "exec")
    solution("1.0")
    assert "prediction" in capsys.readouterr().out


def test_mine_is_the_answer_only_while_it_passes_and_says_which(capsys):
    def my_own(weights, mask, rate):
        return ch01.prune_layer(weights, mask, rate)

    assert mine("1.1") is ch01.prune_layer and "reference" in capsys.readouterr().out
    check("1.1", my_own)
    assert mine("1.1") is my_own and "1.1: your answer" in capsys.readouterr().out
    check("1.1", keeps_all)
    assert mine("1.1") is ch01.prune_layer
    assert mine("1.0") is None and "no guess" in capsys.readouterr().out
    check("1.0", (512, 80, 1))
    assert mine("1.0") == (512, 80, 1)
    assert mine("1.4") == task("1.4").answer


def test_a_guess_of_the_right_form_is_noted_and_not_called_correct(capsys):
    check("2.0", 400)
    assert capsys.readouterr().out.startswith("2.0 wrong")
    check("2.0", 8)
    assert capsys.readouterr().out == f"2.0 noted: {task('2.0').next}\n"
    assert "Noted" not in task("2.0").next
    assert progress().verdict["2.0"] == "noted" and mine("2.0") == 8


def told(capsys, *args, **kwargs) -> list[str]:
    capsys.readouterr()
    guess(*args, **kwargs)
    return capsys.readouterr().out.splitlines()


def test_a_guess_stands_beside_what_was_measured(capsys):
    assert told(capsys, "2.0", 15.3) == ["no guess noted; measured: +15.3 points"]
    check("2.0", 8)
    assert told(capsys, "2.0", 15.3) == ["your guess: 8 points; measured: +15.3 points; 7.3 apart"]
    assert told(capsys, "2.0", np.float32(-2)) == ["your guess: 8 points; measured: -2 points; 10 apart"]
    check("2.0", "eight")
    assert told(capsys, "2.0", torch.tensor(15.3)) == ["no guess noted; measured: +15.3 points"]
    check("8.0", 30)
    assert told(capsys, "8.0", 81.24, "%") == ["your guess: 30 %; measured: 81.2 %; 51.2 apart"]
    with pytest.raises(ValueError, match="unknown task"):
        guess("9.99", 3)


def test_a_guess_of_several_values_has_a_line_for_each(capsys):
    names = ("SGD", "SGD + weight decay", "Adam, with history")
    check("4.0", dict(zip(names, (False, True, False))))
    assert told(capsys, "4.0", dict(zip(names, (False, np.True_, True)))) == [
        "SGD: your guess: False; measured: False; as guessed",
        "SGD + weight decay: your guess: True; measured: True; as guessed",
        "Adam, with history: your guess: False; measured: True; not as guessed",
    ]
    check("6.0", (10, 5, 5))
    assert told(capsys, "6.0", {"both": 12.04, "magnitudes": 5, "signs": 1.5}) == [
        "both: your guess: 10 points; measured: +12 points; 2 apart",
        "magnitudes: your guess: 5 points; measured: +5 points; 0 apart",
        "signs: your guess: 5 points; measured: +1.5 points; 3.5 apart",
    ]
    check("3.0", ("gradient", 5, 3))
    assert told(capsys, "3.0", "gradient", part=0)[0].endswith("measured: gradient; as guessed")
    assert told(capsys, "3.0", 2, "", part=2) == ["your guess: 3; measured: 2; 1 apart"]
    desk._passed["5.0"] = (("a", "b", "c"), 5)
    assert told(capsys, "5.0", ["a", "c", "b"], part=0) == [
        "your guess: a, b, c; measured: a, c, b; 1 of 3 in their places"
    ]
    desk._passed.clear()
    assert told(capsys, "3.0", 2, "", part=2) == ["no guess noted; measured: 2"]
    assert told(capsys, "4.0", {"SGD": True}) == ["SGD: no guess noted; measured: True"]


def test_the_book_shows_what_was_measured_and_no_guess(monkeypatch, capsys):
    check("2.0", 8)
    monkeypatch.setenv("LTHKIT_BOOK", "1")
    assert told(capsys, "2.0", 15.3) == ["measured: +15.3 points"]
    assert told(capsys, "4.0", {"SGD": True}) == ["SGD: measured: True"]


def test_progress_lists_the_tasks_of_the_lab_with_their_last_verdicts():
    check("1.1", ch01.prune_layer)
    check("1.3", ch01.keep_best_faulty)
    table = progress()
    assert list(table.index) == ["1.0", "1.1", "1.2", "1.3", "1.4"]
    assert table.verdict["1.1"] == "correct" and table.verdict["1.2"] == "not attempted"
    assert table.verdict["1.3"] in ("wrong", "crashed")


def test_the_book_shows_nothing_of_tasks_that_nobody_attempted(monkeypatch, capsys):
    monkeypatch.setenv("LTHKIT_BOOK", "1")
    check("1.1", blank)
    mine("1.1")
    assert progress() is None
    assert capsys.readouterr().out == ""
    check("1.1", keeps_all)
    assert "wrong" in capsys.readouterr().out


def test_verdicts_are_recorded_as_lines_of_json(monkeypatch, tmp_path):
    monkeypatch.setenv("LTHKIT_RESULTS", str(tmp_path / "results.jsonl"))
    check("1.1", blank)
    check("1.1", ch01.prune_layer, seed=7)
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["not attempted", "correct"]
    assert lines[1] == {"id": "1.1", "status": "correct", "message": task("1.1").next, "seed": 7}


def test_in_a_notebook_the_verdict_is_a_coloured_line_and_text():
    InteractiveShell.instance()
    try:
        with capture_output() as captured:
            check("1.4", dict.fromkeys("ABCDE", "<b>"))
    finally:
        InteractiveShell.clear_instance()
    (output,) = captured.outputs
    assert output.data["text/plain"].startswith("1.4 wrong: A: answer")
    assert desk.COLOURS["wrong"] in output.data["text/html"]
    assert "&lt;b&gt;" in output.data["text/html"] and "<b>" not in output.data["text/html"]
