"""Label smoothing (Szegedy et al. 2016; Han et al. 2023, section on KD and LS)."""

from __future__ import annotations

from torch import Tensor

from kdlib.distill import Objective, TrainBatch
from kdlib.distill.setting import Setting
from kdlib.distill.terms import label_cross_entropy, log_probabilities, weighted
from kdlib.errors import finite_number


class LabelSmoothing(Objective):
    r"""Cross-entropy with labels mixed with the uniform distribution u over all K classes.

    L = (1 - alpha) CE(y, p) + alpha CE(u, p): the target is 1 - alpha + alpha / K on the true class and alpha / K on
    every other one, the true class included in u. alpha in [0, 1]. Unlike a teacher's posterior, u says nothing of
    which classes are alike.

    The two terms are returned apart, so that a training log shows both.

    >>> import torch
    >>> batch = TrainBatch(torch.rand(1, 1, 2, 2), torch.tensor([1]), torch.tensor([0]), torch.tensor([0]))
    >>> terms = LabelSmoothing(0.1)(batch, torch.tensor([[0.0, 2.0]]), {})
    >>> sum(terms.values()).item() == torch.nn.functional.cross_entropy(
    ...     torch.tensor([[0.0, 2.0]]), torch.tensor([1]), label_smoothing=0.1).item()
    True
    """

    def __init__(self, alpha: float = 0.1) -> None:
        self.alpha = finite_number(alpha, "alpha", minimum=0, maximum=1)

    def __call__(self, batch: TrainBatch, logits: Tensor, features: dict[str, Tensor]) -> dict[str, Tensor]:
        hard = label_cross_entropy(logits, batch.labels)
        uniform = -log_probabilities(logits).mean()
        return {"cross_entropy": weighted(1 - self.alpha, hard), "uniform": weighted(self.alpha, uniform)}


def build_label_smoothing(setting: Setting, *, alpha: float = 0.1) -> Objective:
    """alpha: weight of the uniform distribution."""
    setting.classification()
    return LabelSmoothing(alpha)
