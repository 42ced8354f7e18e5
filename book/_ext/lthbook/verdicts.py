"""Verdicts as HTML: a card on a chapter, and the ledger of all of them."""

from html import escape

SYMBOLS = {
    "holds": "✓", "contradicted": "✗", "undecided": "?",
    "agrees": "+", "disagrees": "−", "too close to call": "≈",
}  # fmt: skip
UNMEASURED = {"exact": "exact: the lab asserts it", "observed": "observed: seen in each seed that ran"}


def anchor(key: str) -> str:
    return "verdict-" + key.replace("_", "-")


def css(status: str) -> str:
    return "lth-" + status.replace(" ", "-")


def badge(status: str) -> str:
    symbol = f'<span aria-hidden="true">{SYMBOLS[status]}</span>'
    return f'<span class="lth-badge {css(status)}">{symbol} {status}</span>'


def grounds(verdict: dict) -> str:
    """What the claim rests on, in a few words."""
    return UNMEASURED.get(verdict["kind"]) or f"{verdict['interval']} · {verdict['n']} seeds"


def card(key: str, verdict: dict) -> tuple[str, str]:
    """Opening and closing HTML; the author's own line goes between them."""
    measured = verdict["kind"] not in UNMEASURED  # the sentence of any other only repeats the claim
    small = (
        f"Claim from {verdict['source']}" if verdict["source"] else "",
        f"tested on {verdict['scope']}" if verdict["scope"] else "",
        f"interval at {100 * verdict['confidence']:.6g} %" if measured else grounds(verdict),
    )
    opening = (
        f'<div class="lth-verdict {css(verdict["status"])}" id="{anchor(key)}">'
        f'<p class="lth-claim">{badge(verdict["status"])} <strong>{escape(verdict["claim"])}</strong></p>'
        + (f"<p>{escape(verdict['sentence'])}</p>" if measured else "")
        + f'<p class="lth-small">{escape(" · ".join(filter(None, small)))}</p>'
    )
    return opening, "</div>"


def ledger(rows: list[tuple[dict, str, str]]) -> str:
    """A table of (verdict, link, chapter).  The roles keep it a table for screen readers where CSS stacks its cells."""
    measured = sum(verdict["kind"] not in UNMEASURED for verdict, _, _ in rows)
    heads = ("Claim", "Verdict", "Evidence", "Where")
    html = [
        '<table class="lth-claims" role="table">',
        f"<caption>{len(rows)} claims, {measured} measured.</caption>",
        '<thead role="rowgroup"><tr role="row">',
        *(f'<th role="columnheader" scope="col">{head}</th>' for head in heads),
        '</tr></thead><tbody role="rowgroup">',
    ]
    for verdict, uri, where in rows:
        cells = (
            badge(verdict["status"]),
            f'{escape(grounds(verdict))}<br><span class="lth-small">{escape(verdict["scope"])}</span>',
            f'<a class="reference internal" href="{escape(uri)}">{where}</a>',
        )
        html += [
            f'<tr role="row"><th role="rowheader" scope="row">{escape(verdict["claim"])}</th>',
            *(f'<td role="cell" data-label="{head}">{cell}</td>' for head, cell in zip(heads[1:], cells)),
            "</tr>",
        ]
    return "\n".join([*html, "</tbody></table>"])
