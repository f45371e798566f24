"""Figures and sums of the chapter on how concepts are learnt: counts over the way of the weights, by layer and arm."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from kdlib.metrics.learning_dynamics import LearningSpeed, Stability
from kdlib.names import MODEL_COLOURS, MODEL_MARKERS, MODEL_NAMES
from kdlib.papers.cheng2020.study import Dynamics
from kdlib.stats import Contrast, paired_contrast

WAY = "way of the weights (first norms)"


Values = dict[str, dict[int, float]]  # arm -> seed -> number


def speed_and_stability(speed: LearningSpeed, stable: Stability) -> dict[str, float]:
    """The chapter's measures of one run at one layer, by the names that the claims give them.

    NaN for the distances if no image ever has a concept. stability: the mean of rho over all images, as published.
    """
    return {
        "distance_mean": speed.mean,
        "distance_deviation": speed.standard_deviation,
        "distance_variance": speed.variance,
        "stability": float(stable.rho.mean()),
    }


def means_of(
    measured: Callable[[str, int, str], Mapping[str, float]],
    arms: Sequence[str],
    seeds: Sequence[int],
    layers: Sequence[str],
) -> dict[str, Values]:
    """measure -> arm -> seed -> mean over layers (`mean_over_layers`), of what `measured(arm, seed, layer)` gives.

    >>> means_of(lambda arm, seed, layer: {"rho": float(layer[-1])}, ["kd"], [0], ["fc1", "fc2"])
    {'rho': {'kd': {0: 1.5}}}
    """
    found = {arm: {seed: {layer: measured(arm, seed, layer) for layer in layers} for seed in seeds} for arm in arms}
    return {
        name: mean_over_layers(
            {
                arm: {seed: {layer: values[name] for layer, values in each.items()} for seed, each in by_seed.items()}
                for arm, by_seed in found.items()
            }
        )
        for name in found[arms[0]][seeds[0]][layers[0]]
    }


def difference(values: Values, arm: str, other: str) -> Contrast | None:
    """`arm` minus `other` over paired seeds; None where a seed of either has no number.

    >>> difference({"a": {0: 2.0, 1: 3.0}, "b": {0: 1.0, 1: math.nan}}, "a", "b") is None
    True
    """
    a, b = list(values[arm].values()), list(values[other].values())
    return paired_contrast(a, b) if np.isfinite([*a, *b]).all() else None


def mean_over_layers(values: Mapping[str, Mapping[int, Mapping[str, float]]]) -> dict[str, dict[int, float]]:
    """arm -> seed -> mean over the layers at which every arm of that seed has a number; NaN where there is none.

    values: arm -> seed -> layer -> number, NaN where it is not defined (no image has a concept). A layer that one arm
    lacks is left out of all: means over different layers can't be compared.

    >>> mean_over_layers({"student": {0: {"fc1": 1.0, "fc2": 3.0}}, "baseline": {0: {"fc1": 5.0, "fc2": math.nan}}})
    {'student': {0: 1.0}, 'baseline': {0: 5.0}}
    """
    seeds = next(iter(values.values()))
    common = {
        seed: [layer for layer in seeds[seed] if all(math.isfinite(found[seed][layer]) for found in values.values())]
        for seed in seeds
    }
    return {
        arm: {
            seed: float(np.mean([found[seed][layer] for layer in layers])) if layers else math.nan
            for seed, layers in common.items()
        }
        for arm, found in values.items()
    }


def counts_over_way(courses: Mapping[str, Dynamics]) -> Figure:
    """Concepts on the object (above) and beside it (below) against the way of the weights, a column a network.

    A thin line an image, a bold one their mean. The dashed line stands at D_mean, the shaded band reaches one standard
    deviation of d(m(I)) to either side; they are the object's in both rows. Every network has a horizontal axis of its
    own: ways may differ by orders.
    """
    figure, axes = plt.subplots(
        2, len(courses), figsize=(3.5 * len(courses) + 0.4, 5.2), sharex="col", sharey="row", squeeze=False
    )
    for column, (arm, course) in enumerate(courses.items()):
        way, colour = course.distances.numpy(), MODEL_COLOURS.get(arm, "0.3")
        middle, spread = course.speed.mean, course.speed.standard_deviation
        for axis, counts in zip(axes[:, column], (course.foreground_counts, course.background_counts), strict=True):
            axis.axvspan(max(0.0, middle - spread), middle + spread, color="0.92", zorder=0)
            axis.axvline(middle, color="0.2", linestyle="--", linewidth=1.2)
            axis.plot(way, counts.numpy(), color=colour, linewidth=0.6, alpha=0.35)
            axis.plot(way, counts.double().mean(1).numpy(), color=colour, linewidth=3, marker="o", markersize=4)
        axes[0, column].set_title(MODEL_NAMES.get(arm, arm), fontsize=10)
    for axis, side in zip(axes[:, 0], ("on the object", "beside it"), strict=True):
        axis.set_ylabel(f"concepts {side} (cells)", fontsize=9)
        axis.set_ylim(bottom=0)
    for axis in axes[1]:
        axis.set_xlabel(WAY, fontsize=9)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3), useMathText=True)
    return figure


def training_courses(
    losses: Mapping[str, Mapping[str, Sequence[float]]], ways: Mapping[str, Mapping[str, Sequence[float]]]
) -> Figure:
    """Above, each network's own loss over its first epoch's; below, the way of its weights; against epochs.

    losses: layer -> arm -> one mean loss an epoch. ways: layer -> arm -> the way after each epoch. A column a layer.
    """
    figure, axes = plt.subplots(2, len(losses), figsize=(3.1 * len(losses) + 0.6, 5.4), sharex=True, squeeze=False)
    for column, layer in enumerate(losses):
        for arm, values in losses[layer].items():
            _curve(axes[0, column], arm, np.asarray(values, dtype=float) / values[0])
        for arm, values in ways[layer].items():
            _curve(axes[1, column], arm, np.asarray(values, dtype=float))
        axes[0, column].set_title(layer.upper(), fontsize=10)
        axes[0, column].set_ylim(bottom=0)
        axes[1, column].set_yscale("log")
        axes[1, column].set_xlabel("epoch")
        axes[1, column].xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes[0, 0].set_ylabel("own loss / first epoch's", fontsize=10)
    axes[1, 0].set_ylabel("way (first norms)", fontsize=10)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
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


def arms_by_layer(panels: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]) -> Figure:
    """A panel a measure, in it each arm at each layer: every seed a small symbol, their mean a large one.

    panels: label of the vertical axis -> arm -> layer -> one value a seed, NaN where it is not defined.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(3.3 * len(panels) + 0.3, 4.0), squeeze=False)
    for axis, (label, arms) in zip(axes[0], panels.items(), strict=True):
        for place, (arm, layers) in enumerate(arms.items()):
            shift = 0.18 * (place - (len(arms) - 1) / 2)
            look = {"color": MODEL_COLOURS.get(arm, "0.3"), "marker": MODEL_MARKERS.get(arm, "o"), "linestyle": ""}
            for x, seeds in enumerate(layers.values()):
                axis.plot([x + shift] * len(seeds), seeds, markersize=4, alpha=0.55, **look)
                defined = [value for value in seeds if math.isfinite(value)]
                name = MODEL_NAMES.get(arm, arm) if x == 0 else None
                axis.plot([x + shift], [np.mean(defined) if defined else math.nan], markersize=10, label=name, **look)
        axis.set_xticks(range(len(layers)), [layer.upper() for layer in layers])
        axis.set_title(label, fontsize=10)
        axis.set_xlim(-0.5, len(layers) - 0.5)
        axis.grid(axis="x", visible=False)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def differences_over(
    panels: Mapping[str, Mapping[str, Mapping[float, Contrast]]], smallest: Mapping[str, float], xlabel: str
) -> Figure:
    """Differences with 95 % intervals (the wider of both at each end) against a setting, a panel a measure.

    panels: title -> arm that is subtracted -> setting -> contrast. smallest: title -> the smallest difference that
    would matter, a grey band about zero.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(3.3 * len(panels) + 0.3, 3.6), squeeze=False, sharex=True)
    for axis, (title, by_arm) in zip(axes[0], panels.items(), strict=True):
        axis.axhspan(-smallest[title], smallest[title], color="0.9", zorder=0)
        axis.axhline(0, color="0.4", linewidth=1)
        step = min(np.diff(sorted(next(iter(by_arm.values())))), default=1.0)
        for place, (arm, found) in enumerate(by_arm.items()):
            x = np.array(list(found)) + 0.12 * step * (place - (len(by_arm) - 1) / 2)
            colour = MODEL_COLOURS.get(arm, "0.3")
            for at, contrast in zip(x, found.values(), strict=True):
                axis.plot([at, at], contrast.widest, color=colour, linewidth=2)
            means = [contrast.mean_difference for contrast in found.values()]
            name = f"minus {MODEL_NAMES.get(arm, arm)}"
            axis.plot(x, means, color=colour, marker=MODEL_MARKERS.get(arm, "o"), markersize=7, label=name)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(xlabel, fontsize=10)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def courses_in_words(courses: Mapping[str, Dynamics]) -> str:
    """Each network's mean counts at its first and last checkpoint, and how far its weights went."""
    told = []
    for arm, course in courses.items():
        on, off = (c.double().mean(1) for c in (course.foreground_counts, course.background_counts))
        told.append(
            f"{MODEL_NAMES.get(arm, arm)}: on the object {_from_to(on)} cells, beside it {_from_to(off)}, over a way "
            f"of {float(course.distances[-1]):.3g} first norms"
        )
    return "; ".join(told)


def _from_to(values: Tensor) -> str:
    return f"{float(values[0]):.1f} to {float(values[-1]):.1f}"
