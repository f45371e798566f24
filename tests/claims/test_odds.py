"""Shares in log odds, with the correction for no unit and all units."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdlib.claims.interval_words import difference_in_words
from kdlib.claims.odds import ODDS_RATIO, in_log_odds, log_odds, odds_ratio, smallest_log_ratio
from kdlib.claims.paired import subtract, t_interval
from kdlib.errors import KdlibError

COUNTS = st.integers(1, 600).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(COUNTS)
def test_it_is_the_logarithm_of_the_corrected_counts(counts):
    k, n = counts
    assert log_odds(100 * k / n, n) == pytest.approx(math.log(2 * k + 1) - math.log(2 * (n - k) + 1), abs=1e-9)


@given(COUNTS)
def test_the_units_that_do_not_count_have_the_opposite_log_odds(counts):
    k, n = counts
    assert log_odds(100 * k / n, n) == pytest.approx(-log_odds(100 * (n - k) / n, n), abs=1e-9)


def test_it_grows_with_the_share_and_is_finite_at_both_ends():
    values = [log_odds(100 * k / 16, 16) for k in range(17)]
    assert values == sorted(set(values))
    assert values[0] == pytest.approx(math.log(0.5 / 16.5)) and values[8] == pytest.approx(0)


def test_many_units_need_no_correction():
    assert log_odds(54.0, 10**7) == pytest.approx(math.log(0.54 / 0.46), abs=1e-6)


def test_the_correction_is_as_large_as_the_docstring_says():
    for share, pulled in ((54.0, 0.001), (2.0, 0.17)):
        exact = math.log(share / (100 - share))
        assert abs(exact) - abs(log_odds(share, 128)) == pytest.approx(pulled, abs=0.005)


def test_a_hand_example_of_two_replicates():
    """Of 4 units 3 and 2 with KD, 2 and 1 from scratch: (3.5/1.5) / (2.5/2.5) = 7/3 = (2.5/2.5) / (1.5/3.5)."""
    kd, scratch = in_log_odds({0: 75.0, 1: 50.0}, 4, "kd"), in_log_odds({0: 50.0, 1: 25.0}, 4, "scratch")
    found = t_interval(list(subtract(kd, scratch, ("kd", "scratch"), "x").values()), "x")
    assert odds_ratio(found.mean) == pytest.approx(7 / 3)
    assert difference_in_words(found, ODDS_RATIO) == "odds ratio 2.33 (2.33 to 2.33)"


def test_the_same_points_are_another_effect_at_another_base():
    ratios = [odds_ratio(log_odds(base + 3.5, 10**6) - log_odds(base, 10**6)) for base in (54.0, 2.0)]
    assert ratios == pytest.approx([1.15, 2.85], abs=0.01)


def test_a_smallest_ratio_matters_in_both_directions():
    assert odds_ratio(smallest_log_ratio(1.25)) == pytest.approx(1.25)
    assert odds_ratio(-smallest_log_ratio(1.25)) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: log_odds(101.0, 128), "share in percent must be .* at most 100, not 101.0"),
        (lambda: log_odds(math.nan, 128), "not nan"),
        (lambda: log_odds(50.0, 0), "the number of units must be a whole number of at least 1, not 0"),
        (lambda: log_odds(50.0, 12.5), "not 12.5"),
        (lambda: in_log_odds({4: -1.0}, 8, "detectors/kd"), "'detectors/kd' in replicate 4 in percent must be"),
        (lambda: odds_ratio(1e5), "no ratio of odds of units"),
        (lambda: smallest_log_ratio(1.0), "smallest_odds_ratio must be a finite number greater than 1, not 1.0"),
    ],
)
def test_what_is_no_share_or_ratio_is_refused(call, message):
    with pytest.raises(KdlibError, match=message):
        call()
