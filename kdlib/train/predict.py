"""A trained network's outputs for a set, and its score."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdlib.data.labelled_set import LabelledSet


@torch.no_grad()
def predict(model: nn.Module, rows: LabelledSet, batch_size: int = 512) -> Tensor:
    """Outputs (N, ...) float32 of every row, logits of a classifier, in eval mode; the model's mode is restored."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    pieces = [slice(start, start + batch_size) for start in range(0, len(rows), batch_size)]
    outputs = [model(rows.inputs(piece).to(device)).float() for piece in pieces]
    model.train(was_training)
    return torch.cat(outputs)


def score(model: nn.Module, rows: LabelledSet, batch_size: int = 512) -> float:
    """The set's score as its task has it: a classifier's is the fraction of rows that it gets right."""
    return rows.task.mean_score(predict(model, rows, batch_size), rows.labels)
