"""Writes what labs and pages repeat: `python -m lthbook.repeats`, or `make write`.  With --check it writes nothing.

The address stands once in `_config.yml`, the version in `lthkit.__version__`, and what an exercise is in its task. From
them come, in a lab, its install cell, its Colab link, and of each task the heading, the goal and the function with the
bug; in the cells of labs, the pages of the book and the root, and CITATION.cff, the addresses and the version.  All
other text stays as it is, byte for byte.
"""

import argparse
import ast
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml

import lthkit
from lthkit import files
from lthkit.exercises.grade import checked
from lthkit.exercises.task import Task, tasks

from .pages import colab_url

ROOT = Path(__file__).parents[3]
Found = TypeVar("Found")
INSTALL = """# Installs lthkit where it is missing, as in Colab. A second run does nothing.
import importlib.util

if importlib.util.find_spec("lthkit") is None:
    %pip install -q "lthkit @ {requirement}\""""


class Missing(Exception):
    """A place that should be written is not there; the message names file and place."""


@dataclass(frozen=True)
class Address:
    """Where the course can be had.  config: the content of `_config.yml`."""

    config: dict
    version: str

    @property
    def url(self) -> str:
        return self.config["repository"]["url"].rstrip("/")

    @property
    def requirement(self) -> str:
        """What pip installs."""
        return f"git+{self.url}@v{self.version}"

    def colab(self, docname: str) -> str:
        theme = {
            "repository_url": self.url,
            "repository_branch": self.config["repository"]["branch"],
            "launch_buttons": self.config["launch_buttons"],
        }
        return colab_url(theme, docname)


def stale(root: Path, version: str, tasks: Iterable[Task]) -> dict[Path, str]:
    """The text that each file should have, of the files that have another.

    Raises Missing where there is no place to write to.
    """
    address = Address(yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8")), version)
    return {path: text for path, text in _texts(root, address, list(tasks)) if text != _read(path)}


def run(root: Path, version: str, tasks: Iterable[Task], check: bool) -> int:
    """Write, or with `check` look only.  Says in one line which files; returns the exit status."""
    try:
        found = stale(root, version, tasks)
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 1
    names = ", ".join(path.relative_to(root).as_posix() for path in found)
    if check:
        print(f"Out of date: {names}. `make write` writes them." if found else "All is up to date.")
        return int(bool(found))
    for path, text in found.items():
        files.write_text(path, text)
    print(f"Written: {names}." if found else "Nothing to write: all is up to date.")
    return 0


def _texts(root: Path, address: Address, tasks: list[Task]) -> Iterator[tuple[Path, str]]:
    """Each file with the text it should have.  CITATION.cff comes last: it says which address was written before."""
    labs = sorted(root.glob("notebooks/*.ipynb"))
    if without := {f"{task.chapter:02}" for task in tasks} - {path.name[:2] for path in labs}:
        raise Missing(f"notebooks/{min(without)}_*.ipynb: there are tasks of this chapter, and no lab")
    citation = root / "CITATION.cff"
    before = _only(r"^repository-code: (\S+)$", _read(citation), "CITATION.cff", "line `repository-code:`")[1]
    for path in labs:
        asked = [task for task in tasks if f"{task.chapter:02}" == path.name[:2]]  # none in an appendix such as A1
        yield path, _lab(path, address, before, asked)
    for path in sorted([*root.glob("*.md"), *root.glob("book/*.md")]):
        yield path, _page(_read(path), address, before)
    text = _put(r"^version: .*$", f"version: {address.version}", _read(citation), "CITATION.cff", "line `version:`")
    yield citation, text.replace(f"repository-code: {before}", f"repository-code: {address.url}")


def _page(text: str, address: Address, before: str) -> str:
    """before: the address that was written last, wherever it stands."""
    name = address.url.rsplit("/", 1)[1]
    for pattern, new in (
        (rf"{re.escape(before)}(?![\w-]|\.\w)", lambda found: address.url),
        (r"(?<=lthkit @ )git\+[^\s\"'`]+", lambda found: address.requirement),
        (r"https?://[^\s()]+/github/[^\s()]+/(notebooks/\w+)\.ipynb", lambda found: address.colab(found[1])),
        (r"git clone https?://\S+\ncd \S+", lambda found: f"git clone {address.url}\ncd {name}"),
        (r"(?<=\[the repository\]\()[^)]+", lambda found: address.url),
        (r"https?://[^\s()]+/issues/new", lambda found: f"{address.url}/issues/new"),
    ):
        text = re.sub(pattern, new, text)
    return text


def _lab(path: Path, address: Address, before: str, tasks: list[Task]) -> str:
    """The notebook as Jupyter writes it, if a cell changes; else the file as it is."""
    raw, where = _read(path), f"notebooks/{path.name}"
    notebook = json.loads(raw)
    cells = notebook["cells"]
    for cell in cells:
        cell["source"] = "".join(cell["source"])
    stored = [cell["source"] for cell in cells]
    for cell in cells:
        cell["source"] = _page(cell["source"], address, before)
    code, prose = ([cell for cell in cells if cell["cell_type"] == kind] for kind in ("code", "markdown"))
    if not code or "%pip install" not in code[0]["source"]:
        raise Missing(f"{where}: no install cell, which must be the first code cell")
    if not prose:
        raise Missing(f"{where}: no Markdown cell for the Colab link")
    code[0]["source"] = INSTALL.format(requirement=address.requirement)
    link, place = address.colab(f"notebooks/{path.stem}"), "link `[open it in Colab](…)` in its first Markdown cell"
    prose[0]["source"] = _put(r"(?<=\[open it in Colab\]\()[^)]*", link, prose[0]["source"], where, place)
    for task in tasks:
        _write_task(task, cells, where)
    if [cell["source"] for cell in cells] == stored:
        return raw
    for cell in cells:
        cell["source"] = cell["source"].splitlines(keepends=True)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _write_task(task: Task, cells: list[dict], where: str) -> None:
    """Heading and goal in the cell above the task's check, the function with the bug in the cell of the check."""
    found = [n for n, cell in enumerate(cells) if cell["cell_type"] == "code" and task.id in checked(cell["source"])]
    number = _one(found, where, f"cell that checks task {task.id}")
    cell, above = cells[number], cells[number - 1]
    text = above["source"] if above["cell_type"] == "markdown" else ""
    place = f"heading `{task.label}` right above its check"
    old = _only(rf"^(#+ (?:\d+ )?)\w+ {re.escape(task.id)}(?!\d).*$", text, where, place)
    place = f"goal `*Goal: ….*` below the heading `{task.label}`"
    below = _put(r"\*Goal: [^*\n]*\*", f"*Goal: {task.goal}.*", text[old.end() :], where, place)
    above["source"] = f"{text[: old.start()]}{old[1]}{task.label}: {task.heading}{below}"
    if task.faulty:
        cell["source"] = _with_function(cell["source"], task, where)


def _with_function(source: str, task: Task, where: str) -> str:
    name = task.faulty.__name__
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise Missing(f"{where}: the cell that checks task {task.id} cannot be read: {error}") from error
    found = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == name]
    old = _one(found, where, f"`def {name}` where task {task.id} is checked")
    lines = source.split("\n")
    lines[old.lineno - 1 : old.end_lineno] = [task.faulty_source()]
    return "\n".join(lines)


def _one(found: list[Found], where: str, what: str) -> Found:
    if len(found) != 1:
        raise Missing(f"{where}: {'more than one' if found else 'no'} {what}")
    return found[0]


def _only(pattern: str, text: str, where: str, what: str) -> re.Match:
    return _one(list(re.finditer(pattern, text, re.MULTILINE)), where, what)


def _put(pattern: str, new: str, text: str, where: str, what: str) -> str:
    old = _only(pattern, text, where, what)
    return text[: old.start()] + new + text[old.end() :]


def _read(path: Path) -> str:
    return path.read_bytes().decode()  # as it is: no line end is changed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lthbook.repeats", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="name the files that are out of date, write nothing")
    return run(ROOT, lthkit.__version__, tasks().values(), parser.parse_args().check)


if __name__ == "__main__":
    sys.exit(main())
