"""Normalisation as the first layer of a network, so that weights and the statistics of their data never part."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdlib.errors import KdlibError, positive_integer


class Normalise(nn.Module):
    """(x - mean) / std per channel, with the statistics stored with the weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != len(self.mean):
            raise KdlibError(
                f"this model takes images of shape (batch, {len(self.mean)}, height, width), not {tuple(images.shape)}"
            )
        return (images - self.mean) / self.std


def statistics(channels: int, mean, std) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of images in [0, 1]; 0.5 and 0.25 where they are not given."""
    positive_integer(channels, "channels")
    return tuple(mean or (0.5,) * channels), tuple(std or (0.25,) * channels)
