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
    gradient_gallery,
    soft_band_curves,
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
    axes = np.array(figure.axes).reshape(4, 2)
    assert [row[0].get_ylabel() for row in axes] == ["image", "truth", "Scratch", "Distilled (KD)"]
    names = [" ".join(axis.get_title().replace("-\n", "-").split()) for axis in axes[0]]
    assert names == [cells.class_names[int(cells.labels[i])] for i in (7, 3)]
    for column, index in enumerate((7, 3)):
        assert (shown(axes[1, column]) == truth[index].numpy()).all()
        assert (shown(axes[3, column]) == truth[index].numpy()).all()
        assert (shown(axes[2, column]) == -1).all()
    # Every band has a colour of its own, symmetric about 0.
    assert all(axis.images[0].norm.vmin == -2.5 and axis.images[0].norm.vmax == 2.5 for axis in axes[1:].flat)


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
    left, right = figure.axes
    curve, nothing = left.lines[:2]
    assert curve.get_xdata() == pytest.approx([10, 50]) and curve.get_ydata() == pytest.approx([25, 15])
    assert nothing.get_ydata() == pytest.approx([0, 0])
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["Distilled (KD)", "Random ranking"]
    top, bottom = right.lines[:2]
    assert top.get_ydata() == pytest.approx([60, 90]) and bottom.get_ydata() == pytest.approx([35, 75])


def test_gradients_are_shown_as_sums_of_magnitudes_under_their_image():
    cells = draw_cells(10)
    gradients = torch.randn(2, 3, 32, 32)
    figure = gradient_gallery(cells, [1, 4], {"scratch": gradients, "kd": torch.zeros_like(gradients)})
    axes = np.array(figure.axes).reshape(3, 2)
    for column in range(2):
        expected = gradients[column].abs().sum(0)
        drawn = axes[1, column].images[0]
        assert np.allclose(np.asarray(drawn.get_array()), expected)
        assert drawn.norm.vmin == 0 and drawn.norm.vmax == pytest.approx(3 * float((expected**2).mean().sqrt()))
    assert [row[0].get_ylabel() for row in axes] == ["image", "Scratch", "Distilled (KD)"]
