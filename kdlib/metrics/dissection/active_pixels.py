"""Where units are active: the pixels at which an upsampled activation map exceeds its unit's threshold.

A unit is active on 0.5 % of the pixels, so nothing here is done for every pixel of every unit. A bilinearly
upsampled value is a weighted mean of four neighbouring cells of the map and exceeds the threshold only if one of the
four does: only the pixels between such cells are computed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kdlib.metrics.dissection.sparse import true_places

# At most this many pixels are upsampled at once: it bounds memory, whatever the batch, the layer and the masks.
PIXELS_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class _Axis:
    """How one axis of the output is interpolated, grouped by the pair of cells that a pixel lies between.

    Group g (of cells + 1) lies between cells g - 1 and g; beyond the border both are the border cell.
    start: (groups,) first output pixel of each group. before, after: (longest, groups) weights of the two cells.
    """

    start: Tensor
    before: Tensor
    after: Tensor


@functools.lru_cache(maxsize=8)
def _axis(cells: int, pixels: int, dtype: torch.dtype, device: torch.device) -> _Axis:
    # torch's bilinear rule with align_corners=False: the centres of the pixels in units of cells.
    source = (torch.arange(pixels, dtype=dtype, device=device) + 0.5) * (cells / pixels) - 0.5
    inside = source.clamp(min=0)
    cell = inside.floor().clamp(max=cells - 1)
    after = (inside - cell).clamp(0, 1)
    group = torch.where(source < 0, 0, cell.long() + 1)
    size = torch.bincount(group, minlength=cells + 1)
    start = size.cumsum(0) - size
    # Groups may differ in length. Weights of pixels that a group does not have stay NaN, and NaN exceeds nothing.
    table = torch.full((2, int(size.max()), cells + 1), torch.nan, dtype=dtype, device=device)
    place = torch.arange(pixels, device=device) - start[group]
    table[0, place, group] = 1 - after
    table[1, place, group] = after
    return _Axis(start, table[0], table[1])


@dataclass(frozen=True)
class ActivePixels:
    """Where some (image, unit) maps, those of a batch that exceed their threshold anywhere, do so after upsampling.

    image, unit: (P,) of each map. area: (P,) number of its active pixels. Per active pixel, (n,) each: map_index,
    which of the P maps it belongs to (ascending), and pixel, b * H * W + y * W + x in the batch of masks.
    """

    image: Tensor
    unit: Tensor
    area: Tensor
    map_index: Tensor
    pixel: Tensor


def active_pixels(
    activations: Tensor, thresholds: Tensor, size: tuple[int, int], maps_at_once: int = PIXELS_AT_ONCE
) -> Iterator[ActivePixels]:
    """The pixels where an upsampled activation map exceeds its unit's threshold, in pieces of bounded memory.

    activations: (B, U, h, w) real-valued maps. thresholds: (U,). size: (H, W) of the masks.
    The pieces together are the true entries of
    F.interpolate(activations, size, mode="bilinear", align_corners=False) > thresholds:
    upsampled first, then thresholded (the other order gives blocks instead of the interpolated outline).

    >>> maps = torch.tensor([[[[0.0, 1.0]]]])
    >>> [found.pixel.tolist() for found in active_pixels(maps, torch.tensor([0.5]), (1, 4))]
    [[2, 3]]
    """
    (images, units, h, w), (height, width) = activations.shape, size
    device = activations.device
    rows = _axis(h, height, activations.dtype, device)
    columns = _axis(w, width, activations.dtype, device)
    tall, wide = len(rows.before), len(columns.before)
    index_type = torch.int32 if images * height * width < 2**31 else torch.int64
    offset = torch.arange(tall, device=device)[:, None] * width + torch.arange(wide, device=device)
    offset = offset.view(-1).to(index_type)
    at_once = min(maps_at_once, PIXELS_AT_ONCE // (tall * (h + 1) * wide * (w + 1)))
    cells = activations.flatten(2).flatten(0, 1)
    # No interpolated value exceeds the largest cell: most maps are done with here.
    excited = true_places(cells.amax(1).view(images, units) > thresholds)
    for chunk in excited.split(max(1, at_once)):
        # index_select is several times faster than indexing with brackets.
        image, unit = chunk // units, chunk % units
        maps, threshold = cells.index_select(0, chunk), thresholds.index_select(0, unit)
        # The blocks of pixels next to an active cell: "or" of the two cells of a group, down and then across.
        active = (maps > threshold[:, None]).view(-1, h, w)
        active = torch.cat([active[:, :1], active], 1) | torch.cat([active, active[:, -1:]], 1)
        active = torch.cat([active[..., :1], active], 2) | torch.cat([active, active[..., -1:]], 2)
        block = true_places(active)
        place, group = block // ((h + 1) * (w + 1)), block % ((h + 1) * (w + 1))
        row, column = group // (w + 1), group % (w + 1)
        # Each block's four cells; pixels stand in front of blocks, so that what follows runs along many blocks.
        above, below = (place * h + (row - 1).clamp(min=0)) * w, (place * h + row.clamp(max=h - 1)) * w
        left, right = (column - 1).clamp(min=0), column.clamp(max=w - 1)
        corners = [maps.view(-1).index_select(0, y + x) for y in (above, below) for x in (left, right)]
        before, after = _weights(columns.before, column), _weights(columns.after, column)
        top, bottom = corners[0] * before + corners[1] * after, corners[2] * before + corners[3] * after
        values = top * _weights(rows.before, row)[:, None]
        values += bottom * _weights(rows.after, row)[:, None]
        found = true_places((values > threshold.index_select(0, place)).view(tall * wide, -1).t().contiguous())
        map_of = place.to(torch.int32)[:, None].expand(-1, tall * wide).reshape(-1)
        map_index = map_of.index_select(0, found)
        corner = image.index_select(0, place) * (height * width)
        corner += rows.start.index_select(0, row) * width + columns.start.index_select(0, column)
        yield ActivePixels(
            image=image,
            unit=unit,
            area=torch.bincount(map_index, minlength=len(unit)),
            map_index=map_index,
            pixel=(corner.to(index_type)[:, None] + offset).view(-1).index_select(0, found),
        )


def _weights(table: Tensor, group: Tensor) -> Tensor:
    """(longest, n) from a (longest, groups) table and the (n,) groups of n blocks."""
    return torch.stack([weights.index_select(0, group) for weights in table])
