"""What labs and pages repeat is up to date, and the command that writes it finds and mends each thing and only that."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from lthbook import repeats

import lthkit
from lthkit.exercises.task import Task, tasks

ROOT = Path(__file__).parents[2]
VERSION, URL = "1.2.3", "https://github.com/somebody/tickets"


def first_bug():
    def half_faulty(x):
        """x / 2."""
        return x // 2

    return half_faulty


def other_bug():
    def half_faulty(x):
        half = x >> 1

        return half

    return half_faulty


def half(x):
    return x / 2


GUESS = Task(
    id="1.0", kind="predict", title="what remains", goal="count what remains", difficulty="easy", minutes=2,
    hints=(), why="", next="", verify=lambda args, got: None, answer=3,
)  # fmt: skip
REPAIR = replace(
    GUESS, id="1.1", kind="find the bug", title="the half", goal='halve "exactly"', reference=half, faulty=first_bug()
)
TASKS = [GUESS, REPAIR]

CONFIG = """# the address
repository:
  url: {url}
  branch: {branch}
launch_buttons:
  colab_url: https://colab.example
"""
CITATION = f"""cff-version: 1.2.0
version: {VERSION}
repository-code: {URL}
# the end, without a new line"""
PAGES = {
    "README.md": f"""# Tickets

[Lab 1](https://colab.example/github/somebody/tickets/blob/main/notebooks/01_a.ipynb), or [another's](https://github.com/other/masks).

    pip install "lthkit @ git+{URL}@v{VERSION}"
""",
    "CONTRIBUTING.md": f"See [the wiki]({URL}/wiki), and [an issue]({URL}/issues/new).\r\nNo line end",
    "book/index.md": "[the repository](https://github.com/somebody/tickets), `lthkit` 1.2.3, tickets-extra\n",
    "book/how_to.md": f"```bash\ngit clone {URL}\ncd tickets\nmake lab\n```\n",
    "book/other.md": f"[Not ours]({URL}-extra)\n",
}
INSTALL = f"""# Installs lthkit where it is missing, as in Colab. A second run does nothing.
import importlib.util

if importlib.util.find_spec("lthkit") is None:
    %pip install -q "lthkit @ git+{URL}@v{VERSION}\""""
TITLE = """# Lab 1: a → b (10 minutes of work)

Work on a copy, or [open it in Colab](https://colab.example/github/somebody/tickets/blob/main/notebooks/01_a.ipynb)."""
REPAIRED = '''def half_faulty(x):
    """x / 2."""
    return x // 2


def half(x):
    """Half of x."""
    ...  # the blank


check("1.1", half)'''
CELLS = [
    ("markdown", TITLE),
    ("code", INSTALL),
    (
        "markdown",
        "Text.\n\n## 2 Predict 1.0: what remains (easy, 2 minutes)\n\n*Goal: count what remains.* And *then* some.",
    ),
    ("code", 'guess = ...\ncheck("1.0", guess)'),
    (
        "markdown",
        "### Exercise 1.1: the half (find the bug, easy, 2 minutes)\n\n"
        + f'*Goal: halve "exactly".* Repair it.\n\nOr open [an issue]({URL}/issues/new).',
    ),
    ("code", REPAIRED),
]


def notebook(cells: list[tuple[str, str]]) -> str:
    stored = [
        {"cell_type": kind, "id": f"a{n}", "metadata": {}} | ({"outputs": []} if kind == "code" else {})
        | {"source": source.splitlines(keepends=True)}
        for n, (kind, source) in enumerate(cells)
    ]  # fmt: skip
    return json.dumps({"cells": stored, "metadata": {"é": 1}, "nbformat": 4}, indent=1, ensure_ascii=False) + "\n"


@pytest.fixture
def tree(tmp_path):
    for folder in ("book", "notebooks"):
        (tmp_path / folder).mkdir()
    for name, text in PAGES.items():
        (tmp_path / name).write_bytes(text.encode())
    (tmp_path / "_config.yml").write_text(CONFIG.format(url=URL, branch="main"))
    (tmp_path / "CITATION.cff").write_text(CITATION)
    (tmp_path / "notebooks/01_a.ipynb").write_text(notebook(CELLS))
    return tmp_path


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def said(capsys, root, version=VERSION, tasks=TASKS, check=False) -> tuple[int, str]:
    status = repeats.run(root, version, tasks, check)
    out, err = capsys.readouterr()
    return status, (out + err).strip()


def mended(capsys, tree, names: list[str], **sources) -> dict[str, bytes]:
    """The tree after a run that has to find exactly `names` out of date, and a second one that finds nothing."""
    listed, before = ", ".join(names), content(tree)
    assert said(capsys, tree, check=True, **sources) == (1, f"Out of date: {listed}. `make write` writes them.")
    assert content(tree) == before
    assert said(capsys, tree, **sources) == (0, f"Written: {listed}.")
    after = content(tree)
    assert {name for name in after if after[name] != before.get(name)} == set(names)
    assert said(capsys, tree, check=True, **sources) == (0, "All is up to date.")
    assert said(capsys, tree, **sources) == (0, "Nothing to write: all is up to date.")
    assert content(tree) == after
    return after


def changed(before: bytes, *changes: tuple[str, str]) -> bytes:
    text = before.decode()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text.encode()


def test_nothing_that_labs_and_pages_repeat_is_out_of_date():
    """The one test of this on the course itself: what it looks for, the tests below say."""
    command = [sys.executable, "-m", "lthbook.repeats", "--check"]
    path = os.pathsep.join([str(ROOT), str(ROOT / "book/_ext")])
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "All is up to date.", "")


def test_a_tree_that_is_up_to_date_is_left_alone(tree, capsys):
    before = content(tree)
    assert said(capsys, tree, check=True) == (0, "All is up to date.")
    assert said(capsys, tree) == (0, "Nothing to write: all is up to date.")
    assert content(tree) == before


def test_a_lab_that_another_program_saved_is_left_alone(tree, capsys):
    lab = tree / "notebooks/01_a.ipynb"
    lab.write_text(json.dumps(json.loads(lab.read_text())))
    assert said(capsys, tree, check=True) == (0, "All is up to date.")


def test_a_new_version_is_written_where_it_is_installed_and_cited(tree, capsys):
    before = content(tree)
    after = mended(capsys, tree, ["notebooks/01_a.ipynb", "README.md", "CITATION.cff"], version="1.3.0")
    for name in ("notebooks/01_a.ipynb", "README.md"):
        assert after[name] == changed(before[name], ("@v1.2.3", "@v1.3.0"))
    assert after["CITATION.cff"] == changed(before["CITATION.cff"], ("\nversion: 1.2.3", "\nversion: 1.3.0"))


def test_a_new_address_is_written_everywhere(tree, capsys):
    before = content(tree)
    (tree / "_config.yml").write_text(CONFIG.format(url="https://forge.example/us/lottery", branch="dev"))
    names = ["notebooks/01_a.ipynb", "CONTRIBUTING.md", "README.md", "book/how_to.md", "book/index.md", "CITATION.cff"]
    after = mended(capsys, tree, names)
    colab = ("/github/somebody/tickets/blob/main/", "/github/us/lottery/blob/dev/")
    address = (URL, "https://forge.example/us/lottery")
    for name in names[1:]:
        more = {"README.md": [colab], "book/how_to.md": [("cd tickets", "cd lottery")]}.get(name, [])
        assert after[name] == changed(before[name], address, *more)
    assert after[names[0]] == changed(before[names[0]], address, colab)


@pytest.mark.parametrize(
    "changes, old, new",
    [
        ({"minutes": 9}, "(find the bug, easy, 2 minutes)", "(find the bug, easy, 9 minutes)"),
        ({"difficulty": "hard"}, "(find the bug, easy, ", "(find the bug, hard, "),
        ({"title": r"a \1 half"}, "Exercise 1.1: the half (", r"Exercise 1.1: a \\1 half ("),
        ({"goal": r"mend \g<0>"}, r"*Goal: halve \"exactly\".* Repair", r"*Goal: mend \\g<0>.* Repair"),
        ({"kind": "build"}, "(find the bug, easy", "(build, easy"),
    ],
)
def test_a_changed_task_is_written_into_its_heading_and_goal(tree, capsys, changes, old, new):
    before = content(tree)["notebooks/01_a.ipynb"]
    after = mended(capsys, tree, ["notebooks/01_a.ipynb"], tasks=[GUESS, replace(REPAIR, **changes)])
    assert after["notebooks/01_a.ipynb"] == changed(before, (old, new))


def test_a_changed_bug_is_written_before_the_blank(tree, capsys):
    after = mended(capsys, tree, ["notebooks/01_a.ipynb"], tasks=[GUESS, replace(REPAIR, faulty=other_bug())])
    bug = "def half_faulty(x):\n    half = x >> 1\n\n    return half"
    source = REPAIRED.replace('def half_faulty(x):\n    """x / 2."""\n    return x // 2', bug)
    assert source != REPAIRED
    assert after["notebooks/01_a.ipynb"].decode() == notebook([*CELLS[:-1], ("code", source)])


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("notebooks/01_a.ipynb", "## 2 Predict 1.0: what remains (easy", "## 2 Predicted 1.0 what is left (easy"),
        ("notebooks/01_a.ipynb", "### Exercise 1.1: the half (find the bug, easy, 2 minutes)", "### Exercise 1.1"),
        ("notebooks/01_a.ipynb", "*Goal: count what remains.*", "*Goal: count.*"),
        ("notebooks/01_a.ipynb", "return x // 2", "return x // 3"),
        ("notebooks/01_a.ipynb", "somebody/tickets/blob/main", "nobody/tickets/blob/main"),
        ("notebooks/01_a.ipynb", "notebooks/01_a.ipynb)", "notebooks/02_b.ipynb)"),
        ("notebooks/01_a.ipynb", "as in Colab. A second", "as in Colab.  A second"),
        ("README.md", f"git+{URL}@v", "git+https://github.com/nobody/tickets@"),
        ("README.md", "somebody/tickets/blob/main/", "nobody/tickets/blob/main/"),
        ("CONTRIBUTING.md", f"{URL}/issues/new", "https://github.com/nobody/tickets/issues/new"),
        ("book/index.md", URL, "https://github.com/nobody/tickets"),
        ("book/how_to.md", f"{URL}\ncd tickets", "https://github.com/nobody/masks\ncd masks"),
        ("CITATION.cff", "version: 1.2.3", "version:  1.2"),
        ("CITATION.cff", URL, "https://github.com/nobody/tickets"),
    ],
)
def test_what_a_hand_has_broken_is_found_and_mended(tree, capsys, name, old, new):
    before = content(tree)
    (tree / name).write_bytes(changed(before[name], (old, new)))
    assert mended(capsys, tree, [name]) == before


def test_an_appendix_gets_its_install_cell_and_its_link(tree, capsys):
    right = notebook([("markdown", TITLE.replace("01_a", "A1_b")), ("code", INSTALL)])
    (tree / "notebooks/A1_b.ipynb").write_text(right.replace("A1_b", "01_a").replace("@v1.2.3", "@v1.2.2"))
    after = mended(capsys, tree, ["notebooks/A1_b.ipynb"])
    assert after["notebooks/A1_b.ipynb"].decode() == right


def without(*numbers: int) -> str:
    return notebook([cell for n, cell in enumerate(CELLS) if n not in numbers])


def with_cell(number: int, old: str, new: str) -> str:
    kind, source = CELLS[number]
    assert old in source
    return notebook([*CELLS[:number], (kind, source.replace(old, new)), *CELLS[number + 1 :]])


@pytest.mark.parametrize(
    "lab, problem",
    [
        (without(1), "no install cell"),
        (without(1, 3, 5), "no install cell"),
        (with_cell(0, "open it in Colab", "open it"), "no link `[open it in Colab](…)`"),
        (with_cell(2, "Predict 1.0", "Predict 1.2"), "no heading `Predict 1.0` right above"),
        (with_cell(2, "Predict 1.0", "Predict 1.02"), "no heading `Predict 1.0` right above"),
        (with_cell(2, "## 2 Predict", "2 Predict"), "no heading `Predict 1.0` right above"),
        (notebook([*CELLS[:3], ("markdown", "Between."), *CELLS[3:]]), "no heading `Predict 1.0` right above"),
        (notebook([*CELLS[:2], ("code", CELLS[2][1]), *CELLS[3:]]), "no heading `Predict 1.0` right above"),
        (with_cell(4, "### Ex", "### Exercise 1.1: half\n\n### Ex"), "more than one heading `Exercise 1.1`"),
        (with_cell(2, "Goal:", "Aim:"), "no goal `*Goal: ….*` below the heading `Predict 1.0`"),
        (with_cell(3, '"1.0"', '"1.7"'), "no cell that checks task 1.0"),
        (notebook([*CELLS, CELLS[3]]), "more than one cell that checks task 1.0"),
        (with_cell(5, "half_faulty", "faulty_half"), "no `def half_faulty` where task 1.1 is checked"),
        (with_cell(5, "x // 2", "x //"), "the cell that checks task 1.1 cannot be read"),
    ],
)
def test_a_missing_place_is_one_error_that_names_it_and_nothing_is_written(tree, capsys, lab, problem):
    (tree / "notebooks/01_a.ipynb").write_text(lab)
    before = content(tree)
    for check in (True, False):
        status, text = said(capsys, tree, version="9.9.9", check=check)
        assert status == 1 and text.startswith(f"notebooks/01_a.ipynb: {problem}") and "\n" not in text
    assert content(tree) == before


@pytest.mark.parametrize("line", [f"version: {VERSION}", f"repository-code: {URL}"])
def test_a_citation_without_version_or_address_is_an_error(tree, capsys, line):
    (tree / "CITATION.cff").write_text(CITATION.replace(f"\n{line}", ""))
    status, text = said(capsys, tree)
    assert status == 1 and text.startswith(f"CITATION.cff: no line `{line.split()[0]}`")


def test_tasks_without_a_lab_are_an_error(tree, capsys):
    status, text = said(capsys, tree, tasks=[*TASKS, replace(GUESS, id="12.0")])
    assert (status, text) == (1, "notebooks/12_*.ipynb: there are tasks of this chapter, and no lab")


def test_a_failed_write_leaves_all_as_it_was(tree, monkeypatch):
    before = content(tree)

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*01_a\.ipynb"):
        repeats.run(tree, "1.3.0", TASKS, check=False)
    assert content(tree) == before


def test_the_courses_own_labs_and_pages_come_back_byte_for_byte(tmp_path, capsys):
    """All of the course, taken to another version, address and length of its tasks, and back."""
    for pattern in ("*.md", "*.cff", "_config.yml", "book/*.md", "notebooks/*.ipynb"):
        for path in ROOT.glob(pattern):
            (tmp_path / path.relative_to(ROOT)).parent.mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / path.relative_to(ROOT))
    assert said(capsys, tmp_path, version=lthkit.__version__, tasks=tasks().values())[0] == 0
    before = content(tmp_path)
    other = [replace(task, minutes=task.minutes + 1, goal=f"not {task.goal}") for task in tasks().values()]
    config = (tmp_path / "_config.yml").read_text()
    url = re.search(r"^  url: (\S+)", config, re.MULTILINE)[1]
    (tmp_path / "_config.yml").write_text(config.replace(url, "https://github.com/a/b"))
    assert said(capsys, tmp_path, version="9.9.9", tasks=other)[0] == 0
    there = content(tmp_path)
    assert not [name for name, text in there.items() if url.encode() in text or url[19:].encode() in text]
    for path in tmp_path.glob("notebooks/*.ipynb"):
        name = f"notebooks/{path.name}"
        pairs = list(zip(before[name].splitlines(), there[name].splitlines(), strict=True))
        asked = [task for task in other if f"{task.chapter:02}" == path.name[:2]]
        assert sum(old != new for old, new in pairs) == 2 + 2 * len(asked)
    (tmp_path / "_config.yml").write_text(config)
    assert said(capsys, tmp_path, version=lthkit.__version__, tasks=tasks().values())[0] == 0
    assert content(tmp_path) == before
