"""The line under a title of a chapter or an appendix that leads to its lab, and the fold over an answer."""

from html import escape
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective


def colab_url(theme_options: dict, docname: str) -> str:
    """Where Colab opens a notebook, from the `repository` and `launch_buttons` keys of `_config.yml`."""
    repository = urlsplit(theme_options["repository_url"]).path.strip("/")
    colab = theme_options["launch_buttons"]["colab_url"].rstrip("/")
    return f"{colab}/github/{repository}/blob/{theme_options['repository_branch']}/{docname}.ipynb"


class Answer(SphinxDirective):
    """What a reader should guess first, folded.  The argument, if any, is what the fold says while it is closed."""

    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self):
        self.assert_has_content()
        label = escape(self.arguments[0] if self.arguments else "Made your guess? Open the answer.")
        opening, closing = f'<details class="lth-answer"><summary>{label}</summary>', "</details>"
        html = [nodes.raw("", part, format="html") for part in (opening, closing)]
        return [html[0], *self.parse_content_to_nodes(), html[1]]


class LabLinks(SphinxDirective):
    """`10 min read · Lab 02 · Open in Colab · Download the notebook`; the argument is the minutes."""

    required_arguments = 1

    def run(self):
        name = PurePosixPath(self.env.docname).name
        lab = f"notebooks/{name}"
        to_lab = addnodes.pending_xref(
            "", nodes.inline("", f"Lab {name[:2]}"), refdomain="std", reftype="doc", reftarget=f"/{lab}",
            refdoc=self.env.docname, refexplicit=True, refwarn=True,
        )  # fmt: skip
        to_colab = nodes.reference("", "Open in Colab", refuri=colab_url(self.config.html_theme_options, lab))
        download = addnodes.download_reference(
            "", "", nodes.inline("", "Download the notebook"), reftarget=f"/{lab}.ipynb", refdoc=self.env.docname
        )
        parts = [nodes.Text(f"{int(self.arguments[0])} min read"), to_lab, to_colab, download]
        line = nodes.paragraph(classes=["lth-lab-links"])
        for part in parts:
            line += [nodes.Text(" · "), part] if line.children else [part]
        return [line]
