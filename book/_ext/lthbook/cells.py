"""The cell of a lab that judges a claim gets an address of its own."""

from pathlib import Path

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

from . import verdicts
from .results import VERDICT, read_store


class CellAnchors(SphinxPostTransform):
    default_priority = 4

    def run(self, **kwargs) -> None:
        if not self.env.docname.startswith("notebooks/"):
            return
        path = Path(self.env.mystnb_config.output_folder, f"{self.env.docname}.glue.json")
        store = read_store(path, path.stat().st_mtime_ns) if path.exists() else {}
        cells = [node for node in self.document.findall(nodes.container) if "cell" in node["classes"]]
        sources = [next(iter(cell.findall(nodes.literal_block)), nodes.Text("")).astext() for cell in cells]
        for key in (key for key, output in store.items() if VERDICT in output["data"]):
            named = [i for i, source in enumerate(sources) if f'"{key}"' in source or f"{key}=" in source]
            judging = [i for i in named if "report." in sources[i]] or named or [len(cells) - 1]
            cells[judging[0]]["ids"].append(verdicts.cell_anchor(key))
