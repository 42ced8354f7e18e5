"""`lthkit grade` on small notebooks: each verdict, cells that raise, loops, dead kernels, and what is no notebook."""

import json
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from lthkit import cli
from lthkit.exercises.grade import DIED, EXPIRED, FINISHED, checked, grade
from lthkit.exercises.task import task

# A check without the wait for torch: what `check` would record.
RECORD = """import json, os
def record(id, status, message=""):
    with open(os.environ["LTHKIT_RESULTS"], "a") as file:
        file.write(json.dumps({"id": id, "status": status, "message": message, "seed": 7}) + "\\n")
"""


@pytest.fixture
def notebook(tmp_path):
    def make(name: str, *sources: str) -> Path:
        cells = [nbformat.v4.new_markdown_cell("# Lab"), *map(nbformat.v4.new_code_cell, sources)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / name)
        return tmp_path / name

    return make


def run(*arguments: object):
    return CliRunner().invoke(cli.app, ["grade", *map(str, arguments)])


def test_each_task_gets_its_verdict_and_the_learners_folder_stays_as_it_is(notebook, tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    path = notebook(
        "01_masks.ipynb",
        "from lthkit.exercises import check",
        task("1.1").solution() + '\ncheck("1.1", prune_layer)\ncheck("1.1", lambda w, m, r: m.clone())',
        "import torch\n" + task("1.3").solution() + '\ncheck("1.3", keep_best)',
        'this raises\ncheck("1.4", 3)',
        'def crash(*args):\n    raise OSError(__import__("os").getcwd() + "/data")\ncheck("1.2", crash)',
        'open("left.txt", "w").write("x"); open("gone/x")',
        'import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show(); input("name?")',
        'check("1.0", (400, 30, 2))',
    )
    before = path.read_bytes()
    said = run(path, "--json", tmp_path / "verdicts.json")
    assert said.exit_code == 0, said.output
    found = json.loads((tmp_path / "verdicts.json").read_text())
    assert (found["notebook"], found["ended"]) == ("01_masks.ipynb", FINISHED)
    assert {row["id"]: row["status"] for row in found["tasks"]} == {
        "1.0": "noted", "1.1": "wrong", "1.2": "crashed", "1.3": "correct", "1.4": "not attempted",
    }  # fmt: skip
    crashed = next(row for row in found["tasks"] if row["id"] == "1.2")
    assert "OSError: ./data" in crashed["message"] and isinstance(crashed["seed"], int)
    assert [row["cell"] for row in found["raised"]] == [4, 6, 7]
    assert found["raised"][1]["error"] == "FileNotFoundError: [Errno 2] No such file or directory: 'gone/x'"
    lines = said.output.splitlines()
    assert lines[0] == "01_masks.ipynb: 2 of 5 tasks done"
    assert "1.3   correct        the layer that vanishes" in lines
    assert "Code cell 4 raised" in said.output
    for text in (said.output, json.dumps(found)):
        assert str(tmp_path) not in text
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["01_masks.ipynb", "shared", "verdicts.json"]
    assert not list(shared.iterdir())


def test_a_loop_that_never_ends_is_stopped_and_what_was_judged_counts(notebook):
    half = 'open(os.environ["LTHKIT_RESULTS"], "a").write(\'{"id": "1.4", "sta\')'
    path = notebook(
        "01_x.ipynb", f'{RECORD}record("1.3", "correct")\nrecord("9.9", "correct")\n{half}', "while True: pass"
    )
    found = grade(path, 6)
    assert found.ended == EXPIRED
    assert {id: judgement.status for id, judgement in found.judgements.items()} == {
        "1.0": "not attempted", "1.1": "not attempted", "1.2": "not attempted", "1.3": "correct",
        "1.4": "not attempted",
    }  # fmt: skip
    assert "Stopped after 6 s" in found.summary(6)


def test_a_kernel_that_dies_is_reported_and_only_json_reaches_the_output(notebook):
    name = "my answers.ipynb"
    path = notebook(name, f'{RECORD}record("1.1", "wrong", "Too few. Again.")', "os._exit(3)", 'check("1.2", 2)')
    said = run(path, "--json", "-")
    found = json.loads(said.stdout)
    assert said.exit_code == 0 and found["ended"] == DIED
    assert [row["id"] for row in found["tasks"]] == [id for id in ("1.0", "1.1", "1.2", "1.3", "1.4")]
    assert found["tasks"][1] == {
        "id": "1.1", "title": task("1.1").title, "kind": "build", "status": "wrong", "message": "Too few. Again.",
        "seed": 7,
    }  # fmt: skip
    assert said.stderr.startswith(f"{name}: 0 of 5 tasks done") and "The kernel died" in said.stderr


def test_a_notebook_without_a_chapter_has_no_tasks(notebook):
    said = run(notebook("99_notes.ipynb", "1 + 1"))
    assert said.exit_code == 0
    assert said.output == "99_notes.ipynb: 0 of 0 tasks done\n"


@pytest.mark.parametrize(
    "content, problem",
    [
        (None, "No such file or directory"),
        ("", "is no Jupyter notebook"),
        ("text", "is no Jupyter notebook"),
        ("[1]", "is no Jupyter notebook"),
        ("{}", "is no Jupyter notebook"),
        ('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": 3}', "is no Jupyter notebook"),
        ("\x00\xff", "is no Jupyter notebook"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(tmp_path, content, problem):
    path = tmp_path / "01_x.ipynb"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    said = run(path)
    assert (said.exit_code, said.stdout) == (2, "")
    assert problem in said.stderr and str(path) in said.stderr and said.stderr.count("\n") == 1


def test_what_is_missing_is_named_before_anything_runs(notebook, tmp_path, monkeypatch):
    path = notebook("01_x.ipynb", "while True: pass")
    said = run(path, "--json", tmp_path / "nowhere/verdicts.json")
    assert said.exit_code == 2 and "there is no such folder" in said.stderr
    monkeypatch.setitem(sys.modules, "nbclient", None)
    said = run(path)
    assert said.exit_code == 2 and said.stderr == 'grading needs nbclient: pip install "lthkit[grade]"\n'


def test_which_tasks_a_cell_checks():
    source = 'x = 3\ncheck("1.1", f)\n  check(\n  \'1.10\', g)\n# check("1.2", f)\nrecheck("1.3", f)\ncheck(id, f)'
    assert checked(source) == ["1.1", "1.10"]


def test_the_command_is_installed():
    (script,) = entry_points(group="console_scripts", name="lthkit")
    assert script.load() is cli.app
    assert "grade" in CliRunner().invoke(cli.app, ["--help"]).output
