"""Temporary folders: a dead owner's is removed at the next start, a living one's and a stranger's never."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kdlib.temporary import clear_leftovers, temporary_folder

OWNER = """\
import time
from kdlib.temporary import temporary_folder
with temporary_folder("test") as folder:
    (folder / "deep").mkdir()
    (folder / "deep/data").write_text("data")
    print(folder, flush=True)
    time.sleep(600)
"""

pytest.importorskip("fcntl")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_folder_stays_while_its_owner_lives_and_goes_at_the_next_start(place, number):
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        assert clear_leftovers() == 0
        assert (folder / "deep/data").read_text() == "data"
        owner.send_signal(number)
    assert folder.is_dir()
    with temporary_folder() as fresh:
        assert list(place.iterdir()) == [fresh]
    assert list(place.iterdir()) == []


def test_what_is_not_ours_stays(place):
    (place / "kdlib-of-a-user").mkdir()
    (place / "kdlib-of-a-user/thesis").write_text("text")
    (place / "kdlib-empty").mkdir()
    (place / "kdlib-file").write_text("text")
    dead, target = place / "kdlib-dead", place / "else"
    for folder in (dead, target):
        folder.mkdir()
        (folder / ".kdlib-owner").touch()
    (target / "kept").touch()
    (place / "kdlib-link").symlink_to(target)
    (dead / "link").symlink_to(target)  # removed as a link
    assert clear_leftovers() == 1
    assert {path.name for path in place.iterdir()} == {
        "kdlib-of-a-user",
        "kdlib-empty",
        "kdlib-file",
        "kdlib-link",
        "else",
    }
    assert (target / "kept").exists() and (place / "kdlib-of-a-user/thesis").exists()


def test_many_that_begin_at_once_leave_each_others_folders(place):
    def work(number: int) -> str:
        with temporary_folder("many") as folder:
            (folder / "mine").write_text(str(number))
            clear_leftovers()
            return (folder / "mine").read_text()

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(300))) == [str(number) for number in range(300)]
    assert list(place.iterdir()) == []


def test_what_can_not_be_removed_keeps_its_mark_for_the_next_start(place, monkeypatch):
    import shutil

    (place / "kdlib-dead/deep").mkdir(parents=True)
    (place / "kdlib-dead/.kdlib-owner").touch()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *a, **k: None)
        assert clear_leftovers() == 0
    assert (place / "kdlib-dead/.kdlib-owner").exists()
    assert clear_leftovers() == 1


def test_a_folder_is_private_and_goes_when_its_work_fails(place):
    with pytest.raises(ZeroDivisionError), temporary_folder() as folder:
        assert folder.stat().st_mode & 0o077 == 0
        raise ZeroDivisionError
    assert list(place.iterdir()) == []
