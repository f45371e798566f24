"""Whatever ends a build or a run ends its kernels and their training processes, soon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_notebooks import write_notebook

from kdlib.book.notebooks import REPOSITORY

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")

# Trains, as far as processes go: a pool of spawned processes, at work for ten minutes.
TRAINING = """\
import multiprocessing, time
from concurrent.futures import ProcessPoolExecutor
pool = ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))
[f.result() for f in [pool.submit(time.sleep, 600), pool.submit(time.sleep, 600)]]
"""
# `kdlib book` of another project than the repository.
BOOK = """\
import sys
from pathlib import Path
from kdlib import cli
from kdlib.book.pages import make_pages
from kdlib.book.project import Project
cli._book = lambda options: make_pages(Project(Path(sys.argv[1])), "smoke", jobs=2)
sys.exit(cli.main(["book"]))
"""
SOON = 120  # seconds: it takes less than 5 on a quiet machine; by themselves they would take 600


def processes_of(mark: str) -> list[str]:
    """Command lines of live processes that have `mark` in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in entry.read_bytes().decode(errors="replace"):
                found.append((entry.parent / "cmdline").read_bytes().decode(errors="replace").replace("\0", " "))
        except OSError:
            continue
    return [line for line in found if line]


def wait_until(holds, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds()


def start(command: list[str], mark: str, background: bool, folder: Path) -> subprocess.Popen:
    # A shell that starts a job in the background has it ignore Ctrl-C; children inherit that.
    handler = signal.SIG_IGN if background else signal.SIG_DFL
    environment = {**os.environ, "KDLIB_TEST_MARK": mark, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(folder)}
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
    )


def is_training(mark: str, notebooks: int) -> bool:
    return sum("multiprocessing.spawn" in line for line in processes_of(mark)) >= 2 * notebooks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "background"),
    [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGKILL, False)],
    ids=["Ctrl-C of a background job", "SIGTERM", "SIGKILL"],
)
def test_a_build_that_is_ended_leaves_no_process_and_no_temporary_file(project, tmp_path, number, background):
    mark, temporary = f"mark-{tmp_path.name}-{os.getpid()}", tmp_path / "tmp"
    temporary.mkdir()
    for name in ("first", "second"):
        write_notebook(project.notebooks / f"{name}.ipynb", TRAINING)
    process = start([sys.executable, "-c", BOOK, str(project.root)], mark, background, temporary)
    assert wait_until(lambda: is_training(mark, 2), 300), processes_of(mark)
    process.send_signal(number)
    assert wait_until(lambda: not processes_of(mark), SOON), processes_of(mark)
    _, message = process.communicate(timeout=60)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    if number == signal.SIGINT:
        assert message.decode().strip().count("\n") == 0
    assert wait_until(lambda: not list(temporary.glob("kdlib-run-*")), 60)
    assert [path for path in project.executed.iterdir() if path.suffix == ".ipynb"] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_writes_nothing_and_leaves_no_kernel(tmp_path, number):
    write_notebook(tmp_path / "notebooks/slow.ipynb", "import time\ntime.sleep(600)")
    command = [sys.executable, "-m", "kdlib.cli", "run", "slow", "--notebooks", str(tmp_path / "notebooks")]
    mark = f"mark-{tmp_path.name}-{os.getpid()}"
    process = start([*command, "--out", str(tmp_path / "out")], mark, False, tmp_path)
    assert wait_until(lambda: any("ipykernel" in line for line in processes_of(mark)), 300)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert processes_of(mark) == []
    assert not list((tmp_path / "out").iterdir())


def test_what_a_notebook_leaves_at_work_ends_with_it(tmp_path):
    from kdlib.book.execute import execute_notebook

    left = f"left-{tmp_path.name}-{os.getpid()}"
    code = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', '{left}'])"
    execute_notebook(write_notebook(tmp_path / "toy.ipynb", code + "\nNone"), {})
    everything = [path.read_bytes().decode(errors="replace") for path in _command_lines()]
    assert not [line for line in everything if left in line]


def _command_lines() -> list[Path]:
    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
