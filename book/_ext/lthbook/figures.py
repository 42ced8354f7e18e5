"""Figures with an alternative text and a caption: what all have in common, and the drawings."""

from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from . import drawings


class Figure(SphinxDirective):
    """A subclass says what `image` of its argument is."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict] = {"alt": directives.unchanged_required, "name": directives.unchanged}

    def run(self):
        self.assert_has_content()
        if not self.options.get("alt"):
            raise self.error(f"{self.name} {self.arguments[0]!r} has no :alt: text")
        image = self.image()
        caption, *legend = self.parse_content_to_nodes()
        figure = nodes.figure("", image, nodes.caption(caption.rawsource, "", *caption.children))
        if legend:
            figure += nodes.legend("", *legend)
        self.set_source_info(figure)
        self.add_name(figure)
        return [figure]


class Drawing(Figure):
    """A drawing made by code, inside the page, so that it takes the page's colours."""

    def image(self) -> nodes.Node:
        self.env.note_dependency(drawings.__file__)
        number = self.env.new_serialno("lthbook-drawing") + 1
        try:
            svg = drawings.draw(self.arguments[0], self.options["alt"], f"drawing-{number}")
        except ValueError as error:
            raise self.error(str(error)) from error
        return nodes.raw("", svg, format="html")
