"""Stages of a student and of its teacher whose feature maps are compared position by position."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdlib.capture import last_stages, shapes_of
from kdlib.distill.setting import Setting
from kdlib.errors import KdlibError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class StagePair:
    """A stage of the student and the stage of the teacher it learns from; shapes are (channels, height, width)."""

    student_layer: str
    student_shape: Shape
    teacher_layer: str
    teacher_shape: Shape


def matched_stages(setting: Setting, count: int, method: str) -> tuple[StagePair, ...]:
    """The last `count` stages of student and teacher, paired from the end of the nets.

    Numbers of channels may differ; maps of different height and width are refused, as are nets with
    different numbers of classes. method: its name, for the message.

    >>> from kdlib.data.augment import Augmentation
    >>> from kdlib.data.image_set import ImageSet
    >>> from kdlib.models import build
    >>> images = ImageSet("toy", torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.tensor([0, 1]), ("a", "b"),
    ...                   ("all",), (0, 0))
    >>> student, teacher = (build("small_resnet", num_classes=2, width=width, features=32) for width in (4, 8))
    >>> for pair in matched_stages(Setting(student, images, Augmentation("none"), 0, teacher), 2, "this method"):
    ...     print(pair.student_layer, pair.student_shape, pair.teacher_layer, pair.teacher_shape)
    layer2 (8, 4, 4) layer2 (16, 4, 4)
    layer3 (32, 4, 4) layer3 (32, 4, 4)
    """
    student, teacher = setting.student, setting.taught()
    images = setting.train.inputs(torch.arange(1, device=setting.train.device))
    student_layers, teacher_layers = last_stages(student, count), last_stages(teacher, count)
    student_shapes, teacher_shapes = _shapes(student, images, student_layers), _shapes(teacher, images, teacher_layers)
    setting.same_classes()
    pairs = [
        StagePair(*pair) for pair in zip(student_layers, student_shapes, teacher_layers, teacher_shapes, strict=True)
    ]
    for pair in pairs:
        if len(pair.student_shape) != 3 or len(pair.teacher_shape) != 3:
            raise KdlibError(
                f"{method} needs feature maps (channels, height, width), but the student's {pair.student_layer} gives "
                f"{pair.student_shape} and the teacher's {pair.teacher_layer} {pair.teacher_shape}; use convolutional "
                "nets"
            )
        if pair.student_shape[1:] != pair.teacher_shape[1:]:
            raise KdlibError(
                f"{method} compares maps position by position, but the student's {pair.student_layer} gives maps of "
                f"{_size(pair.student_shape)} and the teacher's {pair.teacher_layer} of {_size(pair.teacher_shape)}; "
                "choose nets whose last stages have the same height and width"
            )
    return tuple(pairs)


def _shapes(model: nn.Module, images: Tensor, layers: tuple[str, ...]) -> list[Shape]:
    """The shape of each layer's output for one image."""
    shapes = shapes_of(model, images, *layers)
    return [shapes[layer] for layer in layers]


def _size(shape: Shape) -> str:
    return f"{shape[1]}x{shape[2]}"
