"""What the forest plot shows of each claim: its effect in its own smallest effects, turned to the claimed side."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from forest_toys import CLAIMS, toy_plot, toy_row

from kdlib.claims import WORDS, Record
from kdlib.claims.at_a_glance import VERDICT_LOOKS
from kdlib.claims.conditions import Conditions
from kdlib.claims.forest_rows import (
    NOT_YET,
    SHAPES,
    ForestRow,
    by_paper,
    cited,
    counts,
    exploratory_in_words,
    forest_rows,
    place,
)
from kdlib.claims.holm import paired_p
from kdlib.claims.paired import TInterval

INFINITE = (-math.inf, math.inf)


def test_the_unit_is_the_claim_s_own_smallest_effect(make_record: Callable[..., Record]) -> None:
    record = make_record()
    rows = {row.claim.id: row for row in forest_rows(CLAIMS, [record])}
    for claim_id, sign in (("han2023.1b", 1), ("han2023.2b", -1)):
        row, contrast = rows[claim_id], record.verdicts[claim_id].contrast
        unit = sign * CLAIMS[claim_id].smallest_effect
        assert row.effect == pytest.approx(contrast.mean_difference / unit)
        assert row.interval == pytest.approx(sorted(end / unit for end in contrast.interval))


def test_right_of_zero_is_the_claimed_direction() -> None:
    less = toy_row("han2023.2b", effect=2.0)
    assert less.claim.direction == "less" and less.found is not None
    assert less.found.contrast.mean_difference < 0 < less.effect


def test_every_claim_has_one_row_in_its_order_with_its_largest_preset(make_record: Callable[..., Record]) -> None:
    rows = forest_rows(CLAIMS, [make_record("quick"), make_record("gpu", seeds=1)])
    assert [row.claim.id for row in rows] == list(CLAIMS)
    assert {row.run for row in rows if row.found} == {"gpu, 1 seed"}
    assert [row.word for row in rows].count(NOT_YET) == len(CLAIMS) - 2


def test_no_records_at_all() -> None:
    for row in forest_rows(CLAIMS, []):
        assert (row.word, row.interval, row.measured, row.run, row.beyond) == (NOT_YET, None, "", "", ())
        assert math.isnan(row.effect) and row.look[1] == ""


@pytest.mark.parametrize(
    ("effect", "interval", "ends", "words"),
    [
        (2.0, (1.0, 10.0), (), ""),
        (2.0, (1.0, 10.1), ("right",), "runs beyond the right end of the axis"),
        (-2.0, (-11.0, 1.0), ("left",), "runs beyond the left end of the axis"),
        (2.0, (-11.0, 15.0), ("left", "right"), "runs beyond both ends of the axis"),
        (25.0, (12.0, 39.0), ("right",), "lies beyond the right end of the axis"),
        (-25.0, (-39.0, -12.0), ("left",), "lies beyond the left end of the axis"),
        (2.0, INFINITE, ("left", "right"), "runs beyond both ends of the axis"),
        (2.0, (1.0, math.inf), ("right",), "runs beyond the right end of the axis"),
    ],
)
def test_what_leaves_the_axis_is_told(
    effect: float, interval: tuple[float, float], ends: tuple[str, ...], words: str
) -> None:
    row = toy_row(effect=effect, interval=interval)
    assert (row.beyond, row.beyond_in_words) == (ends, words)


def test_a_missing_interval_is_said_in_words() -> None:
    one = toy_row(effect=2.0, seeds=1)
    assert one.interval is None and one.beyond == ()
    assert one.measured.endswith("(one seed, no interval)") and one.run == "quick, 1 seed"
    assert toy_row(effect=12.0, seeds=1).beyond_in_words == "lies beyond the right end of the axis"


@pytest.mark.parametrize("interval", [INFINITE, (1.0, math.inf), (math.nan, math.nan)])
def test_an_interval_that_is_not_finite_is_not_put_down_to_one_seed(interval: tuple[float, float]) -> None:
    assert toy_row(interval=interval).measured == "+7 percentage points of the layer's units (no finite interval)"


@pytest.mark.parametrize("value", [-math.inf, -10.0, -1.0, 0.0, 1.0, 10.0, math.inf])
def test_places_lie_on_the_axis(value: float) -> None:
    assert 0 < place(value) < 100
    assert place(value) + place(-value) == pytest.approx(100)


def test_counts_name_every_verdict_also_where_all_are_of_one_kind() -> None:
    assert counts(toy_plot()) == {**dict.fromkeys(WORDS, 1), NOT_YET: 2}
    assert counts([toy_row()] * 3) == {**dict.fromkeys(WORDS, 0), NOT_YET: 0, "supported": 3}


def test_every_verdict_has_a_shape_of_its_own() -> None:
    shapes = [SHAPES[marker] for _, marker in VERDICT_LOOKS.values()]
    assert VERDICT_LOOKS.keys() == set(WORDS) and len(set(shapes)) == len(WORDS)


def test_rows_by_paper() -> None:
    assert [(cited(paper), len(rows)) for paper, rows in by_paper(toy_plot()).items()] == [
        ("Han et al. 2023", 6),
        ("Cheng et al. 2020", 1),
    ]


def test_a_row_without_record_has_its_claim_only() -> None:
    assert ForestRow(CLAIMS["han2023.1a"]).word == NOT_YET


def test_exploratory_claims_are_in_no_count_and_are_said_to_be_left_out() -> None:
    rows = [toy_row(), toy_row("han2023.2b", exploratory=True), toy_row("han2023.2a", exploratory=True)]
    assert sum(counts(rows).values()) == 1
    assert exploratory_in_words(rows) == "2 exploratory claims are not counted: added after the result was seen."
    assert exploratory_in_words(rows[:1]) == ""


class TestHolm:
    """The corrected p-value of a row: over the tested claims of its paper alone."""

    @staticmethod
    def rows(record: Record, **conditions: Conditions) -> dict[str, ForestRow]:
        claims = {
            id_: replace(claim, conditions=conditions.get(claim.short_id, Conditions()))
            for id_, claim in ((key, CLAIMS[key]) for key in ("han2023.1b", "han2023.2b"))
        }
        return {row.claim.short_id: row for row in forest_rows(claims, [record])}

    def test_it_is_that_of_all_tested_claims(self, make_record: Callable[..., Record]) -> None:
        rows = self.rows(make_record())
        raw = {id_: paired_p(row.found.interval) for id_, row in rows.items() if row.found}
        assert raw["1b"] < 0.001 < raw["2b"]
        assert rows["1b"].corrected == pytest.approx(2 * raw["1b"]) and rows["2b"].corrected == raw["2b"]
        assert rows["1b"].remarks == ("p < 0.0001 with Holm's correction",)

    def test_an_exploratory_claim_takes_no_part(self, make_record: Callable[..., Record]) -> None:
        seen = Conditions(exploratory_since=datetime.date(2026, 11, 27), exploratory_why="Seen.")
        rows = self.rows(make_record(), **{"2b": seen})
        assert rows["2b"].corrected is None
        assert rows["1b"].corrected == paired_p(rows["1b"].found.interval)

    def test_an_estimate_takes_no_part(self, make_record: Callable[..., Record]) -> None:
        rows = self.rows(make_record(seeds=7))
        assert {row.corrected for row in rows.values()} == {None}
        assert rows["1b"].remarks == ("about 8 replicates would decide",)


def test_an_effect_in_odds_is_drawn_in_log_odds() -> None:
    row = toy_row(effect=2.0)
    ratio = math.log(1.16)
    odds = replace(
        row.found, unit="odds ratio", smallest_effect=ratio, interval=TInterval(ratio, 0.0, 2 * ratio, (0.1,))
    )
    drawn = replace(row, found=odds)
    assert drawn.effect == pytest.approx(1.0) and drawn.interval == pytest.approx((0.0, 2.0))
    assert drawn.measured.endswith("; odds ratio 1.16 (1.00 to 1.35)")


def test_whether_it_survives_its_controls_is_a_question_of_supported_claims_with_controls() -> None:
    assert [row.survives for row in toy_plot()][:2] == ["not asked", "yes"]
    assert ForestRow(CLAIMS["han2023.1a"]).survives == "not asked"
