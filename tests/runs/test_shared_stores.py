"""Stores that this process may only read, such as a classroom's, and stores in which something is amiss."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from stored_runs import KEY, names, stored
from tiny_runs import RECIPE, SCRATCH, distilled, same

from kdlib.cli import main
from kdlib.errors import KdlibError
from kdlib.runs import files, store
from kdlib.runs.listing import list_runs, remove_run, show_run
from kdlib.runs.place import store_root
from kdlib.runs.store import get_or_train, is_stored, run_key

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def shared(monkeypatch) -> Iterator[Path]:
    """A store that everybody could reach; pytest's own folders are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="kdlib-shared-"))
    folder.chmod(0o755)
    monkeypatch.setenv("KDLIB_RUNS", str(folder))
    yield folder
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


def as_reader(work: Callable[[], object], mode: int = 0o555) -> None:
    """Do the work in a copy of this process that is not root and may not write to the store."""
    store_root().chmod(mode)
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    store_root().chmod(0o755)
    assert os.waitstatus_to_exitcode(status) == 0


@needs_fork
@pytest.mark.parametrize("locks", ["with its folder of locks", "without"])
def test_a_read_only_store_that_holds_the_run_is_used(shared, splits, locks):
    made = get_or_train(SCRATCH, splits)
    if locks == "without":
        shutil.rmtree(shared / ".locks")

    def read() -> None:
        run = get_or_train(SCRATCH, splits)
        assert same(run.state("last"), made.state("last")) and same(run.state("best"), made.state("best"))
        assert is_stored(SCRATCH, splits)
        assert [row["key"] for row in list_runs()] == [made.key]
        assert show_run(made.key[:6])["key"] == made.key
        assert main(["runs", "list"]) == 0

    as_reader(read)


@needs_fork
def test_leftovers_in_a_read_only_store_disturb_nobody(shared, splits):
    made = get_or_train(SCRATCH, splits)
    for name in (f".partial-{made.key}", f".tmp-{made.key}-x", f".removing-{KEY}-x"):
        (shared / name).mkdir()
    as_reader(lambda: get_or_train(SCRATCH, splits))
    assert len(names()) == 4
    get_or_train(SCRATCH, splits)
    assert names() == {made.key}


@needs_fork
@pytest.mark.parametrize("locks", ["with its folder of locks", "without"])
def test_a_read_only_store_that_lacks_the_run_is_one_error_that_names_the_variable(shared, splits, locks):
    made = get_or_train(SCRATCH, splits)
    if locks == "without":
        shutil.rmtree(shared / ".locks")
    else:
        (shared / ".locks").chmod(0o555)

    def read() -> None:
        store.fit = None  # nothing is trained
        with pytest.raises(KdlibError, match=r"can't write to the run store .*Permission denied.*set KDLIB_RUNS to"):
            get_or_train(replace(SCRATCH, seed=5), splits)
        with pytest.raises(KdlibError, match=r"can't write to the run store .*set KDLIB_RUNS to"):
            remove_run(made.key)
        (shared / made.key / "best.safetensors").stat()

    as_reader(read)
    assert names() == {made.key}


@needs_fork
def test_a_damaged_run_in_a_read_only_store_is_one_error(shared, splits, capfd):
    made = get_or_train(SCRATCH, splits)
    (shared / made.key / "best.safetensors").write_bytes(b"damage")

    def read() -> None:
        store.fit = None
        with pytest.raises(KdlibError, match=r"set KDLIB_RUNS to another folder"):
            get_or_train(SCRATCH, splits)

    as_reader(read)
    assert names() == {made.key}


@needs_fork
@pytest.mark.parametrize("mode", [0o000, 0o111, 0o444])
def test_a_store_that_cannot_be_read_is_an_error_and_not_empty(shared, splits, capfd, mode):
    made = get_or_train(SCRATCH, splits)

    def read() -> None:
        with pytest.raises(KdlibError, match=r"can't read the run store .*Permission denied.*KDLIB_RUNS"):
            list_runs()
        assert main(["runs", "list"]) == 2
        assert main(["runs", "show", made.key]) == 2
        if mode != 0o111:  # there runs can be read by their names
            with pytest.raises(KdlibError, match=r"can't be read \(Permission denied\)"):
                get_or_train(SCRATCH, splits)
            with pytest.raises(KdlibError, match=r"can't be read \(Permission denied\)"):
                is_stored(SCRATCH, splits)

    as_reader(read, mode)
    assert is_stored(SCRATCH, splits)


@needs_fork
def test_a_run_that_may_not_be_read_is_an_error_and_stays(shared, splits):
    made = get_or_train(SCRATCH, splits)
    stored()
    (shared / made.key).chmod(0o000)

    def read() -> None:
        store.fit = None
        with pytest.raises(KdlibError, match=rf"{made.key}/run.json can't be read \(Permission denied\)"):
            get_or_train(SCRATCH, splits)
        rows = {row["key"]: row["data"] for row in list_runs()}
        assert rows == {KEY: "toy", made.key: "can't be read (Permission denied)"}

    as_reader(read, 0o777)
    (shared / made.key).chmod(0o755)
    assert is_stored(SCRATCH, splits)


@needs_fork
def test_reading_a_run_writes_nothing(shared, splits):
    get_or_train(SCRATCH, splits)
    written = []

    def note(event: str, details: tuple) -> None:
        if event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime", "os.chmod", "tempfile.mkdtemp"):
            written.append((event, details))
        elif event == "open" and isinstance(details[0], (str, Path)) and str(details[0]).startswith(str(shared)):
            written.extend([details] if details[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) else [])

    def read() -> None:
        sys.addaudithook(note)
        get_or_train(SCRATCH, splits)
        assert is_stored(SCRATCH, splits)
        list_runs()
        assert written == []

    as_reader(read, 0o755)


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.EACCES, errno.ESTALE, errno.ENOMEM])
def test_a_run_that_cannot_be_read_now_is_not_trained_over(splits, monkeypatch, count_trainings, code):
    made = get_or_train(SCRATCH, splits)
    read = Path.read_bytes

    def refuse(path):
        if path.name == "last.safetensors":
            raise OSError(code, os.strerror(code), str(path))
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        for _ in range(2):
            with pytest.raises(KdlibError, match=rf"{made.key}/last.safetensors can't be read \({os.strerror(code)}\)"):
                get_or_train(SCRATCH, splits)
            with pytest.raises(KdlibError, match="can't be read"):  # nor a student of it
                get_or_train(distilled(alpha=0.5, temperature=1.0), splits)
    assert same(get_or_train(SCRATCH, splits).state(), made.state())
    assert count_trainings == [0]


def test_damage_is_trained_anew_to_the_same_bits_and_kept_aside(splits, count_trainings, capsys):
    made = get_or_train(SCRATCH, splits)
    (store_root() / made.key / "last.safetensors").write_bytes(b"damage")
    assert is_stored(SCRATCH, splits)  # only reading the weights shows it
    assert same(get_or_train(SCRATCH, splits).state(), made.state())
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert names() == {made.key, f"{made.key}.damaged-1"} and count_trainings == [0, 0]
    assert (store_root() / f"{made.key}.damaged-1" / "last.safetensors").read_bytes() == b"damage"
    (store_root() / made.key / "best.safetensors").unlink()
    assert not is_stored(SCRATCH, splits)


def test_what_stands_in_a_runs_place_is_named_and_not_trained_beside(splits, count_trainings, tmp_path):
    place = store_root() / run_key(SCRATCH, splits)
    other = get_or_train(replace(SCRATCH, seed=1), splits)
    puts = {
        "is a link": lambda: place.symlink_to(tmp_path / "nowhere"),
        "is a file": lambda: place.write_text("a file"),
        f"holds another run, {other.key}": lambda: shutil.copytree(store_root() / other.key, place),
    }
    for told, put in puts.items():
        put()
        for _ in range(2):
            with pytest.raises(KdlibError, match=rf"{place.name} {told}.*kdlib runs rm {place.name}"):
                get_or_train(SCRATCH, splits)
        with pytest.raises(KdlibError, match=told):
            is_stored(SCRATCH, splits)
        assert remove_run(place.name) == place.name
    assert count_trainings == [0]
    get_or_train(SCRATCH, splits)
    assert count_trainings == [0, 0]


def test_a_copy_whose_key_was_changed_too_is_told_by_its_specification(splits, count_trainings):
    other = get_or_train(replace(SCRATCH, seed=1), splits)
    other.key = run_key(SCRATCH, splits)
    other.metadata["key"] = other.key
    assert files.save_run(store_root(), other)
    with pytest.raises(KdlibError, match=f"{other.key} tells of another training than its key; remove it"):
        get_or_train(SCRATCH, splits)
    assert count_trainings == [0]


def test_the_progress_of_a_finished_training_goes_with_the_next_use(splits, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(files.ProgressSaver, "remove", lambda saver: None)  # as if killed before
        run = get_or_train(SCRATCH, splits)
    (store_root() / f".partial-{run.key}").mkdir(exist_ok=True)
    (store_root() / f".tmp-{KEY}-x").mkdir()  # of a run that nobody asks for again
    begun = store_root() / f".partial-{KEY}"
    begun.mkdir()
    get_or_train(replace(SCRATCH, seed=3, recipe=replace(RECIPE, epochs=1)), splits)
    assert {name for name in names() if name.startswith(".")} == {begun.name}
