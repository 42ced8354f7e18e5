"""A lab as the replications see it: its parameters and its verdict cells."""

import ast
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Lab:
    """name: the notebook's, as in "06_mask_1_actions".  text: the notebook itself."""

    name: str
    text: str

    @cached_property
    def cells(self) -> list[tuple[str, list[str]]]:
        """(source, tags) of each code cell."""
        cells = [cell for cell in json.loads(self.text)["cells"] if cell["cell_type"] == "code"]
        return [("".join(cell["source"]), cell["metadata"].get("tags", [])) for cell in cells]

    @cached_property
    def defaults(self) -> dict[str, object]:
        """The parameters and their values; ranges as lists."""
        source = "\n".join(source for source, tags in self.cells if "parameters" in tags)
        return {
            node.targets[0].id: _value(node.value) for node in ast.parse(source).body if isinstance(node, ast.Assign)
        }

    def hash(self, given: Sequence[Mapping[str, object]]) -> str:
        """SHA-256 over the cells that mention `report.`, all parameters but `root`, and those given to each run."""
        judged = [source for source, tags in self.cells if "report." in source]
        takes = {name: value for name, value in self.defaults.items() if name != "root"}
        return hashlib.sha256(json.dumps([judged, takes, list(given)], sort_keys=True).encode()).hexdigest()


def labs(notebooks: str | Path) -> dict[str, Lab]:
    """The labs of a folder by their number: what stands before the first _ of the file's name.

    Raises ValueError where there are none, or one is no notebook with parameters.
    """
    found = {}
    for path in sorted(Path(notebooks).glob("*_*.ipynb")):
        lab = Lab(path.stem, path.read_text(encoding="utf-8"))
        try:
            takes = lab.defaults
        except (ValueError, TypeError, KeyError, AttributeError, SyntaxError) as error:
            raise ValueError(f"{path} is no lab: {error}") from error
        if not takes:
            raise ValueError(f"{path} is no lab: it has no cell tagged `parameters`")
        found[path.stem.split("_")[0]] = lab
    if not found:
        raise ValueError(f"no labs in {Path(notebooks).absolute()}: call from the folder that holds the course")
    return found


def is_epochs(name: str) -> bool:
    """Whether a parameter is a number of epochs."""
    return name == "epochs" or name.endswith("_epochs")


def _value(node: ast.expr) -> object:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        return list(range(*map(ast.literal_eval, node.args)))
    return ast.literal_eval(node)
