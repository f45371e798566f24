"""The locks of the run store."""

from __future__ import annotations

from pathlib import Path

import pytest
from stored_runs import KEY, OTHER

from kdlib.errors import KdlibError
from kdlib.runs.place import locked, locked_if_free, store_root


def test_the_store_is_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path))
    assert store_root() == tmp_path
    monkeypatch.setenv("KDLIB_RUNS", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store_root() == tmp_path / ".cache" / "kdlib" / "runs"


def test_a_lock_that_is_held_is_not_free_until_it_is_let_go(tmp_path):
    with locked(tmp_path, KEY):
        with locked_if_free(tmp_path, KEY) as free:
            assert not free
        with locked_if_free(tmp_path, OTHER) as free:
            assert free
    with locked_if_free(tmp_path, KEY) as free:
        assert free
        with locked_if_free(tmp_path, KEY) as again:
            assert not again
    with locked(tmp_path, KEY):
        pass


def test_a_lock_that_cannot_be_written_is_not_free_and_taking_it_is_one_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with locked_if_free(tmp_path / "file", KEY) as free:
        assert not free
    with pytest.raises(KdlibError, match=r"can't write to the run store .*file \(.*set KDLIB_RUNS to another folder"):
        locked(tmp_path / "file", KEY).__enter__()

    def full(path: Path, **_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with locked_if_free(tmp_path, KEY) as free:
        assert not free
    with pytest.raises(KdlibError, match="No space left on device"):
        locked(tmp_path, KEY).__enter__()
