"""The sources as committed: labs that open anywhere, pairs of chapter and lab, nothing of one machine."""

import ast
import re
import subprocess
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml

ROOT = Path(__file__).parents[2]
LABS = sorted(ROOT.glob("notebooks/*.ipynb"))
CHAPTERS = sorted(ROOT.glob("book/[0-9A][0-9]_*.md"))  # appendices, such as A1, come after them
URL = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
MYST = {
    "a fence of colons": r"^:::",
    "a directive": r"^\s*(```|~~~)\{",
    "a role": r"\{[a-z][a-z:+-]*\}`",
    "a footnote": r"\[\^",
    "a target": r"^\([\w-]+\)=",
    "an attachment": r"\(attachment:",
}

of_every_lab = pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def files() -> list[Path]:
    """What is or could be committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_chapters_and_labs_come_in_pairs_in_the_table_of_contents():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = [
        (chapter["file"], [section["file"] for section in chapter["sections"]])
        for part in toc["parts"]
        for chapter in part["chapters"]
        if "sections" in chapter
    ]
    assert listed == [(f"book/{path.stem}", [f"notebooks/{path.stem}"]) for path in CHAPTERS]
    assert [path.stem for path in LABS] == [path.stem for path in CHAPTERS]


@of_every_lab
def test_a_lab_is_valid_and_holds_no_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in cells(path, "code"):
        assert cell.outputs == [] and cell.execution_count is None, cell.source


@of_every_lab
def test_a_lab_is_short(path):
    assert len(nbformat.read(path, as_version=4).cells) <= 35


@of_every_lab
def test_the_install_cell_of_a_lab_stays_out_of_the_book(path):
    assert "remove-cell" in cells(path, "code")[0].metadata.tags


@of_every_lab
def test_the_second_code_cell_of_a_lab_holds_its_parameters(path):
    tagged = ["parameters" in cell.metadata.get("tags", []) for cell in cells(path, "code")]
    assert tagged == [False, True] + [False] * (len(tagged) - 2)
    source = cells(path, "code")[1].source
    names = []
    for statement in ast.parse(source).body:
        assert isinstance(statement, ast.Assign), "a parameter is assigned, and nothing else happens"
        names.append(statement.targets[0].id)
        value = re.sub(r"\Arange\((.*)\)\Z", r"[\1]", ast.unparse(statement.value))
        ast.literal_eval(value)
        assert re.search(r"  # \S", source.splitlines()[statement.end_lineno - 1]), f"{names[-1]} is not explained"
    assert names == list(papermill.inspect_notebook(str(path))), "papermill reads a line otherwise"


@of_every_lab
def test_no_line_of_a_lab_is_wider_than_the_page(path):
    lines = [line for cell in cells(path, "code")[1:] for line in cell.source.splitlines()]
    assert not [line for line in lines if len(line) > 88]


@of_every_lab
def test_a_lab_holds_no_plumbing(path):
    sources = [cell.source for kind in ("code", "markdown") for cell in cells(path, kind)]
    assert not [s for s in sources if re.search(r"\bbudget\(|import .*\bbudget\b|LTHKIT_QUICK|glue\(|# fmt: ", s)]


@of_every_lab
def test_only_the_last_cell_of_a_lab_quotes(path):
    calls = [len(re.findall(r"\bquote\(", cell.source)) for cell in cells(path, "code")]
    assert calls == [0] * (len(calls) - 1) + [1]
    assert cells(path, "code")[-1].metadata.get("tags") == ["hide-cell"]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_links_its_lab_below_its_title(path):
    assert re.match(r"(\([\w-]+\)=\n)?# (\d+|A\d) .+\n\n```\{lab-links\} \d+\n```\n", path.read_text())


@of_every_lab
def test_a_lab_holds_no_markup_that_jupyter_shows_raw(path):
    for cell in cells(path, "markdown"):
        prose = re.sub(r"^```\w*\n.*?^```", "", cell.source, flags=re.MULTILINE | re.DOTALL)
        for what, pattern in MYST.items():
            assert not re.search(pattern, prose, re.MULTILINE), f"{what}: {cell.source}"


def test_the_pins_leave_the_platform_open():
    pins = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert "torch==2.15.0" in pins and "torchvision==0.29.2" in pins and "jupyter-book==1.0.4.post1" in pins
    for pin in pins:
        assert re.fullmatch(r"[\w.-]+==[\w.]+", pin), pin
        assert not re.match(r"nvidia|cuda|triton", pin), f"{pin} exists on some platforms only"


def test_no_file_names_a_machine_or_a_package_host():
    for path in files():
        text = path.read_bytes().decode(errors="ignore")
        assert not (found := re.search(r"(?<![\w.~:/-])/(tmp|root|home|work|Users)/", text)), f"{path}: {found}"
        if path.name in ("Makefile", "requirements.txt", "pyproject.toml", "run"):
            assert "://" not in text.replace(URL, ""), path


NAMED = r"`((?:book|lthkit|notebooks|tests|benchmarks|\.ci)/[\w./-]+|[A-Z_a-z]+\.(?:md|yml|cff|txt))`"


def test_contributing_names_files_and_tables_that_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(NAMED, text)
    for placeholder, pattern in (("NN_name", "[0-9][0-9]_*"), ("/AN_name", "/A[0-9]_*"), ("NN", "[0-9][0-9]")):
        named = [path.replace(placeholder, pattern) for path in named]
    assert not [path for path in named if not list(ROOT.glob(path))]
    tables = re.findall(rf"((?:`\w+`(?: or | and )?)+),?(?: both)? (?:of|in) {NAMED}", text)
    found = [(name, path) for names, path in tables for name in re.findall(r"`(\w+)`", names)]
    assert len(found) > 10
    assert not [(name, path) for name, path in found if not re.search(rf"\b{name}\b", (ROOT / path).read_text())]


def test_no_file_is_large():
    assert not [path for path in files() if path.stat().st_size > 1_000_000]
