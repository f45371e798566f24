"""Measurements kept beside the runs: made once, damage seen, a full disk survived."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from kdlib.errors import KdlibError
from kdlib.runs.entries import sweep
from kdlib.runs.measurements import measure_once, measurement_key, stored_measurement
from kdlib.runs.place import locked, store_root

KEY = measurement_key(["data", "settings"])


def test_a_measurement_is_made_once_and_comes_back_the_same():
    made = []
    values = {"top": [0.25, 0.1 + 0.2], "name": "räumlich"}
    for _ in range(2):
        assert measure_once("toy", KEY, lambda: made.append(1) or values) == values
    assert made == [1] and stored_measurement("toy", KEY) == values


def test_nothing_is_stored_of_one_that_fails():
    with pytest.raises(ZeroDivisionError):
        measure_once("toy", KEY, lambda: 1 / 0)
    assert stored_measurement("toy", KEY) is None and measure_once("toy", KEY, lambda: 2) == 2


def test_one_that_is_stored_is_read_without_a_lock(monkeypatch):
    measure_once("toy", KEY, lambda: 1)

    def read_only(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", read_only)
    assert measure_once("toy", KEY, lambda: 1 / 0) == 1
    with pytest.raises(KdlibError, match=r"can't write to the run store .*Read-only .*KDLIB_RUNS"):
        measure_once("toy", measurement_key(["other"]), lambda: 1 / 0)


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.EACCES, errno.ESTALE])
def test_one_that_cannot_be_read_now_is_an_error_and_stays(monkeypatch, code):
    measure_once("toy", KEY, lambda: 1)

    def refuse(path):
        raise OSError(code, "not now")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(KdlibError, match=rf"{KEY}\.json can't be read \(not now\); try again"):
            measure_once("toy", KEY, lambda: 2)
    assert stored_measurement("toy", KEY) == 1


@pytest.mark.parametrize("damage", ["", "{", '{"values": 1}', '{"values": 5, "checksum": "0"}', "[1]"])
def test_a_damaged_one_is_reported_and_made_anew(damage, capsys):
    measure_once("toy", KEY, lambda: 1)
    (store_root() / "toy" / f"{KEY}.json").write_text(damage)
    assert measure_once("toy", KEY, lambda: 2) == 2
    assert "is damaged" in capsys.readouterr().err
    assert stored_measurement("toy", KEY) == 2
    assert (store_root() / "toy" / f"{KEY}.json.damaged-1").read_text() == damage


def test_where_a_damaged_one_is_kept_is_told_in_one_line(capsys):
    measure_once("toy", KEY, lambda: 1)
    path = store_root() / "toy" / f"{KEY}.json"
    path.write_text("{")
    assert stored_measurement("toy", KEY) is None
    [line] = capsys.readouterr().err.splitlines()
    assert f"kept as {path}.damaged-1, which you may delete" in line


def test_a_good_one_that_another_process_just_made_is_not_moved_aside(capsys):
    measure_once("toy", KEY, lambda: 1)
    (store_root() / "toy" / f"{KEY}.json").write_text("{")
    with locked(store_root(), KEY):  # the other process, at work on it
        assert stored_measurement("toy", KEY) is None
        assert (store_root() / "toy" / f"{KEY}.json").read_text() == "{"
    assert capsys.readouterr().err == ""


def test_what_a_kill_left_half_written_goes_but_nothing_else():
    measure_once("toy", KEY, lambda: 1)
    for name in (f"toy/.tmp-{KEY}-x1", "toy/.tmp-notes", f"toy/.partial-{KEY}", f"notes.d/.tmp-{KEY}-x1"):
        (store_root() / name).parent.mkdir(exist_ok=True)
        (store_root() / name).write_text("half")
    with locked(store_root(), KEY):
        sweep(store_root())
        assert (store_root() / f"toy/.tmp-{KEY}-x1").exists()  # its writer may be alive
    sweep(store_root())
    left = {path.relative_to(store_root()).as_posix() for path in store_root().glob("*/.*-*")}
    assert left - {f".locks/{KEY}.lock"} == {"toy/.tmp-notes", f"toy/.partial-{KEY}", f"notes.d/.tmp-{KEY}-x1"}


def test_a_changed_value_is_damage(capsys):
    measure_once("toy", KEY, lambda: [0.5])
    path = store_root() / "toy" / f"{KEY}.json"
    path.write_text(path.read_text().replace("0.5", "0.9"))
    assert stored_measurement("toy", KEY) is None and "checksum" in capsys.readouterr().err


def test_what_can_not_be_kept_is_returned_with_a_warning():
    (store_root() / "toy").write_text("a file where the folder would be")
    with pytest.warns(UserWarning, match="can't keep a measurement"):
        assert measure_once("toy", KEY, lambda: [1.5]) == [1.5]


def test_keys_name_every_part():
    assert len({measurement_key(parts) for parts in (["a", "b"], ["ab"], ["b", "a"], ["a", "b", ""])}) == 4


def test_kinds_that_could_be_a_runs_folder_are_refused():
    for kind in ("abc", "../out", ".locks", "Toy", ""):
        with pytest.raises(KdlibError, match="named by lower-case letters"):
            measure_once(kind, KEY, lambda: 1)


def test_the_store_holds_plain_json():
    measure_once("toy", KEY, lambda: {"a": 1})
    assert json.loads((store_root() / "toy" / f"{KEY}.json").read_text())["values"] == {"a": 1}


@pytest.mark.parametrize("copy", ["toy/0123", f"other/{KEY}"])
def test_a_measurement_copied_under_another_name_is_refused(copy):
    measure_once("toy", KEY, lambda: 1)
    kind, key = copy.split("/")
    (store_root() / kind).mkdir(exist_ok=True)
    shutil.copy(store_root() / "toy" / f"{KEY}.json", store_root() / f"{copy}.json")
    for read in (lambda: measure_once(kind, key, lambda: 2), lambda: stored_measurement(kind, key)):
        with pytest.raises(KdlibError, match=rf"{key}\.json holds another one, 'toy/{KEY}'; .*remove it"):
            read()
    assert stored_measurement("toy", KEY) == 1


def test_one_of_an_earlier_version_that_does_not_say_which_it_is_is_read():
    checksum = hashlib.sha256(b"[0.5]").hexdigest()
    (store_root() / "toy").mkdir(parents=True)
    (store_root() / "toy" / f"{KEY}.json").write_text(json.dumps({"values": [0.5], "checksum": checksum}))
    assert measure_once("toy", KEY, lambda: 1) == [0.5]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with a name")
def test_a_pipe_in_its_place_is_refused_and_not_waited_for():
    (store_root() / "toy").mkdir(parents=True)
    os.mkfifo(store_root() / "toy" / f"{KEY}.json")
    with pytest.raises(KdlibError, match=r"can't be read \(it is no file\)"):
        measure_once("toy", KEY, lambda: 1)


@pytest.mark.skipif(os.name != "posix", reason="needs permissions")
def test_others_may_read_a_measurement_as_any_new_file():
    before = os.umask(0o022)
    try:
        measure_once("toy", KEY, lambda: 1)
    finally:
        os.umask(before)
    assert (store_root() / "toy" / f"{KEY}.json").stat().st_mode & 0o777 == 0o644


def test_a_store_that_turns_into_something_else_meanwhile_loses_no_measurement():
    def measure() -> int:
        (store_root() / "toy").write_text("")
        return 1

    with pytest.warns(UserWarning, match="can't keep a measurement"):
        assert measure_once("toy", KEY, measure) == 1
