"""A course of tiny labs that take no second: numbers drawn from the parameters, in place of training."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat

import lthkit
from lthkit.lab import PREFIX, VERDICT

PARAMETERS = """seeds = range(10)  # one a pair
epochs = 2
dataset = "digits"
split = 0
subset = None
root = "data"
optimizer = "adam"
lr = 0.1
"""
WORK = f"""import json, random, time
from IPython.display import display

time.sleep(0.3)
def drawn(seed, arm):
    return round(random.Random(f"{{seed}} {{arm}} {{split}} {{epochs}} {{optimizer}} {{lr}} {{dataset}}").gauss(0.02, 0.01), 4)

def quote(key, **fields):
    text = json.dumps(fields)
    mime = {PREFIX + VERDICT!r}
    display({{mime: text}}, metadata={{"scrapbook": {{"name": key}}}}, raw=True)
"""  # noqa: E501
JUDGED = """# as by report.compare
scope = f"{dataset}, split {split}, {epochs} epochs"
for key, arms in {"one": ["a − b"], "both": ["a − b", "c − b"]}.items():
    found = {arm: {seed: drawn(seed, arm) for seed in seeds} for arm in arms}
    quote(key, kind="better", status="agrees", claim="A beats b", scope=scope, column="test_accuracy", better="a",
          than="b", margin=0.0, effect=0.01, n=len(seeds), difference=0.02, low=0.01, high=0.03, confidence=0.95,
          differences=found)
quote("seen", kind="observed", status="holds", claim="It is so", scope=scope)
"""


def lab(*more: str, parameters: str = PARAMETERS, judged: str = JUDGED) -> nbformat.NotebookNode:
    """more: further cells, at the end."""
    tagged = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    rest = map(nbformat.v4.new_code_cell, (WORK, judged, *more))
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Lab"), tagged, *rest])


def course(folder: Path, **labs: nbformat.NotebookNode) -> Path:
    """Lay out notebooks, `_` for the first letter of a name that begins with a digit."""
    (folder / "notebooks").mkdir(parents=True, exist_ok=True)
    for name, notebook in labs.items():
        nbformat.write(notebook, folder / "notebooks" / f"{name[1:]}.ipynb")
    return folder


def command(folder: Path, *arguments: str, **variables: str) -> subprocess.Popen:
    """`lthkit` with arguments, in the course's folder."""
    path = os.pathsep.join([str(Path(lthkit.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", "from lthkit.cli import app; app()", *arguments], cwd=folder, text=True,
        env={**os.environ, "PYTHONPATH": path, **variables}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def comparable(folder: Path) -> dict[str, dict]:
    """All records by file, without what differs between two runs."""
    found = {path.name: json.loads(path.read_text()) for path in folder.iterdir()}
    return {name: {k: v for k, v in one.items() if k not in ("seconds", "date")} for name, one in found.items()}
