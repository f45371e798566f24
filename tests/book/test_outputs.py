"""Outputs back into the repository: what a committed notebook holds, and what a second commit changes."""

from __future__ import annotations

import json

import nbformat
import pytest
from toy_notebooks import MEASURE, WIDGETS, write_notebook

from kdlib.book import outputs as book
from kdlib.book.build import build_book
from kdlib.book.execute import read_notebook
from kdlib.book.outputs import clean_notebook, commit_outputs
from kdlib.book.stamps import WIDGET_STATE, WIDGET_VIEW, lost_widgets, read_stamp
from kdlib.errors import KdlibError


def test_committed_notebooks_hold_outputs_stamp_and_widgets_and_nothing_volatile(project):
    show_path = "import os; print(os.getcwd())"
    write_notebook(project.notebooks / "first.ipynb", MEASURE.replace("sys.executable", "''"), show_path, WIDGETS)
    written = commit_outputs(project, say=lambda line: None)
    assert {path.relative_to(project.root).as_posix() for path in written} == {
        "notebooks/first.ipynb",
        "notebooks/second.ipynb",
        "book/results/quick/first.metrics.json",
        "book/results/quick/seconds.json",
    }
    text = (project.notebooks / "first.ipynb").read_text()
    notebook = nbformat.reads(text, as_version=4)
    assert "quick 4.0 2" in text and "notebooks\\n" in text
    for volatile in ("papermill", "iopub", "injected", str(project.root), "duration"):
        assert volatile not in text
    assert set(notebook.metadata) == {"kernelspec", "language_info", "kdlib", "widgets"}
    stamp = read_stamp(notebook)
    assert stamp is not None and stamp["preset"] == "quick" and stamp["widgets"] == 1
    assert not lost_widgets(notebook, stamp)
    models = notebook.metadata.widgets[WIDGET_STATE].state.values()
    assert any(model.model_name == "IntSliderModel" for model in models)
    assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"] == [1, 2, 3, 4]
    times = json.loads((project.root / "book/results/quick/seconds.json").read_text())
    assert times["first"] == stamp["seconds"]
    # A second commit changes not one byte, and executes nothing.
    said: list[str] = []
    commit_outputs(project, say=said.append)
    assert [line.split(",")[0] for line in said] == ["[1/2] second: unchanged", "[2/2] first: unchanged"]
    assert (project.notebooks / "first.ipynb").read_text() == text
    # Nor does it in a fresh clone.
    for path in project.executed.iterdir():
        path.unlink()
    commit_outputs(project, say=lambda line: None)
    assert (project.notebooks / "first.ipynb").read_text() == text
    assert json.loads((project.root / "book/results/quick/seconds.json").read_text()) == times


def test_a_widget_keeps_its_view_and_its_picture():
    data = {WIDGET_VIEW: {"model_id": "a1"}, "text/plain": "Widget()", "image/png": "iVBO"}
    cells = [nbformat.v4.new_code_cell("a", outputs=[nbformat.v4.new_output("display_data", data)])]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"widgets": {WIDGET_STATE: {"state": {"a1": {}}}}})
    clean = clean_notebook(notebook)
    assert set(clean.cells[0].outputs[0].data) == set(data)
    assert clean.metadata.widgets == notebook.metadata.widgets


def test_a_committed_image_keeps_its_description():
    output = nbformat.v4.new_output("display_data", {"image/png": "iVBO"}, metadata={"image/png": {"alt": "A line."}})
    cell = nbformat.v4.new_code_cell("show('...')", outputs=[output])
    [clean] = clean_notebook(nbformat.v4.new_notebook(cells=[cell])).cells
    assert clean.outputs[0].metadata == {"image/png": {"alt": "A line."}}


def test_only_the_default_preset_is_committed(project):
    with pytest.raises(KdlibError, match="preset quick, not of 'smoke'"):
        commit_outputs(project, "smoke")


def test_a_notebook_that_grew_too_large_is_written_with_a_warning(project, ran, monkeypatch):
    monkeypatch.setattr(book, "MOST_BYTES", 1000)
    said: list[str] = []
    commit_outputs(project, say=said.append)
    assert [line.split(":")[0] for line in said if "more than the 0.001 MB" in line] == ["second", "first"]
    assert read_stamp(read_notebook(project.notebooks / "first.ipynb"))


def test_two_commits_at_once_are_refused_and_so_is_a_build_beside_one(project, ran):
    with project.alone():
        for work in (commit_outputs, build_book):
            with pytest.raises(KdlibError, match=r"^another build is at work in .*; wait for it to end$"):
                work(project, say=lambda line: None)
    assert ran == []
    commit_outputs(project, say=lambda line: None)
    assert sorted(name for name, _ in ran) == ["first", "second"]  # two at once: either may be first


def test_a_commit_that_is_refused_writes_nothing(project, ran):
    before = {path: path.read_bytes() for path in project.root.rglob("*") if path.is_file()}
    with project.alone(), pytest.raises(KdlibError):
        commit_outputs(project, say=lambda line: None)
    after = {path: path.read_bytes() for path in project.root.rglob("*") if path.is_file() and path.name != ".lock"}
    assert after == before and not project.executed.exists()


def test_committed_metrics_are_replaced_whole(project):
    """Whoever reads the old file, or is left with it by a kill, has all of it."""
    write_notebook(project.notebooks / "first.ipynb", MEASURE)
    commit_outputs(project, say=lambda line: None)
    committed = project.root / "book/results/quick/first.metrics.json"
    committed.write_text("the old one")
    with committed.open() as old:
        commit_outputs(project, say=lambda line: None)
        assert old.read() == "the old one"
    assert json.loads(committed.read_text())["execution"]
