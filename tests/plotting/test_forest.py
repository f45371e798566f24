"""Forest plots: the same rows in every panel, the widest interval, the band of what would not matter."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

from kdlib.names import MODEL_NAMES
from kdlib.plotting.forest import forest
from kdlib.stats import Contrast, paired_contrast


def contrast(*differences: float) -> Contrast:
    return paired_contrast(differences, [0.0] * len(differences))


UP, DOWN, OPEN = contrast(2.0, 2.1, 1.9), contrast(-1.0, -1.1, -0.9), contrast(-1.0, 0.0, 2.0)


def test_rows_are_shared_and_a_missing_arm_leaves_its_row_empty():
    panels = {
        "minus scratch": {"kd": UP, "label_smoothing": DOWN},
        "minus KD": {"scratch": DOWN, "label_smoothing": OPEN},
    }
    figure = forest(panels, ("scratch", "kd", "label_smoothing"), {"minus scratch": 0.5, "minus KD": 1.5})
    first, second = figure.axes
    names = [text.get_text() for text in first.get_yticklabels()]
    assert names == [MODEL_NAMES[arm] for arm in ("scratch", "kd", "label_smoothing")]
    for axis, by_arm, places in ((first, panels["minus scratch"], [1, 2]), (second, panels["minus KD"], [0, 2])):
        means, spans = axis.lines[2::2], axis.lines[1::2]
        assert [line.get_ydata()[0] for line in means] == places
        assert [line.get_xdata()[0] for line in means] == [c.mean_difference for c in by_arm.values()]
        assert [tuple(line.get_xdata()) for line in spans] == [c.interval for c in by_arm.values()]
    bands = [axis.patches[0].get_bbox().intervalx.tolist() for axis in figure.axes]
    assert bands == [[-0.5, 0.5], [-1.5, 1.5]]
    assert first.yaxis_inverted()


def test_places_that_no_panel_takes_are_blank():
    figure = forest({name: {"kd": UP} for name in "abc"}, ["kd"], dict.fromkeys("abc", 1.0))
    assert [axis.axison for axis in figure.axes] == [True, True, True, False]
