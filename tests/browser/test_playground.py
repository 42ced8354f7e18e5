"""The playground as a reader uses it: by mouse and by keys, from a server and from a disk, with and without scripts."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

PAGE = "book/00_ticket_in_ten_minutes.html"
STATIC = Path(__file__).parents[2] / "_build/html/_static"
SCRIPTS = ["digits.js", "lottery.js", "playground.js"]
TRAINED = "() => !document.querySelector('[name=control]').disabled"
LIMIT = 120_000  # milliseconds; a busy machine is slow

pytestmark = pytest.mark.browser


@pytest.fixture
def play(visit):
    """Opens the playground with trainings of so many epochs."""

    def start(epochs: int = 2, **how):
        page = visit(PAGE, **how)
        page.get_by_role("slider", name="Epochs of each training").fill(str(epochs))
        page.get_by_role("slider", name="Epochs of each training").dispatch_event("change")
        return page

    return start


def search(page) -> None:
    page.get_by_role("button", name="Train, prune, rewind").click()
    page.wait_for_function(TRAINED, timeout=LIMIT)


def status(page) -> str:
    return page.locator(".lth-playground [role=status]").inner_text()


def numbers(page) -> list[list[str]]:
    """The table, a row a round: kept, ticket, control, milliseconds."""
    texts = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent.replace(/\\u00a0%/, '')))"
    return page.locator(".lth-numbers tbody tr").evaluate_all(texts)


def draw(page, *points: tuple[float, float]) -> None:
    """A stroke on the paper; points in shares of its side."""
    paper = page.get_by_label("Paper for a digit")
    paper.scroll_into_view_if_needed()
    box = paper.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def flaws(page) -> list[str]:
    found = list(page.problems)
    wide = page.evaluate("document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth")
    found += [f"{wide} pixels wider than the window"] if wide > 0 else []
    violations = Axe().run(page, context=".lth-playground").response["violations"]
    page.problems.clear()  # axe asks for style sheets that it may not have
    return found + [f"axe {violation['id']}: {violation['nodes'][0]['html'][:200]}" for violation in violations]


@pytest.mark.parametrize("from_disk", [False, True])
@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 360)])
def test_the_story_by_mouse(play, from_disk, scheme, width):
    page = play(from_disk=from_disk, scheme=scheme, width=width)
    assert not flaws(page)
    search(page)
    rows = numbers(page)
    assert [row[0] for row in rows][:3] == ["100.0", "64.4", "41.5"] and len(rows) == 9
    assert {row[2] for row in rows} == {"–"}
    page.get_by_role("button", name="Re-init, train again").click()
    assert status(page).startswith("First your guess") and page.evaluate("document.activeElement.name") == "guess"
    page.get_by_label("1 to 5 points worse").check()
    page.get_by_role("button", name="Re-init, train again").click()
    page.wait_for_function(TRAINED, timeout=LIMIT)
    assert "your guess was “1 to 5 points worse”" in status(page)
    lead = page.locator(".lth-leads tbody td").all_inner_texts()[-1].replace("−", "-")
    ticket, control = (float(cell) for cell in numbers(page)[-1][1:3])
    assert float(lead) == pytest.approx(ticket - control, abs=0.11)
    page.get_by_role("slider", name="Share of weights kept").fill("2")
    said = page.locator(".lth-told").inner_text()
    assert numbers(page)[2][1] in said and "times as fast" in said
    assert re.search(r"of 19,200 weights", page.locator(".lth-mask").get_attribute("aria-label"))
    draw(page, (0.2, 0.15), (0.75, 0.15), (0.4, 0.9))
    page.wait_for_function("() => document.querySelector('.lth-heard').innerText.includes('Control')")
    assert re.search(r"Dense network: \d, .*\nTicket: \d, .*\nControl: \d, ", page.locator(".lth-heard").inner_text())
    page.get_by_role("button", name="Clear").click()
    assert page.locator(".lth-heard").inner_text() == ""
    page.locator("details", has=page.locator(".lth-numbers")).locator("summary").click()
    assert not flaws(page)


def test_the_story_by_keys(play):
    page = play(epochs=1)
    press, focused = page.keyboard.press, "document.activeElement.name || document.activeElement.className"
    page.get_by_role("spinbutton", name="Seed").focus()
    page.keyboard.type("7")
    press("Tab")
    press("ArrowRight")
    assert page.get_by_role("slider", name="Epochs of each training").input_value() == "2"
    press("Tab")
    press("Space")
    for _ in range(3):
        press("ArrowDown")
    press("Tab")
    assert page.evaluate(focused) == "search"
    press("Enter")
    page.wait_for_function(TRAINED, timeout=LIMIT)
    page.get_by_role(
        "spinbutton", name="Seed"
    ).focus()  # a button that was pressed is off meanwhile, and loses the focus
    for _ in range(4):
        press("Tab")
    assert page.evaluate(focused) == "control"
    press("Enter")
    page.wait_for_function(TRAINED, timeout=LIMIT)
    assert "your guess was “over 5 points worse”" in status(page)
    page.get_by_role("slider", name="Share of weights kept").focus()
    before = page.locator(".lth-told").inner_text()
    press("ArrowLeft")
    assert page.get_by_role("slider", name="Share of weights kept").get_attribute("aria-valuetext").endswith("kept")
    assert page.locator(".lth-told").inner_text() != before
    press("Tab")
    press("Tab")
    assert page.evaluate(focused) == "lth-paper"
    top = page.evaluate("scrollY")
    for key in ["ArrowUp"] * 6 + ["Space"] + ["ArrowDown"] * 12 + ["Space"]:
        press(key)
    page.wait_for_function("() => document.querySelector('.lth-heard').innerText.includes('Control')")
    assert page.evaluate("scrollY") == top  # the keys move the pen, not the page
    press("Tab")
    press("Enter")
    assert page.locator(".lth-heard").inner_text() == ""
    assert not flaws(page)


def test_a_seed_gives_the_same_again_and_another_seed_something_else(play):
    page = play(epochs=1)
    found = []
    for seed in ("3", "4", "3"):
        page.get_by_role("spinbutton", name="Seed").fill(seed)
        page.get_by_role("spinbutton", name="Seed").dispatch_event("change")
        assert "train again" in status(page)
        search(page)
        found.append([row[1] for row in numbers(page)])
    assert found[0] == found[2] != found[1]


def test_a_hidden_page_rests_and_goes_on_when_it_is_seen(play):
    page = play(epochs=20)
    page.get_by_role("button", name="Train, prune, rewind").click()
    far = "document.querySelector('.lth-playground progress').value"
    page.wait_for_function(f"() => {far} > 0", timeout=LIMIT)
    hide = "now => { Object.defineProperty(document, 'hidden', {get: () => now, configurable: true}); "
    hide += "document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(hide, True)
    page.wait_for_timeout(1000)  # the slice at work ends
    stood = page.evaluate(far)
    page.wait_for_timeout(1000)
    assert page.evaluate(far) == stood
    page.evaluate(hide, False)
    page.wait_for_function(f"() => {far} > {stood}", timeout=LIMIT)
    page.get_by_role("button", name="Stop").click()
    page.wait_for_function("() => !document.querySelector('[name=search]').disabled")
    assert status(page) == "Stopped." and not page.problems


def test_nothing_moves_for_who_wants_calm(play):
    page = play(epochs=3, reduced_motion="reduce")
    watch = """() => { window.moved = { progress: new Set(), "[name=round]": new Set() };
      const look = () => { requestAnimationFrame(look); for (const [name, seen] of Object.entries(window.moved))
        seen.add(Number(document.querySelector(`.lth-playground ${name}`).value)); }; look(); }"""
    page.evaluate(watch)
    search(page)
    page.wait_for_timeout(100)
    assert page.evaluate("Object.values(moved).map((seen) => [...seen])") == [[0], [0, 8]]


def test_without_scripts_a_picture_and_a_table_stand_in(visit):
    page = visit(PAGE, java_script_enabled=False)
    assert page.locator(".lth-playground").inner_text() == ""
    assert page.locator("noscript svg.lth-drawing desc").inner_html()
    rows = [row.split() for row in page.locator("noscript tbody tr").all_inner_texts()]
    assert [row[0] for row in rows] == ["dense", "ticket", "control"]
    for _, *cells in rows:
        assert re.fullmatch(r"\d+(\.\d)? % \d\d\.\d %", " ".join(cells)), cells
    assert f"{rows[1][3]} %" in visit(PAGE).locator("details.lth-answer").text_content()


def test_only_a_page_with_a_playground_loads_it(visit):
    loaded = "all => all.map(s => s.src.split('/').pop().split('?')[0])"
    assert [s for s in visit(PAGE).locator("script[src]").evaluate_all(loaded) if s in SCRIPTS] == SCRIPTS
    index = visit("book/index.html")
    assert not set(index.locator("script[src]").evaluate_all(loaded)) & set(SCRIPTS)
    index.get_by_role("link", name="Train and prune one in your browser").click()
    assert index.url.endswith(f"{PAGE}#playground")
    assert index.locator("section:has(> #playground) .lth-playground button").count()


def test_all_of_it_is_small_and_written_out():
    sizes = {name: (STATIC / name).stat().st_size for name in [*SCRIPTS, "playground.css"]}
    assert sum(sizes.values()) < 250_000
    for name in SCRIPTS[1:]:
        assert max(map(len, (STATIC / name).read_text().splitlines())) <= 120, name
