"""The maps of the entropy explorer: what is accepted, and how they are packed so that every count stays exact."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from kdlib.errors import KdlibError, choose, finite_number
from kdlib.metrics.visual_concepts import visual_concepts

PER_NAT = 1000  # thresholds are whole thousandths of a nat; nothing lies between two of them
NO_MAP = -32_768


def whole_thousandth(threshold: float) -> float:
    threshold = finite_number(threshold, "threshold", minimum=0, maximum=10)
    steps = round(threshold * PER_NAT)
    if abs(threshold * PER_NAT - steps) > 1e-6:
        raise KdlibError(f"threshold must be in whole thousandths of a nat here, not {threshold!r}; round it")
    return steps / PER_NAT


def refuse_one_sided(foreground: Tensor) -> None:
    for side, cells in (("foreground", foreground), ("background", ~foreground)):
        for image, some in enumerate(cells.flatten(1).any(1).tolist()):
            if not some:
                raise KdlibError(f"image {image} has no {side} cell; leave it out, or take a finer grid")


def checked_entropy(entropy: Tensor, foreground: Tensor, name: str) -> Tensor:
    """(N, R, C) float64 entropies on the CPU; an image with a NaN is NaN throughout."""
    if not isinstance(entropy, Tensor) or entropy.shape != foreground.shape or not entropy.is_floating_point():
        given = f"{entropy.dtype} of {tuple(entropy.shape)}" if isinstance(entropy, Tensor) else type(entropy)
        raise KdlibError(f"maps of {name} must be real numbers of shape {tuple(foreground.shape)}, not {given}")
    entropy = entropy.detach().cpu().double()
    if bool(entropy.isinf().any()):
        raise KdlibError(f"maps of {name} hold infinite entropies; mark an image without a map by NaN")
    missing = entropy.isnan().flatten(1).any(1)
    if bool(missing.all()):
        raise KdlibError(f"maps of {name} are NaN for every image; leave this layer out")
    return entropy.masked_fill(missing[:, None, None], math.nan)


def background_entropy_of(
    entropy: Tensor, foreground: Tensor, given: Mapping[str, Mapping[str, float]] | None, network: str, layer: str
) -> float:
    if given is None:
        return visual_concepts(entropy, foreground).background_entropy
    by_layer = given[choose(network, given, "network of background_entropy")]
    name = choose(layer, by_layer, f"layer of background_entropy of '{network}'")
    return finite_number(by_layer[name], f"background_entropy of '{network}', layer '{layer}',")


def pack_levels(entropy: Tensor, background_entropy: float) -> np.ndarray:
    """(N, R, C) int16: the whole number k for which (k - 1) / 1000 < background entropy - H <= k / 1000."""
    edges = np.arange(NO_MAP + 2, -NO_MAP - 1) / PER_NAT
    above = (background_entropy - entropy).numpy()
    levels = np.searchsorted(edges, above, side="left") + NO_MAP + 2
    return np.where(np.isnan(above), NO_MAP, levels).astype("<i2")


def layer_entry(layer: str, entropy: Mapping[tuple[str, str], Tensor], titles: Mapping[str, str] | None) -> dict:
    """A layer's name and its scale of colours, one for all networks: up to the outermost hundredths of the cells."""
    values = torch.cat([each[~each.isnan()] for (_, place), each in entropy.items() if place == layer]).numpy()
    low, high = (float(value) for value in np.quantile(values, (0.01, 0.99)))
    if low == high:
        low, high = low - 0.5, high + 0.5
    return {"name": layer, "title": (titles or {}).get(layer, layer), "low": low, "high": high}
