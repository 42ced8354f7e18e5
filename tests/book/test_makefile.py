"""The Makefile's own logic, in a copy where the environment counts as ready."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    outer = ("MAKE", "MFLAGS", "PYTHON", "TORCH_INDEX")  # these tests may run below `make test`
    env = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
    return subprocess.run(["make", *arguments], check=False, cwd=folder, capture_output=True, text=True, env=env)


@pytest.fixture
def tree(tmp_path):
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks/01_a.ipynb").write_text("from the course")
    (tmp_path / "notebooks/02_b.ipynb").write_text("from the course")
    return tmp_path


@pytest.fixture
def ready(tree):
    (tree / ".venv").mkdir()
    (tree / ".venv/ready").touch()
    return tree


def test_make_alone_lists_every_target(tree):
    listed = make(tree).stdout
    for target in ("book", "test", "unit", "lab", "write", "browser", "kill-table", "clean"):
        assert f"make {target} " in listed
    assert not (tree / ".venv").exists()


def test_make_lab_never_overwrites_a_readers_copy(ready):
    (ready / "work").mkdir()
    (ready / "work/01_a.ipynb").write_text("my answers")
    said = make(ready, "lab", "LAB=true").stdout
    assert (ready / "work/01_a.ipynb").read_text() == "my answers"
    assert (ready / "work/02_b.ipynb").read_text() == "from the course"
    assert said.split() == ["kept", "work/01_a.ipynb", "copied", "work/02_b.ipynb"]


def test_an_old_python_is_refused_in_one_line(tree):
    old = tree / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = make(tree, "book", f"PYTHON={old}")
    assert done.returncode != 0
    first, *rest = done.stderr.splitlines()
    assert "Needs Python 3.11 or newer with its venv module" in first
    assert not [line for line in rest if not line.startswith("make")]
    assert not (tree / ".venv").exists()


def test_torch_comes_first_from_the_index_that_is_asked_for(tree):
    plan = make(tree, "-n", "book", "TORCH_INDEX=https://example.org/cpu").stdout
    assert plan.index("--index-url https://example.org/cpu") < plan.index("-r requirements.txt")
    assert "--index-url" not in make(tree, "-n", "book").stdout


def test_solutions_can_be_left_out_of_the_book(ready):
    assert "LTHKIT_SOLUTIONS=1 .venv/bin/jupyter-book" in make(ready, "-n", "book").stdout
    assert "LTHKIT_SOLUTIONS=0 .venv/bin/jupyter-book" in make(ready, "-n", "book", "SOLUTIONS=0").stdout
