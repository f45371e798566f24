"""Distances of class means by hand, and what leaves their ratios alone."""

from __future__ import annotations

import math

import pytest
import torch

from kdlib.errors import KdlibError
from kdlib.metrics.feature_geometry import class_means, feature_geometry

SUPERCLASS_OF = (0, 0, 0, 1, 1, 2, 0)


def test_geometry_by_hand():
    # Class means (0, 0), (0, 3), (4, 0); two images per class, one unit to the left and right of their mean.
    means = torch.tensor([[0.0, 0.0], [0.0, 3.0], [4.0, 0.0]])
    step = torch.tensor([1.0, 0.0])
    features, labels = torch.cat([means - step, means + step]), torch.arange(3).repeat(2)
    found = feature_geometry(features, labels, (0, 0, 1))
    assert found["sibling_distance"] == 3
    assert found["nonsibling_distance"] == (4 + 5) / 2
    assert found["sibling_distance_ratio"] == pytest.approx(3 / 4.5)
    assert found["within_class_spread"] == 1
    assert found["relative_spread"] == pytest.approx(1 / 4)


def test_equidistant_class_means_have_ratio_one():
    found = feature_geometry(10 * torch.eye(4), torch.arange(4), (0, 0, 1, 1))
    assert found["sibling_distance_ratio"] == pytest.approx(1)
    assert found["within_class_spread"] == 0


def test_geometry_only_scales_with_the_features_and_does_not_move():
    labels, features = torch.randint(0, 7, (60,)), torch.randn(60, 9, dtype=torch.float64)
    straight, moved = (feature_geometry(f, labels, SUPERCLASS_OF) for f in (features, 3 * features + 100))
    for key, value in straight.items():
        assert moved[key] == pytest.approx(value * (1 if key in ("sibling_distance_ratio", "relative_spread") else 3))


def test_a_class_without_rows_has_no_mean():
    found = class_means(torch.tensor([[1.0, 3.0], [3.0, 5.0]]), torch.tensor([2, 2]), 3)
    assert found[2].tolist() == [2, 4] and bool(found[:2].isnan().all())


@pytest.mark.parametrize("features", [torch.zeros(2, 4), torch.zeros(3), torch.full((3, 4), math.nan)])
def test_features_that_do_not_fit_are_refused(features):
    with pytest.raises(KdlibError, match="features must be finite numbers, one row for each of 3 labels"):
        feature_geometry(features, torch.arange(3), (0, 0, 1))
