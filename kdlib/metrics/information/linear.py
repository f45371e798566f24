"""Information discarding without noise: the recipe's own steps on a layer's derivative.

[our estimator] For small noise the feature loss is sum_i a_i sigma_i^2 (`kdlib.metrics.information.closed_form`). With
the exact sensitivity a_i the released search, its stopping rule and its escalation included, runs without a sample: no
noise comes into the maps, one image costs as many backward passes as the layer has features instead of steps x samples,
and a network that stands still has the same concepts each time. What it leaves out is how the layer bends within the
noise, so it is checked against the sampled maps before it is used in their place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdlib.errors import choose
from kdlib.metrics.information.closed_form import linear_response, sensitivity
from kdlib.metrics.information.maps import MISSES, InformationMaps, laid_out, refuse_dead_layer
from kdlib.metrics.information.misses import refuse_misses
from kdlib.metrics.information.response import Grid
from kdlib.metrics.information.search import Converged, EarlyStopped, search_noise, search_of


def linear_information(
    model: nn.Module,
    images: Tensor,
    layer: str,
    *,
    search: EarlyStopped | Converged | None = None,
    grid: Grid = 16,
    projections: int | None = None,
    seed: int = 0,
    relu: bool = True,
    if_not_reached: str = "refuse",
) -> InformationMaps:
    """`kdlib.metrics.information.maps.information_discarding` of the linearised layer; `samples` is 0, `normaliser`
    NaN.

    projections: None for the exact derivative of every feature, or the number of random signs where a layer has many
    features. The other arguments are those of `information_discarding`, and so are its errors.

    >>> half_blind = nn.Sequential(nn.Flatten(), nn.Linear(16, 16))
    >>> _ = half_blind[1].weight.data.copy_(torch.diag(torch.tensor([4.0] * 8 + [1.0] * 8)))
    >>> found = linear_information(half_blind, torch.rand(2, 1, 4, 4) + 1, "1", grid=4)
    >>> upper, lower = found.entropy[0, :2].mean(), found.entropy[0, 2:].mean()
    >>> bool(upper < lower - 0.1), round(float(found.mean_entropy[0]), 1)
    (True, -2.8)
    """
    search = search_of(search)
    choose(if_not_reached, MISSES, "answer to a target that is not reached")
    a = sensitivity(model, images, layer, grid=grid, projections=projections, seed=seed, relu=relu, start=search.start)
    dead = a.isnan().flatten(1).any(1)
    if if_not_reached == "refuse":
        refuse_dead_layer(dead, layer)
    alive = a[~dead]
    found = search_noise(linear_response(alive), alive, search)
    if if_not_reached == "refuse":
        refuse_misses(found, search)
    normaliser = torch.full((len(images),), torch.nan, dtype=torch.float64)
    return laid_out(found, dead, normaliser, search, layer, samples=0, seed=seed)
