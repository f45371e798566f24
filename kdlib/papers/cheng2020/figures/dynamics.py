"""Figures of the chapter on how concepts are learnt: counts over the path length of the weights, by layer and arm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from kdlib.names import MODEL_COLOURS, MODEL_MARKERS, MODEL_NAMES
from kdlib.papers.cheng2020.dynamics import Dynamics
from kdlib.plotting.titles import headline, within
from kdlib.stats import Contrast

PATH_LENGTH = "path length of the weights (first norms)"


def counts_over_distance(courses: Mapping[str, Dynamics], message: str = "") -> Figure:
    """Concepts on the object (full) and beside it (dotted) against the path length of the weights, a panel a network.

    A thin line an image on the object, a bold one their mean, a dotted one the mean beside the object. The dashed line
    stands at D_mean, the shaded band reaches one standard deviation of d(m(I)) to either side. Every network has a
    horizontal axis of its own: path lengths may differ by orders. message: the figure's title.
    """
    figure, axes = plt.subplots(len(courses), figsize=(5.2, 2.5 * len(courses) + 0.7), sharey=True, squeeze=False)
    for axis, (arm, course) in zip(axes[:, 0], courses.items(), strict=True):
        distances, colour = course.distances.numpy(), MODEL_COLOURS.get(arm, "0.3")
        middle, spread = course.speed.mean, course.speed.standard_deviation
        on, beside = (counts.double() for counts in (course.foreground_counts, course.background_counts))
        axis.axvspan(max(0.0, middle - spread), middle + spread, color="0.92", zorder=0)
        axis.axvline(middle, color="0.2", linestyle="--", linewidth=1.2)
        axis.plot(distances, on.numpy(), color=colour, linewidth=0.6, alpha=0.35)
        axis.plot(distances, on.mean(1).numpy(), color=colour, linewidth=3, marker="o", markersize=4)
        axis.plot(distances, beside.mean(1).numpy(), color="0.25", linewidth=2, linestyle=":")
        axis.set_title(MODEL_NAMES.get(arm, arm), fontsize=11)
        axis.set_ylabel("concepts (cells)", fontsize=10)
        axis.set_ylim(bottom=0)
        axis.set_xlim(0, 1.03 * distances[-1] or None)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3), useMathText=True)
    axes[-1, 0].set_xlabel(PATH_LENGTH, fontsize=10)
    headline(figure, message)
    return figure


def training_courses(
    losses: Mapping[str, Mapping[str, Sequence[float]]],
    distances: Mapping[str, Mapping[str, Sequence[float]]],
    message: str = "",
) -> Figure:
    """Left, each network's own loss over its first epoch's; right, the path length of its weights; against epochs.

    losses: layer -> arm -> one mean loss an epoch. distances: layer -> arm -> the path length after each epoch. A row a
    layer. message: the figure's title.
    """
    figure, axes = plt.subplots(len(losses), 2, figsize=(5.4, 1.9 * len(losses) + 1.3), sharex=True, squeeze=False)
    for row, layer in enumerate(losses):
        for arm, values in losses[layer].items():
            _curve(axes[row, 0], arm, np.asarray(values, dtype=float) / values[0])
        for arm, values in distances[layer].items():
            _curve(axes[row, 1], arm, np.asarray(values, dtype=float))
        axes[row, 0].set_ylabel(layer.upper(), rotation=0, ha="right", va="center", fontweight="bold")
        axes[row, 0].set_ylim(bottom=0)
        axes[row, 1].set_yscale("log")
    axes[0, 0].set_title("own loss / first epoch's", fontsize=10)
    axes[0, 1].set_title("path length (first norms)", fontsize=10)
    for axis in axes[-1]:
        axis.set_xlabel("epoch", fontsize=10)
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    headline(figure, message)
    return figure


def _curve(axis: Axes, arm: str, values: np.ndarray) -> None:
    axis.plot(
        range(1, len(values) + 1),
        np.where(values > 0, values, np.nan),
        color=MODEL_COLOURS.get(arm, "0.3"),
        marker=MODEL_MARKERS.get(arm, "o"),
        markersize=4,
        label=MODEL_NAMES.get(arm, arm),
    )


def arms_by_layer(
    panels: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]], message: str = "", fractions: Sequence[str] = ()
) -> Figure:
    """A panel a measure, in it each arm at each layer: every seed a small symbol, their mean a large one.

    panels: label of the vertical axis -> arm -> layer -> one value a seed, NaN where it is not defined. fractions:
    labels of panels that end at 0 and 1; the others are lengths, and end at 0. message: the figure's title.
    """
    figure, axes = plt.subplots(len(panels), figsize=(5.2, 2.3 * len(panels) + 1.1), squeeze=False)
    for axis, (label, arms) in zip(axes[:, 0], panels.items(), strict=True):
        for place, (arm, layers) in enumerate(arms.items()):
            shift = 0.18 * (place - (len(arms) - 1) / 2)
            look = {"color": MODEL_COLOURS.get(arm, "0.3"), "marker": MODEL_MARKERS.get(arm, "o"), "linestyle": ""}
            for x, seeds in enumerate(layers.values()):
                axis.plot([x + shift] * len(seeds), seeds, markersize=4, alpha=0.55, **look)
                defined = [value for value in seeds if math.isfinite(value)]
                name = MODEL_NAMES.get(arm, arm) if x == 0 else None
                axis.plot([x + shift], [np.mean(defined) if defined else math.nan], markersize=10, label=name, **look)
        axis.set_xticks(range(len(layers)), [layer.upper() for layer in layers])
        axis.set_title(label, fontsize=11)
        axis.set_xlim(-0.5, len(layers) - 0.5)
        within(axis, 0, 1 if label in fractions else math.inf)
        axis.grid(axis="x", visible=False)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    headline(figure, message)
    return figure


def differences_by_layer(
    panels: Mapping[str, Mapping[str, Mapping[str, Contrast]]],
    smallest: Mapping[str, float],
    message: str = "",
    fractions: Sequence[str] = (),
) -> Figure:
    """Differences with 95 % intervals, a panel a measure, a row a layer.

    panels: title -> arm that is subtracted -> row -> contrast; a row that one arm lacks is left empty. smallest: title
    -> the smallest difference that would matter, a grey band about zero. message: the figure's title. fractions: titles
    of panels whose differences lie between -1 and 1.
    """
    figure, axes = plt.subplots(len(panels), figsize=(5.4, 2.3 * len(panels) + 1.0), squeeze=False)
    for axis, (title, by_arm) in zip(axes[:, 0], panels.items(), strict=True):
        rows = list(dict.fromkeys(row for found in by_arm.values() for row in found))
        axis.axvspan(-smallest[title], smallest[title], color="0.9", zorder=0)
        axis.axvline(0, color="0.4", linewidth=1)
        for place, (arm, found) in enumerate(by_arm.items()):
            look = {"color": MODEL_COLOURS.get(arm, "0.3"), "marker": MODEL_MARKERS.get(arm, "o")}
            heights = [rows.index(row) + 0.24 * (place - (len(by_arm) - 1) / 2) for row in found]
            for at, contrast in zip(heights, found.values(), strict=True):
                axis.plot(contrast.interval, [at, at], color=look["color"], linewidth=2)
            means = [contrast.mean_difference for contrast in found.values()]
            name = f"minus {MODEL_NAMES.get(arm, arm)}"
            axis.plot(means, heights, linestyle="", markersize=7, label=name, **look)
        axis.set_yticks(range(len(rows)), rows, fontsize=10)
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_title(title, fontsize=11)
        if title in fractions:
            within(axis, -1, 1, "x")
        axis.grid(axis="y", visible=False)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=1, fontsize=10, frameon=False)
    headline(figure, message)
    return figure


def differences_over(
    panels: Mapping[str, Mapping[str, Mapping[float, Contrast]]],
    smallest: Mapping[str, float],
    xlabel: str,
    message: str = "",
    fractions: Sequence[str] = (),
) -> Figure:
    """Differences with 95 % intervals against a setting, a panel a measure.

    panels: title -> arm that is subtracted -> setting -> contrast. smallest: title -> the smallest difference that
    would matter, a grey band about zero. message: the figure's title. fractions: titles of panels whose differences lie
    between -1 and 1.
    """
    figure, axes = plt.subplots(len(panels), figsize=(5.2, 2.2 * len(panels) + 1.1), squeeze=False, sharex=True)
    for axis, (title, by_arm) in zip(axes[:, 0], panels.items(), strict=True):
        axis.axhspan(-smallest[title], smallest[title], color="0.9", zorder=0)
        axis.axhline(0, color="0.4", linewidth=1)
        step = min(np.diff(sorted(next(iter(by_arm.values())))), default=1.0)
        for place, (arm, found) in enumerate(by_arm.items()):
            x = np.array(list(found)) + 0.12 * step * (place - (len(by_arm) - 1) / 2)
            colour = MODEL_COLOURS.get(arm, "0.3")
            for at, contrast in zip(x, found.values(), strict=True):
                axis.plot([at, at], contrast.interval, color=colour, linewidth=2)
            means = [contrast.mean_difference for contrast in found.values()]
            name = f"minus {MODEL_NAMES.get(arm, arm)}"
            axis.plot(x, means, color=colour, marker=MODEL_MARKERS.get(arm, "o"), markersize=7, label=name)
        axis.set_title(title, fontsize=11)
        if title in fractions:
            within(axis, -1, 1)
    axes[-1, 0].set_xlabel(xlabel, fontsize=10)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=1, fontsize=10, frameon=False)
    headline(figure, message)
    return figure


def courses_in_words(courses: Mapping[str, Dynamics]) -> str:
    """Each network's mean counts at its first and last checkpoint, and the path length of its weights."""
    parts = []
    for arm, course in courses.items():
        on, off = (c.double().mean(1) for c in (course.foreground_counts, course.background_counts))
        parts.append(
            f"{MODEL_NAMES.get(arm, arm)}: on the object {_from_to(on)} cells, beside it {_from_to(off)}, over a path "
            f"of {float(course.distances[-1]):.3g} first norms"
        )
    return "; ".join(parts)


def _from_to(values: Tensor) -> str:
    return f"{float(values[0]):.1f} to {float(values[-1]):.1f}"
