"""Figures of the chapter on class similarity; each function draws and says in words what it drew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdlib.claims.phrases import with_interval
from kdlib.claims.records import Record
from kdlib.names import MODEL_COLOURS, MODEL_MARKERS, MODEL_NAMES
from kdlib.papers.han2023.figures.methods import look_of
from kdlib.papers.han2023.figures.similarity_words import DEFINITIONS, SMALLER_IS_MORE, course
from kdlib.papers.han2023.figures.students import correlation
from kdlib.plotting.forest import forest
from kdlib.plotting.titles import WIDTH, headline, within
from kdlib.stats import Contrast


def draw_definitions(contrasts: Mapping[str, Mapping[str, Contrast]], follow: int) -> str:
    """`definitions_in_rows` as a figure. follow: how many definitions put KD above scratch above label smoothing."""
    figure, axis = plt.subplots(figsize=(WIDTH, 0.42 * len(contrasts) + 1.4))
    definitions_in_rows(contrasts, axis)
    headline(figure, f"{follow} of {len(contrasts)} definitions put KD above scratch above LS, by their means")
    words = [
        f"{DEFINITIONS[key]}: " + ", ".join(f"{MODEL_NAMES[arm]} {with_interval(c)}" for arm, c in by_arm.items())
        for key, by_arm in contrasts.items()
    ]
    return f"Differences to scratch under each definition of class similarity. {'; '.join(words)}."


def draw_temperatures(
    panels: Mapping[str, Mapping[str, Sequence[float]]], sweep: Mapping[int, str], levels: Sequence[str]
) -> str:
    """`over_temperature` of the arms in `sweep` (temperature -> arm), with the means of the arms in `levels`.

    panels: label -> arm -> one value a seed.
    """
    by_t = {label: {t: values[arm] for t, arm in sweep.items()} for label, values in panels.items()}
    lines = {label: {arm: float(np.mean(values[arm])) for arm in levels} for label, values in panels.items()}
    over_temperature(by_t, lines)
    words = [
        f"{label}: {', '.join(f'{np.mean(seeds):.1f} at T = {t}' for t, seeds in values.items())}"
        for label, values in by_t.items()
    ]
    dashed = ", ".join(MODEL_NAMES[arm] for arm in levels)
    return f"Means over replicates of students of the label-smoothed teacher. {'. '.join(words)}. Dashed: {dashed}."


def draw_controls(record: Record, metric: str, smallest: float, rows: Sequence[str], kd: str = "kd") -> str:
    """Every arm of `rows` against scratch and against KD, a panel each; kd: the arm of KD."""
    panels = {
        f"{metric}, minus {MODEL_NAMES[baseline]} (points)": {
            arm: record.contrast(metric, arm, baseline) for arm in rows if arm != baseline
        }
        for baseline in ("scratch", kd)
    }
    figure = forest(panels, rows, dict.fromkeys(panels, smallest), columns=1)
    figure.set_size_inches(WIDTH, 0.6 * len(rows) + 1.2)
    every = [contrast for by_arm in panels.values() for contrast in by_arm.values()]
    clear = sum(contrast.excludes_zero for contrast in every)
    headline(figure, f"{metric[0].upper()}{metric[1:]}: {clear} of {len(every)} intervals exclude zero")
    words = [
        f"{title}: " + ", ".join(f"{MODEL_NAMES[arm]} {with_interval(c)}" for arm, c in by_arm.items())
        for title, by_arm in panels.items()
    ]
    return f"Differences with intervals, two panels. {'. '.join(words)}."


def draw_likeness(
    shares: Mapping[str, Sequence[float]],
    detectors: Mapping[str, Sequence[float]],
    accuracies: Mapping[str, Sequence[float]],
) -> str:
    """A symbol for each student at its R and its detectors; the title has their correlation, and that with accuracy."""
    figure, axis = plt.subplots(figsize=(WIDTH, 5.4))
    for arm in shares:
        axis.plot(shares[arm], detectors[arm], linestyle="", label=MODEL_NAMES[arm], **look_of(arm))
    axis.set(xlabel="R of the student (%)", ylabel="concept detectors (% of units)")
    axis.legend(fontsize=9, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    x, y, z = (np.concatenate([values[arm] for arm in shares]) for values in (shares, detectors, accuracies))
    r, r_accuracy = (correlation(v, y) for v in (x, z))
    headline(figure, f"Correlation of detectors with R: {r}, with accuracy: {r_accuracy}")
    return (
        f"Concept detectors against R, a symbol for each of {len(x)} students. Their correlation is {r}, that of "
        f"detectors with accuracy {r_accuracy}."
    )


def definitions_in_rows(contrasts: Mapping[str, Mapping[str, Contrast]], axis: Axes) -> Axes:
    """A row a definition: mean difference to scratch of each arm with its 95 % interval.

    contrasts: definition -> arm -> contrast with scratch. The definitions have units of their own, so each row is
    scaled to its own largest value; those where a smaller value says "more alike" are turned, so that right is always
    more similarity as the paper reads it.
    """
    for place, (definition, by_arm) in enumerate(contrasts.items()):
        turn = -1 if definition in SMALLER_IS_MORE else 1
        ends = [value for c in by_arm.values() for value in (*c.interval, c.mean_difference) if np.isfinite(value)]
        scale = turn * (max(map(abs, ends)) or 1.0)
        for step, (arm, contrast) in enumerate(by_arm.items()):
            y = place + 0.3 * (step - (len(by_arm) - 1) / 2)
            colour = MODEL_COLOURS.get(arm, "0.3")
            axis.plot([end / scale for end in contrast.interval], [y, y], color=colour, linewidth=2)
            mean, label = contrast.mean_difference / scale, MODEL_NAMES.get(arm, arm) if place == 0 else None
            axis.plot([mean], [y], MODEL_MARKERS.get(arm, "o"), color=colour, markersize=7, label=label)
    axis.axvline(0, color=MODEL_COLOURS["scratch"], linewidth=1.5, zorder=0)
    names = [DEFINITIONS[definition] for definition in contrasts]
    turned = [f"{n} (turned)" if d in SMALLER_IS_MORE else n for d, n in zip(contrasts, names, strict=True)]
    axis.set_yticks(range(len(contrasts)), turned, fontsize=9)
    axis.set_ylim(len(contrasts) - 0.5, -0.5)
    axis.set_xlim(-1.05, 1.05)
    axis.set_xlabel("minus scratch, each row in its own scale")
    axis.legend(fontsize=9, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    return axis


def over_temperature(
    panels: Mapping[str, Mapping[int, Sequence[float]]], levels: Mapping[str, Mapping[str, float]]
) -> Figure:
    """A panel a measure against the temperature: every seed a grey line, their mean a thick one.

    panels: label of the vertical axis -> temperature -> one value a seed. levels: the same label -> network -> value of
    a dashed line, such as the mean of scratch.
    """
    figure, axes = plt.subplots(len(panels), 1, figsize=(WIDTH, 2.1 * len(panels) + 1), squeeze=False)
    for axis, (label, values) in zip(axes[:, 0], panels.items(), strict=True):
        table, x = np.array(list(values.values())), list(values)
        axis.plot(x, table, color="0.75", linewidth=1)
        axis.plot(x, table.mean(1), color="0.25", linewidth=2, zorder=3)
        for temperature, mean in zip(x, table.mean(1), strict=True):
            colour = MODEL_COLOURS.get(f"ls_teacher_t{temperature}", "0.25")
            axis.plot([temperature], [mean], color=colour, marker="o", markersize=9, zorder=4)
        for network, level in levels.get(label, {}).items():
            name = MODEL_NAMES.get(network, network)
            axis.axhline(level, color=MODEL_COLOURS.get(network, "0.3"), linestyle="--", linewidth=1.4, label=name)
        axis.set(xscale="log")
        axis.set_title(label, fontsize=10)
        within(axis, 0, 100, "y")
        axis.set_xticks(x, [f"{t:g}" for t in x])
        axis.minorticks_off()
    axes[-1, 0].set_xlabel("temperature T")
    words = [
        f"{label.split(' (')[0]} {course([float(np.mean(v)) for v in by_t.values()])}" for label, by_t in panels.items()
    ]
    headline(figure, f"As T rises: {'; '.join(words)}")
    handles, names = axes[0, 0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False)
    return figure
