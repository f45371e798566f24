"""The notebooks as they are committed: their structure, and nbval over a copy of each at smoke scale."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from kdlib.book.execute import LIMITS, list_notebooks, notebook_form, read_notebook
from kdlib.book.execute import REPOSITORY as ROOT

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
            assert parameter.name in LIMITS, f"the number {parameter.name} has no range in kdlib.book.execute.LIMITS"


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
    for volatile in ('"papermill"', "iopub.status", "widget-state+json", "injected-parameters"):
        assert volatile not in text
    assert not re.search(r"(?<![\w.~])/(?:home|root|Users|tmp|work)/", text), "a path of one machine"
    assert path.stat().st_size < 1_500_000


@every_notebook
def test_torchvision_comes_through_kdlib_and_no_output_widget_is_used(path):
    source = "\n".join(cell.source for cell in code_cells(read_notebook(path)))
    assert not re.search(r"^\s*(?:import torchvision|from torchvision)", source, flags=re.M)
    # An Output widget hangs an execution one time in fifty.
    assert not re.search(r"\binteract(?:ive)?\(|\bOutput\(", source)


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
def test_a_notebook_with_an_experiment_ends_by_writing_its_record(path):
    source = "\n".join(cell.source for cell in code_cells(read_notebook(path)))
    if "Chapter(" in source or "Record(" in source:
        last = code_cells(read_notebook(path))[-1].source
        assert "chapter.provenance(" in last or "record.write()" in last


def prepared_copy(path: Path, folder: Path) -> Path:
    """A copy whose stored parameters say smoke: nbval runs the cells as they stand."""
    notebook = read_notebook(path)
    form = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    form.source, replaced = re.subn(r'^preset = "\w+"', 'preset = "smoke"', form.source, flags=re.M)
    assert replaced == 1
    copy = folder / path.name
    nbformat.write(notebook, copy)
    return copy


@pytest.mark.slow
@every_notebook
def test_nbval_at_smoke_scale(path, tmp_path, run_store):
    """Every cell runs, and each marked `# NBVAL_CHECK_OUTPUT` prints what is stored."""
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", "500"]
    command += ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(tmp_path)]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "KDLIB_METRICS"))
    }
    environment |= {"KDLIB_RUNS": str(run_store), "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    finished = subprocess.run(
        [*command, str(prepared_copy(path, tmp_path))],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert finished.returncode == 0, finished.stdout[-6000:]
