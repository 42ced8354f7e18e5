"""Each lab and its chapter's tasks belong together, and a lab with the reference solutions filled in is all correct."""

import ast
import importlib
import inspect
import re
import textwrap
from pathlib import Path

import nbformat
import papermill
import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from lthkit.exercises.grade import FINISHED, checked, grade
from lthkit.exercises.judge import DONE
from lthkit.exercises.task import Task, tasks

ROOT = Path(__file__).parents[2]
LABS = sorted(ROOT.glob("notebooks/[0-9]*.ipynb"))
APPENDICES = sorted(ROOT.glob("notebooks/A*.ipynb"))
HEADINGS = {
    "predict": "Predict {id}: {title} ({difficulty}, {minutes} minutes)",
    "build": "Exercise {id}: {title} (build, {difficulty}, {minutes} minutes)",
    "find the bug": "Exercise {id}: {title} (find the bug, {difficulty}, {minutes} minutes)",
    "interpret": "Interpret {id}: {title} ({difficulty}, {minutes} minutes)",
}

of_every_lab = pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.stem)


def tasks_of(lab: Path) -> list[Task]:
    return [task for task in tasks().values() if task.chapter == int(lab.name[:2])]


def places(lab: Path) -> list[tuple[str, str]]:
    """(id, source of the cell that checks it) for each check of a lab, in order."""
    sources = [cell.source for cell in nbformat.read(lab, as_version=4).cells if cell.cell_type == "code"]
    return [(id, source) for source in sources for id in checked(source)]


PLACES = [pytest.param(*place, id=place[0]) for lab in LABS for place in places(lab)]


def call_of_check(source: str) -> ast.Call:
    """The `check(...)` that a cell ends with."""
    last = ast.parse(source).body[-1]
    assert isinstance(last, ast.Expr) and isinstance(last.value, ast.Call), source
    assert last.value.func.id == "check", source
    return last.value


def defined(source: str) -> dict[str, tuple[str, list[str]]]:
    """The functions of a cell: by name, their source and the names of their arguments."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return {f.name: (ast.get_source_segment(source, f), [a.arg for a in f.args.args]) for f in functions}


@of_every_lab
def test_a_lab_checks_the_tasks_of_its_chapter_in_their_order(lab):
    assert [id for id, _ in places(lab)] == [task.id for task in tasks_of(lab)]
    assert tasks_of(lab)


@pytest.mark.parametrize("lab", APPENDICES, ids=lambda lab: lab.stem)
def test_an_appendix_asks_nothing(lab):
    assert places(lab) == []


def test_each_chapter_with_tasks_has_a_lab():
    assert {task.chapter for task in tasks().values()} == {int(lab.name[:2]) for lab in LABS}


@pytest.mark.parametrize("task", tasks().values(), ids=tasks())
def test_a_heading_says_number_title_kind_difficulty_and_minutes(task):
    assert f"{task.label}: {task.heading}" == HEADINGS[task.kind].format(**vars(task))


@pytest.mark.parametrize(("id", "source"), PLACES)
def test_the_cell_of_a_task_ends_with_its_only_check_and_holds_its_function(id, source):
    task = tasks()[id]
    call = call_of_check(source)
    assert checked(source) == [id] and call.args[0].value == id and len(call.args) == 2
    if task.reference is None:
        return
    blank, arguments = defined(source)[call.args[1].id]
    assert call.args[1].id == task.reference.__name__
    assert arguments == list(inspect.signature(task.reference).parameters)
    assert ast.get_docstring(ast.parse(blank).body[0]), f"{id}: a docstring says what to return"
    if task.faulty:
        assert task.faulty_source() == textwrap.dedent(inspect.getsource(task.faulty)).strip()
    else:
        assert task.faulty_source() == ""


@of_every_lab
def test_the_chapter_promises_what_the_tasks_practise(lab):
    (page,) = ROOT.glob(f"book/{lab.name[:2]}_*.md")
    (promise,) = [line for line in page.read_text().splitlines() if line.startswith("**After this chapter you can**")]
    goals = importlib.import_module(f"lthkit.exercises.ch{lab.name[:2]}").GOALS
    assert [goal for goal in goals if goal in promise] == list(goals)


@of_every_lab
def test_a_lab_imports_the_exercises_and_ends_with_the_progress(lab):
    sources = [cell.source for cell in nbformat.read(lab, as_version=4).cells if cell.cell_type == "code"]
    imported = re.compile(r"from lthkit\.exercises import check, (guess, )?hint, mine, progress, solution\n")
    assert any(map(imported.search, sources))
    assert sources[-1].splitlines()[-1] == "progress()"


def filled(source: str) -> str:
    """A cell with the reference solution put in before its check, under the name that is used there."""
    if not checked(source):
        return source
    call, (id,) = call_of_check(source), checked(source)
    task, lines = tasks()[id], source.splitlines()
    if task.reference is None:
        answer = f"{ast.unparse(call.args[1])} = {task.answer!r}"
    else:
        answer = f"{task.solution()}\n\n\n{call.args[1].id} = {task.reference.__name__}"
    patience = "__import__('lthkit.exercises.judge').exercises.judge.LIMIT = 60"  # beside another lab, 4 s may not do
    return "\n".join([*lines[: call.lineno - 1], patience, answer, *lines[call.lineno - 1 :]])


def test_how_a_cell_is_filled_in():
    assert filled("x = 1") == "x = 1"
    assert filled('a = None\nb = None\nc = None\ncheck("1.0", (a, b, c))').endswith(
        '(a, b, c) = (400, 30, 2)\ncheck("1.0", (a, b, c))'
    )
    source = filled('def mine(weights, mask, rate):\n    """Prune."""\n    ...\n\n\ncheck("1.1", mine)')
    assert source.endswith('    return new_mask\n\n\nmine = prune_layer\ncheck("1.1", mine)')
    assert compile(source, "cell", "exec")


@pytest.mark.labs
@of_every_lab
def test_a_lab_with_the_reference_solutions_is_all_correct(lab, tmp_path):
    takes = papermill.inspect_notebook(str(lab))
    small = {"seeds": [0, 1, 2], "epochs": 2, "long_epochs": 2, "end_epochs": 3}
    notebook = parameterize_notebook(load_notebook_node(str(lab)), {k: v for k, v in small.items() if k in takes})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = filled(cell.source)
    nbformat.write(notebook, tmp_path / lab.name)
    done = grade(tmp_path / lab.name, time_limit=300)
    assert done.raised == []
    assert done.ended == FINISHED
    assert {id: judgement.message for id, judgement in done.judgements.items() if judgement.status not in DONE} == {}
    assert list(done.judgements) == [task.id for task in tasks_of(lab)]
