"""An explorer of entropy maps: which cells a layer keeps, and how many count as concepts at a movable threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import anywidget
import matplotlib as mpl
import numpy as np
import traitlets
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from torch import Tensor

from kdlib.errors import KdlibError, choose
from kdlib.metrics.visual_concepts import THRESHOLD
from kdlib.plotting.tables import with_minus
from kdlib.widgets.cells import (
    MARK_COLOURS,
    check_cells,
    check_size,
    draw_outline,
    draw_picture,
    mark_handles,
    network_entries,
    pack_cells,
    picture_state,
)
from kdlib.widgets.common import content_key, model_colours, new_figure, source
from kdlib.widgets.entropy_levels import (
    background_entropy_of,
    checked_entropy,
    layer_entry,
    pack_levels,
    refuse_one_sided,
    whole_thousandth,
)

STATE_BYTES = 3_000_000
LAST_STEP = 0.6
COLOUR_STEPS = 65
# What is kept, a low entropy, is bright; readable for colour-blind readers and in lightness alone.
ENTROPY_MAP = "viridis_r"
NUMBERS = {
    "foreground": "concepts on the object",
    "background": "concepts on the background",
    "share": "share on the object",
}

Maps = Mapping[str, Mapping[str, Tensor]]


class EntropyExplorer(anywidget.AnyWidget):
    """Entropy maps of networks' layers and the concepts in them; made by `entropy_explorer`.

    `image`, `network`, `layer`, `threshold` (b in nats, in thousandths) and `curve` ("foreground", "background" or
    "share") follow the reader's choice and may be set or linked from Python; the browser counts for itself. Where the
    network has no map of the layer, the first one that has takes its place.
    """

    _esm = source("entropy_explorer", "js", "cells")
    _css = source("entropy_explorer", "css", "cells")

    image = traitlets.Int(0).tag(sync=True)
    network = traitlets.Unicode().tag(sync=True)
    layer = traitlets.Unicode().tag(sync=True)
    threshold = traitlets.Float(THRESHOLD).tag(sync=True)
    curve = traitlets.Enum(tuple(NUMBERS), "foreground").tag(sync=True)

    networks = traitlets.List(traitlets.Dict()).tag(sync=True)
    layers = traitlets.List(traitlets.Dict()).tag(sync=True)
    maps = traitlets.List(traitlets.Dict()).tag(sync=True)
    levels = traitlets.Bytes().tag(sync=True)
    cells = traitlets.List(traitlets.Int()).tag(sync=True)
    foreground = traitlets.Bytes().tag(sync=True)
    thresholds = traitlets.List(traitlets.Float()).tag(sync=True)
    background_given = traitlets.Bool().tag(sync=True)
    sprite = traitlets.Bytes().tag(sync=True)
    sprite_type = traitlets.Unicode().tag(sync=True)
    sprite_columns = traitlets.Int().tag(sync=True)
    tile = traitlets.List(traitlets.Int()).tag(sync=True)
    image_names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    entropy_colours = traitlets.List(traitlets.Unicode()).tag(sync=True)
    mark_colours = traitlets.Dict().tag(sync=True)
    number_names = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)
    static_key = traitlets.Unicode().tag(sync=True)

    # For Python's own counts and the still picture; the browser has the same in its own form.
    _images: Tensor
    _foreground: Tensor
    _entropy: dict[tuple[str, str], Tensor]

    @traitlets.validate("image")
    def _check_image(self, proposal: dict) -> int:
        if not 0 <= proposal["value"] < len(self.image_names):
            raise KdlibError(f"image must be one of 0 to {len(self.image_names) - 1}, not {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("network")
    def _check_network(self, proposal: dict) -> str:
        return choose(proposal["value"], [entry["name"] for entry in self.networks], "network")

    @traitlets.validate("layer")
    def _check_layer(self, proposal: dict) -> str:
        return choose(proposal["value"], [entry["name"] for entry in self.layers], "layer")

    @traitlets.validate("threshold")
    def _check_threshold(self, proposal: dict) -> float:
        return whole_thousandth(proposal["value"])

    def __repr__(self) -> str:
        names = ", ".join(entry["name"] for entry in self.networks)
        return f"EntropyExplorer({len(self.image_names)} images; {names}; {', '.join(e['name'] for e in self.layers)})"

    def shown(self) -> dict:
        """The entry of `maps` that is shown."""
        found = [entry for entry in self.maps if entry["layer"] == self.layer]
        return next((entry for entry in found if entry["network"] == self.network), found[0])

    def concepts(self, entry: dict | None = None) -> Tensor:
        """(N, R, C) bool: concepts of an entry of `maps`, the shown one if not given, at the present threshold."""
        entry = entry or self.shown()
        entropy = self._entropy[entry["network"], entry["layer"]]
        return entry["background_entropy"] - entropy > self.threshold  # NaN is no concept

    def counts(self, entry: dict | None = None) -> dict[str, float]:
        """Concepts on the object and on the background and the object's share of them: of the chosen image (NaN
        without a map), and as means over all images that have one."""
        entry = entry or self.shown()
        found = self.concepts(entry)
        on_foreground = (found & self._foreground).flatten(1).sum(1).double()
        on_background = (found & ~self._foreground).flatten(1).sum(1).double()
        share = on_foreground / (on_foreground + on_background).clamp(min=1)
        has_map = ~self._entropy[entry["network"], entry["layer"]].isnan().flatten(1).any(1)
        found_counts = {}
        for name, column in zip(NUMBERS, (on_foreground, on_background, share), strict=True):
            found_counts[name] = float(column[self.image]) if has_map[self.image] else math.nan
            found_counts[f"mean_{name}"] = float(column[has_map].mean())
        return found_counts

    def describe(self) -> str:
        """The present state in words: the text alternative of the still picture."""
        entry, counts = self.shown(), self.counts()
        network = next(each["title"] for each in self.networks if each["name"] == entry["network"])
        layer = next(each["title"] for each in self.layers if each["name"] == entry["layer"])
        inside = int(self._foreground[self.image].sum())
        outside = self._foreground[self.image].numel() - inside
        if math.isnan(counts["foreground"]):
            here = "This image has no map."
        else:
            here = (
                f"At b = {self.threshold:g} nats {counts['foreground']:.0f} of the object's {inside} cells are "
                f"concepts and {counts['background']:.0f} of the background's {outside}: share {counts['share']:.2f}."
            )
        ground = "as given" if self.background_given else f"over the {entry['images']} images shown here"
        return (
            f"Image {self.image + 1}, {self.image_names[self.image]}, and its entropy map in {network}, {layer}. "
            f"{here} Mean over {entry['images']} images: {counts['mean_foreground']:.2f} and "
            f"{counts['mean_background']:.2f}, share {counts['mean_share']:.2f}. The background's mean entropy is "
            f"{with_minus(format(entry['background_entropy'], '.3f'))} nats, {ground}."
        )

    def draw(self) -> Figure:
        """The present state as a matplotlib figure: the picture with its concepts, the entropy map."""
        entry = self.shown()
        network = next(each["title"] for each in self.networks if each["name"] == entry["network"])
        layer = next(each for each in self.layers if each["name"] == entry["layer"])
        figure = new_figure(7.2, 3.7)
        left, right = figure.subplots(1, 2)
        found, inside = self.concepts()[self.image], self._foreground[self.image]
        marks = {"foreground": found & inside, "background": found & ~inside}
        draw_picture(left, self._images[self.image], inside, marks, 190)
        left.set_title(f"image {self.image + 1}: {self.image_names[self.image]}", fontsize=10)
        rows, columns = inside.shape
        right.set_facecolor("#b9c0c8")  # no map
        entropy = self._entropy[entry["network"], entry["layer"]][self.image].numpy()
        picture = right.imshow(
            entropy, cmap=ENTROPY_MAP, vmin=layer["low"], vmax=layer["high"], extent=(0, columns, rows, 0),
            aspect="auto", interpolation="nearest",
        )  # fmt: skip
        right.set_box_aspect(self._images.shape[2] / self._images.shape[3])
        right.set_xticks([])
        right.set_yticks([])
        draw_outline(right, inside)
        right.set_title(f"{network}, {layer['title']}", fontsize=10)
        bar = figure.colorbar(picture, ax=right, shrink=0.85)
        bar.set_label("entropy H in nats\n(lines: the background's mean, and b lower)", fontsize=8)
        bar.ax.tick_params(labelsize=8)
        for value in (entry["background_entropy"], entry["background_entropy"] - self.threshold):
            bar.ax.axhline(value, color="#EE3377", linewidth=1.8)
        names = {"foreground": "concept on the object", "background": "concept on the background"}
        figure.legend(handles=mark_handles(names), loc="outside lower left", ncols=2, fontsize=8, frameon=False)
        return figure


def entropy_explorer(
    images: Tensor,
    maps: Maps,
    foreground: Tensor,
    *,
    threshold: float = THRESHOLD,
    background_entropy: Mapping[str, Mapping[str, float]] | None = None,
    labels: Sequence[int] | Tensor | None = None,
    class_names: Sequence[str] | None = None,
    titles: Mapping[str, str] | None = None,
    network: str | None = None,
    layer: str | None = None,
    image: int | None = None,
    colours: Mapping[str, str] | None = None,
    max_bytes: int = STATE_BYTES,
) -> EntropyExplorer:
    """A widget over entropy maps that counts concepts at a threshold the reader moves.

    images: (N, C, H, W) uint8. maps: network -> layer -> (N, R, C) entropies H in nats, `InformationMaps.entropy`; an
    image with a NaN has no map there and counts nowhere. Networks may have different layers. foreground: (N, R, C)
    bool, the object's cells, `metrics.visual_concepts.foreground_cells`. threshold: b at first, 0 or more, in whole
    thousandths of a nat; the slider goes from 0 to 0.6 in hundredths (further if b is larger).

    background_entropy: network -> layer -> nats, such as `VisualConcepts.background_entropy` of all images that were
    measured. Without it the mean over the images given here takes its place, and the widget says so.

    labels, class_names: the images' classes and their names. titles: names of networks and layers for readers.
    network, layer, image: those shown at first; the first ones if not given. colours: #rrggbb of networks that are not
    the book's. max_bytes: bound of the widget's state in the page.

    Concepts are those of `metrics.visual_concepts`: background entropy - H > b. Two bytes a cell are packed, rounded so
    that the counts at every b of whole thousandths are exactly those of the maps given here; the entropies themselves
    are off by up to 0.0005 nats.

    Raises KdlibError for shapes that do not fit, infinite entropies, a layer without any map, an object that fills the
    grid or none of it, an unknown name, and more than the page may hold.

    >>> import torch
    >>> entropy = torch.tensor([[[-3.5, -2.6], [-2.7, -2.8]]])
    >>> foreground = torch.tensor([[[True, False], [False, False]]])
    >>> images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    >>> explorer = entropy_explorer(images, {"teacher": {"fc1": entropy}}, foreground)
    >>> explorer, explorer.concepts().int().tolist()
    (EntropyExplorer(1 images; teacher; fc1), [[[1, 0], [0, 0]]])
    >>> explorer.threshold = 0.05
    >>> explorer.counts()["background"], explorer.counts()["share"]
    (1.0, 0.5)
    """
    pictures = picture_state(images, labels, class_names)
    count = len(images)
    inside = check_cells(foreground, count)
    refuse_one_sided(inside)
    if not maps or not all(maps.values()):
        raise KdlibError("maps holds a network without a layer; give at least one, such as {'teacher': {'fc1': maps}}")
    entropy = {
        (name, place): checked_entropy(each, inside, f"'{name}', layer '{place}'")
        for name, by_layer in maps.items()
        for place, each in by_layer.items()
    }
    entries: list[dict] = [
        {
            "network": name,
            "layer": place,
            "background_entropy": background_entropy_of(each, inside, background_entropy, name, place),
            "images": int((~each.isnan().flatten(1).any(1)).sum()),
        }
        for (name, place), each in entropy.items()
    ]
    levels = b"".join(
        pack_levels(each, entry["background_entropy"]).tobytes()
        for each, entry in zip(entropy.values(), entries, strict=True)
    )
    check_size([pictures["sprite"], levels], count, max_bytes)
    threshold = whole_thousandth(threshold)
    steps = [k / 100 for k in range(math.ceil(100 * max(LAST_STEP, threshold) - 1e-9) + 1)]
    places = list(dict.fromkeys(place for _, place in entropy))
    state = {
        **pictures,
        "networks": network_entries(maps, model_colours(maps, colours), titles),
        "layers": [layer_entry(place, entropy, titles) for place in places],
        "maps": entries,
        "levels": levels,
        "cells": list(inside.shape[1:]),
        "foreground": pack_cells(inside),
        "thresholds": sorted({*steps, threshold}),
        "background_given": background_entropy is not None,
        "entropy_colours": [to_hex(c) for c in mpl.colormaps[ENTROPY_MAP](np.linspace(0, 1, COLOUR_STEPS))],
        "mark_colours": {kind: MARK_COLOURS[kind] for kind in ("foreground", "background")},
        "number_names": [[key, name] for key, name in NUMBERS.items()],
    }
    first: dict = {
        "network": choose(network, maps, "network") if network else next(iter(maps)),
        "image": 0 if image is None else image,
        "threshold": threshold,
    }
    first["layer"] = choose(layer, places, "layer") if layer else next(iter(maps[first["network"]]))
    widget = EntropyExplorer(**state, **first)
    widget._images, widget._foreground, widget._entropy = images, inside, entropy
    widget.static_key = content_key("entropy", *state.values(), *first.values())
    return widget
