"""The eleven basic colour names as exact pixel masks: the nearest prototype in CIELAB.

Broden names colours with a classifier learned by van de Weijer et al. (2009). Ours is simpler and can be checked by
hand: each of the eleven basic colour terms of English (Berlin and Kay 1969) has two or three prototypes in sRGB, dark
to light, and a pixel has the name of the prototype nearest to it in CIELAB (D65 white, Euclidean distance). Every
pixel has a colour.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from kdlib.data.image_set import UNLABELLED, ConceptMap

PROTOTYPES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "black": ((0, 0, 0), (35, 35, 35)),
    "blue": ((20, 40, 100), (40, 80, 200), (120, 170, 225)),
    "brown": ((60, 40, 20), (110, 70, 35), (160, 115, 70)),
    "grey": ((80, 80, 80), (128, 128, 128), (185, 185, 185)),
    "green": ((30, 70, 25), (50, 140, 50), (130, 190, 100)),
    "orange": ((200, 90, 20), (245, 140, 30)),
    "pink": ((225, 80, 140), (245, 170, 190)),
    "purple": ((80, 30, 95), (130, 60, 160), (175, 130, 205)),
    "red": ((120, 20, 25), (200, 30, 35), (225, 70, 60)),
    "white": ((225, 225, 225), (255, 255, 255)),
    "yellow": ((200, 180, 40), (240, 220, 60), (245, 235, 150)),
}
COLOUR_NAMES = (UNLABELLED, *PROTOTYPES)
# Colours are looked up by the upper six bits of each channel: one table of 262,144 entries names every pixel.
_BITS = 6

_SRGB_TO_XYZ = torch.tensor(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
    dtype=torch.float64,
)


def srgb_to_lab(colours: Tensor) -> Tensor:
    """CIELAB (L* 0 to 100, a*, b*) of sRGB colours (..., 3) in [0, 255]; float64, white point D65.

    >>> srgb_to_lab(torch.tensor([255.0, 255.0, 255.0])).round().abs().tolist()
    [100.0, 0.0, 0.0]
    """
    value = colours.double() / 255
    linear = torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    matrix = _SRGB_TO_XYZ.to(colours.device)
    ratio = (linear @ matrix.T) / matrix.sum(1)  # the row sums are the XYZ of white
    bent = torch.where(ratio > (6 / 29) ** 3, ratio.clamp_min(0) ** (1 / 3), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = bent.unbind(-1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), -1)


@functools.cache
def _table() -> Tensor:
    step = 2 ** (8 - _BITS)
    levels = torch.arange(0, 256, step) + (step - 1) / 2  # the middle of each cell
    cells = torch.cartesian_prod(levels, levels, levels)
    prototypes = srgb_to_lab(torch.tensor([shade for shades in PROTOTYPES.values() for shade in shades]))
    names = torch.tensor([index for index, shades in enumerate(PROTOTYPES.values(), start=1) for _ in shades])
    return names[torch.cdist(srgb_to_lab(cells), prototypes).argmin(1)].to(torch.uint8)


def basic_colours(images: Tensor) -> ConceptMap:
    """The colour name of every pixel; images (N, 3, H, W) or (N, 1, H, W) uint8 in sRGB.

    Channels are first cut to their upper six bits.

    >>> red = torch.tensor([220, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1)
    >>> COLOUR_NAMES[basic_colours(red).labels.item()]
    'red'
    """
    table = _table().to(images.device)
    labels = torch.empty(len(images), *images.shape[2:], dtype=torch.uint8, device=images.device)
    for start in range(0, len(images), 256):  # an index of int64 for all pixels at once would be eight times the images
        piece = slice(start, start + 256)
        cells = (images[piece] >> (8 - _BITS)).long().expand(-1, 3, -1, -1)
        labels[piece] = table[(cells[:, 0] << 2 * _BITS) + (cells[:, 1] << _BITS) + cells[:, 2]]
    return ConceptMap("color", labels, COLOUR_NAMES)
