"""Figures of the chapter on other measures: saliency bands, DiffROAR by level, gradients over objects."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor, nn

from kdlib.claims.phrases import signed
from kdlib.data.image_set import ImageSet
from kdlib.explain.saliency import loss_gradients
from kdlib.metrics.diffroar import DiffRoar
from kdlib.metrics.five_band import VARIANTS, BandSummary, stratify
from kdlib.names import MODEL_COLOURS, MODEL_MARKERS, MODEL_NAMES
from kdlib.papers.han2023.figures.students import correlation
from kdlib.plotting.seeds import seeds_and_means, seeds_in_words
from kdlib.plotting.style import picture
from kdlib.plotting.titles import WIDTH, headline, within

# Bands -2 to 2, from the colour map of the five-band viewer; the truth's heat in its positive half.
BAND_COLOURS = tuple(plt.get_cmap("PuOr_r")(np.linspace(0, 1, 5)))
RANDOM = "random"
_NAMES = {RANDOM: "Random ranking"}


def _name(arm: str) -> str:
    return MODEL_NAMES.get(arm, _NAMES.get(arm, arm))


def _look(arm: str) -> dict[str, Any]:
    return {"color": MODEL_COLOURS.get(arm, "0.5"), "marker": MODEL_MARKERS.get(arm, "x"), "label": _name(arm)}


def _class_name(image_set: ImageSet, index: int) -> str:
    """Name of an image's class, in lines short enough to stand beside it."""
    return textwrap.fill(image_set.class_names[int(image_set.labels[index])], 13, break_long_words=False)


def _columns_of_images(titles: Sequence[str], names: Sequence[str], size: float) -> tuple[Figure, np.ndarray]:
    """A grid of bare axes: a row for each name, a column below each title."""
    size_in_inches = (size * len(titles) + 0.6, size * len(names) + 0.3)
    figure, axes = plt.subplots(len(names), len(titles), figsize=size_in_inches, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(textwrap.fill(title, 12), fontsize=9)
    for axis, name in zip(axes[:, 0], names, strict=True):
        axis.set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center")
    return figure, axes


def band_gallery(
    image_set: ImageSet, indices: Sequence[int], truth: Tensor, bands: Mapping[str, Tensor], *, size: float = 0.82
) -> Figure:
    """Images, their true bands, and the bands of every model's saliency map; an image a row.

    truth: (N, H, W) bands of the whole image set. bands: model -> (len(indices), H, W), of the images at `indices`.
    """
    names = [_class_name(image_set, int(index)) for index in indices]
    figure, axes = _columns_of_images(["image", "truth", *(_name(arm) for arm in bands)], names, size)
    look = {"cmap": ListedColormap(BAND_COLOURS), "vmin": -2.5, "vmax": 2.5, "interpolation": "nearest"}
    for row, index in enumerate(int(i) for i in indices):
        axes[row, 0].imshow(picture(image_set.images, index), interpolation="nearest")
        axes[row, 1].imshow(truth[index].cpu().numpy(), **look)
        for column, found in enumerate(bands.values(), start=2):
            axes[row, column].imshow(found[row].cpu().numpy(), **look)
    return figure


def draw_seeds(panels: Mapping[str, Mapping[str, Sequence[float]]], teacher: Mapping[str, float]) -> str:
    """`seeds_and_means` of each measure, one panel above the other; values in percent.

    panels: label -> arm -> one value a seed. teacher: label -> its value, a dashed line.
    """
    figure, axes = plt.subplots(len(panels), 1, figsize=(WIDTH, 2.7 * len(panels) + 0.4), squeeze=False)
    words, gains = [], []
    for axis, (label, values) in zip(axes[:, 0], panels.items(), strict=True):
        seeds_and_means(values, axis, ylabel=f"{label} (%)", reference=("teacher", teacher[label]))
        within(axis, 0, 100)
        gain = np.mean(values["kd"]) - np.mean(values["scratch"])
        gains.append(f"{label} {signed(float(gain), 1)}")
        words.append(f"{label}: {seeds_in_words(values, '%')}; teacher {teacher[label]:.1f} %")
    headline(figure, f"KD minus scratch, points: {', '.join(gains)}")
    return f"{'. '.join(words)}."


def draw_against_accuracy(
    panels: Mapping[str, tuple[Mapping[str, Sequence[float]], Mapping[str, Sequence[float]], str]],
) -> str:
    """Each measure against test accuracy, a symbol for each student, one panel above the other.

    panels: name of the data -> accuracies and values (arm -> one a seed), and the label of the values.
    """
    figure, axes = plt.subplots(len(panels), 1, figsize=(WIDTH, 2.7 * len(panels) + 0.4), squeeze=False)
    found = []
    for axis, (name, (accuracies, values, label)) in zip(axes[:, 0], panels.items(), strict=True):
        for arm in accuracies:
            axis.scatter(accuracies[arm], values[arm], **_look(arm))
        axis.set(xlabel="test accuracy (%)", ylabel=label)
        axis.set_title(name, fontsize=10)
        x, y = (np.concatenate([by_arm[arm] for arm in accuracies]) for by_arm in (accuracies, values))
        found.append(correlation(x, y))
    axes[0, 0].legend(fontsize=9, frameon=False)
    headline(figure, f"Correlations with accuracy: {', '.join(found)}")
    return f"Each measure against test accuracy, a dot for each student. Correlations: {', '.join(found)}."


def draw_bands(
    image_set: ImageSet, indices: Sequence[int], truth: Tensor, heats: Mapping[str, Tensor], variant: str
) -> str:
    """`band_gallery` of normalised maps, cut at a variant's first thresholds; model -> (len(indices), H, W)."""
    start = VARIANTS[variant]
    thresholds = (-start.t2, -start.t1, start.t1, start.t2)
    bands = {arm: stratify(heat, thresholds) for arm, heat in heats.items()}
    headline(band_gallery(image_set, indices, truth, bands), "Where the map of each network is strong and weak")
    names = ", ".join(_name(arm) for arm in bands)
    return f"{len(indices)} pictures, their true bands, and the bands of the maps of: {names}."


def draw_gradients(image_set: ImageSet, models: Mapping[str, nn.Module], count: int = 6) -> str:
    """`gradient_gallery` of the first images whose object covers more than a tenth of the picture."""
    assert image_set.foreground is not None
    large = (image_set.foreground.flatten(1).float().mean(1) > 0.1).nonzero()[:count, 0].tolist()
    pixels, labels = image_set.inputs(torch.tensor(large)), image_set.labels[large]
    gradients = {arm: loss_gradients(model, pixels, labels) for arm, model in models.items()}
    headline(gradient_gallery(image_set, large, gradients), "Where the loss gradient of each network is strong")
    names = ", ".join(_name(arm) for arm in models)
    return f"{len(large)} scenes, objects outlined, and the magnitude of the loss gradient of: {names}."


def draw_soft_bands(summaries: Mapping[str, Sequence[BandSummary]], measures: Mapping[str, str]) -> str:
    """`soft_band_curves`, with the number of positions at which KD is above scratch in each measure as its title."""
    figure = soft_band_curves(summaries, measures)
    listed = []
    for measure, label in measures.items():
        kd, scratch = (
            np.mean([each.curve[measure].cpu().numpy() for each in summaries[arm]], axis=0) for arm in ("kd", "scratch")
        )
        listed.append(f"{label.removesuffix(' (%)')} {int((kd > scratch).sum())} of {len(kd)}")
    headline(figure, f"Positions with KD above scratch: {', '.join(listed)}")
    return (
        f"Scores of each kind of student while the thresholds move towards zero. KD above scratch: {', '.join(listed)}."
    )


def draw_diffroar(levels: Mapping[str, Sequence[DiffRoar]]) -> str:
    """`diffroar_by_level`, with the number of levels at which KD is above scratch as its title."""
    figure = diffroar_by_level(levels)
    kd, scratch = (np.mean([each.scores() for each in levels[arm]], axis=0) for arm in ("kd", "scratch"))
    headline(figure, f"DiffROAR: KD above scratch at {int((kd > scratch).sum())} of {len(kd)} levels, on average")
    points = {_name(arm): [100 * each.mean() for each in found] for arm, found in levels.items()}
    return f"DiffROAR by level, and the accuracies it is made of. Mean over levels: {seeds_in_words(points, 'points')}."


def soft_band_curves(summaries: Mapping[str, Sequence[BandSummary]], measures: Mapping[str, str]) -> Figure:
    """Mean scores while the thresholds move towards zero: a panel for each measure, bands from least to most.

    summaries: model -> one summary a seed. measures: name in `BandSummary.curve` -> label of the axis.
    """
    figure, axes = plt.subplots(len(measures), 1, figsize=(WIDTH, 2.8 * len(measures)), squeeze=False)
    for axis, (measure, label) in zip(axes[:, 0], measures.items(), strict=True):
        for arm, found in summaries.items():
            moved = (found[0].thresholds[0, 2] - found[0].thresholds[:, 2]).numpy()
            curves = 100 * np.array([each.curve[measure].cpu().numpy() for each in found])
            look = _look(arm)
            axis.plot(moved, curves.mean(0), markevery=11, markersize=5, **look)
            axis.fill_between(moved, curves.min(0), curves.max(0), color=look["color"], alpha=0.15, linewidth=0)
        axis.set(xlabel="thresholds moved towards 0 by", ylabel=label)
    axes[0, 0].legend(fontsize=9, frameon=False)
    return figure


def diffroar_by_level(scores: Mapping[str, Sequence[DiffRoar]]) -> Figure:
    """DiffROAR at every unmask level above the two accuracies it is made of; means, bands from least to most.

    scores: model (or "random") -> one `DiffRoar` a seed, all of the same levels.
    """
    figure, (above, below) = plt.subplots(2, 1, figsize=(WIDTH, 6.4))
    for arm, found in scores.items():
        levels = 100 * np.array(found[0].fractions)
        curves = 100 * np.array([each.scores() for each in found])
        look = _look(arm)
        above.plot(levels, curves.mean(0), **look)
        above.fill_between(levels, curves.min(0), curves.max(0), color=look["color"], alpha=0.15, linewidth=0)
        for kept, style in (("top", "-"), ("bottom", ":")):
            accuracies = 100 * np.array([getattr(each, kept) for each in found]).mean((0, 2))
            below.plot(levels, accuracies, linestyle=style, color=look["color"], marker=look["marker"], markersize=4)
    above.axhline(0, color="0.2", linewidth=1)
    above.set(xlabel="coordinates kept (%)", ylabel="DiffROAR (points)")
    above.legend(fontsize=9, frameon=False)
    below.set(xlabel="coordinates kept (%)", ylabel="retrained accuracy (%)")
    for kept, style in (("top kept", "-"), ("bottom kept", ":")):
        below.plot([], [], linestyle=style, color="0.2", label=kept)
    below.legend(fontsize=9, frameon=False)
    within(below, 0, 100)
    return figure


def gradient_gallery(
    image_set: ImageSet, indices: Sequence[int], gradients: Mapping[str, Tensor], *, size: float = 0.82
) -> Figure:
    """Images beside each model's gradient magnitudes, white (none) to red (3 root mean squares); objects outlined.

    gradients: model -> (len(indices), C, H, W), of the images at `indices`, whose set must have a foreground.
    """
    assert image_set.foreground is not None
    names = [_class_name(image_set, int(index)) for index in indices]
    figure, axes = _columns_of_images(["image", *(_name(arm) for arm in gradients)], names, size)
    for row, index in enumerate(int(i) for i in indices):
        mask = image_set.foreground[index].cpu().numpy()
        axes[row, 0].imshow(picture(image_set.images, index), interpolation="nearest")
        for column, found in enumerate(gradients.values(), start=1):
            strength = found[row].abs().sum(0).cpu().numpy()
            top = 3 * float(np.sqrt((strength**2).mean())) or 1.0
            axes[row, column].imshow(strength, cmap="Reds", vmin=0, vmax=top, interpolation="nearest")
            if mask.any() and not mask.all():
                axes[row, column].contour(mask, levels=[0.5], colors="#0072B2", linewidths=1)
    return figure
