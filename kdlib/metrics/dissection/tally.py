"""Counting pixels: where units are active, what concepts lie there.

Only the active pixels (see `kdlib.metrics.dissection.active_pixels`) are looked up in the masks, once for all
categories where these have `kdlib.metrics.dissection.joint_labels`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from kdlib.errors import KdlibError
from kdlib.metrics.dissection.active_pixels import PIXELS_AT_ONCE, ActivePixels, active_pixels
from kdlib.metrics.dissection.joint_labels import JointCounter, JointLabels, LabelBatch

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
        self._joint: JointCounter | None = None

    def update(self, activations: Tensor, concepts: Mapping[str, Tensor]) -> None:
        """Take in (B, U, h, w) activation maps and, per category, the labels of the same images.

        Labels are (B, H, W), or (B, L, H, W) where pixels have up to L labels: 0 where there are fewer, and none twice
        at a pixel. L may differ between batches and categories.
        """
        joint = self._joint_of(concepts)
        layers = {
            category: self._checked(category, concepts, len(activations))
            for category in self.names
            if not (joint and category in joint.labels)
        }
        counter, codes = self._joint, torch.empty(0)
        if joint and counter:
            self._check_size(next(iter(joint.labels)), joint.codes)
            codes = joint.codes.to(self.thresholds.device)
            counter.add_images(codes)
        assert self.size is not None
        image_pixels = self.size[0] * self.size[1]
        self._total += len(activations) * image_pixels
        any_label = {}
        if joint:
            any_label = dict(zip(joint.labels, joint.labelled.to(self.thresholds.device).unbind(1), strict=True))
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
            inside = {category: self._add_layers(category, stack, found) for category, stack in layers.items()}
            if joint and counter:
                seen = counter.add_active(found.unit, found.map_index, found.pixel, codes)
                inside |= dict(zip(joint.labels, seen.unbind(1), strict=True))
            for category in self.names:
                for rule, counted in (("lite", inside[category]), ("original", any_label[category][found.image])):
                    self._area[rule][category].index_add_(0, found.unit, found.area * counted)

    def _add_layers(self, category: str, stack: list[Tensor], found: ActivePixels) -> Tensor:
        """Count the labels at active pixels; (P,) bool: whether a map has any."""
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
        return inside

    def _joint_of(self, concepts: Mapping[str, Tensor]) -> JointLabels | None:
        """The joint labels of a batch, if it has some and their codes are those of the batches before."""
        if not isinstance(concepts, LabelBatch) or not concepts.joint.labels.keys() <= self.names.keys():
            return None
        if self._joint is None:
            self._joint = JointCounter(len(self.thresholds), concepts.joint, self.thresholds.device)
        return concepts.joint if self._joint.joint.same_codes(concepts.joint) else None

    def _check_size(self, category: str, labels: Tensor) -> None:
        size = (labels.shape[-2], labels.shape[-1])
        self.size = self.size or size
        if size != self.size:
            raise KdlibError(
                f"the masks of category '{category}' are {size}, others are {self.size}; all masks must have one size"
            )

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
        self._check_size(category, labels)
        assert self.size is not None
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
        intersection, concept_area = dict(self._intersection), dict(self._concept_area)
        for category in self._joint.joint.labels if self._joint else ():
            assert self._joint is not None
            counts, area = self._joint.of_category(category, len(self.names[category]))
            intersection[category], concept_area[category] = (
                intersection[category] + counts,
                concept_area[category] + area,
            )
        return Tally(
            intersection={category: counts[:, 1:].cpu() for category, counts in intersection.items()},
            concept_area={category: counts[1:].cpu() for category, counts in concept_area.items()},
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
