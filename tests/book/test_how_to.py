"""The Python of the how-to page and the README runs: three seeds and two epochs keep it quick."""

import re
import runpy
from functools import partial
from pathlib import Path

import pytest

import lthkit

ROOT = Path(__file__).parents[2]
INSTALLS = ("README.md", "book/index.md", "book/how_to.md")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs all Python blocks of a page in order, as one program, in an empty folder; returns what it prints."""

    def run_page(name: str) -> str:
        blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)
        program = "\n".join(blocks)
        assert "seeds=range(10)" in program
        (tmp_path / "program.py").write_text(program.replace("seeds=range(10)", "seeds=range(3)"))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(lthkit.lottery, "search", partial(lthkit.lottery.search, epochs=2))
        runpy.run_path("program.py")
        return capsys.readouterr().out

    return run_page


def test_the_code_of_the_how_to_page_runs(run, tmp_path):
    printed = run("book/how_to.md")
    for expected in (
        "test_accuracy",
        ": a ticket beats fresh weights under its own masks",
        "3.5 % kept",
        "'fc1.weight': (300, 64)",
        "400 / 100 / 100 images of 1×12×12",
        "in_features=144",
    ):
        assert expected in printed
    assert (tmp_path / "my_run").is_dir() and (tmp_path / "ticket.safetensors").is_file()


def test_the_code_of_the_readme_runs(run):
    assert "mean" in run("README.md")


@pytest.mark.parametrize("name", INSTALLS)
def test_a_page_says_once_how_to_install(name):
    assert len(re.findall(r"lthkit @ git\+\S+@v", (ROOT / name).read_text())) == 1
