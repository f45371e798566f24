"""Settings side by side: each panel holds its own students and teacher."""

from __future__ import annotations

import matplotlib.pyplot as plt

from kdlib.papers.han2023.figures.other_data import by_setting


def test_each_panel_holds_its_own_arms():
    values = {"scratch": [1.0, 2.0], "kd": [2.0, 3.0], "deeper_scratch": [11.0, 12.0], "deeper_kd": [13.0, 14.0]}
    figure = by_setting(values, {"": "photographs", "deeper_": "deeper"}, "accuracy (%)", {"": 5.0, "deeper_": 15.0})
    first, second = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["photographs", "deeper"]
    for axis, low, high in ((first, 0, 6), (second, 10, 16)):
        assert [tick.get_text() for tick in axis.get_xticklabels()] == ["Scratch", "Distilled (KD)"]
        heights = [y for line in axis.lines[:2] for y in line.get_ydata()]
        assert len(heights) == 4 and all(low < y < high for y in heights)
    plt.close(figure)
