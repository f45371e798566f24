"""Processes end with the one that wanted them: a library's caller, torchrun, a multiprocessing parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys

import psutil
import pytest
from killed import Parent, needs_proc, pool_script, wait_until

from kdlib import lifeline
from kdlib.lifeline import guarded, guarding, python_module

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
# As `kdlib paper-scale`, with a training that takes ten minutes in the first process; the others wait for it.
TRAINING = """\
import sys, time
from kdlib import cli, commands

def train(options):
    import torch
    from kdlib.train.processes import several
    with several("cpu") as processes:
        time.sleep(600 if processes.first else 0)
        processes.sum(torch.ones(1))

commands.paper_scale = train
sys.exit(cli.main(["paper-scale", "--images", "none"]))
"""


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_training_processes_end_with_a_script_even_while_they_are_still_starting(tmp_path, number):
    (tmp_path / "script.py").write_text(pool_script(tmp_path))
    parent = Parent([str(tmp_path / "script.py")], tmp_path)
    parent.wait_for("multiprocessing.spawn", 2)
    parent.process.send_signal(number)
    assert parent.all_gone(), parent.living()
    assert wait_until(lambda: not parent.left(), 60)


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("when", ["at work", "at its start"])
def test_processes_that_torchrun_started_end_with_it(tmp_path, when):
    (tmp_path / "training.py").write_text(TRAINING)
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", str(tmp_path / "training.py")]
    parent = Parent(command, tmp_path)
    parent.wait_for("training.py", 3)
    if when == "at work":  # the library is loaded, and they have met
        loaded = "libtorch_cpu"
        workers = [number for number, line in parent.living("training.py").items() if number != parent.process.pid]
        maps = [psutil.Process(number) for number in workers]
        assert wait_until(lambda: all(any(loaded in m.path for m in one.memory_maps()) for one in maps), 300)
    parent.process.kill()
    assert parent.all_gone(), parent.living()


def test_a_process_whose_torchrun_has_gone_before_it_could_look_ends_at_once():
    # A port where nobody listens: torchrun's own is closed with it.
    code = "from kdlib.lifeline import end_with_torchrun as e; e(); print('goes on')"
    gone = {"TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_USE_AGENT_STORE": "True", "MASTER_PORT": "1"}
    for variables, expected in (({}, "goes on"), ({**gone, "MASTER_ADDR": "127.0.0.1"}, "")):
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **variables}, capture_output=True)
        assert (done.stdout.decode().strip(), done.returncode) == (expected, 0 if expected else 1)


def test_a_guard_gives_the_code_of_its_command_and_ends_it_with_the_block(tmp_path):
    with (tmp_path / "log").open("wb") as log:
        with guarded([sys.executable, "-c", "print('said'); raise SystemExit(3)"], tmp_path, None, log) as process:
            assert process.wait(60) == 3
        with guarded(SLEEP, tmp_path, None, log) as process:
            assert wait_until(lambda: bool(psutil.Process(process.pid).children()), 60)
            [child] = psutil.Process(process.pid).children()
    assert not child.is_running()
    assert (tmp_path / "log").read_text() == "said\n"  # and the folder stays: it is the caller's to remove


def test_processes_told_of_end_with_the_block_and_others_do_not(tmp_path):
    told, other = subprocess.Popen(SLEEP), subprocess.Popen(SLEEP)
    try:
        with guarding(tmp_path) as guard:
            guard.watch([told])
        assert told.wait(60) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_half_a_number_of_a_caller_that_was_killed_ends_nobody():
    assert [process.pid for process in lifeline._processes(b"%d\n" % os.getpid())] == [os.getpid()]
    assert lifeline._processes(b"%d" % os.getpid()) == []
    assert lifeline._processes(b"999999999\n") == []


def test_a_module_that_ends_with_its_parent_runs_as_it_does_otherwise():
    for name in ("json.tool", "json.tool:main"):
        done = subprocess.run(python_module(name, "--compact"), input=b'{"a": 1}', capture_output=True)
        assert (done.stdout, done.returncode) == (b'{"a":1}\n', 0)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_of_multiprocessing_lives_as_long_as_its_parent(method):
    context = multiprocessing.get_context(method)
    process = context.Process(target=lifeline.begin_worker, args=("time", "sleep", 1))
    process.start()
    process.join(60)
    assert process.exitcode == 0  # it came to the end of its sleep


def test_a_folder_that_a_guard_can_not_empty_keeps_its_owners_file(tmp_path, monkeypatch):
    folder = tmp_path / "kdlib-x"
    (folder / "deep").mkdir(parents=True)
    for name in (".kdlib-owner", "data", "deep/data"):
        (folder / name).touch()
    with monkeypatch.context() as patch:
        patch.setattr(lifeline.shutil, "rmtree", lambda *a, **k: None)
        lifeline._remove(str(folder))
    assert sorted(path.name for path in folder.iterdir()) == [".kdlib-owner", "deep"]
    lifeline._remove(str(folder))
    assert not folder.exists()


def test_a_notebook_s_process_is_spared_the_grammar_of_addresses_and_still_checks_notebooks(tmp_path):
    (tmp_path / "reads.py").write_text(
        "import sys, nbformat\n"
        "nbformat.validate(nbformat.v4.new_notebook())\n"
        "try:\n"
        "    cells = [{'cell_type': 'none'}]\n"
        "    nbformat.validate({'nbformat': 4, 'nbformat_minor': 4, 'metadata': {}, 'cells': cells})\n"
        "except nbformat.ValidationError:\n"
        "    print('refused,', 'compiled' if 'lark' in sys.modules else 'spared')\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(python_module("reads"), capture_output=True, text=True, env=env)
    assert done.stdout == "refused, spared\n", done.stderr
