"""Every lab runs with other parameters, from papermill, in another folder, and needs no environment variable.

Three settings take turns over the labs.  LTHKIT_EVERY_SETTING=1 runs each lab in all of them.
"""

import gzip
import json
import os
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest

from lthkit.lab import PREFIX, VERDICT

pytestmark = pytest.mark.labs
LABS = sorted(Path(__file__).parents[2].glob("notebooks/*.ipynb"))
PACKAGED = Path("/usr/share/datasets/fashion-mnist")  # where Debian's dataset-fashion-mnist puts its files
FILES = [f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
SMALL = {"seeds": [0, 1], "epochs": 1, "long_epochs": 1, "end_epochs": 2, "lengths": [1, 2]}
SMALL |= {"optimizer": "sgd", "lr": 0.1, "shares": [0.9, 0.5]}
SETTINGS = {
    "digits": {"dataset": "digits"},
    "fashion_mnist": {"dataset": "fashion_mnist", "subset": 300},
    "mnist": {"dataset": "mnist", "subset": 300},
}


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """A folder of data sets as torchvision unpacks them: Fashion-MNIST, and bright bars in place of MNIST's digits."""
    root = tmp_path_factory.mktemp("data")
    for name in ("FashionMNIST", "MNIST"):
        (root / name / "raw").mkdir(parents=True)
    for name in FILES if PACKAGED.is_dir() else ():
        (root / "FashionMNIST/raw" / name).write_bytes(gzip.decompress((PACKAGED / f"{name}.gz").read_bytes()))
    rng = np.random.default_rng(0)
    for part, count in (("train", 5_400), ("t10k", 200)):
        labels = np.arange(count) % 10
        images = rng.integers(0, 128, (count, 28, 28))
        images[np.arange(count), 2 * labels + 4] = 255  # one row for each class
        write_idx(root / f"MNIST/raw/{part}-images-idx3-ubyte", images)
        write_idx(root / f"MNIST/raw/{part}-labels-idx1-ubyte", labels)
    return root


def write_idx(path: Path, values: np.ndarray) -> None:
    """MNIST's own format: bytes with their shape before them."""
    head = np.array([0x0800 + values.ndim, *values.shape], dtype=">u4")
    path.write_bytes(head.tobytes() + values.astype(np.uint8).tobytes())


def cases():
    for i, lab in enumerate(LABS):
        for name in SETTINGS if os.environ.get("LTHKIT_EVERY_SETTING") == "1" else [list(SETTINGS)[i % len(SETTINGS)]]:
            yield pytest.param(lab, name, id=f"{lab.stem}-{name}")


@pytest.mark.parametrize(("lab", "name"), [*cases()])
def test_a_lab_runs_with_other_parameters(lab, name, root, tmp_path, monkeypatch):
    if name == "fashion_mnist" and not PACKAGED.is_dir():
        pytest.skip(f"no {PACKAGED}")
    takes = papermill.inspect_notebook(str(lab))
    assert takes
    for variable in [variable for variable in os.environ if variable.startswith("LTHKIT_")]:
        monkeypatch.delenv(variable)
    given = {key: value for key, value in {**SMALL, **SETTINGS[name], "root": str(root)}.items() if key in takes}
    done = papermill.execute_notebook(lab, tmp_path / lab.name, given, cwd=tmp_path, progress_bar=False)
    if "dataset" in given:
        assert all(name in scope for scope in measured_scopes(done))


def measured_scopes(notebook: nbformat.NotebookNode) -> list[str]:
    """What the lab's measured verdicts say they hold for; how long a product takes has nothing to do with the data."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    found = [output["data"][PREFIX + VERDICT] for output in outputs if PREFIX + VERDICT in output.get("data", {})]
    measured = [verdict for verdict in map(json.loads, found) if verdict["n"]]
    return [verdict["scope"] for verdict in measured if verdict["column"] != "relative_time"]
