"""Training from scratch: cross-entropy with the hard labels."""

from __future__ import annotations

from torch import Tensor

from kdlib.distill import Objective, TrainBatch
from kdlib.distill.setting import Setting
from kdlib.distill.terms import label_cross_entropy


class CrossEntropy(Objective):
    """-log p_y, averaged over the batch (nats).

    >>> import torch
    >>> batch = TrainBatch(torch.rand(1, 1, 2, 2), torch.tensor([0]), torch.tensor([0]), torch.tensor([0]))
    >>> CrossEntropy()(batch, torch.zeros(1, 4), {})["cross_entropy"].item()  # ln 4
    1.3862943649291992
    """

    def __call__(self, batch: TrainBatch, logits: Tensor, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"cross_entropy": label_cross_entropy(logits, batch.labels)}


def build_cross_entropy(setting: Setting) -> Objective:
    """Nothing but the labels."""
    setting.classification()
    return CrossEntropy()
