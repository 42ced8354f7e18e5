"""The reference solution, folded below each cell of a lab that checks an answer."""

from html import escape

from docutils import nodes
from markdown_it import MarkdownIt
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

from lthkit.exercises.grade import checked
from lthkit.exercises.task import task

logger = logging.getLogger(__name__)


class Solutions(SphinxPostTransform):
    """Works on what is about to be written: a change of the switch neither reads a page nor runs a lab again."""

    default_priority = 5
    formats = ("html",)

    def run(self, **kwargs) -> None:
        if not self.config.lthbook_solutions:
            return
        cells = [node for node in self.document.findall(nodes.container) if node.get("nb_element") == "cell_code"]
        for cell in cells:
            code = [part.astext() for part in cell.children if part.get("nb_element") == "cell_code_source"]
            folded = [node for id in checked("\n".join(code)) for node in self.folded(id, cell)]
            cell.parent.insert(cell.parent.index(cell) + 1, folded)

    def folded(self, id: str, cell: nodes.Node) -> list[nodes.Node]:
        try:
            asked = task(id)
        except ValueError as problem:
            logger.warning("%s", problem, location=cell, type="lthbook")
            return []
        if asked.kind == "predict":
            return []
        source = asked.solution()
        title = escape(f"Solution {id}: {asked.title}")
        why = MarkdownIt("commonmark").render(asked.why).replace("<code>", '<code class="literal">')
        return [
            nodes.raw("", f'<details class="lth-solution"><summary>{title}</summary>', format="html"),
            nodes.literal_block(source, source, language="python" if asked.reference else "text"),
            nodes.raw("", f"{why}</details>", format="html"),
        ]
