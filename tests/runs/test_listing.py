"""What `kdlib runs` shows of the store."""

from __future__ import annotations

import errno
import json
import re
import shutil
from pathlib import Path

import pytest
from stored_runs import KEY, OTHER, by_hand, names, stored
from tiny_runs import SCRATCH, distilled

from kdlib.cli import main
from kdlib.errors import KdlibError
from kdlib.runs import listing
from kdlib.runs.entries import checksum, sweep
from kdlib.runs.files import save_run
from kdlib.runs.listing import list_runs, remove_run, show_run, unfinished
from kdlib.runs.place import locked, store_root
from kdlib.runs.store import get_or_train


def test_runs_are_listed_shown_and_removed_by_a_part_of_their_key(splits):
    run = get_or_train(distilled(alpha=0.5, temperature=1.0), splits)
    rows = {row["key"]: row for row in list_runs()}
    assert rows[run.key]["objective"] == "kd alpha=0.5 temperature=1.0"
    assert show_run(run.key[:8])["spec"]["seed"] == 1
    assert remove_run(run.key[:8]) == run.key
    assert run.key not in {row["key"] for row in list_runs()}
    with pytest.raises(KdlibError, match="no run 'ffffffff'"):
        show_run("ffffffff")


def test_a_damaged_entry_does_not_break_the_listing(splits):
    run = get_or_train(SCRATCH, splits)
    (store_root() / run.key / "run.json").write_text("{")
    assert "damaged" in list_runs()[0]["data"]
    with pytest.raises(KdlibError, match=rf"the stored run {run.key} is damaged .*kdlib runs rm {run.key}"):
        show_run(run.key)


def test_a_row_has_what_made_the_run_and_how_well_it_does():
    folder = stored()
    size = sum(path.stat().st_size for path in folder.iterdir())
    [row] = list_runs()
    expected = {"key": KEY, "data": "toy", "model": "linear", "objective": "cross_entropy", "seed": 4, "epochs": 1}
    assert row == expected | {"val_accuracy": 0.75, "seconds": 2.0, "bytes": size, "date": "2024-01-01"}


def test_a_network_of_first_weights_has_no_epoch_and_is_not_damaged():
    spec = by_hand().metadata["spec"] | {"recipe": {"epochs": 0}}
    stored(spec=spec, history=[])
    [row] = list_runs()
    assert (row["data"], row["epochs"], row["seconds"]) == ("toy", 0, 0) and "val_accuracy" not in row


def test_unfinished_trainings_are_told_and_can_be_removed(capsys):
    stored()
    for key in (KEY, OTHER):  # that of a stored run is no unfinished one
        (store_root() / f".partial-{key}").mkdir()
    assert unfinished() == [OTHER]
    assert main(["runs", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"go on when they are wanted: {OTHER}")
    with locked(store_root(), OTHER), pytest.raises(KdlibError, match=f"the training of {OTHER} is at work"):
        remove_run(OTHER)
    assert remove_run(OTHER[:5]) == OTHER
    assert names() == {KEY, f".partial-{KEY}"}


def test_a_run_with_another_score_is_not_taken_for_damaged():
    stored(history=[{"epoch": 1, "val_loss": 0.5, "val_error": 0.25, "seconds": 2.0}])
    [row] = list_runs()
    assert row["val_error"] == 0.25 and "val_accuracy" not in row


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": None},
        {"spec": []},
        {"spec": "text"},
        {"spec": {"model": "linear"}},
        {"history": []},
        {"history": None},
        {"history": [1]},
        {"history": [{"seconds": "long", "val_accuracy": 1}]},
    ],
)
def test_an_entry_of_another_form_hides_no_other(changes):
    stored(**changes)
    stored(OTHER)
    rows = {row["key"]: row for row in list_runs()}
    assert rows[KEY]["data"].startswith("damaged (") and rows[OTHER]["data"] == "toy"


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000, b"1" * 10_000])
def test_an_index_of_any_content_hides_no_other(content):
    (stored() / "run.json").write_bytes(content)
    stored(OTHER)
    rows = {row["key"]: row["data"] for row in list_runs()}
    assert rows[KEY].startswith("damaged (run.json ") and rows[OTHER] == "toy"
    assert main(["runs", "list"]) == 0 == main(["runs", "rm", KEY])
    assert names() == {OTHER}


def test_an_index_that_is_a_folder_or_missing_or_cannot_be_read_hides_no_other(monkeypatch):
    stored(OTHER)
    index = stored() / "run.json"
    read = Path.read_bytes

    def refuse(path):
        if path == index:
            raise OSError(errno.EIO, "Input/output error")
        return read(path)

    def row() -> object:
        rows = {row["key"]: row["data"] for row in list_runs()}
        assert rows[OTHER] == "toy"
        return rows[KEY]

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert row() == "can't be read (Input/output error)"
        with pytest.raises(KdlibError, match=r"run\.json can't be read \(Input/output error\)"):
            show_run(KEY)
    assert row() == "toy"
    index.unlink()
    assert str(row()).startswith("damaged (run.json is missing)")
    index.mkdir()
    assert str(row()).startswith("damaged (run.json is no file)")
    remove_run(KEY)
    assert names() == {OTHER}


def test_a_run_without_weights_is_listed_as_damaged():
    root = store_root()
    run = by_hand()
    run.states.clear()
    save_run(root, run)
    assert list_runs()[0]["data"].startswith("damaged (it has no weights)")
    remove_run(KEY)
    (stored() / "last.safetensors").unlink()
    assert list_runs()[0]["data"].startswith("damaged (last.safetensors is missing)")


def test_measurements_teachers_and_unfinished_trainings_are_no_runs():
    for name in ("teachers", "diffroar", "cafe_maps", ".locks", f".partial-{KEY}", "notes"):
        (store_root() / name).mkdir(exist_ok=True)
    (store_root() / "README").write_text("ours")
    assert list_runs() == []
    with pytest.raises(KdlibError, match="no run 'teachers': the store is empty"):
        remove_run("teachers")


def test_a_store_that_is_not_there_yet_is_empty_but_one_that_is_no_folder_is_an_error(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "later"))
    assert main(["runs", "list"]) == 0 and not (tmp_path / "later").exists()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    capsys.readouterr()
    for name in ("file", "file/runs", "link", "loop"):
        monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / name))
        assert main(["runs", "list"]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert re.search(rf"can't read the run store {tmp_path / name} \(.*set KDLIB_RUNS to another folder", line)


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.ESTALE, errno.EACCES])
def test_a_store_whose_names_cannot_be_read_is_an_error(monkeypatch, code):
    stored()

    def refuse(path):
        raise OSError(code, "not now")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refuse)
        with pytest.raises(KdlibError, match=r"can't read the run store .* \(not now\): .*KDLIB_RUNS"):
            list_runs()
    assert names() == {KEY}


BAD_NAMES = ["", ".", "..", "/", f"{KEY}/", f"../{KEY}", f"./{KEY}", f"{KEY}/../{KEY}", ".locks", "teachers/x", "a\\b"]


@pytest.mark.parametrize("name", [*BAD_NAMES, f".partial-{KEY}", "a\0b", "/" + "x" * 5000])
def test_names_that_are_no_keys_are_refused_and_nothing_is_removed(name, capsys):
    outside = store_root().parent / KEY
    stored()
    (store_root() / ".locks").mkdir(exist_ok=True)
    (store_root() / f".partial-{KEY}").mkdir()
    for work in (show_run, remove_run):
        with pytest.raises(KdlibError, match="a run is named by its key or the beginning of it, not '") as error:
            work(name)
        assert len(str(error.value)) < 200
    assert names() == {KEY, f".partial-{KEY}"} and not outside.exists()


@pytest.mark.parametrize("name", ["g", "x" * 5000, "*", "[0-9]", "~", " ", "K\n"])
def test_names_of_no_run_are_told_in_one_short_sentence(name):
    stored()
    with pytest.raises(KdlibError, match="run") as error:
        remove_run(name)
    assert len(str(error.value)) < 300 and len(str(error.value).splitlines()) == 1
    assert names() == {KEY}
    with pytest.raises(KdlibError, match=rf"did you mean '{KEY}'\?\); `kdlib runs list` shows them"):
        show_run("1" + KEY[1:])


def test_a_beginning_that_several_runs_share_is_refused():
    stored(), stored(KEY[:-1] + "f")
    with pytest.raises(KdlibError, match="begins the keys of 2 runs; give more of it"):
        remove_run(KEY[:5])
    assert len(names()) == 2


def test_a_run_that_another_process_removes_meanwhile_is_told(monkeypatch):
    folder = stored()
    monkeypatch.setattr("kdlib.runs.listing.sweep", lambda *_, **__: folder.rename(folder.with_name(OTHER)))
    with pytest.raises(KdlibError, match=f"no run '{KEY}' any more: another process removed it"):
        remove_run(KEY)


def test_files_that_cannot_be_deleted_are_named_and_go_later(monkeypatch):
    stored()

    def refuse(path):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        with pytest.raises(
            KdlibError, match=rf"out of the store, but .*\(Input/output error\): delete .*removing-{KEY}"
        ):
            remove_run(KEY)
    assert list_runs() == []
    sweep(store_root())
    assert names() == set()


def test_a_store_reached_by_a_link_is_a_store(monkeypatch, tmp_path):
    (tmp_path / "link").symlink_to(store_root())
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "link"))
    stored()
    assert [row["key"] for row in list_runs()] == [KEY]
    assert show_run(KEY[:4])["key"] == remove_run(KEY[:4]) == KEY


def test_removing_a_run_takes_the_rest_of_its_training_too_but_not_that_of_others():
    stored()
    for name in (f".partial-{KEY}", f".tmp-{KEY}-x", f".removing-{KEY}-x", f".partial-{OTHER}", f"{KEY}.damaged-1"):
        (store_root() / name).mkdir()
    remove_run(KEY)
    assert names() == {f".partial-{OTHER}", f"{KEY}.damaged-1"}


def test_an_index_shown_is_what_was_stored():
    index = show_run(KEY) if stored() else {}
    assert index["data"] == "toy" and index["checksum"] == checksum(index)
    assert json.loads((store_root() / KEY / "run.json").read_text()) == index


def test_a_run_at_which_another_process_works_is_not_waited_for(monkeypatch):
    stored().rename(store_root() / f"{KEY}.damaged-1")
    monkeypatch.setattr(listing, "_PATIENCE", 0.1)
    with (
        locked(store_root(), KEY),
        pytest.raises(KdlibError, match=f"another process is at work on {KEY}.*wait for it"),
    ):
        remove_run(f"{KEY}.damaged-1")
    assert remove_run(f"{KEY}.damaged-1") == f"{KEY}.damaged-1"


def test_a_removal_that_is_not_allowed_leaves_nothing_beside_the_run(monkeypatch):
    folder = stored()

    def refuse(path, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(KdlibError, match="Operation not permitted"):
        remove_run(KEY)
    assert names() == {folder.name}


def test_a_name_with_control_characters_is_one_printable_line_of_the_list(capsys):
    folder = stored()
    shutil.copytree(folder, folder.with_name("red\x1b[31m\nrun"))
    assert main(["runs", "list"]) == 0
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(KEY) and re.match(r"red\\x1b\[31m\\nrun +holds another run", second)
