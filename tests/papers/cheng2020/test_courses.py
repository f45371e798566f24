"""The measures of hypotheses 2 and 3: means that compare like with like, and each control."""

from __future__ import annotations

import math

import pytest
import torch

from kdlib.claims import load_claims
from kdlib.metrics.learning_dynamics import learning_speed, stability
from kdlib.papers.cheng2020.courses import (
    UNDEFINED,
    Courses,
    difference,
    mean_over_layers,
    means_of,
    speed_and_stability,
)
from kdlib.papers.cheng2020.dynamics import discarded, dynamics_of, path_length
from kdlib.papers.cheng2020.study import ConceptStudy


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
    speed = learning_speed(torch.tensor([[0, 1], [4, 1], [2, 3]]), torch.tensor([0.0, 0.5, 1.5]))  # d(m(I)) 0.5, 1.5
    sets = torch.tensor([[[[1, 1]]], [[[0, 1]]]], dtype=torch.bool)
    assert speed_and_stability(speed, stability(sets)) == {
        "distance_mean": 1.0,
        "distance_deviation": 0.5,
        "distance_variance": 0.25,
        "stability": 0.5,
    }
    wanted = {claim.metric for claim in load_claims("cheng2020").values() if claim.short_id[0] in "23"}
    assert wanted < set(UNDEFINED)


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


@pytest.fixture(scope="module")
def courses(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDLIB_RUNS", str(tmp_path_factory.mktemp("runs")))
        study = ConceptStudy(preset="smoke", device="cpu")
        yield Courses(study, {"student": ("fc1", "fc2"), "baseline": ("fc1", "fc2"), "student_fast": ("fc1",)})


RUN = ("student", 0, "fc2")


def test_published_measures_are_those_of_the_run_and_a_layer_that_is_not_trained_has_none(courses):
    found = dynamics_of(courses.study, *RUN)
    assert courses.published(*RUN) == speed_and_stability(found.speed, found.stability)
    assert all(math.isnan(value) for value in courses.published("student_fast", 0, "fc2").values())
    assert set(courses.living("student", "student_fast", layer="fc2")) == {"student"}


def test_other_path_lengths_scale_the_distances_and_leave_rho(courses):
    tenfold = courses.with_lengths(lambda *run: 10 * path_length(courses.study, *run))(*RUN)
    usual = courses.published(*RUN)
    assert tenfold["distance_mean"] == pytest.approx(10 * usual["distance_mean"])
    assert tenfold["distance_variance"] == pytest.approx(100 * usual["distance_variance"])
    assert tenfold["stability"] == usual["stability"]


def test_straight_lines_are_no_longer_than_the_path(courses):
    straight, path = courses.straight(*RUN), courses.path_length(*RUN)
    assert straight.shape == path.shape and 0 < float(straight[-1]) <= float(path[-1]) * (1 + 1e-6)


def test_other_counts_move_the_peaks_and_without_the_first_checkpoint_no_peak_is_there(courses):
    backwards = courses.with_counts(lambda counts: torch.arange(len(counts), 0.0, -1)[:, None].expand_as(counts))
    assert backwards(*RUN)["distance_mean"] == 0  # all pictures have most at the untrained network
    skipped = courses.with_counts(lambda counts: counts, skip_first=True)(*RUN)
    assert skipped["distance_mean"] >= float(courses.path_length(*RUN)[1]) > 0


def test_thresholds_survivors_and_the_background_are_measured_on_their_own_cells_and_pictures(courses):
    study = courses.study
    found = dynamics_of(study, *RUN, threshold=0.05)
    assert courses.at_threshold(0.05)(*RUN) == speed_and_stability(found.speed, found.stability)
    assert courses.at_threshold(study.threshold)(*RUN) == courses.published(*RUN)
    keep = discarded(study, *RUN).keep & discarded(study, "baseline", *RUN[1:]).keep
    found = dynamics_of(study, *RUN, keep=keep)
    assert courses.of_survivors("student", "baseline")(*RUN) == speed_and_stability(found.speed, found.stability)
    found = courses.course(*RUN)
    beside = learning_speed(found.background_counts, found.distances)
    assert courses.beside_object(*RUN)["distance_mean"] == beside.mean


def test_where_peaks_are_adds_up_to_all_pictures(courses):
    found = courses.where_peaks_are("student")
    places = ("never a concept", "peak: untrained", "peak: between", "peak: last checkpoint")
    assert found["no map"] == 0 and sum(found[place] for place in places) == pytest.approx(100)
    first, last = (courses.course(*RUN).concepts[place] & courses.study.foreground for place in (0, -1))
    had = [int((a & b).sum()) / int(b.sum()) for a, b in zip(first, last, strict=True) if b.any()]
    assert courses._old(courses.course(*RUN)).tolist() == pytest.approx(had)
