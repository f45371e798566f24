"""Figures show the numbers they are given."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest

from kdlib.data.drawn.concept_world import contact_sheet, draw_scenes
from kdlib.metrics.dissection.dissect import dissect
from kdlib.models import build
from kdlib.papers.han2023.figures.detectors import (
    detector_curves,
    detectors_by_category,
    draw_categories,
    draw_reachable,
    draw_thresholds,
    reachable_concepts,
    sheet_figure,
)
from kdlib.plotting.seeds import seeds_and_means
from kdlib.plotting.style import image_grid, picture
from kdlib.stats import mean_interval


@pytest.fixture(scope="module")
def probe():
    return draw_scenes(60, seed=0, image_size=32)


@pytest.fixture(scope="module")
def network():
    return build("small_resnet", num_classes=20, width=4, features=8)


@pytest.fixture(scope="module")
def dissection(probe, network):
    return dissect(network, probe, "layer3")


def test_means_and_intervals_of_seeds_are_drawn_where_they_are():
    values = {"scratch": [70.0, 72.0, 71.0], "kd": [75.0, 77.0, 73.0]}
    _, axis = plt.subplots()
    seeds_and_means(values, axis, ylabel="accuracy (%)", reference=("teacher", 90.0))
    means = [container.lines[0].get_ydata()[0] for container in axis.containers]
    assert means == pytest.approx([71.0, 75.0])
    ends = [segment[:, 1] for container in axis.containers for segment in container.lines[2][0].get_segments()]
    for arm, drawn in zip(values, ends, strict=True):
        expected = mean_interval(values[arm])
        assert sorted(drawn) == pytest.approx([expected.low, expected.high])
    assert axis.get_ylabel() == "accuracy (%)"


def test_one_seed_has_no_interval():
    _, axis = plt.subplots()
    seeds_and_means({"scratch": [70.0], "kd": [75.0]}, axis, ylabel="accuracy (%)")
    assert not axis.containers


def test_bars_of_categories_are_mean_counts(dissection):
    _, axis = plt.subplots()
    detectors_by_category({"scratch": [dissection], "kd": [dissection, dissection]}, 0.03, axis)
    expected = list(dissection.count_by_category(0.03).values())
    for bars in axis.containers:
        assert [bar.get_height() for bar in bars] == pytest.approx(expected)


def test_curves_are_counts_over_thresholds(dissection):
    _, axis = plt.subplots()
    taus = [0.02, 0.05, 0.1]
    detector_curves({"kd": [dissection]}, taus, 0.05, axis)
    assert axis.lines[0].get_ydata().tolist() == dissection.curve(taus)


def test_reachable_concepts_plots_every_concept_on_the_ceiling(dissection):
    _, axis = plt.subplots()
    reachable_concepts(dissection, 0.05, axis)
    points = np.concatenate([collection.get_offsets() for collection in axis.collections])
    assert len(points) == sum(len(c) for c in dissection.coverage.values())


def test_pictures_and_sheets(probe):
    assert picture(probe.images, 0).shape == (32, 32, 3)
    assert picture(probe.images[:, :1], 0).shape == (32, 32, 3)
    grid = image_grid(probe, [0, 1, 2], ["a", "b", "c"], columns=2)
    assert [axis.get_title() for axis in grid.axes] == ["a", "b", "c", ""]
    sheet, names = contact_sheet(probe, columns=4, per_class=1)
    assert len(sheet_figure(sheet, names, 4).axes[0].texts) == len(names)


def test_one_panel_is_titled_above_and_several_each(dissection):
    networks = {"scratch": [dissection], "kd": [dissection, dissection]}
    alt = draw_categories({"": networks}, 0.03)
    figure = plt.gcf()
    assert figure.get_suptitle() and not figure.axes[0].get_title(loc="left")
    assert "do not differ in any" in " ".join(figure.get_suptitle().split()) and "Mean number" in alt
    draw_thresholds({"here": networks, "there": networks}, 0.05)
    titles = [axis.get_title(loc="left").split("\n") for axis in plt.gcf().axes]
    assert [name for name, _ in titles] == ["here", "there"]
    assert all(said == "IoU 0.05 and 0.1: the same order of students" for _, said in titles)
    plt.close("all")


def test_reach_is_said_in_the_title(dissection):
    draw_reachable(dissection, 0.05)
    concepts = sum(len(c) for c in dissection.coverage.values())
    assert plt.gcf().get_suptitle().startswith(f"{dissection.reachable(0.05)} of {concepts} concepts")
    assert plt.gcf().axes[0].get_ylim()[1] == 1
    plt.close("all")
