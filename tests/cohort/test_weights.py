"""Half precision, replicates stacked: what goes in comes out to half's rounding, and damage is reported."""

from __future__ import annotations

import hashlib

import pytest
import torch
from safetensors.torch import save

from kdlib.cohort.weights import ArmFile, arm_file, pack, unpack
from kdlib.errors import KdlibError

STATES = [{"w": torch.randn(3, 2), "n": torch.tensor(7 + number)} for number in range(4)]
RECORD = {"replicates": [4, 5, 6, 7], "note": "a record"}
PREDICTIONS = torch.arange(12).reshape(4, 3)


def written(folder, content: bytes) -> ArmFile:
    path = folder / "arm.4-7.safetensors"
    path.write_bytes(content)
    return ArmFile(path, hashlib.sha256(content).hexdigest())


def test_a_state_comes_back_rounded_to_half_precision_and_whole_numbers_exactly(tmp_path):
    file = written(tmp_path, arm_file(pack(STATES), PREDICTIONS, RECORD))
    for position, replicate in enumerate(RECORD["replicates"]):
        state = file.state(replicate)
        assert torch.equal(state["w"], STATES[position]["w"].half().float())
        assert torch.equal(state["n"], STATES[position]["n"])
    assert torch.equal(file.predictions, PREDICTIONS) and file.record == RECORD


def test_rounding_twice_changes_nothing():
    once = [unpack(pack(STATES), position) for position in range(4)]
    twice = [unpack(pack(once), position) for position in range(4)]
    assert all(torch.equal(a["w"], b["w"]) for a, b in zip(once, twice, strict=True))


@pytest.mark.parametrize("value", [1e6, float("inf"), float("nan")])
def test_a_value_that_half_precision_can_t_hold_is_refused(value):
    with pytest.raises(KdlibError, match=r"w has the value .*, which half precision can't hold"):
        pack([{"w": torch.tensor([1.0, value])}])


@pytest.mark.parametrize("predictions", [PREDICTIONS[:3], PREDICTIONS * 100])
def test_predictions_that_do_not_fit_are_refused(predictions):
    with pytest.raises(KdlibError, match="do not fit"):
        arm_file(pack(STATES), predictions, RECORD)


def test_a_changed_byte_is_told(tmp_path):
    content = arm_file(pack(STATES), PREDICTIONS, RECORD)
    path = tmp_path / "arm.safetensors"
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(KdlibError, match=r"arm\.safetensors is damaged \(its checksum does not fit\); get it again"):
        ArmFile(path, hashlib.sha256(content).hexdigest())


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(KdlibError, match=r"arm\.safetensors can't be read \(No such file or directory\)"):
        ArmFile(tmp_path / "arm.safetensors", "")


@pytest.mark.parametrize("metadata", [None, {"format": "2", "record": "{}"}])
def test_another_version_is_told(tmp_path, metadata):
    with pytest.raises(KdlibError, match=r"has the format (none|2), and this kdlib reads 1"):
        written(tmp_path, save({"w": torch.zeros(1)}, metadata))


def test_a_file_of_another_kind_is_told(tmp_path):
    with pytest.raises(KdlibError, match="can't be understood"):
        written(tmp_path, b"PK\x03\x04 something else")
