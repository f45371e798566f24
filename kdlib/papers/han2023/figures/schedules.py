"""Accuracy in disguise? Detectors against accuracy, beside students from scratch of several lengths of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from kdlib.names import MODEL_NAMES
from kdlib.papers.han2023.figures.methods import look_of
from kdlib.papers.han2023.figures.students import correlation
from kdlib.plotting.titles import WIDTH, headline, within
from kdlib.stats import student_interval

_GREY = "0.45"


def draw_schedules(
    accuracies: Mapping[str, Sequence[float]],
    percent: Mapping[str, Sequence[float]],
    students: Sequence[str],
    schedules: Sequence[str],
) -> str:
    """`against_schedules` as a figure; its title counts the students above the line of scratch.

    accuracies, percent: test accuracy and detectors, arm -> one value a replicate, of all arms that are named.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 5.8))
    against_schedules(accuracies, percent, students, schedules, axis)
    x, y = _line(accuracies, percent, schedules)
    others = [arm for arm in students if arm not in schedules]
    points = {arm: (float(np.mean(accuracies[arm])), float(np.mean(percent[arm]))) for arm in others}
    within_line = {arm: point for arm, point in points.items() if x[0] <= point[0] <= x[-1]}
    above = sum(found > np.interp(right, x, y) for right, found in within_line.values())
    beyond = len(others) - len(within_line)
    tail = f"; {beyond} lie beyond its ends" if beyond else ""
    headline(figure, f"{above} of {len(within_line)} kinds of student lie above the line of scratch{tail}")
    r = correlation(*(np.concatenate([values[arm] for arm in students]) for values in (accuracies, percent)))
    listed = "; ".join(
        f"{MODEL_NAMES[arm]} {right:.1f} % right, {found:.1f} %" for arm, (right, found) in points.items()
    )
    return (
        "Concept detectors against test accuracy, means with 95 % intervals: a symbol for each kind of student, and a "
        f"line through students from scratch of several lengths of training. {listed}. The correlation over all "
        f"students is {r}."
    )


def against_schedules(
    accuracies: Mapping[str, Sequence[float]],
    percent: Mapping[str, Sequence[float]],
    students: Sequence[str],
    schedules: Sequence[str],
    axis: Axes,
) -> Axes:
    """Mean detectors against mean accuracy with 95 % t intervals, and a line through the schedules of scratch."""
    axis.plot(*_line(accuracies, percent, schedules), color=_GREY, linewidth=1.2, zorder=1)
    for place, arm in enumerate(schedules):
        label = "Scratch, other lengths" if place == 0 else None
        _cross(accuracies[arm], percent[arm], axis, {"color": _GREY, "marker": "o"}, 4, label)
    for arm in students:
        _cross(accuracies[arm], percent[arm], axis, look_of(arm), 7, MODEL_NAMES.get(arm, arm))
    within(axis, 0, 100)
    axis.set(xlabel="test accuracy (%)", ylabel="concept detectors (% of units)")
    axis.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    return axis


def _line(
    accuracies: Mapping[str, Sequence[float]], percent: Mapping[str, Sequence[float]], schedules: Sequence[str]
) -> tuple[list[float], list[float]]:
    """Mean accuracies and mean detectors of the schedules, in the order of the accuracies."""
    points = sorted((float(np.mean(accuracies[arm])), float(np.mean(percent[arm]))) for arm in schedules)
    return [right for right, _ in points], [found for _, found in points]


def _cross(
    x: Sequence[float], y: Sequence[float], axis: Axes, look: Mapping[str, Any], size: float, label: str | None
) -> None:
    """A symbol at two means, with the intervals that there are."""
    (right, x_bar), (found, y_bar) = _mean_and_bar(x), _mean_and_bar(y)
    axis.errorbar(
        [right], [found], xerr=x_bar, yerr=y_bar, markersize=size, linestyle="", elinewidth=0.8, label=label, **look
    )


def _mean_and_bar(values: Sequence[float]) -> tuple[float, list[list[float]] | None]:
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None
    low, high = student_interval(values)
    return mean, [[mean - low], [high - mean]]
