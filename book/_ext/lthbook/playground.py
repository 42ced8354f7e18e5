"""The playground: a network that the reader's own browser trains and prunes; `playground.js` of `_static` makes it.

Its digits are those of `lthkit.data`, written into a script, as a page from a disk may load nothing else.
"""

from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from lthkit import data

from . import drawings

HELD = "lthbook_playground"  # in env.metadata of a page that has one
SCRIPTS = ("digits.js", "lottery.js", "playground.js")  # in the order in which they need each other
STILL = "shares"  # the drawing that stands in for it


class Playground(SphinxDirective):
    """The content, below a drawing with the words of `:alt:`, is what a reader sees whose scripts are off."""

    has_content = True
    option_spec: ClassVar[dict] = {"alt": directives.unchanged_required}

    def run(self):
        self.assert_has_content()
        if not self.options.get("alt"):
            raise self.error("playground has no :alt: text")
        if self.env.metadata[self.env.docname].get(HELD):
            raise self.error("a page holds one playground")
        self.env.metadata[self.env.docname][HELD] = True
        self.env.note_dependency(drawings.__file__)
        still = drawings.draw(STILL, self.options["alt"], "playground-still")
        opening, closing = '<div class="lth-playground"></div><noscript>', "</noscript>"
        return [raw(opening + still), *self.parse_content_to_nodes(), raw(closing)]


def raw(html: str) -> nodes.raw:
    return nodes.raw("", html, format="html")


def add_scripts(app, pagename, templatename, context, doctree) -> None:
    """Only a page with a playground loads its scripts and its style."""
    if app.env.metadata.get(pagename, {}).get(HELD):
        app.add_css_file("playground.css")
        for name in SCRIPTS:
            app.add_js_file(name, loading_method="defer")


def digits() -> str:
    """A script with training and test images: of each image its label, then a letter a pixel, a to q for 0 to 16."""
    loaded, lines = data.load("digits"), ["// scikit-learn's digits, written by lthbook/playground.py"]
    for part in ("train", "test"):
        images, labels = getattr(loaded, f"{part}_x"), getattr(loaded, f"{part}_y")
        greys = (16 * images).round().int().flatten(1).tolist()  # [N, 64]
        texts = [str(label) + "".join(chr(97 + grey) for grey in image) for label, image in zip(labels.tolist(), greys)]
        lines.append(f'const DIGITS_{part.upper()} = "{"".join(texts)}";')
    return "\n".join(lines) + "\n"


def write_digits(app, exception) -> None:
    target = Path(app.outdir, "_static", SCRIPTS[0])
    if exception is None and app.builder.format == "html" and not target.exists():
        target.write_text(digits())
