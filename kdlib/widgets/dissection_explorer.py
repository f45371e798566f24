"""An explorer of dissected layers: what each unit responds to, and how many are detectors at which IoU."""

from __future__ import annotations

import gzip
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from kdlib.data.image_set import ImageSet
from kdlib.errors import KdlibError, choose
from kdlib.metrics.dissection.dissect import TAU
from kdlib.names import MODEL_COLOURS
from kdlib.widgets.common import (
    content_key,
    floats,
    hatch,
    model_colours,
    new_figure,
    source,
    title_of,
)
from kdlib.widgets.units import (
    UnitPictures,
    UnitViews,
    check_models,
    draw_region,
    pack_bits,
    picture_state,
    region_masks,
    unit_entry,
    unit_views,
)

__all__ = ["DissectionExplorer", "UnitViews", "dissection_explorer", "region_masks", "unit_views"]

STATE_BYTES = 1_200_000  # a committed notebook holds 2 MB in all; bytes are written as base64, 4 characters for 3


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


class DissectionExplorer(UnitPictures):
    """Units, their images and concepts, and detector counts over the IoU threshold; made by `dissection_explorer`.

    `threshold`, `model` and `unit` follow the reader's choice and may be set or linked from Python; counts and masks
    are computed in the browser.
    """

    _esm = source("dissection_explorer", "js", "units")
    _css = source("dissection_explorer", "css", "units")

    model = traitlets.Unicode().tag(sync=True)

    maps = traitlets.Bytes().tag(sync=True)
    concept_masks = traitlets.Bytes().tag(sync=True)
    image_size = traitlets.List(traitlets.Int()).tag(sync=True)
    truth_colour = traitlets.Unicode().tag(sync=True)
    quantile = traitlets.Float().tag(sync=True)

    @traitlets.validate("model")
    def _check_model(self, proposal: dict) -> str:
        return choose(proposal["value"], [model["name"] for model in self.models], "model")

    def __repr__(self) -> str:
        sizes = ", ".join(f"{model['name']} with {len(model['scores'])} units" for model in self.models)
        return f"DissectionExplorer({sizes})"

    def describe(self) -> str:
        """The present state in words: the text alternative of the still picture."""
        counted = [f"{title_of(name)} has {sum(each.values())}" for name, each in self.counts().items()]
        views = self._views[self.model]
        unit = self._shown_unit()
        concept = views.best_concept[unit] or "no concept"
        return (
            f"At an IoU of {self.threshold:g}, {', '.join(counted)} concept detectors. Unit {unit} of "
            f"{title_of(self.model)} matches {concept} best, with an IoU of {float(views.score[unit]):.3f}."
        )

    def _shown_unit(self) -> int:
        """The chosen unit or, as in the browser, the last one of a model that has fewer units."""
        return min(self.unit, len(self._views[self.model].score) - 1)

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
        views, unit, size = self._views[self.model], self._shown_unit(), (self.image_size[0], self.image_size[1])
        row_of_axes = np.atleast_1d(lower.subplots(1, self.images_per_unit))
        masks = region_masks(views.top_maps, views.thresholds, size)[unit]
        colour = self._entry(self.model)["colour"]
        for axes, index, mask in zip(row_of_axes, views.top_index[unit].tolist(), masks, strict=True):
            draw_region(axes, self._probe.images[index], mask, colour)
            axes.set_axis_off()
        concept = f"{views.best_concept[unit] or 'no concept'}, IoU {float(views.score[unit]):.3f}"
        lower.suptitle(f"unit {unit} of {title_of(self.model)}: {concept}", fontsize=10)
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

    Maps are packed as float32, so that the browser's upsampled and thresholded regions are the dissection's own.

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
    categories = check_models(models, probe, threshold)
    used, tiles = torch.unique(torch.cat([v.top_index.flatten() for v in models.values()]), return_inverse=True)
    shades = model_colours(models, colours)
    entries, maps, masks = [], [], []
    slots = cells = 0
    for name, views in models.items():
        count = views.top_index.numel()
        entries.append(unit_entry(name, views, shades[name], categories) | {
            "thresholds": floats(views.thresholds.float()),
            "tiles": tiles[slots : slots + count].tolist(),
            "map_size": list(views.top_maps.shape[2:]),
            "map_start": cells,
            "mask_start": slots,
        })  # fmt: skip
        maps.append(views.top_maps.float().flatten().numpy().astype("<f4").tobytes())
        concept = _concept_masks(views, probe, probe.image_size).flatten(0, 1)
        masks.append(pack_bits(concept))
        slots, cells = slots + count, cells + views.top_maps.numel()
    # mtime=0: the same widget has the same bytes.
    packed = [gzip.compress(b"".join(parts), 9, mtime=0) for parts in (maps, masks)]
    words = len(repr(entries)) + len(DissectionExplorer._esm) + len(DissectionExplorer._css) + 20_000
    room = max_bytes - words - sum(len(part) for part in packed) * 4 // 3
    state = {
        "models": entries,
        "maps": packed[0],
        "concept_masks": packed[1],
        "images_per_unit": next(iter(models.values())).top_index.shape[1],
        "image_size": list(probe.image_size),
        **picture_state(models, probe, used, categories, threshold, room * 3 // 4),
        "truth_colour": MODEL_COLOURS["truth"],
        "quantile": float(quantile),
    }
    chosen = "kd" if "kd" in models else next(iter(models))
    best = int(models[chosen].score.argmax())
    widget = DissectionExplorer(**state, model=chosen, unit=best, threshold=float(threshold))
    widget._views, widget._probe = dict(models), probe
    widget.static_key = content_key("dissection", *state.values(), chosen, best, threshold)
    return widget
