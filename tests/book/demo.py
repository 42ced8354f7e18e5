"""A book of a chapter, an appendix and three labs that builds in seconds: real settings, extension and style."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import yaml

from lthkit import lab
from lthkit.replications import Lab, records
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

```{drawing} rounds
:alt: Boxes & <arrows>.
:name: fig-rounds
Look at the **loop**.
```

```{drawing} rounds
:alt: The same again.
Without a name.
```

```{answer}
Once more.
```

```{verdict} rewind_wins
Look at the *interval*.
```

````{playground}
:alt: Patches & <dots>.

Scripts are off: {glued}`seeds` seeds.
````

In short: {glued}`rewind_wins`

Rewinding wins by {decided}`rewind_wins`,{says}`rewind_wins holds`
but under SGD it loses by {decided}`rewind_wins sgd`.{says}`rewind_wins sgd disagrees`
Tickets stop no sooner.{says}`sooner@02_other too close to call`

```{chart} leads
:alt: One lead that falls.
Look at the **end**.
```

:::{question} How many of `four` weights are **left**: 1, 2 or 4?
- [ ] 1 :: A half of {glued}`seeds` is not one.
- [x] *2* :: A half of four
  is two, as $4 / 2$ shows.
- [ ] 4 :: Nothing would be pruned.
:::
"""
APPENDIX = """# A1 Traps

```{lab-links} 2
```

```{verdict} exact_trap
Whole.
```
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
TRAP = Verdict("exact", "contradicted", "A trap")


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


DIFFERENCES = {"rewinding − re-initialising": {str(1000 + k): 0.13 + 0.001 * (k % 7) for k in range(60)}}
LEADS = {"pair": ["ticket over control"] * 6, "epochs": [10, 200] * 3, "seed": [0, 0, 1, 1, 2, 2],
         "lead": [0.15, 0.003, 0.14, 0.004, 0.16, 0.002]}  # fmt: skip


def record(root: Path, name: str, setting: str, verdicts: dict, tables: dict | None = None, **other) -> None:
    """A record of a lab of the demo, as `lthkit replicate` writes them."""
    notebook = root / f"notebooks/{name}.ipynb"
    known = Lab(name, notebook.read_text()).hash([{}]) if notebook.exists() else ""
    fields = {
        "lab": name, "setting": setting, "defaults": {}, "parameters": [{}], "tables": tables or {}, "versions": {},
        "commit": None, "processor": "a processor", "threads": 1, "seconds": 1.0, "date": "2026-11-01T00:00:00+00:00",
        "hash": known, "verdicts": {key: verdict.to_dict() for key, verdict in verdicts.items()},
    }  # fmt: skip
    (root / "book/results/replications").mkdir(parents=True, exist_ok=True)
    records.write(root / "book/results/replications", fields | other)


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
                    {"file": "book/A1_traps", "sections": [{"file": "notebooks/A1_traps"}]},
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
    (root / "book/A1_traps.md").write_text(APPENDIX)
    (root / "book/claims.md").write_text("# Claims\n\n```{claims}\n```\n")
    notebook(root / "notebooks/01_demo.ipynb", GLUED, CHECKS)
    notebook(root / "notebooks/02_other.ipynb", {"other": "five", "exact": EXACT, "seen": SEEN, "sooner": DOUBTFUL})
    notebook(root / "notebooks/A1_traps.ipynb", {"exact_trap": TRAP})
    fresh = replace(WINS, differences=DIFFERENCES, n=60, effect=0.01)
    record(root, "01_demo", "fresh", {"rewind_wins": fresh})
    record(root, "01_demo", "split", {"rewind_wins": fresh})
    record(root, "01_demo", "sgd", {"rewind_wins": replace(fresh, status="disagrees", difference=-0.02)}, hash="old")
    record(root, "A3_how_long_a_lead_lasts", "fresh", {}, {"leads": LEADS})
    return root


def build(root: Path) -> subprocess.CompletedProcess:
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", ".", "-W", "-n", "--keep-going"]
    return subprocess.run(command, check=False, cwd=root, capture_output=True, text=True)


def page(root: Path, name: str):
    from bs4 import BeautifulSoup

    return BeautifulSoup((root / "_build/html" / f"{name}.html").read_text(), "html.parser").select_one("article")
