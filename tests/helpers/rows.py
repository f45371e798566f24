"""A handful of labelled rows of numbers: the smallest data set that can be trained on, and a linear model for it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.data.labelled_set import Splits
from kdlib.data.task import Task


@dataclass(frozen=True)
class Rows:
    """Inputs (N, D) with labels (N,) of a task."""

    name: str
    values: Tensor
    labels: Tensor
    task: Task
    class_names: tuple[str, ...] = ("no", "yes")

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape[1:])

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def device(self) -> torch.device:
        return self.values.device

    def __len__(self) -> int:
        return len(self.values)

    def to(self, device: torch.device | str) -> Rows:
        return replace(self, values=self.values.to(device), labels=self.labels.to(device))

    def inputs(self, indices: Tensor | slice) -> Tensor:
        return self.values[indices]

    def model_options(self) -> dict[str, Any]:
        return {}

    def content_hash(self) -> str:
        return hashlib.sha256(self.values.numpy().tobytes() + self.labels.numpy().tobytes()).hexdigest()


def row_splits(task: Task) -> Splits[Rows]:
    """Labels that a linear model finds: 2 a - b + 1, or for whole-numbered tasks whether that is above 1."""

    def rows(part: str, seed: int, count: int = 64) -> Rows:
        values = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
        labels = 2 * values[:, 0] - values[:, 1] + 1
        return Rows(part, values, labels if task.name == "regression" else (labels > 1).long(), task)

    parts = ("train", "val", "test", "probe")
    return Splits("rows", **{part: rows(part, seed) for seed, part in enumerate(parts)})


def linear_model(outputs: int = 1) -> nn.Linear:
    """With weights of zero."""
    model = nn.Linear(2, outputs)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return model
