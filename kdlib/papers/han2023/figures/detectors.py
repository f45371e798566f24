"""The notebooks' composite figures: each answers one question of a reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from kdlib.data.image_set import ImageSet
from kdlib.metrics.dissection.dissect import Dissection
from kdlib.names import MODEL_COLOURS, MODEL_MARKERS, MODEL_NAMES
from kdlib.plotting.style import picture
from kdlib.widgets import UnitViews
from kdlib.widgets.common import group_colours
from kdlib.widgets.dissection_explorer import region_masks


def hesitant_image(logits: Tensor, labels: Tensor) -> int:
    """The correctly classified image whose runner-up class comes closest.

    >>> hesitant_image(torch.tensor([[9.0, 0.0], [2.0, 1.9], [3.0, 2.0]]), torch.tensor([0, 1, 0]))
    2
    """
    top = logits.softmax(1).topk(2, dim=1)
    gap = top.values[:, 0] - top.values[:, 1]
    gap[top.indices[:, 0] != labels.to(logits.device)] = torch.inf
    return int(gap.argmin())


def softened_outputs(
    logits: Mapping[str, Tensor], temperatures: Sequence[float], image_set: ImageSet, index: int
) -> Figure:
    """One image, and each model's probabilities for every class at each temperature.

    logits: model -> (K,) logits of this image. Classes stand in the order of their superclasses, whose names label
    them from below.
    """
    order = sorted(range(image_set.num_classes), key=lambda c: (image_set.superclass_of[c], c))
    rows = len(temperatures)
    figure = plt.figure(figsize=(7, 2.6 * rows + 0.6))
    grid = figure.add_gridspec(rows, 2, width_ratios=[1, 3.4])
    image_axis = figure.add_subplot(grid[0, 0])
    image_axis.imshow(picture(image_set.images, index), interpolation="nearest")
    image_axis.set_title(f"label: {image_set.class_names[int(image_set.labels[index])]}", fontsize=10)
    image_axis.axis("off")
    axes = [figure.add_subplot(grid[row, 1]) for row in range(rows)]
    names = [image_set.class_names[c] for c in order]
    width = 0.8 / len(logits)
    for axis, temperature in zip(axes, temperatures, strict=True):
        for place, (name, values) in enumerate(logits.items()):
            p = (values / temperature).softmax(0).cpu().numpy()[order]
            x = np.arange(len(order)) + (place - (len(logits) - 1) / 2) * width
            axis.bar(x, p, width, color=MODEL_COLOURS.get(name, "0.5"), label=MODEL_NAMES.get(name, name))
        axis.set_xticks(range(len(order)), names if axis is axes[-1] else [""] * len(names))
        axis.tick_params(axis="x", rotation=50, labelsize=9)
        axis.set_ylim(0, 1)
        axis.set_title(f"T = {temperature:g}")
        axis.set_ylabel("probability")
        _mark_superclasses(axis, order, image_set)
    axes[0].legend(fontsize=9, frameon=False)
    return figure


def _mark_superclasses(axis: Axes, order: Sequence[int], image_set: ImageSet) -> None:
    """Shade every other superclass, so that siblings are seen to stand together."""
    groups = [image_set.superclass_of[c] for c in order]
    for shaded, group in enumerate(dict.fromkeys(groups)):
        first, last = groups.index(group), len(groups) - 1 - groups[::-1].index(group)
        if shaded % 2:
            axis.axvspan(first - 0.5, last + 0.5, color="0.93", zorder=0)
    axis.grid(axis="x", visible=False)


def unit_figure(views: UnitViews, unit: int, probe: ImageSet, *, name: str = "kd") -> Figure:
    """A unit's strongest probe images, dark where it is not active, its region outlined."""
    masks = region_masks(views.top_maps[unit][None], views.thresholds[unit][None], probe.image_size)[0]
    figure, axes = plt.subplots(1, len(masks), figsize=(1.5 * len(masks), 2.1), squeeze=False)
    for axis, mask, index in zip(axes[0], masks.numpy(), views.top_index[unit].tolist(), strict=True):
        image = picture(probe.images, index) / 255
        axis.imshow(image * np.where(mask, 1, 0.35)[..., None], interpolation="nearest")
        if mask.any() and not mask.all():
            axis.contour(mask, levels=[0.5], colors="#F0E442", linewidths=2)
        axis.set_title(probe.class_names[int(probe.labels[index])], fontsize=10)
        axis.axis("off")
    concept = views.best_concept[unit] or "nothing"
    figure.suptitle(
        f"{MODEL_NAMES.get(name, name)}, unit {unit}: best concept “{concept}” ({views.best_category[unit]}), "
        f"IoU {float(views.score[unit]):.3f}",
        fontsize=11,
    )
    return figure


def sheet_figure(sheet: Tensor, names: Sequence[str], columns: int) -> Figure:
    """A contact sheet (C, H, W) uint8 with a name under each image."""
    rows = -(-len(names) // columns)
    figure, axis = plt.subplots(figsize=(1.6 * columns, 1.65 * rows))
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
            label=f"{category} ({len(coverage)})",
            zorder=3,
        )
    g = np.logspace(-4, 0, 200)
    axis.plot(100 * g, np.minimum(g, dissection.quantile) / np.maximum(g, dissection.quantile), color="0.6", lw=1)
    axis.axhline(tau, color="0.2", linestyle="--", linewidth=1)
    axis.annotate(f"detector from {tau:g}", (100, tau), ha="right", va="bottom", fontsize=9)
    axis.set(
        xscale="log", yscale="log", xlabel="coverage of the concept (% of all pixels)", ylabel="highest IoU possible"
    )
    axis.legend(title="category (concepts)", fontsize=8, title_fontsize=8, loc="lower left")
    return axis


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
    axis.set_xticks(range(len(categories)), categories)
    axis.set_ylabel("detectors (units)")
    axis.grid(axis="x", visible=False)
    axis.legend(fontsize=9, frameon=False)
    return axis


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
