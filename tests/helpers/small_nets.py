"""Small nets, the settings they make with the `splits` fixture, and batches of its training images."""

from __future__ import annotations

import functools

import torch

from kdlib.data.augment import Augmentation
from kdlib.data.labelled_set import Splits
from kdlib.distill import TrainBatch
from kdlib.distill.setting import Setting
from kdlib.models import build

student_net = functools.partial(build, "small_resnet", num_classes=4, width=4, features=16)
teacher_net = functools.partial(build, "small_resnet", num_classes=4, width=8, features=24, seed=9)


def setting_of(
    splits: Splits, *, student=None, teacher=None, train=None, augment: str = "flip", seed: int = 0
) -> Setting:
    return Setting(
        student or student_net(), train or splits.train, Augmentation(augment), seed, teacher or teacher_net()
    )


def batch_of(splits: Splits, index: torch.Tensor, view: int = 0, augment: str = "flip") -> TrainBatch:
    views = torch.full_like(index, view)
    images = Augmentation(augment)(splits.train.inputs(index), views)
    return TrainBatch(images, splits.train.labels[index], index, views)
