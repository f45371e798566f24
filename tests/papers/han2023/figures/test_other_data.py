"""Settings one below the other: each panel holds its own students and teacher, and says its own difference."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from kdlib.papers.han2023.figures.other_data import draw_settings, floor_in_words

VALUES = {"scratch": [1.0, 2.0], "kd": [2.0, 3.0], "deeper_scratch": [11.0, 12.0], "deeper_kd": [13.0, 10.0]}
TITLES = {"": "photographs", "deeper_": "deeper"}


def test_each_panel_holds_its_own_arms():
    alt = draw_settings(VALUES, TITLES, "accuracy", "%", {"": 5.0, "deeper_": 15.0})
    figure = plt.gcf()
    titles = [axis.get_title(loc="left").split("\n") for axis in figure.axes]
    assert [first for first, _ in titles] == ["photographs", "deeper"]
    assert titles[0][1] == "KD minus scratch: +1.0 (+1.0 to +1.0) points, a difference"
    assert titles[1][1].endswith("no difference shown")
    for axis, low, high in zip(figure.axes, (0, 9), (6, 16), strict=True):
        assert [tick.get_text() for tick in axis.get_xticklabels()] == ["Scratch", "Distilled\n(KD)"]
        heights = [y for line in axis.lines[:2] for y in line.get_ydata()]
        assert len(heights) == 4 and all(low < y < high for y in heights)
    assert "deeper: Accuracy. Scratch: mean 11.5 %" in alt and "Teacher (dashed line): 15.0 %." in alt
    plt.close(figure)


def test_a_floor_is_called_one_by_the_largest_count():
    assert "less than the 3.5 points" in floor_in_words(VALUES, TITLES, 3.5)
    assert "hardly more than the 2 points" in floor_in_words(VALUES, TITLES, 2.0)
    assert "Photographs: students have 1.0 to 3.0 % detectors." in floor_in_words(VALUES, TITLES, 1.0)
    assert "Deeper: students have 10.0 to 13.0 % detectors." in floor_in_words(VALUES, TITLES, 3.5)
