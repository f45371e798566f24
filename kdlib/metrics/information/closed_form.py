"""Information discarding without a search: what follows from the derivative of a layer.

[our derivation] For small noise the normalised feature loss is sum_i a_i sigma_i^2 with the sensitivity

    a_i = |J_i|^2 / (start^2 * sum_j |J_j|^2),    |J_i|^2 = sum over pixels p, channels c of cell i, features k of
                                                          (unit_c * d relu(f_k) / d x_pc)^2

so that sum_i a_i = 1 / start^2 = 10^4 for every network. The objective's minimum is sigma_i^2 = lambda / (2 a_i cells),
H_i = -ln(a_i) / 2 + constant, and the feature loss there is lambda / 2. The recipe's steps lead towards it,

    sigma_i^2(t) = s + (start^2 - s) exp(-4 * learning_rate * a_i * t),    s = lambda / (2 a_i cells),

and stopping early compresses the range of H and keeps its order. `search_early_stopped(linear_response(a), a, search)`
takes the very steps, without noise.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdlib.errors import KdlibError, check_seed, finite_number, positive_integer
from kdlib.metrics.information.inputs import noise_units
from kdlib.metrics.information.response import (
    Grid,
    LayerUpTo,
    exact_float32,
    grid_shape,
    noise_generator,
    pool,
)
from kdlib.metrics.information.search import Respond, entropy_of

START = 0.01


def sensitivity(
    model: nn.Module,
    images: Tensor,
    layer: str,
    *,
    grid: Grid = 16,
    projections: int | None = None,
    seed: int = 0,
    relu: bool = True,
    noise_scale: float | Sequence[float] | None = None,
    start: float = START,
    batch_size: int = 64,
) -> Tensor:
    """(N, rows, columns) float64 sensitivity a of each cell, on the CPU; formula at the head of this module.

    projections: None for the exact sum, one backward pass for each feature; otherwise the number of random signs r: the
        mean of (d (r . f) / d x)^2 over them is the sum over features. batch_size: images at once. The other arguments
        are those of `kdlib.metrics.information.maps.information_discarding`.

    The rows of an image whose features have no derivative are NaN.

    >>> linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    >>> _ = linear[1].weight.data.copy_(torch.tensor([[1.0, 0.0, 2.0, 0.0], [0.0, 1.0, 1.0, 1.0]]))
    >>> (sensitivity(linear, torch.ones(1, 1, 2, 2), "1", grid=2) / 1e4).tolist()  # 1, 1, 5, 1 of 8
    [[[0.125, 0.125], [0.625, 0.125]]]
    """
    positive_integer(batch_size, "batch_size")
    check_seed(seed)
    finite_number(start, "start", minimum=0, exclusive=True)
    if projections is not None:
        positive_integer(projections, "projections")
    with torch.inference_mode(False), exact_float32():
        network = LayerUpTo(model, images, layer, relu)
        rows, columns = grid_shape(grid, *images.shape[2:])
        units = noise_units(model, images.shape[1], noise_scale).to(network.device, network.dtype)
        parts = []
        for first in range(0, len(images), batch_size):
            batch = images[first : first + batch_size].detach().to(network.device, network.dtype).clone()
            parts.append(pool(_energy(network, batch, units, projections, seed), rows, columns))
    energy = torch.cat(parts).cpu()
    total = energy.sum((1, 2), keepdim=True)
    return torch.where(total > 0, energy / (total * start**2), torch.nan)


def _energy(network: LayerUpTo, images: Tensor, units: Tensor, projections: int | None, seed: int) -> Tensor:
    """(B, H, W) float64: squared derivative of the features, summed over features and channels."""
    with torch.enable_grad():
        images.requires_grad_()
        features = network(images)
        energy = torch.zeros(len(images), *images.shape[2:], dtype=torch.float64, device=images.device)
        draws = noise_generator(seed, 0, images.device)
        passes = features.shape[1] if projections is None else projections
        for number in range(passes):
            if projections is None:
                value = features[:, number].sum()
            else:
                signs = torch.randint(2, features.shape[1:], generator=draws, device=images.device) * 2 - 1
                value = (features * signs).sum()
            if not value.requires_grad:
                network.gradient(value, images)  # says so
            (slope,) = torch.autograd.grad(value, images, retain_graph=number < passes - 1, allow_unused=True)
            if slope is not None:
                energy += (slope * units).double().square().sum(1)
    return energy if projections is None else energy / projections


def closed_form_entropy(
    sensitivity: Tensor, weight: float = 7.0, *, lowest: float = 0.001, highest: float = 1.0
) -> Tensor:
    """H_i of the objective's minimum for a layer of this sensitivity, any number of images of (rows, columns) cells.

    H_i = ln(sigma_i) + ln(2 pi e) / 2 with sigma_i^2 = lambda / (2 a_i cells), clamped; NaN where a is NaN.

    >>> h = closed_form_entropy(torch.tensor([[5000.0, 5000.0 / 4.0]]))
    >>> round(float(h[0, 1] - h[0, 0]), 4)  # half the derivative: ln 2 more
    0.6931
    """
    finite_number(weight, "weight", minimum=0, exclusive=True)
    if sensitivity.ndim < 2:
        raise KdlibError(f"sensitivity must have shape (..., rows, columns), not {tuple(sensitivity.shape)}")
    cells = sensitivity.shape[-1] * sensitivity.shape[-2]
    sigma = (weight / (2 * cells * sensitivity.double())).sqrt()
    return entropy_of(sigma.clamp(lowest, highest))


def linear_response(sensitivity: Tensor) -> Respond:
    """`respond` of a layer that is exactly linear, without sampling: loss sum_i a_i sigma_i^2, gradient 2 a_i sigma_i.

    sensitivity: (N, rows, columns).

    >>> loss, gradient = linear_response(torch.tensor([[[3.0, 1.0]]]))([0], torch.tensor([[[2.0, 1.0]]]))
    >>> loss.tolist(), gradient.tolist()
    ([13.0], [[[12.0, 2.0]]])
    """

    def respond(numbers: list[int], sigma: Tensor) -> tuple[Tensor, Tensor]:
        a = sensitivity[numbers].to(sigma)
        return (a * sigma.square()).sum((1, 2)), 2 * a * sigma

    return respond
