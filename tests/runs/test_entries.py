"""What counts as a run, as damage, as something else, and as a file that can't be read at the moment."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
from stored_runs import KEY, OTHER, by_hand, make, names, stored

from kdlib.errors import KdlibError
from kdlib.runs.entries import Damaged, Unusable, checksum, is_whole, read_index
from kdlib.runs.files import ProgressSaver, load_run, read_run, save_run
from kdlib.runs.listing import list_runs, remove_run, show_run
from kdlib.runs.place import store_root
from kdlib.train.state import Progress

PASSING = ("EIO", "EMFILE", "ENFILE", "EACCES", "EPERM", "ESTALE", "ENOMEM", "ETIMEDOUT", "ELOOP")


def failing(monkeypatch, path: Path, code: int) -> None:
    """Opening this file fails."""
    opened = io.open

    def refuse(file, *args, **kwargs):
        if str(file) == str(path):
            raise OSError(code, os.strerror(code), str(path))
        return opened(file, *args, **kwargs)

    monkeypatch.setattr(io, "open", refuse)


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rewritten(folder: Path, **changes: object) -> None:
    """Change the index and make its checksum fit."""
    index = json.loads((folder / "run.json").read_text()) | changes
    index["checksum"] = checksum(index)
    (folder / "run.json").write_text(json.dumps(index))


@pytest.mark.parametrize("code", PASSING)
@pytest.mark.parametrize("name", ["run.json", "last.safetensors", "best.safetensors"])
def test_a_file_that_cannot_be_read_now_is_an_error_and_the_run_stays(monkeypatch, capsys, name, code):
    folder = stored()
    kept = content_of(folder)
    with monkeypatch.context() as patch:
        failing(patch, folder / name, getattr(errno, code))
        for read in (read_run, load_run):
            with pytest.raises(KdlibError, match=rf"{KEY}/{name} can't be read \(.*try again .*KDLIB_RUNS") as error:
                read(folder, make)
            assert os.strerror(getattr(errno, code)) in str(error.value)
        assert "damaged" not in str(list_runs())
    assert content_of(folder) == kept and names() == {KEY}
    assert load_run(folder, make) is not None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("call", ["lstat", "stat"])
def test_a_run_whose_state_on_disk_cannot_be_asked_for_stays(monkeypatch, call):
    folder = stored()
    with monkeypatch.context() as patch:
        asked = getattr(Path, call)

        def refuse(path, *args, **kwargs):
            if folder in (path, path.parent):
                raise OSError(errno.EIO, "Input/output error")
            return asked(path, *args, **kwargs)

        patch.setattr(Path, call, refuse)
        with pytest.raises(KdlibError, match=r"can't be read \(Input/output error\)"):
            load_run(folder, make)
    assert load_run(folder, make) is not None


def test_too_little_memory_is_no_damage(monkeypatch):
    folder = stored()

    def read(path):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", read)
        with pytest.raises(KdlibError, match=r"can't be read \(MemoryError\)"):
            load_run(folder, make)
    assert names() == {KEY}


DAMAGES = {
    "index is a list": (lambda folder: (folder / "run.json").write_text("[1]"), "run.json was changed"),
    "index is empty": (lambda folder: (folder / "run.json").write_text(""), "run.json is no JSON"),
    "index is bytes": (lambda folder: (folder / "run.json").write_bytes(b"\xff\xfe\xff"), "run.json is no JSON"),
    "index is too deep": (lambda folder: (folder / "run.json").write_text("[" * 100_000), "run.json is no JSON"),
    "index is gone": (lambda folder: (folder / "run.json").unlink(), "run.json is missing"),
    "index leads nowhere": (
        lambda folder: ((folder / "run.json").unlink(), (folder / "run.json").symlink_to("nowhere")),
        "run.json is missing",
    ),
    "index is a folder": (
        lambda folder: ((folder / "run.json").unlink(), (folder / "run.json").mkdir()),
        "run.json is no file",
    ),
    "weights are gone": (lambda folder: (folder / "best.safetensors").unlink(), "best.safetensors is missing"),
    "weights are a pipe": (
        lambda folder: ((folder / "last.safetensors").unlink(), os.mkfifo(folder / "last.safetensors")),
        "last.safetensors is no file",
    ),
    "weights are others": (
        lambda folder: shutil.copy(folder / "run.json", folder / "last.safetensors"),
        "last.safetensors was changed",
    ),
    "no weights are named": (lambda folder: rewritten(folder, files={}), "it has no weights"),
    "weights are no table": (lambda folder: rewritten(folder, files=["last.safetensors"]), "it has no weights"),
    "weights lie elsewhere": (
        lambda folder: rewritten(folder, files={"last.safetensors": "", "../x.safetensors": ""}),
        r"'\.\./x\.safetensors' names no weights",
    ),
    "everything is gone": (lambda folder: (shutil.rmtree(folder), folder.mkdir()), "run.json is missing"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_told_in_one_line_moved_aside_listed_and_removable(capsys, name):
    damage, told = DAMAGES[name]
    stored(OTHER)
    folder = stored()
    damage(folder)
    there = {path.name for path in folder.iterdir()}
    with pytest.raises(Damaged, match=told):
        read_run(folder, make)
    assert names() == {KEY, OTHER}  # only who holds the lock moves it
    assert load_run(folder, make) is None
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"the stored run {KEY} is damaged (") and line.endswith(
        f"; it is kept as {KEY}.damaged-1 and trained anew"
    )
    assert {path.name for path in folder.with_name(f"{KEY}.damaged-1").iterdir()} == there
    assert load_run(folder, make) is None and capsys.readouterr().err == ""
    rows = {row["key"]: row["data"] for row in list_runs()}
    assert rows.keys() == {f"{KEY}.damaged-1", OTHER} and rows[OTHER] == "toy"
    assert f"`kdlib runs rm {KEY}.damaged-1` removes it" in rows[f"{KEY}.damaged-1"]
    assert remove_run(f"{KEY}.damaged-1") == f"{KEY}.damaged-1"
    assert names() == {OTHER}


def test_weights_whose_checksum_fits_but_that_are_no_weights_are_damage():
    folder = stored()
    (folder / "last.safetensors").write_bytes(b"no weights")
    rewritten(folder, files={"last.safetensors": hashlib.sha256(b"no weights").hexdigest()})
    with pytest.raises(Damaged, match=r"last\.safetensors can't be understood"):
        read_run(folder, make)


def test_a_run_of_empty_weights_is_no_run():
    run = by_hand()
    run.states["last"] = {}
    assert save_run(store_root(), run)
    with pytest.raises(Damaged, match="it has no weights"):
        read_run(store_root() / KEY, make)


def test_several_damaged_runs_of_one_key_are_all_kept():
    for number in (1, 2, 3):
        folder = stored()
        (folder / "best.safetensors").write_text(f"damage {number}")
        assert load_run(folder, make) is None
        aside = folder.with_name(f"{KEY}.damaged-{number}")
        assert (aside / "best.safetensors").read_text() == f"damage {number}"
    stored()
    assert show_run(KEY[:6])["key"] == KEY  # the whole run, not the damaged ones
    remove_run(f"{KEY}.damaged-2")
    assert names() == {KEY, f"{KEY}.damaged-1", f"{KEY}.damaged-3"}
    with pytest.raises(KdlibError, match=r"damaged-1 is damaged and was moved aside; `kdlib runs rm"):
        show_run(f"{KEY}.damaged-1")


def test_damage_that_cannot_be_moved_aside_is_an_error(monkeypatch):
    folder = stored()
    (folder / "best.safetensors").unlink()

    def refuse(path, target):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(KdlibError, match=r"damaged \(best.* is missing\) and can't be moved aside \(Read-only.*KDLIB_"):
        load_run(folder, make)
    assert names() == {KEY}


def test_a_link_or_a_file_in_a_runs_place_is_named_and_its_removal_leaves_what_it_leads_to(tmp_path):
    whole = stored(OTHER)
    place = store_root() / KEY
    (tmp_path / "file").write_text("kept")
    for target in (whole, tmp_path / "file", tmp_path / "nowhere", place):
        place.symlink_to(target)
        for read in (read_run, load_run):
            with pytest.raises(KdlibError, match=rf"{KEY} is a link, not a folder; .*kdlib runs rm {KEY}"):
                read(place, make)
        assert {row["key"]: row["data"] for row in list_runs()} == {KEY: "is a link, not a folder", OTHER: "toy"}
        assert remove_run(KEY) == KEY
        assert names() == {OTHER} and (tmp_path / "file").read_text() == "kept"
    place.write_text("a file")
    with pytest.raises(KdlibError, match=rf"{KEY} is a file, not a folder"):
        load_run(place, make)
    assert place.read_text() == "a file"
    remove_run(KEY)
    assert names() == {OTHER} and is_whole(whole)


@pytest.mark.parametrize("name", [OTHER, "my copy", f"{KEY}.bak", "0123"])
def test_a_run_copied_under_another_name_is_refused(name):
    folder = stored()
    copy = folder.with_name(name)
    shutil.copytree(folder, copy)
    for read in (read_run, load_run):
        with pytest.raises(KdlibError, match=rf"holds another run, {KEY}; .*kdlib runs rm {name}"):
            read(copy, make)
    assert {row["key"]: row["data"] for row in list_runs()} == {KEY: "toy", name: f"holds another run, {KEY}"}
    with pytest.raises(KdlibError, match="holds another run"):
        show_run(name)
    assert remove_run(name) == name
    assert names() == {KEY} and is_whole(folder)


def test_no_folder_is_no_run_and_a_store_that_is_not_there_neither(tmp_path):
    assert read_index(tmp_path / KEY) is None
    assert read_index(tmp_path / "nowhere" / KEY) is None
    assert read_run(tmp_path / KEY, make) is None


def test_an_unusable_run_is_told_alike_by_another_process():
    error = Unusable(Path("a"), "is a link", "remove it")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "the stored run a is a link; remove it"


def test_a_run_is_never_written_over_another():
    folder = stored()
    kept = content_of(folder)
    assert save_run(store_root(), by_hand(date="later"))
    assert content_of(folder) == kept
    (folder / "best.safetensors").unlink()
    with pytest.warns(UserWarning, match="used from memory and not kept"):
        assert not save_run(store_root(), by_hand())
    assert content_of(folder).keys() == {"run.json", "last.safetensors"} and names() == {KEY}


class TestProgress:
    progress = Progress(1, {}, {}, None, {}, {}, [], {})

    def saver(self):
        saver = ProgressSaver(store_root() / f".partial-{KEY}")
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
