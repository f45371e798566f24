"""Figures of the chapter on learning dynamics: what is drawn where, and means that compare like with like."""

from __future__ import annotations

import math

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from kdlib.metrics.learning_dynamics import learning_speed, stability
from kdlib.names import MODEL_COLOURS, MODEL_NAMES
from kdlib.papers.cheng2020.dynamics import Dynamics
from kdlib.papers.cheng2020.figures.dynamics import (
    arms_by_layer,
    counts_over_distance,
    courses_in_words,
    differences_by_layer,
    differences_over,
    training_courses,
)
from kdlib.stats import paired_contrast


def course(stretch: float = 1.0) -> Dynamics:
    """Two images over three checkpoints: one has most concepts at the second checkpoint, the other at the last."""
    on = torch.tensor([[0, 1], [4, 1], [2, 3]])
    distances = stretch * torch.tensor([0.0, 0.5, 1.5], dtype=torch.float64)
    concepts = torch.zeros(3, 2, 2, 2, dtype=torch.bool)
    cells = torch.ones(2, 2, 2, dtype=torch.bool)
    return Dynamics(
        epochs=(0, 1, 2),
        distances=distances,
        foreground_counts=on,
        background_counts=on.flip(0),
        concepts=concepts,
        speed=learning_speed(on, distances),
        stability=stability(concepts, cells),
    )


class TestCountsOverDistance:
    def test_a_thin_line_an_image_a_bold_mean_and_dots_for_the_mean_beside_the_object(self):
        courses = {"student": course(0.1), "baseline": course()}
        for axis, (arm, one) in zip(counts_over_distance(courses).axes, courses.items(), strict=True):
            assert axis.get_title() == MODEL_NAMES[arm]
            _, *images, mean, beside = axis.get_lines()
            assert [line.get_ydata().tolist() for line in images] == one.foreground_counts.T.tolist()
            assert mean.get_ydata().tolist() == one.foreground_counts.double().mean(1).tolist()
            assert beside.get_ydata().tolist() == one.background_counts.double().mean(1).tolist()
            assert mean.get_linewidth() > 2 * images[0].get_linewidth()
            assert all(np.array_equal(line.get_xdata(), one.distances.numpy()) for line in (*images, mean, beside))
            assert to_hex(mean.get_color()).upper() == MODEL_COLOURS[arm]

    def test_the_dashed_line_stands_at_d_mean_and_the_band_is_one_standard_deviation(self):
        axis = counts_over_distance({"student": course(), "baseline": course()}).axes[0]  # d(m(I)) are 0.5 and 1.5
        assert list(axis.get_lines()[0].get_xdata()) == [1.0, 1.0]
        assert axis.patches[0].get_bbox().intervalx.tolist() == [0.5, 1.5]

    def test_each_network_has_its_own_path_length_but_counts_are_on_one_scale(self):
        above, below = counts_over_distance({"student": course(0.1), "baseline": course()}).axes
        assert above.get_xlim() != below.get_xlim() and above.get_ylim() == below.get_ylim()
        assert above.get_xlim()[0] == 0

    def test_in_words(self):
        assert courses_in_words({"student": course()}) == (
            "Student: on the object 0.5 to 2.5 cells, beside it 2.5 to 0.5, over a path of 1.5 first norms"
        )


def test_losses_are_relative_to_the_first_epoch_and_path_lengths_as_they_are():
    losses = {"fc1": {"student": [4.0, 2.0, 1.0], "baseline": [3.0, 3.0, 1.5]}}
    lengths = {"fc1": {"student": [0.1, 0.2, 0.3], "baseline": [1.0, 2.0, 3.0]}}
    left, right = training_courses(losses, lengths).axes
    assert [line.get_ydata().tolist() for line in left.get_lines()] == [[1.0, 0.5, 0.25], [1.0, 1.0, 0.5]]
    assert [line.get_ydata().tolist() for line in right.get_lines()] == list(lengths["fc1"].values())
    assert left.get_lines()[0].get_xdata().tolist() == [1, 2, 3]
    assert (left.get_yscale(), right.get_yscale()) == ("linear", "log")  # they differ by orders between networks


def test_each_arm_at_each_layer_has_its_seeds_and_their_mean_without_what_is_undefined():
    layers = {"fc1": [1.0, 3.0], "fc2": [2.0, math.nan], "fc3": [math.nan, math.nan]}
    figure = arms_by_layer({"rho": {"student": layers, "baseline": {layer: [0.0, 0.0] for layer in layers}}})
    [axis] = figure.axes
    large = [line for line in axis.get_lines() if line.get_markersize() == 10]
    student = [line for line in large if to_hex(line.get_color()).upper() == MODEL_COLOURS["student"]]
    np.testing.assert_array_equal([line.get_ydata()[0] for line in student], [2.0, 2.0, math.nan])
    assert [line.get_xdata()[0] for line in student] == pytest.approx([-0.09, 0.91, 1.91])
    assert [label.get_text() for label in axis.get_xticklabels()] == ["FC1", "FC2", "FC3"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Student", "Baseline"]


def test_differences_stand_over_their_setting_with_the_wider_interval():
    found = {b: paired_contrast([b, 2 * b, 3 * b], [0.0, 0.0, 0.0]) for b in (0.1, 0.2)}
    figure = differences_over({"rho": {"baseline": found}}, {"rho": 0.05}, "threshold")
    [axis] = figure.axes
    means = axis.get_lines()[-1]
    assert means.get_xdata().tolist() == pytest.approx([0.1, 0.2])
    assert list(means.get_ydata()) == pytest.approx([0.2, 0.4])
    spans = [tuple(line.get_ydata()) for line in axis.get_lines()[1:-1]]
    assert spans == [contrast.interval for contrast in found.values()]
    assert axis.patches[0].get_bbox().intervaly.tolist() == [-0.05, 0.05]


def test_differences_by_layer_have_a_row_each_and_end_where_a_share_can_not_differ_by_more():
    wide = paired_contrast([0.9, 0.1], [0.0, 0.0])
    figure = differences_by_layer(
        {"rho": {"baseline": {"FC1": wide, "FC2": wide}, "baseline_slow": {"FC2": wide}}},
        {"rho": 0.05},
        "The message",
        ["rho"],
    )
    [axis] = figure.axes
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["FC1", "FC2"]
    baseline, slow = (line for line in axis.get_lines() if line.get_label().startswith("minus"))
    assert list(baseline.get_ydata()) == pytest.approx([-0.12, 0.88]) and list(slow.get_ydata()) == [1.12]
    assert wide.high > 1.5 and axis.get_xlim() == pytest.approx((-1, 1), abs=0.1)
    assert figure._suptitle.get_text() == "The message"
