"""A headless Chromium on pages that may reach nothing but themselves, and what it says about them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
MOST_MILLISECONDS = 300_000  # for a page to load or to show something: against hanging only, on a slow machine too

# Contrast of every piece of text with what lies behind it, worst first. Disabled controls are exempt (WCAG 1.4.3).
CONTRASTS = """(root) => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const found = [];
  for (const node of root.querySelectorAll("*")) {
    const words = [...node.childNodes].filter((n) => n.nodeType === 3 && n.textContent.trim());
    if (!words.length || node.matches("style, option, :disabled") || !node.getClientRects().length) continue;
    const style = getComputedStyle(node);
    const ink = parse(node.namespaceURI.endsWith("svg") ? style.fill : style.color);
    let ground = [255, 255, 255];
    for (let behind = node; behind; behind = behind.parentElement) {
      const colour = parse(getComputedStyle(behind).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) { ground = colour; break; }
    }
    const [low, high] = [light(ink), light(ground)].sort((a, b) => a - b);
    found.push([(high + 0.05) / (low + 0.05), node.textContent.trim().slice(0, 40)]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}"""

# How far anything inside sticks out of the widget's frame, in pixels.
OVERHANG = """(root) => {
  const right = root.getBoundingClientRect().right;
  const reach = [...root.querySelectorAll("*")].map((node) => node.getBoundingClientRect().right);
  return Math.max(...reach, root.getBoundingClientRect().left + root.scrollWidth) - right;
}"""


def find_chromium() -> str:
    """The path of a Chromium; without one the test is skipped."""
    found = next((path for path in map(shutil.which, CHROMIUM_NAMES) if path), None)
    if found is None:
        pytest.skip(
            "no Chromium here: `apt-get install chromium`, or any Chrome on the path, and the browser tests run"
        )
    return found


@contextmanager
def launched(path: str) -> Iterator:
    """The Chromium at `path`, driven by Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@contextmanager
def watched(browser, address: str, *, width: int = 860, before: str = "", allow_errors: bool = False, **options):
    """Open `address`; on leaving, any console error, script error or request to another host fails the test."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page = context.new_page()
    page.set_default_timeout(MOST_MILLISECONDS)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    home = ("file:", "data:", "blob:", "about:")
    if address.startswith("http"):
        home = (*home, address[: address.index("/", 8) + 1])

    def guard(route) -> None:
        if route.request.url.startswith(home):
            route.continue_()
        else:
            problems.append(f"a request left the page: {route.request.url}")
            route.abort()

    page.route("**/*", guard)
    if before:
        page.add_init_script(before)
    page.goto(address)
    yield page
    context.close()
    assert allow_errors or not problems, problems
