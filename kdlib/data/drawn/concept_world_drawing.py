"""Concept World's painter: from the random numbers of scenes to their pixels and labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdlib.data.drawn.concept_world_classes import CLASS_NAMES, parts_of
from kdlib.data.drawn.concept_world_parts import COLOURS, Frame
from kdlib.data.drawn.concept_world_scenes import (
    ELEMENT,
    FIRST_PART,
    GROUND,
    LAYERS,
    LIGHTS,
    OCCLUDER,
    OCCLUDERS,
    PLACES,
    SKY_NAMES,
    SUN,
    Canvas,
    colour,
    paint_occluder,
    paint_place,
)
from kdlib.data.drawn.concept_world_shapes import MATERIALS, TEXTURES, by_name, texture_shade
from kdlib.data.image_set import UNLABELLED


def _vocabulary(*names: str) -> tuple[str, ...]:
    return (UNLABELLED, *dict.fromkeys(names))


# Names of each per-pixel category; the position is the label.
NAMES: dict[str, tuple[str, ...]] = {
    "object": _vocabulary(*CLASS_NAMES, *SKY_NAMES, *(e.name for p in PLACES for e in p.elements), *OCCLUDERS),
    "part": _vocabulary(*(part.name for index in range(len(CLASS_NAMES)) for part in parts_of(index))),
    "material": _vocabulary(*MATERIALS),
    "texture": _vocabulary(*TEXTURES),
    "color": _vocabulary(*COLOURS),
}
_CODES = {category: {name: code for code, name in enumerate(names)} for category, names in NAMES.items()}
PIXEL_CATEGORIES = tuple(NAMES)
NO_SCENE = -1  # a plain grey background in white light
PLAIN_GREY = 0.75
_TEXTURES, _MATERIALS, _COLOURS = tuple(TEXTURES), tuple(MATERIALS), tuple(COLOURS)


def _rows(values: Tensor) -> list[tuple[int, Tensor]]:
    # Each value that occurs, with the rows that have it.
    return [(int(value), (values == value).nonzero().squeeze(1)) for value in values.unique()]


def draw(random: dict[str, Tensor], size: int) -> tuple[Canvas, Tensor]:
    """The painted canvas of B scenes and the table (B, layer, category) uint8 of the label of each layer.

    random: the numbers of `concept_world.draw_parameters`, B of each.
    """
    count, device = len(random["label"]), random["label"].device
    pixel = 2.0 / size
    ticks = (torch.arange(size, device=device) + 0.5) * pixel - 1
    whole = Canvas(
        x=ticks.view(1, 1, size),
        y=ticks.view(1, size, 1),
        image=torch.full((count, 3, size, size), PLAIN_GREY, device=device),  # a place paints over all of it
        layers=torch.zeros(count, size, size, dtype=torch.uint8, device=device),
        pixel=pixel,
    )
    table = torch.zeros(count, LAYERS, len(PIXEL_CATEGORIES), dtype=torch.uint8, device=device)
    # From the back to the front: place, object, what stands before it; -1 is nothing.
    layers_of_drawing = (
        (_draw_place, random["scene"] // len(LIGHTS)),  # NO_SCENE stays negative
        (_draw_object, random["label"]),
        (_draw_occluder, random["occluder"]),
    )
    for drawer, kinds in layers_of_drawing:
        for kind, rows in _rows(kinds):
            if kind < 0:
                continue
            piece = Canvas(
                whole.x.expand(len(rows), size, size).contiguous(),
                whole.y.expand(len(rows), size, size).contiguous(),
                whole.image[rows],
                whole.layers[rows],
                pixel,
            )
            means = table[rows]
            drawer(kind, piece, means, {key: value[rows] for key, value in random.items()})
            whole.image[rows], whole.layers[rows], table[rows] = piece.image, piece.layers, means
    light = torch.tensor([light[2] for light in LIGHTS.values()], device=device)[random["scene"] % len(LIGHTS)]
    light[random["scene"] == NO_SCENE] = 1.0
    whole.image.mul_(light[:, :, None, None])
    return whole, table


def _mean(means: Tensor, layer: int, **labels: str | Tensor | None) -> None:
    # Say in the table what a layer is: per category a name, or a code for every image.
    for column, category in enumerate(PIXEL_CATEGORIES):
        label = labels.get(category)
        means[:, layer, column] = label if isinstance(label, Tensor) else _CODES[category][label or UNLABELLED]


def _draw_place(kind: int, canvas: Canvas, means: Tensor, random: dict[str, Tensor]) -> None:
    place = PLACES[kind]
    paint_place(canvas, place, random["scene"] % len(LIGHTS), random)
    for layer, (name, paint) in enumerate(zip(SKY_NAMES, ("yellow", "white", "white"), strict=True), start=SUN):
        _mean(means, layer, object=name, color=paint)
    _mean(means, GROUND, material=place.material)
    for layer, element in enumerate(place.elements, start=ELEMENT):
        _mean(means, layer, object=element.name, material=element.material, color=element.paint)


def _draw_occluder(kind: int, canvas: Canvas, means: Tensor, random: dict[str, Tensor]) -> None:
    name = tuple(OCCLUDERS)[kind]
    _, paint, material = OCCLUDERS[name]
    paint_occluder(canvas, name, random)
    _mean(means, OCCLUDER, object=name, material=material, color=paint)


def _draw_object(kind: int, canvas: Canvas, means: Tensor, random: dict[str, Tensor]) -> None:
    x, y = canvas.x - random["centre_x"], canvas.y - random["centre_y"]
    frame = Frame(
        x * random["across"] + y * random["across_y"], x * random["down_x"] + y * random["down"], random["cue"]
    )
    unit, pixel = random["size"], canvas.pixel / random["size"]
    paints = torch.tensor(list(COLOURS.values()), device=x.device)[random["paint"]].view(-1, 3, 1, 1) + random["tint"]
    # What is the object's own: paint, material and texture of each image, None being plain.
    paint_names = [_COLOURS[paint] for paint in random["paint"].tolist()]
    texture_names = [_TEXTURES[t] if t < len(_TEXTURES) else None for t in random["texture"].tolist()]
    material_names = [_MATERIALS[material] for material in random["material"].tolist()]
    material = by_name(material_names, lambda name, *at: MATERIALS[name](*at), frame.u, frame.v, pixel)
    textured = material * by_name(texture_names, texture_shade, frame.u, frame.v, pixel)

    def codes(category: str, names: Sequence[str | None]) -> Tensor:
        return torch.tensor(
            [_CODES[category][name or UNLABELLED] for name in names], dtype=torch.uint8, device=x.device
        )

    own_paint, own_material = codes("color", paint_names), codes("material", material_names)
    own_texture = codes("texture", texture_names)
    for layer, part in enumerate(parts_of(kind), start=FIRST_PART):
        if part.textured:
            shade: Tensor | None = textured
        elif part.material == "body":
            shade = material
        else:
            shade = None if part.material is None else MATERIALS[part.material](frame.u, frame.v, pixel)
        canvas.paint(part.shape(frame), paints if part.paint == "body" else colour(part.paint, x), layer, shade, unit)
        _mean(
            means,
            layer,
            object=CLASS_NAMES[kind],
            part=part.name,
            material=own_material if part.material == "body" else part.material,
            texture=own_texture if part.textured else None,
            color=own_paint if part.paint == "body" else part.paint,
        )
