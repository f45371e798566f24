"""First weights that follow from a seed alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from kdlib.errors import check_seed


def seeded(builder: Callable[..., nn.Module], seed: int, **options: Any) -> nn.Module:
    """builder(**options), the same for the same seed at any global random state, which is left unchanged.

    >>> torch.equal(seeded(nn.Linear, 1, in_features=2, out_features=3).weight,
    ...             seeded(nn.Linear, 1, in_features=2, out_features=3).weight)
    True
    """
    with torch.random.fork_rng():
        torch.manual_seed(check_seed(seed))
        return builder(**options)
