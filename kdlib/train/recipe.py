"""How to train: optimizer, learning rates, augmentation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from kdlib.data.augment import Augmentation
from kdlib.errors import MOST_EPOCHS, KdlibError, choose, finite_number, positive_integer, shown

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("cosine", "step", "geometric")


@dataclass(frozen=True)
class Recipe:
    """How to train: an optimizer, a learning-rate schedule and an augmentation.

    optimizer: "sgd" (with Nesterov momentum, or plain momentum where `nesterov` is off) or "adamw".

    schedule: "cosine" (to zero), "step" (times 0.1 at each of `milestones`, in epochs) or "geometric" (each step times
    the same factor, to `final_learning_rate`), all after a linear warm-up over `warmup` epochs. augment: "none",
    "flip", "flip_shift" or, for streamed folders alone, "resized_crop". checkpoints: epochs after which the weights are
    kept too; 0 for the first weights. mixed_precision: bfloat16 autocast, on a GPU only.

    distances: layers whose weights' path length is measured, see `kdlib.train.weight_distance`.

    No epochs at all make a run of the first weights, such as a random teacher's.
    """

    epochs: int
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    optimizer: str = "sgd"
    nesterov: bool = True
    schedule: str = "cosine"
    milestones: tuple[int, ...] = ()
    warmup: float = 1.0
    augment: str = "flip"
    channels_last: bool = True
    mixed_precision: bool = False
    checkpoints: tuple[int, ...] = ()
    final_learning_rate: float = 0.0
    distances: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        positive_integer(self.epochs, "epochs", minimum=0, maximum=MOST_EPOCHS)
        positive_integer(self.batch_size, "batch_size", minimum=2)
        finite_number(self.learning_rate, "learning_rate", minimum=0, exclusive=True)
        finite_number(self.momentum, "momentum", minimum=0, maximum=1)
        finite_number(self.weight_decay, "weight_decay", minimum=0)
        finite_number(self.warmup, "warmup", minimum=0)
        choose(self.optimizer, OPTIMIZERS, "optimizer")
        choose(self.schedule, SCHEDULES, "schedule")
        geometric = self.schedule == "geometric"
        finite_number(self.final_learning_rate, "final_learning_rate", minimum=0, exclusive=geometric)
        Augmentation(self.augment)
        for name in ("nesterov", "channels_last", "mixed_precision"):
            if not isinstance(getattr(self, name), bool):
                raise KdlibError(f"{name} must be True or False, not {shown(getattr(self, name))}")
        for name in ("milestones", "checkpoints", "distances"):
            if not isinstance(getattr(self, name), tuple):
                raise KdlibError(f"{name} must be a tuple, such as (1,), not {shown(getattr(self, name))}")
        for first, epochs in ((1, self.milestones), (0, self.checkpoints)):
            for epoch in epochs:
                positive_integer(epoch, "an epoch of milestones or checkpoints", minimum=0)
                if not first <= epoch <= self.epochs:
                    raise KdlibError(f"epoch {epoch} is outside this recipe's {self.epochs} epochs")

    def make_optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""
        rate, decay = self.learning_rate, self.weight_decay
        if self.optimizer == "adamw":
            return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
        nesterov = self.nesterov and self.momentum > 0
        return torch.optim.SGD(parameters, lr=rate, momentum=self.momentum, weight_decay=decay, nesterov=nesterov)

    def learning_rate_at(self, epoch: float) -> float:
        """Learning rate after `epoch` epochs (fractions are steps within one).

        >>> Recipe(epochs=10, learning_rate=0.2, warmup=0).learning_rate_at(5)
        0.1
        >>> Recipe(epochs=90, schedule="step", milestones=(30, 60), warmup=0).learning_rate_at(31)
        0.01
        >>> recipe = Recipe(epochs=2, learning_rate=0.1, schedule="geometric", final_learning_rate=0.001, warmup=0)
        >>> recipe.learning_rate_at(1)
        0.01
        """
        # A warm-up longer than half of a short run would never reach the full rate.
        warmup = min(self.warmup, self.epochs / 4)
        if epoch < warmup:
            return self.learning_rate * epoch / warmup
        if self.schedule == "step":
            return round(self.learning_rate * 0.1 ** sum(epoch >= m for m in self.milestones), 12)
        progress = (epoch - warmup) / (self.epochs - warmup)
        if self.schedule == "geometric":
            return round(self.learning_rate * (self.final_learning_rate / self.learning_rate) ** progress, 12)
        return round(self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress)), 12)
