"""Information discarding as the recipe reads: one image after another, autograd and torch.optim for everything.

Shared by the tests (`test_information.py`) and the race (`benchmarks/information.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlib.metrics.information.response import noise_generator


@dataclass(frozen=True)
class TwinMap:
    """One image's (rows, columns) entropies, the kept step, sigma_f^2, the loss there, and the entropy at each step."""

    entropy: Tensor
    step: int
    normaliser: float
    feature_loss: float
    path: list[float]
    raised: bool


def layer_output(model: nn.Module, layer: nn.Module, images: Tensor) -> Tensor:
    kept = []
    hook = layer.register_forward_hook(lambda module, inputs, output: kept.append(output.clone()))
    model(images)
    hook.remove()
    return kept[0]


def slow_map(
    model: nn.Module,
    image: Tensor,
    layer: str,
    *,
    grid: tuple[int, int] = (16, 16),
    samples: int = 96,
    seed: int = 0,
    image_id: int = 0,
    weight: float = 7.0,
    learning_rate: float = 1e-4,
    steps: int = 80,
    last_steps: int = 20,
    target: float = -2.8,
    units: tuple[float, ...] | None = None,
    relu: bool = True,
) -> TwinMap:
    """The map of one image (C, H, W); the model is in eval mode. The noise is that of kdlib's measure."""
    module = dict(model.named_modules())[layer]
    channels, height, width = image.shape
    kind = {"dtype": image.dtype, "device": image.device}
    scale = torch.tensor(units or (1.0,) * channels, **kind).view(channels, 1, 1)
    generator = noise_generator(seed, image_id, image.device)

    def feature(images: Tensor) -> Tensor:
        output = layer_output(model, module, images)
        return torch.relu(output) if relu else output

    def noisy(sigma: Tensor) -> Tensor:
        unit_noise = torch.randn(samples, channels, height, width, generator=generator, **kind)
        strength = F.interpolate(sigma[None, None], size=(height, width), mode="nearest")
        return image[None] + strength * unit_noise * scale

    def entropies(sigma: Tensor) -> Tensor:
        return torch.log(sigma) + 0.5 * math.log(2 * math.pi) + 0.5

    sigma = torch.full(grid, 0.01, requires_grad=True, **kind)
    with torch.no_grad():
        clean = feature(image[None])
        response = feature(noisy(sigma))
        normaliser = F.mse_loss(response, clean.expand_as(response))
    optimizer = torch.optim.SGD([sigma], lr=learning_rate)
    sigmas, path, losses, raised = [], [], [], False
    for step in range(steps):
        with torch.no_grad():
            sigma.clamp_(0.001, 1.0)
        response = feature(noisy(sigma))
        entropy = entropies(sigma).mean()
        feature_loss = F.mse_loss(response, clean.expand_as(response)) / normaliser
        loss = feature_loss - weight * entropy
        sigmas.append(sigma.detach().clone())
        path.append(entropy.item())
        losses.append(feature_loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == steps - last_steps - 1:
            if max(path) > target:
                break
            weight, raised = weight * 1.5, True
    kept = min(range(len(path)), key=lambda number: abs(path[number] - target))
    return TwinMap(entropies(sigmas[kept]), kept, float(normaliser), losses[kept], path, raised)
