"""Verdicts as HTML: a card on a chapter, and the ledger of all of them."""

from dataclasses import dataclass
from html import escape

from .records import NOTHING, SHORT, Found, robustness

SYMBOLS = {
    "holds": "✓", "contradicted": "✗", "undecided": "?",
    "agrees": "+", "disagrees": "−", "too close to call": "≈",
}  # fmt: skip
UNMEASURED = {"exact": "exact: the lab asserts it", "observed": "observed: seen in each seed that ran"}


def anchor(key: str) -> str:
    return "verdict-" + key.replace("_", "-")


def row_anchor(key: str) -> str:
    return "claim-" + key.replace("_", "-")


def cell_anchor(key: str) -> str:
    return "cell-" + key.replace("_", "-")


def css(status: str) -> str:
    return "lth-" + status.replace(" ", "-")


def badge(status: str) -> str:
    symbol = f'<span aria-hidden="true">{SYMBOLS[status]}</span>'
    return f'<span class="lth-badge {css(status)}">{symbol} {status}</span>'


def status_of(live: dict, found: Found) -> str:
    """The word of the badge: the verdict, and as long as there is none the live look."""
    return found.status() or live["status"] if live["kind"] not in UNMEASURED else live["status"]


def grounds(verdict: dict) -> str:
    """What the claim rests on, in a few words."""
    return UNMEASURED.get(verdict["kind"]) or f"{verdict['interval']}, {verdict['n']} seeds"


def strip(found: Found) -> str:
    """A mark for each setting.  Its numbers open below it, by mouse, key or finger."""
    if not found.looks:
        return ""
    marks, rows = [], []
    for name, look in found.looks.items():
        status = escape(look["status"])
        symbol = f'<span aria-hidden="true">{SYMBOLS[status]}</span>'
        marks.append(f'<span class="lth-mark {css(status)}">{symbol} {SHORT[name]}</span>')
        old = f" · {outdated(found.old[name])}" if name in found.old else ""
        rows.append(f"<li>{SHORT[name]}: {status}, {escape(grounds(look) + old)}</li>")
    said = escape(robustness(found))
    return (
        f'<details class="lth-strip"><summary>{" ".join(marks)} <span class="lth-small">{said}</span></summary>'
        f"<ul>{''.join(rows)}</ul></details>"
    )


def decided(found: Found) -> str:
    """The verdict's sentence, with its level, or that there is none yet."""
    verdict = found.verdict
    if verdict is None:
        return "Not decided yet: this lab has not run on fresh seeds."
    level = f"interval at {100 * verdict['confidence']:.4g} %, adjusted p {p_text(verdict['p'])}"
    needed = f" About {verdict['needed']} seeds would find what matters." if verdict.get("needed") else ""
    old = f" This is {outdated(found.old['fresh'])}." if "fresh" in found.old else ""
    return f"{verdict['sentence'].removesuffix('.')} ({level}).{needed}{old}"


def outdated(days: int) -> str:
    return f"a record of {days} days ago; the lab has changed since"


def p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def card(key: str, live: dict, found: Found = NOTHING) -> tuple[str, str]:
    """Opening and closing HTML; the author's own line goes between them."""
    measured = live["kind"] not in UNMEASURED  # the sentence of any other only repeats the claim
    status = status_of(live, found)
    opening = (
        f'<div class="lth-verdict {css(status)}" id="{anchor(key)}">'
        f'<p class="lth-claim">{badge(status)} <strong>{escape(live["claim"])}</strong></p>'
    )
    if measured:
        opening += f"<p>{escape(decided(found))}</p>"
    opening += strip(found)
    small = (
        f"live look: {live['status']}, {grounds(live)}" if measured else grounds(live),
        f"tested on {live['scope']}" if live["scope"] else "",
        f"claim from {live['source']}" if live["source"] else "",
    )
    line = " · ".join(filter(None, small))
    return opening + f'<p class="lth-small">{escape(line[0].upper() + line[1:])}</p>', "</div>"


@dataclass(frozen=True)
class Row:
    """A line of the ledger.  links: (text, uri) of the places where the claim stands."""

    key: str
    live: dict
    found: Found
    chapter: str
    links: list[tuple[str, str]]

    @property
    def robust(self) -> str:
        if not self.found.looks:
            return "one setting"
        return "in all settings" if robustness(self.found).endswith("settings.") else "not in all settings"


HEADS = ("Claim", "Verdict", "Live look", "Other settings", "Where")


def ledger(rows: list[Row]) -> str:
    """A table of all claims.  The roles keep it a table for screen readers where CSS stacks its cells."""
    measured = [row for row in rows if row.live["kind"] not in UNMEASURED]
    fresh = sum(row.found.verdict is not None for row in measured)
    html = [
        '<table class="lth-claims" role="table">',
        f"<caption>{len(rows)} claims, {len(measured)} measured, {fresh} of these decided on fresh seeds.</caption>",
        '<thead role="rowgroup"><tr role="row">',
        *(f'<th role="columnheader" scope="col">{head}</th>' for head in HEADS),
        '</tr></thead><tbody role="rowgroup">',
    ]
    for row in rows:
        live, status = row.live, status_of(row.live, row.found)
        is_measured = live["kind"] not in UNMEASURED
        why = decided(row.found) if is_measured else grounds(live)
        data = f'data-chapter="{escape(row.chapter)}" data-verdict="{status}" data-settings="{row.robust}"'
        cells = (
            f'{badge(status)}<br><span class="lth-small">{escape(why)}</span>',
            f'<span class="lth-small">{escape(live["status"] + ", " + grounds(live))}</span>' if is_measured else "",
            strip(row.found),
            "<br>".join(
                f'<a class="reference internal" href="{escape(uri)}">{escape(text)}</a>' for text, uri in row.links
            ),
        )
        small = escape(" · ".join(filter(None, (live["scope"], live["source"]))))
        html += [
            f'<tr role="row" id="{row_anchor(row.key)}" {data}>',
            f'<th role="rowheader" scope="row">{escape(live["claim"])}<br><span class="lth-small">{small}</span></th>',
            *(f'<td role="cell" data-label="{head}">{cell}</td>' for head, cell in zip(HEADS[1:], cells, strict=True)),
            "</tr>",
        ]
    return "\n".join([*html, "</tbody></table>"])


def says(status: str, uri: str) -> str:
    """A small link from a sentence to the claim that bears it out; by being contradicted, if the sentence denies it."""
    link = f'class="reference internal" href="{escape(uri)}" aria-label="Borne out. Claim: {escape(status)}"'
    return f'<sup class="lth-says"><a {link}>✓</a></sup>'
