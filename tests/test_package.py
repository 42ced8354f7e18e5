"""The package as a whole: what it imports, and that it keeps away from global random state."""

import ast
import random
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pytest
import torch

import lthkit
from lthkit import data, lottery, masks
from lthkit.data import Dataset
from lthkit.lottery import Arm
from lthkit.networks import Dense

from .oracles import pairs

ROOT = Path(lthkit.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def dotted(path: Path) -> str:
    return ".".join(("lthkit", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_lthkit_is_light_and_plots_come_when_asked_for():
    heavy = ["torchvision", "matplotlib", "IPython", "dask", "distributed", "papermill", "sklearn"]
    loaded = f"print([name for name in {heavy} if name in sys.modules])"
    said = python(f"import sys, lthkit; {loaded}; lthkit.plots.curves; {loaded}")
    assert said.splitlines() == ["[]", "['matplotlib']"]


def test_the_names_of_the_package():
    for name in lthkit.__all__:
        assert getattr(lthkit, name).__name__ == f"lthkit.{name}"
    assert lthkit.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="'lthkit'.*'supermaks'"):
        lthkit.supermaks  # noqa: B018


# From the ground up.  A module imports only what stands before it; those on one line do not know of each other.
FLOORS = """
checks stopping streams stacks columns
files data
masks torch_prune
networks
actions criteria checkpoints
training
lottery report connectivity
supermask plots lab
exercises replications
experiments
cli
"""


def imports(tree: ast.AST, known: set[str], package: str) -> set[str]:
    """The modules of lthkit that a module imports, wherever in its code."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in known else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in known} - {package}


def graph() -> dict[str, set[str]]:
    known = {dotted(path) for path in MODULES}
    return {dotted(path): imports(ast.parse(path.read_text()), known, dotted(path)) for path in MODULES}


def test_nothing_imports_upward():
    floor = {f"lthkit.{name}": i for i, line in enumerate(FLOORS.strip().splitlines()) for name in line.split()}

    def room(module: str) -> str:
        return ".".join(module.split(".")[:2])

    assert {room(module) for module in graph()} == set(floor)
    for module, imported in graph().items():
        for other in imported:
            same = room(module) == room(other)
            assert same or floor[room(other)] < floor[room(module)], f"{module} imports {other}"


def test_no_circle_of_imports():
    """A package's own modules do not import it: it is their face, and imports them."""
    list(TopologicalSorter(graph()).static_order())  # raises CycleError, with the circle


def test_no_underscore_name_is_used_from_another_module():
    """Nor read from an object of a class that stands elsewhere.  torch's own are not ours to count."""
    private: dict[str, set[str]] = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                private.setdefault(node.name, set()).add(dotted(path))
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                private.setdefault(node.id if isinstance(node, ast.Name) else node.attr, set()).add(dotted(path))
    private = {name: homes for name, homes in private.items() if name[0] == "_" and name[:2] != "__"}
    assert {"_rounds", "_known", "_thread"} <= set(private)
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lthkit"):
                assert not [alias.name for alias in node.names if alias.name[0] == "_"], dotted(path)
            elif isinstance(node, ast.Attribute) and node.attr in private:
                assert dotted(path) in private[node.attr], f"{dotted(path)} uses {node.attr}"


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_every_module_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def everything(folder: Path):
    """A little of all that draws random numbers."""
    small = Dataset.from_tensors("small", *pairs())
    network = Dense("small", [6, 5, 3])
    arms = [Arm("rewind"), Arm("random", criterion="random"), Arm("fresh", mask_1="reinit"), Arm("all", scope="global")]
    run = lottery.search(network, small, seeds=[1, 2], rounds=2, epochs=1, arms=arms)
    control = lottery.retrain(run, arm="rewind")
    equal = {"w": torch.ones(2, 9)}
    kept = masks.prune(equal, masks.ones(equal, ["w"]), 0.5)
    run.save(folder)
    loaded = lottery.load(folder)
    digits = data.load("digits").test_y.sum().item()
    tables = [found.table.drop(columns="seconds").to_dict("list") for found in (run, control, loaded)]
    return tables, kept["w"].tolist(), digits


def test_no_global_random_state_is_read_or_moved(tmp_path):
    data.load("digits")  # its first call imports scikit-learn and, where installed, rich, which draws a number
    results = []
    for seed in (0, 1):
        for generator in (torch.manual_seed, np.random.seed, random.seed):
            generator(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        results.append(everything(tmp_path / str(seed)))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.random.get_state()[1].tolist() == before[1] and random.getstate() == before[2]
    assert results[0] == results[1]


def test_default_dtype_of_torch_stays_and_does_not_matter():
    try:
        torch.set_default_dtype(torch.float64)
        assert Dense("small", [6, 3]).init(0)["fc1.weight"].dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
