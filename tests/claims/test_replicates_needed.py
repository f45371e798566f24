"""The smallest number of replicates whose interval would decide."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from kdlib.claims.replicates_needed import replicates_needed
from kdlib.errors import KdlibError

DIFFERENCES = [0.5, 2.0, -1.0, 1.5, 3.0]


def slow_twin(mean: float, spread: float, smallest: float) -> int:
    n = 2
    while True:
        half = stats.t.ppf(0.975, n - 1) * spread / math.sqrt(n)
        if abs(mean) - half > 0 or (mean + half <= smallest and mean - half >= -smallest):
            return n
        n += 1


@pytest.mark.parametrize("smallest", [0.1, 1.3, 2.0, 5.0])
def test_it_equals_counting_up(smallest):
    mean = sum(DIFFERENCES) / 5
    spread = math.sqrt(sum((value - mean) ** 2 for value in DIFFERENCES) / 4)
    assert replicates_needed(DIFFERENCES, smallest) == slow_twin(mean, spread, smallest)
    assert replicates_needed([-value for value in DIFFERENCES], smallest) == slow_twin(mean, spread, smallest)


def test_no_effect_is_decided_by_the_smallest_that_matters():
    assert (
        replicates_needed([-1.0, 1.0], 10.0) < replicates_needed([-1.0, 1.0], 0.5) < replicates_needed([-1.0, 1.0], 0.1)
    )


def test_what_no_number_decides_is_none():
    assert replicates_needed([-1.0, 1.0], 1e-6, most=1000) is None


def test_differences_without_spread_decide_at_once():
    assert replicates_needed([0.0, 0.0, 0.0], 1.0) == 2


@pytest.mark.parametrize(
    ("differences", "smallest", "message"),
    [
        ([1.0], 1.0, "1 differences have no spread"),
        ([1.0, float("nan")], 1.0, "difference must be a finite number"),
        ([1.0, 2.0], 0.0, "smallest_effect must be"),
    ],
)
def test_what_is_no_number_is_refused(differences, smallest, message):
    with pytest.raises(KdlibError, match=message):
        replicates_needed(differences, smallest)
