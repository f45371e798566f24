"""A file is replaced whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kdlib.errors import KdlibError
from kdlib.files import refuse_unwritable, replace_file


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "file.txt"
    replace_file(target, "old")
    with pytest.raises(UnicodeEncodeError):
        replace_file(target, "new \ud800")
    assert target.read_text() == "old"
    replace_file(target, b"bytes")
    assert target.read_bytes() == b"bytes"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_what_can_t_be_written_leaves_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        replace_file(tmp_path / "folder", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_a_kill_left_of_a_file_goes_with_the_next_one(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for process in (dead.pid, os.getppid(), "old"):
        (tmp_path / f".file.txt.{process}").write_text("half")
    replace_file(tmp_path / "file.txt", "whole")
    # What belongs to a living process or to a user stays.
    assert {path.name for path in tmp_path.iterdir()} == {"file.txt", f".file.txt.{os.getppid()}", ".file.txt.old"}


def test_a_folder_that_can_t_be_written_to_is_told_and_nothing_is_left(tmp_path):
    refuse_unwritable(tmp_path / "new/folder")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "file/below", "link"):
        with pytest.raises(KdlibError, match=r"cannot write results to .*; name another folder"):
            refuse_unwritable(tmp_path / name)
