"""Scratch at several lengths, interpolated to another arm's accuracy."""

from __future__ import annotations

import numpy as np
import pytest

from kdlib.errors import KdlibError
from kdlib.metrics.accuracy_matching import accuracy_matched
from kdlib.stats import student_interval

LENGTHS = {"7": 78.0, "10": 82.0, "14": 85.0, "20": 87.0, "28": 88.0}


def drawn(generator, n: int, accuracy: float, effect: float = 0.0, slope: float = 2.0):
    """Replicates of an arm whose measure is `slope` times its accuracy plus `effect`, and noise in both."""
    right = accuracy + generator.normal(0, 0.8, n)
    return right, slope * accuracy + effect + generator.normal(0, 3.0, n)


def slow_twin(accuracy, measure, schedules):
    """From the definition, replicate by replicate, in plain Python."""

    def mean(values):
        return sum(values) / len(values)

    def theta(kept):
        a, m = mean([accuracy[i] for i in kept]), mean([measure[i] for i in kept])
        (a_k, m_k), (a_l, m_l) = (
            (mean([schedules[name][0][i] for i in kept]), mean([schedules[name][1][i] for i in kept])) for name in pair
        )
        w = (a - a_k) / (a_l - a_k)
        return m - (1 - w) * m_k - w * m_l

    everything = range(len(accuracy))
    wanted = mean(accuracy)
    by_accuracy = sorted(schedules, key=lambda name: mean(schedules[name][0]))
    place = max(i for i, name in enumerate(by_accuracy) if mean(schedules[name][0]) <= wanted)
    pair = by_accuracy[place], by_accuracy[place + 1]
    whole, n = theta(everything), len(accuracy)
    return whole, [n * whole - (n - 1) * theta([j for j in everything if j != i]) for i in everything]


def test_it_equals_a_slow_twin():
    generator = np.random.default_rng(0)
    for _ in range(20):
        schedules = {name: drawn(generator, 6, accuracy) for name, accuracy in LENGTHS.items()}
        accuracy, measure = drawn(generator, 6, 86.0, effect=5.0)
        found = accuracy_matched(accuracy, measure, schedules)
        difference, values = slow_twin(accuracy, measure, schedules)
        assert found.difference == pytest.approx(difference) and found.values == pytest.approx(values)


def test_what_accuracy_alone_explains_is_no_difference():
    """The null check: one of scratch's own lengths against the others."""
    generator = np.random.default_rng(1)
    covered, pretended = 0, 0
    for _ in range(400):
        schedules = {name: drawn(generator, 12, accuracy) for name, accuracy in LENGTHS.items()}
        accuracy, measure = schedules.pop("14")
        low, high = student_interval(accuracy_matched(accuracy, measure, schedules).values)
        covered += low <= 0 <= high
        low, high = student_interval(np.asarray(measure) - np.asarray(schedules["10"][1]))
        pretended += not low <= 0 <= high
    assert 0.91 < covered / 400 < 0.985  # 95 %
    assert pretended > 350  # without matching, a difference in accuracy would pass for one in the measure


def test_a_difference_beyond_accuracy_is_found():
    generator = np.random.default_rng(2)
    found = []
    for _ in range(200):
        schedules = {name: drawn(generator, 12, accuracy) for name, accuracy in LENGTHS.items()}
        accuracy, measure = drawn(generator, 12, 86.5, effect=5.0)
        found.append(accuracy_matched(accuracy, measure, schedules).difference)
    assert np.mean(found) == pytest.approx(5.0, abs=0.3)


def test_where_the_weight_is_known_the_values_are_the_paired_differences():
    below, above = ([70.0, 70.0, 70.0], [1.0, 2.0, 4.0]), ([80.0, 80.0, 80.0], [3.0, 3.0, 5.0])
    found = accuracy_matched([75.0, 75.0, 75.0], [5.0, 7.0, 6.0], {"a": below, "b": above})
    assert found.weight == 0.5 and found.values == pytest.approx([5 - 2.0, 7 - 2.5, 6 - 4.5])


def test_an_arm_as_accurate_as_one_schedule_is_compared_with_that_one():
    schedules = {"a": ([70.0] * 3, [1.0] * 3), "b": ([80.0] * 3, [9.0] * 3), "c": ([90.0] * 3, [20.0] * 3)}
    found = accuracy_matched([80.0] * 3, [10.0] * 3, schedules)
    assert found.difference == 1.0 and found.below == found.above == "b"


@pytest.mark.parametrize("accuracy", [60.0, 99.0])
def test_nothing_is_extrapolated(accuracy):
    schedules = {"a": ([70.0] * 3, [1.0] * 3), "b": ([80.0] * 3, [9.0] * 3)}
    with pytest.raises(KdlibError, match=f"mean accuracy {accuracy:g} lies outside the schedules' 70 to 80"):
        accuracy_matched([accuracy] * 3, [1.0] * 3, schedules)


@pytest.mark.parametrize(
    ("accuracy", "measure", "schedules", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0], {}, "the arm has 2 replicates"),
        ([1.0, 2.0, 3.0], [1.0, 2.0], {}, "the arm needs one finite accuracy and measure"),
        ([1.0, 2.0, float("nan")], [1.0, 2.0, 3.0], {}, "the arm needs one finite"),
        ([1.0] * 3, [1.0] * 3, {"a": ([1.0] * 3, [1.0] * 3)}, "at least two schedules, not 1"),
        ([1.0] * 3, [1.0] * 3, {"a": ([1.0] * 4, [1.0] * 4), "b": ([2.0] * 3, [1.0] * 3)}, "'a' has 4 replicates"),
    ],
)
def test_what_can_t_be_matched_is_refused(accuracy, measure, schedules, message):
    with pytest.raises(KdlibError, match=message):
        accuracy_matched(accuracy, measure, schedules)
