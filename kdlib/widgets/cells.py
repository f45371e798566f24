"""What the widgets over grids of cells share: checks, packed masks, and pictures with marked cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from torch import Tensor

from kdlib.errors import KdlibError
from kdlib.widgets.common import check_images, image_array, image_names, make_sprite, title_of

SPRITE_BYTES = 600_000
# Kind of mark -> colour (of no model, apart for every kind of colour vision) and shape; cells.js has the same shapes.
MARKS = {
    "foreground": ("#33BBEE", "o"),
    "background": ("#EE3377", "^"),
    "kept": ("#33BBEE", "o"),
    "new": ("#FFD92F", "P"),
    "vanished": ("#FFFFFF", "X"),
}
MARK_COLOURS = {kind: colour for kind, (colour, _) in MARKS.items()}
CASING, OUTLINE = "#ffffff", "#10151b"


def check_cells(foreground: Tensor, count: int) -> Tensor:
    """The cells of the object, (count, R, C) bool, on the CPU."""
    shown = f"{foreground.dtype} of {tuple(foreground.shape)}" if isinstance(foreground, Tensor) else type(foreground)
    if (
        not isinstance(foreground, Tensor)
        or foreground.dtype != torch.bool
        or foreground.ndim != 3
        or len(foreground) != count
        or not foreground.numel()
    ):
        raise KdlibError(
            f"foreground must be bool of shape ({count}, rows, columns), one grid per image, not {shown}; "
            "use metrics.visual_concepts.foreground_cells"
        )
    return foreground.detach().cpu()


def check_size(parts: Iterable[bytes], count: int, max_bytes: int) -> None:
    """Refuse more than the page can bear: `parts` in the page's encoding, and 40 kB for the rest of the state."""
    size = sum(len(part) for part in parts) * 4 // 3 + 40_000
    if size > max_bytes:
        raise KdlibError(
            f"{count} images take {size / 1e6:.2f} MB of widget state, more than {max_bytes / 1e6:.2f} MB; give at "
            f"most {max(1, count * max_bytes // size)} images, or fewer networks"
        )


def pack_cells(masks: Tensor) -> bytes:
    """Masks (..., R, C) bool as bits, most significant first, each mask starting on a byte.

    >>> list(pack_cells(torch.tensor([[[True, False, False]], [[False, True, True]]])))
    [128, 96]
    """
    return np.packbits(masks.reshape(-1, masks.shape[-2] * masks.shape[-1]).numpy(), axis=1).tobytes()


def picture_state(
    images: Tensor, labels: Sequence[int] | Tensor | None, class_names: Sequence[str] | None
) -> dict[str, Any]:
    """The part of a widget's state that shows the images."""
    check_images(images, "images")
    sprite, kind, columns, tile = make_sprite(images, SPRITE_BYTES)
    return {
        "sprite": sprite,
        "sprite_type": kind,
        "sprite_columns": columns,
        "tile": list(tile),
        "image_names": image_names(len(images), labels, class_names),
    }


def network_entries(
    names: Iterable[str], colours: Mapping[str, str], titles: Mapping[str, str] | None
) -> list[dict[str, Any]]:
    """Networks as the browser has them: name, title for readers, colour."""
    return [{"name": n, "title": (titles or {}).get(n) or title_of(n), "colour": colours[n]} for n in names]


def border(mask: Tensor) -> list[list[tuple[int, int]]]:
    """Segments ((x, y), (x, y)) between the cells of a mask (R, C) and the others, along the picture's edge as well.

    >>> border(torch.tensor([[True]]))
    [[(0, 0), (1, 0)], [(0, 1), (1, 1)], [(0, 0), (0, 1)], [(1, 0), (1, 1)]]
    """
    framed = torch.nn.functional.pad(mask.int(), (1, 1, 1, 1))
    across = framed.diff(dim=0)[:, 1:-1].nonzero().tolist()
    along = framed.diff(dim=1)[1:-1].nonzero().tolist()
    return [[(x, y), (x + 1, y)] for y, x in across] + [[(x, y), (x, y + 1)] for y, x in along]


def draw_outline(axes: Axes, mask: Tensor) -> None:
    """The border of a mask (R, C), dark in a white casing, on axes whose unit is the cell."""
    for colour, width in ((CASING, 3.5), (OUTLINE, 1.5)):
        axes.add_collection(LineCollection(border(mask), colors=colour, linewidths=width, capstyle="projecting"))


def draw_picture(axes: Axes, image: Tensor, foreground: Tensor, marks: Mapping[str, Tensor], size: float) -> None:
    """A picture (C, H, W) with the object's outline and marked cells.

    marks: kind of `MARKS` -> cells (R, C) bool. size: of the picture's longer side in points.
    """
    rows, columns = foreground.shape
    height, width = image.shape[1:]
    axes.imshow(image_array(image), extent=(0, columns, rows, 0), aspect="auto", interpolation="nearest")
    axes.set_box_aspect(height / width)
    axes.set_axis_off()
    draw_outline(axes, foreground)
    diameter = 0.62 * min(size * min(1, width / height) / columns, size * min(1, height / width) / rows)
    for kind, cells in marks.items():
        colour, shape = MARKS[kind]
        y, x = (cells.nonzero().double() + 0.5).T.numpy()
        axes.scatter(x, y, s=diameter**2, color=colour, marker=shape, edgecolors=OUTLINE, linewidths=0.8, zorder=3)
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)


def mark_handles(names: Mapping[str, str]) -> list[Line2D]:
    """Entries of a legend: kind of mark -> words."""
    return [
        Line2D(
            [], [], linestyle="none", label=words, marker=MARKS[kind][1], markerfacecolor=MARKS[kind][0],
            markeredgecolor=OUTLINE, markersize=8,
        )
        for kind, words in names.items()
    ]  # fmt: skip
