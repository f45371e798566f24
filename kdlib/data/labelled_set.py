"""What any data set must offer to be trained on, and the four parts of one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from kdlib.data.task import Task
from kdlib.errors import KdlibError


class LabelledSet(Protocol):
    """What a data set must offer to be trained on: `ImageSet` is one, the drawn `SentenceSet` another."""

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> Tensor: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        ...

    @property
    def num_classes(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def task(self) -> Task:
        """What the labels are, and so the loss, the score and how outputs are read."""
        ...

    def __len__(self) -> int: ...

    def to(self, device: torch.device | str) -> Self: ...

    def inputs(self, indices: Tensor | slice) -> Tensor:
        """What models take, (B, ...)."""
        ...

    def model_options(self) -> dict[str, Any]:
        """What `kdlib.models.build` must know of the data."""
        ...

    def content_hash(self) -> str: ...


def superclasses_of(rows: LabelledSet) -> tuple[int, ...]:
    """For each class the index of its superclass; data without superclasses are refused."""
    found = getattr(rows, "superclass_of", None)
    if found is None:
        raise KdlibError(f"'{rows.name}' has no superclasses, which this method needs; take data that have some")
    return found


Part = TypeVar("Part", bound=LabelledSet)


@dataclass(frozen=True)
class Splits(Generic[Part]):
    """Train, val (selection), test (report) and probe (dissection) of one data set, all of one kind.

    Nothing is ever selected on test.
    """

    name: str
    train: Part
    val: Part
    test: Part
    probe: Part

    def __post_init__(self) -> None:
        for part in (self.val, self.test):
            if part.class_names != self.train.class_names or part.input_shape != self.train.input_shape:
                raise KdlibError(
                    f"'{part.name}' has {len(part.class_names)} classes and inputs of shape {part.input_shape}, "
                    f"'{self.train.name}' {len(self.train.class_names)} and {self.train.input_shape}; "
                    "parts of one data set have the same classes and the same size"
                )

    def to(self, device: torch.device | str) -> Splits[Part]:
        """All four parts on `device`."""
        parts = {part: getattr(self, part).to(device) for part in ("train", "val", "test", "probe")}
        return replace(self, **parts)

    def content_hash(self) -> str:
        """SHA-256 of what shapes a training: the train and val parts."""
        return hashlib.sha256((self.train.content_hash() + self.val.content_hash()).encode()).hexdigest()
