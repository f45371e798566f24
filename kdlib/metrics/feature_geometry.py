"""How far the class means of penultimate features lie from each other (after Müller et al. 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kdlib.errors import KdlibError


def class_means(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(K, D) mean row of each class, NaN for a class without rows."""
    sums = torch.zeros(classes, values.shape[1], dtype=values.dtype, device=values.device)
    return sums.index_add_(0, labels, values) / torch.bincount(labels, minlength=classes)[:, None]


def feature_geometry(features: Tensor, labels: Tensor, superclass_of: Sequence[int]) -> dict[str, float]:
    """Distances between class means of penultimate features (after Müller et al. 2019); features: (N, D).

    sibling_distance, nonsibling_distance: mean Euclidean distance over pairs of classes of the same and of different
    superclasses. sibling_distance_ratio: the first over the second; 1 if class means are equidistant, which label
    smoothing tends to. within_class_spread: root mean squared distance of a feature to its class mean.
    relative_spread: that over the mean distance of all pairs; small for tight clusters. NaN where no pair exists.

    >>> corners = torch.tensor([[0.0, 0.0], [0.0, 3.0], [4.0, 0.0]])
    >>> geometry = feature_geometry(corners, torch.tensor([0, 1, 2]), (0, 0, 1))
    >>> geometry["sibling_distance"], geometry["nonsibling_distance"], geometry["within_class_spread"]
    (3.0, 4.5, 0.0)
    """
    if features.ndim != 2 or len(features) != len(labels) or not bool(torch.isfinite(features).all()):
        raise KdlibError(
            f"features must be finite numbers, one row for each of {len(labels)} labels, not {tuple(features.shape)}"
        )
    features = features.double()
    means = class_means(features, labels, len(superclass_of))
    spread = math.sqrt(float(((features - means[labels]) ** 2).sum(1).mean()))
    present = ~means.isnan().any(1)
    groups = torch.as_tensor(superclass_of, device=labels.device)[present]
    # Differences, not a Gram matrix: exact zeros for equal means, and K is small.
    distances = torch.cdist(means[present], means[present], compute_mode="donot_use_mm_for_euclid_dist")
    pairs = torch.ones_like(distances, dtype=torch.bool).triu(1)
    siblings = groups[:, None] == groups
    near, far = float(distances[pairs & siblings].mean()), float(distances[pairs & ~siblings].mean())
    mean = float(distances[pairs].mean())
    return {
        "sibling_distance": near,
        "nonsibling_distance": far,
        "sibling_distance_ratio": near / far if far else math.nan,
        "within_class_spread": spread,
        "relative_spread": spread / mean if mean else math.nan,
    }
