"""Training from labels alone, whatever the labels are: classes, yes or no, or numbers."""

from __future__ import annotations

from torch import Tensor

from kdlib.data.task import CLASSIFICATION, Task
from kdlib.distill import Objective, TrainBatch
from kdlib.distill.setting import Setting


class LabelLoss(Objective):
    """The loss of a task on its labels, averaged over the batch; for classes it is cross-entropy.

    >>> import torch
    >>> from kdlib.data.task import REGRESSION
    >>> batch = TrainBatch(torch.rand(2, 3), torch.tensor([1.0, 2.0]), torch.tensor([0, 1]), torch.tensor([0, 0]))
    >>> LabelLoss(REGRESSION)(batch, torch.tensor([[1.0], [4.0]]), {})  # (0 + 4) / 2
    {'label_loss': tensor(2.)}
    """

    def __init__(self, task: Task = CLASSIFICATION) -> None:
        self.task = task

    def __call__(self, batch: TrainBatch, logits: Tensor, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"label_loss": self.task.loss(logits, batch.labels)}


def build_label_loss(setting: Setting) -> Objective:
    """The loss of the data's own task."""
    return LabelLoss(setting.train.task)
