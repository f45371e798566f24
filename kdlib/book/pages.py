"""From chapters to pages with outputs: committed outputs where their stamp fits, else the notebook is executed here.

Several notebooks are executed in parallel, each in processes of its own with one thread, so their outputs are those of
one after another.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from kdlib.book.execute import execute_notebook, notebook_form, read_notebook
from kdlib.book.notebooks import NotebookFailed
from kdlib.book.progress import Board, Say
from kdlib.book.project import Project
from kdlib.book.several import several_at_once
from kdlib.book.stamps import fingerprint, read_stamp, stamp_of, why_not, widget_views
from kdlib.errors import choose, positive_integer
from kdlib.files import replace_file
from kdlib.names import PRESETS

EXECUTE = {
    "changed": "those whose outputs no longer fit their source",
    "all": "every notebook",
    "none": "no notebook",
}
FIRST = "start_here"  # executed once on each reader's machine, so that one chapter is seen to run there


@dataclass(frozen=True)
class Page:
    """A chapter with the outputs that its page shows.

    stamp: of these outputs, None if there is none. here: whether they were made on this machine. changed: whether the
    source has changed since. failure: why the notebook could not be executed, if it was to be.
    """

    path: Path
    notebook: nbformat.NotebookNode
    stamp: dict[str, Any] | None
    here: bool = False
    changed: bool = False
    failure: NotebookFailed | None = None


@dataclass(frozen=True)
class _Chapter:
    """A chapter before it is decided where its outputs come from. key: the fingerprint of its source."""

    path: Path
    label: str
    source: nbformat.NotebookNode
    key: str


def make_pages(
    project: Project,
    preset: str = "quick",
    say: Say = print,
    *,
    execute: str = "changed",
    jobs: int | None = None,
    limit: float | None = None,
    keep_going: bool = False,
) -> list[Page]:
    """The book's chapters with outputs, in the order of the contents.

    execute: one of `EXECUTE`. jobs: notebooks at once, by default one a core. limit: seconds after which a notebook is
    taken for hanging. A notebook that fails does not keep the others from being executed; then NotebookFailed names all
    that failed, or, with `keep_going`, their pages say so and show the committed outputs.
    """
    choose(preset, PRESETS, "preset")
    choose(execute, EXECUTE, "value of --execute")
    if jobs is not None:
        positive_integer(jobs, "jobs")
    paths = project.chapters()
    project.executed.mkdir(parents=True, exist_ok=True)
    _remove_others(project, paths)
    board = Board(say)
    pages: dict[Path, Page] = {}
    waiting: list[tuple[_Chapter, str]] = []
    for number, path in enumerate(paths, 1):
        source = read_notebook(path)
        defaults = {parameter.name: parameter.default for parameter in notebook_form(source, path.stem)}
        key = fingerprint(source, {**defaults, "preset": preset})
        chapter = _Chapter(path, f"[{number}/{len(paths)}] {path.stem}", source, key)
        page = _executed_here(project, chapter)
        reason = why_not(source, key)
        if page is None and reason is None and path.stem == FIRST and execute != "none":
            reason = "once on this machine"
        elif page is None and (reason is None or execute == "none"):
            page = Page(path, source, read_stamp(source), changed=reason is not None)
        if page is None or execute == "all":
            waiting.append((chapter, "as asked" if execute == "all" else reason or ""))
        else:
            if not page.here:
                _remove(project, path.stem)
            pages[path] = page
            board.say(f"{chapter.label}: {_told(page, reason)}")
    known = {**project.seconds(), **{c.path.stem: s["seconds"] for c, _ in waiting if (s := read_stamp(c.source))}}
    # The longest first, so that none is begun last.
    waiting.sort(key=lambda task: -known.get(task[0].path.stem, 0.0))
    executed = _execute(project, preset, waiting, board, jobs, limit)
    failures = [page.failure for page in executed if page.failure is not None]
    if failures and not keep_going:
        raise _together(failures)
    pages |= {page.path: page for page in executed}
    if execute == "changed" and any(not page.here for page in pages.values()):
        say("Pages from committed outputs were executed when and where they say; `make reproduce` executes all here")
    return [pages[path] for path in paths]


def _told(page: Page, reason: str | None) -> str:
    if page.stamp is None:
        return f"not executed ({reason})"
    when = str(page.stamp["finished"])[:10]
    place = "here" if page.here else f"on {page.stamp['machine']}"
    return f"unchanged, executed {place}, {when}" if not page.changed else f"executed {place}, {when}; {reason}"


def _execute(
    project: Project,
    preset: str,
    waiting: Sequence[tuple[_Chapter, str]],
    board: Board,
    jobs: int | None,
    limit: float | None,
) -> list[Page]:
    """Execute notebooks, `jobs` at once; whatever ends this early ends them all."""

    def work(task: tuple[_Chapter, str], stop: threading.Event) -> Page:
        chapter, reason = task
        board.say(f"{chapter.label}: executing (preset {preset}; {reason})")
        try:
            page = _execute_one(project, preset, chapter, board, stop, limit)
        except NotebookFailed as failure:
            board.say(f"{chapter.label}: FAILED", done=chapter.label)
            return Page(chapter.path, chapter.source, read_stamp(chapter.source), changed=True, failure=failure)
        assert page.stamp is not None
        board.say(f"{chapter.label}: done in {page.stamp['seconds']:.0f} s", done=chapter.label)
        return page

    return several_at_once(work, waiting, jobs)


def _execute_one(
    project: Project, preset: str, chapter: _Chapter, board: Board, stop: threading.Event, limit: float | None
) -> Page:
    """Execute a notebook and keep it: its metrics first, so that one that was interrupted is executed again."""
    name = chapter.path.stem
    _remove(project, name)
    result = execute_notebook(
        chapter.path,
        {"preset": preset},
        failed_copy=project.executed / f"{name}.failed.ipynb",
        limit=limit,
        on_progress=board.counter(chapter.label),
        stop=stop,
    )
    # A notebook that measures nothing leaves no record; the ledger would look for one in the file.
    measured = set(result.metrics) > {"execution"}
    if measured:
        metrics = json.dumps(result.metrics, indent=1, sort_keys=True) + "\n"
        replace_file(project.executed / f"{name}.metrics.json", metrics)
    if not widget_views(result.notebook):
        result.notebook.metadata.pop("widgets", None)  # of the committed outputs
    stamp = {**stamp_of(result.metrics["execution"], result.notebook), "measured": measured}
    result.notebook.metadata["kdlib"] = nbformat.from_dict(stamp)
    replace_file(project.executed / chapter.path.name, nbformat.writes(result.notebook))
    (project.executed / f"{name}.failed.ipynb").unlink(missing_ok=True)
    return Page(chapter.path, with_outputs(chapter.source, result.notebook), stamp, here=True)


def _executed_here(project: Project, chapter: _Chapter) -> Page | None:
    """The chapter as it was executed on this machine, if that still fits."""
    path = project.executed / chapter.path.name
    if not path.is_file():
        return None
    executed = read_notebook(path)
    stamp = read_stamp(executed)
    metrics = project.executed / f"{path.stem}.metrics.json"
    if stamp is None or why_not(executed, chapter.key) or metrics.is_file() != stamp.get("measured"):
        return None
    return Page(chapter.path, with_outputs(chapter.source, executed), stamp, here=True)


def with_outputs(source: nbformat.NotebookNode, executed: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The source with the outputs of its execution: its text may have changed since, its code has not."""
    page = copy.deepcopy(source)
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    injected = [cell for cell in code if "injected-parameters" in cell.metadata.get("tags", [])]
    done = [cell for cell in code if cell not in injected]
    for cell, ran in zip([cell for cell in page.cells if cell.cell_type == "code"], done, strict=True):
        cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    if injected:
        form = next(i for i, cell in enumerate(page.cells) if "parameters" in cell.metadata.get("tags", []))
        page.cells[form + 1 : form + 1] = injected
    for key in ("widgets", "kdlib"):
        page.metadata.pop(key, None)
        if key in executed.metadata:
            page.metadata[key] = executed.metadata[key]
    return page


def _together(failures: Sequence[NotebookFailed]) -> NotebookFailed:
    """One error that says what each of several said."""
    lines = [line for failure in failures for line in (str(failure), *getattr(failure, "__notes__", []))]
    return NotebookFailed("\n".join(lines), bad_input=all(failure.bad_input for failure in failures))


def _remove(project: Project, name: str) -> None:
    for ending in (".ipynb", ".metrics.json"):
        (project.executed / f"{name}{ending}").unlink(missing_ok=True)


def _remove_others(project: Project, paths: Sequence[Path]) -> None:
    """Remove what was executed of notebooks that are gone."""
    names = {path.stem for path in paths}
    for leftover in list(project.executed.iterdir()):
        # A folder is none of ours: Jupyter puts its .ipynb_checkpoints beside a notebook that someone opens.
        if leftover.is_file() and leftover.name.split(".")[0] not in names:
            leftover.unlink()
