"""Figures of the first chapters: one image's softened outputs, and one unit's strongest images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, inf

from kdlib.data.image_set import ImageSet
from kdlib.names import MODEL_COLOURS, MODEL_NAMES, spelt
from kdlib.plotting.style import picture
from kdlib.plotting.titles import headline
from kdlib.widgets import UnitViews
from kdlib.widgets.units import region_masks


def hesitant_image(logits: Tensor, labels: Tensor) -> int:
    """The correctly classified image whose runner-up class comes closest.

    >>> import torch
    >>> hesitant_image(torch.tensor([[9.0, 0.0], [2.0, 1.9], [3.0, 2.0]]), torch.tensor([0, 1, 0]))
    2
    """
    top = logits.softmax(1).topk(2, dim=1)
    gap = top.values[:, 0] - top.values[:, 1]
    gap[top.indices[:, 0] != labels.to(logits.device)] = inf
    return int(gap.argmin())


def softened_outputs(
    logits: Mapping[str, Tensor], temperatures: Sequence[float], image_set: ImageSet, index: int
) -> Figure:
    """One image, and below it each model's probabilities for every class, a panel for each temperature.

    logits: model -> (K,) logits of this image; the title says what a higher temperature does to the first model's.
    Classes stand in the order of their superclasses, every other of which is shaded.
    """
    order = sorted(range(image_set.num_classes), key=lambda c: (image_set.superclass_of[c], c))
    names = [image_set.class_names[c] for c in order]
    rows = len(temperatures)
    figure = plt.figure(figsize=(5.6, 1.7 + 1.9 * rows))
    grid = figure.add_gridspec(rows + 1, 1, height_ratios=[1.0] + [1.5] * rows)
    image_axis = figure.add_subplot(grid[0])
    image_axis.imshow(picture(image_set.images, index), interpolation="nearest")
    image_axis.set_title(f"label: {image_set.class_names[int(image_set.labels[index])]}", fontsize=11)
    image_axis.axis("off")
    axes = [figure.add_subplot(grid[row + 1]) for row in range(rows)]
    width = 0.8 / len(logits)
    for axis, temperature in zip(axes, temperatures, strict=True):
        for place, (name, values) in enumerate(logits.items()):
            p = (values / temperature).softmax(0).cpu().numpy()[order]
            x = np.arange(len(order)) + (place - (len(logits) - 1) / 2) * width
            axis.bar(x, p, width, color=MODEL_COLOURS.get(name, "0.5"), label=MODEL_NAMES.get(name, name))
        axis.set_xticks(range(len(order)), [""] * len(names))
        axis.set_xlim(-0.5, len(order) - 0.5)
        axis.set_ylim(0, 1)
        axis.set_title(f"T = {temperature:g}", fontsize=11)
        axis.set_ylabel("probability", fontsize=11)
        _shade_superclasses(axis, order, image_set)
    axes[-1].set_xticks(range(len(order)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=10)
    image_axis.legend(*axes[0].get_legend_handles_labels(), fontsize=10, frameon=False, loc=(1.2, 0.2))
    first = next(iter(logits))
    largest = [f"{float((logits[first] / t).softmax(0).max()):.2f} at T\u00a0=\u00a0{t:g}" for t in temperatures]
    headline(figure, f"{MODEL_NAMES.get(first, first)}'s largest probability: {', '.join(largest)}")
    return figure


def _shade_superclasses(axis: Axes, order: Sequence[int], image_set: ImageSet) -> None:
    """Shade every other superclass, so that siblings are seen to stand together."""
    groups = [image_set.superclass_of[c] for c in order]
    for shaded, group in enumerate(dict.fromkeys(groups)):
        first, last = groups.index(group), len(groups) - 1 - groups[::-1].index(group)
        if shaded % 2:
            axis.axvspan(first - 0.5, last + 0.5, color="0.93", zorder=0)
    axis.grid(axis="x", visible=False)


def unit_figure(views: UnitViews, unit: int, probe: ImageSet, columns: int = 3) -> Figure:
    """A unit's strongest probe images, dark where it is not active, its region outlined."""
    masks = region_masks(views.top_maps[unit][None], views.thresholds[unit][None], probe.image_size)[0]
    rows = -(-len(masks) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.8 * columns, 2.05 * rows + 0.4), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, mask, index in zip(axes.flat, masks.numpy(), views.top_index[unit].tolist(), strict=False):
        image = picture(probe.images, index) / 255
        axis.imshow(image * np.where(mask, 1, 0.35)[..., None], interpolation="nearest")
        if mask.any() and not mask.all():
            axis.contour(mask, levels=[0.5], colors="#F0E442", linewidths=2)
        axis.set_title(probe.class_names[int(probe.labels[index])], fontsize=11)
    concept = views.best_concept[unit] or "nothing"
    category = f" ({spelt(views.best_category[unit])})" if views.best_category[unit] else ""
    headline(figure, f"Unit {unit}: “{concept}”{category}, IoU {float(views.score[unit]):.3f}")
    return figure
