"""Whatever ends a build or a run ends its kernels and their training processes, soon."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from killed import Parent, needs_proc, pool_script, wait_until
from toy_notebooks import write_notebook

pytestmark = needs_proc

# `kdlib book` of another project than the repository.
BOOK = """\
import sys
from pathlib import Path
from kdlib import cli, commands
from kdlib.book.pages import make_pages
from kdlib.book.project import Project
commands.book = lambda options: make_pages(Project(Path(sys.argv[1])), "smoke", jobs=2)
sys.exit(cli.main(["book"]))
"""
# One that has come to its pages, which take ten minutes to render.
RENDERING = """\
import sys, time
from pathlib import Path
from kdlib import cli, commands
from kdlib.book import build
from kdlib.book.project import Project
build.stage = lambda project, pages: project.build / "source"
build._tree_hash = lambda folder: ""
build.python_module = lambda *arguments: [sys.executable, "-c", "import time; time.sleep(600)  # renders"]
commands.book = lambda options: build.render_book(Project(Path(sys.argv[1]), build_at=Path(sys.argv[1])), [])
sys.exit(cli.main(["book"]))
"""
WORKER = "multiprocessing.spawn"


def a_run(folder: Path, code: str, ignored: tuple[int, ...] = ()) -> Parent:
    """`kdlib run` of a notebook with this code."""
    write_notebook(folder / "notebooks/slow.ipynb", code)
    command = ["-m", "kdlib.cli", "run", "slow", "--notebooks", str(folder / "notebooks"), "--out", str(folder / "out")]
    return Parent(command, folder, ignored)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "ignored"),
    [(signal.SIGINT, (signal.SIGINT, signal.SIGHUP)), (signal.SIGTERM, ()), (signal.SIGKILL, ())],
    ids=["Ctrl-C of a background job", "SIGTERM", "SIGKILL"],
)
def test_a_build_that_is_ended_leaves_no_process_and_no_temporary_file(project, tmp_path, number, ignored):
    for name in ("first", "second"):
        write_notebook(project.notebooks / f"{name}.ipynb", pool_script(tmp_path))
    parent = Parent(["-c", BOOK, str(project.root)], tmp_path, ignored)
    parent.wait_for(WORKER, 4)
    parent.process.send_signal(number)
    assert parent.all_gone(), parent.living()
    code, message = parent.end()
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    if number == signal.SIGINT:
        assert message.strip().count("\n") == 0
    assert wait_until(lambda: not parent.left(), 60)
    assert [path for path in project.executed.iterdir() if path.suffix == ".ipynb"] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_pages_are_not_rendered_on_when_the_build_is_ended(tmp_path, number):
    parent = Parent(["-c", RENDERING, str(tmp_path)], tmp_path, [signal.SIGINT])
    parent.wait_for("# renders", 2)  # the guard and what it guards
    parent.process.send_signal(number)
    assert parent.all_gone(), parent.living()
    assert parent.end()[0] == (-number if number == signal.SIGKILL else 128 + number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_writes_nothing_and_leaves_no_kernel(tmp_path, number):
    parent = a_run(tmp_path, "import time\ntime.sleep(600)")
    parent.wait_for("ipykernel", 1)
    while parent.process.poll() is None:  # an impatient reader, up to the last moment
        parent.process.send_signal(number)
        time.sleep(0.005)
    assert parent.end()[0] == 128 + number
    assert parent.living() == {} and parent.left() == []
    assert not (tmp_path / "out").exists()


def test_a_run_under_nohup_outlives_its_terminal(tmp_path):
    parent = a_run(tmp_path, f"import time\nopen({str(tmp_path / 'begun')!r}, 'w').close()\ntime.sleep(3)", (1,))
    assert wait_until((tmp_path / "begun").exists, 300)
    parent.process.send_signal(signal.SIGHUP)
    assert parent.end() == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "killed",
    [["kdlib.cli"], ["kdlib.cli", "lifeline.py"], ["ipykernel"], ["lifeline.py guard"], ["module papermill"]],
    ids=["the run", "the run and all guards", "the kernel", "the guards", "papermill and its guard"],
)
def test_whichever_process_of_a_run_is_killed_none_is_left_and_the_next_start_clears_its_files(tmp_path, killed):
    parent = a_run(tmp_path, pool_script(tmp_path))
    parent.wait_for(WORKER, 2)
    # The processes guard themselves when they have come to it; until then the guards do.
    shared = list(parent.temporary.glob("*/tmp/kdlib-*/shared.pt"))
    assert shared, "the kernel's temporary files lie in the run's folder"
    assert wait_until(lambda: _threads(parent) >= 4, 300)
    parent.kill(*killed)
    assert parent.all_gone(), parent.living()
    parent.end()
    again = Parent(["-m", "kdlib.cli", "runs", "list"], tmp_path)
    assert again.end()[0] == 0
    assert again.left() == []


def _threads(parent: Parent) -> int:
    """The threads of the training processes; a sleeping one has its own, and one that watches its parent."""
    return sum(len(list(Path(f"/proc/{number}/task").iterdir())) for number in parent.living(WORKER))


def test_what_a_notebook_leaves_at_work_ends_with_it(tmp_path):
    from kdlib.book.execute import execute_notebook

    left = f"left-{tmp_path.name}"
    code = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', '{left}'])"
    execute_notebook(write_notebook(tmp_path / "toy.ipynb", code + "\nNone"), {})
    everything = [path.read_bytes().decode(errors="replace") for path in _command_lines()]
    assert not [line for line in everything if left in line]


def _command_lines() -> list[Path]:
    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
