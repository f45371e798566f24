"""From chapters to pages: what is executed and what is taken as committed, in parallel as one after another."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import nbformat
import pytest
from toy_notebooks import MEASURE, WIDGETS, append, write_notebook

from kdlib.book import pages as book
from kdlib.book.execute import read_notebook
from kdlib.book.notebooks import NotebookFailed
from kdlib.book.outputs import commit_outputs
from kdlib.book.pages import make_pages, with_outputs
from kdlib.errors import KdlibError


def made(project, preset="quick", **options):
    """The pages, made one after another, and what was said."""
    said: list[str] = []
    return make_pages(project, preset, said.append, **{"jobs": 1} | options), said


def names(asked) -> list[str]:
    return [name for name, _ in asked]


@pytest.fixture
def committed(project, ran):
    """The toy book with committed outputs, as a fresh clone has it."""
    commit_outputs(project, say=lambda line: None)
    for path in project.executed.iterdir():
        path.unlink()
    ran.clear()
    return project


def test_notebooks_are_executed_in_the_order_of_the_contents_at_the_preset(project, ran):
    pages, said = made(project, "smoke")
    assert ran == [("second", {"preset": "smoke"}), ("first", {"preset": "smoke"})]
    assert said[0] == "[1/2] second: executing (preset smoke; it has no stamp)"
    assert said[-1] == "[2/2] first: done in 1 s"
    assert [page.path.stem for page in pages] == ["second", "first"]
    assert all(page.here and not page.changed for page in pages)


def test_only_what_changed_is_executed_again(project, ran, monkeypatch):
    made(project)
    made(project)
    assert names(ran) == ["second", "first"]
    append(project.notebooks / "first.ipynb", "\nprint(1)")
    made(project)
    assert names(ran[2:]) == ["first"]
    made(project, "smoke")
    assert names(ran[3:]) == ["second", "first"]
    monkeypatch.setattr(book, "fingerprint", lambda notebook, parameters: "another kdlib")
    made(project, "smoke")
    assert names(ran[5:]) == ["second", "first"]


def test_a_better_sentence_asks_for_no_execution_and_stands_on_the_page(project, ran):
    made(project)
    path = project.notebooks / "first.ipynb"
    notebook = read_notebook(path)
    notebook.cells[0].source = "# Better\n\nSaid well."
    nbformat.write(notebook, path)
    pages, _ = made(project)
    assert names(ran) == ["second", "first"]
    assert pages[1].notebook.cells[0].source == "# Better\n\nSaid well."


@pytest.mark.parametrize("lost", ["second.ipynb", "stamp"])
def test_an_execution_that_did_not_end_is_repeated(project, ran, lost):
    made(project)
    if lost == "stamp":
        (project.executed / "second.ipynb").write_bytes((project.notebooks / "second.ipynb").read_bytes())
    else:
        (project.executed / lost).unlink()
    made(project)
    assert names(ran) == ["second", "first", "second"]


def test_outputs_of_a_notebook_that_is_gone_are_removed(project, ran):
    made(project)
    (project.notebooks / "first.ipynb").unlink()
    (project.root / "_toc.yml").write_text("root: book/intro\nchapters:\n  - file: notebooks/second\n")
    made(project)
    assert {path.name.split(".")[0] for path in project.executed.iterdir()} == {"second"}


def test_what_jupyter_leaves_beside_an_opened_notebook_does_not_stop_the_build(project, ran):
    (project.executed / ".ipynb_checkpoints").mkdir(parents=True)
    assert len(made(project)[0]) == 2


def test_contents_and_notebooks_must_name_the_same_files(project):
    write_notebook(project.notebooks / "third.ipynb", "1")
    with pytest.raises(KdlibError, match=r"notebooks/third.ipynb is not in the book; add it to _toc.yml"):
        project.chapters()
    (project.notebooks / "third.ipynb").unlink()
    (project.notebooks / "first.ipynb").unlink()
    with pytest.raises(KdlibError, match=r"_toc.yml names notebooks/first, but there is no notebooks/first.ipynb"):
        project.chapters()


def test_the_environment_of_the_caller_is_left_alone(project, ran):
    before = dict(os.environ)
    made(project)
    assert dict(os.environ) == before


@pytest.mark.parametrize(("options", "message"), [({"execute": "some"}, "--execute 'some'"), ({"jobs": 0}, "jobs")])
def test_what_cannot_be_asked_is_refused(project, options, message):
    with pytest.raises(KdlibError, match=message):
        made(project, **options)


# ---- committed outputs ---------------------------------------------------------------------------------------------


def test_a_fresh_clone_takes_the_committed_outputs(committed, ran):
    pages, said = made(committed)
    assert ran == []
    assert not any(page.here or page.changed for page in pages)
    assert said[0] == "[1/2] second: unchanged, executed on Toy, 2 cores, 2026-11-27"
    assert said[-1].endswith("`make reproduce` executes all here")
    assert list(committed.executed.iterdir()) == []


def test_start_here_is_executed_once_on_each_machine(committed, ran, monkeypatch):
    monkeypatch.setattr(book, "FIRST", "first")
    _, said = made(committed)
    assert names(ran) == ["first"]
    assert "[2/2] first: executing (preset quick; once on this machine)" in said
    made(committed)
    assert names(ran) == ["first"]
    (committed.executed / "first.ipynb").unlink()
    made(committed, execute="none")
    assert names(ran) == ["first"]


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda notebook: notebook.metadata.pop("kdlib"), "it has no stamp"),
        (lambda notebook: notebook.metadata.kdlib.pop("finished"), "its stamp is broken"),
        (lambda notebook: notebook.metadata.update(kdlib={"fingerprint": 3}), "its stamp is broken"),
        (lambda notebook: notebook.metadata.kdlib.update(widgets=1), "its widgets' state is gone"),
        (lambda notebook: notebook.cells[-1].update(source="print(2)"), "its source has changed"),
    ],
)
def test_outputs_that_do_not_fit_are_made_anew_and_one_line_says_why(committed, ran, break_it, reason):
    path = committed.notebooks / "first.ipynb"
    notebook = read_notebook(path)
    break_it(notebook)
    nbformat.write(notebook, path)
    _, said = made(committed)
    assert names(ran) == ["first"]
    assert [line for line in said if reason in line] == [f"[2/2] first: executing (preset quick; {reason})"]


def test_all_executes_every_notebook_and_none_executes_none(committed, ran):
    append(committed.notebooks / "first.ipynb", "\nprint(1)")
    pages, said = made(committed, execute="none")
    assert ran == []
    assert [page.changed for page in pages] == [False, True]
    assert said[1] == "[2/2] first: executed on Toy, 2 cores, 2026-11-27; its source has changed"
    made(committed, execute="all")
    assert names(ran) == ["second", "first"]
    made(committed, execute="all")
    assert len(ran) == 4


def test_with_none_a_notebook_without_a_stamp_still_has_its_page(project, ran):
    pages, said = made(project, execute="none")
    assert ran == []
    assert [page.stamp for page in pages] == [None, None]
    assert said == ["[1/2] second: not executed (it has no stamp)", "[2/2] first: not executed (it has no stamp)"]


def test_what_was_executed_here_at_another_preset_does_not_stay_beside_committed_outputs(committed, ran):
    made(committed, "smoke")
    (committed.executed / "first.metrics.json").write_text("{}")
    made(committed)
    assert list(committed.executed.iterdir()) == []


# ---- several at once -----------------------------------------------------------------------------------------------


def test_as_many_as_jobs_are_at_work_at_once_the_longest_first(project, ran, monkeypatch):
    at_work, most, order = set(), [], []
    fake = book.execute_notebook

    def slow(path, parameters, **options):
        at_work.add(path.stem)
        order.append(path.stem)
        most.append(len(at_work))
        time.sleep(0.2)
        at_work.discard(path.stem)
        return fake(path, parameters, **options)

    monkeypatch.setattr(book, "execute_notebook", slow)
    pages, _ = made(project, jobs=2)
    assert max(most) == 2
    assert [page.path.stem for page in pages] == ["second", "first"]
    (project.root / "book/results/quick/seconds.json").write_text('{"first": 9.0, "second": 1.0}')
    order.clear()
    most.clear()
    made(project, execute="all", jobs=1)
    assert max(most) == 1
    assert order == ["first", "second"]


def test_in_parallel_the_outputs_are_those_of_one_after_another(project):
    write_notebook(project.notebooks / "first.ipynb", MEASURE.replace("sys.executable", "''"))

    def outputs(jobs):
        pages, _ = made(project, "smoke", jobs=jobs, execute="all")
        return [[cell.get("outputs") for cell in page.notebook.cells] for page in pages]

    assert outputs(2) == outputs(1)


def test_a_failure_leaves_the_others_at_work_and_names_all_that_failed(project, ran):
    append(project.notebooks / "second.ipynb", "\n1 / 0")
    with pytest.raises(NotebookFailed, match="second failed"):
        made(project)
    assert names(ran) == ["second", "first"]
    append(project.notebooks / "first.ipynb", "\n1 / 0")
    with pytest.raises(NotebookFailed, match="first failed") as failed:
        made(project)
    assert "second failed" in str(failed.value)


def test_going_on_a_failed_chapter_shows_its_committed_outputs_and_says_so(project, ran):
    append(project.notebooks / "second.ipynb", "\n1 / 0")
    pages, said = made(project, keep_going=True)
    assert "[1/2] second: FAILED" in said
    assert [page.failure is None for page in pages] == [False, True]
    assert pages[0].changed


def test_an_interruption_ends_the_notebooks_at_work(project, monkeypatch):
    stops: list[threading.Event] = []

    def wait(path, parameters, *, stop, **_):
        stops.append(stop)
        if len(stops) == 2:
            raise OSError(28, "No space left on device")
        assert stop.wait(30), "the other one was not told to stop"
        raise KeyboardInterrupt

    monkeypatch.setattr(book, "execute_notebook", wait)
    with pytest.raises((OSError, KeyboardInterrupt)):
        made(project, jobs=2)
    assert all(stop.is_set() for stop in stops)


def test_widget_state_of_former_outputs_is_not_taken_over(project):
    path = write_notebook(project.notebooks / "first.ipynb", WIDGETS)
    pages, _ = made(project, "smoke")
    assert pages[1].stamp["widgets"] == 1
    assert "widgets" in pages[1].notebook.metadata
    notebook = pages[1].notebook
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    notebook.cells[-1].source, notebook.cells[-1].outputs = "1", []
    nbformat.write(notebook, path)
    pages, _ = made(project, "smoke")
    assert pages[1].stamp["widgets"] == 0
    assert "widgets" not in pages[1].notebook.metadata


def test_a_page_has_the_source_s_text_and_the_execution_s_outputs(tmp_path):
    source = read_notebook(write_notebook(tmp_path / "toy.ipynb", "print(1)", text="New."))
    executed = read_notebook(write_notebook(tmp_path / "toy.ipynb", "print(1)", text="Old."))
    executed.cells[-1].outputs = [nbformat.v4.new_output("stream", text="1\n")]
    injected = nbformat.v4.new_code_cell("preset = 'smoke'", metadata={"tags": ["injected-parameters"]})
    executed.cells.insert(2, injected)
    page = with_outputs(source, executed)
    assert "New." in page.cells[0].source
    assert page.cells[2].source == "preset = 'smoke'"
    assert page.cells[-1].outputs[0].text == "1\n"
    assert source.cells[-1].outputs == [], "the source was changed"


def test_failed_copies_are_kept_and_go_with_the_next_good_run(project):
    path = write_notebook(project.notebooks / "first.ipynb", "1 / 0")
    with pytest.raises(NotebookFailed) as failed:
        made(project)
    kept = project.executed / "first.failed.ipynb"
    assert str(kept) in str(failed.value) and kept.is_file()
    write_notebook(Path(path), "1")
    made(project)
    assert not kept.exists()
