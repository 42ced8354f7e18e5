"""A book of one chapter and two labs that builds in seconds: the real settings, extension, style; no real chapters."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import yaml

from lthkit import lab
from lthkit.report import Verdict

ROOT = Path(__file__).parents[2]

INDEX = "# Demo\n\nStart here.\n"
CHAPTER = """# 1 Demo: a question

```{lab-links} 7
```

The gap is {glued}`gap:.1f` points, of {glued}`seeds` seeds and {glued}`other@02_other` more; see {numref}`fig-line`.

````{answer} Open <this> & look
The answer is {glued}`gap:.0f`.

```{glued-figure} line
:alt: A line that rises from 0 to 1.
:name: fig-line
The line **rises**.
```
````

```{answer}
Once more.
```

```{verdict} rewind_wins
Look at the *interval*.
```

In short: {glued}`rewind_wins`

:::{question} How many of `four` weights are **left**: 1, 2 or 4?
- [ ] 1 :: A half of {glued}`seeds` is not one.
- [x] *2* :: A half of four
  is two, as $4 / 2$ shows.
- [ ] 4 :: Nothing would be pruned.
:::
"""
CHECKS = """%matplotlib inline
from lthkit.exercises import check
check("1.1", ...)
# check("1.3", ...)
check("1.0",
      (..., ..., ...))
check('1.4', ...)"""


WINS = Verdict(
    "better", "agrees", "Rewinding beats re-initialising <at 3 %>", "digits, LeNet-300-100", "a paper",
    "test_accuracy", "rewinding", "re-initialising", n=10, difference=0.131, low=0.11, high=0.152, confidence=0.95,
)  # fmt: skip
EXACT = Verdict("exact", "holds", "A mask has the weight's shape")
SEEN = Verdict("observed", "contradicted", "Layers empty in none of ten seeds", "digits")
DOUBTFUL = replace(WINS, claim="Tickets stop sooner", status="too close to call", low=-0.01)


def notebook(path: Path, glued: dict, source: str = "1 + 1") -> None:
    """A lab that has run: one cell of code, with the outputs that `glue` would have left, and a closing line."""
    outputs = []
    for key, value in glued.items():
        data, metadata = lab._bundle(key, value)
        data = {lab.PREFIX + mime: content for mime, content in data.items()}
        metadata["scrapbook"] = {"name": key, "mime_prefix": lab.PREFIX}
        outputs.append(nbformat.v4.new_output("display_data", data, metadata=metadata))
    code = nbformat.v4.new_code_cell(source, outputs=outputs, execution_count=1)
    title, end = map(nbformat.v4.new_markdown_cell, (f"# Lab {path.stem[:2]}", "The end."))
    write(path, [title, code, end])


def write(path: Path, cells: list) -> None:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, path)


def figure(slope: float = 1.0):
    from matplotlib.figure import Figure

    fig = Figure(figsize=(3, 2), dpi=100)
    fig.subplots().plot([0, 1], [0, slope])
    return fig


GLUED = {"gap": 13.125, "seeds": 10, "line": figure(), "rewind_wins": WINS}


def lay_out(root: Path, execute: str = "off") -> Path:
    """The demo's source tree under `root`, with the labs already run."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["execute"]["execute_notebooks"] = execute
    (root / "_config.yml").write_text(yaml.safe_dump(config))
    (root / "_toc.yml").write_text(
        yaml.safe_dump(
            {
                "format": "jb-book",
                "root": "book/index",
                "chapters": [
                    {"file": "book/01_demo", "sections": [{"file": "notebooks/01_demo"}]},
                    {"file": "notebooks/02_other"},
                    {"file": "book/claims"},
                ],
            }
        )
    )
    for name in ("_ext", "_static"):
        shutil.copytree(ROOT / "book" / name, root / "book" / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "book/references.bib").write_text("")
    (root / "book/index.md").write_text(INDEX)
    (root / "book/01_demo.md").write_text(CHAPTER)
    (root / "book/claims.md").write_text("# Claims\n\n```{claims}\n```\n")
    notebook(root / "notebooks/01_demo.ipynb", GLUED, CHECKS)
    notebook(root / "notebooks/02_other.ipynb", {"other": "five", "exact": EXACT, "seen": SEEN, "sooner": DOUBTFUL})
    return root


def build(root: Path) -> subprocess.CompletedProcess:
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", ".", "-W", "-n", "--keep-going"]
    return subprocess.run(command, check=False, cwd=root, capture_output=True, text=True)


def page(root: Path, name: str):
    from bs4 import BeautifulSoup

    return BeautifulSoup((root / "_build/html" / f"{name}.html").read_text(), "html.parser").select_one("article")
