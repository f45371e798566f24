"""The figure of all judged claims: one row each, turned to the claimed direction, the counts in its title."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest

from kdlib.claims import Record, load_claims
from kdlib.claims.at_a_glance import at_a_glance
from kdlib.claims.conditions import Conditions

CLAIMS = load_claims("han2023")


def test_a_row_for_each_judged_claim_and_the_counts_above(make_record: Callable[..., Record]) -> None:
    drawn = at_a_glance(CLAIMS, [make_record()])
    assert drawn is not None
    figure, words = drawn
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["1b KD gives more concept detectors", "2b label smoothing gives fewer concept detectors"]
    assert figure.get_suptitle() == "1 supported, 1 not supported,\n0 contradicted, 0 inconclusive, 0 no test"
    assert words.startswith("1 supported, 1 not supported, 0 contradicted, 0 inconclusive, 0 no test. 1b KD gives more")
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 5
    plt.close(figure)


def test_a_claim_of_less_is_turned_so_that_the_claimed_side_is_right(make_record: Callable[..., Record]) -> None:
    record = make_record()
    record.measure("detectors/label_smoothing", {i: 47.0 + i % 2 for i in range(8)}, "percent of units")
    record.claim("han2023.2b")
    figure, _ = at_a_glance({"han2023.2b": CLAIMS["han2023.2b"]}, [record]) or (None, "")
    assert figure is not None
    means = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "o" and len(line.get_xdata())]
    expected = -record.verdicts["han2023.2b"].contrast.mean_difference / CLAIMS["han2023.2b"].smallest_effect
    assert expected > 0 and means == pytest.approx([expected])
    plt.close(figure)


def test_an_exploratory_claim_is_marked_and_not_counted(make_record: Callable[..., Record]) -> None:
    since = Conditions(exploratory_since=datetime.date(2026, 11, 27), exploratory_why="Seen before.")
    claims = {**CLAIMS, "han2023.2b": replace(CLAIMS["han2023.2b"], conditions=since)}
    figure, words = at_a_glance(claims, [make_record()]) or (None, "")
    assert figure is not None and figure.get_suptitle().startswith("1 supported, 0 not supported,")
    assert "2b label smoothing gives fewer concept detectors (exploratory): not supported" in words
    plt.close(figure)


def test_nothing_judged_no_figure() -> None:
    assert at_a_glance(CLAIMS, []) is None
