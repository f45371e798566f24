"""Figures of students in pairs, a pair a seed; each function draws, and returns in words what it drew."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from scipy.stats import t as student_t

from kdlib.claims.phrases import with_interval
from kdlib.names import MODEL_COLOURS, MODEL_MARKERS, MODEL_NAMES, arm_in_prose
from kdlib.plotting.seeds import seeds_and_means, seeds_in_words
from kdlib.plotting.titles import WIDTH, headline, within
from kdlib.stats import Contrast, paired_contrast


def difference_in_words(values: Mapping[str, Sequence[float]], arm_a: str, arm_b: str, what: str) -> str:
    """Whether two arms differ over paired seeds, and by how many points; the title of a figure of both.

    values: arm -> percent, one a seed. Only what the 95 % interval shows is called a difference.

    >>> difference_in_words({"kd": [61.0, 63.0, 62.5], "scratch": [54.0, 55.0, 56.0]}, "kd", "scratch", "detectors")
    'Detectors, KD minus scratch: +7.2 (+5.3 to +9.1) points, a difference'
    >>> difference_in_words({"kd": [61.0, 50.0], "scratch": [54.0, 55.0]}, "kd", "scratch", "detectors")
    'Detectors, KD minus scratch: +1 (−75 to +77) points, no difference shown'
    """
    contrast = paired_contrast(values[arm_a], values[arm_b])
    shown = "a difference" if contrast.excludes_zero else "no difference shown"
    arms = f"{arm_in_prose(arm_a)} minus {arm_in_prose(arm_b)}"
    return f"{_capital(what)}, {arms}: {with_interval(contrast, 'points')}, {shown}"


def draw_seeds(
    values: Mapping[str, Sequence[float]], what: str, unit: str, teacher: float, *, chance: float | None = None
) -> str:
    """Every student, joined by seed, and the means; titled by how KD and scratch differ. Values in percent.

    teacher, chance: values of a dashed and of a dotted line.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 3.8))
    alt = seeds_panel(axis, values, what, unit, teacher)
    if chance is not None:
        axis.axhline(chance, color="0.3", linestyle=":", linewidth=1.2)
        alt += f" Chance (dotted line): {chance:.1f} {unit}."
    headline(figure, difference_in_words(values, "kd", "scratch", what))
    return alt


def seeds_panel(
    axis: Axes, values: Mapping[str, Sequence[float]], what: str, unit: str, teacher: float | None = None
) -> str:
    """`seeds_and_means` of values in percent in one panel, its names in lines that fit."""
    reference = None if teacher is None else ("teacher", teacher)
    seeds_and_means(values, axis, ylabel=f"{what} ({unit})", reference=reference)
    names = [textwrap.fill(MODEL_NAMES.get(arm, arm), 10) for arm in values]
    axis.set_xticks(range(len(names)), names, fontsize=10)
    within(axis, 0, 100)
    line = "" if teacher is None else f" Teacher (dashed line): {teacher:.1f} {unit}."
    return f"{_capital(what)}. {seeds_in_words(values, unit)}.{line}"


def draw_against_accuracy(
    accuracies: Mapping[str, Sequence[float]], values: Mapping[str, Sequence[float]], what: str, unit: str
) -> str:
    """A measure against test accuracy, a symbol for each student; the title says how the two correlate.

    An arm of `values` alone, such as "scratch_matched", needs its accuracies too.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 4))
    for arm, own in values.items():
        colour, marker = MODEL_COLOURS.get(arm, "0.3"), MODEL_MARKERS.get(arm, "o")
        axis.scatter(accuracies[arm], own, label=MODEL_NAMES.get(arm, arm), alpha=0.8, color=colour, marker=marker)
    axis.set(xlabel="test accuracy (%)", ylabel=f"{what} ({unit})")
    within(axis, 0, 100)
    within(axis, 0, 100, "x")
    axis.legend(fontsize=9, frameon=False)
    found = correlation(accuracies, values)
    students = sum(len(own) for own in values.values())
    headline(figure, f"{_capital(what)} and accuracy of {students} students: {found}")
    return (
        f"{_capital(what)} against test accuracy, a symbol for each student, coloured by how it was trained; {found}."
    )


def correlation(accuracies: Mapping[str, Sequence[float]], values: Mapping[str, Sequence[float]]) -> str:
    """Pearson's r of all students' accuracies and values, or why there is none.

    >>> correlation({"kd": [1.0, 2.0]}, {"kd": [3.0, 4.0]}), correlation({"kd": [1.0, 2.0]}, {"kd": [3.0, 3.0]})
    ('r = 1.00', 'no correlation, as one of them is constant')
    """
    pairs = np.array([pair for arm in values for pair in zip(accuracies[arm], values[arm], strict=True)])
    if len(pairs) < 2 or np.ptp(pairs[:, 0]) == 0 or np.ptp(pairs[:, 1]) == 0:
        return "no correlation, as one of them is constant"
    return f"r = {np.corrcoef(pairs.T)[0, 1]:.2f}".replace("-", "−")


def seeds_needed(contrast: Contrast, smallest: float) -> int:
    """Paired seeds from which Student's 95 % interval would reach no further than `smallest` to each side.

    It takes the spread of the differences found so far, of at least two seeds, for the true one.

    >>> seeds_needed(paired_contrast([3.0, 5.0, 4.0], [1.0, 1.0, 1.0]), 1.0)
    7
    """
    spread = float(np.std(contrast.differences, ddof=1))
    n = 2
    while student_t.ppf(0.975, n - 1) * spread / np.sqrt(n) > smallest:
        n += 1
    return n


def seeds_in_an_answer(contrast: Contrast, smallest: float) -> str:
    """`seeds_needed` as the solution of an exercise."""
    if contrast.n < 2:
        return "One seed shows no spread; run with two at least."
    spread = float(np.std(contrast.differences, ddof=1))
    if not spread:
        return "All seeds gave one and the same difference here, so their spread says nothing."
    return (
        f"The differences have a standard deviation of {spread:.1f} points. Student's interval reaches "
        f"$t_{{n-1}} \\cdot {spread:.1f} / \\sqrt{{n}}$ to each side, at most {smallest:g} points from "
        f"n = {seeds_needed(contrast, smallest)} seeds on, if that spread is the true one."
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
