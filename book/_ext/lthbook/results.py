"""Roles and directives that put the results of a lab on a page.

While pages are read, the labs may not have run yet.  A page then holds `Glued` placeholders; `FillIn` replaces them
just before the page is written, from the store that myst-nb writes beside each executed notebook.
"""

import hashlib
import json
import re
from ast import literal_eval
from base64 import b64decode
from functools import lru_cache
from pathlib import Path, PurePosixPath

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from . import verdicts
from .figures import Figure

logger = logging.getLogger(__name__)
VERDICT = "application/vnd.lthkit.verdict+json"
KEY = re.compile(r"(?P<key>[a-z0-9_]+)(@(?P<lab>\w+))?(:(?P<spec>.+))?")
CARDS = "lthbook_verdicts"  # in env.metadata of a page: the (lab, key) pairs whose cards it shows


class Glued(nodes.Inline, nodes.Element):
    """A placeholder.  kind: text, figure, verdict or claims; key; lab: the notebook's docname."""


def placeholder(env, kind: str, target: str) -> Glued:
    """The placeholder for `key`, `key:spec` or `key@lab:spec`; the page is read again whenever the lab changes."""
    match = KEY.fullmatch(target.strip())
    if not match:
        raise ValueError(f"{target!r} is not of the form key, key:format, key@lab or key@lab:format")
    lab = "notebooks/" + (match["lab"] or PurePosixPath(env.docname).name)
    env.note_dependency(f"{lab}.ipynb")
    return Glued(kind=kind, key=match["key"], lab=lab, spec=match["spec"] or "")


class GluedText(SphinxRole):
    def run(self):
        try:
            node = placeholder(self.env, "text", self.text)
        except ValueError as error:
            return [], [self.inliner.reporter.error(str(error), line=self.lineno)]
        self.set_source_info(node)
        return [node], []


class GluedDirective(SphinxDirective):
    kind: str
    required_arguments = 1

    def placeholder(self) -> Glued:
        try:
            node = placeholder(self.env, self.kind, self.arguments[0])
        except ValueError as error:
            raise self.error(str(error)) from error
        self.set_source_info(node)
        return node


class GluedFigure(Figure, GluedDirective):
    kind = "figure"

    def image(self) -> Glued:
        image = self.placeholder()
        image["alt"] = self.options["alt"]
        return image


class Verdict(GluedDirective):
    kind = "verdict"
    has_content = True

    def run(self):
        card = self.placeholder()
        card += self.parse_content_to_nodes()
        self.env.metadata[self.env.docname].setdefault(CARDS, []).append((card["lab"], card["key"]))
        return [card]


class Claims(SphinxDirective):
    def run(self):
        self.env.note_reread()  # any lab or chapter may have changed
        node = Glued(kind="claims")
        self.set_source_info(node)
        return [node]


class FillIn(SphinxPostTransform):
    default_priority = 5

    def run(self, **kwargs) -> None:
        for node in list(self.document.findall(Glued)):
            filled = getattr(self, node["kind"])(node)
            node.replace_self(filled)

    def stored(self, lab: str) -> dict:
        path = Path(self.env.mystnb_config.output_folder, f"{lab}.glue.json")
        return read_store(path, path.stat().st_mtime_ns) if path.exists() else {}

    def content(self, node: Glued, mime: str):
        """What the lab glued, or None after a warning."""
        data = self.stored(node["lab"]).get(node["key"], {}).get("data", {})
        if mime not in data:
            problem = f"holds no {mime}" if data else "is missing"
            logger.warning("glued key %r of %s %s", node["key"], node["lab"], problem, location=node, type="lthbook")
        return data.get(mime)

    def text(self, node: Glued) -> list[nodes.Node]:
        if (text := self.content(node, "text/plain")) is None:
            return []
        try:
            value = float(text) if text in ("nan", "inf", "-inf") else literal_eval(text)
            return [nodes.Text(format(value, node["spec"]))]
        except (ValueError, SyntaxError) as error:
            logger.warning("glued key %r of %s: %s", node["key"], node["lab"], error, location=node, type="lthbook")
            return []

    def figure(self, node: Glued) -> list[nodes.Node]:
        if (png := self.content(node, "image/png")) is None:
            return []
        png = b64decode(png)
        name = f"{node['key']}-{hashlib.sha256(png).hexdigest()[:8]}.png"
        builder = self.app.builder
        path = Path(builder.outdir, builder.imagedir, name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png)
        up = "../" * self.env.docname.count("/")
        uri = f"{up}{builder.imagedir}/{name}"
        metadata = self.stored(node["lab"])[node["key"]]["metadata"]
        width = f"{metadata['image/png']['width']}px" if "image/png" in metadata else None
        return [nodes.image(uri=uri, candidates={"*": uri}, alt=node["alt"], **({"width": width} if width else {}))]

    def verdict(self, node: Glued) -> list[nodes.Node]:
        if (text := self.content(node, VERDICT)) is None:
            return []
        opening, closing = verdicts.card(node["key"], json.loads(text))
        return [raw(opening), *node.children, raw(closing)]

    def claims(self, node: Glued) -> list[nodes.Node]:
        shown = {pair: page for page in self.env.found_docs for pair in self.env.metadata[page].get(CARDS, [])}
        rows, first = [], {}
        for lab in self.labs():
            for key, output in self.stored(lab).items():
                if VERDICT not in output["data"]:
                    continue
                if key in first:
                    logger.warning(
                        "claim %r is glued by %s and %s", key, first[key], lab, location=node, type="lthbook"
                    )
                first.setdefault(key, lab)
                page = shown.get((lab, key))
                anchor = f"#{verdicts.anchor(key)}" if page else ""
                uri = self.app.builder.get_relative_uri(self.env.docname, page or lab) + anchor
                number = PurePosixPath(page or lab).name[:2]
                kind = "Lab" if not page else "Chapter" if number.isdecimal() else "Appendix"
                rows.append((json.loads(output["data"][VERDICT]), uri, f"{kind} {number}"))
        return [raw(verdicts.ledger(rows))]

    def labs(self) -> list[str]:
        """The notebooks, in the order of the table of contents."""

        def below(page: str):
            yield page
            for child in self.env.toctree_includes.get(page, []):
                yield from below(child)

        return [page for page in below(self.config.root_doc) if page.startswith("notebooks/")]


@lru_cache
def read_store(path: Path, mtime: int) -> dict:
    return json.loads(path.read_text())


def raw(html: str) -> nodes.raw:
    return nodes.raw("", html, format="html")
