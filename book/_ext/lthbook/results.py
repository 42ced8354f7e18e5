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
from io import BytesIO
from pathlib import Path, PurePosixPath

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from lthkit import columns, report
from lthkit.checks import lookup

from . import charts, records, verdicts
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


class Decided(SphinxRole):
    """`key` or `key@lab setting`: by how much the arms differ on fresh seeds, or in a setting, from the record."""

    def run(self):
        target, _, setting = self.text.strip().partition(" ")
        node = placeholder(self.env, "decided", target)
        node["spec"] = setting or "fresh"
        self.set_source_info(node)
        self.env.note_reread()  # a record may have changed
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


class Chart(Figure):
    """A figure drawn from the records of replications."""

    def image(self) -> Glued:
        self.env.note_reread()
        try:
            lookup("chart", self.arguments[0], charts.CHARTS)
        except ValueError as error:
            raise self.error(str(error)) from error
        return Glued(kind="chart", key=self.arguments[0], alt=self.options["alt"])


class Verdict(GluedDirective):
    kind = "verdict"
    has_content = True

    def run(self):
        card = self.placeholder()
        card += self.parse_content_to_nodes()
        self.env.note_reread()  # a record may have changed
        self.env.metadata[self.env.docname].setdefault(CARDS, []).append((card["lab"], card["key"]))
        return [card]


class Says(SphinxRole):
    """`key status` or `key@lab setting status`: the sentence before it stands and falls with this claim."""

    def run(self):
        try:
            target, spec = self.text.strip().split(maxsplit=1)
            node = placeholder(self.env, "says", target)
        except ValueError:
            problem = f"{self.text!r} is not of the form `key status` or `key@lab setting status`"
            return [], [self.inliner.reporter.error(problem, line=self.lineno)]
        node["spec"] = spec
        self.set_source_info(node)
        self.env.note_reread()  # a record may have changed
        return [node], []


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
        metadata = self.stored(node["lab"])[node["key"]]["metadata"]
        width = metadata["image/png"]["width"] if "image/png" in metadata else None
        return self.image(node["key"], b64decode(png), node["alt"], width)

    def image(self, key: str, png: bytes, alt: str, width: int | None) -> list[nodes.Node]:
        name = f"{key}-{hashlib.sha256(png).hexdigest()[:8]}.png"
        builder = self.app.builder
        path = Path(builder.outdir, builder.imagedir, name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png)
        up = "../" * self.env.docname.count("/")
        uri = f"{up}{builder.imagedir}/{name}"
        return [nodes.image(uri=uri, candidates={"*": uri}, alt=alt, **({"width": f"{width}px"} if width else {}))]

    def verdict(self, node: Glued) -> list[nodes.Node]:
        if (text := self.content(node, VERDICT)) is None:
            return []
        found = self.records().get((lab_name(node["lab"]), node["key"]), records.NOTHING)
        opening, closing = verdicts.card(node["key"], json.loads(text), found)
        return [raw(opening), *node.children, raw(closing)]

    def records(self) -> dict:
        return records.found(Path(self.app.srcdir))

    def says(self, node: Glued) -> list[nodes.Node]:
        """A link to the claim, and a warning where the records say otherwise than the sentence."""
        if (text := self.content(node, VERDICT)) is None:
            return []
        first, _, rest = node["spec"].partition(" ")
        setting, expected = (first, rest) if first in records.SHORT else ("", node["spec"])
        live, found = json.loads(text), self.records().get((lab_name(node["lab"]), node["key"]), records.NOTHING)
        status = (found.status(setting) if setting else verdicts.status_of(live, found)) or "unknown: no record"
        known = {expected, *({report.LIVE[expected]} if expected in report.LIVE and not setting else ())}
        if status not in known:
            told = f"claim {node['key']!r}{f' in setting {setting}' if setting else ''} is {status}, the sentence says"
            logger.warning("%s %s", told, expected, location=node, type="lthbook")
            return []
        uri = self.app.builder.get_relative_uri(self.env.docname, "book/claims")
        return [raw(verdicts.says(status, f"{uri}#{verdicts.row_anchor(node['key'])}"))]

    def decided(self, node: Glued) -> list[nodes.Node]:
        setting, found = node["spec"], self.records().get((lab_name(node["lab"]), node["key"]), records.NOTHING)
        verdict = found.verdict if setting == "fresh" else found.looks.get(setting)
        if verdict is None or verdict["difference"] is None:
            where = "on fresh seeds" if setting == "fresh" else f"in setting {setting}"
            logger.warning("claim %r has no record %s", node["key"], where, location=node, type="lthbook")
            return []
        shown = columns.of(verdict["column"])
        return [nodes.Text(f"{abs(shown.scale * verdict['difference']):.{shown.digits}f}{shown.unit}")]

    def chart(self, node: Glued) -> list[nodes.Node]:
        """A figure drawn from recorded tables."""
        try:
            figure = charts.CHARTS[node["key"]](Path(self.app.srcdir))
        except ValueError as error:
            logger.warning("%s", error, location=node, type="lthbook")
            return []
        png = BytesIO()
        figure.savefig(png, format="png", dpi=2 * figure.dpi, bbox_inches="tight")
        return self.image(node["key"], png.getvalue(), node["alt"], int.from_bytes(png.getvalue()[16:20]) // 2)

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
                live, number = json.loads(output["data"][VERDICT]), lab_name(lab)[:2]
                chapter = f"{'Chapter' if number.isdecimal() else 'Appendix'} {number}"
                links = [(f"Lab {number}", self.uri(lab, verdicts.cell_anchor(key)))]
                if page := shown.get((lab, key)):
                    links.insert(0, (chapter, self.uri(page, verdicts.anchor(key))))
                if source := self.source(live["source"]):
                    links.append((live["source"], self.uri(*source)))
                found = self.records().get((lab_name(lab), key), records.NOTHING)
                rows.append(verdicts.Row(key, live, found, chapter, links))
        return [raw(verdicts.ledger(rows))]

    def uri(self, page: str, anchor: str) -> str:
        return f"{self.app.builder.get_relative_uri(self.env.docname, page)}#{anchor}"

    def source(self, text: str) -> tuple[str, str] | None:
        """(page, anchor) in the bibliography of a source that begins with an author and has a year; None for others."""
        name = re.match(r"(\w+)\b.*?\b(\d{4})", text)
        if not name or "cite" not in self.env.domains:
            return None
        domain, start = self.env.get_domain("cite"), f"{name[1]}{name[2]}".lower()
        for citation in domain.citations:
            if citation.key.startswith(start):
                return citation.bibliography_key.docname, citation.citation_id
        return None

    def labs(self) -> list[str]:
        """The notebooks, in the order of the table of contents."""

        def below(page: str):
            yield page
            for child in self.env.toctree_includes.get(page, []):
                yield from below(child)

        return [page for page in below(self.config.root_doc) if page.startswith("notebooks/")]


def lab_name(docname: str) -> str:
    return PurePosixPath(docname).name


@lru_cache
def read_store(path: Path, mtime: int) -> dict:
    return json.loads(path.read_text())


def raw(html: str) -> nodes.raw:
    return nodes.raw("", html, format="html")
