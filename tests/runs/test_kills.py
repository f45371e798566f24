"""A kill at any step of storing or removing a run leaves the whole run or none, and the next use clears the rest."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import pytest
from stored_runs import KEY, OTHER, by_hand, make, names, stored

from kdlib.runs import files
from kdlib.runs.entries import sweep
from kdlib.runs.files import ProgressSaver, load_run, read_run
from kdlib.runs.listing import list_runs, remove_run
from kdlib.runs.place import locked, store_root
from kdlib.train.state import Progress

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
STEPS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "half a file")


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do the work in a copy of this process that is killed at its n-th step on disk; whether it came that far."""
    child = os.fork()
    if child == 0:
        left = step

        def count(event: str, details: tuple) -> None:
            nonlocal left
            if event in STEPS:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        def write(path, content, whole=files._write):
            path.write_bytes(content[: len(content) // 2])
            sys.audit("half a file")
            whole(path, content)

        files._write = write
        sys.addaudithook(count)
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def store() -> None:
    """What a finished training does: its run is stored, then its progress goes."""
    root = store_root()
    with locked(root, KEY):
        sweep(root, held=KEY)
        saver = ProgressSaver(root / f".partial-{KEY}")
        saver.save(Progress(1, {}, {}, None, {}, {}, [], {}))
        assert files.save_run(root, by_hand())
        saver.remove()


def test_a_kill_at_any_step_of_storing_leaves_the_whole_run_or_none():
    seen = set()
    step = 1
    while killed_at(step, store):
        found = [row["key"] for row in list_runs()]
        seen.add((bool(found), f".partial-{KEY}" in names(), any(name.startswith(".tmp-") for name in names())))
        assert found in ([], [KEY])
        run = read_run(store_root() / KEY, make)
        assert (run is not None) == bool(found)
        sweep(store_root())
        # Rubbish goes; the progress stays for as long as the run isn't there.
        assert names() <= ({KEY} if found else {f".partial-{KEY}"})
        if not found:
            store()
        assert names() == {KEY}
        remove_run(KEY)
        assert names() == set()
        step += 1
    assert step > 15
    # The kills fell before, within and after the writing, and between the run's rename and the end of its progress.
    assert {(False, False, False), (False, True, False), (False, True, True), (True, True, True)} <= seen
    assert {(True, True, False), (True, False, False)} & seen


def test_a_kill_at_any_step_of_removing_leaves_the_whole_run_or_none():
    seen = set()
    step = 1
    stored(OTHER)
    while True:
        stored()
        if not killed_at(step, lambda: remove_run(KEY)):
            break
        found = [row["key"] for row in list_runs()]
        seen.add((KEY in found, any(name.startswith(".removing-") for name in names())))
        assert all("damaged" not in row["data"] for row in list_runs())
        assert (read_run(store_root() / KEY, make) is not None) == (KEY in found)
        if KEY in found:
            remove_run(KEY)
        else:
            sweep(store_root())
        assert names() == {OTHER}
        step += 1
    assert seen >= {(True, False), (True, True), (False, True)}
    assert names() == {OTHER}


def test_a_kill_at_any_step_of_setting_damage_aside_loses_none_of_it():
    step = 1
    while True:
        folder = stored()
        (folder / "best.safetensors").write_bytes(b"not what was written")
        kept = {path.name: path.read_bytes() for path in folder.iterdir()}
        killed = killed_at(step, lambda: load_run(store_root() / KEY, make))
        [name] = names()
        assert name in (KEY, f"{KEY}.damaged-1")
        assert {path.name: path.read_bytes() for path in (store_root() / name).iterdir()} == kept
        remove_run(name)
        if not killed:
            break
        step += 1
    assert step > 3


def test_what_a_living_process_is_writing_is_not_cleared():
    root = store_root()
    for leftover in (f".tmp-{KEY}-abc", f".partial-{KEY}", f".removing-{KEY}-abc", f".removing-{KEY}.damaged-1-abc"):
        (root / leftover).mkdir(parents=True)
    stored()
    before = names()
    begin, end = os.pipe()
    child = os.fork()
    if child == 0:
        with locked(root, KEY):
            os.write(end, b"x")
            signal.pause()
    os.read(begin, 1)
    try:
        sweep(root)
        assert names() == before
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    sweep(root)
    assert names() == {KEY}


def test_only_what_the_store_itself_left_is_cleared():
    root = store_root()
    kept = {".tmp-notes", ".partial-", ".hidden", ".tmp-", f".partial-{OTHER}", "teachers", f"{KEY}.damaged-2", "notes"}
    for name in (*kept, f".partial-{KEY}", f".tmp-{OTHER}-x1"):
        (root / name).mkdir(parents=True)
    (stored() / "best.safetensors").unlink()
    sweep(root)  # of a damaged run the progress may still be wanted
    assert names() == kept | {KEY, f".partial-{KEY}"}
    remove_run(KEY)
    stored()
    sweep(root)
    assert names() == kept | {KEY}
