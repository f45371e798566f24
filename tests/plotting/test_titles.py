"""Titles fit their figure, axes end where values do."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from kdlib.plotting.titles import headline, within


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
    assert axis.get_ylim() == (0, 60)
    axis.set_xlim(20, 130)
    within(axis, 0, 100, "x")
    assert axis.get_xlim() == (20, 100)
    plt.close("all")
