"""The pages in a browser that reaches nothing but the book: no error, formulas set, widgets alive."""

from __future__ import annotations

import functools
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from toy_notebooks import WIDGETS, write_notebook

from kdlib.execute import REPOSITORY as ROOT
from kdlib.execute import list_notebooks, run_notebook

pytestmark = [pytest.mark.browser, pytest.mark.book]

NOTEBOOKS = [path.stem for path in list_notebooks(ROOT / "notebooks")]
PAGES = ["book/intro", "book/ledger", "book/references", *(f"notebooks/{name}" for name in NOTEBOOKS)]


@pytest.fixture(scope="module")
def server(built_book):
    """The book on loopback, under a folder as GitHub Pages has it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Say nothing."""

        def translate_path(self, path):
            return super().translate_path(path.removeprefix("/companion"))

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(built_book))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}/companion"
        running.shutdown()


@contextmanager
def opened(browser, address: str, **options):
    """A page that loaded `address`; console errors, failed requests and requests to other hosts fail the test."""
    context = browser.new_context(**options)
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("requestfailed", lambda request: problems.append(f"failed: {request.url}"))

    def guard(route):
        if route.request.url.startswith(("file:", "data:", "blob:", "http://127.0.0.1:")):
            route.continue_()
        else:
            problems.append(f"another host: {route.request.url}")
            route.abort()

    context.route("**/*", guard)
    page.goto(address, wait_until="load")
    page.wait_for_timeout(500)
    yield page
    context.close()
    assert problems == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_without_an_error(browser, server, name):
    with opened(browser, f"{server}/{name}.html") as page:
        assert page.locator("article h1").first.inner_text().strip()
        assert page.locator("mjx-merror").count() == 0
        if page.locator(".math").count():
            assert page.locator("mjx-container svg").count() > 0


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_s_page_works_from_a_file_too(browser, built_book, name):
    with opened(browser, (built_book / f"notebooks/{name}.html").as_uri()) as page:
        for view in page.locator('script[type="application/vnd.jupyter.widget-view+json"]').all():
            beside = view.locator("xpath=preceding-sibling::*[1]")
            beside.wait_for(state="visible", timeout=15_000)


@pytest.mark.parametrize("name", PAGES)
def test_no_page_is_wider_than_a_phone(browser, server, name):
    with opened(browser, f"{server}/{name}.html", viewport={"width": 390, "height": 800}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_page_that_kdlib_run_writes_is_complete_in_itself(browser, tmp_path):
    write_notebook(tmp_path / "toy.ipynb", WIDGETS, text="Shows $x^2$.")
    _, html, _ = run_notebook("toy", {}, tmp_path / "out", notebooks=tmp_path)
    alone = tmp_path / "alone.html"
    html.rename(alone)
    with opened(browser, alone.as_uri()) as page:
        page.wait_for_selector("mjx-container svg")
        page.wait_for_selector(".widget-slider")
        slider = page.locator(".widget-readout").first
        slider.fill("7")
        slider.press("Enter")
        page.wait_for_function("document.querySelector('.progress-bar').style.width === '70%'")
