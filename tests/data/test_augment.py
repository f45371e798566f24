"""Augmentation: each view of an image, written out."""

from __future__ import annotations

import torch

from kdlib.data.augment import Augmentation


def test_views_by_slow_twin():
    augmentation = Augmentation("flip_shift")
    image = torch.arange(30.0).view(1, 1, 5, 6)
    seen = set()
    for view in range(augmentation.num_views):
        shift = view // 2
        down, right = ((shift // 5 + 2) % 5) - 2, ((shift % 5 + 2) % 5) - 2
        source = image.flip(3) if view % 2 else image
        expected = torch.empty_like(image)
        for row in range(5):
            for column in range(6):
                r, c = min(max(row - down, 0), 4), min(max(column - right, 0), 5)
                expected[0, 0, row, column] = source[0, 0, r, c]
        assert torch.equal(augmentation(image, torch.tensor([view])), expected)
        seen.add(tuple(expected.flatten().tolist()))
    assert len(seen) == 50
    assert torch.equal(augmentation(image, torch.tensor([0])), image)
