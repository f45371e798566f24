"""The protocol is still the one that was fixed: a changed line is noticed, a changed comment is not."""

from __future__ import annotations

import re

import pytest

from kdlib.cohort.fixed import content_hash, read_fixed
from kdlib.cohort.listing import PROTOCOL
from kdlib.cohort.protocol import read_protocol
from kdlib.errors import KdlibError


@pytest.mark.parametrize("data", read_protocol().populations)
def test_each_population_is_what_it_was_when_it_was_fixed(data):
    fixed = read_fixed(data)
    assert re.fullmatch(r"[0-9a-f]{40}", fixed.commit) and fixed.at.utcoffset() is not None
    assert content_hash(data) == fixed.content


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda text: text + "\n# a comment\n", True),
        (lambda text: text.replace("temperature = 4.0", "temperature = 5.0", 1), False),
        (lambda text: text.replace("replicates = 16", "replicates = 20", 1), True),  # more of the same
    ],
)
def test_content_is_what_the_protocol_says_of_one_network(tmp_path, change, same):
    path = tmp_path / "protocol.toml"
    path.write_text(change(PROTOCOL.read_text()))
    assert (content_hash("concept_world", path) == read_fixed("concept_world").content) is same


def test_a_population_without_a_row_is_told(tmp_path):
    path = tmp_path / "fixed.toml"
    path.write_text("[toy]\ncommit = 'a'\nat = 2026-01-01T00:00:00Z\ncontent = 'b'\n")
    assert read_fixed("toy", path).commit == "a"
    with pytest.raises(KdlibError, match="'concept_world'"):
        read_fixed("concept_world", path)
