"""Verdicts as HTML: a card on a chapter, and the ledger of all of them."""

from html import escape

from lthkit.report import FAMILY, holm

SYMBOLS = {"holds": "✓", "contradicted": "✗", "undecided": "?"}


def anchor(key: str) -> str:
    return "verdict-" + key.replace("_", "-")


def badge(status: str) -> str:
    symbol = f'<span aria-hidden="true">{SYMBOLS[status]}</span>'
    return f'<span class="lth-badge lth-{status}">{symbol} {status}</span>'


def grounds(verdict: dict) -> str:
    """How the claim was decided, in a few words."""
    if verdict["kind"] == "exact":
        return "exact: the lab asserts it"
    return f"{verdict['interval']} · {verdict['n']} seeds"


def card(key: str, verdict: dict) -> tuple[str, str]:
    """Opening and closing HTML; the author's own line goes between them."""
    exact = verdict["kind"] == "exact"  # its sentence only repeats the claim
    confidence = verdict.get("confidence")
    small = (
        f"Claim from {verdict['source']}" if verdict["source"] else "",
        f"tested on {verdict['scope']}" if verdict["scope"] else "",
        grounds(verdict) if exact else f"interval at {100 * confidence:.6g} %" if confidence else "",
    )
    opening = (
        f'<div class="lth-verdict lth-{verdict["status"]}" id="{anchor(key)}">'
        f'<p class="lth-claim">{badge(verdict["status"])} <strong>{escape(verdict["claim"])}</strong></p>'
        + ("" if exact else f"<p>{escape(verdict['sentence'])}</p>")
        + f'<p class="lth-small">{escape(" · ".join(filter(None, small)))}</p>'
    )
    return opening, "</div>"


def p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def ledger(rows: list[tuple[dict, str, str]]) -> str:
    """A table of (verdict, link, place).  The roles keep it a table for screen readers where CSS stacks its cells."""
    measured = [i for i, (verdict, _, _) in enumerate(rows) if verdict["p"] is not None]
    adjusted = dict(zip(measured, holm([rows[i][0]["p"] for i in measured])))
    heads = ("Claim", "Verdict", "Evidence", "Where")
    counted = f"{len(rows)} claims, {len(measured)} measured; their p is adjusted by Holm’s rule for {FAMILY}."
    html = [
        '<table class="lth-claims" role="table">',
        f"<caption>{counted}</caption>",
        '<thead role="rowgroup"><tr role="row">',
        *(f'<th role="columnheader" scope="col">{head}</th>' for head in heads),
        '</tr></thead><tbody role="rowgroup">',
    ]
    for i, (verdict, uri, where) in enumerate(rows):
        p = f" · adjusted p {p_text(adjusted[i])}" if i in adjusted else ""
        cells = (
            badge(verdict["status"]),
            f'{escape(grounds(verdict) + p)}<br><span class="lth-small">{escape(verdict["scope"])}</span>',
            f'<a class="reference internal" href="{escape(uri)}">{where}</a>',
        )
        html += [
            f'<tr role="row"><th role="rowheader" scope="row">{escape(verdict["claim"])}</th>',
            *(f'<td role="cell" data-label="{head}">{cell}</td>' for head, cell in zip(heads[1:], cells)),
            "</tr>",
        ]
    return "\n".join([*html, "</tbody></table>"])
