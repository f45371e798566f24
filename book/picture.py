"""Take the README's picture from the built book, so that it shows today's page and numbers (`make picture`).

Needs `make book` before, Playwright and a Chromium. Writes `_static/book.png`, and the description of the picture
between the marks in README.md, with the counts that the widget shows.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from kdlib.claims.readme import refresh_between_markers

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "_build/html/notebooks/han2023_concept_detectors.html"
PICTURE = "book/_static/book.png"
WIDGET, READY = ".kdlib-dissection", ".kdlib-card canvas"
# A network's name and its count; the row goes on with categories.
ROWS = "rows => rows.map(row => [...row.children].slice(0, 2).map(part => part.innerText).join(' '))"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def take(page_file: Path, target: Path) -> str:
    """Photograph the page where its widget stands; return what the rows of the widget say, "Teacher 115 of 128"."""
    from playwright.sync_api import sync_playwright

    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        sys.exit(f"no Chromium here; install one of {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(page_file.as_uri())
        page.wait_for_selector(f"{WIDGET} {READY}", timeout=30_000)
        page.locator(WIDGET).first.evaluate("widget => widget.scrollIntoView({block: 'start'})")
        page.evaluate("window.scrollBy(0, -150)")  # some of the text above it too
        page.wait_for_timeout(500)
        page.screenshot(path=target)
        rows = page.locator(f"{WIDGET} .kdlib-count").evaluate_all(ROWS)
        browser.close()
    return ", ".join(" ".join(row.split()) for row in rows)


def main() -> None:
    """Bring picture and description up to date."""
    if not PAGE.is_file():
        sys.exit(f"there is no {PAGE.relative_to(ROOT)}; run make book first")
    counts = take(PAGE, ROOT / PICTURE)
    if not counts:
        sys.exit("the widget shows no counts; has its markup changed?")
    readme = ROOT / "README.md"
    words = f"A page of the book: the dissection explorer, with the concept detectors of four networks ({counts})"
    text = refresh_between_markers(readme.read_text(encoding="utf-8"), "picture", f"![{words}]({PICTURE})")
    readme.write_text(text, encoding="utf-8")
    print(words)


if __name__ == "__main__":
    main()
