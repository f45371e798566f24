"""`kdlib sweep`: a notebook run at every cell of a grid, on this machine or on a Dask cluster.

Each cell is a run as `kdlib run` makes it, in a folder of its own. A cell whose results are there, from the same
notebook, parameters and source, is not run again; one that fails is reported, and the others go on.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlib.book.execute import checked_values, notebook_form, read_notebook, values_of
from kdlib.book.grid import Cell, Grid, Outcome
from kdlib.book.notebooks import NotebookFailed
from kdlib.book.progress import Board, Say
from kdlib.book.results import made_folder, replace_set
from kdlib.book.run import METRICS, executed_files, failed_name, run_notebook
from kdlib.book.several import several_at_once
from kdlib.book.stamps import fingerprint
from kdlib.book.sweep_table import numbers
from kdlib.errors import KdlibError, one_line, shortened
from kdlib.files import replace_file
from kdlib.runs.cluster import SchedulerLost, connected
from kdlib.runs.place import read_file, reason
from kdlib.temporary import temporary_folder

_MOST_REASON = 300  # characters of why a cell failed


@dataclass(frozen=True)
class _Task:
    """A cell to be run. label: what a line about it begins with. values: of all parameters of the notebook."""

    cell: Cell
    label: str
    values: dict[str, Any]


def run_sweep(
    path: Path,
    grid: Grid,
    out: Path,
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    cell_timeout: int | None = None,
    say: Say = print,
) -> list[Outcome]:
    """Run the notebook at `path` at every cell of the grid, results in `out`/CELL; the outcomes in the grid's order.

    jobs: cells at once on this machine, by default one a core. scheduler: the address of a Dask scheduler whose workers
    run the cells instead. cell_timeout: as in `execute_notebook`. Raises KdlibError, before anything runs, where a cell
    could not run here (no such folder, no such device) or the scheduler does not answer. An interruption leaves whole
    cells only; the same call goes on from there.
    """
    source = read_notebook(path)
    form = notebook_form(source, path.stem)
    cells, waiting, outcomes = grid.cells, [], {}
    check = checked_values if scheduler is None else values_of  # a worker's devices are not ours
    board = Board(say)
    for number, cell in enumerate(cells, 1):
        values = check(form, cell.values, path.stem)
        task = _Task(cell, f"[{number}/{len(cells)}] {cell.name}", values)
        metrics = _kept(out / cell.name, path.name, fingerprint(source, values))
        if metrics is None:
            waiting.append(task)
        else:
            outcomes[cell.name] = Outcome(cell, metrics)
            board.say(f"{task.label}: done before, {str(metrics['execution'].get('finished') or '')[:10]}")
    with made_folder(out):
        run = _run_here(path, out, board, jobs, cell_timeout)
        if scheduler is not None:
            run = _run_there(path, out, board, scheduler, cell_timeout)
        for outcome in run(waiting) if waiting else ():
            outcomes[outcome.cell.name] = outcome
    return [outcomes[cell.name] for cell in cells]


def _kept(folder: Path, notebook: str, key: str) -> dict[str, Any] | None:
    """The metrics of a whole run in this folder whose stamp has the fingerprint `key`; None if there is none.

    Raises KdlibError if they can't be read now: that tells nothing about them, and they may have taken hours.
    """
    try:
        metrics = json.loads(read_file(folder / METRICS))
        if metrics["execution"]["fingerprint"] != key:
            return None
        read_file(folder / f"{Path(notebook).stem}.html")
        executed = json.loads(read_file(folder / notebook))
        whole = "cells" in executed and all(number.values for number in numbers(metrics).values())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise KdlibError(
            f"the results in {folder} can't be read ({reason(error)}), and are not made anew for that; try again once "
            "they can be read, or move them away"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # damaged, and to be replaced
        return None
    return metrics if whole else None


def _read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / METRICS).read_text(encoding="utf-8"))


def _failed(board: Board, task: _Task, failure: object) -> Outcome:
    reason = shortened(one_line(str(failure)), _MOST_REASON)
    board.say(f"{task.label}: FAILED, {reason}", done=task.label)
    return Outcome(task.cell, None, reason)


def _done(board: Board, task: _Task, folder: Path) -> Outcome:
    metrics = _read(folder)
    board.say(f"{task.label}: done in {metrics['execution']['seconds']:.0f} s", done=task.label)
    return Outcome(task.cell, metrics)


Run = Callable[[Sequence[_Task]], Sequence[Outcome]]


def _run_here(path: Path, out: Path, board: Board, jobs: int | None, cell_timeout: int | None) -> Run:
    def work(task: _Task, stop: threading.Event) -> Outcome:
        board.say(f"{task.label}: executing")
        how = {"cell_timeout": cell_timeout, "on_progress": board.counter(task.label), "stop": stop}
        folder = out / task.cell.name
        try:
            run_notebook(path.stem, task.cell.values, folder, notebooks=path.parent, **how)  # type: ignore[arg-type]
        except (NotebookFailed, KdlibError) as failure:
            return _failed(board, task, failure)
        return _done(board, task, folder)

    return lambda tasks: several_at_once(work, tasks, jobs)


# ---- on a cluster --------------------------------------------------------------------------------------------------


def _run_there(path: Path, out: Path, board: Board, scheduler: str, cell_timeout: int | None) -> Run:
    text = path.read_text(encoding="utf-8")

    def run(tasks: Sequence[_Task]) -> list[Outcome]:
        with connected(scheduler) as cluster:
            futures = {
                cluster.submit(execute_there, path.name, text, task.values, cell_timeout): task for task in tasks
            }
            board.say(f"{len(tasks)} cells are with the workers of {scheduler}")
            return list(keep(cluster.finished(futures)))

    def keep(finished: Iterator[tuple[_Task, Callable[[], dict[str, Any]]]]) -> Iterator[Outcome]:
        for task, answer in finished:
            folder = out / task.cell.name
            try:
                found = answer()
            except SchedulerLost:
                raise
            except KdlibError as failure:
                yield _failed(board, task, failure)
                continue
            copy = failed_name(path.stem)
            if found["failure"]:
                if found["copy"]:
                    folder.mkdir(parents=True, exist_ok=True)
                    replace_file(folder / copy, found["copy"])
                yield _failed(board, task, found["failure"])
                continue
            with made_folder(folder):
                replace_set(folder, found["files"], gone=(copy,))
            yield _done(board, task, folder)

    return run


def execute_there(notebook: str, text: str, values: dict[str, Any], cell_timeout: int | None) -> dict[str, Any]:
    """On a worker: execute the notebook of this text with these values; what it leaves, as content.

    `files`: name -> text, as of `kdlib run`. `failure`: why there are none, and then `copy`, the notebook as far as it
    got; both empty otherwise.
    """
    with temporary_folder("cell") as folder:
        path, copy = folder / notebook, folder / failed_name(notebook)
        path.write_text(text, encoding="utf-8")
        answer: dict[str, Any] = {"files": {}, "failure": "", "copy": ""}
        try:
            answer["files"] = executed_files(path, values, failed_copy=copy, cell_timeout=cell_timeout)
        except (NotebookFailed, KdlibError) as failure:
            answer["failure"] = str(failure)
            answer["copy"] = copy.read_text(encoding="utf-8") if copy.is_file() else ""
    return answer
