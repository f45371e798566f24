"""Information discarding without noise: the recipe's own steps on a layer's derivative.

[our estimator] For small noise the feature loss is sum_i a_i sigma_i^2 (`kdlib.metrics.information_closed_form`). With
the exact sensitivity a_i the released search, its stopping rule and its escalation included, runs without a sample: no
noise comes into the maps, one image costs as many backward passes as the layer has features instead of steps x samples,
and a network that stands still has the same concepts each time. What it leaves out is how the layer bends within the
noise, so it is checked against the sampled maps before it is used in their place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdlib.metrics.information import InformationMaps
from kdlib.metrics.information_closed_form import linear_response, sensitivity
from kdlib.metrics.information_response import Grid
from kdlib.metrics.information_search import (
    Converged,
    EarlyStopped,
    entropy_of,
    search_converged,
    search_early_stopped,
)


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
) -> InformationMaps:
    """`kdlib.metrics.information.information_discarding` of the linearised layer; `samples` is 0, `normaliser` NaN.

    projections: None for the exact derivative of every feature, or so many random signs where a layer has many
    features. The other arguments are those of `information_discarding`. A target that is not reached is marked.

    >>> half_blind = nn.Sequential(nn.Flatten(), nn.Linear(16, 16))
    >>> _ = half_blind[1].weight.data.copy_(torch.diag(torch.tensor([4.0] * 8 + [1.0] * 8)))
    >>> found = linear_information(half_blind, torch.rand(2, 1, 4, 4) + 1, "1", grid=4)
    >>> upper, lower = found.entropy[0, :2].mean(), found.entropy[0, 2:].mean()
    >>> bool(upper < lower - 0.1), round(float(found.mean_entropy[0]), 1)
    (True, -2.8)
    """
    search = EarlyStopped() if search is None else search
    a = sensitivity(model, images, layer, grid=grid, projections=projections, seed=seed, relu=relu, start=search.start)
    dead = a.isnan().flatten(1).any(1)
    like = torch.zeros_like(a)
    respond = linear_response(a.nan_to_num(1.0 / a[0].numel()))
    if isinstance(search, EarlyStopped):
        found = search_early_stopped(respond, like, search)
    else:
        found = search_converged(respond, like, search)
    entropy = torch.where(dead[:, None, None], torch.nan, entropy_of(found.sigma.double()))
    nan = torch.full((len(images),), torch.nan, dtype=torch.float64)
    return InformationMaps(
        layer=layer,
        samples=0,
        seed=seed,
        search=search,
        entropy=entropy,
        normaliser=nan,
        feature_loss=torch.where(dead, nan, found.loss),
        step=found.step,
        raised=found.raised & ~dead,
        reached=found.reached & ~dead,
        dead=dead,
        path=torch.where(dead[:, None], torch.nan, found.path),
    )
