"""Run one notebook with checked parameters, through papermill, and never leave a half-written file.

papermill runs in a process of its own: a time limit, Ctrl-C and a dying kernel all end there, and the caller gets
either a complete executed notebook or one error that names the notebook and the cell.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import nbformat
import yaml

from kdlib.book.notebooks import REPOSITORY, NotebookFailed, form_of, unreadable
from kdlib.book.parameters import Parameter, check_parameters, with_callers_folders
from kdlib.book.stamps import fingerprint
from kdlib.data.root import data_root
from kdlib.errors import KdlibError
from kdlib.files import replace_file
from kdlib.lifeline import guarded, python_module
from kdlib.names import PRESETS
from kdlib.runs.place import store_root
from kdlib.temporary import temporary_folder

CELL_TIMEOUT = 3600  # seconds, at the presets of the book: a hanging cell must not hang a build for ever
# One thread a process: chapters are executed in parallel, and their results do not depend on the number of cores.
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}


class Stop(Protocol):
    """What is asked several times a second whether to end, such as an event of another thread."""

    def is_set(self) -> bool: ...


@dataclass(frozen=True)
class Result:
    """An executed notebook: its text, the metrics it wrote with their provenance, and the seconds it took."""

    notebook: nbformat.NotebookNode
    metrics: dict[str, Any]
    seconds: float


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook file, or say in one sentence why it cannot be read."""
    try:
        return nbformat.read(path, as_version=4)
    except OSError as error:
        raise KdlibError(f"cannot read {path}: {error.strerror}") from None
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, AttributeError, ValueError):
        raise unreadable(path) from None


def notebook_form(notebook: nbformat.NotebookNode, name: str) -> list[Parameter]:
    """The parameters of a notebook, read from its one cell tagged `parameters`."""
    return form_of(notebook.cells, name)


def versions() -> dict[str, str]:
    """The versions that go into a result's provenance."""
    found = {"python": platform.python_version()}
    for package in ("torch", "torchvision", "numpy", "kdlib"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _kernel_of_this_python(folder: Path) -> Path:
    """A Jupyter path, in `folder`, whose kernel `python3` is the running interpreter, not a user's own of that name."""
    spec = folder / "jupyter/kernels/python3"
    spec.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    # Errors only: ipykernel 7 warns on every start that a local kernel is not encrypted.
    command.append("--log-level=40")
    (spec / "kernel.json").write_text(
        json.dumps({"argv": command, "display_name": "Python 3 (ipykernel)", "language": "python"})
    )
    return folder / "jupyter"


def _environment(metrics: Path, folder: Path) -> dict[str, str]:
    """Of the kernel; folder: of all its temporary files, so that what a killed one leaves goes with it."""
    environment = {**os.environ, **ONE_THREAD, **places()}
    environment["KDLIB_METRICS"] = str(metrics)
    for name, below in (("TMPDIR", "tmp"), ("JUPYTER_RUNTIME_DIR", "runtime")):
        (folder / below).mkdir(mode=0o700)
        environment[name] = str(folder / below)
    environment["PYTHONHASHSEED"] = "0"
    environment["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    for name, first in (
        ("JUPYTER_PATH", str(_kernel_of_this_python(folder))),
        ("PYTHONPATH", str(REPOSITORY)),
    ):
        rest = environment.get(name)
        environment[name] = first + (os.pathsep + rest if rest else "")
    return environment


def places() -> dict[str, str]:
    """The variables that name where data and runs are, as the caller means them: a kernel has another current folder.

    Raises KdlibError where a variable names no folder that could be, or a user without a home folder has not set it.
    """
    return {"KDLIB_DATA": str(data_root()), "KDLIB_RUNS": str(store_root())}


def values_of(form: Sequence[Parameter], parameters: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A value for every parameter of the form, folders as the caller means them; whether its device is there is not
    asked."""
    given = with_callers_folders(check_parameters(form, parameters, name))
    return {parameter.name: given.get(parameter.name, parameter.default) for parameter in form}


def checked_values(form: Sequence[Parameter], parameters: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A value for every parameter of the form, folders as the caller means them; whatever can't be is refused.

    Raises KdlibError for an unknown name, an unfit value, a folder or a device that is not there, or no place for data
    and runs.
    """
    places()
    values = values_of(form, parameters, name)
    if str(values.get("device", "")).startswith("cuda"):
        # torch takes seconds to load: only where the answer depends on it.
        from kdlib.train.device import resolve_device

        resolve_device(values["device"])
    return values


def _progress(partial: Path) -> tuple[int, int]:
    """Cells done and cells in all, from the notebook papermill is writing (0, 0 while it is being written)."""
    try:
        cells = json.loads(partial.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError):
        return 0, 0
    states = [cell["metadata"].get("papermill", {}).get("status") for cell in cells]
    return sum(state == "completed" for state in states), len(states)


def _failure(name: str, partial: Path, log: str, status: int = 1, limit: float | None = None) -> NotebookFailed:
    """Say which cell failed and how, from the notebook papermill left.

    status: the exit code of the guard or of papermill; limit: the seconds after which it was ended.
    """
    killed = status in (-signal.SIGKILL, 128 + signal.SIGKILL) if hasattr(signal, "SIGKILL") else False
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
        if limit is not None:
            reason = f"the notebook did not end within {limit:.0f} s"
        elif "CellTimeoutError" in log:
            reason = "it took longer than the time limit"
        elif errors:
            reason = f"{errors[0].ename}: {errors[0].evalue}"
        elif "DeadKernelError" in log:
            reason = "the kernel died (out of memory?)"
        elif killed:
            reason = "what executed it was killed (out of memory?)"
        else:
            break
        return NotebookFailed(
            f"{name} failed in code cell {number} of {len(code)} ({first_line[:70]!r}): {reason}",
            bad_input=bool(errors) and errors[0].ename == KdlibError.__name__,
        )
    if limit is not None:
        return NotebookFailed(f"{name} did not end within {limit:.0f} s; it had not begun its first cell")
    if killed:
        return NotebookFailed(f"{name} could not be executed: what executed it was killed (out of memory?)")
    last = log.strip().splitlines()[-1:] or ["no message"]
    return NotebookFailed(f"{name} could not be executed: {last[0]}")


def execute_notebook(
    path: Path,
    parameters: Mapping[str, Any],
    *,
    failed_copy: Path | None = None,
    cell_timeout: int | None = None,
    limit: float | None = None,
    on_progress: Callable[[int, int, float], None] | None = None,
    stop: Stop | None = None,
) -> Result:
    """Execute the notebook at `path` and return it with its metrics; write nothing but `failed_copy`, on failure.

    `parameters` (texts or typed values) are checked against the notebook's form first and raise KdlibError. A failing
    cell raises NotebookFailed; the notebook as far as it got is then kept at `failed_copy`, if that is given.
    `on_progress(cells done, cells in all, seconds)` is called about once a second. `cell_timeout`: seconds a cell may
    take; None for an hour, and for no limit at presets that train for hours. `limit`: seconds after which the whole
    notebook is taken for hanging. `stop`: once set, everything is ended and KeyboardInterrupt raised.
    """
    source = read_notebook(path)
    form = notebook_form(source, path.stem)
    values = checked_values(form, parameters, path.stem)
    changed = {p.name: values[p.name] for p in form if values[p.name] != p.default}
    if cell_timeout is None and PRESETS[values.get("preset", "quick")].cell_limit:
        cell_timeout = CELL_TIMEOUT
    started = time.monotonic()
    with temporary_folder("run") as folder:
        partial, metrics, log = (folder / name for name in (path.name, "metrics.json", "log.txt"))
        # Not JSON: YAML takes JSON's 1e-05 for a text, it wants 1.0e-05.
        (folder / "parameters.yml").write_text(yaml.safe_dump(changed), encoding="utf-8")
        command = python_module("papermill", str(path), str(partial), "--cwd", str(path.parent))
        command += ["--kernel", "python3", "--start-timeout", "300"]
        command += [] if cell_timeout is None else ["--execution-timeout", str(cell_timeout)]
        command += ["--no-progress-bar", *(["-f", str(folder / "parameters.yml")] if changed else [])]
        hung = False
        environment = _environment(metrics, folder)
        with log.open("wb") as stream, guarded(command, folder, environment, stream) as process:
            last_word = started
            while process.poll() is None and not hung:
                try:
                    process.wait(timeout=0.2)
                except subprocess.TimeoutExpired:
                    now = time.monotonic()
                    if stop is not None and stop.is_set():
                        raise KeyboardInterrupt from None
                    hung = limit is not None and now - started > limit
                    if on_progress is not None and now - last_word >= 1:
                        last_word = now
                        on_progress(*_progress(partial), now - started)
        if hung or process.returncode != 0:
            report = log.read_text(encoding="utf-8", errors="replace")
            failure = _failure(path.stem, partial, report, process.returncode or 0, limit if hung else None)
            # What was refused is said in a sentence; a notebook as far as it got would say no more.
            if failed_copy is not None and partial.is_file() and not failure.bad_input:
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
