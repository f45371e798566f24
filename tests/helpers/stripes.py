"""Images of four classes that small nets learn in seconds."""

from __future__ import annotations

import torch

from kdlib.data.image_set import ImageSet
from kdlib.data.labelled_set import Splits


def striped_images(count: int, seed: int, name: str = "stripes", size: int = 16) -> ImageSet:
    """Four easily learned classes: bright rows or columns, left/top or right/bottom; noise around them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=generator)
    images = torch.randint(0, 120, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    for index, label in enumerate(labels.tolist()):
        half = slice(0, size // 2) if label % 2 else slice(size // 2, size)
        if label < 2:
            images[index, :, half] = 220
        else:
            images[index, :, :, half] = 220
    return ImageSet(name, images, labels, ("bottom", "top", "right", "left"), ("rows", "columns"), (0, 0, 1, 1))


def striped_splits() -> Splits[ImageSet]:
    """128 training images of `striped_images`, 64 of each other part."""
    counts = {"train": 128, "val": 64, "test": 64, "probe": 64}
    parts = {part: striped_images(n, seed, part) for seed, (part, n) in enumerate(counts.items())}
    return Splits("stripes", **parts)
