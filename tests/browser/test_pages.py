"""Every built page, seen in chromium as a reader sees it: light and dark, on a desk and on a phone.

`make browser` runs these on the book in _build/html.  Without chromium or the book they are skipped;
LTH_REQUIRE_BROWSER=1 turns the skip into a failure.
"""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

HTML = Path(__file__).parents[2] / "_build/html"
BUILT = sorted(str(path.relative_to(HTML)) for path in HTML.rglob("*.html"))
PAGES = [name for name in BUILT if name != "index.html" and not name.startswith("_static")]  # index.html redirects

pytestmark = pytest.mark.browser


def of_every_page(argument: str):
    return pytest.mark.parametrize(argument, PAGES or ["search.html"])


@of_every_page("name")
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_whole(visit, name, scheme, width):
    page = visit(name, scheme, width)
    assert page.locator("html").get_attribute("data-theme") == scheme
    problems = list(page.problems)
    wide = page.evaluate("document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth")
    if wide > 0:
        problems.append(f"{wide} pixels wider than the window: {page.evaluate(TOO_WIDE)}")
    formulas = page.locator("article .math").count()
    drawn = page.locator("article .math mjx-container").count()
    if formulas > drawn or page.locator("mjx-merror").count():
        problems.append(f"{drawn} of {formulas} formulas drawn")
    prose = page.locator("main").inner_text()
    problems += [f"raw markup: {found}" for found in re.findall(r"(?:```|:::|\{[a-z-]+\}`).{0,60}", prose)]
    for violation in Axe().run(page).response["violations"]:
        if violation["impact"] in ("critical", "serious"):
            problems += [f"axe {violation['id']}: {node['html'][:200]}" for node in violation["nodes"]]
    assert not problems, "\n".join(problems)


TOO_WIDE = """[...document.querySelectorAll("main *")].filter(e => e.scrollWidth > e.clientWidth + 1
  && e.clientWidth > 0 && getComputedStyle(e).overflowX == "visible").slice(-3).map(e => e.outerHTML.slice(0, 120))"""


@of_every_page("name")
def test_every_image_loads_and_says_what_it_shows(visit, name):
    page = visit(name)
    images = page.locator("article img").evaluate_all("all => all.map(i => [i.currentSrc, i.alt, i.naturalWidth])")
    for source, alt, width in images:
        assert width > 0, f"{source} does not load"
        assert len(alt.split()) >= 3 and not re.search(r"[0-9a-f]{16}|\.png", alt), f"{source}: alt text {alt!r}"


def test_the_search_finds_a_word(visit):
    page = visit("search.html?q=mask")
    page.wait_for_selector("#search-results li a", timeout=10_000)
    assert any("mask" in text.lower() for text in page.locator("#search-results li").all_inner_texts())
    assert not page.problems


def test_ctrl_k_opens_the_search(visit):
    page = visit("book/index.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("mask")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a", timeout=10_000)
    assert "q=mask" in page.url


def test_the_front_page_leads_into_the_book(visit):
    assert visit("index.html").url.endswith("/book/index.html")
