"""Files that take the place of earlier ones: all old or all new, whenever the process ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdlib.book import results
from kdlib.book.results import made_folder, replace_file, replace_set
from kdlib.errors import KdlibError

NAMES = ("toy.ipynb", "toy.html", "metrics.json")
OLD, NEW = ({name: f"{age} {name}" for name in NAMES} for age in ("old", "new"))


@pytest.fixture
def out(tmp_path) -> Path:
    """A folder with an old set, a note of the user's, and the failed copy of an earlier run."""
    folder = tmp_path / "there/out"
    (folder / "mine/deep").mkdir(parents=True)
    (folder / "mine/deep/note.txt").write_text("mine")
    (folder / "link").symlink_to("mine")
    (folder / "toy.failed.ipynb").write_text("failed")
    for name, text in OLD.items():
        (folder / name).write_text(text)
    return folder


def content(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in NAMES}


def rest(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name not in NAMES)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "file.txt"
    replace_file(target, "old")
    with pytest.raises(UnicodeEncodeError):
        replace_file(target, "new \ud800")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_a_set_takes_the_place_of_the_old_one_and_leaves_everything_else(out):
    replace_set(out, NEW, gone=("toy.failed.ipynb",))
    assert content(out) == NEW
    assert rest(out) == ["link", "mine", "mine/deep", "mine/deep/note.txt"]
    assert (out / "mine/deep/note.txt").read_text() == "mine" and (out / "link").is_symlink()
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_set_in_an_empty_folder_is_all_that_is_there(tmp_path):
    (tmp_path / "out").mkdir()
    replace_set(tmp_path / "out", NEW)
    assert content(tmp_path / "out") == NEW and rest(tmp_path / "out") == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_keeps_its_permissions(out):
    out.chmod(0o750)
    replace_set(out, NEW)
    assert out.stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("why", ["current folder", "no exchange", "many files", "not writable above"])
def test_where_the_folder_can_not_be_exchanged_each_file_is_replaced(out, why, monkeypatch):
    if why == "current folder":
        monkeypatch.chdir(out / "mine")
    elif why == "no exchange":
        monkeypatch.setattr(results, "_exchanged", lambda fresh, folder: False)
    elif why == "many files":
        monkeypatch.setattr(results, "_MOST_BESIDE", 3)
    else:
        monkeypatch.setattr(results, "_filled", lambda *_: False)
    before = out.stat().st_ino
    replace_set(out, NEW, gone=("toy.failed.ipynb",))
    assert content(out) == NEW and out.stat().st_ino == before
    assert rest(out) == ["link", "mine", "mine/deep", "mine/deep/note.txt"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_what_comes_into_the_folder_in_the_meantime_stays(out, monkeypatch):
    exchanged = results._exchanged

    def late(fresh, folder):
        (folder / "late.txt").write_text("late")
        return exchanged(fresh, folder)

    monkeypatch.setattr(results, "_exchanged", late)
    replace_set(out, NEW)
    assert (out / "late.txt").read_text() == "late"


KILLED = """\
import os, sys
from pathlib import Path
from kdlib.book.results import replace_set
out, names = Path(sys.argv[1]), sys.argv[2].split(",")
events = ("open", "os.mkdir", "os.link", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.chmod", "os.utime")
steps = 0
def count(event, arguments):
    global steps
    if event in events:
        steps += 1
        if steps == last:
            os.kill(os.getpid(), 9)
last, code = 0, 9
while code == 9:
    last += 1
    for name in names:
        (out / name).write_text("old " + name)
    child = os.fork()
    if child == 0:
        sys.addaudithook(count)
        replace_set(out, {name: "new " + name for name in names})
        os._exit(0)
    code = os.waitpid(child, 0)[1] & 127
    print({(out / name).read_text().split()[0] for name in names}, (out / "mine/deep/note.txt").read_text())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts the system's calls")
def test_a_kill_at_any_step_leaves_the_old_set_or_the_new_one(out):
    command = [sys.executable, "-c", KILLED, str(out), ",".join(NAMES)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert set(told) == {"{'old'} mine", "{'new'} mine"}
    assert len(told) > 20 and told[0] == "{'old'} mine" and told[-1] == "{'new'} mine"
    assert [path.name for path in out.parent.iterdir()] == ["out"]  # the last one cleared what the killed ones left


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path):
    with pytest.raises(KdlibError), made_folder(tmp_path / "a/b/c"):
        raise KdlibError("refused")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KdlibError), made_folder(tmp_path / "a/b/c"):
        (tmp_path / "a/b/kept").write_text("")
        raise KdlibError("refused")
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["kept"]


def test_a_folder_that_was_there_stays(tmp_path):
    with pytest.raises(KdlibError), made_folder(tmp_path):
        raise KdlibError("refused")
    assert tmp_path.is_dir()


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 300])
def test_a_folder_that_can_not_be_made_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(KdlibError, match="cannot write results to"), made_folder(tmp_path / name):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_kill_left_of_a_file_goes_with_the_next_one(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for process in (dead.pid, os.getppid(), "old"):
        (tmp_path / f".file.txt.{process}").write_text("half")
    replace_file(tmp_path / "file.txt", "whole")
    # What belongs to a living process or to a user stays.
    assert {path.name for path in tmp_path.iterdir()} == {"file.txt", f".file.txt.{os.getppid()}", ".file.txt.old"}
