"""The matrices of the similarity explorer: what is accepted, and how they are packed for the page."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from kdlib.errors import KdlibError

CODES = 65_534  # values are packed as whole numbers 0 ... CODES; the one above stands for "no images of this class"


def swept_names(matrices: Mapping[str, Tensor], sweep: Mapping[float, Mapping[str, Tensor]]) -> list[str]:
    """The names that every temperature holds, in the first one's order."""
    names: list[str] = []
    for place, (temperature, each) in enumerate(sweep.items()):
        if not (isinstance(temperature, (int, float)) and math.isfinite(temperature) and temperature > 0):
            raise KdlibError(f"a temperature of the sweep must be a finite number greater than 0, not {temperature!r}")
        names = names or list(each)
        if not each or set(each) != set(names):
            raise KdlibError(
                f"the sweep holds {', '.join(names)} at T = {next(iter(sweep)):g} but {', '.join(each) or 'nothing'} "
                f"at T = {temperature:g}; give the same models at every temperature"
            )
        twice = set(each) & set(matrices)
        if place == 0 and twice:
            raise KdlibError(
                f"'{min(twice)}' is both in matrices and in the sweep; give it another name in one of them"
            )
    return names


def checked_matrix(matrix: Tensor, classes: int, what: str) -> Tensor:
    if not isinstance(matrix, Tensor) or tuple(matrix.shape) != (classes, classes):
        shape = tuple(matrix.shape) if hasattr(matrix, "shape") else type(matrix).__name__
        raise KdlibError(
            f"the matrix of {what} must have shape ({classes}, {classes}): classes by classes, not {shape}"
        )
    matrix = matrix.detach().cpu().double()
    known = matrix[~matrix.isnan().all(1)]
    if len(known) == 0 or not bool(torch.isfinite(known).all()):
        raise KdlibError(f"the matrix of {what} holds values that are not finite; was the model trained to the end?")
    # A mean of log-probabilities: exp of it sums to at most 1 (Jensen's inequality).
    if bool((known.logsumexp(1) > 1e-3).any()):
        raise KdlibError(
            f"the matrix of {what} holds no mean log-probabilities: exp of a row sums to "
            f"{float(known.logsumexp(1).max().exp()):.3g}, more than 1; give similarity_matrix(logits, labels)"
        )
    return matrix


def pack(stack: Tensor) -> tuple[bytes, float]:
    """16-bit codes of (n, K, K) values from the lowest to 0, and the lowest: value = lowest * (1 - code / CODES)."""
    lowest = min(float(stack[~stack.isnan()].min()), -1e-6)
    codes = ((1 - stack / lowest) * CODES).round().clamp(0, CODES).nan_to_num(CODES + 1)
    return codes.numpy().astype("<u2").tobytes(), lowest
