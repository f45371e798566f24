"""What the figures and tables on counts of visual concepts draw, for the numbers that they are given."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
import torch

from kdlib.metrics.visual_concepts import visual_concepts
from kdlib.names import MODEL_COLOURS
from kdlib.papers.cheng2020.counts import MEASURES
from kdlib.papers.cheng2020.figures.counts import (
    TITLES,
    counts_of_arms,
    differences,
    maps_by_hand,
    over_thresholds,
    sign,
    tally,
)
from kdlib.stats import paired_contrast

SMALLEST = dict.fromkeys(MEASURES, 2.0)
SURELY_MORE = paired_contrast([20.0, 21.0, 22.5], [10.0, 11.0, 12.0])
PERHAPS_FEWER = paired_contrast([9.0, 13.0, 9.0], [12.0, 11.0, 10.0])
NOTHING = paired_contrast([5.0, 4.0, 3.0], [5.0, 4.0, 3.0])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_every_measure_has_a_title_in_its_unit():
    assert set(TITLES) == set(MEASURES)
    assert all(unit in TITLES[measure] for measure, (_, unit, _) in MEASURES.items())


def test_a_map_by_hand_tells_each_cell_s_entropy_and_marks_the_concepts_where_they_lie():
    entropy = torch.tensor([[[-3.5, -2.6], [-3.2, -2.4]]])
    found = visual_concepts(entropy, torch.tensor([[[True, False], [False, False]]]), 0.2)
    [axis] = maps_by_hand(entropy, found, ["one"]).axes
    assert {text.get_text() for text in axis.texts} == {"-3.5", "-2.6", "-3.2", "-2.4"}
    on, beside = ([(int(x), int(y)) for x, y in line.get_xydata()] for line in axis.lines)
    assert on == [(0, 0)] and beside == [(0, 1)]  # column, row


def some_counts(teacher=(30.0, 30.0, 30.0)):
    arms = {"teacher": list(teacher), "baseline": [10.0, 12.0, 14.0], "student": [15.0, 16.0, 20.0]}
    return dict.fromkeys(MEASURES, arms)


def test_counts_have_a_panel_for_each_measure_and_a_row_for_each_arm():
    figure = counts_of_arms(some_counts(), "The message")
    assert figure._suptitle.get_text() == "The message"
    first, *_ = figure.axes
    assert len(figure.axes) == 3
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["Teacher", "Baseline", "Student"]
    assert [axis.get_xlabel() for axis in figure.axes] == list(TITLES.values())
    [line] = [
        line for line in first.lines if line.get_color() == MODEL_COLOURS["baseline"] and len(line.get_xdata()) == 2
    ]
    assert list(line.get_xdata()) == [12.0, 12.0]


def test_one_teacher_for_all_seeds_is_one_symbol_without_an_interval():
    [first, *_] = counts_of_arms(some_counts()).axes
    drawn = [line for line in first.lines if line.get_color() == MODEL_COLOURS["teacher"]]
    assert [list(line.get_xdata()) for line in drawn] == [[30.0]]


def test_an_interval_that_reaches_below_zero_or_a_share_above_one_is_cut_off():
    count, _, share = counts_of_arms({m: {"baseline": [0.1, 0.9], "student": [0.2, 0.8]} for m in MEASURES}).axes
    assert -0.2 < count.get_xlim()[0] <= 0 and count.get_xlim()[1] > 1
    assert share.get_xlim() == pytest.approx((0, 1), abs=0.05)  # a margin for symbols at the limit


def test_differences_are_filled_only_where_both_intervals_exclude_zero_and_tinted_on_the_paper_s_side():
    rows = {"FC1": SURELY_MORE, "FC2": PERHAPS_FEWER}
    figure = differences(dict.fromkeys(MEASURES, rows), SMALLEST)
    for axis, (measure, (_, _, expected)) in zip(figure.axes, MEASURES.items(), strict=True):
        symbols = [line for line in axis.lines if len(line.get_xdata()) == 1]
        assert [float(line.get_xdata()[0]) for line in symbols] == [c.mean_difference for c in rows.values()]
        assert [line.get_markerfacecolor() == "white" for line in symbols] == [False, True]
        low, high = axis.get_xlim()
        assert low == -high and high > (SURELY_MORE.high if measure != "share_on_object" else 0)
        assert high <= (1 if measure == "share_on_object" else 256)
        tinted = axis.patches[0].get_extents().transformed(axis.transData.inverted())
        assert (tinted.x1 > 1e-6) == (expected > 0) and (tinted.x0 < -1e-6) == (expected < 0)
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["FC1", "FC2"]


def test_one_seed_has_no_interval_and_still_is_drawn():
    alone = paired_contrast([3.0], [1.0])
    figure = differences({measure: {"FC1": alone} for measure in MEASURES}, SMALLEST)
    assert all(axis.get_xlim()[1] > 2 for axis in figure.axes[:2])
    assert counts_of_arms({m: {"baseline": [1.0], "student": [2.0]} for m in MEASURES}).axes


def test_curves_over_the_threshold_go_through_the_means():
    swept = {0.1: SURELY_MORE, 0.2: NOTHING}
    figure = over_thresholds(dict.fromkeys(MEASURES, swept), 0.2)
    curve = figure.axes[0].lines[-1]
    assert [list(pair) for pair in curve.get_xydata()] == [[0.1, SURELY_MORE.mean_difference], [0.2, 0.0]]


@pytest.mark.parametrize(
    ("contrast", "more", "fewer"),
    [
        (SURELY_MORE, "as the paper, surely", "against it, surely"),
        (PERHAPS_FEWER, "against it", "as the paper"),
        (NOTHING, "no difference", "no difference"),
    ],
)
def test_a_sign_is_the_paper_s_or_not_and_sure_or_not(contrast, more, fewer):
    assert sign("concepts_on_object", contrast) == sign("share_on_object", contrast) == more
    assert sign("concepts_beside_object", contrast) == fewer


def test_the_tally_counts_cells_for_and_against_the_paper():
    rows = {"a": SURELY_MORE, "b": PERHAPS_FEWER, "c": NOTHING}
    on, beside, _ = tally(dict.fromkeys(MEASURES, rows))
    assert (on["as the paper"], on["surely"], on["against it"], on["against it, surely"]) == (
        "1 of 3", "1 of 3", "1 of 3", "0 of 3",
    )  # fmt: skip
    assert (beside["as the paper"], beside["against it, surely"]) == ("1 of 3", "1 of 3")
