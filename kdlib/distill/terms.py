"""Parts of losses that stay right at the edge: masked classes (a logit of -inf), half precision, very short vectors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlib.data.task import CLASSIFICATION, at_least_float32

# Beyond these, squares leave float32, and torch's `normalize` takes whatever is shorter than 1e-12 for zero.
_SHORT, _LONG = 2.0**-30, 2.0**50
_HIGH_TEMPERATURE = 32.0  # up to it, float32 keeps three digits of T^2 KL


def log_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(z / T) of each row (B, K), in float32 at least; -inf for a class whose logit is -inf.

    In float64 where the temperature is high: all classes are then nearly alike, and what is left of their differences
    is multiplied by T^2 afterwards.

    >>> import torch
    >>> log_probabilities(torch.tensor([[0.0, 0.0, -torch.inf]], dtype=torch.float16))
    tensor([[-0.6931, -0.6931,    -inf]])
    """
    wide = logits.double() if temperature > _HIGH_TEMPERATURE else at_least_float32(logits)
    return (wide / temperature).log_softmax(dim=1)


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of each row, (B,), in nats, from log-probabilities (B, K).

    A class with p = 0 contributes 0, whatever q is (0 log 0 = 0, and no nan for a class that is masked); one with
    p > 0 and q = 0 makes the divergence infinite.

    >>> import torch
    >>> half, masked = torch.tensor([[0.5, 0.5, 0.0]]).log(), torch.tensor([[0.75, 0.25, 0.0]]).log()
    >>> divergence(masked, half), divergence(half, torch.tensor([[1.0, 0.0, 0.0]]).log())
    (tensor([0.1308]), tensor([inf]))
    """
    p = log_p.exp()
    return (p * (log_p - log_q).masked_fill(p == 0, 0)).sum(dim=1)


def unit_rows(rows: Tensor) -> Tensor:
    """Each row (B, d) divided by its Euclidean norm, in float32 at least, however short or long; zeros stay zeros.

    >>> unit_rows(torch.tensor([[3e-20, 4e-20], [3e30, 4e30], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    rows = at_least_float32(rows)
    largest = rows.detach().abs().amax(dim=1, keepdim=True)
    # The scale cancels in the end; a power of two takes it out exactly. Rows of usual length keep theirs and their bits
    usual = ((largest >= _SHORT) & (largest <= _LONG)) | (largest == 0) | ~largest.isfinite()
    exponent = torch.where(usual, 0, -torch.frexp(largest).exponent).clamp(-126, 126)
    return F.normalize(rows * torch.ldexp(torch.ones_like(largest), exponent), dim=1)


def label_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p_y, averaged over the batch, in nats and in float32 at least; infinite where a label's class is masked.

    logits: (B, K). labels: (B,).
    """
    return CLASSIFICATION.loss(logits, labels)


def weighted(weight: float, term: Tensor) -> Tensor:
    """weight * term, and 0 without a gradient where the weight is 0: a term that is left out may be infinite.

    >>> import torch
    >>> weighted(0.0, torch.tensor(torch.inf)), weighted(0.5, torch.tensor(3.0))
    (tensor(0.), tensor(1.5000))
    """
    return weight * term if weight else term.new_zeros(())
