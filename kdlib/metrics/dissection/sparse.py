"""Places of the few true entries among many."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def true_places(flags: Tensor) -> Tensor:
    """(n,) int64, ascending: where a bool tensor is true, counted through its flattened entries.

    On a CPU numpy looks for them: where few are true, several times faster than torch.

    >>> true_places(torch.tensor([[False, True], [True, False]]))
    tensor([1, 2])
    """
    if flags.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(flags.numpy()))
    return flags.reshape(-1).nonzero()[:, 0]
