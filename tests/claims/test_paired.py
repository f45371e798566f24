"""Measurements by replicate, differences within replicates, Student's interval."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdlib.claims.paired import check_same_replicates, difference, measurement, subtract, t_interval
from kdlib.errors import KdlibError

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30)
# Quantiles 0.975 of Student's t as tables have them.
QUANTILES = {2: 12.7062, 3: 4.30265, 8: 2.36462, 16: 2.13145}


class TestInterval:
    @pytest.mark.parametrize("n", QUANTILES)
    def test_it_is_the_mean_and_the_table_s_quantile_of_standard_errors(self, n):
        values = [float(i * i % 7) for i in range(n)]
        half = QUANTILES[n] * statistics.stdev(values) / math.sqrt(n)
        found = t_interval(values, "x")
        assert found.low == pytest.approx(statistics.mean(values) - half, rel=1e-5)
        assert found.high == pytest.approx(statistics.mean(values) + half, rel=1e-5)
        assert found.n == n

    @given(VALUES)
    def test_it_turns_with_the_sign(self, values):
        there, back = t_interval(values, "x"), t_interval([-value for value in values], "x")
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low), rel=1e-9, abs=1e-9)

    def test_equal_values_have_no_width(self):
        found = t_interval([2.5, 2.5, 2.5], "x")
        assert (found.mean, found.low, found.high, found.all_equal) == (2.5, 2.5, 2.5, True)
        assert t_interval([0.0, 0.0], "x").all_equal
        assert not t_interval([2.5, 2.5, 2.51], "x").all_equal

    def test_a_mean_that_is_zero_but_for_rounding_is_zero(self):
        assert t_interval([0.1 + 0.2, -0.3], "x").mean == 0

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ([], "claim 1b: no replicate has no interval; measure at least two replicates"),
            ([3.0], "claim 1b: 1 replicate has no interval; measure at least two replicates"),
            ([3.0, math.nan], "claim 1b, replicate number 2 must be a finite number, not nan"),
            ([3.0, math.inf], "claim 1b, replicate number 2 must be a finite number, not inf"),
        ],
    )
    def test_what_has_no_interval_is_refused(self, values, message):
        with pytest.raises(KdlibError, match=message):
            t_interval(values, "claim 1b")


class TestDifference:
    def test_replicates_are_paired_by_number_and_not_by_place(self):
        measured = {"m/a": {0: 1.0, 1: 2.0, 2: 4.0}, "m/b": {2: 1.0, 0: 0.5, 1: 0.0}}
        assert difference(measured, "m/a", "m/b", "x") == {0: 0.5, 1: 2.0, 2: 3.0}
        assert difference(measured, "m/b", None, "x") == measured["m/b"]

    def test_levels_that_agree_to_twelve_digits_do_not_differ(self):
        assert subtract({0: 0.1 + 0.2, 1: 1.0}, {0: 0.3, 1: 0.5}, ("a", "b"), "x") == {0: 0.0, 1: 0.5}

    def test_unpaired_replicates_are_named(self):
        with pytest.raises(KdlibError, match="x: replicate 7 has 'b' and not 'a'; measure both in the same"):
            subtract({0: 1.0}, {0: 1.0, 7: 2.0}, ("a", "b"), "x")
        with pytest.raises(KdlibError, match="x: replicate 1 has 'a' and not 'b'"):
            check_same_replicates({0: 1.0, 1: 1.0}, {0: 1.0, 7: 2.0}, ("a", "b"), "x")

    def test_what_is_not_measured_is_named(self):
        with pytest.raises(KdlibError, match="x lacks its measurement 'm/c'; measure it in every replicate"):
            difference({"m/a": {0: 1.0}}, "m/a", "m/c", "x")
        with pytest.raises(KdlibError, match="x found no replicate in 'm/a'; measure it"):
            measurement({"m/a": {}}, "m/a", "x")

    @pytest.mark.parametrize(("value", "text"), [(math.nan, "nan"), ("high", "'high'"), (None, "None"), (True, "True")])
    def test_what_is_no_number_is_named_with_its_replicate(self, value, text):
        with pytest.raises(KdlibError, match=f"x: 'm/a' is {text} in replicate 3; measure that replicate anew"):
            measurement({"m/a": {0: 1.0, 3: value}}, "m/a", "x")
