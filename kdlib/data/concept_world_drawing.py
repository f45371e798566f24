"""Concept World's painter: from the random numbers of scenes to their pixels and labels."""

from __future__ import annotations

import torch
from torch import Tensor

from kdlib.data.concept_world_classes import CLASS_NAMES, COLOURS, Frame, parts_of
from kdlib.data.concept_world_scenes import (
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
    paint_occluder,
    paint_place,
)
from kdlib.data.concept_world_shapes import MATERIALS, TEXTURES, by_name, texture_shade
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
        image=torch.empty(count, 3, size, size, device=device),
        layers=torch.zeros(count, size, size, dtype=torch.uint8, device=device),
        pixel=pixel,
    )
    table = torch.zeros(count, LAYERS, len(PIXEL_CATEGORIES), dtype=torch.uint8, device=device)
    for drawer, kinds in ((_draw_place, random["scene"] // len(LIGHTS)), (_draw_object, random["label"])):
        for kind, rows in _rows(kinds):
            mine = {key: value[rows] for key, value in random.items()}
            piece = Canvas(
                whole.x.expand(len(rows), size, size).contiguous(),
                whole.y.expand(len(rows), size, size).contiguous(),
                whole.image[rows],
                whole.layers[rows],
                pixel,
            )
            means = table[rows]
            drawer(kind, piece, means, mine)
            whole.image[rows], whole.layers[rows], table[rows] = piece.image, piece.layers, means
    for kind, rows in _rows(random["occluder"]):
        if kind >= 0:
            piece = Canvas(
                whole.x.expand(len(rows), size, size),
                whole.y.expand(len(rows), size, size),
                whole.image[rows],
                whole.layers[rows],
                pixel,
            )
            name = tuple(OCCLUDERS)[kind]
            paint_occluder(piece, name, {key: value[rows] for key, value in random.items()})
            whole.image[rows], whole.layers[rows] = piece.image, piece.layers
            table[rows, OCCLUDER] = _meaning(object=name, material=OCCLUDERS[name][2], color=OCCLUDERS[name][1]).to(
                device
            )
    light = torch.tensor([light[2] for light in LIGHTS.values()], device=device)[random["scene"] % len(LIGHTS)]
    whole.image.mul_(light[:, :, None, None])
    return whole, table


def _meaning(**names: str | None) -> Tensor:
    return torch.tensor([_CODES[c][names.get(c) or UNLABELLED] for c in PIXEL_CATEGORIES], dtype=torch.uint8)


def _draw_place(kind: int, canvas: Canvas, means: Tensor, random: dict[str, Tensor]) -> None:
    place = PLACES[kind]
    paint_place(canvas, place, random["scene"] % len(LIGHTS), random)
    for layer, (name, paint) in enumerate(zip(SKY_NAMES, ("yellow", "white", "white"), strict=True), start=SUN):
        means[:, layer] = _meaning(object=name, color=paint)
    means[:, GROUND] = _meaning(material=place.material)
    for layer, element in enumerate(place.elements, start=ELEMENT):
        means[:, layer] = _meaning(object=element.name, material=element.material, color=element.paint)


def _draw_object(kind: int, canvas: Canvas, means: Tensor, random: dict[str, Tensor]) -> None:
    x, y = canvas.x - random["centre_x"], canvas.y - random["centre_y"]
    frame = Frame(
        x * random["across"] + y * random["across_y"], x * random["down_x"] + y * random["down"], random["cue"]
    )
    unit, pixel = random["size"], canvas.pixel / random["size"]
    paints = torch.tensor(list(COLOURS.values()), device=x.device)[random["paint"]].view(-1, 3, 1, 1) + random["tint"]
    texture_names = [_TEXTURES[t] if t < len(_TEXTURES) else None for t in random["texture"].tolist()]
    material_names = [_MATERIALS[m] for m in random["material"].tolist()]
    material = by_name(material_names, lambda name, *at: MATERIALS[name](*at), frame.u, frame.v, pixel)
    textured = material * by_name(texture_names, texture_shade, frame.u, frame.v, pixel)
    codes = {
        "paint": torch.tensor([_CODES["color"][c] for c in _COLOURS], dtype=torch.uint8, device=x.device)[
            random["paint"]
        ],
        "material": torch.tensor([_CODES["material"][m] for m in material_names], dtype=torch.uint8, device=x.device),
        "texture": torch.tensor(
            [_CODES["texture"][t or UNLABELLED] for t in texture_names], dtype=torch.uint8, device=x.device
        ),
    }
    column = {category: index for index, category in enumerate(PIXEL_CATEGORIES)}
    for layer, part in enumerate(parts_of(kind), start=FIRST_PART):
        own_paint, own_material = part.paint == "body", part.material == "body"
        if part.textured:
            shade: Tensor | None = textured
        elif own_material:
            shade = material
        else:
            shade = None if part.material is None else MATERIALS[part.material](frame.u, frame.v, pixel)
        colour = paints if own_paint else torch.tensor(COLOURS[part.paint], device=x.device).view(1, 3, 1, 1)
        canvas.paint(part.shape(frame), colour, layer, shade, unit)
        means[:, layer] = _meaning(
            object=CLASS_NAMES[kind],
            part=part.name,
            material=None if own_material else part.material,
            color=None if own_paint else part.paint,
        ).to(x.device)
        if own_paint:
            means[:, layer, column["color"]] = codes["paint"]
        if own_material:
            means[:, layer, column["material"]] = codes["material"]
        if part.textured:
            means[:, layer, column["texture"]] = codes["texture"]


def develop(image: Tensor, noise_at: Tensor, bank: Tensor, noise: float, out: Tensor) -> None:
    """Add noise to images (B, 3, H, W) in [0, 1], in place, and round them into `out`, uint8.

    Noise is read from the common `bank`, from a random place of each image on, so it depends on the image alone.
    """
    if noise > 0:
        per_image = image[0].numel()
        at = noise_at.view(-1, 1) + torch.arange(per_image, device=bank.device)
        image.add_((bank[at.remainder_(len(bank))] * noise).view_as(image))
    out.copy_((image.clamp_(0, 1) * 255).round_())
