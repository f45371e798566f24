"""Two dissected networks side by side in the same unit index space: what each unit became under each method."""

from __future__ import annotations

import gzip
from collections.abc import Mapping

import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from kdlib.data.image_set import ImageSet
from kdlib.errors import KdlibError, choose, positive_integer
from kdlib.metrics.dissection.dissect import TAU
from kdlib.widgets.common import (
    content_key,
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
)

STATE_BYTES = 1_200_000  # a committed notebook holds 2 MB in all; bytes are written as base64, 4 characters for 3


class MethodComparison(UnitPictures):
    """Two networks' units side by side; made by `method_comparison`.

    `left`, `right`, `unit` and `threshold` follow the reader's choice and may be set or linked from Python; everything
    shown is counted and drawn in the browser.
    """

    _esm = source("method_comparison", "js", "units")
    _css = source("method_comparison", "css", "units")

    left = traitlets.Unicode().tag(sync=True)
    right = traitlets.Unicode().tag(sync=True)

    masks = traitlets.Bytes().tag(sync=True)
    mask_size = traitlets.List(traitlets.Int()).tag(sync=True)

    @traitlets.validate("left", "right")
    def _check_model(self, proposal: dict) -> str:
        return choose(proposal["value"], [model["name"] for model in self.models], "method")

    def __repr__(self) -> str:
        return f"MethodComparison({', '.join(model['name'] for model in self.models)})"

    def shared(self, threshold: float | None = None) -> dict[str, int]:
        """Over the unit indices of the chosen two: how many are detectors in both, in one alone, of one category."""
        tau = self.threshold if threshold is None else threshold
        left, right = (self._detected(name, tau) for name in (self.left, self.right))
        both = left.keys() & right.keys()
        return {
            "both": len(both),
            "left_only": len(left.keys() - both),
            "right_only": len(right.keys() - both),
            "same_category": sum(left[unit] == right[unit] for unit in both),
        }

    def _detected(self, name: str, tau: float) -> dict[int, int]:
        """Unit -> category of the units that are detectors."""
        model = self._entry(name)
        units = enumerate(zip(model["scores"], model["categories"], strict=True))
        return {unit: category for unit, (score, category) in units if category >= 0 and score >= tau}

    def _told(self, name: str) -> str:
        """What the chosen unit is in one network."""
        views = self._views[name]
        if self.unit >= len(views.score):
            return "no such unit"
        return f"{views.best_concept[self.unit] or 'no concept'}, IoU {float(views.score[self.unit]):.3f}"

    def describe(self) -> str:
        """The present state in words: the text alternative of the still picture."""
        counts, shared = self.counts(), self.shared()
        left, right = title_of(self.left), title_of(self.right)
        return (
            f"At an IoU of {self.threshold:g}, {left} has {sum(counts[self.left].values())} concept detectors and "
            f"{right} {sum(counts[self.right].values())}; {shared['both']} unit indices are detectors in both, "
            f"{shared['same_category']} of them of the same category. Unit {self.unit}: {self._told(self.left)} in "
            f"{left}; {self._told(self.right)} in {right}."
        )

    def draw(self) -> Figure:
        """The present state as a matplotlib figure: counts, all units of both networks, the chosen unit's images."""
        figure = new_figure(7.6, 5.9)
        grid = figure.add_gridspec(3, 2, height_ratios=[1.3, 1.15, 0.8])
        names = (self.left, self.right)
        self._draw_counts(figure.add_subplot(grid[0, :]), names)
        for side, name in enumerate(names):
            self._draw_units(figure.add_subplot(grid[1, side]), name)
            self._draw_pictures(figure.add_subfigure(grid[2, side]), name)
        return figure

    def _draw_counts(self, axes: Axes, names: tuple[str, str]) -> None:
        counts = self.counts()
        for side, name in enumerate(names):
            for c, category in enumerate(self.categories):
                place, number = c + (side - 0.5) * 0.4, counts[name][category]
                axes.barh(
                    place, number, height=0.36, facecolor=self.category_colours[c], hatch=hatch(c),
                    edgecolor="#30363d", linewidth=0.6,
                )  # fmt: skip
                axes.barh(place, 0, left=number, height=0.36, edgecolor=self._entry(name)["colour"], linewidth=4)
                axes.text(number, place, f"  {number}", va="center", fontsize=8)
        axes.set_yticks(range(len(self.categories)), self.categories)
        axes.invert_yaxis()
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(labelsize=9, left=False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(
            f"concept detectors at IoU ≥ {self.threshold:g}; upper bar {title_of(names[0])}, lower bar "
            f"{title_of(names[1])}",
            fontsize=9,
        )

    def _draw_units(self, axes: Axes, name: str) -> None:
        model, columns = self._entry(name), 16
        detected = self._detected(name, self.threshold)
        for unit in range(len(model["scores"])):
            category = detected.get(unit)
            row, column = divmod(unit, columns)
            cell = Rectangle((column, row), 0.88, 0.88, linewidth=0.4, facecolor="#e8ecf0", edgecolor="#ffffff")
            if category is not None:
                cell.set(facecolor=self.category_colours[category], hatch=hatch(category), edgecolor="#30363d")
            axes.add_patch(cell)
        if self.unit < len(model["scores"]):
            row, column = divmod(self.unit, columns)
            axes.add_patch(Rectangle((column - 0.06, row - 0.06), 1, 1, fill=False, edgecolor="#1b1f24", linewidth=2.2))
        rows = -(-max(len(m["scores"]) for m in self.models) // columns)
        axes.set_xlim(-0.2, columns)
        axes.set_ylim(rows, -0.2)
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.set_title(f"{title_of(name)}: {len(detected)} of {len(model['scores'])} units", fontsize=9)

    def _draw_pictures(self, part: SubFigure, name: str) -> None:
        views = self._views[name]
        part.suptitle(f"unit {self.unit}: {self._told(name)}", fontsize=9)
        row_of_axes = np.atleast_1d(part.subplots(1, self.images_per_unit))
        for axes in row_of_axes:
            axes.set_axis_off()
        if self.unit >= len(views.score):
            return
        one = slice(self.unit, self.unit + 1)
        masks = region_masks(views.top_maps[one], views.thresholds[one], self._probe.image_size)[0]
        for axes, index, mask in zip(row_of_axes, views.top_index[self.unit].tolist(), masks, strict=False):
            draw_region(axes, self._probe.images[index], mask, self._entry(name)["colour"])


def method_comparison(
    views: Mapping[str, UnitViews],
    probe: ImageSet,
    *,
    left: str | None = None,
    right: str | None = None,
    unit: int | None = None,
    threshold: float = TAU,
    images_per_unit: int = 4,
    colours: Mapping[str, str] | None = None,
    max_bytes: int = STATE_BYTES,
) -> MethodComparison:
    """A widget that sets two of several dissected networks side by side, unit by unit.

    views: method -> `unit_views(dissection, model, probe)`, at least two, all over the same probe set; the book's
    methods get their colours and names, others may be given in `colours` (#rrggbb). left, right: the methods shown at
    first; scratch and kd where there are such, else the first two. unit: the unit shown at first; the right method's
    best one if not given. threshold: the IoU from which a unit counts as a detector at first. images_per_unit: at most
    the number of each unit's images that are shown. max_bytes: bound of the widget's state in the page; pictures are
    compressed and regions coarsened until it holds.

    The reader chooses the two methods, moves the IoU threshold, and walks over the units by arrow keys or clicks; shown
    are the detectors per category of both, all units coloured by category, and the chosen unit's best pictures with its
    region. The same index is the same place in two layers, and for students of one seed the same initial weights; it
    is not the same role.

    Raises KdlibError for fewer than two methods, an unknown one, views that are not of this probe set, and a probe set
    without concept masks.

    >>> from kdlib.data.image_set import ConceptMap
    >>> masks = ConceptMap("object", torch.ones(2, 8, 8, dtype=torch.int64), ("unlabelled", "cat"))
    >>> probe = ImageSet("toy", torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 0]), ("cat",),
    ...                  ("animal",), (0,), concepts=(masks,))
    >>> def toy(score):
    ...     return UnitViews(torch.tensor([score]), ["cat"], ["object"], torch.tensor([0.5]), torch.tensor([[1]]),
    ...                      torch.ones(1, 1, 4, 4))
    >>> comparison = method_comparison({"scratch": toy(0.01), "kd": toy(0.2)}, probe)
    >>> comparison, comparison.counts(), comparison.shared()["right_only"]
    (MethodComparison(scratch, kd), {'scratch': {'object': 0}, 'kd': {'object': 1}}, 1)
    """
    if len(views) < 2:
        raise KdlibError(f"a comparison needs at least two methods, not {len(views)}: {{'scratch': ..., 'kd': ...}}")
    positive_integer(images_per_unit, "images_per_unit")
    categories = check_models(views, probe, threshold)
    if left is None:
        left = "scratch" if "scratch" in views and right != "scratch" else next(name for name in views if name != right)
    if right is None:
        right = "kd" if "kd" in views and left != "kd" else next(name for name in views if name != left)
    for name in (left, right):
        choose(name, views, "method")
    shown = min(images_per_unit, next(iter(views.values())).top_index.shape[1])
    index = {name: each.top_index[:, :shown] for name, each in views.items()}
    used, tiles = torch.unique(torch.cat([i.flatten() for i in index.values()]), return_inverse=True)
    shades = model_colours(views, colours)
    entries = []
    start = 0
    for name, each in views.items():
        entries.append(unit_entry(name, each, shades[name], categories) | {
            "tiles": tiles[start : start + index[name].numel()].tolist(),
            "mask_start": start,
        })  # fmt: skip
        start += index[name].numel()
    room = max_bytes - len(repr(entries)) - len(MethodComparison._esm) - len(MethodComparison._css) - 20_000
    masks, mask_size = _pack_regions(views, shown, probe.image_size, max(0, room * 3 // 4) // 2)
    state = {
        "models": entries,
        "images_per_unit": shown,
        "masks": masks,
        "mask_size": list(mask_size),
        **picture_state(views, probe, used, categories, threshold, room * 3 // 4 - len(masks)),
    }
    chosen = int(views[right].score.argmax()) if unit is None else unit
    widget = MethodComparison(**state, left=left, right=right, unit=chosen, threshold=float(threshold))
    widget._views, widget._probe = dict(views), probe
    widget.static_key = content_key("comparison", *state.values(), left, right, chosen, threshold)
    return widget


def _pack_regions(
    views: Mapping[str, UnitViews], shown: int, image_size: tuple[int, int], max_bytes: int
) -> tuple[bytes, tuple[int, int]]:
    """All units' regions on their images as compressed bits, and the size of a mask: the images', or as many times
    halved as it takes to stay below `max_bytes` (and to be no larger than a picture is shown, 128)."""
    height, width = image_size
    while True:
        if max(height, width) <= 128:
            bits = b"".join(
                pack_bits(region_masks(each.top_maps[:, :shown], each.thresholds, (height, width)).flatten(0, 1))
                for each in views.values()
            )
            packed = gzip.compress(bits, 9, mtime=0)  # mtime=0: the same widget has the same bytes
            if len(packed) <= max_bytes:
                return packed, (height, width)
        if min(height, width) <= 8:
            units = sum(len(each.score) for each in views.values())
            raise KdlibError(f"the regions of {units} units do not fit into the widget's state; show fewer methods")
        height, width = height // 2, width // 2
