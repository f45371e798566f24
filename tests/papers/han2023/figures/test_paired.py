"""Students in pairs: the figures hold every student, and titles follow from the numbers."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest

from kdlib.papers.han2023.figures.paired import (
    draw_against_accuracy,
    draw_seeds,
    seeds_in_an_answer,
    seeds_needed,
    seeds_panel,
)
from kdlib.stats import mean_interval, paired_contrast

VALUES = {"scratch": [70.0, 72.0, 71.0], "label_smoothing": [60.0, 75.0, 70.0], "kd": [95.0, 97.0, 93.0]}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_a_title_tells_a_difference_only_where_there_is_one():
    alt = draw_seeds(VALUES, "test accuracy", "%", teacher=98.0, chance=10.0)
    figure = plt.gcf()
    title = " ".join(figure.get_suptitle().split())
    assert title.startswith("Test accuracy, KD minus scratch: +24") and title.endswith("a difference")
    assert "Teacher (dashed line): 98.0 %." in alt and "Chance (dotted line): 10.0 %." in alt
    heights = {float(line.get_ydata()[0]) for line in figure.axes[0].lines if len(set(line.get_ydata())) == 1}
    assert {98.0, 10.0} <= heights
    draw_seeds(VALUES | {"kd": [50.0, 90.0, 71.0]}, "test accuracy", "%", teacher=98.0)
    assert " ".join(plt.gcf().get_suptitle().split()).endswith("no difference shown")


def test_an_interval_beyond_what_can_occur_is_cut():
    _, axis = plt.subplots()
    seeds_panel(axis, {"scratch": [2.0, 9.0], "kd": [99.0, 92.0]}, "detectors", "% of units")
    low, high = axis.get_ylim()
    assert -5 < low <= 0 and 100 <= high < 105
    assert [label.get_text() for label in axis.get_xticklabels()] == ["Scratch", "Distilled\n(KD)"]


def test_every_student_is_a_point_and_r_is_that_of_numpy():
    accuracies = {"scratch": [60.0, 61.0, 62.0], "kd": [66.0, 63.0, 64.0]}
    detectors = {"scratch": [20.0, 21.0, 25.0], "kd": [30.0, 22.0, 26.0]}
    draw_against_accuracy(accuracies, detectors, "detectors", "% of units")
    points = [tuple(p) for c in plt.gcf().axes[0].collections for p in c.get_offsets()]
    assert points == [(a, d) for arm in detectors for a, d in zip(accuracies[arm], detectors[arm], strict=True)]
    r = np.corrcoef(np.array(points).T)[0, 1]
    assert f"r = {r:.2f}" in plt.gcf().get_suptitle()


def test_so_many_seeds_are_enough_and_one_less_is_not():
    contrast = paired_contrast([3.0, 5.0, 4.0, 7.0], [1.0, 1.0, 1.0, 1.0])
    n = seeds_needed(contrast, 1.0)
    spread = np.std(contrast.differences, ddof=1)

    def half_width(count):
        # Values of a given spread: mean_interval's own half width at this number of seeds.
        values = np.resize([-1.0, 1.0], count) if count % 2 == 0 else np.append(np.resize([-1.0, 1.0], count - 1), 0)
        interval = mean_interval(values / np.std(values, ddof=1) * spread)
        return (interval.high - interval.low) / 2

    assert half_width(n) <= 1.0 < half_width(n - 1)
    assert f"n = {n} seeds" in seeds_in_an_answer(contrast, 1.0)
    assert "One seed" in seeds_in_an_answer(paired_contrast([3.0], [1.0]), 1.0)
    assert "one and the same difference" in seeds_in_an_answer(paired_contrast([3.0, 4.0], [1.0, 2.0]), 1.0)
