"""The README's picture: whole XML on a white ground, the same bytes from the same rows."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from forest_toys import CLAIMS, toy_plot, toy_row

from kdlib.claims.at_a_glance import VERDICT_LOOKS
from kdlib.claims.forest_picture import forest_in_words, forest_svg
from kdlib.claims.forest_rows import ARROWS, ForestRow

TEXT = "{http://www.w3.org/2000/svg}text"


def texts(picture: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(picture).iter(TEXT)]


def test_every_claim_stands_in_it_with_its_verdict_in_words_shape_and_colour() -> None:
    picture = forest_svg(toy_plot())
    written = texts(picture)
    for row in toy_plot():
        assert any(text.startswith(f"{row.claim.short_id} ") for text in written)
        assert row.word in written
    for colour, _ in VERDICT_LOOKS.values():
        assert picture.count(f'fill="{colour}" stroke') >= 2
    assert "Han et al. 2023" in written and "Cheng et al. 2020" in written


def test_its_ground_is_white_over_the_whole() -> None:
    root = ElementTree.fromstring(forest_svg(toy_plot()))
    ground = next(node for node in root if node.tag.endswith("rect"))
    assert (ground.get("width"), ground.get("height")) == (root.get("width"), root.get("height"))
    assert ground.get("fill") == "#ffffff"


def test_names_are_text_and_numbers_have_a_minus() -> None:
    written = texts(forest_svg(toy_plot()))
    assert any("costs $5 to $10, <b>less</b> & less" in text for text in written)
    assert "−5" in written and "-5" not in written


def test_a_long_name_is_wrapped_and_nothing_lies_below_the_picture() -> None:
    long = toy_row(short="a long name of a claim that goes on and on, " * 4)
    root = ElementTree.fromstring(forest_svg([long, toy_row("han2023.2b")]))
    heights = [float(node.get("y")) for node in root.iter(TEXT)]
    assert max(heights) < float(root.get("height"))
    assert sum("on and on" in text for text in texts(forest_svg([long]))) >= 2


def test_what_leaves_the_axis_has_an_arrow_head() -> None:
    assert forest_svg(toy_plot()).count(ARROWS["right"]) == 1


@pytest.mark.parametrize("interval", [(-math.inf, math.inf), (math.nan, math.nan)])
def test_a_strange_interval_is_drawn_with_finite_numbers(interval: tuple[float, float]) -> None:
    assert not re.search(r'[" HM(](nan|-?inf)', forest_svg([toy_row(interval=interval)]))


def test_the_words_count() -> None:
    told = "1 supported, 1 not supported, 1 contradicted, 1 inconclusive, 1 no test, 2 not yet measured"
    assert forest_in_words(toy_plot()).startswith(f"Forest plot of 7 claims: {told}. ")
    assert forest_in_words([toy_row()]).startswith("Forest plot of 1 claim: 1 supported, 0 not supported, ")


def test_an_exploratory_claim_is_marked_and_not_counted() -> None:
    rows = [toy_row(), toy_row("han2023.2b", exploratory=True, short="seen before")]
    assert "2b  seen before (exploratory)" in texts(forest_svg(rows))
    assert forest_in_words(rows).startswith("Forest plot of 2 claims: 1 supported, 0 not supported")
    assert "1 exploratory claim is not counted: added after the result was seen. Each" in forest_in_words(rows)


def test_nothing_measured_and_no_claims() -> None:
    assert "not yet measured" in texts(forest_svg([ForestRow(claim) for claim in CLAIMS.values()]))
    ElementTree.fromstring(forest_svg([]))


def test_same_rows_same_bytes() -> None:
    assert forest_svg(toy_plot()) == forest_svg(toy_plot())
