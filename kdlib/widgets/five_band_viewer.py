"""A viewer of five-band scores: a saliency map, its bands at a movable threshold, the true bands, and the scores."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence

import anywidget
import matplotlib as mpl
import numpy as np
import torch
import traitlets
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

from kdlib.errors import KdlibError, choose
from kdlib.metrics.five_band import five_band_scores, normalise, soft_thresholds, stratify
from kdlib.plotting.tables import with_minus
from kdlib.widgets.common import (
    check_images,
    check_place,
    content_key,
    image_array,
    image_names,
    make_sprite,
    model_colours,
    new_figure,
    source,
    title_of,
)

STATE_BYTES = 3_000_000
SPRITE_BYTES = 600_000
SCORES = {
    "accuracy": "pixel accuracy",
    "precision": "precision",
    "recall": "recall",
    "false_positive_rate": "false positive rate",
}
BANDS = {
    2: "2: discriminative part",
    1: "1: localisation",
    0: "0: background",
    -1: "−1: against, weakly",
    -2: "−2: against",
}
LEVELS = 127  # of |saliency|, with the sign one byte a pixel
# Purple to orange: opposite for every kind of colour vision; the middle is nearly white.
DIVERGING = "PuOr_r"


class FiveBandViewer(anywidget.AnyWidget):
    """Saliency maps cut into five bands and scored against the truth; made by `five_band_viewer`.

    `image`, `model`, `step` (how many steps the thresholds have moved toward 0), `score` and `scope` ("image" or
    "mean") follow the reader's choice and may be set or linked from Python; scores are computed in the browser.
    """

    _esm = source("five_band_viewer", "js")
    _css = source("five_band_viewer", "css")

    image = traitlets.Int(0).tag(sync=True)
    model = traitlets.Unicode().tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    score = traitlets.Enum(tuple(SCORES), "accuracy").tag(sync=True)
    scope = traitlets.Enum(("image", "mean"), "image").tag(sync=True)

    models = traitlets.List(traitlets.Dict()).tag(sync=True)
    levels = traitlets.Bytes().tag(sync=True)
    truth = traitlets.Bytes().tag(sync=True)
    size = traitlets.List(traitlets.Int()).tag(sync=True)
    edges = traitlets.List(traitlets.Float()).tag(sync=True)
    thresholds = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    cuts = traitlets.List(traitlets.List(traitlets.Int())).tag(sync=True)
    sprite = traitlets.Bytes().tag(sync=True)
    sprite_type = traitlets.Unicode().tag(sync=True)
    sprite_columns = traitlets.Int().tag(sync=True)
    tile = traitlets.List(traitlets.Int()).tag(sync=True)
    image_names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    blank = traitlets.List(traitlets.Bool()).tag(sync=True)
    band_colours = traitlets.List(traitlets.Unicode()).tag(sync=True)
    saliency_colours = traitlets.List(traitlets.Unicode()).tag(sync=True)
    band_names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    score_names = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)
    static_key = traitlets.Unicode().tag(sync=True)

    # For the still picture only; the browser has the same in its own form.
    _images: Tensor
    _saliency: dict[str, Tensor]
    _table: Tensor
    _truth: Tensor

    @traitlets.validate("model")
    def _check_model(self, proposal: dict) -> str:
        return choose(proposal["value"], [model["name"] for model in self.models], "model")

    @traitlets.validate("image")
    def _check_image(self, proposal: dict) -> int:
        return check_place(proposal["value"], len(self.image_names), "image")

    @traitlets.validate("step")
    def _check_step(self, proposal: dict) -> int:
        return check_place(proposal["value"], len(self.thresholds), "step")

    def __repr__(self) -> str:
        return f"FiveBandViewer({len(self.image_names)} images, models: {', '.join(m['name'] for m in self.models)})"

    def bands(self, name: str | None = None, step: int | None = None) -> Tensor:
        """(N, H, W) int8 predicted bands of one model, the chosen one if not named, at the present or a given step."""
        return stratify(self._saliency[name or self.model], self._table[self.step if step is None else step].tolist())

    def scores(self, name: str | None = None, step: int | None = None) -> dict[str, float]:
        """The four scores of one model on the chosen image."""
        found = five_band_scores(
            self._saliency[name or self.model][self.image, None, None],
            self._truth[self.image, None],
            self._table[self.step if step is None else step],
        )
        return {key: float(getattr(found, key)) for key in SCORES}

    def describe(self) -> str:
        """The present state in words: the text alternative of the still picture."""
        inner, outer = self.thresholds[self.step]
        numbers = ", ".join(f"{SCORES[key]} {with_minus(f'{value:.3f}')}" for key, value in self.scores().items())
        return (
            f"Five bands of {title_of(self.model)}'s saliency on image {self.image + 1}, "
            f"{self.image_names[self.image]}, beside the true bands: at thresholds {inner:.3f} and {outer:.3f} "
            f"{numbers}."
        )

    def draw(self) -> Figure:
        """The present state as a matplotlib figure: image, saliency, predicted and true bands, with the scores."""
        figure = new_figure(7.6, 2.7)
        row = figure.subplots(1, 4)
        bands = ListedColormap(self.band_colours)
        row[0].imshow(image_array(self._images[self.image]), interpolation="nearest")
        row[1].imshow(self._saliency[self.model][self.image].numpy(), cmap=DIVERGING, vmin=-1, vmax=1)
        for axes, shown in ((row[2], self.bands()[self.image]), (row[3], self._truth[self.image])):
            picture = axes.imshow(shown.numpy(), cmap=bands, vmin=-2.5, vmax=2.5, interpolation="nearest")
        inner, outer = self.thresholds[self.step]
        titles = ("image", "saliency", f"bands from {inner:.3f}, {outer:.3f}", "true bands")
        for axes, title in zip(row, titles, strict=True):
            axes.set_title(title, fontsize=9)
            axes.set_axis_off()
        bar = figure.colorbar(picture, ax=row, ticks=[-2, -1, 0, 1, 2], shrink=0.85)
        bar.ax.tick_params(labelsize=8)
        numbers = "   ".join(f"{SCORES[key]} {with_minus(f'{value:.3f}')}" for key, value in self.scores().items())
        figure.suptitle(f"{title_of(self.model)}: {numbers}", fontsize=10)
        return figure


def five_band_viewer(
    images: Tensor,
    saliency: Mapping[str, Tensor],
    truth_bands: Tensor,
    *,
    labels: Sequence[int] | Tensor | None = None,
    predictions: Mapping[str, Sequence[int] | Tensor] | None = None,
    class_names: Sequence[str] | None = None,
    variant: str = "v1",
    model: str | None = None,
    colours: Mapping[str, str] | None = None,
    max_bytes: int = STATE_BYTES,
) -> FiveBandViewer:
    """A widget that cuts saliency maps into five bands at thresholds the reader moves, and scores them.

    images: (N, C, H, W) uint8. saliency: model -> (N, H, W), signed, of any scale: each map is divided by its largest
    magnitude, as the score does; `metrics.five_band.normalise(attributions)` sums channels too. The book's models get
    their colours, others may be given in `colours` (#rrggbb). truth_bands: (N, H, W) whole numbers -2 ... 2 (2
    discriminative part, 1 localisation, 0 background). labels, class_names: the images' classes and their names;
    predictions: model -> N class indices, shown beside them. variant: whose thresholds the slider moves from their
    start toward 0, "v1" (0.3 and 0.5 in steps of 0.005) or another of `metrics.five_band.VARIANTS`. model: the one
    shown at first; kd where there is such, else the first.

    Bands and scores are those of `kdlib.metrics.five_band`, whose head gives the formulas; a hit in the wrong band is a
    false positive. Means leave out images without any truth, whose recall is 0 by construction.

    A pixel takes one byte a model, with steps placed so that the bands at every threshold are exactly those of the
    values given here. max_bytes: bound of the widget's state in the page.

    Raises KdlibError for shapes that do not fit, saliency that is not finite, an unknown variant, and more than the
    page can bear.

    >>> truth = torch.tensor([[[2, 1], [0, 0]]])
    >>> viewer = five_band_viewer(torch.zeros(1, 3, 2, 2, dtype=torch.uint8),
    ...                           {"kd": torch.tensor([[[1.0, 0.6], [0.35, 0.0]]])}, truth)
    >>> viewer, viewer.bands().tolist()
    (FiveBandViewer(1 images, models: kd), [[[2, 2], [1, 0]]])
    >>> {name: round(value, 3) for name, value in viewer.scores().items()}
    {'accuracy': 0.5, 'precision': 0.333, 'recall': 1.0, 'false_positive_rate': 0.667}
    """
    check_images(images, "images")
    count, height, width = len(images), *tuple(images.shape[2:])
    truth = torch.as_tensor(truth_bands).detach().cpu()
    if tuple(truth.shape) != (count, height, width) or truth.is_floating_point() or truth.dtype == torch.bool:
        raise KdlibError(
            f"truth_bands must be whole numbers of shape {(count, height, width)}, one map per image, "
            f"not {truth.dtype} of shape {tuple(truth.shape)}"
        )
    if int(truth.min()) < -2 or int(truth.max()) > 2:
        raise KdlibError(f"truth_bands must lie in -2 ... 2, not in {int(truth.min())} ... {int(truth.max())}")
    if not saliency:
        raise KdlibError("saliency holds no model; give at least one, such as {'kd': maps}")
    maps = {name: _checked(each, (count, height, width), name) for name, each in saliency.items()}
    table = soft_thresholds(variant)
    thresholds = table[:, 2:].tolist()
    edges = _edges(thresholds)
    titles = image_names(count, labels, class_names)
    known = {name: image_names(count, each, class_names) for name, each in (predictions or {}).items()}
    for name in known:
        choose(name, maps, "model of the predictions")
    shades = model_colours(maps, colours)
    entries = [
        {"name": name, "title": title_of(name), "colour": shades[name], "predicted": known.get(name, [])}
        for name in maps
    ]
    levels = torch.stack([_levels(each, edges) for each in maps.values()])
    # mtime=0: the same widget has the same bytes.
    packed = [gzip.compress(each.to(torch.int8).numpy().tobytes(), 9, mtime=0) for each in (levels, truth)]
    sprite, kind, columns, tile = make_sprite(images, SPRITE_BYTES)
    size = (len(sprite) + sum(len(each) for each in packed)) * 4 // 3 + 40_000
    if size > max_bytes:
        raise KdlibError(
            f"{count} images of {height}x{width} pixels and {len(maps)} models take {size / 1e6:.1f} MB of widget "
            f"state, more than {max_bytes / 1e6:.1f} MB; give at most {max(1, count * max_bytes // size)} images"
        )
    state = {
        "models": entries,
        "levels": packed[0],
        "truth": packed[1],
        "size": [height, width],
        "edges": edges,
        "thresholds": thresholds,
        "cuts": [[edges.index(t) + 1 for t in pair] for pair in thresholds],
        "sprite": sprite,
        "sprite_type": kind,
        "sprite_columns": columns,
        "tile": list(tile),
        "image_names": titles,
        "blank": [not bool(each.any()) for each in truth],
        "band_colours": _colours(5, 0.1),
        "saliency_colours": _colours(2 * LEVELS + 1),
        "band_names": [BANDS[band] for band in (-2, -1, 0, 1, 2)],
        "score_names": [[key, name] for key, name in SCORES.items()],
    }
    chosen = ("kd" if "kd" in maps else next(iter(maps))) if model is None else choose(model, maps, "model")
    widget = FiveBandViewer(**state, model=chosen)
    widget._images, widget._saliency, widget._truth, widget._table = images, maps, truth, table
    widget.static_key = content_key("five bands", *state.values(), chosen)
    return widget


def _checked(maps: Tensor, shape: tuple[int, int, int], name: str) -> Tensor:
    if not isinstance(maps, Tensor) or tuple(maps.shape) != shape or not maps.is_floating_point():
        given = f"{maps.dtype} of shape {tuple(maps.shape)}" if isinstance(maps, Tensor) else repr(type(maps))
        raise KdlibError(f"saliency of '{name}' must be real numbers of shape {shape}, as the images, not {given}")
    maps = maps.detach().cpu()
    if not bool(torch.isfinite(maps).all()):
        raise KdlibError(f"saliency of '{name}' holds values that are not finite; check the model's weights")
    return normalise(maps[:, None])


def _edges(thresholds: list[list[float]]) -> list[float]:
    """LEVELS increasing edges in (0, 1) that hold every threshold; the others halve the widest gaps."""
    edges = sorted({t for pair in thresholds for t in pair})
    while len(edges) < LEVELS:
        bounds = [0.0, *edges, 1.0]
        place = max(range(len(bounds) - 1), key=lambda i: bounds[i + 1] - bounds[i])
        edges.insert(place, (bounds[place] + bounds[place + 1]) / 2)
    return edges


def _levels(maps: Tensor, edges: list[float]) -> Tensor:
    """(N, H, W) int16: the sign of each value times the number of edges that its size exceeds."""
    size, levels = maps.abs(), torch.zeros(maps.shape, dtype=torch.int16)
    for edge in edges:
        levels += size > edge
    return levels * maps.sign().to(torch.int16)


def _colours(count: int, margin: float = 0.0) -> list[str]:
    """Colours of evenly spaced places on the scale, without a margin at both ends, where it is nearly black."""
    places = np.linspace(margin, 1 - margin, count)
    return [mpl.colors.to_hex(colour) for colour in mpl.colormaps[DIVERGING](places)]
