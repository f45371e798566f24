"""How the scenes of `kdlib.data.drawn.garment_scenes` are drawn: a textured ground, blobs on it, a garment pasted on
both.

Like Concept World, pixels are only ever combined by operations that IEEE 754 rounds correctly, so that a picture has
the same bits whatever the size of the batch. Coordinates run from -1 (left, top) to 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kdlib.data.drawn.cells_drawing import smooth_field
from kdlib.data.drawn.concept_world_parts import COLOURS
from kdlib.data.drawn.concept_world_shapes import TEXTURES, circle, coverage, ellipse, fold, stripes, union
from kdlib.data.fashion_mnist import NATIVE_SIZE

# Black is left out: no seam shows on it.
PAINTS = {name: colour for name, colour in COLOURS.items() if name != "black"}
PLAIN = -1  # the texture of a ground that has none
BLOB_NODES = 7
LIGHT_NODES = 4


def _shifted(u: Tensor, v: Tensor, height: float, shift: float) -> Tensor:
    # u, moved by `shift` in every second row.
    row = (v * (1 / height)).floor()
    return u + shift * (row - 2 * (row / 2).floor())


def _bricked(u: Tensor, v: Tensor) -> Tensor:
    return union(stripes(v, 0.34, 0.24), stripes(_shifted(u, v + 0.17, 0.34, 0.34), 0.68, 0.13))


def _scaly(u: Tensor, v: Tensor) -> Tensor:
    du = fold(_shifted(u, v, 0.3, 0.23), 0.46)
    dv = v - 0.3 * (v * (1 / 0.3)).floor()
    return ((du * du + dv * dv).sqrt() - 0.26).abs() - 0.05


# Texture of the ground: the distance from the part of it that has the second colour. The first ten are the classes'.
GROUNDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    **TEXTURES,
    "bricked": _bricked,
    "scaly": _scaly,
    "ringed": lambda u, v: stripes(circle(u, v, 0.0, 0.0, 0.0), 0.4),
    "gridded": lambda u, v: union(stripes(u, 0.45, 0.26), stripes(v, 0.45, 0.26)),
}


def paint_ground(random: dict[str, Tensor], size: int) -> Tensor:
    """Grounds (B, 3, size, size) in [0, 1]: two colours in the pattern that `texture` names, unevenly lit."""
    x, y = _coordinates(random["texture"].numel(), size, random["texture"].device)
    first, second = random["ground"][:, 0], random["ground"][:, 1]
    ground = first.expand(-1, -1, size, size).clone()
    for kind, shape in enumerate(GROUNDS.values()):
        rows = (random["texture"] == kind).nonzero().squeeze(1)
        if not len(rows):
            continue
        turn_u, turn_v, frequency = (random[key][rows] for key in ("cosine", "sine", "frequency"))
        u = (x[rows] * turn_u + y[rows] * turn_v) * frequency + random["phase_u"][rows]
        v = (y[rows] * turn_u - x[rows] * turn_v) * frequency + random["phase_v"][rows]
        pattern = coverage(shape(u, v), frequency * (2 / size)).unsqueeze(1)
        # Sum and product apart, not lerp: a fused multiply-add would make the bits depend on the batch.
        ground[rows] = first[rows] + pattern * (second[rows] - first[rows])
    textured = (random["texture"] != PLAIN).view(-1, 1, 1, 1)
    return ground * (1 + smooth_field(random["light"], size) * textured)


def paint_blobs(image: Tensor, random: dict[str, Tensor], distractors: int) -> Tensor:
    """Paint ragged blobs of one colour each on textured grounds, in place; returns where they are, (B, H, W) bool."""
    size = image.shape[-1]
    textured = (random["texture"] != PLAIN).view(-1, 1, 1)
    x, y = _coordinates(len(image), size, image.device)
    covered = torch.zeros(len(image), size, size, dtype=torch.bool, device=image.device)
    for number in range(distractors):
        place_x, place_y, radius, ratio = random["blobs"][:, number].unsqueeze(-1).unbind(1)
        outline = ellipse(x, y, *(value.view(-1, 1, 1) for value in (place_x, place_y, radius * ratio, radius / ratio)))
        outline = outline + smooth_field(random["outline"][:, number : number + 1], size)[:, 0]
        alpha = (coverage(outline, 2 / size) * textured).unsqueeze(1)
        image.add_(alpha * (random["blob_paint"][:, number] - image))
        covered |= alpha[:, 0] > 0
    return covered


def paste_garments(image: Tensor, garments: Tensor, zones: Tensor, random: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Paste grey garments (B, 28, 28) uint8 in their paint, in place; returns (foreground, zones), (B, H, W).

    foreground: bool, the pixels whose nearest pixel of the garment's picture is not zero; these and no others are
    painted. zones: (B, 28, 28) integers that go with the garments, read at the nearest pixel too, 0 elsewhere.
    A pixel's grey is interpolated between the garment's own four nearest pixels, zeros left out.
    """
    size = image.shape[-1]
    ticks = ((torch.arange(size, device=image.device) + 0.5) * (2 / size) - 1).view(1, size)
    scale = random["scale"].view(-1, 1)
    # Pixel k of the garment's picture has its centre at k + 0.5.
    place_x, place_y = (
        ((ticks - random[key].view(-1, 1)) / scale + 1) * (NATIVE_SIZE / 2) for key in ("centre_x", "centre_y")
    )
    zones = _nearest(zones, place_x, place_y)
    foreground = _nearest(garments, place_x, place_y) > 0
    grey = _between(garments.float(), place_x, place_y)
    share = _between((garments > 0).float(), place_x, place_y)
    # The photographs have stray pixels of grey 1 to 3 about the garments: at 0.45 they are no black specks.
    shade = 0.45 + 0.55 * grey / (255 * share.clamp(min=1e-3))
    image.copy_(torch.where(foreground.unsqueeze(1), shade.unsqueeze(1) * random["paint_colour"], image))
    return foreground, zones


def _coordinates(count: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    ticks = (torch.arange(size, device=device) + 0.5) * (2 / size) - 1
    return ticks.view(1, 1, size).expand(count, size, size), ticks.view(1, size, 1).expand(count, size, size)


def _nearest(maps: Tensor, place_x: Tensor, place_y: Tensor) -> Tensor:
    """(B, H, W) values of maps (B, h, w) at the pixel that holds each place; 0 outside."""
    columns, rows = place_x.floor().long(), place_y.floor().long()
    inside_x, inside_y = (((index >= 0) & (index < NATIVE_SIZE)) for index in (columns, rows))
    found = _pick(maps, columns.clamp(0, NATIVE_SIZE - 1), rows.clamp(0, NATIVE_SIZE - 1))
    return found * (inside_y.unsqueeze(2) & inside_x.unsqueeze(1))


def _between(maps: Tensor, place_x: Tensor, place_y: Tensor) -> Tensor:
    """(B, H, W) values of maps (B, h, w), interpolated bilinearly; 0 outside."""
    padded = torch.nn.functional.pad(maps, (1, 1, 1, 1))
    # Pixel k of the map is pixel k + 1 of the padded one.
    x, y = ((place + 0.5).clamp(0, NATIVE_SIZE + 1) for place in (place_x, place_y))
    left, top = (start.floor().clamp(max=NATIVE_SIZE) for start in (x, y))
    part_x, part_y = (x - left).unsqueeze(1), (y - top).unsqueeze(2)
    columns, rows = left.long(), top.long()
    upper_left, upper_right = _pick(padded, columns, rows), _pick(padded, columns + 1, rows)
    lower_left, lower_right = _pick(padded, columns, rows + 1), _pick(padded, columns + 1, rows + 1)
    upper = upper_left + part_x * (upper_right - upper_left)
    lower = lower_left + part_x * (lower_right - lower_left)
    return upper + part_y * (lower - upper)


def _pick(maps: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """maps (B, h, w) at every pair of rows (B, H) and columns (B, W)."""
    lines = maps.gather(1, rows.unsqueeze(2).expand(-1, -1, maps.shape[2]))
    return lines.gather(2, columns.unsqueeze(1).expand(-1, rows.shape[1], -1))
