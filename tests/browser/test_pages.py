"""Every built page, seen in chromium as a reader sees it: light and dark, on a desk and on a phone.

`make browser` runs these on the book in _build/html.  Without chromium or the book they are skipped;
LTH_REQUIRE_BROWSER=1 turns the skip into a failure.
"""

import os
import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

HTML = Path(__file__).parents[2] / "_build/html"
BUILT = sorted(str(path.relative_to(HTML)) for path in HTML.rglob("*.html"))
PAGES = [name for name in BUILT if name != "index.html" and not name.startswith("_static")]  # index.html redirects
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ("gpu", "quic", "background-networking", "component-update", "sync")
FLAGS = ["--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in QUIET)]

pytestmark = pytest.mark.browser


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    missing = [what for what, there in (("chromium", CHROMIUM), ("the built book (make book)", PAGES)) if not there]
    if missing:
        stop = pytest.fail if os.environ.get("LTH_REQUIRE_BROWSER") == "1" else pytest.skip
        stop("needs " + " and ".join(missing))
    server = ThreadingHTTPServer(("localhost", 0), partial(Quiet, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def chromium(address):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, address):
    """Opens a page in a fresh profile; the page collects what went wrong in `page.problems`."""
    contexts = []

    def open_page(name: str, scheme: str = "light", width: int = 1280):
        contexts.append(chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}))
        page = contexts[-1].new_page()
        page.problems = []
        page.on("console", lambda m: page.problems.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda error: page.problems.append(f"script: {error}"))
        page.on("request", lambda r: page.problems.append(f"asks {r.url}") if foreign(r.url) else None)
        page.on("response", lambda r: page.problems.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        page.goto(f"{address}/{name}", wait_until="networkidle")
        return page

    def foreign(url: str) -> bool:
        return not url.startswith((address, "data:", "blob:"))

    yield open_page
    for context in contexts:
        context.close()


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
