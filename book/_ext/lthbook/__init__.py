"""The book's own Sphinx extension: results and solutions of the labs on the pages, questions, formulas without a CDN.

On a page `book/02_x.md` everything comes from the lab `notebooks/02_x.ipynb`; `@01_y` after a key names another:

    {glued}`key:.3f`   {glued}`key@01_y`
    ```{glued-figure} key      with :alt: (required), :name:, and the caption as content
    ```{drawing} name          the same, of a drawing that `drawings.py` makes
    ```{chart} name            the same, drawn by `charts.py` from recorded replications
    ```{verdict} key           a card; content, if any, stands below it
    ```{playground}            with :alt: (required): a network that the page trains; the content stands in for it
                               where scripts are off
    {says}`key holds`          after a sentence that compares: the build fails where the records say otherwise;
                               {says}`key long agrees` asks for another setting
    {decided}`key`             by how much the arms differ on fresh seeds, as in 0.6 points;
                               {decided}`key sgd` asks for another setting
    ```{answer} label          content folded until the reader has guessed; the label is what the closed fold says
    ```{claims}                the ledger of all verdicts of all labs
    ```{lab-links} 10          reading minutes, then the lab in three forms
    :::{question} What …?      options: `- [x] text :: why it is right`, `- [ ] text :: why it is not`

Below each cell of a lab that checks an answer, the reference solution stands folded.
"""

import hashlib
import importlib.util
import os
import shutil
from pathlib import Path

from .cells import CellAnchors
from .figures import Drawing
from .pages import Answer, LabLinks
from .playground import Playground, add_scripts, write_digits
from .questions import Question
from .results import Chart, Claims, Decided, FillIn, Glued, GluedFigure, GluedText, Says, Verdict
from .solutions import Solutions

MATHJAX = ("tex-mml-chtml.js", "input/tex/extensions", "output/chtml/fonts/woff-v2")


def key_the_execution_cache(app, config) -> None:
    """A change of lthkit or of the pins executes all notebooks again, as a change of their own cells does.

    The path belongs to Sphinx's environment: when it changes, every page is read anew.
    """
    root, digest = Path(app.srcdir), hashlib.sha256()
    for path in sorted(root.glob("lthkit/**/*.py")) + sorted(root.glob("requirements.txt")):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    config.nb_execution_cache_path = str(Path(app.outdir).parent / ".jupyter_cache" / digest.hexdigest()[:16])


def forget_a_build_with_warnings(app, exception) -> None:
    """Without this a second build of the same broken page would find nothing to do, and pass."""
    if app._warncount:
        (Path(app.doctreedir) / "environment.pickle").unlink(missing_ok=True)


def copy_mathjax(app, exception) -> None:
    source = Path(importlib.util.find_spec("sphinx-mathjax-offline").submodule_search_locations[0], "static/mathjax")
    for name in MATHJAX:
        target = Path(app.outdir, "_static/mathjax", name)
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (source / name).is_dir() else shutil.copy
        copy(source / name, target)


def setup(app):
    os.environ["TQDM_DISABLE"] = "1"  # kernels inherit it: no progress bars on the pages
    os.environ["LTHKIT_BOOK"] = "1"  # nor verdicts on answers that nobody gave
    os.environ.pop("MPLBACKEND", None)  # nor a backend that shows no figures
    app.add_node(Glued)
    app.add_role("glued", GluedText())
    app.add_directive("glued-figure", GluedFigure)
    app.add_directive("drawing", Drawing)
    app.add_directive("verdict", Verdict)
    app.add_directive("chart", Chart)
    app.add_role("says", Says())
    app.add_role("decided", Decided())
    app.add_directive("claims", Claims)
    app.add_directive("lab-links", LabLinks)
    app.add_directive("answer", Answer)
    app.add_directive("question", Question)
    app.add_directive("playground", Playground)
    app.add_config_value("lthbook_solutions", os.environ.get("LTHKIT_SOLUTIONS", "1") != "0", "html")
    app.add_post_transform(CellAnchors)
    app.add_post_transform(FillIn)
    app.add_post_transform(Solutions)
    app.connect("config-inited", key_the_execution_cache)
    app.connect("build-finished", forget_a_build_with_warnings)
    app.connect("build-finished", copy_mathjax)
    app.connect("html-page-context", add_scripts)
    app.connect("build-finished", write_digits)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
