"""A sweep: every cell run once, resumable, a failed cell told and not fatal, whole cells only."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import pytest
from killed import Parent, needs_proc, wait_until
from toy_notebooks import write_notebook
from toy_sweeps import MEASURES, Executed, toy

from kdlib.book import run as run_module
from kdlib.book import sweep as sweep_module
from kdlib.book.grid import read_grid
from kdlib.book.notebooks import form_of, read_cells
from kdlib.book.sweep import run_sweep
from kdlib.cli import main
from kdlib.errors import KdlibError


@pytest.fixture
def notebook(tmp_path, monkeypatch) -> Path:
    """The toy, and an empty current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return toy(tmp_path)


@pytest.fixture
def executed(monkeypatch) -> Executed:
    stand_in = Executed()
    monkeypatch.setattr(run_module, "execute_notebook", stand_in)
    return stand_in


def sweep(notebook: Path, out: Path, said: list[str] | None = None, **given: str):
    grid = read_grid(form_of(read_cells(notebook), "toy"), given, "toy")
    return run_sweep(notebook, grid, out, jobs=1, say=(said if said is not None else []).append)


def test_each_cell_is_a_run_in_its_own_folder(notebook, executed, tmp_path):
    outcomes = sweep(notebook, tmp_path / "out", temperature="1,4", seed="0..1")
    assert executed.asked == [{"temperature": t, "seed": s} for t in (1.0, 4.0) for s in (0, 1)]
    for outcome in outcomes:
        folder = tmp_path / "out" / outcome.cell.name
        assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "toy.html", "toy.ipynb"]
        assert json.loads((folder / "metrics.json").read_text()) == outcome.metrics


def test_what_is_there_is_not_run_again_and_a_larger_grid_runs_the_new_cells(notebook, executed, tmp_path):
    first = sweep(notebook, tmp_path / "out", temperature="1,4")
    said: list[str] = []
    assert sweep(notebook, tmp_path / "out", said, temperature="1,4") == first
    assert len(executed.asked) == 2
    assert said == [f"[{n}/2] temperature={t}: done before, 2026-11-27" for n, t in ((1, 1), (2, 4))]
    sweep(notebook, tmp_path / "out", temperature="0.5,1,4,8")
    assert [asked["temperature"] for asked in executed.asked[2:]] == [0.5, 8.0]


def test_cells_of_another_source_or_broken_ones_are_run_again(notebook, executed, tmp_path):
    sweep(notebook, tmp_path / "out", temperature="1,4,8")
    (tmp_path / "out/temperature=4/metrics.json").write_text("{")
    (tmp_path / "out/temperature=8/toy.ipynb").unlink()
    sweep(notebook, tmp_path / "out", temperature="1,4,8")
    assert [asked["temperature"] for asked in executed.asked[3:]] == [4.0, 8.0]
    write_notebook(notebook, MEASURES, "print('changed')")
    sweep(notebook, tmp_path / "out", temperature="1,4,8")
    assert len(executed.asked) == 8


@pytest.mark.parametrize(
    "damage",
    [
        {"execution": None},
        {"measurements": [1]},
        {"measurements": {"accuracy/kd": {}}},
        {"measurements": {"accuracy/kd": {"values": ["x"], "unit": "percent"}}},
        {"measurements": {"accuracy/kd": {"values": [], "unit": "percent"}}},
    ],
)
def test_a_cell_whose_metrics_are_damaged_is_run_again(notebook, executed, tmp_path, damage):
    [first] = sweep(notebook, tmp_path / "out", temperature="4")
    (tmp_path / "out/temperature=4/metrics.json").write_text(json.dumps({**first.metrics, **damage}))
    assert sweep(notebook, tmp_path / "out", temperature="4") == [first]
    assert len(executed.asked) == 2


def test_a_cell_that_lacks_its_page_or_has_half_a_notebook_is_run_again(notebook, executed, tmp_path):
    sweep(notebook, tmp_path / "out", temperature="1,4,8")
    (tmp_path / "out/temperature=1/toy.html").unlink()
    half = (tmp_path / "out/temperature=4/toy.ipynb").read_text()[:50]
    (tmp_path / "out/temperature=4/toy.ipynb").write_text(half)
    sweep(notebook, tmp_path / "out", temperature="1,4,8")
    assert [asked["temperature"] for asked in executed.asked[3:]] == [1.0, 4.0]


def test_a_date_that_is_none_is_no_reason_to_run_a_cell_again(notebook, executed, tmp_path):
    [first] = sweep(notebook, tmp_path / "out", temperature="4")
    first.metrics["execution"]["finished"] = None
    (tmp_path / "out/temperature=4/metrics.json").write_text(json.dumps(first.metrics))
    assert sweep(notebook, tmp_path / "out", temperature="4") == [first]
    assert len(executed.asked) == 1


def test_a_cell_that_can_t_be_read_now_is_not_run_over(notebook, executed, tmp_path, monkeypatch):
    sweep(notebook, tmp_path / "out", temperature="4")

    def fails(path):
        raise OSError(24, "Too many open files", str(path))

    monkeypatch.setattr(sweep_module, "read_file", fails)
    with pytest.raises(KdlibError, match=r"temperature=4 can't be read \(Too many open files\).*try again"):
        sweep(notebook, tmp_path / "out", temperature="4")
    assert len(executed.asked) == 1


def test_a_pipe_in_the_place_of_metrics_is_not_waited_for(notebook, executed, tmp_path):
    (tmp_path / "out/temperature=4").mkdir(parents=True)
    os.mkfifo(tmp_path / "out/temperature=4/metrics.json")
    with pytest.raises(KdlibError, match="it is no file"):
        sweep(notebook, tmp_path / "out", temperature="4")


def test_a_folder_that_can_t_be_written_to_is_refused_before_anything_runs(notebook, executed, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()

    def fails(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", fails)
    with pytest.raises(KdlibError, match=r"cannot write results to .*out: Read-only file system; name another"):
        sweep(notebook, tmp_path / "out", temperature="4")
    assert executed.asked == []


def test_a_failed_cell_is_told_in_one_line_and_the_others_go_on(notebook, executed, tmp_path):
    said: list[str] = []
    outcomes = sweep(notebook, tmp_path / "out", said, temperature="666,1")
    assert [outcome.metrics is None for outcome in outcomes] == [True, False]
    assert "[1/2] temperature=666: FAILED, toy failed in code cell 2 of 2: ValueError: too\\nhot" in said
    assert [path.name for path in (tmp_path / "out/temperature=666").iterdir()] == ["toy.failed.ipynb"]
    sweep(notebook, tmp_path / "out", temperature="666,1")
    assert [asked["temperature"] for asked in executed.asked] == [666, 1, 666]  # the failed one alone


def test_an_interruption_leaves_whole_cells_and_the_next_call_goes_on(notebook, executed, tmp_path):
    executed.interrupt_at = 2
    with pytest.raises(KeyboardInterrupt):
        sweep(notebook, tmp_path / "out", temperature="1,4,8")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["temperature=1"]
    sweep(notebook, tmp_path / "out", temperature="1,4,8")
    assert [asked["temperature"] for asked in executed.asked] == [1, 4, 4, 8]


def test_what_no_cell_could_run_with_is_refused_before_anything_runs(notebook, executed, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(KdlibError, match="no GPU"):
        sweep(notebook, tmp_path / "out", device="cpu,cuda")
    assert executed.asked == [] and not (tmp_path / "out").exists()


def test_the_command_prints_the_table_and_leaves_it_as_files(notebook, executed, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")  # narrower than the table, which is turned
    words = ["sweep", "toy", "--notebooks", str(notebook.parent), "-p", "temperature=1,4", "-p", "seed=0..1"]
    assert main([*words, "--preset", "smoke", "--jobs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    turned = [line.split() for line in lines if line.startswith(("temperature", "seed", "state"))]
    assert turned == [["temperature", *"1144"], ["seed", *"0101"], ["state", *["done"] * 4]]
    out = Path("out/toy-sweep")
    assert lines[-4:] == [str(out / f"sweep.{ending}") for ending in ("csv", "md", "png", "svg")]
    with (out / "sweep.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["gain/kd (points)"] for row in table] == ["-0.5", "-0.5", "-2", "-2"]
    assert "| 1 | 0 | smoke | done | " in (out / "sweep.md").read_text()


def test_the_command_leaves_with_1_where_a_cell_failed(notebook, executed, capsys):
    words = ["sweep", "toy", "--notebooks", str(notebook.parent), "-p", "temperature=1,666", "--out", "o"]
    assert main(words) == 1
    assert capsys.readouterr().err == "kdlib: 1 of 2 cells failed; the same command runs them again\n"
    assert "- temperature=666: toy failed" in Path("o/sweep.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-p", "temprature=1,2"], "unknown parameter of toy 'temprature'; did you mean 'temperature'?"),
        ([], "a sweep has no cell without -p; give one, such as -p name=1,2,4"),
        (["-p", "temperature=1,1"], "temperature has the value 1.0 twice"),
        (["-p", "seed=0..5000"], "a sweep may have 1,000 cells"),
        (["-p", "seed=0..1", "-p", "seed=3"], "seed is given twice"),
        (["-p", "seed=0..1", "--jobs", "0"], "--jobs must be a whole number from 1 to 1000"),
        (["-p", "seed=0..1", "--jobs", "2", "--scheduler", "a:1"], "--jobs counts cells at once on this machine"),
        (["-p", "seed=0..1", "--scheduler", "a b"], "'a b' is no address of a Dask scheduler"),
        (["-p", "seed=0..1", "--cell-timeout", "0"], "--cell-timeout must be at least 1 second"),
    ],
)
def test_bad_input_is_refused_in_one_sentence_before_anything_is_written(notebook, capsys, words, message):
    assert main(["sweep", "toy", *words, "--notebooks", str(notebook.parent)]) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"kdlib: {message}")
    assert told.err.count("\n") == 1 and told.out == ""
    assert list(Path().iterdir()) == []


@pytest.mark.slow
def test_notebooks_are_really_executed(notebook, tmp_path):
    outcomes = sweep(notebook, tmp_path / "out", temperature="666,4")
    assert "ValueError: too hot" in outcomes[0].failure
    assert outcomes[1].metrics is not None
    assert outcomes[1].metrics["measurements"]["accuracy/kd"]["values"] == [84.0, 85.0]
    assert sweep(notebook, tmp_path / "out", temperature="4")[0].metrics == outcomes[1].metrics


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_ended_leaves_whole_cells_and_no_process(tmp_path, number):
    path = write_notebook(tmp_path / "notebooks/toy.ipynb", "import time\ntime.sleep(600 * (temperature == 4))")
    words = ["sweep", "toy", "--notebooks", str(path.parent), "--out", str(tmp_path / "out"), "--jobs", "1"]
    parent = Parent(["-m", "kdlib.cli", *words, "-p", "temperature=1,4,8"], tmp_path)
    assert wait_until(lambda: (tmp_path / "out/temperature=1/metrics.json").is_file(), 300)
    parent.wait_for("ipykernel_launcher", 1)
    parent.process.send_signal(number)
    assert parent.all_gone(), parent.living()
    assert parent.end()[0] == 128 + number
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["temperature=1"]
    assert len(list((tmp_path / "out/temperature=1").iterdir())) == 3
