"""What `kdlib run` leaves in a folder: the executed notebook, an HTML page of it and its metrics, together."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat

from kdlib.book.execute import Stop, checked_values, execute_notebook, notebook_form, read_notebook
from kdlib.book.notebooks import REPOSITORY, notebook_path, notebooks_folder
from kdlib.book.results import made_folder, replace_set
from kdlib.book.single_page import write_page

METRICS = "metrics.json"


def executed_files(
    path: Path,
    parameters: Mapping[str, Any],
    *,
    failed_copy: Path | None = None,
    cell_timeout: int | None = None,
    on_progress: Callable[[int, int, float], None] | None = None,
    stop: Stop | None = None,
) -> dict[str, str]:
    """Execute the notebook at `path`; name -> text of what a run leaves: the notebook, an HTML page of it, its metrics.

    Arguments and errors are those of `execute_notebook`.
    """
    result = execute_notebook(
        path, parameters, failed_copy=failed_copy, cell_timeout=cell_timeout, on_progress=on_progress, stop=stop
    )
    return {
        path.name: nbformat.writes(result.notebook),
        f"{path.stem}.html": write_page(result.notebook, path.stem, REPOSITORY / "book/_static"),
        METRICS: json.dumps(result.metrics, indent=1, sort_keys=True) + "\n",
    }


def failed_name(notebook: str) -> str:
    """The file that holds a failed notebook as far as it got.

    >>> failed_name("kd_loss")
    'kd_loss.failed.ipynb'
    """
    return f"{notebook}.failed.ipynb"


def run_notebook(
    name: str,
    parameters: Mapping[str, Any],
    out: Path,
    *,
    notebooks: Path | None = None,
    cell_timeout: int | None = None,
    on_progress: Callable[[int, int, float], None] | None = None,
    stop: Stop | None = None,
) -> list[Path]:
    """Execute one notebook into the folder `out`: the notebook, an HTML page of it, and `metrics.json`.

    Returns the three paths, of files that take the place of an earlier run's together. A run that is refused, by its
    parameters or by a cell, writes nothing; one that fails leaves the notebook as far as it got.
    """
    path = notebook_path(name, notebooks_folder(notebooks))
    checked_values(notebook_form(read_notebook(path), path.stem), parameters, path.stem)
    failed = failed_name(path.stem)
    how: dict[str, Any] = {"cell_timeout": cell_timeout, "on_progress": on_progress, "stop": stop}
    with made_folder(out):
        files = executed_files(path, parameters, failed_copy=out / failed, **how)
        replace_set(out, files, gone=(failed,))
    return [out / file for file in files]
