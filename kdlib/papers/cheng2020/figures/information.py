"""Figures of the chapter on information discarding: entropy maps, how they are searched, and what changes counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from torch import Tensor

from kdlib.names import MODEL_COLOURS, MODEL_MARKERS, MODEL_NAMES
from kdlib.plotting.style import picture
from kdlib.plotting.tables import with_minus
from kdlib.plotting.titles import headline
from kdlib.widgets.cells import MARK_COLOURS, border, draw_outline
from kdlib.widgets.entropy_explorer import ENTROPY_MAP

COUNTS = {
    "n_foreground": "concepts on the object",
    "n_background": "concepts beside it",
    "share": "share on the object",
}
_CONCEPT = MARK_COLOURS["background"]


def search_paths(
    paths: Mapping[str, Tensor], *, target: float, dashed: Mapping[str, Tensor] | None = None, message: str = ""
) -> Figure:
    """Mean entropy in nats at each step of a search, a line a name; a level line at the target.

    paths: name -> (steps,), NaN where a search was left. dashed: name of `paths` -> (steps,), drawn over it.
    message: the figure's title.
    """
    figure, axis = plt.subplots(figsize=(5.2, 4.4))
    for colour, (name, path) in zip(colormaps["viridis"](np.linspace(0, 0.85, len(paths))), paths.items(), strict=True):
        axis.plot(path.numpy(), color=colour, linewidth=3.5, alpha=0.55, label=name)
        if dashed and name in dashed:
            axis.plot(dashed[name].numpy(), color=colour, linestyle="--", linewidth=1.3)
    axis.axhline(target, color="0.3", linestyle=":", linewidth=1.5, label=with_minus(f"stop at {target:g} nats"))
    axis.set_xlabel("step of the search")
    axis.set_ylabel("mean entropy (nats)")
    figure.legend(fontsize=10, frameon=False, loc="outside lower center", ncols=2)
    headline(figure, message)
    return figure


def maps_in_pairs(
    maps: Mapping[str, Tensor], foreground: Tensor, *, label: str = "H (nats)", message: str = ""
) -> Figure:
    """Maps (rows, columns), two in a line, each with a colour bar of its own; the object's cells outlined."""
    lines = -(-len(maps) // 2)
    figure, axes = plt.subplots(lines, 2, figsize=(5.4, 2.4 * lines + 0.5), squeeze=False)
    for axis, (name, values) in zip(axes.flat, maps.items(), strict=False):
        shown = _heat_map(axis, values, foreground)
        axis.set_title(name, fontsize=10)
        bar = figure.colorbar(shown, ax=axis, shrink=0.8)
        bar.ax.tick_params(labelsize=9)
        bar.set_label(label, fontsize=9)
    for axis in axes.flat[len(maps) :]:
        axis.axis("off")
    headline(figure, message)
    return figure


def entropy_maps(
    images: Tensor,
    rows: Sequence[str],
    columns: Mapping[str, tuple[Tensor, Tensor]],
    foreground: Tensor,
    message: str = "",
) -> Figure:
    """A row a picture: the picture, then its map in each column, all in one scale of nats.

    With more than two columns of maps rows and columns change places, so that a phone shows them large enough.

    images: (N, C, H, W) uint8. rows: a name each. columns: name -> (entropy, concepts), both (N, R, C): concept cells
    are outlined. foreground: (N, R, C) bool, outlined too. message: the figure's title.
    """
    values = np.concatenate([entropy.flatten().numpy() for entropy, _ in columns.values()])
    low, high = np.nanquantile(values, (0.01, 0.99))
    size, turned = 1.15, len(columns) > 2
    shape = (len(columns) + 1, len(images)) if turned else (len(images), len(columns) + 1)
    figure, grid = plt.subplots(*shape, figsize=(size * shape[1] + 0.8, size * shape[0] + 1.1), squeeze=False)
    for number, row in enumerate(grid.T if turned else grid):
        cells = foreground.shape[1:]
        row[0].imshow(picture(images, number), extent=(0, cells[1], cells[0], 0), interpolation="nearest")
        draw_outline(row[0], foreground[number])
        row[0].set_axis_off()
        row[0].set_title(rows[number], fontsize=10)
        for axis, (name, (entropy, concepts)) in zip(row[1:], columns.items(), strict=True):
            shown = _heat_map(axis, entropy[number], foreground[number], low=float(low), high=float(high))
            axis.add_collection(LineCollection(border(concepts[number]), colors=_CONCEPT, linewidths=1.6))
            if number == 0 and turned:
                axis.set_ylabel(_two_lines(name), fontsize=10)
            elif number == 0:
                axis.set_title(_two_lines(name), fontsize=10)
    bar = figure.colorbar(shown, ax=grid, shrink=0.7, pad=0.01)
    bar.set_label("H (nats): low = kept", fontsize=9)
    handles = [
        Line2D([], [], color=_CONCEPT, linewidth=2, label="concept cells"),
        Line2D([], [], color="#10151b", linewidth=2, label="border of the object's cells"),
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=1, fontsize=10, frameon=False)
    headline(figure, message)
    return figure


def _heat_map(
    axis: Axes, values: Tensor, foreground: Tensor, low: float | None = None, high: float | None = None
) -> AxesImage:
    rows, columns = values.shape
    shown = axis.imshow(
        values.numpy(), cmap=ENTROPY_MAP, vmin=low, vmax=high, extent=(0, columns, rows, 0), interpolation="nearest"
    )
    draw_outline(axis, foreground)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(visible=False)
    return shown


def _two_lines(name: str) -> str:
    return "\n".join(wrap(name, 11))


def early_against_converged(early: Tensor, converged: Tensor, *, threshold: float, message: str = "") -> Figure:
    """Two maps of the same cells, as deviations from their mean: cell against cell, and how both are spread.

    early, converged: H in nats of any one shape. threshold: b, for a line at -b.
    message: the figure's title.
    """
    both = [(values - values.mean()).flatten().numpy() for values in (early, converged)]
    figure, (left, right) = plt.subplots(2, figsize=(5.2, 6.4))
    left.plot(both[1], both[0], linestyle="", marker=".", markersize=4, color="0.25", alpha=0.5)
    ends = [float(min(map(np.min, both))), float(max(map(np.max, both)))]
    left.plot(ends, ends, color="0.6", linewidth=1, linestyle="--")
    left.set_xlabel("minimum: H minus its mean (nats)")
    left.set_ylabel("stopped early (nats)")
    bins = np.linspace(ends[0], ends[1], 40)
    looks = {"stopped early": ("0.1", "-"), "minimum": ("0.5", "--")}
    for values, (name, (colour, style)) in zip(both, looks.items(), strict=True):
        right.hist(values, bins=bins, histtype="step", linewidth=2, color=colour, linestyle=style, label=name)
    right.axvline(-threshold, color="0.3", linestyle=":", linewidth=1.5)
    right.set_xlabel(f"H minus its mean (nats); dotted: {threshold:g} below")
    right.set_ylabel("cells")
    right.legend(fontsize=10, frameon=False)
    headline(figure, message)
    return figure


def against_samples(
    panels: Mapping[str, Mapping[str, Mapping[str, Mapping[int, Sequence[float]]]]], message: str = ""
) -> Figure:
    """How alike two maps are against the number of samples: images as points, their means joined.

    panels: y label -> arm -> what is compared -> samples -> one value an image, NaN where there is none. The first
    thing compared has full lines, the second dashed ones.
    """
    figure, axes = plt.subplots(len(panels), figsize=(5.2, 3.1 * len(panels) + 1.0), squeeze=False)
    kinds: dict[str, Any] = {}
    for axis, (label, arms) in zip(axes[:, 0], panels.items(), strict=True):
        for place, (arm, compared) in enumerate(arms.items()):
            colour, marker = MODEL_COLOURS.get(arm, "0.3"), MODEL_MARKERS.get(arm, "o")
            for (kind, by_samples), style in zip(compared.items(), ("-", "--"), strict=False):
                kinds[kind] = style
                shift = 1 + 0.05 * (2 * place - 1)  # or the points of two arms would lie on each other
                xs = [samples * shift for samples in by_samples]
                for x, values in zip(xs, by_samples.values(), strict=True):
                    axis.plot(
                        [x] * len(values), values, linestyle="", marker=marker, markersize=3.5, color=colour, alpha=0.4
                    )
                means = [np.nanmean(v) if np.isfinite(v).any() else np.nan for v in by_samples.values()]
                axis.plot(xs, means, color=colour, linestyle=style, marker=marker, markersize=8)
        axis.set_xscale("log", base=2)
        ticks = sorted({samples for compared in arms.values() for each in compared.values() for samples in each})
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.set_xlabel("samples at each step")
        axis.set_ylabel(label)
        axis.set_ylim(top=1.02)
    handles = [
        Line2D([], [], color=MODEL_COLOURS.get(arm, "0.3"), marker=MODEL_MARKERS.get(arm, "o"), label=_name(arm))
        for arm in next(iter(panels.values()))
    ]
    handles += [Line2D([], [], color="0.3", linestyle=style, label=kind) for kind, style in kinds.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=10, frameon=False)
    headline(figure, message)
    return figure


def counts_against(
    values: Mapping[str, Mapping[str, Mapping[float, Mapping[str, float]]]],
    *,
    xlabel: str,
    chosen: float | None = None,
    message: str = "",
) -> Figure:
    """Concepts on the object, beside it, and the share, a panel each, against a setting.

    values: line style's name -> arm -> setting -> `VisualConcepts.summary()`. The first style is full, others dashed
    and dotted. chosen: the setting at which a dotted line stands.
    """
    figure, axes = plt.subplots(len(COUNTS), figsize=(5.2, 7.6), sharex=True)
    styles: dict[str, Any] = dict(zip(values, ("-", "--", ":"), strict=False))
    for axis, (key, title) in zip(axes, COUNTS.items(), strict=True):
        for name, arms in values.items():
            for arm, by_setting in arms.items():
                axis.plot(
                    list(by_setting),
                    [summary[key] for summary in by_setting.values()],
                    color=MODEL_COLOURS.get(arm, "0.3"),
                    marker=MODEL_MARKERS.get(arm, "o"),
                    markersize=5,
                    linestyle=styles[name],
                )
        if chosen is not None:
            axis.axvline(chosen, color="0.3", linestyle=":", linewidth=1.5)
        axis.set_title(title, fontsize=11)
        axis.set_ylabel("fraction" if key == "share" else "cells an image", fontsize=10)
        axis.set_ylim(0, 1 if key == "share" else None)
    axes[-1].set_xlabel(xlabel)
    shown = dict.fromkeys(arm for lines in values.values() for arm in lines)
    handles = [
        Line2D([], [], color=MODEL_COLOURS.get(arm, "0.3"), marker=MODEL_MARKERS.get(arm, "o"), label=_name(arm))
        for arm in shown
    ]
    if len(values) > 1:
        handles += [Line2D([], [], color="0.3", linestyle=style, label=name) for name, style in styles.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=10, frameon=False)
    headline(figure, message)
    return figure


def _name(arm: str) -> str:
    return MODEL_NAMES.get(arm, arm)
