"""Holm's correction: against closed testing over all subsets, from which it follows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kdlib.claims.holm import holm_within_paper, paired_p
from kdlib.claims.paired import t_interval
from kdlib.errors import KdlibError

DIFFERENCES = st.lists(st.integers(-20, 20).map(float), min_size=2, max_size=9)


def named(lists: list[list[float]]) -> dict:
    return {f"han2023.{place}": t_interval(values, "x") for place, values in enumerate(lists)}


def closed_testing(p_values: list[float]) -> list[float]:
    """Slow twin: a hypothesis falls where Bonferroni rejects every set that holds it (Marcus et al. 1976).

    Its adjusted p-value is therefore the largest, over those sets, of the set's size times its smallest p-value.
    """
    places = range(len(p_values))
    sets = [chosen for size in range(1, len(p_values) + 1) for chosen in itertools.combinations(places, size)]
    return [
        max(min(1.0, len(chosen) * min(p_values[i] for i in chosen)) for chosen in sets if place in chosen)
        for place in places
    ]


@given(st.lists(DIFFERENCES, min_size=1, max_size=6))
def test_it_is_closed_testing_with_bonferroni(lists):
    tested = named(lists)
    expected = closed_testing([paired_p(interval) for interval in tested.values()])
    assert list(holm_within_paper(tested).values()) == pytest.approx(expected, abs=1e-12)


@given(DIFFERENCES)
def test_p_is_scipy_s_and_agrees_with_the_interval(values):
    interval = t_interval(values, "x")
    p = paired_p(interval)
    if len(set(values)) > 1:
        assert p == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-6, abs=1e-12)
        assert (p < 0.05) == (interval.low > 0 or interval.high < 0) or p == pytest.approx(0.05, abs=1e-9)


def test_equal_differences_have_p_zero_or_one():
    assert [paired_p(t_interval(values, "x")) for values in ([2.0, 2.0], [-2.0] * 3, [0.0, 0.0])] == [0, 0, 1]
    assert paired_p(t_interval([0.3 - 0.2, 0.4 - 0.3], "x")) == 0  # they differ in their last bit alone


def test_what_takes_no_part_neither_counts_nor_is_corrected():
    tested = named([[1.0, 2.0, 3.0], [1.0, 2.0, 2.0], [5.0, 5.5, 6.0]])
    without = {claim_id: interval for claim_id, interval in tested.items() if claim_id != "han2023.1"}
    assert holm_within_paper(tested, left_out={"han2023.1"}) == holm_within_paper(without)


def test_a_single_claim_is_not_corrected():
    assert holm_within_paper(named([[1.0, 2.0, 3.0]]))["han2023.0"] == paired_p(t_interval([1.0, 2.0, 3.0], "x"))


def test_without_any_effect_a_paper_is_wrong_once_in_twenty_at_most():
    generator = np.random.default_rng(0)
    papers = generator.normal(size=(400, 5, 8))
    wrong = sum(min(holm_within_paper(named(paper.tolist())).values()) < 0.05 for paper in papers)
    assert wrong / 400 < 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


@pytest.mark.parametrize(
    ("tested", "left_out", "message"),
    [
        ({}, (), "0 of 0 claims take part in Holm's correction; correct only where a claim was tested"),
        (named([[1.0, 2.0]]), ("han2023.0",), "0 of 1 claims take part"),
        (named([[1.0, 2.0]]), ("han2023.9",), "'han2023.9' cannot be left out of a correction it is not in"),
        (
            {**named([[1.0, 2.0]]), "cheng2020.1a": t_interval([1.0, 2.0], "x")},
            (),
            "within one paper, not over cheng2020, han2023; correct each by itself",
        ),
    ],
)
def test_what_cannot_be_corrected_is_refused(tested, left_out, message):
    with pytest.raises(KdlibError, match=message):
        holm_within_paper(tested, left_out)
