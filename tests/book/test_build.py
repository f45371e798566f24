"""The book's build on a toy project: what is executed again, what is staged, what is committed, what stops it."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock
from toy_notebooks import MEASURE, WIDGETS, write_notebook

from kdlib.book import build as book
from kdlib.book.build import Project, build_book, clean_notebook, commit_outputs, describe_images, execute_all, stage
from kdlib.book.execute import NotebookFailed, Result, read_notebook
from kdlib.errors import KdlibError

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


@pytest.fixture
def project(tmp_path):
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
def ran(monkeypatch):
    """A stand-in for papermill that runs nothing; the list of (notebook, parameters) it was asked for."""
    asked: list[tuple[str, dict]] = []

    def execute(path, parameters, **_):
        asked.append((path.stem, dict(parameters)))
        notebook = read_notebook(path)
        if "1 / 0" in notebook.cells[-1].source:
            raise NotebookFailed(f"{path.stem} failed")
        return Result(notebook, {"execution": {}}, 1.0)

    monkeypatch.setattr(book, "execute_notebook", execute)
    return asked


def names(asked):
    return [name for name, _ in asked]


def append(path: Path, code: str) -> None:
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].source += code
    nbformat.write(notebook, path)


def test_notebooks_are_executed_in_the_order_of_the_contents_at_the_preset(project, ran):
    said: list[str] = []
    execute_all(project, "smoke", said.append)
    assert ran == [("second", {"preset": "smoke"}), ("first", {"preset": "smoke"})]
    assert said[0] == "[1/2] second: executing (preset smoke)"
    assert said[-1] == "[2/2] first: done in 1 s"


def test_only_what_changed_is_executed_again(project, ran, monkeypatch):
    execute_all(project)
    execute_all(project)
    assert names(ran) == ["second", "first"]
    append(project.notebooks / "first.ipynb", "\nprint(1)")
    execute_all(project)
    assert names(ran[2:]) == ["first"]
    execute_all(project, "smoke")
    assert names(ran[3:]) == ["second", "first"]
    monkeypatch.setattr("kdlib.book.execute.code_hash", lambda: "another kdlib")
    execute_all(project, "smoke")
    assert names(ran[5:]) == ["second", "first"]


def test_a_failure_stops_the_build_and_keeps_what_was_done(project, ran):
    append(project.notebooks / "first.ipynb", "\n1 / 0")
    with pytest.raises(NotebookFailed, match="first failed"):
        build_book(project, say=lambda line: None)
    assert not (project.build / "html").exists()
    with pytest.raises(NotebookFailed):
        build_book(project, say=lambda line: None)
    assert names(ran) == ["second", "first", "first"]


def test_an_execution_that_did_not_end_is_repeated(project, ran):
    execute_all(project)
    # What an interruption leaves: the notebook of an earlier time without its stamp.
    (project.executed / "second.stamp").unlink()
    execute_all(project)
    assert names(ran) == ["second", "first", "second"]


def test_outputs_of_a_notebook_that_is_gone_are_removed(project, ran):
    execute_all(project)
    (project.notebooks / "first.ipynb").unlink()
    (project.root / "_toc.yml").write_text("root: book/intro\nchapters:\n  - file: notebooks/second\n")
    execute_all(project)
    assert {path.name.split(".")[0] for path in project.executed.iterdir()} == {"second"}


def test_what_jupyter_leaves_beside_an_opened_notebook_does_not_stop_the_build(project, ran):
    (project.executed / ".ipynb_checkpoints").mkdir(parents=True)
    assert len(execute_all(project)) == 2


def test_contents_and_notebooks_must_name_the_same_files(project):
    write_notebook(project.notebooks / "third.ipynb", "1")
    with pytest.raises(KdlibError, match=r"notebooks/third.ipynb is not in the book; add it to _toc.yml"):
        project.chapters()
    (project.notebooks / "third.ipynb").unlink()
    (project.notebooks / "first.ipynb").unlink()
    with pytest.raises(KdlibError, match=r"_toc.yml names notebooks/first, but there is no notebooks/first.ipynb"):
        project.chapters()


def test_the_stage_mirrors_the_repository_with_executed_notebooks_and_a_ledger(project, ran):
    source = stage(project, execute_all(project))
    staged = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert staged == {
        "_config.yml",
        "_toc.yml",
        "book/intro.md",
        "book/ledger.md",
        "notebooks/first.ipynb",
        "notebooks/second.ipynb",
    }


def image_output(alt: str | None) -> nbformat.NotebookNode:
    metadata = {"image/png": {"alt": alt}} if alt else {}
    return nbformat.v4.new_output("display_data", {"image/png": "iVBO"}, metadata=metadata)


def code_cell(*outputs: nbformat.NotebookNode, **metadata) -> nbformat.NotebookNode:
    return nbformat.v4.new_code_cell("show('...')", metadata=metadata, outputs=list(outputs))


def alt_of(cell: nbformat.NotebookNode) -> str | None:
    """Where MyST-NB 1.x looks: https://myst-nb.readthedocs.io, "Images" under "Format code outputs"."""
    return cell.metadata.get("mystnb", {}).get("image", {}).get("alt")


def test_an_image_s_description_stands_in_its_cell_s_metadata(project, ran):
    plain, described = (
        code_cell(image_output(None)),
        code_cell(image_output("A line."), mystnb={"image": {"width": "9"}}),
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# T"), plain, described])
    text, first, second = describe_images(notebook).cells
    assert alt_of(text) is None and alt_of(first) is None
    assert second.metadata.mystnb == {"image": {"width": "9", "alt": "A line."}}
    assert second.outputs == described.outputs
    assert "alt" not in described.metadata.mystnb.image, "the executed notebook was changed"
    for path in execute_all(project):
        nbformat.write(notebook, path)
        staged = nbformat.read(stage(project, [path]) / "notebooks" / path.name, as_version=4)
        assert alt_of(staged.cells[-1]) == "A line."


def test_each_of_several_images_of_a_cell_has_its_own_description():
    between = nbformat.v4.new_output("stream", text="between")
    outputs = [image_output("One."), between, image_output("Two."), image_output("Three.")]
    notebook = nbformat.v4.new_notebook(cells=[code_cell(*outputs, tags=["hide-input", "hide-output"])])
    cells = describe_images(notebook).cells
    assert [alt_of(cell) for cell in cells] == ["One.", "Two.", "Three."]
    assert [output for cell in cells for output in cell.outputs] == outputs
    assert [len(cell.outputs) for cell in cells] == [2, 1, 1]
    assert cells[0].metadata.tags == ["hide-input", "hide-output"]
    for cell in cells[1:]:
        assert cell.metadata.tags == ["remove-input", "hide-output"]
        # MyST-NB drops the outputs of a cell without source.
        assert cell.source.strip()
    assert len({cell.id for cell in cells}) == 3
    assert describe_images(notebook) == describe_images(notebook)


def test_two_builds_at_once_are_refused(project, ran):
    project.build.mkdir()
    with FileLock(project.build / ".lock"), pytest.raises(KdlibError, match="another build is at work"):
        build_book(project)


def test_a_rendering_that_fails_leaves_the_former_book(project, ran, monkeypatch):
    def fail(command, **_):
        return book.subprocess.CompletedProcess(command, 1, stdout="intro.md:3: WARNING: broken link\n")

    (project.build / "html").mkdir(parents=True)
    (project.build / "html/index.html").write_text("former")
    monkeypatch.setattr(book.subprocess, "run", fail)
    with pytest.raises(NotebookFailed, match=r"intro.md:3: WARNING: broken link"):
        build_book(project, say=lambda line: None)
    assert (project.build / "html/index.html").read_text() == "former"
    assert not (project.build / "html.stamp").exists()


def test_a_rendered_book_replaces_the_former_one_and_is_not_rendered_again(project, ran, monkeypatch):
    rendered = []

    def render(command, **_):
        html = Path(command[command.index("--path-output") + 1]) / "_build/html"
        html.mkdir(parents=True)
        (html / "index.html").write_text(f"book {len(rendered)}")
        rendered.append(command)
        return book.subprocess.CompletedProcess(command, 0, stdout="")

    monkeypatch.setattr(book.subprocess, "run", render)
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


# ---- outputs back into the repository ------------------------------------------------------------------------------


def test_committed_notebooks_hold_outputs_and_nothing_volatile(project):
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
    for volatile in ("papermill", "iopub", "widget-state", "widget-view", "injected", str(project.root), "duration"):
        assert volatile not in text
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"] == [1, 2, 3, 4]
    # A second commit changes not one byte, and executes nothing.
    said: list[str] = []
    commit_outputs(project, say=said.append)
    assert said == ["[1/2] second: unchanged", "[2/2] first: unchanged"]
    assert (project.notebooks / "first.ipynb").read_text() == text


def test_a_widget_that_also_shows_a_picture_keeps_the_picture():
    data = {"application/vnd.jupyter.widget-view+json": {"model_id": "a1"}, "text/plain": "Widget()"}
    cells = [
        nbformat.v4.new_code_cell("a", outputs=[nbformat.v4.new_output("display_data", data)]),
        nbformat.v4.new_code_cell(
            "b", outputs=[nbformat.v4.new_output("display_data", {**data, "image/png": "iVBO", "text/html": "<p>"})]
        ),
    ]
    bare, pictured = clean_notebook(nbformat.v4.new_notebook(cells=cells)).cells
    assert bare.outputs == []
    assert set(pictured.outputs[0].data) == {"text/plain", "image/png", "text/html"}


def test_a_committed_image_keeps_its_description():
    (cell,) = clean_notebook(nbformat.v4.new_notebook(cells=[code_cell(image_output("A line."))])).cells
    assert cell.outputs[0].metadata == {"image/png": {"alt": "A line."}}


def test_only_the_default_preset_is_committed(project):
    with pytest.raises(KdlibError, match="preset quick, not of 'smoke'"):
        commit_outputs(project, "smoke")


def test_the_environment_of_the_caller_is_left_alone(project, ran):
    before = dict(os.environ)
    execute_all(project)
    assert dict(os.environ) == before
