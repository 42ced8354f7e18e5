"""The drawings: small, named, in the colours of the page, and true."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from lthbook.drawings import DRAWINGS, LIVE_LOOK, draw

CSS = (Path(__file__).parents[2] / "book/_static/book.css").read_text()
SVG = "{http://www.w3.org/2000/svg}"
SHAPES = {"path", "rect", "circle", "text"}


def parse(name: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(draw(name, "alt", "it")).iter())


def points(shape: ElementTree.Element) -> list[tuple[float, float]]:
    """Of a path, all; of another shape, its corners, its rim or the point that it is placed by."""
    value = {key: float(shape.get(key, 0)) for key in ("x", "y", "cx", "cy", "r", "width", "height")}
    if "d" in shape.attrib:
        return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", shape.get("d"))]
    x, y, r = value["x"] + value["cx"], value["y"] + value["cy"], value["r"]
    return [(x - r, y - r), (x + r + value["width"], y + r + value["height"])]


of_every_drawing = pytest.mark.parametrize("name", DRAWINGS)


@of_every_drawing
def test_a_drawing_is_small_and_says_what_it_shows(name):
    text = draw(name, 'An <arrow> & a "box".', "page-3")
    root = ElementTree.fromstring(text)
    title, description = root[:2]
    assert len(text.encode()) < 10_000
    assert (title.tag, description.tag) == (SVG + "title", SVG + "desc")
    assert title.text == DRAWINGS[name][0] and description.text == 'An <arrow> & a "box".'
    assert root.get("role") == "img"
    assert root.get("aria-labelledby").split() == [title.get("id"), description.get("id")]
    ids = [shape.get("id") for shape in root.iter() if shape.get("id")]
    assert ids == ["page-3-title", "page-3-desc"]


@of_every_drawing
def test_a_drawing_has_no_colour_of_its_own(name):
    for shape in parse(name):
        assert {shape.get("fill", "none"), shape.get("stroke", "none")} <= {"none", "currentColor"}
        assert not {"style", "color", "opacity"} & set(shape.attrib)
        for kind in shape.get("class", "").split():
            assert f".{kind} {{" in CSS


@of_every_drawing
def test_nothing_leaves_its_drawing(name):
    root, *shapes = parse(name)
    _, _, width, height = map(float, root.get("viewBox").split())
    drawn = [shape for shape in shapes if shape.tag.removeprefix(SVG) in SHAPES]
    assert len(drawn) == len(shapes) - 2 > 10
    for x, y in (point for shape in drawn for point in points(shape)):
        assert 0 <= x <= width and 0 <= y <= height


def test_an_unknown_drawing_is_refused_with_the_known_names():
    with pytest.raises(ValueError, match="unknown drawing 'loop': known are rounds, pruning, "):
        draw("loop", "alt", "it")


def test_pruning_halves_each_layer_and_masks_agree_with_weights():
    shapes = parse("pruning")
    said = [int(number) for number in re.findall(r"(?:before|rounds?): (\d+)", " ".join(s.text or "" for s in shapes))]
    assert said == [24, 12, 6]
    for row, left in enumerate(said):
        here = [s for s in shapes if "d" in s.attrib and 12 + 122 * row < points(s)[0][1] < 12 + 122 * (row + 1)]
        weights = [s for s in here if not s.get("class")]
        entries = [len(points(s)) // 2 for s in here if s.get("class") == "lth-two"]
        pruned = [len(points(s)) // 2 for s in here if s.get("class") == "lth-off"]
        assert len(weights) == sum(entries) == left and entries == [left * 2 // 3, left // 3]
        assert sum(pruned) == 2 * (24 - left)  # a line and a dot each


def test_shares_keeps_what_the_labels_say_and_revives_nothing():
    shapes = parse("shares")
    said = [int(s.text.split()[0]) for s in shapes if s.text and s.text.endswith("of 64")]
    assert said == [64, 41, 26, 17, 11, 7]
    kept, before = [s for s in shapes if s.get("class") == "lth-one"], None
    for number, (patch, left) in enumerate(zip(kept, said, strict=True)):
        corner = (8 + 112 * (number % 3), 8 + 124 * (number // 3))
        cells = {(round(x - corner[0]), round(y - corner[1])) for x, y in points(patch)[::2]}
        assert len(cells) == left and (before is None or cells <= before)
        before = cells
    pruned = [len(points(s)) // 2 for s in shapes if s.get("class") == "lth-off"]
    assert pruned == [64 - left for left in said if left < 64]


def test_without_a_path_no_output_is_reached():
    shapes = parse("no_path")
    for left, reached, carried, in_vain in ((0, [3, 3, 0, 0], 4, 3), (180, [3, 1, 0, 0], 3, 5)):
        nodes = [s for s in shapes if s.tag == SVG + "circle" and left < float(s.get("cx")) < left + 160]
        columns = sorted({float(s.get("cx")) for s in nodes})
        filled = [float(s.get("cx")) for s in nodes if s.get("fill") == "currentColor"]
        assert [filled.count(column) for column in columns] == reached
        edges = [s.get("class") for s in shapes if "d" in s.attrib and left < points(s)[0][0] < left + 160]
        assert (edges.count("lth-one"), edges.count("lth-two"), len(edges)) == (carried, in_vain, 9 + 9 + 6)


def test_the_words_of_the_intervals_stand_in_one_place():
    shapes = parse("intervals")
    assert [s.text for s in shapes if s.text in LIVE_LOOK] == list(LIVE_LOOK)
    zero = next(points(s)[0][0] for s in shapes if s.get("stroke-dasharray"))
    low, high = zip(
        *(sorted(x for x, _ in points(s)[:2]) for s in shapes if "d" in s.attrib and not s.get("stroke-dasharray"))
    )
    assert low[0] > zero and low[1] < zero < high[1] and high[2] < zero
