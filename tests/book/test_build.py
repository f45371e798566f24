"""The book's build on a toy project: what stops it, and how a rendered book takes the place of the former one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from filelock import FileLock
from toy_notebooks import append

from kdlib.book import build as book
from kdlib.book.build import build_book
from kdlib.book.notebooks import NotebookFailed
from kdlib.errors import KdlibError


def test_a_failure_stops_the_build_and_keeps_what_was_done(project, ran):
    append(project.notebooks / "first.ipynb", "\n1 / 0")
    with pytest.raises(NotebookFailed, match="first failed"):
        build_book(project, jobs=1, say=lambda line: None)
    assert not (project.build / "html").exists()
    with pytest.raises(NotebookFailed):
        build_book(project, jobs=1, say=lambda line: None)
    assert [name for name, _ in ran] == ["second", "first", "first"]


def test_two_builds_at_once_are_refused(project, ran):
    project.build.mkdir()
    with FileLock(project.build / ".lock"), pytest.raises(KdlibError, match="another build is at work"):
        build_book(project)


def test_a_rendering_that_fails_leaves_the_former_book(project, ran, monkeypatch):
    fail = [sys.executable, "-c", "print('intro.md:3: WARNING: broken link'); raise SystemExit(1)"]
    (project.build / "html").mkdir(parents=True)
    (project.build / "html/index.html").write_text("former")
    monkeypatch.setattr(book, "python_module", lambda *_: [*fail])
    with pytest.raises(NotebookFailed, match=r"intro.md:3: WARNING: broken link"):
        build_book(project, say=lambda line: None)
    assert (project.build / "html/index.html").read_text() == "former"
    assert not (project.build / "html.stamp").exists()


def test_a_rendered_book_replaces_the_former_one_and_is_not_rendered_again(project, ran, monkeypatch):
    rendered = []

    def render(*arguments):
        html = Path(arguments[arguments.index("--path-output") + 1]) / "_build/html"
        html.mkdir(parents=True)
        (html / "index.html").write_text(f"book {len(rendered)}")
        rendered.append([sys.executable, "-c", ""])
        return rendered[-1]

    monkeypatch.setattr(book, "python_module", render)
    (project.build / "html").mkdir(parents=True)
    (project.build / "html/old.html").write_text("old page")
    for _ in range(2):
        index = build_book(project, say=lambda line: None)
    assert index == project.build / "html/index.html"
    assert sorted(path.name for path in index.parent.iterdir()) == ["index.html"]
    assert len(rendered) == 1
    assert {"-W", "-n"} <= set(rendered[0])
    (project.root / "book/intro.md").write_text("# Another\n")
    build_book(project, say=lambda line: None)
    assert index.read_text() == "book 1"
