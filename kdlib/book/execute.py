"""Run one notebook with checked parameters, through papermill, and never leave a half-written file.

papermill runs in a process of its own: a time limit, Ctrl-C and a dying kernel all end there, and the caller gets
either a complete executed notebook or one error that names the notebook and the cell.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import nbformat
import yaml

from kdlib.book.parameters import (
    LIMITS,
    PRESETS,
    Limit,
    Parameter,
    check_parameters,
    read_parameters,
)
from kdlib.book.single_page import write_page
from kdlib.errors import KdlibError, choose

__all__ = [
    "LIMITS",
    "PRESETS",
    "Limit",
    "NotebookFailed",
    "Parameter",
    "Result",
    "check_parameters",
    "execute_notebook",
    "fingerprint",
    "list_notebooks",
    "notebook_form",
    "notebook_path",
    "notebooks_folder",
    "read_parameters",
    "run_notebook",
]

REPOSITORY = Path(__file__).resolve().parents[2]
CELL_TIMEOUT = 3600  # seconds, at the presets of the book: a hanging cell must not hang a build for ever
IN_THE_BOOK = ("smoke", "quick")
_SHAPES_RESULTS = (".py", ".js", ".css", ".toml", ".npz", ".txt")


class NotebookFailed(RuntimeError):
    """A notebook stopped: the message names it, the cell and the error.

    bad_input: the cell refused what it was given (a KdlibError), rather than breaking.
    """

    def __init__(self, message: str, bad_input: bool = False) -> None:
        super().__init__(message)
        self.bad_input = bad_input


@dataclass(frozen=True)
class Result:
    """An executed notebook: its text, the metrics it wrote with their provenance, and the seconds it took."""

    notebook: nbformat.NotebookNode
    metrics: dict[str, Any]
    seconds: float


def notebooks_folder(given: str | Path | None = None) -> Path:
    """The folder of notebooks: `given`, or `notebooks/` of the repository kdlib was installed from."""
    folder = Path(given) if given is not None else REPOSITORY / "notebooks"
    if not folder.is_dir():
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


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook file, or say in one sentence why it cannot be read."""
    try:
        return nbformat.read(path, as_version=4)
    except OSError as error:
        raise KdlibError(f"cannot read {path}: {error.strerror}") from None
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, AttributeError, ValueError):
        raise KdlibError(f"{path} is not a readable notebook; restore it from the repository") from None


def notebook_form(notebook: nbformat.NotebookNode, name: str) -> list[Parameter]:
    """The parameters of a notebook, read from its one cell tagged `parameters`."""
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise KdlibError(f"{name} has {len(tagged)} cells tagged 'parameters'; it must have exactly one")
    try:
        return read_parameters(tagged[0].source)
    except SyntaxError as error:
        raise KdlibError(f"the parameters cell of {name} is not valid Python: {error.msg}") from None


def code_hash(package: Path = REPOSITORY / "kdlib") -> str:
    """A hash of every file of kdlib that can shape a result."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.suffix in _SHAPES_RESULTS and "__pycache__" not in path.parts:
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """The versions that go into a result's provenance."""
    found = {"python": platform.python_version()}
    for package in ("torch", "torchvision", "numpy", "kdlib"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def fingerprint(notebook: nbformat.NotebookNode, parameters: Mapping[str, Any]) -> str:
    """What an executed notebook depends on: source cells, parameters, kdlib, the versions beneath, committed results.

    Outputs and metadata are left out, so that storing fresh outputs does not ask for another run.
    """
    committed = REPOSITORY / "book/results/gpu"
    parts = {
        "cells": [(cell.cell_type, cell.source) for cell in notebook.cells],
        "parameters": dict(parameters),
        "kdlib": code_hash(),
        "versions": versions(),
        "committed": [
            hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(committed.rglob("*")) if path.is_file()
        ],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@contextmanager
def _kernel_of_this_python() -> Iterator[str]:
    """A Jupyter path whose kernel `python3` is the running interpreter, not a user's own kernel of that name."""
    with tempfile.TemporaryDirectory(prefix="kdlib-kernel-") as folder:
        spec = Path(folder) / "kernels/python3"
        spec.mkdir(parents=True)
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        # Errors only: ipykernel 7 warns on every start that a local kernel is not encrypted.
        command.append("--log-level=40")
        (spec / "kernel.json").write_text(
            json.dumps({"argv": command, "display_name": "Python 3 (ipykernel)", "language": "python"})
        )
        yield folder


def _environment(metrics: Path, jupyter_path: str) -> dict[str, str]:
    environment = dict(os.environ)
    environment["KDLIB_METRICS"] = str(metrics)
    environment["PYTHONHASHSEED"] = "0"
    environment["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    for name, first in (("JUPYTER_PATH", jupyter_path), ("PYTHONPATH", str(REPOSITORY))):
        rest = environment.get(name)
        environment[name] = first + (os.pathsep + rest if rest else "")
    return environment


def _progress(partial: Path) -> tuple[int, int]:
    """Cells done and cells in all, from the notebook papermill is writing (0, 0 while it is being written)."""
    try:
        cells = json.loads(partial.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError):
        return 0, 0
    states = [cell["metadata"].get("papermill", {}).get("status") for cell in cells]
    return sum(state == "completed" for state in states), len(states)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End papermill and the kernel it started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _failure(name: str, partial: Path, log: str) -> NotebookFailed:
    """Say which cell failed and how, from the notebook papermill left."""
    try:
        cells = nbformat.read(partial, as_version=4).cells
    except (OSError, ValueError):
        cells = []
    code = [cell for cell in cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, 1):
        errors = [output for output in cell.get("outputs", []) if output.output_type == "error"]
        answered = "shell.execute_reply" in cell.metadata.get("execution", {})
        if not errors and (answered or not cell.source.strip()):
            continue
        first_line = next((line.strip() for line in cell.source.splitlines() if line.strip()), "")
        if "CellTimeoutError" in log:
            reason = "it took longer than the time limit"
        elif errors:
            reason = f"{errors[0].ename}: {errors[0].evalue}"
        elif "DeadKernelError" in log:
            reason = "the kernel died (out of memory?)"
        else:
            break
        return NotebookFailed(
            f"{name} failed in code cell {number} of {len(code)} ({first_line[:70]!r}): {reason}",
            bad_input=bool(errors) and errors[0].ename == KdlibError.__name__,
        )
    last = log.strip().splitlines()[-1:] or ["no message"]
    return NotebookFailed(f"{name} could not be executed: {last[0]}")


def execute_notebook(
    path: Path,
    parameters: Mapping[str, Any],
    *,
    failed_copy: Path | None = None,
    cell_timeout: int | None = None,
    on_progress: Callable[[int, int, float], None] | None = None,
) -> Result:
    """Execute the notebook at `path` and return it with its metrics; write nothing but `failed_copy`, on failure.

    `parameters` (texts or typed values) are checked against the notebook's form first and raise KdlibError. A failing
    cell raises NotebookFailed; the notebook as far as it got is then kept at `failed_copy`, if that is given.
    `on_progress(cells done, cells in all, seconds)` is called about once a second. `cell_timeout`: seconds a cell may
    take; None for an hour, and for no limit at presets that train for hours.
    """
    source = read_notebook(path)
    form = notebook_form(source, path.stem)
    given = check_parameters(form, parameters, path.stem)
    values = {parameter.name: given.get(parameter.name, parameter.default) for parameter in form}
    if str(values.get("device", "")).startswith("cuda"):
        from kdlib.train.device import (
            resolve_device,  # torch takes seconds to load: only where the answer depends on it
        )

        resolve_device(values["device"])
    changed = {p.name: values[p.name] for p in form if values[p.name] != p.default}
    if cell_timeout is None and values.get("preset", "quick") in IN_THE_BOOK:
        cell_timeout = CELL_TIMEOUT
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kdlib-run-") as folder, _kernel_of_this_python() as jupyter_path:
        partial, metrics, log = (Path(folder) / name for name in (path.name, "metrics.json", "log.txt"))
        # Not JSON: YAML takes JSON's 1e-05 for a text, it wants 1.0e-05.
        (Path(folder) / "parameters.yml").write_text(yaml.safe_dump(changed), encoding="utf-8")
        command = [sys.executable, "-m", "papermill", str(path), str(partial), "--cwd", str(path.parent)]
        command += ["--kernel", "python3", "--start-timeout", "120"]
        command += [] if cell_timeout is None else ["--execution-timeout", str(cell_timeout)]
        command += ["--no-progress-bar", *(["-f", str(Path(folder) / "parameters.yml")] if changed else [])]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command, env=_environment(metrics, jupyter_path), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
            )
            try:
                while process.poll() is None:
                    try:
                        process.wait(timeout=1)
                    except subprocess.TimeoutExpired:
                        if on_progress is not None:
                            on_progress(*_progress(partial), time.monotonic() - started)
            finally:
                _stop(process)
        if process.returncode != 0:
            failure = _failure(path.stem, partial, log.read_text(encoding="utf-8", errors="replace"))
            if failed_copy is not None and partial.is_file():
                failed_copy.parent.mkdir(parents=True, exist_ok=True)
                replace_file(failed_copy, partial.read_text(encoding="utf-8"))
                failure.add_note(f"The notebook as far as it got: {failed_copy}")
            raise failure
        executed = nbformat.read(partial, as_version=4)
        measured = json.loads(metrics.read_text(encoding="utf-8")) if metrics.is_file() else {}
    seconds = time.monotonic() - started
    measured["execution"] = {
        "notebook": path.stem,
        "parameters": values,
        "seconds": round(seconds, 1),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": versions(),
        "fingerprint": fingerprint(source, values),
    }
    return Result(executed, measured, seconds)


def replace_file(path: Path, text: str) -> None:
    """Write `text` to `path` so that a reader sees the old file or the whole new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def run_notebook(
    name: str,
    parameters: Mapping[str, Any],
    out: Path,
    *,
    notebooks: Path | None = None,
    cell_timeout: int | None = None,
    on_progress: Callable[[int, int, float], None] | None = None,
) -> list[Path]:
    """Execute one notebook into the folder `out`: the notebook, an HTML page of it, and `metrics.json`.

    Returns the three paths. Nothing is written if a parameter is refused.
    """
    path = notebook_path(name, notebooks_folder(notebooks))
    check_parameters(notebook_form(read_notebook(path), path.stem), parameters, path.stem)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KdlibError(f"cannot write results to {out}: {error.strerror}; name another folder") from None
    failed = out / f"{path.stem}.failed.ipynb"
    result = execute_notebook(path, parameters, failed_copy=failed, cell_timeout=cell_timeout, on_progress=on_progress)
    texts = {
        out / path.name: nbformat.writes(result.notebook),
        out / f"{path.stem}.html": write_page(result.notebook, path.stem, REPOSITORY / "book/_static"),
        out / "metrics.json": json.dumps(result.metrics, indent=1, sort_keys=True) + "\n",
    }
    for target, text in texts.items():
        replace_file(target, text)
    failed.unlink(missing_ok=True)
    return list(texts)
