"""Figures of the chapter on learning dynamics: what is drawn where, and means that compare like with like."""

from __future__ import annotations

import math

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from kdlib.claims import load_claims
from kdlib.metrics.learning_dynamics import learning_speed, stability
from kdlib.names import MODEL_COLOURS, MODEL_NAMES
from kdlib.papers.cheng2020.figures.dynamics import (
    arms_by_layer,
    counts_over_way,
    courses_in_words,
    difference,
    differences_over,
    mean_over_layers,
    means_of,
    speed_and_stability,
    training_courses,
)
from kdlib.papers.cheng2020.study import Dynamics
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


class TestMeanOverLayers:
    def test_it_is_the_mean(self):
        found = mean_over_layers({"a": {3: {"fc1": 1.0, "fc2": 2.0, "fc3": 6.0}}})
        assert found == {"a": {3: 3.0}}

    def test_a_layer_that_one_arm_lacks_is_left_out_of_all_for_that_seed_only(self):
        values = {
            "a": {0: {"fc1": 1.0, "fc2": 5.0}, 1: {"fc1": 2.0, "fc2": 4.0}},
            "b": {0: {"fc1": 7.0, "fc2": math.nan}, 1: {"fc1": 0.0, "fc2": 8.0}},
        }
        assert mean_over_layers(values) == {"a": {0: 1.0, 1: 3.0}, "b": {0: 7.0, 1: 4.0}}

    def test_without_a_common_layer_there_is_no_mean(self):
        values = {"a": {0: {"fc1": math.nan, "fc2": 1.0}}, "b": {0: {"fc1": 1.0, "fc2": math.nan}}}
        assert all(math.isnan(found[0]) for found in mean_over_layers(values).values())


def test_measures_by_the_names_of_the_claims():
    one = course()  # d(m(I)) are 0.5 and 1.5
    sets = torch.tensor([[[[1, 1]]], [[[0, 1]]]], dtype=torch.bool)
    assert speed_and_stability(one.speed, stability(sets)) == {
        "distance_mean": 1.0,
        "distance_deviation": 0.5,
        "distance_variance": 0.25,
        "stability": 0.5,
    }
    wanted = {claim.metric for claim in load_claims("cheng2020").values() if claim.short_id[0] in "23"}
    assert wanted < set(speed_and_stability(one.speed, one.stability))


def test_means_of_every_measure_by_arm_and_seed():
    def measured(arm: str, seed: int, layer: str) -> dict[str, float]:
        number = {"a": 100, "b": 200}[arm] + 10 * seed + int(layer[-1])
        return {"x": float(number), "y": math.nan if (arm, layer) == ("b", "fc3") else float(number)}

    found = means_of(measured, ["a", "b"], [0, 1], ["fc1", "fc3"])
    assert found["x"] == {"a": {0: 102.0, 1: 112.0}, "b": {0: 202.0, 1: 212.0}}
    assert found["y"] == {"a": {0: 101.0, 1: 111.0}, "b": {0: 201.0, 1: 211.0}}


def test_a_difference_is_that_of_paired_seeds():
    found = difference({"a": {0: 2.0, 1: 3.0}, "b": {0: 1.0, 1: 1.0}}, "a", "b")
    assert found is not None and found.differences == (1.0, 2.0)
    assert difference({"a": {0: math.nan}, "b": {0: 1.0}}, "a", "b") is None


class TestCountsOverWay:
    def test_a_thin_line_an_image_and_a_bold_mean_on_the_object_above_beside_it_below(self):
        courses = {"student": course(0.1), "baseline": course()}
        figure = counts_over_way(courses)
        axes = np.array(figure.axes).reshape(2, 2)
        for column, (arm, one) in enumerate(courses.items()):
            assert axes[0, column].get_title() == MODEL_NAMES[arm]
            for row, counts in enumerate((one.foreground_counts, one.background_counts)):
                _, *images, mean = axes[row, column].get_lines()
                assert [line.get_ydata().tolist() for line in images] == counts.T.tolist()
                assert mean.get_ydata().tolist() == counts.double().mean(1).tolist()
                assert mean.get_linewidth() > 2 * images[0].get_linewidth()
                assert all(np.array_equal(line.get_xdata(), one.distances.numpy()) for line in (*images, mean))
                assert to_hex(mean.get_color()).upper() == MODEL_COLOURS[arm]

    def test_the_dashed_line_stands_at_d_mean_and_the_band_is_one_standard_deviation(self):
        figure = counts_over_way({"student": course(), "baseline": course()})
        axis = figure.axes[0]  # d(m(I)) are 0.5 and 1.5
        assert list(axis.get_lines()[0].get_xdata()) == [1.0, 1.0]
        assert axis.patches[0].get_bbox().intervalx.tolist() == [0.5, 1.5]

    def test_each_network_has_its_own_way_but_counts_are_on_one_scale(self):
        figure = counts_over_way({"student": course(0.1), "baseline": course()})
        axes = np.array(figure.axes).reshape(2, 2)
        assert axes[0, 0].get_xlim() == axes[1, 0].get_xlim() != axes[0, 1].get_xlim()
        assert axes[0, 0].get_ylim() == axes[0, 1].get_ylim()

    def test_in_words(self):
        assert courses_in_words({"student": course()}) == (
            "Student: on the object 0.5 to 2.5 cells, beside it 2.5 to 0.5, over a way of 1.5 first norms"
        )


def test_losses_are_told_in_the_first_epochs_and_ways_as_they_are():
    losses = {"fc1": {"student": [4.0, 2.0, 1.0], "baseline": [3.0, 3.0, 1.5]}}
    ways = {"fc1": {"student": [0.1, 0.2, 0.3], "baseline": [1.0, 2.0, 3.0]}}
    above, below = training_courses(losses, ways).axes
    assert [line.get_ydata().tolist() for line in above.get_lines()] == [[1.0, 0.5, 0.25], [1.0, 1.0, 0.5]]
    assert [line.get_ydata().tolist() for line in below.get_lines()] == list(ways["fc1"].values())
    assert above.get_lines()[0].get_xdata().tolist() == [1, 2, 3]
    assert (above.get_yscale(), below.get_yscale()) == ("linear", "log")  # ways differ by orders between networks


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
    assert spans == [contrast.widest for contrast in found.values()]
    assert axis.patches[0].get_bbox().intervaly.tolist() == [-0.05, 0.05]
