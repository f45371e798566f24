"""The built book: complete, with outputs on every page, no dead link inside and no word to any other host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from kdlib.book.build import render_book
from kdlib.book.execute import read_notebook
from kdlib.book.notebooks import REPOSITORY as ROOT
from kdlib.book.notebooks import list_notebooks
from kdlib.book.pages import make_pages

pytestmark = pytest.mark.book

NOTEBOOKS = [path.stem for path in list_notebooks(ROOT / "notebooks")]
# What a page loads by itself; `a href` is a link, which may lead anywhere.
LOADING = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "object": "data",
}


class Page(HTMLParser):
    """What one page loads, links to, names as anchors, and says."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors |= {values[key] for key in ("id", "name") if values.get(key)}
        if (
            tag in LOADING
            and values.get(LOADING[tag])
            and values.get("rel") not in ("canonical", "author", "next", "prev")
        ):
            self.loads.append(values[LOADING[tag]])
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])


@pytest.fixture(scope="module")
def pages(built_book) -> dict[Path, Page]:
    """Every page, without the theme's own templates."""
    paths = (path for path in sorted(built_book.rglob("*.html")) if "_static" not in path.parts)
    return {path: Page(path) for path in paths}


def leads_away(address: str) -> bool:
    return bool(urlsplit(address).netloc)


def test_every_page_of_the_contents_is_there(built_book):
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    names = re.findall(r"'(?:root|file)': '([^']+)'", str(contents))
    assert "book/ledger" in names
    assert [name for name in names if not (built_book / f"{name}.html").is_file()] == []


def test_index_html_leads_to_the_first_page_without_a_server(built_book):
    target = re.search(r"url=([^\"]+)", (built_book / "index.html").read_text())[1]
    assert not leads_away(target)
    assert (built_book / target).is_file()


def test_no_page_loads_anything_from_another_host(pages):
    foreign = {(path.name, address) for path, page in pages.items() for address in page.loads if leads_away(address)}
    assert foreign == set()


def test_no_stylesheet_loads_anything_from_another_host(built_book):
    pattern = re.compile(r"(?:@import\s+(?:url\()?|url\()\s*['\"]?((?:https?:)?//[^'\")\s]+)")
    foreign = {
        (path.name, found)
        for path in built_book.rglob("*.css")
        for found in pattern.findall(path.read_text(errors="replace"))
    }
    assert foreign == set()


def test_everything_a_page_loads_or_links_to_inside_the_book_exists(built_book, pages):
    dead = []
    for path, page in pages.items():
        for address in [*page.loads, *page.links]:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                dead.append(f"{path.relative_to(built_book)} -> {address}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                dead.append(f"{path.relative_to(built_book)} -> {address} (no such place on the page)")
    assert dead == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_output_of_a_notebook_stands_on_its_page(smoke_project, built_book, chapter, name):
    chapter(name)
    notebook = read_notebook(smoke_project.build / f"source/notebooks/{name}.ipynb")
    shown = [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code"
        and cell.outputs
        and not {"remove-cell", "remove-output"} & set(cell.metadata.get("tags", []))
    ]
    assert shown, f"{name} shows nothing"
    html = (built_book / f"notebooks/{name}.html").read_text()
    blocks = re.findall(r'<div class="cell_output docutils container">\s*(\S[^\n]*)', html)
    assert len(blocks) == len(shown)
    assert all(block != "</div>" for block in blocks), "an output is blank"
    pictures = sum("image/png" in o.get("data", {}) for cell in shown for o in cell.outputs)
    assert len(re.findall(r"<img[^>]+_images/", html)) >= pictures


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_widget_of_a_notebook_stands_on_its_page_with_its_state(smoke_project, built_book, chapter, name):
    chapter(name)
    notebook = read_notebook(smoke_project.build / f"source/notebooks/{name}.ipynb")
    views = [
        output.data["application/vnd.jupyter.widget-view+json"]["model_id"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    ]
    html = (built_book / f"notebooks/{name}.html").read_text()
    for model in views:
        assert html.count(model) >= 2, "the view is there but its state is not"
    assert ("embed-amd.js" in html) == bool(views)


def test_launch_buttons_lead_to_the_notebook_in_the_repository(built_book):
    address = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    repository = urlsplit(address).path.strip("/")
    html = (built_book / f"notebooks/{NOTEBOOKS[0]}.html").read_text()
    path = f"notebooks/{NOTEBOOKS[0]}.ipynb"
    assert f"https://mybinder.org/v2/gh/{repository}/main?urlpath=lab/tree/{path}" in html
    assert f"https://colab.research.google.com/github/{repository}/blob/main/{path}" in html
    assert (ROOT / path).is_file()


@pytest.mark.skipif("KDLIB_BUILT_BOOK" in os.environ, reason="the book was built beforehand")
def test_building_again_with_nothing_changed_does_nothing(smoke_project, smoke_pages, built_book):
    said: list[str] = []
    render_book(smoke_project, list(smoke_pages.values()), said.append)
    assert said == ["pages: unchanged"]
    pages = make_pages(smoke_project, "smoke", said.append, execute="none")
    assert [page.here for page in pages] == [page.failure is None for page in smoke_pages.values()]


def test_no_page_tells_a_path_of_the_machine_that_built_it(built_book):
    machine = re.compile(r"(?<![\w.])(?:" + "|".join(map(re.escape, (str(ROOT), str(Path.home()), "/tmp/"))) + ")")
    told = [path.name for path in (built_book / "notebooks").glob("*.html") if machine.search(path.read_text())]
    assert told == []


@pytest.mark.slow
@pytest.mark.skipif("KDLIB_BUILT_BOOK" in os.environ, reason="the book was built beforehand")
def test_plain_sphinx_builds_the_same_pages_without_a_warning(smoke_project, built_book, tmp_path):
    """What is left if Jupyter Book 1 ends: Sphinx and MyST-NB, from the configuration that it writes."""
    source, html = tmp_path / "source", tmp_path / "html"
    shutil.copytree(smoke_project.build / "source", source)
    code = "from jupyter_book.cli.main import main; main()"
    subprocess.run([sys.executable, "-c", code, "config", "sphinx", str(source)], check=True, capture_output=True)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html", str(source), str(html)]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-3000:]

    def pages(folder: Path) -> set[str]:
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*.html") if "_static" not in path.parts}

    assert pages(html) == pages(built_book)
