"""What the outputs of a network mean: the loss on labels, the score of a set, and how predictions are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Task:
    """One kind of supervised learning; a data set names its own as `task`.

    name: of the task. score: of what is counted, as the history's columns have it ("val_accuracy"). credit: for each
    row a float32 whose mean over a set is the score. higher_is_better: the direction in which epochs are chosen on val.
    loss: outputs (N, ...) and labels (N,) to a scalar, the mean over the rows,
    computed in float32 at least. predict: outputs to predictions (N,).

    >>> import torch
    >>> outputs, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    >>> CLASSIFICATION.mean_score(outputs, labels), CLASSIFICATION.predict(outputs).tolist()
    (0.5, [0, 1])
    >>> REGRESSION.mean_score(torch.tensor([[1.0], [4.0]]), torch.tensor([1.0, 2.0]))
    2.0
    """

    name: str
    score: str
    higher_is_better: bool
    loss: Callable[[Tensor, Tensor], Tensor]
    credit: Callable[[Tensor, Tensor], Tensor]
    predict: Callable[[Tensor], Tensor]

    def mean_score(self, outputs: Tensor, labels: Tensor) -> float:
        """The score of these rows."""
        return float(self.credit(outputs, labels.to(outputs.device)).mean())

    def better(self, score: float, best: float | None) -> bool:
        """Whether a score beats the best so far; an equal one does not."""
        return best is None or (score > best if self.higher_is_better else score < best)


def at_least_float32(outputs: Tensor) -> Tensor:
    """The same in float32 where the type is narrower: a loss of half-precision outputs is not computed in half.

    >>> at_least_float32(torch.zeros(1, dtype=torch.bfloat16)).dtype, at_least_float32(torch.zeros(1).double()).dtype
    (torch.float32, torch.float64)
    """
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(at_least_float32(outputs), labels)


def _binary_cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    logits = at_least_float32(_one_column(outputs))
    # One of the two logarithms a row, so that a certain answer (a logit of -inf or inf) gives 0 or inf and not nan.
    return -torch.where(labels > 0, F.logsigmoid(logits), F.logsigmoid(-logits)).mean()


def _mean_squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    wide = at_least_float32(_one_column(outputs))
    return F.mse_loss(wide, labels.to(wide.dtype))


def _one_column(outputs: Tensor) -> Tensor:
    """(N, 1) or (N,) outputs as (N,)."""
    return outputs.reshape(len(outputs))


CLASSIFICATION = Task(
    name="classification",
    score="accuracy",
    higher_is_better=True,
    loss=_cross_entropy,
    credit=lambda outputs, labels: (outputs.argmax(1) == labels).float(),
    predict=lambda outputs: outputs.argmax(1),
)
BINARY = Task(  # one logit a row, labels 0 and 1
    name="binary",
    score="accuracy",
    higher_is_better=True,
    loss=_binary_cross_entropy,
    credit=lambda outputs, labels: ((_one_column(outputs) > 0) == (labels > 0)).float(),
    predict=lambda outputs: (_one_column(outputs) > 0).long(),
)
REGRESSION = Task(
    name="regression",
    score="mean_squared_error",
    higher_is_better=False,
    loss=_mean_squared_error,
    credit=lambda outputs, labels: (_one_column(outputs) - labels.float()).square(),
    predict=_one_column,
)
