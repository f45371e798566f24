"""Figures of concept detectors: which concepts can be found, how many were, and by which units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from kdlib.metrics.dissection.dissect import Dissection
from kdlib.names import MODEL_COLOURS, MODEL_MARKERS, MODEL_NAMES, spelt
from kdlib.papers.han2023.figures.detector_words import TAUS, by_category_in_words, largest_category, order_at
from kdlib.plotting.titles import WIDTH, entitle, headline
from kdlib.widgets.common import group_colours


def sheet_figure(sheet: Tensor, names: Sequence[str], columns: int) -> Figure:
    """A contact sheet (C, H, W) uint8 with a name under each image."""
    rows = -(-len(names) // columns)
    figure, axis = plt.subplots(figsize=(1.2 * columns, 1.25 * rows))
    axis.imshow(sheet.permute(1, 2, 0).numpy(), interpolation="nearest")
    height, width = sheet.shape[1] / rows, sheet.shape[2] / columns
    for place, name in enumerate(names):
        x, y = (place % columns + 0.5) * width, (place // columns + 1) * height - 3
        axis.text(x, y, name, ha="center", va="bottom", fontsize=9, bbox={"facecolor": "white", "pad": 1, "lw": 0})
    axis.axis("off")
    return figure


def reachable_concepts(dissection: Dissection, tau: float, axis: Axes) -> Axes:
    """Coverage of every concept against the highest IoU a unit can reach with it."""
    colours = group_colours(len(dissection.coverage))
    for place, (category, coverage) in enumerate(dissection.coverage.items()):
        axis.scatter(
            100 * coverage,
            dissection.ceiling[category],
            color=colours[place],
            marker="os^Dv*P"[place % 7],
            edgecolor="0.3",
            label=f"{spelt(category)} ({len(coverage)})",
            zorder=3,
        )
    g = np.logspace(-4, 0, 200)
    axis.plot(100 * g, np.minimum(g, dissection.quantile) / np.maximum(g, dissection.quantile), color="0.6", lw=1)
    axis.axhline(tau, color="0.2", linestyle="--", linewidth=1)
    axis.annotate(f"detector from {tau:g}", (100, tau), ha="right", va="bottom", fontsize=9)
    axis.set(
        xscale="log", yscale="log", xlabel="coverage of the concept (% of all pixels)", ylabel="highest IoU possible"
    )
    axis.set_xlim(right=100)
    axis.set_ylim(top=1)
    axis.legend(title="category (concepts)", fontsize=8, title_fontsize=8, loc="lower left")
    return axis


def draw_reachable(dissection: Dissection, tau: float) -> str:
    """`reachable_concepts` as a figure; its title says how many are within reach."""
    figure, axis = plt.subplots(figsize=(WIDTH, 4))
    reachable_concepts(dissection, tau, axis)
    concepts = sum(len(coverage) for coverage in dissection.coverage.values())
    found = f"{dissection.reachable(tau)} of {concepts} concepts are within reach of IoU {tau:g}"
    headline(figure, found)
    return f"Highest possible IoU against coverage, a symbol for each concept; {found}."


def detectors_by_category(dissections: Mapping[str, Sequence[Dissection]], tau: float, axis: Axes) -> Axes:
    """Mean number of detectors per category (exclusive) and model, each seed a dot.

    dissections: model -> one dissection a seed.
    """
    categories = list(next(iter(dissections.values()))[0].iou)
    width = 0.8 / len(dissections)
    for place, (name, found) in enumerate(dissections.items()):
        counts = np.array([[d.count_by_category(tau)[c] for c in categories] for d in found])
        x = np.arange(len(categories)) + (place - (len(dissections) - 1) / 2) * width
        colour = MODEL_COLOURS.get(name, "0.5")
        axis.bar(x, counts.mean(0), width, color=colour, alpha=0.75, label=MODEL_NAMES.get(name, name))
        for row in counts:
            axis.scatter(x, row, color="white", edgecolor="0.1", s=14, zorder=3, linewidth=0.8)
    axis.set_xticks(range(len(categories)), [spelt(c) for c in categories], fontsize=10)
    axis.set_ylabel("detectors (units)")
    axis.set_ylim(bottom=0)
    axis.grid(axis="x", visible=False)
    axis.legend(fontsize=9, frameon=False)
    return axis


def draw_categories(
    panels: Mapping[str, Mapping[str, Sequence[Dissection]]], tau: float, pair: Sequence[str] = ("kd", "scratch")
) -> str:
    """`detectors_by_category`, a panel below the other for each setting; titled by where two arms differ most.

    panels: name of the setting, empty for the only one -> model -> one dissection a seed. pair: the two arms.
    """
    figure, axes = plt.subplots(len(panels), 1, figsize=(WIDTH, 3.6 * len(panels)), squeeze=False)
    words = []
    for axis, (name, networks) in zip(axes[:, 0], panels.items(), strict=True):
        detectors_by_category(networks, tau, axis)
        _say(figure, axis, name, largest_category(networks, pair[0], pair[1], tau))
        words.append(f"{name}: {by_category_in_words(networks, tau)}" if name else by_category_in_words(networks, tau))
    return " ".join(words)


def draw_thresholds(panels: Mapping[str, Mapping[str, Sequence[Dissection]]], tau: float) -> str:
    """`detector_curves`, a panel below the other for each setting; the title says whether the order stays.

    panels: as `draw_categories` has them.
    """
    figure, axes = plt.subplots(len(panels), 1, figsize=(WIDTH, 3.6 * len(panels)), squeeze=False)
    for axis, (name, networks) in zip(axes[:, 0], panels.items(), strict=True):
        detector_curves(networks, TAUS, tau, axis)
        students = {arm: found for arm, found in networks.items() if arm != "teacher"}
        _, same = order_at(students, (tau, 2 * tau))
        _say(figure, axis, name, f"IoU {tau:g} and {2 * tau:g}: {'the same' if same else 'another'} order of students")
    return "Number of detectors against the IoU threshold, falling from left to right; means over seeds."


def detector_curves(
    dissections: Mapping[str, Sequence[Dissection]], taus: Sequence[float], tau: float, axis: Axes
) -> Axes:
    """Detectors against the IoU threshold: mean over seeds as a line, least to most as a band."""
    for name, found in dissections.items():
        curves = np.array([d.curve(taus) for d in found])
        colour = MODEL_COLOURS.get(name, "0.5")
        axis.plot(
            taus,
            curves.mean(0),
            color=colour,
            marker=MODEL_MARKERS.get(name, "o"),
            markevery=3,
            label=MODEL_NAMES.get(name, name),
        )
        axis.fill_between(taus, curves.min(0), curves.max(0), color=colour, alpha=0.15, linewidth=0)
    axis.axvline(tau, color="0.2", linestyle="--", linewidth=1)
    axis.set(xlabel="IoU threshold", ylabel="detectors (units)")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=9, frameon=False)
    return axis


def _say(figure: Figure, axis: Axes, name: str, message: str) -> None:
    """The message above the figure, or above its panel where panels have names."""
    if name:
        entitle(axis, name, message)
    else:
        headline(figure, message)
