"""What tests in a browser share: chromium, the built book over http, and pages that note what went wrong."""

import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

HTML = Path(__file__).parents[2] / "_build/html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ("gpu", "quic", "background-networking", "component-update", "sync")
FLAGS = ["--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in QUIET)]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def require(there: object, what: str) -> None:
    if not there:
        stop = pytest.fail if os.environ.get("LTH_REQUIRE_BROWSER") == "1" else pytest.skip
        stop(f"needs {what}")


@pytest.fixture(scope="session")
def chromium():
    require(CHROMIUM, "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def address():
    require(HTML.exists(), "the built book (make book)")
    server = ThreadingHTTPServer(("localhost", 0), partial(Quiet, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()


@pytest.fixture
def visit(chromium, address):
    """Opens a page in a fresh profile; the page collects what went wrong in `page.problems`."""
    contexts, disk = [], HTML.as_uri()

    def open_page(name: str, scheme: str = "light", width: int = 1280, from_disk: bool = False, **context):
        contexts.append(chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, **context))
        page = contexts[-1].new_page()
        page.problems = []
        page.on("console", lambda m: page.problems.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda error: page.problems.append(f"script: {error}"))
        page.on("request", lambda r: page.problems.append(f"asks {r.url}") if foreign(r.url) else None)
        page.on("response", lambda r: page.problems.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        page.goto(f"{disk if from_disk else address}/{name}", wait_until="networkidle")
        return page

    def foreign(url: str) -> bool:
        return not url.startswith((address, disk, "data:", "blob:"))

    yield open_page
    for context in contexts:
        context.close()
