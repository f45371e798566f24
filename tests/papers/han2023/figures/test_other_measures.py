"""Figures of the chapter on other measures: what is drawn is what was measured."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from kdlib.data.drawn.cells import draw_cells
from kdlib.metrics.diffroar import DiffRoar
from kdlib.metrics.five_band import five_band
from kdlib.papers.han2023.figures.other_measures import (
    band_gallery,
    diffroar_by_level,
    draw_against_accuracy,
    draw_seeds,
    gradient_gallery,
    soft_band_curves,
)
from kdlib.papers.han2023.figures.other_measures_tables import (
    band_table,
    blind_in_words,
    choices_table,
    leak_in_words,
    roar_table,
)


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def shown(axis) -> np.ndarray:
    return np.asarray(axis.images[0].get_array())


def test_the_gallery_of_bands_shows_each_models_bands_beside_the_truth():
    cells = draw_cells(10)
    truth = cells.concept_map("part").labels
    bands = {"scratch": torch.full((2, 32, 32), -1), "kd": truth[[7, 3]]}
    figure = band_gallery(cells, [7, 3], truth, bands)
    axes = np.array(figure.axes).reshape(2, 4)
    assert [axis.get_title().replace("\n", " ") for axis in axes[0]] == ["image", "truth", "Scratch", "Distilled (KD)"]
    names = [" ".join(row[0].get_ylabel().replace("-\n", "-").split()) for row in axes]
    assert names == [cells.class_names[int(cells.labels[i])] for i in (7, 3)]
    for row, index in enumerate((7, 3)):
        assert (shown(axes[row, 1]) == truth[index].numpy()).all()
        assert (shown(axes[row, 3]) == truth[index].numpy()).all()
        assert (shown(axes[row, 2]) == -1).all()
    # Every band has a colour of its own, symmetric about 0.
    assert all(axis.images[0].norm.vmin == -2.5 and axis.images[0].norm.vmax == 2.5 for axis in axes[:, 1:].flat)


def test_curves_of_soft_scores_begin_at_the_start_and_are_in_percent():
    cells = draw_cells(20)
    truth = cells.concept_map("part").labels
    perfect = [0.0, 0.4, 0.9]
    heat = torch.tensor(perfect)[truth.long()][:, None]
    summaries = {"kd": [five_band(heat, truth).summary(), five_band(heat.flip(3), truth).summary()]}
    figure = soft_band_curves(summaries, {"accuracy": "pixel accuracy (%)"})
    [line] = figure.axes[0].lines
    means = [100 * float((a + b) / 2) for a, b in zip(*(s.curve["accuracy"] for s in summaries["kd"]), strict=True)]
    assert line.get_ydata() == pytest.approx(means)
    assert line.get_xdata()[0] == 0 and line.get_xdata()[-1] == pytest.approx(0.275)


def test_diffroar_is_drawn_in_points_over_percent_kept():
    first = DiffRoar((0.1, 0.5), ((0.6, 0.8), (0.9, 0.9)), ((0.3, 0.1), (0.5, 0.7)))
    second = DiffRoar((0.1, 0.5), ((0.5, 0.5), (0.9, 0.9)), ((0.5, 0.5), (0.9, 0.9)))
    figure = diffroar_by_level({"kd": [first, second], "random": [second]})
    above, below = figure.axes
    curve, nothing = above.lines[:2]
    assert curve.get_xdata() == pytest.approx([10, 50]) and curve.get_ydata() == pytest.approx([25, 15])
    assert nothing.get_ydata() == pytest.approx([0, 0])
    assert [text.get_text() for text in above.get_legend().get_texts()] == ["Distilled (KD)", "Random ranking"]
    top, bottom = below.lines[:2]
    assert top.get_ydata() == pytest.approx([60, 90]) and bottom.get_ydata() == pytest.approx([35, 75])


def test_gradients_are_shown_as_sums_of_magnitudes_beside_their_image():
    cells = draw_cells(10)
    gradients = torch.randn(2, 3, 32, 32)
    figure = gradient_gallery(cells, [1, 4], {"scratch": gradients, "kd": torch.zeros_like(gradients)})
    axes = np.array(figure.axes).reshape(2, 3)
    for row in range(2):
        expected = gradients[row].abs().sum(0)
        drawn = axes[row, 1].images[0]
        assert np.allclose(np.asarray(drawn.get_array()), expected)
        assert drawn.norm.vmin == 0 and drawn.norm.vmax == pytest.approx(3 * float((expected**2).mean().sqrt()))
    assert [axis.get_title().replace("\n", " ") for axis in axes[0]] == ["image", "Scratch", "Distilled (KD)"]


def test_seeds_of_two_measures_stand_one_above_the_other_under_the_gains():
    panels = {
        "pixel accuracy": {"scratch": [80.0, 82.0], "kd": [84.0, 86.0]},
        "recall": {"scratch": [9.0, 9.0], "kd": [8.0, 8.0]},
    }
    words = draw_seeds(panels, {"pixel accuracy": 90.0, "recall": 10.0})
    first, second = plt.gcf().axes
    assert (first.get_ylabel(), second.get_ylabel()) == ("pixel accuracy (%)", "recall (%)")
    assert first.get_ylim()[1] < 103  # where the interval reaches further
    assert plt.gcf().get_suptitle().replace("\n", " ") == "KD minus scratch, points: pixel accuracy +4.0, recall −1.0"
    assert "teacher 90.0 %" in words


def test_each_panel_against_accuracy_has_its_own_correlation():
    accuracies = {"scratch": [10.0, 20.0], "kd": [30.0, 40.0]}
    falling = {arm: [-value for value in values] for arm, values in accuracies.items()}
    draw_against_accuracy({"cells": (accuracies, accuracies, "a"), "scenes": (accuracies, falling, "b")})
    assert plt.gcf().get_suptitle().endswith("1.00, −1.00")
    assert [axis.get_title() for axis in plt.gcf().axes] == ["cells", "scenes"]


def test_a_network_below_the_empty_map_is_not_called_better():
    cells = draw_cells(20)
    truth = cells.concept_map("part").labels.long()
    perfect = five_band(torch.tensor([0.0, 0.4, 0.9])[truth][:, None], truth).summary()
    empty = five_band(torch.zeros(20, 1, 32, 32), truth).summary()
    full = five_band(torch.ones(20, 1, 32, 32), truth).summary()
    found = {"Empty map": [empty], "good": [perfect], "bad": [full]}
    assert blind_in_words(found, "Empty map", ["good", "bad"]).endswith("Above it: good (of good, bad).")
    rows = band_table(found)
    assert (rows[1]["accuracy"], rows[1]["recall"], rows[0]["recall"]) == ("100.0", "100.0", "0.0")
    assert rows[0]["accuracy"] == f"{100 * empty.start['accuracy']:.1f}"


def test_a_leak_and_an_untrained_network_above_all_are_said():
    points = {"kd": [10.0], "scratch": [20.0], "random": [-1.0, 1.0]}
    words = leak_in_words(points, untrained=22.0, whole=70.0, top=80.0)
    assert "more than any kind of student" in words and "The masks tell the class" in words
    words = leak_in_words(points, untrained=19.0, whole=80.0, top=70.0)
    assert "no more than the best kind" in words and "no sign here" in words


def test_tables_of_choices_have_means_over_seeds_and_a_dash_for_what_is_missing():
    choices = {"as above": {"kd": [1.0, 2.0], "scratch": [float("nan"), 1.0]}}
    rows = choices_table(choices, lambda each: {"score": each})
    assert rows == [
        {"choice": "as above", "network": "Distilled (KD)", "score": "1.5"},
        {"choice": "as above", "network": "Scratch", "score": "–"},
    ]
    [row] = roar_table({"kd": [DiffRoar((0.1,), ((0.6,),), ((0.2,),)), DiffRoar((0.1,), ((0.5,),), ((0.3,),))]})
    assert (row["DiffROAR (points)"], row["seeds"]) == ("+30.0", "+20.0 to +40.0")
    assert (row["top (%)"], row["bottom (%)"]) == ("55.0", "25.0")
