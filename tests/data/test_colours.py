"""Colour names are the nearest prototype in CIELAB."""

from __future__ import annotations

import pytest
import torch

from kdlib.data.colours import COLOUR_NAMES, PROTOTYPES, basic_colours, srgb_to_lab


def slow_lab(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """CIE 15 and IEC 61966-2-1, one colour at a time, with the published white point."""

    def linear(value: float) -> float:
        value /= 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    def bent(t: float) -> float:
        return t ** (1 / 3) if t > (6 / 29) ** 3 else t * (29 / 6) ** 2 / 3 + 4 / 29

    r, g, b = linear(red), linear(green), linear(blue)
    x = bent((0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047)
    y = bent(0.2126729 * r + 0.7151522 * g + 0.0721750 * b)
    z = bent((0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def test_lab_equals_the_slow_twin():
    colours = torch.randint(256, (200, 3), generator=torch.Generator().manual_seed(0))
    for colour, lab in zip(colours.tolist(), srgb_to_lab(colours).tolist(), strict=True):
        assert lab == pytest.approx(slow_lab(*colour), abs=1e-3)


def test_lab_of_published_examples():
    # sRGB primaries in CIELAB (D65), as tabulated everywhere
    assert srgb_to_lab(torch.tensor([255, 0, 0])).tolist() == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert srgb_to_lab(torch.tensor([0, 0, 255])).tolist() == pytest.approx([32.30, 79.19, -107.86], abs=0.02)


def test_names_equal_the_slow_twin():
    images = torch.randint(256, (4, 3, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    labels = basic_colours(images).labels
    for image, named in zip(images, labels, strict=True):
        for pixel, label in zip(image.flatten(1).T.tolist(), named.flatten().tolist(), strict=True):
            cell = [value // 4 * 4 + 1.5 for value in pixel]  # the middle of its six-bit cell
            distance = {
                name: min(
                    sum((a - b) ** 2 for a, b in zip(slow_lab(*cell), slow_lab(*shade), strict=True))
                    for shade in shades
                )
                for name, shades in PROTOTYPES.items()
            }
            nearest, second = sorted(distance.values())[:2]
            assert COLOUR_NAMES[label] == min(distance, key=distance.__getitem__) or second - nearest < 0.1


def test_every_prototype_bears_its_own_name():
    for name, shades in PROTOTYPES.items():
        for shade in shades:
            pixel = torch.tensor(shade, dtype=torch.uint8).view(1, 3, 1, 1)
            assert COLOUR_NAMES[basic_colours(pixel).labels.item()] == name


def test_the_eleven_basic_names_and_a_colour_for_every_pixel():
    assert len(PROTOTYPES) == 11
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    concept = basic_colours(ramp)  # grey images have one channel
    assert concept.labels.shape == (1, 16, 16)
    assert {COLOUR_NAMES[i] for i in concept.labels.unique().tolist()} == {"black", "grey", "white"}


def test_how_images_are_batched_does_not_matter():
    images = torch.randint(256, (300, 3, 4, 4), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    whole = basic_colours(images).labels
    assert torch.equal(whole, torch.cat([basic_colours(piece).labels for piece in images.split(7)]))
