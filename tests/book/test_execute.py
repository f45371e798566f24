"""Executing one notebook: checked parameters in, a whole notebook with its page and metrics out, or one clear error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from toy_notebooks import MEASURE, PARAMETERS, WIDGETS, write_notebook

from kdlib.book.execute import _failure, execute_notebook, notebook_form, read_notebook
from kdlib.book.notebooks import (
    NotebookFailed,
    list_notebooks,
    notebook_path,
    notebooks_folder,
    read_cells,
)
from kdlib.book.run import run_notebook
from kdlib.data.root import data_root
from kdlib.errors import KdlibError
from kdlib.runs.place import store_root


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The toy run once with a changed parameter: (folder of results, folder of notebooks)."""
    folder = tmp_path_factory.mktemp("toy")
    write_notebook(folder / "notebooks/toy.ipynb", MEASURE, WIDGETS)
    run_notebook("toy", {"temperature": "8"}, folder / "out", notebooks=folder / "notebooks")
    return folder


def printed(notebook) -> str:
    return "".join(o.text for c in notebook.cells if c.cell_type == "code" for o in c.outputs if "text" in o)


def test_a_run_leaves_the_notebook_its_page_and_its_metrics(executed):
    assert sorted(path.name for path in (executed / "out").iterdir()) == ["metrics.json", "toy.html", "toy.ipynb"]
    assert "quick 8.0 2" in printed(read_notebook(executed / "out/toy.ipynb"))


def test_the_source_is_not_touched_by_a_run(executed):
    assert "injected" not in (executed / "notebooks/toy.ipynb").read_text()
    assert printed(read_notebook(executed / "notebooks/toy.ipynb")) == ""


def test_the_metrics_hold_what_was_measured_and_where_it_comes_from(executed):
    metrics = json.loads((executed / "out/metrics.json").read_text())
    assert metrics["temperature"] == 8.0
    execution = metrics["execution"]
    assert execution["notebook"] == "toy"
    assert execution["parameters"] == {
        "preset": "quick",
        "seed": 0,
        "n_seeds": 2,
        "device": "cpu",
        "temperature": 8.0,
        "words": ["a", "b"],
    }
    assert execution["seconds"] > 0
    assert {"python", "torch", "torchvision", "numpy", "kdlib"} == set(execution["versions"])


def test_the_kernel_is_the_running_python_with_a_fixed_hash_seed(executed):
    metrics = json.loads((executed / "out/metrics.json").read_text())
    assert metrics["python"] == sys.executable
    command = [sys.executable, "-c", "print(hash('x'))"]
    seeded = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True)
    assert metrics["hash"] == int(seeded.stdout)


def test_another_kernel_named_python3_is_not_taken(tmp_path, monkeypatch):
    spec = tmp_path / "jupyter/kernels/python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(
        json.dumps({"argv": ["/nonexistent/python"], "display_name": "Another", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    result = execute_notebook(write_notebook(tmp_path / "toy.ipynb", MEASURE), {})
    assert result.metrics["python"] == sys.executable


@pytest.mark.parametrize("value", [1e-05, 123456.789, 0.1])
def test_a_number_arrives_as_the_number_it_is(tmp_path, value):
    result = execute_notebook(write_notebook(tmp_path / "toy.ipynb", MEASURE), {"temperature": str(value)})
    assert result.metrics["temperature"] == value


def test_widget_state_is_kept(executed):
    state = read_notebook(executed / "out/toy.ipynb").metadata["widgets"]["application/vnd.jupyter.widget-state+json"]
    assert any(model["model_name"] == "IntSliderModel" for model in state["state"].values())


def test_notebooks_run_in_their_own_folder(tmp_path):
    (tmp_path / "beside.txt").write_text("found")
    notebook = write_notebook(tmp_path / "toy.ipynb", "print(open('beside.txt').read())")
    assert printed(execute_notebook(notebook, {}).notebook) == "found\n"


@pytest.mark.parametrize("parameters", [{"temperature": "0"}, {"n_seeds": 0}, {"temprature": "8"}, {"preset": "quik"}])
def test_a_refused_parameter_leaves_nothing_behind(tmp_path, parameters):
    write_notebook(tmp_path / "notebooks/toy.ipynb", MEASURE)
    with pytest.raises(KdlibError):
        run_notebook("toy", parameters, tmp_path / "out", notebooks=tmp_path / "notebooks")
    assert not (tmp_path / "out").exists()


def test_an_absent_gpu_is_noticed_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(KdlibError, match="no GPU"):
        execute_notebook(write_notebook(tmp_path / "toy.ipynb", "1/0"), {"device": "cuda"})


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("x = 1\n1 / 0", r"failed in code cell 2 of 3 \('x = 1'\): ZeroDivisionError: division by zero"),
        ("import os\nos._exit(1)", "failed in code cell 2 of 3 .* the kernel died"),
        ("import time\ntime.sleep(60)", "failed in code cell 2 of 3 .* longer than the time limit"),
    ],
)
def test_a_failing_notebook_is_named_with_its_cell_and_its_error(tmp_path, code, reason):
    write_notebook(tmp_path / "notebooks/broken.ipynb", code, "print('never')")
    with pytest.raises(NotebookFailed, match="broken " + reason):
        run_notebook("broken", {}, tmp_path / "out", notebooks=tmp_path / "notebooks", cell_timeout=4)
    # Only the notebook as far as it got: nothing that could be taken for a result.
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["broken.failed.ipynb"]


@pytest.mark.parametrize(("preset", "limited"), [("quick", True), ("retrain", False)])
def test_an_hour_bounds_a_cell_only_at_presets_that_do_not_train_for_hours(tmp_path, monkeypatch, preset, limited):
    monkeypatch.setattr("kdlib.book.execute.CELL_TIMEOUT", 1)
    path = write_notebook(tmp_path / "slow.ipynb", "import time\ntime.sleep(4)")
    with pytest.raises(NotebookFailed, match="longer than the time limit") if limited else nullcontext():
        execute_notebook(path, {"preset": preset})


def test_a_good_run_removes_the_failed_copy_of_an_earlier_one(tmp_path):
    path = write_notebook(tmp_path / "toy.ipynb", "1/0")
    with pytest.raises(NotebookFailed):
        run_notebook("toy", {}, tmp_path / "out", notebooks=tmp_path)
    write_notebook(path, "1")
    run_notebook("toy", {}, tmp_path / "out", notebooks=tmp_path)
    assert sorted(found.name for found in (tmp_path / "out").iterdir()) == ["metrics.json", "toy.html", "toy.ipynb"]


def test_a_hung_notebook_is_named(tmp_path):
    path = write_notebook(tmp_path / "hung.ipynb", "import time\ntime.sleep(600)")
    with pytest.raises(NotebookFailed, match=r"^hung .*did not end within 8 s"):
        execute_notebook(path, {}, limit=8)


def test_temporary_files_of_a_notebook_go_with_it(tmp_path):
    code = "import tempfile\nprint(tempfile.mkdtemp())"
    result = execute_notebook(write_notebook(tmp_path / "toy.ipynb", code), {})
    assert not Path(printed(result.notebook).strip()).exists()


def test_a_notebook_runs_with_one_thread(tmp_path):
    path = write_notebook(tmp_path / "toy.ipynb", "import torch\nprint(torch.get_num_threads())")
    assert printed(execute_notebook(path, {}).notebook) == "1\n"


def test_plain_reading_gives_the_same_cells(tmp_path):
    path = write_notebook(tmp_path / "toy.ipynb", MEASURE, WIDGETS)
    for plain, cell in zip(read_cells(path), read_notebook(path).cells, strict=True):
        assert plain == {key: cell[key] for key in ("cell_type", "metadata", "source")}


def test_unknown_or_unreadable_notebooks_are_named(tmp_path):
    write_notebook(tmp_path / "kd_loss.ipynb", "1")
    (tmp_path / "broken.ipynb").write_text("{not json")
    with pytest.raises(KdlibError, match=r"unknown notebook 'kd_los'; did you mean 'kd_loss'\?"):
        notebook_path("kd_los", tmp_path)
    assert notebook_path("notebooks/kd_loss.ipynb", tmp_path) == tmp_path / "kd_loss.ipynb"
    with pytest.raises(KdlibError, match=r"broken.ipynb is not a readable notebook"):
        read_notebook(tmp_path / "broken.ipynb")
    with pytest.raises(KdlibError, match=r"broken.ipynb is not a readable notebook"):
        read_cells(tmp_path / "broken.ipynb")
    with pytest.raises(KdlibError, match="no folder of notebooks"):
        notebooks_folder(tmp_path / "none")
    assert [path.stem for path in list_notebooks(tmp_path)] == ["broken", "kd_loss"]


def test_a_notebook_needs_exactly_one_parameters_cell(tmp_path):
    notebook = read_notebook(write_notebook(tmp_path / "toy.ipynb", PARAMETERS))
    assert notebook_form(notebook, "toy")[0].name == "preset"
    notebook.cells[2].metadata["tags"] = ["parameters"]
    with pytest.raises(KdlibError, match="toy has 2 cells tagged 'parameters'"):
        notebook_form(notebook, "toy")


def test_a_results_folder_that_is_a_file_is_refused_before_the_run(tmp_path):
    write_notebook(tmp_path / "toy.ipynb", "1/0")
    (tmp_path / "out").write_text("mine")
    with pytest.raises(KdlibError, match="cannot write results to"):
        run_notebook("toy", {}, tmp_path / "out", notebooks=tmp_path)
    assert (tmp_path / "out").read_text() == "mine"


SEEN = """\
import json, os
seen = {"folder": data_folder, "KDLIB_DATA": os.environ["KDLIB_DATA"], "KDLIB_RUNS": os.environ["KDLIB_RUNS"]}
json.dump(seen, open(os.environ["KDLIB_METRICS"], "w"))
"""


def test_folders_mean_the_caller_s_wherever_the_kernel_works(tmp_path, monkeypatch):
    write_notebook(tmp_path / "notebooks/toy.ipynb", SEEN, parameters='data_folder = ""  # where the images are')
    here = tmp_path / "here"
    (here / "photos").mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KDLIB_RUNS", "myruns")
    monkeypatch.setenv("KDLIB_DATA", "~/mydata")
    for given in ("photos", "../here/photos", "~/here/photos"):
        execution = execute_notebook(tmp_path / "notebooks/toy.ipynb", {"data_folder": given}).metrics
        assert Path(execution["folder"]).resolve() == here / "photos" and Path(execution["folder"]).is_absolute()
        assert execution["KDLIB_RUNS"] == str(here / "myruns") == str(store_root())
        assert execution["KDLIB_DATA"] == str(tmp_path / "mydata") == str(data_root())


@pytest.mark.parametrize("given", ["none", "file", "~no_such_user/x", "x" * 5000, "a\nb"])
@pytest.mark.parametrize("name", ["data_folder", "probe_folder", "sst_folder"])
def test_a_folder_that_is_not_there_is_refused_before_anything_runs(tmp_path, monkeypatch, name, given):
    write_notebook(tmp_path / "toy.ipynb", "1/0", parameters=f'{name} = ""  # a folder')
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KdlibError, match=f"^{name}(=| must)") as refused:
        run_notebook("toy", {name: given}, tmp_path / "a/b", notebooks=tmp_path)
    assert str(refused.value).isprintable() and not (tmp_path / "a").exists()


@pytest.mark.parametrize("beside", [False, True])
def test_what_a_cell_refuses_leaves_no_half_output(tmp_path, beside):
    write_notebook(tmp_path / "toy.ipynb", "from kdlib.errors import KdlibError\nraise KdlibError('no images')")
    if beside:
        (tmp_path / "a/b").mkdir(parents=True)
        (tmp_path / "a/b/metrics.json").write_text("of an earlier run")
    with pytest.raises(NotebookFailed, match="KdlibError: no images") as failed:
        run_notebook("toy", {}, tmp_path / "a/b", notebooks=tmp_path)
    assert failed.value.bad_input and not hasattr(failed.value, "__notes__")
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert left == (["a", "a/b", "a/b/metrics.json", "toy.ipynb"] if beside else ["toy.ipynb"])


def test_without_a_place_for_runs_nothing_is_started(tmp_path, monkeypatch):
    write_notebook(tmp_path / "toy.ipynb", "1/0")
    monkeypatch.setenv("KDLIB_RUNS", "~no_such_user/runs")
    with pytest.raises(KdlibError, match="set KDLIB_RUNS to a path without ~"):
        run_notebook("toy", {}, tmp_path / "out", notebooks=tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_gpu_that_is_not_there_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    write_notebook(tmp_path / "toy.ipynb", "1/0")
    with pytest.raises(KdlibError, match="no GPU"):
        run_notebook("toy", {"device": "cuda:99"}, tmp_path / "a/b", notebooks=tmp_path)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("status", [-9, 137])
def test_a_notebook_whose_execution_was_killed_is_told_so(tmp_path, status):
    path = write_notebook(tmp_path / "toy.ipynb", "x = 1")
    for partial, told in ((path, r"failed in code cell 1 of 2"), (tmp_path / "none.ipynb", "could not be executed")):
        with pytest.raises(NotebookFailed, match=rf"toy {told}.*: what executed it was killed \(out of memory\?\)"):
            raise _failure("toy", partial, "Executing notebook with kernel: python3", status)
