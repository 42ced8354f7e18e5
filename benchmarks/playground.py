"""How long the playground takes in chromium, on the built book: `python benchmarks/playground.py`.

The story is to train all weights, prune and rewind until under 10 % are kept, and to train ticket and control there.
The page goes on to 3 %, and trains the control with the fewest weights first: what it takes up to then is counted.
"""

import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

HTML = Path(__file__).parents[1] / "_build/html"
PAGE = "book/00_ticket_in_ten_minutes.html"
FILES = ("digits.js", "lottery.js", "playground.js", "playground.css")
UNDER_TENTH = 6  # rounds of 36 % until 7 % are kept
WATCH = """() => {
  window.longest = 0; // of the main thread; chromium reports tasks from 50 ms on
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) longest = Math.max(longest, duration);
  }).observe({ type: "longtask" });
  window.clicked = performance.now();
}"""
RESTS = "() => !document.querySelector('[name=search]').disabled && performance.now() - clicked"
KNOWN = f"""() => {{
  const row = document.querySelectorAll(".lth-numbers tbody tr")[{UNDER_TENTH}];
  return row && row.cells[2].textContent !== "–" && performance.now() - clicked;
}}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def story(browser: Browser, address: str) -> str:
    """One line: the seconds of each part, the milliseconds of the longest task of the main thread."""
    page = browser.new_page()
    page.goto(f"{address}/{PAGE}", wait_until="networkidle")

    def press(name: str, until: str) -> float:
        page.evaluate("clicked = performance.now()")
        page.get_by_role("button", name=name).click()
        return page.wait_for_function(until, timeout=600_000, polling=10).json_value() / 1000

    page.evaluate(WATCH)
    page.get_by_label("over 5 points worse").check()
    search = press("Train, prune, rewind", RESTS)
    control = press("Re-init, train again", KNOWN)
    rest = page.wait_for_function(RESTS, timeout=600_000, polling=10).json_value() / 1000
    spent = page.locator(".lth-says").inner_text().split("took ")[1]
    longest = page.evaluate("longest")
    page.close()
    parts = f"{search + control:5.1f} s (tickets {search:.1f}, control {control:.1f}; all controls {rest:.1f})"
    return f"{parts}, longest task {longest:.0f} ms; the last ticket: {spent}"


def main(turns: int = 3) -> None:
    sizes = {name: (HTML / "_static" / name).stat().st_size for name in FILES}
    print(f"{sum(sizes.values()):,} bytes: {', '.join(f'{name} {size:,}' for name, size in sizes.items())}")
    server = ThreadingHTTPServer(("localhost", 0), partial(Quiet, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        command = {"executable_path": shutil.which("chromium"), "args": ["--headless", "--no-sandbox", "--disable-gpu"]}
        browser = playwright.chromium.launch(**command)
        for _ in range(turns):
            for address in (f"http://localhost:{server.server_port}", HTML.as_uri()):
                print(f"{address.split(':')[0]}: {story(browser, address)}")
        browser.close()


if __name__ == "__main__":
    main()
