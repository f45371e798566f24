"""Small multiples: means and intervals where they belong, axes named, lines told apart without colour."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from kdlib.plotting.panels import Panel, panels_over
from kdlib.stats import student_interval


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_means_and_intervals_are_those_of_the_values():
    values = {1.0: [80.0, 82.0, 85.0], 2.0: [84.0]}
    axis = panels_over([Panel("accuracy", "percent", {"": values})], "temperature").axes[0]
    mean = next(line for line in axis.lines if len(line.get_xdata()) == 2 and line.get_marker() == "o")
    assert np.allclose(mean.get_xydata(), [[1, np.mean(values[1.0])], [2, 84]])
    (bar,) = [one.get_segments()[0] for one in axis.collections]  # a single value has none
    assert np.allclose(bar[:, 1], student_interval(values[1.0]))
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_title()) == ("temperature", "percent", "accuracy")


@pytest.mark.parametrize(
    ("places", "scale"),
    [
        ((1, 2, 4), "log"),
        ((1, 10, 100, 300), "log"),
        ((0, 1, 2, 30), "linear"),
        ((1, 2, 3), "linear"),
        ((1, 8), "linear"),
    ],
)
def test_an_axis_of_even_ratios_is_logarithmic_and_names_its_places(places, scale):
    panel = Panel("n", "u", {"": {place: [1.0, 2.0] for place in reversed(places)}})
    axis = panels_over([panel], "x").axes[0]
    assert axis.get_xscale() == scale
    assert [label.get_text() for label in axis.get_xticklabels()] == [str(place) for place in places]


def test_texts_stand_beside_each_other_in_their_order():
    axis = panels_over([Panel("n", "u", {"": {"voc": [1.0], "cells": [2.0]}})], "data").axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["voc", "cells"]
    assert np.allclose(axis.lines[0].get_xydata(), [[0, 1], [1, 2]])


def test_lines_differ_in_marker_as_well_as_in_colour_and_one_legend_names_them():
    lines = {f"alpha {number}": {1: [float(number)], 2: [3.0]} for number in range(12)}
    figure = panels_over([Panel("a", "u", lines), Panel("b", "u", {"alpha 3": {1: [1.0]}})], "x")
    looks = [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in figure.axes[0].lines]
    assert len(set(looks)) == 12 and len({marker for _, marker, _ in looks[:10]}) == 10
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(lines)
    # The same look in every panel.
    assert figure.axes[1].lines[0].get_color() == figure.axes[0].lines[3].get_color()


def test_lines_at_the_same_place_stand_a_little_aside():
    lines = {name: {1: [1.0, 2.0], 10: [1.0, 2.0]} for name in "ab"}
    axis = panels_over([Panel("n", "u", lines)], "x").axes[0]
    first, second = (line for line in axis.lines if line.get_label() in "ab")
    assert first.get_xdata()[0] < 1 < second.get_xdata()[0] < 1.1


def test_many_panels_take_rows_of_three():
    figure = panels_over([Panel(str(n), "u", {"": {1: [1.0]}}) for n in range(7)], "x")
    assert sum(axis.axison for axis in figure.axes) == 7 and len(figure.axes) == 9
