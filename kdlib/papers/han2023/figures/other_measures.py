"""Figures of the chapter on other measures: saliency bands, DiffROAR by level, gradients over objects."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

from kdlib.data.image_set import ImageSet
from kdlib.metrics.diffroar import DiffRoar
from kdlib.metrics.five_band import BandSummary
from kdlib.names import MODEL_COLOURS, MODEL_MARKERS, MODEL_NAMES
from kdlib.plotting.style import picture

# Bands -2 to 2, from the colour map of the five-band viewer; the truth's heat in its positive half.
BAND_COLOURS = tuple(plt.get_cmap("PuOr_r")(np.linspace(0, 1, 5)))
RANDOM = "random"
_NAMES = {RANDOM: "Random ranking"}


def _name(arm: str) -> str:
    return MODEL_NAMES.get(arm, _NAMES.get(arm, arm))


def _look(arm: str) -> dict[str, Any]:
    return {"color": MODEL_COLOURS.get(arm, "0.5"), "marker": MODEL_MARKERS.get(arm, "x"), "label": _name(arm)}


def _class_name(image_set: ImageSet, index: int) -> str:
    """Name of an image's class, in lines short enough to stand above it."""
    return textwrap.fill(image_set.class_names[int(image_set.labels[index])], 13, break_long_words=False)


def _rows_of_images(titles: Sequence[str], columns: int, size: float) -> tuple[Figure, np.ndarray]:
    """A grid of bare axes whose rows bear a title at their left."""
    figure, axes = plt.subplots(len(titles), columns, figsize=(size * columns, size * len(titles)), squeeze=False)
    for row, title in zip(axes, titles, strict=True):
        for axis in row:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        row[0].set_ylabel(title, fontsize=9)
    return figure, axes


def band_gallery(
    image_set: ImageSet, indices: Sequence[int], truth: Tensor, bands: Mapping[str, Tensor], *, size: float = 1.05
) -> Figure:
    """Images, their true bands, and the bands of every model's saliency map.

    truth: (N, H, W) bands of the whole image set. bands: model -> (len(indices), H, W), of the images at `indices`.
    """
    figure, axes = _rows_of_images(["image", "truth", *(_name(arm) for arm in bands)], len(indices), size)
    look = {"cmap": ListedColormap(BAND_COLOURS), "vmin": -2.5, "vmax": 2.5, "interpolation": "nearest"}
    for column, index in enumerate(int(i) for i in indices):
        axes[0, column].imshow(picture(image_set.images, index), interpolation="nearest")
        axes[0, column].set_title(_class_name(image_set, index), fontsize=8)
        axes[1, column].imshow(truth[index].cpu().numpy(), **look)
        for row, found in enumerate(bands.values(), start=2):
            axes[row, column].imshow(found[column].cpu().numpy(), **look)
    return figure


def soft_band_curves(summaries: Mapping[str, Sequence[BandSummary]], measures: Mapping[str, str]) -> Figure:
    """Mean scores while the thresholds move towards zero: a panel for each measure, bands from least to most.

    summaries: model -> one summary a seed. measures: name in `BandSummary.curve` -> label of the axis.
    """
    figure, axes = plt.subplots(1, len(measures), figsize=(4.4 * len(measures), 3.6), squeeze=False)
    for axis, (measure, label) in zip(axes[0], measures.items(), strict=True):
        for arm, found in summaries.items():
            moved = (found[0].thresholds[0, 2] - found[0].thresholds[:, 2]).numpy()
            curves = 100 * np.array([each.curve[measure].cpu().numpy() for each in found])
            look = _look(arm)
            axis.plot(moved, curves.mean(0), markevery=11, markersize=5, **look)
            axis.fill_between(moved, curves.min(0), curves.max(0), color=look["color"], alpha=0.15, linewidth=0)
        axis.set(xlabel="thresholds moved towards 0 by", ylabel=label)
    axes[0, 0].legend(fontsize=8, frameon=False)
    return figure


def diffroar_by_level(scores: Mapping[str, Sequence[DiffRoar]]) -> Figure:
    """Left DiffROAR at every unmask level, right the two accuracies it is made of; means, bands from least to most.

    scores: model (or "random") -> one `DiffRoar` a seed, all of the same levels.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.7))
    for arm, found in scores.items():
        levels = 100 * np.array(found[0].fractions)
        curves = 100 * np.array([each.scores() for each in found])
        look = _look(arm)
        left.plot(levels, curves.mean(0), **look)
        left.fill_between(levels, curves.min(0), curves.max(0), color=look["color"], alpha=0.15, linewidth=0)
        for kept, style in (("top", "-"), ("bottom", ":")):
            accuracies = 100 * np.array([getattr(each, kept) for each in found]).mean((0, 2))
            right.plot(levels, accuracies, linestyle=style, color=look["color"], marker=look["marker"], markersize=4)
    left.axhline(0, color="0.2", linewidth=1)
    left.set(xlabel="coordinates kept (%)", ylabel="DiffROAR (points of accuracy)")
    left.legend(fontsize=8, frameon=False)
    right.set(xlabel="coordinates kept (%)", ylabel="accuracy of the retrained network (%)")
    for kept, style in (("top kept", "-"), ("bottom kept", ":")):
        right.plot([], [], linestyle=style, color="0.2", label=kept)
    right.legend(fontsize=8, frameon=False)
    return figure


def gradient_gallery(
    image_set: ImageSet, indices: Sequence[int], gradients: Mapping[str, Tensor], *, size: float = 1.25
) -> Figure:
    """Images above each model's gradient magnitudes, white (none) to red (3 root mean squares); objects outlined.

    gradients: model -> (len(indices), C, H, W), of the images at `indices`, whose set must have a foreground.
    """
    assert image_set.foreground is not None
    figure, axes = _rows_of_images(["image", *(_name(arm) for arm in gradients)], len(indices), size)
    for column, index in enumerate(int(i) for i in indices):
        mask = image_set.foreground[index].cpu().numpy()
        axes[0, column].imshow(picture(image_set.images, index), interpolation="nearest")
        axes[0, column].set_title(_class_name(image_set, index), fontsize=8)
        for row, found in enumerate(gradients.values(), start=1):
            strength = found[column].abs().sum(0).cpu().numpy()
            top = 3 * float(np.sqrt((strength**2).mean())) or 1.0
            axes[row, column].imshow(strength, cmap="Reds", vmin=0, vmax=top, interpolation="nearest")
            if mask.any() and not mask.all():
                axes[row, column].contour(mask, levels=[0.5], colors="#0072B2", linewidths=1)
    return figure
