"""Folders that a user names: `~`, relative paths, and a user without a home folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdlib.data.broden import BrodenFolder, export_broden
from kdlib.data.class_tree import existing_folder
from kdlib.data.drawn.concept_world import draw_scenes
from kdlib.data.root import callers_folder, data_root, expanded
from kdlib.data.sst2 import read_polarity
from kdlib.errors import KdlibError
from kdlib.models import build
from kdlib.models.checkpoint import load_checkpoint
from kdlib.models.keras_resnet50 import load_keras_resnet50
from kdlib.runs.place import store_root

PLACES = [(data_root, "KDLIB_DATA"), (store_root, "KDLIB_RUNS")]


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("place", "variable"), PLACES)
def test_a_relative_variable_means_the_current_folder(place, variable, tmp_path, monkeypatch):
    monkeypatch.setenv(variable, "mine")
    monkeypatch.chdir(tmp_path)
    assert place() == tmp_path / "mine"


@pytest.mark.parametrize(("place", "variable"), PLACES)
@pytest.mark.parametrize("value", ["~/mine", "~//mine"])
def test_a_tilde_in_a_variable_is_the_home_folder(place, variable, value, home, monkeypatch):
    monkeypatch.setenv(variable, value)
    assert place() == home / "mine"


@pytest.mark.parametrize(("place", "variable"), PLACES)
@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_it_is_the_cache_of_the_home_folder(place, variable, value, home, monkeypatch):
    monkeypatch.delenv(variable, raising=False)
    if value is not None:
        monkeypatch.setenv(variable, value)
    assert place().parent == home / ".cache/kdlib"


@pytest.mark.parametrize(("place", "variable"), PLACES)
def test_the_home_of_nobody_is_refused_with_the_variable_to_set(place, variable, monkeypatch):
    monkeypatch.setenv(variable, "~no_such_user/kept")
    with pytest.raises(KdlibError, match=rf"^{variable}='~no_such_user/kept': .*; set {variable} to a path without ~$"):
        place()


@pytest.mark.parametrize(("words", "variable"), [(["data", "list"], "KDLIB_DATA"), (["runs", "list"], "KDLIB_RUNS")])
def test_a_user_without_a_home_folder_is_told_which_variable_to_set(words, variable, tmp_path):
    code = (
        "import pwd, sys\n"
        "def gone(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = gone\n"
        "from kdlib.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "KDLIB_RUNS", "KDLIB_DATA")}
    command = [sys.executable, "-c", code, *words]
    told = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert told.returncode == 2 and told.stdout == ""
    assert told.stderr.count("\n") == 1 and f"set {variable} to a folder, or HOME" in told.stderr
    environment[variable] = str(tmp_path)
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 0


def test_every_reader_of_a_folder_knows_the_home_folder(home):
    export_broden(draw_scenes(4, 0, 16), "~/world")
    assert (home / "world/index.csv").is_file()
    probe = BrodenFolder("~/world")
    assert len(probe) == 4 and probe.name == "world"
    assert existing_folder("~/world") == home / "world"
    (home / "lexicon.tsv").write_text("good\t1\n")
    assert read_polarity("~")[1] == "lexicon.tsv"
    with pytest.raises(KdlibError, match=f"{home}/none.npz"):
        load_keras_resnet50("~/none.npz")


@pytest.mark.parametrize(
    "read",
    [
        BrodenFolder,
        existing_folder,
        read_polarity,
        data_root,
        load_keras_resnet50,
        lambda path: load_checkpoint(build("small_resnet", num_classes=2), path),
        lambda path: callers_folder(path, "data_folder"),
    ],
)
@pytest.mark.parametrize("path", ["~no_such_user/x", "a\0b"])
def test_a_path_that_is_none_is_refused_in_one_sentence(read, path):
    with pytest.raises(KdlibError, match=r"no such home folder|zero byte") as refused:
        read(path)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, r"root must be a path, not None"),
        (5, r"root must be a path, not 5"),
        (b"photos", r"root must be a path, not b'photos'"),
        ("", r"root is empty; name a folder, the current one as '.'"),
    ],
)
def test_what_is_no_path_is_refused(path, message):
    with pytest.raises(KdlibError, match=message):
        existing_folder(path)


def test_a_folder_that_is_called_like_a_home_is_that_folder(tmp_path, monkeypatch):
    (tmp_path / "~mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert callers_folder("~mine", "data_folder") == tmp_path / "~mine"


@pytest.mark.parametrize(
    ("path", "why"), [("none", "is not there"), ("file", "is a file"), ("x" * 5000, "can't be looked at|is not there")]
)
def test_a_folder_that_is_not_there_is_refused(path, why, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KdlibError, match=why) as refused:
        callers_folder(path, "data_folder")
    assert str(refused.value).startswith("data_folder='") and len(str(refused.value)) < 3100


def test_a_relative_path_in_a_folder_that_is_gone_is_refused(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setenv("KDLIB_RUNS", "mine")
    with pytest.raises(KdlibError, match="the current folder is gone"):
        store_root()


def test_a_path_without_a_tilde_stays_as_it_is():
    assert expanded("photos/~/x", "root") == Path("photos/~/x")
