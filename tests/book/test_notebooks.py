"""The notebooks as they are committed: their structure, and nbval over a copy of each at smoke scale."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import nbformat
import pytest

from kdlib.book.execute import notebook_form, read_notebook
from kdlib.book.limits import LIMITS
from kdlib.book.notebooks import REPOSITORY as ROOT
from kdlib.book.notebooks import list_notebooks
from kdlib.book.outputs import MOST_BYTES
from kdlib.book.stamps import lost_widgets, read_stamp

PATHS = list_notebooks(ROOT / "notebooks")
every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
SECTIONS = (
    r"Question",
    r"What the papers? claims?",
    r"toy",
    r"Parameters",
    r"Run",
    r"Paper says",
    r"Controls",
    r"Limits",
    r"Exercises",
    r"Provenance",
)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def headings(notebook, level: int) -> list[str]:
    """The headings of one level, in order, fenced code left out."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    text = re.sub(r"^(```|:::).*?^\1", "", text, flags=re.M | re.S)
    return re.findall(rf"^{'#' * level} (.+)$", text, flags=re.M)


@every_notebook
def test_the_form_has_the_parameters_every_notebook_has(path):
    form = notebook_form(read_notebook(path), path.stem)
    assert {"preset", "seed", "n_seeds", "device"} <= {parameter.name for parameter in form}
    assert next(parameter.default for parameter in form if parameter.name == "preset") == "quick"


@every_notebook
def test_every_parameter_has_a_help_and_a_default_within_its_range(path):
    for parameter in notebook_form(read_notebook(path), path.stem):
        assert parameter.help, f"{parameter.name} has no help"
        assert parameter.convert(parameter.default) == parameter.default
        if isinstance(parameter.default, (int, float)) and not isinstance(parameter.default, bool):
            assert parameter.name in LIMITS, f"the number {parameter.name} has no range in kdlib.book.limits.LIMITS"


@every_notebook
def test_the_sections_stand_in_their_order(path):
    notebook = read_notebook(path)
    assert len(headings(notebook, 1)) == 1
    found = headings(notebook, 2)
    places = [
        next((place for place, heading in enumerate(found) if re.search(section, heading)), None)
        for section in SECTIONS
    ]
    if path.stem != "start_here":  # the way in has no paper of its own
        missing = [section for section, place in zip(SECTIONS, places, strict=True) if place is None]
        assert missing == []
    there = [place for place in places if place is not None]
    assert there == sorted(there), found


@every_notebook
def test_no_error_and_no_long_cell_is_stored(path):
    for cell in code_cells(read_notebook(path)):
        assert cell.source.count("\n") < 45, f"longer than a screen: {cell.source[:60]!r}"
        assert [output.ename for output in cell.outputs if output.output_type == "error"] == []


@every_notebook
def test_the_stored_file_is_free_of_what_changes_from_run_to_run(path):
    text = path.read_text(encoding="utf-8")
    for volatile in ('"papermill"', "iopub.status", "injected-parameters"):
        assert volatile not in text
    assert not re.search(r"(?<![\w.~])/(?:home|root|Users|tmp|work)/", text), "a path of one machine"
    assert path.stat().st_size <= MOST_BYTES


@every_notebook
def test_a_stamp_is_whole_and_the_widgets_that_it_counts_are_alive(path):
    notebook = read_notebook(path)
    if "kdlib" in notebook.metadata:
        stamp = read_stamp(notebook)
        assert stamp is not None
        assert not lost_widgets(notebook, stamp)
        assert stamp["preset"] == "quick"


FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell", "parameters"}  # on the page
WIDTH = 74  # characters of code that the book shows without scrolling


@every_notebook
def test_no_open_code_is_wider_than_the_page(path):
    wide = [
        line
        for cell in code_cells(read_notebook(path))
        if not FOLDED & set(cell.metadata.get("tags", []))
        for line in cell.source.splitlines()
        if len(line) > WIDTH
    ]
    assert wide == []


@every_notebook
def test_torchvision_comes_through_kdlib_and_no_output_widget_is_used(path):
    source = "\n".join(cell.source for cell in code_cells(read_notebook(path)))
    assert not re.search(r"^\s*(?:import torchvision|from torchvision)", source, flags=re.M)
    # An Output widget hangs an execution one time in fifty.
    assert not re.search(r"\binteract(?:ive)?\(|\bOutput\(", source)


@every_notebook
def test_marks_for_nbval_are_tags_and_not_text(path):
    assert [cell.source for cell in code_cells(read_notebook(path)) if "NBVAL" in cell.source] == []


@every_notebook
def test_solutions_are_hidden(path):
    notebook = read_notebook(path)
    inside = False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for heading in re.findall(r"^## (.+)$", cell.source, flags=re.M):
                inside = "Exercises" in heading
        elif inside:
            assert {"hide-cell", "hide-input"} & set(cell.metadata.get("tags", [])), cell.source[:60]


@every_notebook
def test_each_exercise_says_how_one_checks_it(path):
    """In its own words, or the section's first sentence says which exercises a cell below the solutions checks."""
    text = "\n".join(cell.source for cell in read_notebook(path).cells if cell.cell_type == "markdown")
    section = re.search(r"^## Exercises\n(.*?)(?=^<details|^## )", text, flags=re.M | re.S)[1]
    introduction, *items = re.split(r"^(?=\**\d+\. )", section, flags=re.M)
    assert len(items) >= 3
    by_a_cell = set(re.findall(r"\d+", introduction))
    numbers = {re.match(r"\**(\d+)", item)[1]: "*Check*" in item for item in items}
    assert [number for number, said in numbers.items() if not said and number not in by_a_cell] == []


@every_notebook
def test_a_notebook_with_an_experiment_ends_by_writing_its_record(path):
    source = "\n".join(cell.source for cell in code_cells(read_notebook(path)))
    if "Chapter(" in source or "Record(" in source:
        last = code_cells(read_notebook(path))[-1].source
        assert "chapter.provenance(" in last or "record.write()" in last


# ---- executed at smoke scale ----------------------------------------------------------------------------------------


def is_checked(cell) -> bool:
    """Whether nbval compares the cell's output."""
    return "nbval-check-output" in cell.metadata.get("tags", [])


def printed(cell) -> list[str]:
    """What a cell printed or answered, as text."""
    texts = (output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)
    return "".join(texts).split("\n")


@pytest.mark.slow
@every_notebook
def test_it_runs_at_smoke_scale_and_what_is_checked_prints_what_is_stored(path, chapter):
    """What nbval does, from the one execution of the session: the checked cells hold toys of the same size at each
    preset."""
    executed = [
        cell
        for cell in code_cells(chapter(path.stem).notebook)
        if "injected-parameters" not in cell.metadata.get("tags", [])
    ]
    for stored, fresh in zip(code_cells(read_notebook(path)), executed, strict=True):
        if is_checked(stored):
            assert printed(fresh) == printed(stored), stored.source


@pytest.mark.slow
def test_nbval_takes_the_tag(tmp_path):
    """A reader's `pytest --nbval-lax` compares the tagged cells and no others."""
    right, wrong = (nbformat.v4.new_code_cell(f"print({text})") for text in ("1", "2"))
    for cell in (right, wrong):
        cell.outputs = [nbformat.v4.new_output("stream", text="1\n")]
        cell.execution_count = 1  # to nbval, a cell with outputs that was never run is an error
    right.metadata["tags"] = ["nbval-check-output"]

    def nbval() -> int:
        notebook = nbformat.v4.new_notebook(cells=[right, wrong])
        nbformat.write(notebook, tmp_path / "toy.ipynb")
        command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-q"]
        command += ["-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(tmp_path), str(tmp_path / "toy.ipynb")]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True).returncode

    assert nbval() == 0
    wrong.metadata["tags"] = ["nbval-check-output"]
    assert nbval() == 1
