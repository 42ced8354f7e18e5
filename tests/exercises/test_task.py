"""What each chapter's goals and each of its tasks must hold."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

from lthkit.exercises.task import KINDS, task, tasks

ROOT = Path(__file__).parents[2]


def test_goals_and_tasks_belong_to_each_other():
    import lthkit.exercises as package

    for module in pkgutil.iter_modules(package.__path__):
        if module.name.startswith("ch"):
            chapter = importlib.import_module(f"{package.__name__}.{module.name}")
            assert {asked.goal for asked in chapter.TASKS} == set(chapter.GOALS)
            first = int(chapter.TASKS[0].id.split(".")[1])
            numbers = range(first, first + len(chapter.TASKS))
            assert [asked.id for asked in chapter.TASKS] == [f"{int(module.name[2:])}.{n}" for n in numbers]
            if module.name > "ch00":
                assert len(chapter.TASKS) >= 4
                assert {asked.kind for asked in chapter.TASKS} >= {"predict", "interpret"}


@pytest.mark.parametrize("id", tasks())
def test_a_task_is_complete(id):
    asked = task(id)
    assert asked.kind in KINDS and asked.difficulty in ("easy", "medium", "hard") and asked.minutes > 0
    assert len(asked.hints) >= 2 and asked.why and asked.next
    if asked.reference:
        assert asked.trials and "self" not in inspect.signature(asked.reference).parameters
        assert (asked.faulty is not None) == (asked.kind == "find the bug")
        assert not any(asked.solution() in text for text in (*asked.hints, asked.next))


@pytest.mark.parametrize("id", tasks())
def test_a_prediction_and_no_other_task_names_what_gives_its_answer_away(id):
    asked = task(id)
    assert bool(asked.reveals) == (asked.kind == "predict") and len(set(asked.reveals)) == len(asked.reveals)
    texts = [path.read_text() for path in ROOT.glob(f"*/{asked.chapter:02}_*") if path.suffix in (".md", ".ipynb")]
    assert len(texts) == 2
    assert [key for key in asked.reveals if not any(re.search(rf'(`|}} |"){key}\b', text) for text in texts)] == []
