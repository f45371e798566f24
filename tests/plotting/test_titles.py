"""Titles fit their figure, axes end where values do."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from kdlib.plotting.titles import entitle, headline, within


def test_a_title_is_cut_into_lines_that_fit():
    for width in (3.0, 6.0):
        figure = plt.figure(figsize=(width, 2))
        headline(figure, "More detectors in the distilled student than in the one from scratch")
        lines = figure.get_suptitle().split("\n")
        assert len(lines) > 1 and max(map(len, lines)) <= 11 * width
        plt.close(figure)


def test_an_axis_is_cut_but_never_widened():
    _, axis = plt.subplots()
    axis.set_ylim(-5, 60)
    within(axis, 0, 100)
    low, high = axis.get_ylim()
    assert -2 < low < 0 and high == 60  # below the limit is room for half a symbol
    axis.set_xlim(20, 130)
    within(axis, 0, 100, "x")
    low, high = axis.get_xlim()
    assert low == 20 and 100 < high < 103
    plt.close("all")


def test_a_panel_s_title_begins_where_the_panel_begins():
    _, axis = plt.subplots()
    entitle(axis, "More detectors", "", "3 seeds")
    assert axis.get_title(loc="left") == "More detectors\n3 seeds" and axis.get_title() == ""
    plt.close("all")
