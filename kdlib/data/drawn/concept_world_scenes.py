"""Where Concept World's objects stand: 10 places under 3 lights make 30 scene types, and what may stand in front."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kdlib.data.drawn.concept_world_parts import COLOURS
from kdlib.data.drawn.concept_world_shapes import (
    MATERIALS,
    box,
    circle,
    coverage,
    dots,
    ellipse,
    fold,
    polygon,
    segment,
    stripes,
    union,
)

RGB = tuple[float, float, float]


@dataclass
class Canvas:
    """B images being painted, with the number of the layer that shows in each pixel.

    x, y (B, H, W): from -1 (left, top) to 1. image (B, 3, H, W) in [0, 1]. layers (B, H, W) uint8. pixel: its width.
    """

    x: Tensor
    y: Tensor
    image: Tensor
    layers: Tensor
    pixel: float

    def paint(
        self, distance: Tensor, colour: Tensor, layer: int, shade: Tensor | None = None, unit: Tensor | float = 1.0
    ) -> None:
        """Paint the inside of a shape, its distance in units of `unit`, in a colour (B or 1, 3, 1, 1) as `layer`."""
        alpha = coverage(distance, self.pixel / unit).unsqueeze(1)
        if shade is not None:
            colour = colour * shade.unsqueeze(1)
        # Sum and product apart, not lerp: a fused multiply-add would make the bits depend on the batch.
        self.image.add_(alpha * (colour - self.image))
        self.layers.masked_fill_(distance < 0, layer)


@dataclass(frozen=True)
class Element:
    """Something that stands in a place: shape(x, y, size, anchor) with anchor the (B, 1, 1) position in [-1, 1]."""

    name: str
    shape: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    paint: str
    material: str | None = None
    on_ground: bool = False


@dataclass(frozen=True)
class Place:
    """A ground of some colour and material, and the elements on it; under water there is neither sun nor cloud."""

    name: str
    ground: RGB
    material: str
    elements: tuple[Element, ...]
    under_water: bool = False


def _row(x: Tensor, anchor: Tensor, period: float) -> Tensor:
    # x relative to the nearest of a row of places that stand `period` apart.
    turns = (x - anchor) * (1 / period)
    return (turns - (turns + 0.5).floor()) * period


# Below, y = 0 is the horizon (y points down) and h about 1 the element's size.
PLACES = (
    Place(
        "street",
        (0.36, 0.36, 0.38),
        "asphalt",
        (
            Element(
                "skyscraper",
                lambda x, y, h, a: union(
                    box(x, y, a - 0.55, 0.0, 0.17, 0.75 * h),
                    box(x, y, a + 0.1, 0.0, 0.2, 0.5 * h),
                    box(x, y, a + 0.7, 0.0, 0.15, 0.9 * h),
                ),
                "gray",
                "concrete",
            ),
            Element(
                "lane marking",
                lambda x, y, h, a: box(_row(x, a, 0.5), y, 0.0, 0.36, 0.15, 0.045),
                "white",
                on_ground=True,
            ),
        ),
    ),
    Place(
        "desert",
        (0.88, 0.74, 0.46),
        "sand",
        (
            Element(
                "cactus",
                lambda x, y, h, a: union(
                    segment(_row(x, a, 1.1), y, 0.0, 0.1, 0.0, -0.5 * h, 0.075),
                    segment(_row(x, a, 1.1), y, 0.0, -0.1, 0.22, -0.14, 0.055),
                    segment(_row(x, a, 1.1), y, 0.22, -0.14, 0.22, -0.14 - 0.2 * h, 0.055),
                    segment(_row(x, a, 1.1), y, 0.0, -0.2, -0.2, -0.22, 0.05),
                    segment(_row(x, a, 1.1), y, -0.2, -0.22, -0.2, -0.24 - 0.2 * h, 0.05),
                ),
                "green",
            ),
        ),
    ),
    Place(
        "sea",
        (0.10, 0.34, 0.62),
        "water",
        (
            Element("island", lambda x, y, h, a: ellipse(x, y, a, 0.0, 0.5, 0.2 * h), "brown", "stone"),
            Element(
                "palm tree",
                lambda x, y, h, a: union(
                    segment(x, y, a, 0.0, a + 0.06, -0.45 * h, 0.04),
                    segment(x, y, a + 0.06, -0.45 * h, a + 0.3, -0.36 * h, 0.05),
                    segment(x, y, a + 0.06, -0.45 * h, a - 0.18, -0.36 * h, 0.05),
                    segment(x, y, a + 0.06, -0.45 * h, a + 0.08, -0.65 * h, 0.05),
                ),
                "green",
                "leaves",
            ),
        ),
    ),
    Place(
        "harbour",
        (0.16, 0.42, 0.48),
        "water",
        (
            Element("quay", lambda x, y, h, a: box(x, y, a + 0.4, 0.03, 0.75, 0.09), "gray", "concrete"),
            Element(
                "crane",
                lambda x, y, h, a: union(
                    box(x, y, a + 0.3, -0.4 * h, 0.06, 0.42 * h),
                    segment(x, y, a - 0.35, -0.72 * h, a + 0.55, -0.78 * h, 0.055),
                    segment(x, y, a - 0.3, -0.72 * h, a - 0.3, -0.45 * h, 0.035),
                ),
                "orange",
                "metal",
            ),
        ),
    ),
    Place(
        "village",
        (0.36, 0.62, 0.22),
        "grass",
        (
            Element(
                "fence",
                lambda x, y, h, a: union(
                    box(x, y, 0.0, -0.1, 2.0, 0.035), stripes(x - a, 0.3, 0.32).maximum(box(x, y, 0.0, -0.1, 2.0, 0.17))
                ),
                "white",
                "wood",
            ),
            Element(
                "tree",
                lambda x, y, h, a: union(
                    circle(_row(x, a, 1.2), y, 0.0, -0.5 * h, 0.24),
                    circle(_row(x, a, 1.2), y, 0.14, -0.4 * h, 0.18),
                    box(_row(x, a, 1.2), y, 0.0, -0.15, 0.05, 0.2),
                ),
                "green",
                "leaves",
            ),
        ),
    ),
    Place(
        "mountains",
        (0.90, 0.92, 0.96),
        "snow",
        (
            Element(
                "mountain",
                lambda x, y, h, a: union(
                    polygon(x, y, (a, -0.95 * h), (a + 0.6, 0.1), (a - 0.6, 0.1)),
                    polygon(x, y, (a + 0.7, -0.7 * h), (a + 1.25, 0.1), (a + 0.15, 0.1)),
                    polygon(x, y, (a - 0.75, -0.6 * h), (a - 0.2, 0.1), (a - 1.3, 0.1)),
                ),
                "gray",
                "stone",
            ),
        ),
    ),
    Place(
        "coral reef",
        (0.86, 0.78, 0.56),
        "sand",
        (
            Element(
                "coral",
                lambda x, y, h, a: union(
                    segment(_row(x, a, 0.9), y, 0.0, 0.15, 0.0, -0.3 * h, 0.07),
                    segment(_row(x, a, 0.9), y, 0.0, 0.0, 0.22, -0.25 * h, 0.06),
                    segment(_row(x, a, 0.9), y, 0.0, 0.0, -0.22, -0.28 * h, 0.06),
                    segment(_row(x, a, 0.9), y, 0.1, -0.1, 0.1, -0.5 * h, 0.05),
                ),
                "pink",
            ),
            Element(
                "bubble",
                lambda x, y, h, a: (
                    union(
                        circle(_row(x, -a, 0.8), y, 0.0, -0.6 * h, 0.09),
                        circle(_row(x, -a, 0.8), y, 0.1, -0.9 * h, 0.065),
                    ).abs()
                    - 0.03
                ),
                "white",
            ),
        ),
        under_water=True,
    ),
    Place(
        "kelp forest",
        (0.30, 0.33, 0.30),
        "pebbles",
        (
            Element(
                "kelp",
                lambda x, y, h, a: stripes(x - a + 0.5 * fold(y, 0.5), 0.55, 0.24).maximum(
                    box(x, y, 0.0, 0.0, 2.0, 0.95 * h)
                ),
                "green",
                "leaves",
            ),
        ),
        under_water=True,
    ),
    Place(
        "meadow",
        (0.48, 0.70, 0.25),
        "grass",
        (
            Element(
                "hill",
                lambda x, y, h, a: union(
                    ellipse(x, y, a - 0.5, 0.1, 0.75, 0.35 * h), ellipse(x, y, a + 0.65, 0.1, 0.7, 0.45 * h)
                ),
                "green",
                "leaves",
            ),
            Element(
                "flower", lambda x, y, h, a: dots(x - a, y - 0.1, 0.34, 0.075).maximum(0.1 - y), "red", on_ground=True
            ),
        ),
    ),
    Place(
        "forest",
        (0.34, 0.24, 0.14),
        "soil",
        (
            Element(
                "fir tree",
                lambda x, y, h, a: union(
                    polygon(_row(x, a, 0.55), y, (0.0, -1.05 * h), (0.24, -0.35), (-0.24, -0.35)),
                    polygon(_row(x, a, 0.55), y, (0.0, -0.7 * h), (0.28, 0.0), (-0.28, 0.0)),
                    box(_row(x, a, 0.55), y, 0.0, 0.02, 0.06, 0.1),
                ),
                "green",
                "leaves",
            ),
        ),
    ),
)

# Colour of the sky at the top and at the horizon, of the water likewise, and the light that falls on everything.
LIGHTS: dict[str, tuple[tuple[RGB, RGB], tuple[RGB, RGB], RGB]] = {
    "by day": (((0.36, 0.62, 0.95), (0.80, 0.90, 0.98)), ((0.20, 0.62, 0.80), (0.10, 0.45, 0.70)), (1.0, 1.0, 1.0)),
    "at sunset": (
        ((0.52, 0.30, 0.52), (0.98, 0.62, 0.35)),
        ((0.62, 0.45, 0.55), (0.30, 0.30, 0.52)),
        (1.0, 0.86, 0.78),
    ),
    "at night": (((0.10, 0.12, 0.34), (0.26, 0.28, 0.52)), ((0.08, 0.24, 0.46), (0.05, 0.12, 0.32)), (0.72, 0.74, 0.9)),
}
SCENE_NAMES = tuple(f"{place.name} {light}" for place in PLACES for light in LIGHTS)
SCENES_PER_SUPERCLASS = 6
SKY_NAMES = ("sun", "moon", "cloud")

# What may stand in front of an object: shape(x, y, h) about its own place.
OCCLUDERS: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], str, str]] = {
    "rock": (lambda x, y, h: ellipse(x, y, 0.0, 0.1, 0.26, 0.3 * h), "gray", "stone"),
    "post": (lambda x, y, h: box(x, y, 0.0, 0.0, 0.075, 0.75 * h), "brown", "wood"),
    "bush": (
        lambda x, y, h: union(
            circle(x, y, -0.17, 0.12, 0.18 * h), circle(x, y, 0.17, 0.12, 0.18 * h), circle(x, y, 0.0, 0.0, 0.2 * h)
        ),
        "green",
        "leaves",
    ),
}

# Layers of a canvas: the sky, the ground, celestial bodies, elements of the place; objects and occluders come above.
SKY, GROUND, SUN, MOON, CLOUD, ELEMENT = 0, 1, 2, 3, 4, 5
FIRST_PART = 8
OCCLUDER = 31
LAYERS = 32


def colour(rgb: RGB | str, like: Tensor) -> Tensor:
    """A named or plain RGB colour as (1, 3, 1, 1) on the device of `like`."""
    return torch.tensor(COLOURS[rgb] if isinstance(rgb, str) else rgb, device=like.device).view(1, 3, 1, 1)


def paint_place(canvas: Canvas, place: Place, light: Tensor, random: dict[str, Tensor]) -> None:
    """Paint sky, sun or moon, clouds, elements and ground of one place.

    light: (B,) index into `LIGHTS`. random: (B, 1, 1) numbers of each image (see `concept_world.draw_parameters`).
    """
    lights = list(LIGHTS.values())
    x, y = canvas.x, canvas.y - random["horizon"]
    ends = torch.tensor([pair[1 if place.under_water else 0] for pair in lights], device=x.device)[light]
    top, bottom = ends[:, 0, :, None, None], ends[:, 1, :, None, None]
    canvas.image.copy_(top + (bottom - top) * (canvas.y * 0.5 + 0.5).unsqueeze(1))
    if not place.under_water:
        _paint_sky(canvas, light, random)

    def paint_elements(on_ground: bool) -> None:
        for number, element in enumerate(place.elements):
            if element.on_ground == on_ground:
                distance = element.shape(x, y, random["element_size"], random["element_place"])
                _paint_material(canvas, distance, element.paint, element.material, ELEMENT + number, x, y)

    paint_elements(on_ground=False)
    _paint_material(canvas, -y, place.ground, place.material, GROUND, x, y)
    paint_elements(on_ground=True)


def _paint_material(
    canvas: Canvas, distance: Tensor, paint: RGB | str, material: str | None, layer: int, x: Tensor, y: Tensor
) -> None:
    shade = None if material is None else MATERIALS[material](x, y, canvas.pixel)
    canvas.paint(distance, colour(paint, x), layer, shade)


def _paint_sky(canvas: Canvas, light: Tensor, random: dict[str, Tensor]) -> None:
    x, y = canvas.x, canvas.y
    away = torch.full_like(random["sun_x"], 9.0)  # out of the picture
    night = (light == 2).view(-1, 1, 1)
    sunset = (light == 1).view(-1, 1, 1)
    sun_x = torch.where(night, away, random["sun_x"])
    sun_y = torch.where(sunset, random["horizon"] - 0.12, random["sun_y"])
    canvas.paint(circle(x, y, sun_x, sun_y, 0.17), colour("yellow", x), SUN)
    moon_x = torch.where(night, random["sun_x"], away)
    crescent = circle(x, y, moon_x, random["sun_y"], 0.18).maximum(
        -circle(x, y, moon_x + 0.11, random["sun_y"] - 0.05, 0.15)
    )
    canvas.paint(crescent, colour("white", x), MOON)
    cloud_x = torch.where(night, away, random["cloud_x"])
    cloud = union(
        ellipse(x, y, cloud_x, random["cloud_y"], 0.3, 0.1),
        circle(x, y, cloud_x - 0.06, random["cloud_y"] - 0.07, 0.12),
    )
    canvas.paint(cloud, colour("white", x), CLOUD)


def paint_occluder(canvas: Canvas, name: str, random: dict[str, Tensor]) -> None:
    """Paint one kind of occluder near the objects."""
    shape, paint, material = OCCLUDERS[name]
    x, y = canvas.x - random["occluder_x"], canvas.y - random["occluder_y"]
    _paint_material(canvas, shape(x, y, random["occluder_size"]), paint, material, OCCLUDER, x, y)
