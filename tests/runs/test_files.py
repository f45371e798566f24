"""The store's files: a run is kept whole or not at all, damage is seen, a kill or a full disk loses nothing."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_runs
from stored_runs import KEY, PASSING, failing, names
from tiny_runs import SCRATCH, leftovers, same

from kdlib.errors import KdlibError
from kdlib.runs import files, store
from kdlib.runs.listing import list_runs, remove_run
from kdlib.runs.place import store_root
from kdlib.runs.store import get_or_train, run_key
from kdlib.train.recipe import Recipe
from kdlib.train.state import Progress

HELPERS = Path(tiny_runs.__file__).parent


@pytest.mark.parametrize("name", ["last.safetensors", "best.safetensors", "run.json"])
@pytest.mark.parametrize("damage", ["flip a byte", "cut", "delete"])
def test_damage_is_seen_reported_in_one_line_and_mended(splits, count_trainings, capsys, name, damage):
    run = get_or_train(SCRATCH, splits)
    path = store_root() / run.key / name
    content = bytearray(path.read_bytes())
    if damage == "delete":
        path.unlink()
    else:
        # A text's middle may be the last of a number's many digits, which says nothing: a key always does.
        place = content.index(b'"history"') + 1 if name == "run.json" else len(content) // 2
        content[place] ^= 1
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    again = get_or_train(SCRATCH, splits)
    reported = capsys.readouterr().err.strip().splitlines()
    assert len(reported) == 1 and f"the stored run {run.key} is damaged" in reported[0]
    assert count_trainings == [0, 0]
    assert same(run.state(), again.state())
    get_or_train(SCRATCH, splits)
    assert count_trainings == [0, 0]


CHILD = """
    import sys, time
    from dataclasses import replace
    sys.path.insert(0, {helpers!r})
    from stripes import striped_splits
    from tiny_runs import SCRATCH
    from kdlib.runs import files, store
    from kdlib.train.recipe import Recipe
    {extra}
    store.get_or_train(replace(SCRATCH, recipe=Recipe(epochs={epochs}, batch_size=32)), striped_splits())
    print("trained", flush=True)
"""


def child(epochs: int, extra: str = "") -> subprocess.Popen[str]:
    code = textwrap.dedent(CHILD).format(helpers=str(HELPERS), epochs=epochs, extra=extra)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def long_spec(epochs: int):
    return replace(SCRATCH, recipe=Recipe(epochs=epochs, batch_size=32))


def wait_for(condition, process: subprocess.Popen[str], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "the child did not get there"
        time.sleep(0.01)


def test_a_training_killed_midway_goes_on_from_its_last_epoch_to_the_same_bits(splits, count_trainings):
    # The child halts in its third epoch, so that the kill is sure to hit a training under way.
    halt = "; ".join(
        [
            "save = files.ProgressSaver.save",
            "files.ProgressSaver.save = lambda s, p: (save(s, p), time.sleep(60) if p.epoch == 3 else 0)",
        ]
    )
    process = child(5, halt)
    spec = long_spec(5)
    partial = store_root() / f".partial-{run_key(spec, splits)}" / "progress.pt"
    wait_for(lambda: partial.exists() and files.ProgressSaver(partial.parent).load().epoch == 3, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list_runs() == []
    resumed = get_or_train(spec, splits)
    assert count_trainings == [3]
    remove_run(resumed.key)
    whole = get_or_train(spec, splits)
    assert count_trainings == [3, 0]
    assert same(resumed.state("last"), whole.state("last")) and same(resumed.state("best"), whole.state("best"))
    assert leftovers() == []


def test_a_process_killed_while_writing_leaves_no_run_and_no_rubbish(splits, count_trainings):
    halt = "write = files._write; "
    halt += "files._write = lambda p, c: (write(p, c[:100]), print('writing', flush=True), time.sleep(60))"
    process = child(2, halt)
    assert process.stdout.readline().strip() == "writing"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list_runs() == []
    assert any(name.startswith(".tmp") for name in leftovers())
    run = get_or_train(long_spec(2), splits)
    assert count_trainings == [2]  # all epochs were done: only the writing was lost
    assert leftovers() == []
    assert [row["key"] for row in list_runs()] == [run.key]


def test_two_processes_that_want_one_run_train_it_once(splits):
    count = "fit = store.fit; store.fit = lambda *a, **k: (print('fit', flush=True), time.sleep(1), fit(*a, **k))[2]"
    processes = [child(2, count) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sum(out.count("fit") for out, _ in outputs) == 1
    assert all("trained" in out for out, _ in outputs)


def test_a_full_disk_loses_nothing(splits, monkeypatch, count_trainings):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_unkept", {})
    with monkeypatch.context() as patch:
        patch.setattr(files, "_write", full)
        with pytest.warns(UserWarning, match="No space left on device.*free space or set KDLIB_RUNS"):
            run = get_or_train(SCRATCH, splits)
        assert get_or_train(SCRATCH, splits) is run  # not trained twice in this process
    store._unkept.clear()  # as in the next process
    assert run.history and run.model()(splits.test.inputs(slice(0, 2))).shape == (2, 4)
    assert list_runs() == []
    assert not any(name.startswith(".tmp") for name in leftovers())
    again = get_or_train(SCRATCH, splits)  # with room again, the finished epochs are taken up and stored
    assert count_trainings == [0, 2]
    assert same(run.state(), again.state())
    assert len(list_runs()) == 1


def test_damaged_progress_is_reported_and_not_used(splits, count_trainings, capsys):
    folder = store_root() / f".partial-{run_key(SCRATCH, splits)}"
    folder.mkdir(parents=True)
    (folder / "progress.pt").write_bytes(b"half a file")
    get_or_train(SCRATCH, splits)
    assert count_trainings == [0]
    assert "an interrupted training could not be taken up" in capsys.readouterr().err


def test_a_store_that_is_a_file_is_refused_before_training(splits, monkeypatch, tmp_path, count_trainings):
    (tmp_path / "runs").write_text("not a folder")
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    with pytest.raises(KdlibError, match=r"can't write to the run store .*set KDLIB_RUNS to another folder"):
        get_or_train(SCRATCH, splits)
    assert count_trainings == []


class TestProgress:
    progress = Progress(1, {}, {}, None, {}, {}, [], {})

    def saver(self):
        saver = files.ProgressSaver(store_root() / f".partial-{KEY}")
        saver.save(self.progress)
        return saver

    @pytest.mark.parametrize("code", PASSING)
    def test_progress_that_cannot_be_read_now_is_an_error_and_stays(self, monkeypatch, code):
        saver = self.saver()
        with monkeypatch.context() as patch:
            failing(patch, saver.path, getattr(errno, code))
            with pytest.raises(KdlibError, match=r"interrupted training .*progress\.pt can't be read \(.*try again"):
                saver.load()
        assert saver.load() == self.progress

    def test_damaged_progress_is_kept_until_the_run_is_stored(self, capsys):
        saver = self.saver()
        saver.path.write_bytes(b"half a file")
        assert saver.load() is None
        [line] = capsys.readouterr().err.splitlines()
        assert "its checksum does not fit" in line
        assert (saver.folder / "progress.damaged").read_bytes() == b"half a file"
        assert saver.load() is None and capsys.readouterr().err == ""
        saver.remove()
        assert names() == set()


def test_the_progress_of_another_run_is_reported_and_not_used(splits, count_trainings, monkeypatch, capsys):
    def interrupted(saver, progress, save=files.ProgressSaver.save):
        save(saver, progress)
        raise KeyboardInterrupt

    other = replace(SCRATCH, seed=5)
    whole = get_or_train(other, splits)
    remove_run(whole.key)
    with monkeypatch.context() as patch:
        patch.setattr(files.ProgressSaver, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            get_or_train(SCRATCH, splits)
    root, key = store_root(), run_key(SCRATCH, splits)
    shutil.copytree(root / f".partial-{key}", root / f".partial-{whole.key}")
    again = get_or_train(other, splits)
    assert f"it is that of another run, {key}" in capsys.readouterr().err
    assert same(again.state(), whole.state()) and again.history[0]["loss"] == whole.history[0]["loss"]
    get_or_train(SCRATCH, splits)
    assert count_trainings == [0, 0, 0, 1]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with a name")
def test_a_pipe_in_the_place_of_progress_is_refused_and_not_waited_for(splits, count_trainings):
    folder = store_root() / f".partial-{run_key(SCRATCH, splits)}"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "progress.pt")
    with pytest.raises(KdlibError, match=r"can't be read \(it is no file\)"):
        get_or_train(SCRATCH, splits)
    assert count_trainings == []


def test_progress_that_could_never_be_kept_leaves_no_folder(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    saver = files.ProgressSaver(tmp_path / ".partial-00")
    with pytest.warns(UserWarning, match="can't keep this training's progress"):
        saver.save(Progress(1, {}, {}, None, {}, {}, [], {}))
    assert list(tmp_path.iterdir()) == []


def test_a_run_sent_as_content_is_the_same_run_elsewhere(splits, tmp_path, monkeypatch):
    run = get_or_train(SCRATCH, splits, device="cpu")
    content = files.run_files(store_root() / run.key)
    assert set(content) == {"run.json", "last.safetensors", *(f"{name}.safetensors" for name in run.states)}
    elsewhere = tmp_path / "elsewhere"
    files.store_files(elsewhere, run.key, content)
    files.store_files(elsewhere, run.key, content)  # one that is there stays
    monkeypatch.setenv("KDLIB_RUNS", str(elsewhere))
    assert same(get_or_train(SCRATCH, splits, device="cpu").state(), run.state())
    assert files.run_files(elsewhere / "abc") is None


def test_content_that_is_not_a_whole_run_is_not_stored(splits, tmp_path):
    run = get_or_train(SCRATCH, splits, device="cpu")
    content = files.run_files(store_root() / run.key)
    cut = content | {"last.safetensors": content["last.safetensors"][:-1]}
    lacking = {name: part for name, part in content.items() if name != "last.safetensors"}
    for wrong, message in (
        (cut, "did not arrive whole"),
        (lacking, "did not arrive whole"),
        ({"../x": b""}, "no file"),
    ):
        with pytest.raises(KdlibError, match=message):
            files.store_files(tmp_path / "store", run.key, wrong)
    with pytest.raises(KdlibError, match="holds another run"):
        files.store_files(tmp_path / "store", "abc123", content)
    assert [path.name for path in (tmp_path / "store").iterdir()] == [".locks"]
