"""Intervals in words: no number is printed as one that it is not."""

from __future__ import annotations

import pytest

from kdlib.claims.interval_words import difference_in_words, level, size, subject_of, threshold_in_words
from kdlib.claims.paired import TInterval


def interval(mean, low, high):
    return TInterval(mean, low, high, (mean, mean))


def test_a_bound_above_zero_is_not_printed_as_zero():
    assert difference_in_words(interval(1.2, 0.004, 2.4), "percent") == "+1.200 percentage points (+0.004 to +2.400)"
    assert difference_in_words(interval(1.2, 0.0, 2.4), "percent") == "+1.2 percentage points (0.0 to +2.4)"


def test_a_mean_below_a_threshold_is_not_printed_as_the_threshold():
    assert level(interval(84.99, 80, 90), "percent", [85]) == "84.99 % (80.00 to 90.00)"
    assert level(interval(85.0, 80, 90), "percent", [85]) == "85.0 % (80.0 to 90.0)"


def test_a_ratio_beside_one_is_not_printed_as_one():
    assert difference_in_words(interval(0.1, 0.001, 0.2), "odds ratio") == "odds ratio 1.105 (1.001 to 1.221)"


def test_negative_numbers_have_the_sign_of_minus():
    assert difference_in_words(interval(-3.0, -4.5, -1.5), "fraction") == "−3.0 fraction (−4.5 to −1.5)"
    assert level(interval(-3.0, -4.5, -1.5), "nats") == "−3.0 nats (−4.5 to −1.5)"


@pytest.mark.parametrize(
    ("value", "unit", "difference", "text"),
    [
        (85, "percent", False, "85 %"),
        (5, "percent of units", False, "5 % of units"),
        (10, "percent", True, "10 percentage points"),
        (-1, "percent", True, "−1 percentage points"),
    ],
)
def test_thresholds_have_the_unit_of_a_level_or_a_difference(value, unit, difference, text):
    assert threshold_in_words(value, unit, difference=difference) == text


def test_sizes_and_subjects():
    assert size(3.5, "percent of units") == "3.5 percentage points of the layer's units"
    assert subject_of("diffroar/untrained") == "DiffROAR of untrained network"
    assert subject_of("agreement") == "agreement"
