"""Figures and sentences for chapters of many students: an arm a row, pairs without and with the teacher's logits."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kdlib.metrics.dissection.dissect import Dissection
from kdlib.names import MODEL_COLOURS, MODEL_MARKERS, MODEL_NAMES
from kdlib.papers.han2023.figures.students import TAUS, above_scratch
from kdlib.plotting.seeds import seeds_in_words
from kdlib.plotting.titles import WIDTH, headline, within
from kdlib.stats import mean_interval

WITH_LOGITS = "_with_logits"
T4 = "_t4"  # ends the name of what distils at temperature 4
_GREY = "0.45"
_STYLES: tuple[Any, ...] = ("--", ":")  # of reference lines, which may lie on each other


def draw_students(
    values: Mapping[str, Sequence[float]],
    what: str,
    unit: str = "%",
    *,
    teacher: float | None = None,
    chance: float | None = None,
) -> str:
    """A row for each kind of student, with the count of those above scratch as its title; values in percent.

    what: the measure, such as "test accuracy". teacher, chance: the values of a dashed and of a dotted line.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 0.36 * len(values) + 1.2))
    methods_in_rows(
        values, axis, xlabel=f"{what} ({unit})", reference=None if teacher is None else ("teacher", teacher)
    )
    if chance is not None:
        axis.axvline(chance, color="0.3", linestyle=":")
    within(axis, 0, 100, "x")
    name = f"{what[0].upper()}{what[1:]}"
    headline(figure, f"{name}: {above_scratch(values)}")
    lines = {"Teacher (dashed line)": teacher, "Chance (dotted line)": chance}
    listed = [f" {line}: {value:.1f} %." for line, value in lines.items() if value is not None]
    return f"{name}, a row for each kind of student. {seeds_in_words(values, unit)}.{''.join(listed)}"


def hollow(arm: str) -> bool:
    """Whether an arm is a feature method without the teacher's logits.

    >>> hollow("at"), hollow("at_with_logits"), hollow("kd")
    (True, False, False)
    """
    return f"{arm}{WITH_LOGITS}" in MODEL_NAMES


def look_of(arm: str) -> dict[str, Any]:
    """Marker and colours of an arm: its method's; hollow for a feature method without the teacher's logits, with a dark
    edge at temperature 4.

    >>> look_of("at")["markerfacecolor"], look_of("at_with_logits")["markerfacecolor"] == look_of("at")["color"]
    ('white', True)
    """
    colour = MODEL_COLOURS.get(arm, "0.3")
    return {
        "color": colour,
        "marker": MODEL_MARKERS.get(arm, "o"),
        "markerfacecolor": "white" if hollow(arm) else colour,
        "markeredgecolor": "0.1" if arm.endswith(f"{WITH_LOGITS}{T4}") or arm == f"self_kd{T4}" else colour,
    }


def methods_in_rows(
    values: Mapping[str, Sequence[float]],
    axis: Axes,
    *,
    xlabel: str,
    reference: tuple[str, float] | None = None,
    baseline: str = "scratch",
) -> Axes:
    """One row an arm: every replicate's value, and below it the mean with its 95 % t interval.

    values: arm -> one value a replicate. reference: name and value of a dashed line. baseline: the arm at whose mean a
    thin line stands, if it is there.
    """
    for place, (arm, seeds) in enumerate(values.items()):
        look = look_of(arm)
        axis.plot(seeds, [place - 0.14] * len(seeds), linestyle="", markersize=5, alpha=0.6, **look)
        arm_mean = mean_interval(seeds)
        errors = None
        if np.isfinite(arm_mean.low):
            errors = [[arm_mean.mean - arm_mean.low], [arm_mean.high - arm_mean.mean]]
        axis.errorbar([arm_mean.mean], [place + 0.16], xerr=errors, capsize=3, markersize=8, **look)
    if baseline in values:
        axis.axvline(float(np.mean(values[baseline])), color=MODEL_COLOURS[baseline], linewidth=1, zorder=0)
    if reference:
        name, value = reference
        axis.axvline(value, color=MODEL_COLOURS.get(name, "0.3"), linestyle="--", linewidth=1.2, zorder=0)
        axis.text(value, -0.66, MODEL_NAMES.get(name, name), ha="center", va="bottom", fontsize=9, color="0.2")
    axis.set_yticks(range(len(values)), [MODEL_NAMES.get(arm, arm) for arm in values])
    axis.set_ylim(len(values) - 0.4, -0.6)
    axis.set_xlabel(xlabel)
    axis.grid(axis="y", visible=False)
    return axis


def without_and_with_logits(
    values: Mapping[str, Sequence[float]],
    methods: Sequence[str],
    *,
    references: Sequence[str] = ("scratch", "kd"),
) -> Figure:
    """A panel a method: each replicate's value without and with the teacher's logits, joined; the thick line: the mean.

    values: arm -> one value a replicate, in one order, for each method, its arms `<method>_with_logits` and, where
    there is one, `<method>_with_logits_t4`, and the references (two at most), whose means are level lines, dashed and
    dotted.
    """
    rows = -(-len(methods) // 2)
    columns = min(2, len(methods))
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, 2.4 * rows + 0.8), sharey=True, squeeze=False)
    for axis in axes.flat[len(methods) :]:
        axis.axis("off")
    for axis, method in zip(axes.flat, methods, strict=False):
        arms = arms_of(method, values)
        lines = np.array([values[arm] for arm in arms])
        colour, marker = MODEL_COLOURS[method], MODEL_MARKERS[method]
        for arm, style in zip(references, _STYLES, strict=False):
            axis.axhline(float(np.mean(values[arm])), color=MODEL_COLOURS[arm], linestyle=style, linewidth=1.2)
        places = range(len(arms))
        axis.plot(places, lines, color=colour, linewidth=1, marker=marker, markersize=4, alpha=0.55)
        axis.plot(places, lines.mean(1), color=colour, linewidth=3.5)
        for place, arm in enumerate(arms):
            axis.plot([place], lines[place].mean(), markersize=9, **look_of(arm))
        axis.set_xticks(places, ["without", "with", "at T = 4"][: len(arms)])
        axis.set_xlim(-0.35, len(arms) - 0.65)
        axis.set_title(MODEL_NAMES[method], fontsize=10)
        axis.grid(axis="x", visible=False)
    figure.supylabel("concept detectors (% of units)", fontsize=10)
    lines_of = [
        Line2D([], [], color=MODEL_COLOURS[arm], linestyle=style, label=MODEL_NAMES[arm])
        for arm, style in zip(references, _STYLES, strict=False)
    ]
    figure.legend(handles=lines_of, loc="outside lower center", ncols=len(lines_of), fontsize=9, frameon=False)
    return figure


def arms_of(method: str, there: Container[str]) -> list[str]:
    """A feature method alone, with the teacher's logits, and with them at temperature 4 if that arm is there.

    >>> arms_of("sskd", ["sskd", "sskd_with_logits"]), len(arms_of("at", ["at_with_logits_t4"]))
    (['sskd', 'sskd_with_logits'], 3)
    """
    last = f"{method}{WITH_LOGITS}{T4}"
    return [method, f"{method}{WITH_LOGITS}", *([last] if last in there else [])]


def draw_pairs(percent: Mapping[str, Sequence[float]], methods: Sequence[str]) -> str:
    """`without_and_with_logits` of detectors in percent; the title counts the methods that gain."""
    figure = without_and_with_logits(percent, methods)
    means = {method: [float(np.mean(percent[arm])) for arm in arms_of(method, percent)] for method in methods}
    gaining = sum(found[1] > found[0] for found in means.values())
    at_t4 = [found[2] > found[0] for found in means.values() if len(found) == 3]
    more = f", at T = 4 {sum(at_t4)} of {len(at_t4)}" if at_t4 else ""
    headline(figure, f"By their means {gaining} of {len(methods)} methods have more detectors with logits{more}")
    words = [f"{MODEL_NAMES[method]} {', '.join(f'{mean:.1f}' for mean in found)} %" for method, found in means.items()]
    return (
        "Concept detectors without and with the teacher's logits, a panel for each feature method, a line for each "
        f"replicate. Means without logits, with them, and with them at T = 4: {'; '.join(words)}. Level lines: scratch "
        f"{np.mean(percent['scratch']):.1f} %, KD {np.mean(percent['kd']):.1f} %."
    )


def draw_method_curves(
    dissections: Mapping[str, Sequence[Dissection]], methods: Sequence[str], tau: float, taus: Sequence[float] = TAUS
) -> str:
    """`method_curves` as a figure; the title counts the methods whose curve, without logits, is never below scratch."""
    figure = method_curves(dissections, methods, taus, tau)
    means = {arm: np.mean([d.curve(taus) for d in dissections[arm]], axis=0) for arm in ("scratch", *methods)}
    above = sum(bool((means[method] >= means["scratch"]).all()) for method in methods)
    headline(figure, f"{above} of {len(methods)} methods are nowhere below scratch, by their means")
    return (
        "Share of units that are detectors against the IoU threshold, falling from left to right, a panel for each "
        "method with scratch and KD for comparison; means over replicates."
    )


def method_curves(
    dissections: Mapping[str, Sequence[Dissection]],
    methods: Sequence[str],
    taus: Sequence[float],
    tau: float,
) -> Figure:
    """Detectors (% of units) against the IoU threshold, a panel a method beside scratch and KD; means over replicates.

    dissections: arm -> one a replicate. Dashed: without the teacher's logits; solid: with them; dash-dotted: at T = 4.
    """
    columns = 2
    rows = -(-(len(methods) + 1) // columns)  # one place is the legend's
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, 2.1 * rows), sharex=True, sharey=True, squeeze=False)
    for axis, method in zip(axes.flat, methods, strict=False):
        colour = MODEL_COLOURS[method]
        styles = {"scratch": (_GREY, "-"), "kd": (_GREY, ":")}
        styles |= {method: (colour, "--" if hollow(method) else "-"), f"{method}{WITH_LOGITS}": (colour, "-")}
        styles |= {f"{arm}{T4}": (colour, "-.") for arm in (method, f"{method}{WITH_LOGITS}")}
        for arm, (line_colour, style) in styles.items():
            if arm in dissections:
                curve = np.mean([100 * np.array(d.curve(taus)) / d.num_units for d in dissections[arm]], axis=0)
                axis.plot(taus, curve, color=line_colour, linestyle=style, linewidth=1.8)
        axis.axvline(tau, color="0.2", linestyle="--", linewidth=1)
        axis.set_title(MODEL_NAMES[method], fontsize=10)
    key: dict[str, tuple[str, Any]] = {
        "Scratch": (_GREY, "-"),
        "KD": (_GREY, ":"),
        "method, no logits": ("0.1", "--"),
        "method, with logits": ("0.1", "-"),
        "the same, T = 4": ("0.1", "-."),
    }
    handles = [Line2D([], [], color=c, linestyle=s, label=name) for name, (c, s) in key.items()]
    for axis in axes.flat[len(methods) :]:
        axis.axis("off")
    axes.flat[-1].legend(handles=handles, loc="center", fontsize=9, frameon=False)
    axes[0, 0].set_ylim(bottom=0)  # only now: it ends the scaling to what is drawn
    figure.supxlabel("IoU threshold", fontsize=10)
    figure.supylabel("detectors (% of units)", fontsize=10)
    return figure
