"""Temporary folders: a dead owner's is removed at the next start, a living one's and a stranger's never."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kdlib import temporary
from kdlib.errors import KdlibError
from kdlib.temporary import clear_leftovers, own_the_files_of_multiprocessing, temporary_folder

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
    monkeypatch.setattr(temporary, "_SHORT", ())  # what others left there is not counted
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


def test_what_a_kill_left_without_an_owner_goes_when_it_is_old(place):
    for name in ("x-abcd0_12", "efgh3456", "young-abcdefgh", "full-abcdefgh", "of-a-user"):
        (place / f"kdlib-{name}").mkdir()
    (place / "kdlib-x-abcd0_12/.kdlib-owner.new").touch()
    (place / "kdlib-full-abcdefgh/thesis").touch()
    for folder in place.iterdir():
        if "young" not in folder.name:
            os.utime(folder, (0, 0))
    clear_leftovers()
    left = {path.name for path in place.iterdir()}
    assert left == {"kdlib-young-abcdefgh", "kdlib-full-abcdefgh", "kdlib-of-a-user"}


SHARING = """\
import multiprocessing, os, sys
from multiprocessing import util
from kdlib.temporary import own_the_files_of_multiprocessing
own_the_files_of_multiprocessing()
process = multiprocessing.get_context("forkserver").Process(target=print)
process.start()
process.join()
print(util.get_temp_dir(), len(os.listdir(util.get_temp_dir())), flush=True)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("end", ["killed", "usual"])
def test_what_multiprocessing_keeps_goes_with_its_process_or_at_the_next_start(monkeypatch, end):
    place = Path(tempfile.mkdtemp(dir="/tmp"))  # a socket's path must be short
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    done = subprocess.run([sys.executable, "-c", SHARING, end], capture_output=True, text=True)
    folder, files = done.stdout.strip().splitlines()[-1].split()
    assert Path(folder).parent == place and int(files) >= 2  # the owner's file and the server's socket
    assert done.stderr == "" and Path(folder).exists() == (end == "killed")
    clear_leftovers()
    place.rmdir()


def test_a_long_tmpdir_has_its_sockets_in_a_shorter_folder_and_the_next_start_clears_that(place, monkeypatch):
    short = Path(tempfile.mkdtemp(dir="/tmp"))
    far = place / ("long" * 30)
    far.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(far))
    monkeypatch.setattr(temporary, "_SHORT", (str(short / "gone"), str(short)))
    monkeypatch.setenv("TMPDIR", str(far))
    program = f"from kdlib import temporary\ntemporary._SHORT = ({str(short)!r},)\n{SHARING}"
    done = subprocess.run([sys.executable, "-c", program, "killed"], capture_output=True, text=True)
    assert done.stderr == ""
    folder, files = done.stdout.strip().splitlines()[-1].split()
    assert Path(folder).parent == short and int(files) >= 2
    assert clear_leftovers() == 1
    short.rmdir()


def test_where_no_path_is_short_enough_for_a_socket_the_variable_is_named(place, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(place / ("long" * 30)))
    monkeypatch.setattr(temporary, "_SHORT", (str(place / "gone"),))
    monkeypatch.delitem(multiprocessing.current_process()._config, "tempdir", raising=False)  # of an earlier test
    with pytest.raises(KdlibError, match=r"no socket can be made in TMPDIR='.*long.*set TMPDIR to a shorter one"):
        own_the_files_of_multiprocessing.__wrapped__()


def test_where_no_folder_can_be_made_the_variable_is_named(place, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(place / "gone"))
    with pytest.raises(KdlibError, match=r"can't make a folder of temporary files \(No such .*TMPDIR"):
        temporary_folder().__enter__()
