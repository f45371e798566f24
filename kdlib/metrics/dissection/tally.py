"""Counting pixels: where units are active, what concepts lie there.

A unit is active on 0.5 % of the pixels, so nothing here is done for every pixel of every unit. A bilinearly
upsampled value is a weighted mean of four neighbouring cells of the map and exceeds the threshold only if one of the
four does: only the pixels between such cells are computed, and only the active ones looked up in the masks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from kdlib.errors import KdlibError

# At most this many pixels are upsampled at once: it bounds memory, whatever the batch, the layer and the masks.
PIXELS_AT_ONCE = 1 << 21
_LABEL_TYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True)
class Tally:
    """Exact pixel counts (int64) over all images, from which both kinds of IoU follow.

    intersection: per category (U, n): pixels where unit u is active and concept c is labelled.
    concept_area: per category (n,): pixels labelled c; an image-level label counts every pixel of its image. A pixel
        with several labels of a category counts for each of them, as in NetDissect-Lite (feature_operation, which
        concatenates all layers), but for none twice (there, a label in two layers does).
    activated_area: per denominator ("lite", "original") and category (U,): the unit's active pixels over the images
        that count. "original" (NetDissect): images with any label of the category. "lite" (NetDissect-Lite, used by
        Han et al. 2023): images where such a label occurs inside the active region.
    activated_pixels: (U,) active pixels over all images. total_pixels: pixels of all masks together.
    Column i of a category is the concept with label i + 1; label 0 (unlabelled) is dropped.
    """

    intersection: dict[str, Tensor]
    concept_area: dict[str, Tensor]
    activated_area: dict[str, dict[str, Tensor]]
    activated_pixels: Tensor
    total_pixels: int


@dataclass(frozen=True)
class _Axis:
    """How one axis of the output is interpolated, grouped by the pair of cells that a pixel lies between.

    Group g (of cells + 1) lies between cells g - 1 and g; beyond the border both are the border cell.
    start: (groups,) first output pixel of each group. before, after: (groups, longest) weights of the two cells.
    """

    start: Tensor
    before: Tensor
    after: Tensor


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
    table = torch.full((2, cells + 1, int(size.max())), torch.nan, dtype=dtype, device=device)
    place = torch.arange(pixels, device=device) - start[group]
    table[0, group, place] = 1 - after
    table[1, group, place] = after
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
    (images, _, h, w), (height, width) = activations.shape, size
    device = activations.device
    rows = _axis(h, height, activations.dtype, device)
    columns = _axis(w, width, activations.dtype, device)
    tall, wide = rows.before.shape[1], columns.before.shape[1]
    pixel_type = torch.int32 if images * height * width < 2**31 else torch.int64
    offset = torch.arange(tall, device=device)[:, None] * width + torch.arange(wide, device=device)
    offset = offset.view(-1).to(pixel_type)
    at_once = min(maps_at_once, PIXELS_AT_ONCE // (tall * (h + 1) * wide * (w + 1)))
    # No interpolated value exceeds the largest cell: most maps are done with here.
    excited = (activations.amax((2, 3)) > thresholds).nonzero()
    for chunk in excited.split(max(1, at_once)):
        image, unit = chunk.unbind(1)
        maps, threshold = activations[image, unit], thresholds[unit]
        # The blocks of pixels next to an active cell: "or" of the two cells of a group, down and then across.
        active = maps > threshold.view(-1, 1, 1)
        active = torch.cat([active[:, :1], active], 1) | torch.cat([active, active[:, -1:]], 1)
        active = torch.cat([active[..., :1], active], 2) | torch.cat([active, active[..., -1:]], 2)
        place, row, column = active.nonzero().unbind(1)
        above, below = place * h + (row - 1).clamp(min=0), place * h + row.clamp(max=h - 1)
        left, right = (column - 1).clamp(min=0), column.clamp(max=w - 1)
        cells = [maps.reshape(-1)[y * w + x, None] for y in (above, below) for x in (left, right)]
        # index_select is several times faster than indexing with brackets.
        before, after = columns.before.index_select(0, column), columns.after.index_select(0, column)
        top, bottom = cells[0] * before + cells[1] * after, cells[2] * before + cells[3] * after
        values = top[:, None] * rows.before.index_select(0, row)[..., None]
        values += bottom[:, None] * rows.after.index_select(0, row)[..., None]
        found = (values > threshold[place].view(-1, 1, 1)).view(-1).nonzero()[:, 0]
        ends = torch.searchsorted(found, torch.arange(1, len(place) + 1, device=device) * (tall * wide))
        in_block = ends.diff(prepend=ends.new_zeros(1))
        corner = image[place] * (height * width) + rows.start[row] * width + columns.start[column]
        area = torch.zeros_like(unit).index_add_(0, place, in_block)
        yield ActivePixels(
            image=image,
            unit=unit,
            area=area,
            map_index=torch.arange(len(unit), dtype=torch.int32, device=device).repeat_interleave(area),
            pixel=(corner.to(pixel_type)[:, None] + offset).view(-1).index_select(0, found),
        )


def is_whole_image(labels: Tensor) -> bool:
    """Whether (B, H, W) or (B, L, H, W) labels are an expanded (B, 1, 1) or (B, L, 1, 1): labels of whole images."""
    return labels.stride()[-2:] == (0, 0)


class TallyCounter:
    """Adds up a `Tally` batch by batch.

    thresholds: (U,). concept_names: per category the names of labels 1, 2, ... ("unlabelled" left out).
    """

    def __init__(self, thresholds: Tensor, concept_names: Mapping[str, tuple[str, ...]]) -> None:
        self.thresholds = thresholds
        self.names = concept_names
        self.size: tuple[int, int] | None = None
        units, device = len(thresholds), thresholds.device

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int64, device=device)

        # Column 0, the unlabelled pixels, is counted along and dropped at the end.
        self._intersection = {category: zeros(units, len(names) + 1) for category, names in concept_names.items()}
        self._concept_area = {category: zeros(len(names) + 1) for category, names in concept_names.items()}
        self._area = {rule: {category: zeros(units) for category in concept_names} for rule in ("lite", "original")}
        self._activated = zeros(units)
        self._total = 0

    def update(self, activations: Tensor, concepts: Mapping[str, Tensor]) -> None:
        """Take in (B, U, h, w) activation maps and, per category, the labels of the same images.

        Labels are (B, H, W), or (B, L, H, W) where pixels have up to L labels: 0 where there are fewer, and none twice
        at a pixel. L may differ between batches and categories.
        """
        layers = {category: self._checked(category, concepts, len(activations)) for category in self.names}
        assert self.size is not None
        image_pixels = self.size[0] * self.size[1]
        self._total += len(activations) * image_pixels
        any_label = {}
        for category, stack in layers.items():
            any_label[category] = torch.zeros(len(activations), dtype=torch.bool, device=self.thresholds.device)
            for maps in stack:
                share = 1
                if is_whole_image(maps):
                    maps, share = maps[:, :1, :1], image_pixels
                any_label[category] |= maps.amax((1, 2)) > 0
                area = torch.bincount(maps.reshape(-1), minlength=len(self._concept_area[category]))
                self._concept_area[category] += area * share
        # A table of maps times labels, too, stays within the bound (and within int32).
        maps_at_once = PIXELS_AT_ONCE // max(len(area) for area in self._concept_area.values())
        for found in active_pixels(activations, self.thresholds, self.size, maps_at_once):
            self._activated.index_add_(0, found.unit, found.area)
            for category, stack in layers.items():
                columns = len(self._concept_area[category])
                inside = torch.zeros_like(found.area, dtype=torch.bool)
                for maps in stack:
                    if is_whole_image(maps):
                        label = maps[found.image, 0, 0].long()
                        inside |= label > 0
                        key = found.unit * columns + label
                        self._intersection[category].view(-1).index_add_(0, key, found.area)
                    else:
                        key = found.map_index * columns + maps.reshape(-1).index_select(0, found.pixel)
                        counts = torch.bincount(key, minlength=len(found.unit) * columns).view(-1, columns)
                        inside |= counts[:, 0] < found.area
                        self._intersection[category].index_add_(0, found.unit, counts)
                for rule, counted in (("lite", inside), ("original", any_label[category][found.image])):
                    self._area[rule][category].index_add_(0, found.unit, found.area * counted)

    def _checked(self, category: str, concepts: Mapping[str, Tensor], images: int) -> list[Tensor]:
        # The layers of labels, (B, H, W) each.
        if category not in concepts:
            raise KdlibError(f"a batch has no masks of category '{category}'; every batch must have all categories")
        labels = concepts[category]
        if labels.ndim not in (3, 4) or len(labels) != images or not labels.numel():
            raise KdlibError(
                f"the masks of category '{category}' must have shape ({images}, H, W) or ({images}, L, H, W), "
                f"not {tuple(labels.shape)}"
            )
        if self.size is None:
            self.size = (labels.shape[-2], labels.shape[-1])
        if tuple(labels.shape[-2:]) != self.size:
            raise KdlibError(
                f"the masks of category '{category}' are {tuple(labels.shape[-2:])}, others are {self.size}; "
                "all masks must have one size"
            )
        whole_image = is_whole_image(labels)
        if whole_image:
            labels = labels[..., :1, :1]
        labels = labels.to(self.thresholds.device, labels.dtype if labels.dtype in _LABEL_TYPES else torch.int64)
        low, high = torch.aminmax(labels)
        known = len(self.names[category])
        if int(low) < 0 or int(high) > known:
            wrong = int(low) if int(low) < 0 else int(high)
            raise KdlibError(
                f"category '{category}' holds label {wrong}, but only labels 0 to {known} have names; give the "
                "names of the same concepts"
            )
        stack = [labels] if labels.ndim == 3 else [layer.contiguous() for layer in labels.unbind(1)]
        for one, other in combinations(stack, 2):
            twice = one[(one == other) & (one > 0)]
            if len(twice):
                name = self.names[category][int(twice[0]) - 1]
                raise KdlibError(f"category '{category}' has '{name}' twice at one pixel; give it in one layer alone")
        return [layer.expand(-1, *self.size) for layer in stack] if whole_image else stack

    def result(self) -> Tally:
        """The counts so far, on the CPU."""
        return Tally(
            intersection={category: counts[:, 1:].cpu() for category, counts in self._intersection.items()},
            concept_area={category: counts[1:].cpu() for category, counts in self._concept_area.items()},
            activated_area={
                rule: {category: counts.cpu() for category, counts in areas.items()}
                for rule, areas in self._area.items()
            },
            activated_pixels=self._activated.cpu(),
            total_pixels=self._total,
        )


def count_pixels(
    batches: Iterable[tuple[Tensor, Mapping[str, Tensor]]],
    thresholds: Tensor,
    concept_names: Mapping[str, tuple[str, ...]],
) -> Tally:
    """`Tally` of (activations, masks per category) batches; see `TallyCounter` for the shapes.

    >>> maps, masks = torch.tensor([[[[0.0, 1.0]]]]), {"object": torch.tensor([[[0, 1]]])}
    >>> tally = count_pixels([(maps, masks)], torch.tensor([0.5]), {"object": ("cat",)})
    >>> tally.intersection["object"].tolist(), tally.activated_pixels.tolist(), tally.total_pixels
    ([[1]], [1], 2)
    """
    counter = TallyCounter(thresholds, concept_names)
    for activations, concepts in batches:
        counter.update(activations, concepts)
    return counter.result()
