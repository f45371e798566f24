"""How the cells of `kdlib.data.drawn.cells` are drawn: background, tails, body with its border, bar and pole.

Like Concept World, pixels are only ever combined by operations that IEEE 754 rounds correctly, so that a picture has
the same bits whatever the size of the batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kdlib.data.drawn.concept_world_parts import COLOURS
from kdlib.data.drawn.concept_world_scenes import Canvas
from kdlib.data.drawn.concept_world_shapes import Number, box, circle, ellipse, segment, union

CLASS_NAMES = (
    "round cell", "round cell with bar", "round cell with bar and pole",
    "red-bordered rectangle", "green-bordered rectangle", "blue-bordered rectangle",
    "one tail", "three tails", "eight tails",
    "blank",
)  # fmt: skip
SUPERCLASS_NAMES = ("round", "rectangular", "tailed", "blank")
SUPERCLASS_OF = (0, 0, 0, 1, 1, 1, 2, 2, 2, 3)
BACKGROUNDS = ("none", "patches", "rings")

# Rectangles have the border of their class; on other cells the colour has no meaning.
BORDER_COLOURS = ("red", "green", "blue", "purple", "orange", "brown")
FIXED_BORDER = {3: "red", 4: "green", 5: "blue"}
TAILS = {6: 1, 7: 3, 8: 8}
BLANK = 9

# What is seen in a pixel, from the back to the front; a later one hides an earlier one.
BACKGROUND, TAIL, BORDER, INSIDE, BAR, POLE = range(6)
# What distinguishes a class from the others: the number of tails, a bar and a pole if there are any, else the outline.
DISCRIMINATIVE = {
    0: (BORDER,), 1: (BAR,), 2: (BAR, POLE),
    3: (BORDER,), 4: (BORDER,), 5: (BORDER,),
    6: (TAIL,), 7: (TAIL,), 8: (TAIL,),
}  # fmt: skip

PATCH_NODES = 6
OUTLINE_NODES = 17
BORDER_WIDTH = 0.25  # of the cell's radius


def smooth_field(nodes: Tensor, size: int) -> Tensor:
    """Values (B, C, size, size) that run smoothly through a grid of nodes (B, C, G, G) from edge to edge.

    >>> smooth_field(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]), 2)[0, 0, 0].tolist()
    [0.15625, 0.84375]
    """
    cells = nodes.shape[-1] - 1
    place = (torch.arange(size, device=nodes.device, dtype=torch.float32) + 0.5) * (cells / size)
    start = place.floor().clamp(max=cells - 1)
    part = place - start
    weight = part * part * (3 - 2 * part)  # level at the nodes, so that no grid shows
    index = start.long()
    rows = nodes[:, :, index] + weight.view(-1, 1) * (nodes[:, :, index + 1] - nodes[:, :, index])
    return rows[..., index] + weight * (rows[..., index + 1] - rows[..., index])


def wave(x: Tensor) -> Tensor:
    """A wave of period 2 between -1 and 1 made of parabolas, within 0.06 of sin(pi x), which machines round otherwise.

    >>> wave(torch.tensor([0.0, 0.5, 0.75, 1.5])).tolist()
    [0.0, 1.0, 0.75, -1.0]
    """
    x = x - 2 * ((x + 1) * 0.5).floor()
    return 4 * x * (1 - x.abs())


def tail_directions(count: int) -> list[tuple[float, float]]:
    """Unit vectors at equal angles, the first one upwards (v points down).

    >>> [(round(u, 3), round(v, 3)) for u, v in tail_directions(3)]
    [(0.0, -1.0), (0.866, 0.5), (-0.866, 0.5)]
    """
    angles = [2 * math.pi * k / count for k in range(count)]
    return [(math.sin(angle), -math.cos(angle)) for angle in angles]


def paint_background(canvas: Canvas, random: dict[str, Tensor]) -> None:
    """Black, smooth patches of random colours in 0.2 to 0.7, or rings about a random place, as `background` says."""
    size = canvas.image.shape[-1]
    patches, rings = ((random["background"] == kind).nonzero().squeeze(1) for kind in (1, 2))
    canvas.image.zero_()
    canvas.image[patches] = smooth_field(random["patches"][patches], size)
    x, y, frequency, mean, swing = (random[f"ring_{name}"][rings] for name in ("x", "y", "frequency", "mean", "swing"))
    distance = circle(canvas.x, canvas.y, x, y, 0.0)
    canvas.image[rings] = mean + swing * wave(distance * frequency).unsqueeze(1)


def paint_cells(label: int, canvas: Canvas, random: dict[str, Tensor]) -> None:
    """Paint cells of one class on their backgrounds."""
    if label == BLANK:
        return
    behind = canvas.image.clone()
    x, y = canvas.x - random["centre_x"], canvas.y - random["centre_y"]
    u = x * random["across"] + y * random["across_y"]
    v = y * random["across"] - x * random["across_y"]
    radius, ratio = random["radius"], random["ratio"]
    paint = torch.tensor([COLOURS[name] for name in BORDER_COLOURS], device=x.device)
    codes = random["border"]
    if label in FIXED_BORDER:
        codes = torch.full_like(codes, BORDER_COLOURS.index(FIXED_BORDER[label]))
    border = paint[codes].view(-1, 3, 1, 1) + random["tint"]
    if label in TAILS:
        canvas.paint(_tails(u, v, TAILS[label], radius, random["tail_length"], random["tail_width"]), border, TAIL)
    if label in FIXED_BORDER:
        outline = box(u, v, 0.0, 0.0, 1.1 * radius * ratio, 0.85 * radius / ratio)
    else:
        outline = ellipse(u, v, 0.0, 0.0, radius * ratio, radius / ratio)
    outline = outline + smooth_field(random["outline"], canvas.image.shape[-1])[:, 0]
    canvas.paint(outline, border, BORDER)
    canvas.paint(outline + BORDER_WIDTH * radius, random["body"], INSIDE)
    if label in (1, 2):
        reach = 0.5 * radius
        canvas.paint(segment(u, v, -reach, 0.0, reach, 0.0, 0.17 * radius), random["organelle"], BAR)
    if label == 2:
        canvas.paint(segment(u, v, 0.0, -reach, 0.0, reach, 0.13 * radius), random["organelle"], POLE)
    canvas.image.copy_(behind + random["opacity"].unsqueeze(1) * (canvas.image - behind))


def _tails(u: Tensor, v: Tensor, count: int, radius: Tensor, length: Number, width: Number) -> Tensor:
    root, tip = 0.8 * radius, radius + length
    return union(*(segment(u, v, root * a, root * b, tip * a, tip * b, width) for a, b in tail_directions(count)))


def draw(random: dict[str, Tensor], size: int) -> tuple[Canvas, Tensor]:
    """The painted canvas of B pictures and their truth (B, H, W) uint8.

    Truth is 2 where the discriminative part of the class shows, 1 on the rest of the cell, 0 on the background.
    random: the numbers of `cells.draw_parameters`, B of each.
    """
    labels = random["label"]
    count, device = len(labels), labels.device
    pixel = 2.0 / size
    ticks = (torch.arange(size, device=device) + 0.5) * pixel - 1
    whole = Canvas(
        x=ticks.view(1, 1, size),
        y=ticks.view(1, size, 1),
        image=torch.empty(count, 3, size, size, device=device),
        layers=torch.full((count, size, size), BACKGROUND, dtype=torch.uint8, device=device),
        pixel=pixel,
    )
    paint_background(whole, random)
    meaning = torch.zeros(len(CLASS_NAMES), POLE + 1, dtype=torch.uint8)
    for label, parts in DISCRIMINATIVE.items():
        meaning[label, TAIL:] = 1
        meaning[label, list(parts)] = 2
    for label in labels.unique().tolist():
        rows = (labels == label).nonzero().squeeze(1)
        x, y = (ticks.expand(len(rows), size, size) for ticks in (whole.x, whole.y))
        piece = Canvas(x.contiguous(), y.contiguous(), whole.image[rows], whole.layers[rows], pixel)
        paint_cells(label, piece, {key: value[rows] for key, value in random.items()})
        whole.image[rows], whole.layers[rows] = piece.image, piece.layers
    truth = meaning.to(device)[labels].gather(1, whole.layers.flatten(1).long())
    return whole, truth.view_as(whole.layers)
