"""Trees of small image files, one folder per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def paint(path: Path, seed: int, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)


def plant(root: Path, counts: dict[str, int], first_seed: int = 0) -> Path:
    seed = first_seed
    for name, count in counts.items():
        for index in range(count):
            paint(root / name / f"{index:03}.png", seed)
            seed += 1
    return root


def plant_stripes(root: Path, counts: dict[str, int], size: int = 20) -> Path:
    """A tree that can be learned: each class is bright in one part of the picture, noise elsewhere."""
    for number, (name, count) in enumerate(counts.items()):
        for index in range(count):
            rng = np.random.default_rng([number, index, sum(map(ord, str(root.name)))])
            pixels = rng.integers(0, 120, (size, size, 3), dtype=np.uint8)
            band = slice(number * size // len(counts), (number + 1) * size // len(counts))
            pixels[band] = 220
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / name / f"{index:03}.png")
    return root
