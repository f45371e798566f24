"""Small notebooks for the tests of everything that executes notebooks: quick to run, wrong in one way each."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat import v4

PARAMETERS = """\
preset = "quick"  # size of the experiment
seed = 0  # first seed
n_seeds = 2  # paired repetitions
device = "cpu"  # where it runs
temperature = 4.0  # softens both distributions
words = ["a", "b"]  # some words
"""
MEASURE = """\
import json, os, sys
if os.environ.get("KDLIB_METRICS"):
    with open(os.environ["KDLIB_METRICS"], "w") as file:
        json.dump({"temperature": temperature, "python": sys.executable, "hash": hash("x")}, file)
print(preset, temperature, n_seeds)
"""
WIDGETS = """\
import ipywidgets as w
slider, bar = w.IntSlider(value=3, max=10), w.IntProgress(value=3, max=10)
link = w.jslink((slider, "value"), (bar, "value"))
w.VBox([slider, bar])
"""


def write_notebook(path: Path, *code: str, parameters: str = PARAMETERS, text: str = "Shows $x^2$. And more.") -> Path:
    """A notebook with a title, a parameters cell and the given code cells."""
    cells = [
        v4.new_markdown_cell(f"# {path.stem}\n\n{text}"),
        v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *(v4.new_code_cell(source) for source in code),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    notebook = v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def append(path: Path, code: str) -> None:
    """Add code to a notebook's last cell."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].source += code
    nbformat.write(notebook, path)
