"""A sweep on a Dask scheduler and two workers of this machine, one of which is killed on the way."""

from __future__ import annotations

import json

import pytest
from dask_cluster import local_cluster, once
from toy_notebooks import write_notebook
from toy_sweeps import MEASURES

from kdlib.book.grid import read_grid
from kdlib.book.notebooks import form_of, read_cells
from kdlib.book.sweep import run_sweep

# Leaves a mark as soon as a worker is at a cell, and stays there until it may go on.
WAITS = """\
import os, time
from pathlib import Path
marks = Path({marks!r})
worker = os.environ["KDLIB_TEST_WORKER"]
(marks / f"{{worker}} {{temperature:g}}").touch()
while not (marks / "go").exists():
    time.sleep(0.05)
"""


@pytest.mark.slow
def test_a_killed_worker_s_cells_are_done_by_the_other(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    path = write_notebook(tmp_path / "notebooks/toy.ipynb", WAITS.format(marks=str(marks)), MEASURES)
    grid = read_grid(form_of(read_cells(path), "toy"), {"temperature": "1,2,4,666"}, "toy")

    def at_work() -> bool:
        return all(list(marks.glob(f"{name} *")) for name in ("one", "two"))

    def kill_one() -> None:
        cluster.kill_worker("one")
        (marks / "go").touch()

    said: list[str] = []
    with local_cluster(tmp_path / "cluster", "one", "two") as cluster:
        with once(at_work, kill_one):
            outcomes = run_sweep(path, grid, tmp_path / "out", scheduler=cluster.address, say=said.append)
        lost = {mark.name.split()[1] for mark in marks.glob("one *")}
        assert lost and lost <= {mark.name.split()[1] for mark in marks.glob("two *")}, "the other did them again"
        told = len(said)
        again = run_sweep(path, read_grid(form_of(read_cells(path), "toy"), {"temperature": "1,2,4"}, "toy"),
                          tmp_path / "out", scheduler=cluster.address, say=said.append)  # fmt: skip
    assert all("done before" in line for line in said[told:]) and again == outcomes[:3]
    for outcome in outcomes[:3]:
        folder = tmp_path / "out" / outcome.cell.name
        assert sorted(entry.name for entry in folder.iterdir()) == ["metrics.json", "toy.html", "toy.ipynb"]
        assert json.loads((folder / "metrics.json").read_text()) == outcome.metrics
        assert outcome.metrics["measurements"]["gain/kd"]["values"][0] == -0.5 * outcome.cell.values["temperature"]
    assert "ValueError: too hot" in outcomes[3].failure
    assert [entry.name for entry in (tmp_path / "out/temperature=666").iterdir()] == ["toy.failed.ipynb"]
    assert sum("FAILED" in line for line in said) == 1
