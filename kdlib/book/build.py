"""The book's build: pages with their outputs, staged beside the text, rendered by Jupyter Book, swapped in.

A page is only ever built from a notebook that ran to its end, and only a complete book ever replaces `_build/html`.

    notebooks/x.ipynb with a stamp that fits, or executed by papermill into book/executed/x.ipynb (+ x.metrics.json)
    _config.yml, _toc.yml, book/, these notebooks, ledger --> _build/source --jupyter-book--> _build/html
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from kdlib.book.notebooks import NotebookFailed
from kdlib.book.pages import Page, make_pages
from kdlib.book.progress import Say
from kdlib.book.project import Project
from kdlib.book.staging import stage
from kdlib.errors import choose
from kdlib.files import replace_file
from kdlib.lifeline import guarded, python_module
from kdlib.names import PRESETS


def _tree_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def build_book(
    project: Project | None = None,
    preset: str = "quick",
    say: Say = print,
    *,
    execute: str = "changed",
    jobs: int | None = None,
) -> Path:
    """Execute what `execute` says, stage and render the book; return the path of its index page.

    Warnings are errors. Raises NotebookFailed if a notebook or the rendering fails; `_build/html` then still holds the
    previous complete book, or nothing.
    """
    project = project or Project()
    choose(preset, PRESETS, "preset")
    with project.alone():
        pages = make_pages(project, preset, say, execute=execute, jobs=jobs)
        return render_book(project, pages, say)


def render_book(project: Project, pages: Sequence[Page], say: Say = print) -> Path:
    """Stage and render pages that have their outputs; return the path of the index page."""
    started = time.monotonic()
    html, stamp = project.build / "html", project.build / "html.stamp"
    source = stage(project, pages)
    key = _tree_hash(source)
    if (html / "index.html").is_file() and stamp.is_file() and stamp.read_text() == key:
        say("pages: unchanged")
        return html / "index.html"
    stamp.unlink(missing_ok=True)
    say("pages: rendering with Jupyter Book")
    work = project.build / "work"
    shutil.rmtree(work, ignore_errors=True)
    command = python_module("jupyter_book.cli.main:main", "build", str(source), "--path-output", str(work))
    command += ["-W", "-n", "--keep-going", "--all"]
    log = project.build / "jupyter-book.log"
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    with log.open("wb") as output, guarded(command, work, environment, output) as process:
        process.wait()
    report = log.read_text(encoding="utf-8", errors="replace")
    fresh = work / "_build/html"
    if process.returncode != 0 or not (fresh / "index.html").is_file():
        shutil.rmtree(work, ignore_errors=True)
        faults = [line for line in report.splitlines() if re.search(r"WARNING|ERROR|[Ee]rror:", line)]
        faults = faults or report.splitlines()[-5:]
        raise NotebookFailed("\n".join(["the book could not be rendered:", *faults[:20], f"The whole log: {log}"]))
    old = project.build / "html.old"
    shutil.rmtree(old, ignore_errors=True)
    if html.exists():
        html.rename(old)
    fresh.rename(html)
    replace_file(stamp, key)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(work, ignore_errors=True)
    say(f"pages: done ({time.monotonic() - started:.0f} s)")
    return html / "index.html"
