"""Accuracy matching of a study's arms: a difference that accuracy alone makes is explained, another is not."""

from __future__ import annotations

import numpy as np
import pytest

from kdlib.metrics.accuracy_matching import accuracy_matched
from kdlib.papers.han2023.matching import Matching, in_log_odds

SCRATCH = ("scratch_7", "scratch", "scratch_28")
LEVELS = {"scratch_7": 80.0, "scratch": 86.0, "scratch_28": 88.0, "kd": 87.0, "kd_t4": 92.0, "kd_t4_7": 83.0}


@pytest.fixture
def accuracy():
    noise = np.random.default_rng(0).normal(0, 0.3, (len(LEVELS), 8))
    return {arm: list(level + row) for (arm, level), row in zip(LEVELS.items(), noise, strict=True)}


def follows(accuracy, extra=None):
    """A measure that is half of the accuracy, and more in some arms."""
    return {arm: [value / 2 + (extra or {}).get(arm, 0) for value in values] for arm, values in accuracy.items()}


def test_a_measure_that_follows_accuracy_is_explained_whole(accuracy):
    measure = follows(accuracy)
    matching = Matching(accuracy, measure, SCRATCH, {})
    difference = np.mean(measure["kd"]) - np.mean(measure["scratch"])
    assert np.mean(matching.explained("kd")) == pytest.approx(difference)
    assert np.mean(matching.beyond_accuracy("kd")) == pytest.approx(0, abs=1e-9)
    assert np.mean(matching.null_check()) == pytest.approx(0, abs=1e-9)


def test_what_an_arm_has_beyond_its_accuracy_is_left(accuracy):
    matching = Matching(accuracy, follows(accuracy, {"kd": 5.0}), SCRATCH, {})
    assert np.mean(matching.beyond_accuracy("kd")) == pytest.approx(5.0)
    lengths = {name: (accuracy[name], matching.measure[name]) for name in SCRATCH}
    assert matching.beyond_accuracy("kd") == list(
        accuracy_matched(accuracy["kd"], matching.measure["kd"], lengths).values
    )


def test_an_arm_above_all_lengths_is_matched_by_its_own_shorter_ones(accuracy):
    measure = follows(accuracy, {"kd_t4": 5.0, "kd_t4_7": 5.0})
    assert Matching(accuracy, measure, SCRATCH, {}).beyond_accuracy("kd_t4") is None
    own = Matching(accuracy, measure, SCRATCH, {"kd_t4": ("kd_t4_7", "kd_t4")})
    assert np.mean(own.beyond_accuracy("kd_t4")) == pytest.approx(5.0)


def test_of_two_arms_the_difference_in_accuracy_is_explained_and_no_more(accuracy):
    measure = follows(accuracy, {"kd": 5.0, "kd_t4": 2.0, "kd_t4_7": 2.0})
    matching = Matching(accuracy, measure, SCRATCH, {"kd_t4": ("kd_t4_7", "kd_t4")})
    left = np.array(measure["kd"]) - measure["kd_t4"] - matching.explained("kd", "kd_t4")
    assert left.mean() == pytest.approx(3.0)


def test_a_failing_null_check_shows(accuracy):
    matching = Matching(accuracy, follows(accuracy, {"scratch": 4.0}), SCRATCH, {})
    assert np.mean(matching.null_check()) == pytest.approx(4.0)


def test_two_replicates_can_not_be_matched():
    two = {arm: [level, level + 1] for arm, level in LEVELS.items()}
    matching = Matching(two, follows(two), SCRATCH, {})
    assert matching.explained("kd") is None and matching.null_check() is None


def test_log_odds_pull_the_ends_apart():
    found = in_log_odds({"kd": [50.0, 75.0, 100.0]}, 128)["kd"]
    assert found[0] == 0
    assert found[2] - found[1] > found[1] - found[0]
