"""An explorer of dissected layers: what each unit responds to, and how many are detectors at which IoU."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import anywidget
import numpy as np
import torch
import torch.nn.functional as F
import traitlets
from matplotlib.figure import Figure
from torch import Tensor, nn

from kdlib.data.image_set import CATEGORIES, ImageSet
from kdlib.errors import KdlibError, choose, positive_integer
from kdlib.metrics.activations import Checked, layer_activations
from kdlib.metrics.dissection import TAU, Dissection
from kdlib.plots import MODEL_COLOURS
from kdlib.widgets.common import (
    check_images,
    content_key,
    floats,
    group_colours,
    hatch,
    image_array,
    make_sprite,
    model_colours,
    new_figure,
    source,
    title_of,
)

STATE_BYTES = 2_000_000  # what a page can bear: bytes travel as base64, 4 characters for 3


@dataclass(frozen=True)
class UnitViews:
    """What the explorer shows of one model's U units.

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


def _concept_masks(views: UnitViews, probe: ImageSet, image_size: tuple[int, int]) -> Tensor:
    """(U, k, H, W) bool: where each unit's best concept lies in its top images."""
    masks = torch.zeros(*views.top_index.shape, *image_size, dtype=torch.bool)
    maps = {concept.category: concept for concept in probe.concepts}
    for unit, (category, concept) in enumerate(zip(views.best_category, views.best_concept, strict=True)):
        if not concept:
            continue
        found = maps[choose(category, maps, f"concept category of '{probe.name}'")]
        label = found.names.index(choose(concept, found.names, f"concept of category '{category}'"))
        here = (found.labels[views.top_index[unit].to(probe.device)] == label).cpu()
        # Masks coarser than the images (Broden's) are enlarged without inventing values.
        masks[unit] = F.interpolate(here[:, None].float(), image_size, mode="nearest-exact")[:, 0] > 0.5
    return masks


class DissectionExplorer(anywidget.AnyWidget):
    """Units, their images and concepts, and detector counts over the IoU threshold; made by `dissection_explorer`.

    `threshold`, `model` and `unit` follow the reader's choice and may be set or linked from Python; counts and masks
    are computed in the browser.
    """

    _esm = source("dissection_explorer", "js")
    _css = source("dissection_explorer", "css")

    threshold = traitlets.Float(TAU).tag(sync=True)
    model = traitlets.Unicode().tag(sync=True)
    unit = traitlets.Int(0).tag(sync=True)

    models = traitlets.List(traitlets.Dict()).tag(sync=True)
    maps = traitlets.Bytes().tag(sync=True)
    concept_masks = traitlets.Bytes().tag(sync=True)
    images_per_unit = traitlets.Int().tag(sync=True)
    image_size = traitlets.List(traitlets.Int()).tag(sync=True)
    sprite = traitlets.Bytes().tag(sync=True)
    sprite_type = traitlets.Unicode().tag(sync=True)
    sprite_columns = traitlets.Int().tag(sync=True)
    tile = traitlets.List(traitlets.Int()).tag(sync=True)
    tile_classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    categories = traitlets.List(traitlets.Unicode()).tag(sync=True)
    category_colours = traitlets.List(traitlets.Unicode()).tag(sync=True)
    threshold_steps = traitlets.List(traitlets.Float()).tag(sync=True)
    truth_colour = traitlets.Unicode().tag(sync=True)
    quantile = traitlets.Float().tag(sync=True)
    static_key = traitlets.Unicode().tag(sync=True)

    # For the still picture only; the browser has the same in its own form.
    _views: dict[str, UnitViews]
    _probe: ImageSet

    @traitlets.validate("model")
    def _check_model(self, proposal: dict) -> str:
        return choose(proposal["value"], [model["name"] for model in self.models], "model")

    def __repr__(self) -> str:
        sizes = ", ".join(f"{model['name']} with {len(model['scores'])} units" for model in self.models)
        return f"DissectionExplorer({sizes})"

    def counts(self, threshold: float | None = None) -> dict[str, dict[str, int]]:
        """Per model and category the number of detectors, each unit counted once under its best category."""
        tau = self.threshold if threshold is None else threshold
        counts = {}
        for model in self.models:
            units = zip(model["scores"], model["categories"], strict=True)
            found = [place for score, place in units if score >= tau]
            counts[model["name"]] = {category: found.count(c) for c, category in enumerate(self.categories)}
        return counts

    def describe(self) -> str:
        """The present state in words: the text alternative of the still picture."""
        told = [f"{title_of(name)} has {sum(each.values())}" for name, each in self.counts().items()]
        views = self._views[self.model]
        concept = views.best_concept[self.unit] or "no concept"
        return (
            f"At an IoU of {self.threshold:g}, {', '.join(told)} concept detectors. Unit {self.unit} of "
            f"{title_of(self.model)} matches {concept} best, with an IoU of {float(views.score[self.unit]):.3f}."
        )

    def draw(self) -> Figure:
        """The present state as a matplotlib figure: counts of all models, and the chosen unit's images."""
        figure = new_figure(7.6, 4.2 + 0.1 * len(self.models))
        grid = figure.add_gridspec(2, 1, height_ratios=[1.25, 1])
        upper, lower = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
        axes = upper.subplots()
        counts = self.counts()
        for row, (name, each) in enumerate(counts.items()):
            left = 0
            for c, category in enumerate(self.categories):
                axes.barh(
                    row, each[category], left=left, facecolor=self.category_colours[c], hatch=hatch(c),
                    edgecolor="#30363d", linewidth=0.6, label=category if row == 0 else None,
                )  # fmt: skip
                left += each[category]
            axes.text(left, row, f" {left} of {len(self._views[name].score)}", va="center", fontsize=9)
        axes.set_yticks(range(len(counts)), [title_of(name) for name in counts], fontweight="bold")
        axes.set_xlim(0, max(1, *(len(views.score) for views in self._views.values())) * 1.12)
        axes.invert_yaxis()
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(labelsize=9, left=False)
        axes.set_xlabel(f"concept detectors at IoU ≥ {self.threshold:g}", fontsize=9)
        upper.legend(loc="outside upper center", ncols=len(self.categories), fontsize=8, frameon=False)
        views, size = self._views[self.model], (self.image_size[0], self.image_size[1])
        row_of_axes = np.atleast_1d(lower.subplots(1, self.images_per_unit))
        masks = region_masks(views.top_maps, views.thresholds, size)[self.unit]
        colour = next(model["colour"] for model in self.models if model["name"] == self.model)
        for axes, index, mask in zip(row_of_axes, views.top_index[self.unit].tolist(), masks, strict=True):
            picture = image_array(self._probe.images[index]).astype(float) / 255
            picture[~mask.numpy()] *= 0.4
            axes.imshow(picture, interpolation="nearest")
            if bool(mask.any()) and not bool(mask.all()):
                axes.contour(mask.float().numpy(), [0.5], colors=["white"], linewidths=3)
                axes.contour(mask.float().numpy(), [0.5], colors=[colour], linewidths=1.6)
            axes.set_axis_off()
        told = f"{views.best_concept[self.unit] or 'no concept'}, IoU {float(views.score[self.unit]):.3f}"
        lower.suptitle(f"unit {self.unit} of {title_of(self.model)}: {told}", fontsize=10)
        return figure


def dissection_explorer(
    models: Mapping[str, UnitViews],
    probe: ImageSet,
    *,
    threshold: float = TAU,
    quantile: float = 0.005,
    colours: Mapping[str, str] | None = None,
    max_bytes: int = STATE_BYTES,
) -> DissectionExplorer:
    """A widget over dissected models: units with their images, concepts and active regions, and detector counts.

    models: name -> `unit_views(dissection, model, probe)`; "teacher", "scratch", "label_smoothing" and "kd" get the
    book's colours, others may be given in `colours` (#rrggbb). threshold: the IoU from which a unit counts as a
    detector at first. quantile: the one the dissections were made with, for the words only. max_bytes: bound of the
    widget's state in the page; pictures are compressed until it holds.

    Maps travel as float32, so that the browser's upsampled and thresholded regions are the dissection's own.

    >>> from kdlib.data.image_set import ConceptMap
    >>> masks = ConceptMap("object", torch.ones(2, 8, 8, dtype=torch.int64), ("unlabelled", "cat"))
    >>> probe = ImageSet("toy", torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 0]), ("cat",),
    ...                  ("animal",), (0,), concepts=(masks,))
    >>> views = UnitViews(torch.tensor([0.2]), ["cat"], ["object"], torch.tensor([0.5]), torch.tensor([[1]]),
    ...                   torch.ones(1, 1, 4, 4))
    >>> explorer = dissection_explorer({"kd": views}, probe)
    >>> explorer, explorer.counts()
    (DissectionExplorer(kd with 1 units), {'kd': {'object': 1}})
    """
    if not models:
        raise KdlibError("there is no model to explore; give at least one, such as {'kd': unit_views(...)}")
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
    categories = [category for category in CATEGORIES if category in {c.category for c in probe.concepts}]
    used, tiles = torch.unique(torch.cat([v.top_index.flatten() for v in models.values()]), return_inverse=True)
    shades = model_colours(models, colours)
    entries, maps, masks = [], [], []
    slots = cells = 0
    for name, views in models.items():
        count = views.top_index.numel()
        entries.append({
            "name": name,
            "title": title_of(name),
            "colour": shades[name],
            "scores": floats(views.score),
            "concepts": list(views.best_concept),
            "categories": [categories.index(c) if c else -1 for c in views.best_category],
            "thresholds": floats(views.thresholds.float()),
            "tiles": tiles[slots : slots + count].tolist(),
            "map_size": list(views.top_maps.shape[2:]),
            "map_start": cells,
            "mask_start": slots,
        })  # fmt: skip
        maps.append(views.top_maps.float().flatten().numpy().astype("<f4").tobytes())
        concept = _concept_masks(views, probe, probe.image_size).flatten(0, 1).flatten(1)
        masks.append(np.packbits(concept.numpy(), axis=1).tobytes())
        slots, cells = slots + count, cells + views.top_maps.numel()
    # mtime=0: the same widget has the same bytes.
    packed = [gzip.compress(b"".join(parts), 9, mtime=0) for parts in (maps, masks)]
    words = len(repr(entries)) + len(DissectionExplorer._esm) + len(DissectionExplorer._css) + 20_000
    room = max_bytes - words - sum(len(part) for part in packed) * 4 // 3
    sprite, kind, columns, tile = make_sprite(probe.images[used.to(probe.device)], max(0, room * 3 // 4))
    top = max(0.1, *(float(views.score.max()) for views in models.values()))
    state = {
        "models": entries,
        "maps": packed[0],
        "concept_masks": packed[1],
        "images_per_unit": per_unit.pop(),
        "image_size": list(probe.image_size),
        "sprite": sprite,
        "sprite_type": kind,
        "sprite_columns": columns,
        "tile": list(tile),
        "tile_classes": [probe.class_names[probe.labels[i]] for i in used.tolist()],
        "categories": categories,
        "category_colours": group_colours(len(categories)),
        "threshold_steps": _threshold_steps(top, threshold),
        "truth_colour": MODEL_COLOURS["truth"],
        "quantile": float(quantile),
    }
    chosen = "kd" if "kd" in models else next(iter(models))
    best = int(models[chosen].score.argmax())
    widget = DissectionExplorer(**state, model=chosen, unit=best, threshold=float(threshold))
    widget._views, widget._probe = dict(models), probe
    widget.static_key = content_key("dissection", *state.values(), chosen, best, threshold)
    return widget


def _threshold_steps(top: float, threshold: float) -> list[float]:
    """IoUs 0.01, 0.015 ... just beyond the highest score, so that the last step has no detector; at most ~100."""
    width = 0.005 if top <= 0.5 else 0.01
    steps = {round(i * width, 3) for i in range(round(0.01 / width), int(top / width) + 2)}
    return sorted(step for step in steps | {float(threshold)} if step <= 1)
