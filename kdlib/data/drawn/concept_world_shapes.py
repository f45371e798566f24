"""Signed distances: the outlines, textures and materials that Concept World is drawn from.

A shape is a function of coordinates (B, H, W) to the distance from its outline, negative inside. Pixels are only ever
combined with +, -, *, /, sqrt, abs, floor, minimum, maximum and comparisons, which IEEE 754 rounds correctly: a scene
has the same bits whatever the size of the batch or the number of threads (sin and exp would have others).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Number = float | Tensor


def circle(u: Tensor, v: Tensor, cx: Number, cy: Number, radius: Number) -> Tensor:
    """Distance from a circle.

    >>> origin = torch.zeros(1, 1, 1)
    >>> float(circle(origin, origin, 3.0, 4.0, 2.0))
    3.0
    """
    du, dv = u - cx, v - cy
    return (du * du + dv * dv).sqrt() - radius


def ellipse(u: Tensor, v: Tensor, cx: Number, cy: Number, rx: Number, ry: Number) -> Tensor:
    """Distance from an ellipse with half axes rx, ry (first order: exact on the outline)."""
    du, dv = (u - cx) / rx, (v - cy) / ry
    radial = (du * du + dv * dv).sqrt()
    du, dv = du / rx, dv / ry
    slope = (du * du + dv * dv).sqrt()
    return radial * (radial - 1) / slope.clamp(min=1e-6)


def box(u: Tensor, v: Tensor, cx: Number, cy: Number, hx: Number, hy: Number, rounding: float = 0.0) -> Tensor:
    """Distance from a rectangle with half sides hx, hy and rounded corners."""
    du = (u - cx).abs() - hx + rounding
    dv = (v - cy).abs() - hy + rounding
    inside = torch.maximum(du, dv).clamp(max=0)
    du, dv = du.clamp(min=0), dv.clamp(min=0)
    return (du * du + dv * dv).sqrt() + inside - rounding


def segment(u: Tensor, v: Tensor, ax: Number, ay: Number, bx: Number, by: Number, radius: Number) -> Tensor:
    """Distance from a line with round ends, of half thickness `radius`, from (ax, ay) to (bx, by)."""
    pu, pv = u - ax, v - ay
    ex, ey = bx - ax, by - ay
    along = ((pu * ex + pv * ey) / (ex * ex + ey * ey)).clamp(0, 1)
    pu, pv = pu - along * ex, pv - along * ey
    return (pu * pu + pv * pv).sqrt() - radius


def polygon(u: Tensor, v: Tensor, *corners: tuple[Number, Number]) -> Tensor:
    """Distance from a convex polygon, corners clockwise on the screen (v points down); too small off its corners."""
    distance: Tensor | None = None
    for (ax, ay), (bx, by) in zip(corners, (*corners[1:], corners[0]), strict=True):
        ex, ey = bx - ax, by - ay
        length = (ex * ex + ey * ey) ** 0.5
        side = (u - ax) * (ey / length) - (v - ay) * (ex / length)
        distance = side if distance is None else torch.maximum(distance, side)
    assert distance is not None
    return distance


def union(*distances: Tensor) -> Tensor:
    """Distance from the nearest of several shapes."""
    nearest = distances[0]
    for distance in distances[1:]:
        nearest = torch.minimum(nearest, distance)
    return nearest


def coverage(distance: Tensor, pixel: Number) -> Tensor:
    """Share of a pixel of the given width that lies inside: 1 inside, 0 outside, a ramp across the outline."""
    return (0.5 - distance / pixel).clamp(0, 1)


def fold(u: Tensor, period: float) -> Tensor:
    """Triangle wave of u: distance from the nearest multiple of `period`, in [0, period / 2]."""
    turns = u * (1 / period)  # a product: GPUs round a division by a number otherwise
    return (turns - (turns + 0.5).floor()).abs() * period


def stripes(u: Tensor, period: float, share: float = 0.5) -> Tensor:
    """Distance from stripes across u that fill `share` of the plane."""
    return fold(u, period) - share * period / 2


def dots(u: Tensor, v: Tensor, period: float, radius: float) -> Tensor:
    """Distance from a grid of discs."""
    du, dv = fold(u, period), fold(v, period)
    return (du * du + dv * dv).sqrt() - radius


def _chequered(u: Tensor, v: Tensor) -> Tensor:
    a, b = stripes(u, 0.6), stripes(v, 0.6)
    return torch.maximum(torch.minimum(a, b), -torch.maximum(a, b))


# Texture: a pattern painted on a body, as the distance from its darker part.
TEXTURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "striped": lambda u, v: stripes(u, 0.42),
    "banded": lambda u, v: stripes(v, 0.36),
    "dotted": lambda u, v: dots(u, v, 0.4, 0.13),
    "chequered": _chequered,
    "zigzagged": lambda u, v: stripes(v + 0.9 * fold(u, 0.6), 0.4),
    "crosshatched": lambda u, v: union(stripes(u + v, 0.56, 0.3), stripes(u - v, 0.56, 0.3)),
}


def texture_shade(name: str, u: Tensor, v: Tensor, pixel: Number) -> Tensor:
    """Brightness factor of a named texture of `TEXTURES` at (u, v)."""
    return 1 - 0.35 * coverage(TEXTURES[name](u, v), pixel)


def _brick(u: Tensor, v: Tensor, pixel: Number) -> Tensor:
    row = (v * (1 / 0.26)).floor()
    mortar = union(stripes(v, 0.26, 0.28), stripes(u + 0.26 * (row - 2 * (row / 2).floor()), 0.52, 0.14))
    return 0.9 + 0.4 * coverage(mortar, pixel)


def _scales(u: Tensor, v: Tensor, pixel: Number) -> Tensor:
    row = (v * 5.0).floor()
    du = fold(u + 0.14 * (row - 2 * (row / 2).floor()), 0.28)
    dv = v - 0.2 * row
    rim = ((du * du + dv * dv).sqrt() - 0.16).abs() - 0.03
    return 1.08 - 0.4 * coverage(rim, pixel)


def _stone(u: Tensor, v: Tensor, pixel: Number) -> Tensor:
    return 0.8 + 0.9 * fold(u + 0.6 * v, 0.37) + 0.9 * fold(v - 0.8 * u, 0.29)


def _metal(u: Tensor, v: Tensor, pixel: Number) -> Tensor:
    return 0.82 + 0.5 * (1 - (v + 0.1 + 0.15 * u).abs() * 4.5).clamp(min=0)


# Material: how a surface of any colour is shaded, as a brightness factor.
MATERIALS: dict[str, Callable[[Tensor, Tensor, Number], Tensor]] = {
    "metal": _metal,
    "wood": lambda u, v, pixel: 1.05 - 0.35 * coverage(stripes(v + 0.25 * fold(u, 0.9), 0.22, 0.35), pixel),
    "brick": _brick,
    "stone": _stone,
    "scales": _scales,
    "fur": lambda u, v, pixel: 0.78 + 2.6 * fold(u + 0.35 * v + 0.6 * fold(v, 0.3), 0.17),
    "skin": lambda u, v, pixel: (0.95 - 0.35 * v).clamp(0.6, 1.25),
    "glass": lambda u, v, pixel: 0.9 + 0.5 * coverage(stripes(u + v, 0.5, 0.3), pixel),
    "rubber": lambda u, v, pixel: torch.ones_like(u),
    "fabric": lambda u, v, pixel: 0.94 + 0.12 * coverage(stripes(u, 0.16), pixel),
    "roof tile": lambda u, v, pixel: 1.06 - 0.3 * coverage(stripes(v, 0.2, 0.4), pixel),
    "asphalt": lambda u, v, pixel: 0.9 + 0.8 * fold(u + 0.3 * v, 0.19),
    "sand": lambda u, v, pixel: 1.05 - 0.2 * coverage(stripes(v + 0.3 * fold(u, 0.5), 0.3, 0.3), pixel),
    "water": lambda u, v, pixel: 0.95 + 0.5 * coverage(stripes(v + 0.5 * fold(u, 0.36), 0.3, 0.25), pixel),
    "grass": lambda u, v, pixel: 0.75 + 3.2 * fold(u + 0.2 * v, 0.15),
    "snow": lambda u, v, pixel: 0.94 + 0.3 * fold(u + v, 0.4),
    "soil": lambda u, v, pixel: 0.8 + 0.9 * fold(u - 0.5 * v, 0.3) + 0.6 * fold(v + 0.3 * u, 0.17),
    "pebbles": lambda u, v, pixel: 0.75 + 0.5 * coverage(dots(u + 0.14 * v, v, 0.26, 0.1), pixel),
    "leaves": lambda u, v, pixel: 0.8 + 0.45 * coverage(dots(u, v, 0.2, 0.07), pixel),
    "concrete": lambda u, v, pixel: 0.9 + 0.35 * coverage(dots(u, v, 0.18, 0.05), pixel),
}


def by_name(
    names: Sequence[str | None],
    shade: Callable[[str, Tensor, Tensor, Tensor], Tensor],
    u: Tensor,
    v: Tensor,
    pixel: Tensor,
) -> Tensor:
    """Brightness factor (B, H, W) where every image has its own texture or material, None being plain."""
    result = torch.ones_like(u)
    for name in dict.fromkeys(names):
        if name is not None:
            rows = torch.tensor([i for i, other in enumerate(names) if other == name], device=u.device)
            result[rows] = shade(name, u[rows], v[rows], pixel[rows])
    return result
