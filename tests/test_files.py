"""A file is replaced whole or not at all."""

from __future__ import annotations

import pytest

from kdlib.files import replace_file


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
