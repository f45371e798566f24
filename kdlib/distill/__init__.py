"""Distillation methods: one objective a file.

An objective is called with the batch, the student's logits and the student's captured features, and returns named,
already weighted loss terms; their sum is minimised. `alpha` weights the *soft* term everywhere in this package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class TrainBatch:
    """What an objective may look at.

    images: (B, C, H, W) float32 in [0, 1], augmented. labels: (B,). index: (B,) of each image in the training set.
    view: (B,) which of the finitely many augmented views each is; (index, view) names the picture exactly.
    """

    images: Tensor
    labels: Tensor
    index: Tensor
    view: Tensor


class Objective(Protocol):
    """The shape of every distillation method; methods inherit from it to get its defaults.

    student_layers: layers of the student whose output it must see. module: what is trained or remembered beside the
    student, such as projections (parameters, which join the student's optimizer) and memory banks (buffers).
    """

    student_layers: tuple[str, ...] = ()
    module: nn.Module | None = None

    def student_images(self, images: Tensor) -> Tensor:
        """What the student is shown in a training step: (B, ...) -> (at least B, ...), the images themselves first."""
        return images

    def __call__(self, batch: TrainBatch, logits: Tensor, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Named loss terms, already weighted, each a scalar."""
        ...
