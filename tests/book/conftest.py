"""A toy book, and the repository's own book executed and built once at smoke scale for a test session."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from filelock import FileLock
from toy_notebooks import write_notebook

from kdlib.book import pages as book_pages
from kdlib.book.build import render_book
from kdlib.book.execute import Result, read_notebook
from kdlib.book.notebooks import NotebookFailed
from kdlib.book.pages import Page, make_pages
from kdlib.book.project import Project

ROOT = Path(__file__).resolve().parents[2]
TOC = """\
format: jb-book
root: book/intro
parts:
  - caption: Part
    chapters:
      - file: notebooks/second
        sections:
          - file: notebooks/first
      - file: book/ledger
"""
# Against hanging: a chapter takes seconds to minutes at smoke, and a busy machine several times as long.
LIMIT = 3600.0


@pytest.fixture
def project(tmp_path) -> Project:
    """Two notebooks and the files of a book around them."""
    write_notebook(tmp_path / "notebooks/first.ipynb", "print(preset)")
    write_notebook(tmp_path / "notebooks/second.ipynb", "print(preset)")
    (tmp_path / "book/_static").mkdir(parents=True)
    (tmp_path / "book/results/quick").mkdir(parents=True)
    (tmp_path / "book/results/quick/x.json").write_text("{}")
    (tmp_path / "book/intro.md").write_text("# Intro\n")
    (tmp_path / "book/tool.py").write_text("")
    (tmp_path / "_toc.yml").write_text(TOC)
    (tmp_path / "_config.yml").write_text("title: Toy\n")
    return Project(tmp_path)


@pytest.fixture
def ran(monkeypatch) -> list[tuple[str, dict]]:
    """A stand-in for papermill that runs nothing; the list of (notebook, parameters) it was asked for."""
    asked: list[tuple[str, dict]] = []

    def execute(path, parameters, **_):
        asked.append((path.stem, dict(parameters)))
        notebook = read_notebook(path)
        if "1 / 0" in notebook.cells[-1].source:
            raise NotebookFailed(f"{path.stem} failed")
        values = {parameter.name: parameter.default for parameter in book_pages.notebook_form(notebook, path.stem)}
        execution = {
            "fingerprint": book_pages.fingerprint(notebook, {**values, **parameters}),
            "parameters": {**values, **parameters},
            "finished": "2026-11-27T12:00:00+00:00",
            "machine": "Toy, 2 cores",
            "seconds": 1.0,
            "versions": {"python": "3.11.2", "torch": "2.13.0"},
        }
        return Result(notebook, {"execution": execution}, 1.0)

    monkeypatch.setattr(book_pages, "execute_notebook", execute)
    return asked


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """One folder for the whole session, also where several workers run it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def run_store(shared) -> Path:
    """The store of trained models that the chapters fill together."""
    return shared / "runs"


@pytest.fixture(scope="session")
def smoke_project(shared) -> Project:
    """The repository's book, executed and built somewhere else than in the repository.

    `$KDLIB_BUILT_BOOK` names a folder of built pages to take instead, such as `_build/html`.
    """
    if os.environ.get("KDLIB_BUILT_BOOK"):
        return Project(ROOT, build_at=Path(os.environ["KDLIB_BUILT_BOOK"]).parent)
    return Project(ROOT, executed_at=shared / "executed", build_at=shared / "_build")


@pytest.fixture(scope="session")
def smoke_pages(smoke_project, shared, run_store) -> dict[str, Page]:
    """Every chapter, executed once at smoke scale, in parallel; one that failed says so and shows its committed
    outputs."""
    kept = shared / "pages.pickle"
    with FileLock(shared / "pages.lock"), pytest.MonkeyPatch.context() as patch:
        if not kept.is_file():
            patch.setenv("KDLIB_RUNS", str(run_store))
            pages = make_pages(smoke_project, "smoke", execute="all", limit=LIMIT, keep_going=True)
            kept.write_bytes(pickle.dumps({page.path.stem: page for page in pages}))
    return pickle.loads(kept.read_bytes())


@pytest.fixture(scope="session")
def chapter(smoke_pages):
    """chapter(name): a chapter executed at smoke scale; one that failed fails the test that asks for it."""

    def find(name: str) -> Page:
        page = smoke_pages[name]
        if page.failure is not None:
            pytest.fail("\n".join([str(page.failure), *getattr(page.failure, "__notes__", [])]), pytrace=False)
        return page

    return find


@pytest.fixture(scope="session")
def built_book(smoke_project, shared, request) -> Path:
    """The folder of the built pages; `index.html` lies at its top."""
    if not os.environ.get("KDLIB_BUILT_BOOK"):
        pages = request.getfixturevalue("smoke_pages")
        with FileLock(shared / "book.lock"):
            render_book(smoke_project, list(pages.values()))
    return smoke_project.build / "html"
