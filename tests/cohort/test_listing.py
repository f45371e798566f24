"""The index of the cohort's files: whatever stands in it, it is an index or one sentence."""

from __future__ import annotations

import json

import pytest

from kdlib.cohort.listing import read_index
from kdlib.errors import KdlibError

ROW = {"replicates": [0, 1], "sha256": "ab", "bytes": 9}


def test_an_index_is_read_and_none_is_empty(tmp_path):
    assert read_index(tmp_path) == {}
    index = {"kd_t4": {"kd_t4.0-1.safetensors": ROW}, "scratch": {}}
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert read_index(tmp_path) == index


@pytest.mark.parametrize(
    "index",
    [
        {"kd": 3},
        {"kd": {"kd.0-1.safetensors": 3}},
        {"kd": {"kd.0-1.safetensors": {"bytes": 1}}},
        {"kd": {"kd.0-1.safetensors": ROW | {"replicates": "01"}}},
        {"kd": {"kd.0-1.safetensors": ROW | {"replicates": []}}},
        {"kd": {"kd.0-1.safetensors": ROW | {"sha256": None}}},
        {"kd": {"scratch.0-1.safetensors": ROW}},
        {"kd": {"../kd.0-1.safetensors": ROW}},
        {"../kd": {"../kd.0-1.safetensors": ROW}},
    ],
)
def test_a_row_that_is_none_is_told(tmp_path, index):
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(KdlibError, match=r"index\.json can't be read .*; get it again from the repository"):
        read_index(tmp_path)
