"""What the widgets over dissected layers share: a model's units with their strongest images, and their counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import anywidget
import numpy as np
import torch
import torch.nn.functional as F
import traitlets
from matplotlib.axes import Axes
from torch import Tensor, nn

from kdlib.data.image_set import CATEGORIES, ImageSet
from kdlib.errors import KdlibError, choose, positive_integer
from kdlib.metrics.dissection.activations import Checked, layer_activations
from kdlib.metrics.dissection.dissect import TAU, Dissection
from kdlib.names import spelt
from kdlib.widgets.common import check_images, check_place, floats, group_colours, image_array, make_sprite, title_of


@dataclass(frozen=True)
class UnitViews:
    """What a widget shows of one model's U units.

    score: (U,) IoU with the best concept. best_concept, best_category: U names, "" where there is none.
    thresholds: (U,) activation thresholds T_u. top_index: (U, k) indices into the probe set.
    top_maps: (U, k, h, w) the units' activation maps on these images, at the layer's own size.
    """

    score: Tensor
    best_concept: Sequence[str]
    best_category: Sequence[str]
    thresholds: Tensor
    top_index: Tensor
    top_maps: Tensor

    def __post_init__(self) -> None:
        units = len(self.score)
        if self.top_maps.ndim != 4 or self.top_index.ndim != 2 or self.top_maps.shape[:2] != self.top_index.shape:
            raise KdlibError(
                "top_maps must have shape (U, k, h, w) and top_index (U, k), "
                f"not {tuple(self.top_maps.shape)} and {tuple(self.top_index.shape)}"
            )
        lengths = {
            "top_index": len(self.top_index),
            "thresholds": len(self.thresholds),
            "best_concept": len(self.best_concept),
            "best_category": len(self.best_category),
        }
        for name, length in lengths.items():
            if length != units:
                raise KdlibError(f"{name} covers {length} units, but score covers {units}; give one entry per unit")
        for name, values in (("score", self.score), ("thresholds", self.thresholds), ("top_maps", self.top_maps)):
            if not bool(torch.isfinite(values).all()):
                raise KdlibError(f"{name} holds values that are not finite; check the model's weights")
        for category in set(self.best_category) - {""}:
            choose(category, CATEGORIES, "concept category")


def unit_views(
    dissection: Dissection, model: nn.Module, probe: ImageSet, k: int = 4, *, batch_size: int = 128
) -> UnitViews:
    """A dissection with each unit's k strongest images and its activation maps on them.

    An image's strength is the maximum over the unit's map; of equal ones the earlier image comes first. One pass over
    the probe set; no more than k maps per unit and one batch are held.
    """
    positive_integer(k, "k")
    if k > len(probe):
        raise KdlibError(f"k is {k}, but the probe set has {len(probe)} images; give a smaller k")
    values = index = kept = None
    start = 0
    with layer_activations(model, probe, dissection.layer, batch_size=batch_size) as batches:
        for maps, _ in Checked(batches, dissection.layer):
            if maps.shape[1] != dissection.num_units:
                raise KdlibError(
                    f"layer '{dissection.layer}' of this model has {maps.shape[1]} units, but the dissection "
                    f"{dissection.num_units}; give the model that was dissected"
                )
            new, strength = maps.transpose(0, 1), maps.amax((2, 3)).T
            places = torch.arange(start, start + len(maps), device=maps.device).expand_as(strength)
            start += len(maps)
            values = strength if values is None else torch.cat([values, strength], 1)
            index = places if index is None else torch.cat([index, places], 1)
            kept = new if kept is None else torch.cat([kept, new], 1)
            values, order = values.sort(dim=1, descending=True, stable=True)
            values, order = values[:, :k], order[:, :k]
            index = index.gather(1, order)
            kept = kept.gather(1, order[:, :, None, None].expand(-1, -1, *maps.shape[2:]))
    assert index is not None and kept is not None
    return UnitViews(
        score=dissection.score,
        best_concept=dissection.best_concept,
        best_category=dissection.best_category,
        thresholds=dissection.thresholds,
        top_index=index.cpu(),
        top_maps=kept.cpu(),
    )


def region_masks(maps: Tensor, thresholds: Tensor, image_size: tuple[int, int]) -> Tensor:
    """(U, k, H, W) bool: where maps (U, k, h, w), bilinearly upsampled, exceed the units' thresholds (U,)."""
    larger = F.interpolate(maps.float(), image_size, mode="bilinear", align_corners=False)
    return larger > thresholds.to(larger)[:, None, None, None]


def count_detectors(models: Iterable[Mapping], categories: Sequence[str], tau: float) -> dict[str, dict[str, int]]:
    """Per model and category the number of units with score >= tau, each counted once under its best category.

    models: the widgets' entries, with "name", "scores" and "categories" (indices into `categories`, -1 for none).

    >>> count_detectors([{"name": "kd", "scores": [0.1, 0.05, 0.2], "categories": [0, 0, -1]}], ["object"], 0.1)
    {'kd': {'object': 1}}
    """
    counts = {}
    for model in models:
        units = zip(model["scores"], model["categories"], strict=True)
        found = [place for score, place in units if score >= tau]
        counts[model["name"]] = {category: found.count(c) for c, category in enumerate(categories)}
    return counts


def check_models(models: Mapping[str, UnitViews], probe: ImageSet, threshold: float) -> list[str]:
    """Refuse views that are not of this probe set; the categories that its masks have, in the usual order."""
    check_images(probe.images, "the probe set's images")
    if not probe.concepts:
        raise KdlibError(f"'{probe.name}' has no concept masks; give the probe set that was dissected")
    if not 0 < threshold < 1:
        raise KdlibError(f"threshold must be a number between 0 and 1, not {threshold}")
    per_unit = {views.top_index.shape[1] for views in models.values()}
    if len(per_unit) != 1:
        raise KdlibError(f"all models must show the same number of images per unit, not {sorted(per_unit)}")
    for name, views in models.items():
        if int(views.top_index.min()) < 0 or int(views.top_index.max()) >= len(probe):
            raise KdlibError(
                f"top_index of '{name}' points at image {int(views.top_index.max())}, "
                f"but the probe set has {len(probe)}; give the probe set that was dissected"
            )
    return [category for category in CATEGORIES if category in {c.category for c in probe.concepts}]


def threshold_steps(models: Mapping[str, UnitViews], threshold: float) -> list[float]:
    """IoUs 0.01, 0.015 ... just beyond the highest score, so that the last step has no detector; at most ~100."""
    top = max(0.1, *(float(views.score.max()) for views in models.values()))
    width = 0.005 if top <= 0.5 else 0.01
    steps = {round(i * width, 3) for i in range(round(0.01 / width), int(top / width) + 2)}
    return sorted(step for step in steps | {float(threshold)} if step <= 1)


def pack_bits(masks: Tensor) -> bytes:
    """(n, H, W) bool as bits, most significant first, each mask starting on a byte."""
    return np.packbits(masks.flatten(1).numpy(), axis=1).tobytes()


class UnitPictures(anywidget.AnyWidget):
    """What the widgets over dissected layers have in common: one unit shown, one threshold, and the units' pictures.

    `unit` and `threshold` follow the reader's choice and may be set or linked from Python.
    """

    unit = traitlets.Int(0).tag(sync=True)
    threshold = traitlets.Float(TAU).tag(sync=True)

    models = traitlets.List(traitlets.Dict()).tag(sync=True)
    images_per_unit = traitlets.Int().tag(sync=True)
    sprite = traitlets.Bytes().tag(sync=True)
    sprite_type = traitlets.Unicode().tag(sync=True)
    sprite_columns = traitlets.Int().tag(sync=True)
    tile = traitlets.List(traitlets.Int()).tag(sync=True)
    tile_classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    categories = traitlets.List(traitlets.Unicode()).tag(sync=True)
    category_colours = traitlets.List(traitlets.Unicode()).tag(sync=True)
    threshold_steps = traitlets.List(traitlets.Float()).tag(sync=True)
    static_key = traitlets.Unicode().tag(sync=True)

    # For the still picture only; the browser has the same in its own form.
    _views: dict[str, UnitViews]
    _probe: ImageSet

    @traitlets.validate("unit")
    def _check_unit(self, proposal: dict) -> int:
        return check_place(proposal["value"], max(len(model["scores"]) for model in self.models), "unit")

    def counts(self, threshold: float | None = None) -> dict[str, dict[str, int]]:
        """Per model and category the number of detectors, each unit counted once under its best category."""
        return count_detectors(self.models, self.categories, self.threshold if threshold is None else threshold)

    def _entry(self, name: str) -> dict:
        return next(model for model in self.models if model["name"] == name)


def unit_entry(name: str, views: UnitViews, colour: str, categories: Sequence[str]) -> dict[str, object]:
    """One of a widget's `models`: names, colour, and per unit the score, the concept and its category's index."""
    return {
        "name": name,
        "title": title_of(name),
        "colour": colour,
        "scores": floats(views.score),
        "concepts": list(views.best_concept),
        "categories": [categories.index(category) if category else -1 for category in views.best_category],
    }


def picture_state(
    models: Mapping[str, UnitViews],
    probe: ImageSet,
    used: Tensor,
    categories: Sequence[str],
    threshold: float,
    sprite_bytes: int,
) -> dict[str, object]:
    """The state that any widget over units has: the `used` images as one picture, categories, steps of the slider."""
    sprite, kind, columns, tile = make_sprite(probe.images[used.to(probe.device)], max(0, sprite_bytes))
    return {
        "sprite": sprite,
        "sprite_type": kind,
        "sprite_columns": columns,
        "tile": list(tile),
        "tile_classes": [probe.class_names[probe.labels[i]] for i in used.tolist()],
        "categories": [spelt(category) for category in categories],
        "category_colours": group_colours(len(categories)),
        "threshold_steps": threshold_steps(models, threshold),
    }


def draw_region(axes: Axes, image: Tensor, region: Tensor, colour: str) -> None:
    """An image (C, H, W) uint8, dark outside a unit's region (H, W) bool, the region outlined."""
    picture = image_array(image).astype(float) / 255
    picture[~region.numpy()] *= 0.4
    axes.imshow(picture, interpolation="nearest")
    if bool(region.any()) and not bool(region.all()):
        axes.contour(region.float().numpy(), [0.5], colors=["white"], linewidths=3)
        axes.contour(region.float().numpy(), [0.5], colors=[colour], linewidths=1.6)
