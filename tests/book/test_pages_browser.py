"""The pages in a browser that reaches nothing but the book: no error, formulas set, widgets alive."""

from __future__ import annotations

import functools
import re
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from browser_checks import MOST_MILLISECONDS
from toy_notebooks import WIDGETS, write_notebook

from kdlib.book.execute import REPOSITORY as ROOT
from kdlib.book.notebooks import list_notebooks
from kdlib.book.run import run_notebook
from kdlib.claims import all_claims, load_claims

pytestmark = [pytest.mark.browser, pytest.mark.book]

NOTEBOOKS = [path.stem for path in list_notebooks(ROOT / "notebooks")]
PAGES = [
    "book/intro",
    "book/han2023",
    "book/cheng2020",
    "book/ledger",
    "book/glossary",
    "book/using",
    "book/extending",
    "book/references",
    *(f"notebooks/{name}" for name in NOTEBOOKS),
]

# A table's rule or a formula as they are written in Markdown, where a reader should see a table or a formula. The
# typographer makes dashes of hyphens.
RAW_MARKUP = re.compile(r"\|\s*:?[-\u2013\u2014]{2,}|\|\s*:?[-\u2013\u2014]+:?\s*\||\$[^$\n]{1,200}\$|\$\$")
READ_TEXT = """article => {
    const text = article.cloneNode(true);
    text.querySelectorAll("code, pre, script, style, mjx-container").forEach(part => part.remove());
    return text.textContent;
}"""


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
    page.set_default_timeout(MOST_MILLISECONDS)
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
            beside.wait_for(state="visible")


@pytest.mark.parametrize("name", PAGES)
def test_no_page_is_wider_than_a_phone(browser, server, name):
    with opened(browser, f"{server}/{name}.html", viewport={"width": 390, "height": 800}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("name", PAGES)
def test_every_picture_has_a_description_in_words(browser, server, name):
    with opened(browser, f"{server}/{name}.html") as page:
        alts = page.locator("article img").evaluate_all("images => images.map(image => image.getAttribute('alt'))")
        wanting = [alt for alt in alts if not (alt or "").strip() or ".png" in alt]
        assert wanting == [], (
            f"{len(wanting)} of {len(alts)} pictures are not described: end their cells with show(...)"
        )


@pytest.mark.parametrize("name", PAGES)
def test_no_page_shows_markdown_unrendered(browser, server, name):
    with opened(browser, f"{server}/{name}.html") as page:
        text = page.locator("article").first.evaluate(READ_TEXT)
        assert len(text.split()) > 20
        raw = RAW_MARKUP.search(text)
        assert raw is None, f"raw Markdown: {text[max(raw.start() - 60, 0) : raw.end() + 60]!r}"


@pytest.mark.parametrize("text", ["| a | b |\n|---|:--|", "a|b\n|\u2014|\u2014|", "| :-: |", "where $x^2$ is", "$$x$$"])
def test_raw_markdown_is_recognised(text):
    assert RAW_MARKUP.search(text)


@pytest.mark.parametrize("text", ["p(a | b) \u2013 in nats", "costs 5 $", "a \u2014 b | c"])
def test_plain_sentences_are_not_taken_for_raw_markdown(text):
    assert not RAW_MARKUP.search(text)


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


@pytest.mark.parametrize("width", [380, 1300])
def test_the_ledger_is_filtered_and_sorted_on_its_page(browser, server, built_book, width):
    with opened(browser, f"{server}/book/ledger.html", viewport={"width": width, "height": 800}) as page:
        total = len(all_claims())
        status = page.locator(".kdlib-forest [role=status]")
        assert status.inner_text() == f"{total} of {total} claims shown"
        page.get_by_label("Paper").select_option("cheng2020")
        own = len(load_claims("cheng2020"))
        assert status.inner_text() == f"{own} of {total} claims shown"
        page.get_by_label("Order").select_option("effect")
        assert page.locator(".forest-row:visible").count() == own
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        links = page.locator(".forest-claim a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
        assert links and all((built_book / "book" / link).is_file() for link in links)
