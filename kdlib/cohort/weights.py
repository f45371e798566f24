"""Weights of one arm in one file: half precision, the replicates stacked, with what was recorded of their trainings.

A file holds, of R replicates, every tensor of the networks' state as (R, ...): floats in float16, whole numbers as they
are; the test images' predicted classes (R, N) as `predictions`; and in its header, as JSON, the record. It is a
safetensors file: reading it runs no code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from kdlib.errors import KdlibError, shown
from kdlib.runs.place import read_file, reason
from kdlib.train.state import State

FORMAT = 1
_PREDICTIONS = "predictions"


def pack(states: Sequence[State]) -> State:
    """The states of several networks of one kind as one, floats in half precision.

    >>> pack([{"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 4.0])}])["w"]
    tensor([[1., 2.],
            [3., 4.]], dtype=torch.float16)
    """
    packed = {}
    for name in states[0]:
        stacked = torch.stack([state[name] for state in states])
        if stacked.is_floating_point():
            half = stacked.half()
            if not half.isfinite().all():
                largest = float(stacked.abs().max())
                raise KdlibError(f"{name} has the value {largest:g}, which half precision can't hold; train it anew")
            stacked = half
        packed[name] = stacked.contiguous()
    return packed


def unpack(packed: Mapping[str, Tensor], position: int) -> State:
    """One network's state, in single precision, from those that `pack` stacked.

    >>> unpack({"w": torch.tensor([[1.0], [3.0]], dtype=torch.float16)}, 1)
    {'w': tensor([3.])}
    """
    found = {name: stacked[position] for name, stacked in packed.items()}
    return {name: tensor.float() if tensor.is_floating_point() else tensor.clone() for name, tensor in found.items()}


def arm_file(packed: State, predictions: Tensor, record: Mapping[str, Any]) -> bytes:
    """The content of an arm's file. packed: from `pack`. predictions: (R, N) classes, fewer than 256."""
    replicates = len(next(iter(packed.values())))
    if predictions.shape[0] != replicates or int(predictions.max()) > 255:
        raise KdlibError(f"predictions of shape {tuple(predictions.shape)} do not fit {replicates} replicates")
    tensors = packed | {_PREDICTIONS: predictions.to(torch.uint8).contiguous()}
    return save_tensors(tensors, {"format": str(FORMAT), "record": json.dumps(record, sort_keys=True)})


class DamagedFile(KdlibError):
    """A file of the cohort is missing, or has other content than was written; it can be made anew."""


class ArmFile:
    """A file that `arm_file` wrote, checked against its checksum and read."""

    def __init__(self, path: Path, sha256: str) -> None:
        remedy = "get it again from the repository, or make it by `kdlib cohort train`"
        try:
            content = read_file(path)
        except FileNotFoundError as error:
            raise DamagedFile(f"the cohort's file {path} can't be read ({reason(error)}); {remedy}") from error
        except OSError as error:
            raise KdlibError(
                f"the cohort's file {path} can't be read ({reason(error)}); try again once it can be, or move it away"
            ) from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DamagedFile(f"the cohort's file {path} is damaged (its checksum does not fit); {remedy}")
        try:
            with safe_open(path, "pt") as file:
                header = file.metadata() or {}
                if header.get("format") != str(FORMAT):
                    version = header.get("format", "none")
                    raise KdlibError(
                        f"the cohort's file {path} has the format {version}, and this kdlib reads {FORMAT}; take the "
                        "kdlib that came with it"
                    )
                self.packed = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self.record: dict[str, Any] = json.loads(header["record"])
            self.predictions = self.packed.pop(_PREDICTIONS).long()
        except (SafetensorError, ValueError, KeyError) as error:
            raise DamagedFile(f"the cohort's file {path} can't be understood ({error}); {remedy}") from error
        self.path = path

    def check_owner(self, data: str, arm: str, replicates: Sequence[int]) -> None:
        """Raise KdlibError if the file says that it holds other networks than these."""
        own = [self.record.get(name) for name in ("data", "arm", "replicates")]
        if own != [data, arm, list(replicates)]:
            raise KdlibError(
                f"the cohort's file {self.path} holds other networks than its index says ({shown(own)}); get both "
                "again from the repository, or move both away and make them by `kdlib cohort train`"
            )

    @property
    def replicates(self) -> list[int]:
        return self.record["replicates"]

    def state(self, replicate: int) -> State:
        """One replicate's weights."""
        return unpack(self.packed, self.replicates.index(replicate))
