"""Seeds and means: every value is drawn where it lies, with the interval that the statistics give."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from kdlib.names import MODEL_COLOURS
from kdlib.plotting.seeds import seeds_and_means, seeds_in_words
from kdlib.stats import mean_interval

VALUES = {"scratch": [60.0, 64.0, 62.0], "kd": [70.0, 75.0, 71.0]}


@pytest.fixture
def axis():
    figure, axis = plt.subplots()
    yield axis
    plt.close(figure)


def points(axis) -> list[list[float]]:
    return [collection.get_offsets()[:, 1].tolist() for collection in axis.collections if len(collection.get_offsets())]


def test_every_seed_is_a_point_and_seeds_are_joined_across_arms(axis):
    seeds_and_means(VALUES, axis, ylabel="accuracy in %")
    assert [values for values in points(axis) if values in VALUES.values()] == list(VALUES.values())
    joined = [line.get_ydata().tolist() for line in axis.lines if line.get_color() == "0.8"]
    assert joined == [[60.0, 70.0], [64.0, 75.0], [62.0, 71.0]]
    assert axis.get_ylabel() == "accuracy in %"


def test_the_bar_is_the_t_interval_of_the_mean(axis):
    seeds_and_means(VALUES, axis, ylabel="")
    for arm, container in zip(VALUES, axis.containers, strict=True):
        [segment] = container[2][0].get_segments()
        found = mean_interval(VALUES[arm])
        assert np.sort(segment[:, 1]) == pytest.approx([found.low, found.high])
        assert container[0].get_ydata() == pytest.approx([found.mean])


def test_one_seed_has_no_interval(axis):
    seeds_and_means({"kd": [70.0]}, axis, ylabel="")
    assert axis.containers == [] and points(axis) == [[70.0]]


def test_a_reference_is_a_dashed_line_with_its_name(axis):
    seeds_and_means(VALUES, axis, ylabel="", reference=("teacher", 80.0))
    [line] = [line for line in axis.lines if line.get_linestyle() == "--"]
    assert set(line.get_ydata()) == {80.0} and line.get_color() == MODEL_COLOURS["teacher"]
    assert [text.get_text() for text in axis.texts] == ["Teacher"]


def test_words_give_mean_and_range():
    words = seeds_in_words({"kd": [70.0, 75.0], "scratch": [61.25]}, "%")
    assert "mean 72.5 %, seeds 70.0 to 75.0; " in words and words.endswith("mean 61.2 %, seeds 61.2 to 61.2")


def test_the_sign_of_minus_is_for_numbers_and_not_for_names():
    assert seeds_in_words({"-5": [-1.0]}, "points") == "-5: mean −1.0 points, seeds −1.0 to −1.0"
