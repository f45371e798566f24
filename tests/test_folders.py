"""What is asked of a folder before long work."""

from __future__ import annotations

import pytest

from kdlib.errors import KdlibError
from kdlib.folders import refuse_unwritable


def test_a_folder_that_can_t_be_written_to_is_told_and_nothing_is_left(tmp_path):
    refuse_unwritable(tmp_path / "new/folder")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "file/below", "link"):
        with pytest.raises(KdlibError, match=r"cannot write results to .*; name another folder"):
            refuse_unwritable(tmp_path / name)
