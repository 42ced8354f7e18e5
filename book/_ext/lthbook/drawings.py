"""The book's drawings as SVG text: every position is computed, every colour is the page's.

Lines and text are drawn in `currentColor`, which follows light and dark.  Three classes of `book.css` change it:
`lth-one` and `lth-two` are accents, `lth-off` is what is pruned.  What differs in colour differs in form as well.
A point is a complex number, x + yj, with y downwards.
"""

from collections.abc import Iterable
from functools import partial
from html import escape
from itertools import pairwise, product
from random import Random

from lthkit.checks import lookup

SCALE = 1.25  # pixels to a unit, where there is room; on a phone it is about one
RADIUS = 6  # of a network's unit
SOLID, DASHED = {"stroke_width": 2.5}, {"stroke_width": 2, "stroke_dasharray": "5 4"}
DOTTED, BOLD = {"stroke_width": 1, "stroke_dasharray": "1 3"}, {"font_weight": "600"}
LIVE_LOOK = ("agrees", "too close to call", "disagrees")  # what a live look says of a claim


def shape(tag: str, kind: str = "", text: str = "", **values: float | str) -> str:
    """One element; kind: its class."""
    values = {"class": kind, **values} if kind else values
    written = (value if isinstance(value, str) else f"{value:.4g}" for value in values.values())
    opening = tag + "".join(f' {key.replace("_", "-")}="{value}"' for key, value in zip(values, written))
    return f"<{opening}>{escape(text)}</{tag}>" if text else f"<{opening}/>"


def lines(*tracks: Iterable[complex], kind: str = "", end: str = "", **style: float | str) -> str:
    """One element for all tracks, each a sequence of points; none without a track."""
    drawn = ("L".join(f"{point.real:.4g} {point.imag:.4g}" for point in track) for track in tracks)
    return shape("path", kind, d="".join(f"M{track}{end}" for track in drawn), **style) if tracks else ""


def arrow(start: complex, end: complex, kind: str = "", **style: float | str) -> str:
    step = (end - start) / abs(end - start)
    head = (end, end - (9 - 4j) * step, end - (9 + 4j) * step)
    return lines((start, end - 8 * step), kind=kind, **style) + lines(head, kind=kind, end="Z", fill="currentColor")


def label(at: complex, text: str, kind: str = "", anchor: str = "middle", **style: float | str) -> str:
    """Text whose middle, or the end that `anchor` names, is `at`."""
    place = {"x": at.real, "y": at.imag + 4.5, "text_anchor": anchor}
    return shape("text", kind, text, **place, fill="currentColor", stroke="none", **style)


def box(middle: complex, width: float, height: float, kind: str = "", **style: float | str) -> str:
    corner = middle - complex(width, height) / 2
    return shape("rect", kind, x=corner.real, y=corner.imag, width=width, height=height, **style)


def node(at: complex, kind: str = "", **style: float | str) -> str:
    return shape("circle", kind, cx=at.real, cy=at.imag, r=RADIUS, **style)


def edge(start: complex, end: complex) -> tuple[complex, complex]:
    """The track from the rim of one node to the rim of another."""
    rim = RADIUS * (end - start) / abs(end - start)
    return start + rim, end - rim


def column(size: int, middle: complex, apart: float) -> list[complex]:
    """Where the units of a layer stand."""
    return [middle + (unit - (size - 1) / 2) * apart * 1j for unit in range(size)]


def rounds() -> Iterable[str]:
    """One round with the four weights of chapter 00."""
    first, trained, kept = (0.3, 0.8, -0.5, -0.1), (0.7, 0.2, -0.9, 0.1), (1, 0, 1, 0)
    again = [value * keep for value, keep in zip(first, kept)]
    start, end, mask, ticket = 60 + 74j, 280 + 74j, 280 + 238j, 60 + 238j
    for at, name, name_at, values, kind in (
        (start, "first values", -61j, first, "lth-one"), (end, "after training", -61j, trained, ""),
        (mask, "mask", 61j, (), ""), (ticket, "ticket", 61j, again, "lth-one"),
    ):  # fmt: skip
        slots = [at + 26 * (slot - 1.5) - 8j for slot in range(4)]
        yield box(at, 116, 96, rx=6) + label(at + name_at, name, **BOLD)
        yield from (label(middle + 46j, letter) for middle, letter in zip(slots, "abcd"))
        if at in (mask, ticket):
            yield from (box(middle, 20, 64, "lth-two", **SOLID) for middle, keep in zip(slots, kept) if keep)
            yield from (box(middle, 20, 64, "lth-off", **DOTTED) for middle, keep in zip(slots, kept) if not keep)
        bars = [(middle, middle - 32j * value) for middle, value in zip(slots, values)]
        yield lines(*bars, kind=kind, stroke_width=10)
    yield arrow(start + 60, end - 60) + label(170 + 60j, "train")
    yield arrow(end + 50j, mask - 50j) + label(290 + 156j, "prune", anchor="start")
    yield arrow(mask - 60, ticket + 60, "lth-two", **DASHED) + label(170 + 254j, "places", "lth-two")
    yield arrow(start + 50j, ticket - 50j, "lth-one", **SOLID) + label(50 + 156j, "rewind", "lth-one", "end")
    yield arrow(ticket + 60 - 40j, end - 60 + 40j) + label(178 + 166j, "train again", anchor="start")


def pruning() -> Iterable[str]:
    """A network that loses half of its weights twice, the smallest of a layer first, and its two masks."""
    sizes, draw = (4, 4, 2), Random(3)
    weights = [{pair: draw.random() for pair in product(range(a), range(b))} for a, b in pairwise(sizes)]
    yield label(204 + 12j, "masks", anchor="start", **BOLD)
    for halvings, when in enumerate(("before: {} weights", "after one round: {}", "after two rounds: {}")):
        middle, left = (70 + halvings * 122) * 1j, 0
        places = [column(size, middle + 12 + 80 * depth, 24) for depth, size in enumerate(sizes)]
        for depth, values in enumerate(weights):
            alive = sorted(values, key=values.get)[-(len(values) >> halvings) :]
            dead = [pair for pair in values if pair not in alive]
            left += len(alive)
            edges = {(unit, to): edge(places[depth][unit], places[depth + 1][to]) for unit, to in values}
            yield lines(*(edges[pair] for pair in dead), kind="lth-off", **DOTTED)
            yield from (lines(edges[pair], stroke_width=0.8 + 2.4 * values[pair]) for pair in alive)
            rows = column(sizes[depth + 1], middle + 210 + 70 * depth, 14)
            cells = {(unit, to): rows[to] + 14 * unit for unit, to in values}
            yield lines(*((cells[pair] - 1.5, cells[pair] + 1.5) for pair in dead), kind="lth-off", stroke_width=3)
            yield lines(*((cells[pair] - 6, cells[pair] + 6) for pair in alive), kind="lth-two", stroke_width=12)
        yield from (node(at) for units in places for at in units)
        yield label(middle - 58j + 6, when.format(left), anchor="start", **BOLD)


def no_path() -> Iterable[str]:
    emptied = [{(0, 0), (1, 0), (1, 2), (2, 1)}, set(), {(0, 0), (1, 1), (2, 1)}]
    unmet = [{(0, 0), (1, 0), (2, 0)}, {(2, 1), (2, 2)}, {(1, 0), (1, 1), (2, 1)}]
    for left, name, why, kept in (
        (11, "layer collapse", "a layer keeps no weight", emptied), (191, "no path", "each layer keeps some", unmet),
    ):  # fmt: skip
        places = [column(size, left + 46 * depth + 74j, 34) for depth, size in enumerate((3, 3, 3, 2))]
        reached = {0, 1, 2}
        for units, after, weights in zip(places, [*places[1:], []], [*kept, set()]):
            for unit, at in enumerate(units):
                yield node(at, "lth-one", fill="currentColor") if unit in reached else node(at)
            for (unit, at), (to, end) in product(enumerate(units), enumerate(after)):
                kind, style = ("lth-one", SOLID) if unit in reached else ("lth-two", DASHED)
                kind, style = (kind, style) if (unit, to) in weights else ("lth-off", DOTTED)
                yield lines(edge(at, end), kind=kind, **style)
            reached = {to for unit, to in weights if unit in reached}
        yield label(left - 6 + 14j, "inputs", anchor="start") + label(left + 144 + 14j, "outputs", anchor="end")
        yield label(left + 69 + 134j, name, **BOLD) + label(left + 69 + 154j, why, font_size=13)


def intervals(words: tuple[str, str, str]) -> Iterable[str]:
    """words: what is said of an interval above zero, across it, and below it."""
    zero, reach = 136, 42
    yield label(zero - 8 + 12j, "control leads", anchor="end") + label(zero + 8 + 12j, "ticket leads", anchor="start")
    for row, (word, lead, kind) in enumerate(zip(words, (66, 14, -66), ("lth-one", "", "lth-two"))):
        height = (62 + 48 * row) * 1j
        low, mean, high = (zero + lead + height + side * reach for side in (-1, 0, 1))
        yield label(2 + height - 22j, word, kind, "start", **BOLD) + node(mean, kind, fill="currentColor")
        yield lines((low, high), (low - 6j, low + 6j), (high - 6j, high + 6j), kind=kind, **SOLID)
    yield lines((zero + 4j, zero + 174j), **DASHED) + label(zero + 188j, "zero, or the claim’s margin")


def gradients() -> Iterable[str]:
    """Forward and backward at the pruned weight of chapter 04's table."""
    boxes = (("weight_orig", "−0.2", "gradient 0"), ("mask", "0", "1.2 × 0"), ("weight", "0", "gradient 1.2"))
    loss = 170 + 284j
    for row, (name, value, gradient) in enumerate(boxes):
        at = 170 + (32 + 84 * row) * 1j
        yield box(at, 116, 48, rx=6) + label(at - 10j, name) + label(at + 11j, value)
        yield label(at + 66, gradient, "lth-two", "start", **BOLD)
        yield arrow(at - 12 + 26j, at - 12 + 58j) + arrow(at + 12 + 58j, at + 12 + 26j, "lth-two", **DASHED)
    yield box(loss, 116, 48, rx=6) + label(loss, "loss") + label(104 + 116j, "−0.2 × 0", anchor="end")
    yield label(146 + 74j, "forward", anchor="end") + label(194 + 74j, "backward", "lth-two", "start")


def shares() -> Iterable[str]:
    """The 64 weights of a unit of the first layer, a patch for its pixels, as rounds prune 36 % of them each."""
    order = list(product(range(8), range(8)))
    Random(8).shuffle(order)  # the weights by magnitude, largest first
    left, pitch = len(order), 11
    for number in range(6):
        corner = complex(8 + 112 * (number % 3), 8 + 124 * (number // 3))
        cells = [corner + (x + 0.5) * pitch + (y + 0.5) * pitch * 1j for x, y in order]
        yield lines(*((cell - 4.5, cell + 4.5) for cell in cells[:left]), kind="lth-one", stroke_width=9)
        yield lines(*((cell - 1.5, cell + 1.5) for cell in cells[left:]), kind="lth-off", stroke_width=3)
        yield label(corner + 4 * pitch + (8 * pitch + 12) * 1j, f"{left} of 64")
        left -= round(0.36 * left)


DRAWINGS = {  # name: (title, width, height, what draws it)
    "rounds": ("One round with four weights", 340, 312, rounds),
    "pruning": ("A network loses weights", 340, 368, pruning),
    "no_path": ("Two networks without a path", 340, 168, no_path),
    "intervals": ("Three intervals and a zero line", 272, 200, partial(intervals, LIVE_LOOK)),
    "gradients": ("Two gradients at one pruned position", 340, 312, gradients),
    "shares": ("The weights of one unit, round by round", 328, 240, shares),
}


def draw(name: str, alt: str, ident: str) -> str:
    """The drawing as SVG text.

    alt: what it shows, in words; ident: begins its ids, unique on the page.  Raises ValueError for an unknown name.
    """
    title, width, height, shapes = lookup("drawing", name, DRAWINGS)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="lth-drawing" viewBox="0 0 {width} {height}" '
        f'width="{SCALE * width:g}" role="img" '
        f'aria-labelledby="{ident}-title {ident}-desc" fill="none" stroke="currentColor" stroke-width="1.5" '
        f'font-size="14"><title id="{ident}-title">{title}</title><desc id="{ident}-desc">{escape(alt)}</desc>'
        f"{''.join(shapes())}</svg>"
    )
