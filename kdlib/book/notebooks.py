"""The notebooks of a folder: where they lie, their parameters, and reading one as plain JSON.

It loads nothing beyond the standard library, so that the command answers at once; `kdlib.book.execute.read_notebook`
reads a notebook for executing and changing it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdlib.book.parameters import Parameter, read_parameters
from kdlib.data.checksums import is_there
from kdlib.data.root import expanded
from kdlib.errors import KdlibError, choose

REPOSITORY = Path(__file__).resolve().parents[2]


class NotebookFailed(RuntimeError):
    """A notebook stopped: the message names it, the cell and the error.

    bad_input: the cell refused what it was given (a KdlibError), rather than breaking.
    """

    def __init__(self, message: str, bad_input: bool = False) -> None:
        super().__init__(message)
        self.bad_input = bad_input


def notebooks_folder(given: str | Path | None = None) -> Path:
    """The folder of notebooks: `given`, or `notebooks/` of the repository kdlib was installed from."""
    folder = expanded(given, "--notebooks") if given is not None else REPOSITORY / "notebooks"
    if not is_there(folder) or not folder.is_dir():
        raise KdlibError(
            f"there is no folder of notebooks at {folder}; install kdlib with `pip install -e .` from a clone of "
            "the repository, or name the folder with --notebooks"
        )
    return folder.resolve()


def list_notebooks(folder: Path) -> list[Path]:
    """The notebooks of a folder, in alphabetical order."""
    return sorted(path for path in folder.glob("*.ipynb") if not path.name.startswith("."))


def notebook_path(name: str, folder: Path) -> Path:
    """The path of a notebook given by name, with or without `.ipynb`; unknown names get the nearest match."""
    name = name.removesuffix(".ipynb").removeprefix("notebooks/")
    return folder / (choose(name, [path.stem for path in list_notebooks(folder)], "notebook") + ".ipynb")


def unreadable(path: Path) -> KdlibError:
    """The error for a file that is no notebook."""
    return KdlibError(f"{path} is not a readable notebook; restore it from the repository")


def read_cells(path: Path) -> list[dict[str, Any]]:
    """The cells of a notebook file: `cell_type`, `metadata`, and `source` as one text; outputs are left out."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return [
            {
                "cell_type": cell["cell_type"],
                "metadata": cell.get("metadata", {}),
                "source": cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"]),
            }
            for cell in cells
        ]
    except OSError as error:
        raise KdlibError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise unreadable(path) from None


def form_of(cells: Sequence[Mapping[str, Any]], name: str) -> list[Parameter]:
    """The parameters of a notebook, read from its one cell tagged `parameters`."""
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise KdlibError(f"{name} has {len(tagged)} cells tagged 'parameters'; it must have exactly one")
    try:
        return read_parameters(tagged[0]["source"])
    except SyntaxError as error:
        raise KdlibError(f"the parameters cell of {name} is not valid Python: {error.msg}") from None


def summary(cells: Sequence[Mapping[str, Any]]) -> str:
    """The first sentence below a notebook's title: what it shows."""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            for paragraph in re.split(r"\n\s*\n", cell["source"]):
                text = " ".join(line for line in paragraph.splitlines() if not line.startswith(("#", ":", "`", "(")))
                text = re.sub(r"\[([^\]]*)\]\([^)]*\)|[*_`]{1,2}", r"\1", text).strip()
                if text:
                    return re.split(r"(?<=[.?!])\s", text)[0]
    return ""
