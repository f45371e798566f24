"""The forest plot as HTML: a row a claim that reads as text, with or without colour, drawing or script."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from forest_toys import CLAIMS, toy_plot, toy_row

from kdlib.claims.at_a_glance import VERDICT_LOOKS
from kdlib.claims.forest import FILTERS, ORDERS, forest_html
from kdlib.claims.forest_rows import ARROWS, NOT_YET, SHAPES, ForestRow
from kdlib.claims.rule import WORDS

VOID = {"path", "rect", "line"}  # written with a slash at their end


class Balanced(HTMLParser):
    """Fails where an element is closed that is not the one opened last."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Sequence) -> None:
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def line_of(page: str, claim_id: str) -> str:
    (line,) = [line for line in page.splitlines() if f'id="forest-{claim_id}"' in line]
    return line


def options(page: str, name: str) -> list[str]:
    """The values that a filter offers, after that of all rows."""
    inner = re.search(rf'<select [^>]*data-filter="{name}">(.*?)</select>', page)[1]
    return re.findall(r'value="([^"]*)"', inner)[1:]


def test_the_page_is_whole_and_has_no_blank_line() -> None:
    page = forest_html(toy_plot())
    Balanced(page)
    assert all(line.strip() for line in page.splitlines())


def test_a_verdict_stands_in_colour_in_words_and_in_the_mark_s_shape() -> None:
    page = forest_html(toy_plot())
    for row in toy_plot():
        line = line_of(page, row.claim.id)
        assert f"{row.word}</strong>" in line
        if row.found:
            colour, marker = VERDICT_LOOKS[row.word]
            assert line.count(f'<path d="{SHAPES[marker]}" fill="{colour}"/>') == 2  # beside the word, on the axis


def test_a_claim_leads_to_its_chapter() -> None:
    page = forest_html(toy_plot(), page_of="there/{}.html")
    assert '<a href="there/han2023_concept_detectors.html">1b: KD gives more' in line_of(page, "han2023.1b")


def test_a_claim_without_a_chapter_leads_nowhere() -> None:
    row = ForestRow(replace(CLAIMS["han2023.1a"], status=NOT_YET))
    assert "<a " not in forest_html([row])


def test_a_drawing_says_its_numbers_with_a_minus() -> None:
    line = line_of(forest_html(toy_plot()), "han2023.2b")
    assert 'aria-label="in smallest effects: mean −3.0, 95 % interval −4.0 to −2.0"' in line


def test_an_interval_that_leaves_the_axis_has_an_arrow_head_and_says_so() -> None:
    page = forest_html(toy_plot())
    assert "runs beyond the right end of the axis" in line_of(page, "han2023.1b")
    assert page.count(ARROWS["right"]) == 1 and ARROWS["left"] not in page


def test_a_mean_beyond_the_axis_has_no_mark_on_it() -> None:
    line = line_of(forest_html([toy_row(effect=25.0, interval=(12.0, 39.0))]), "han2023.1b")
    assert line.count(SHAPES["o"]) == 1  # beside the word


def test_a_claim_that_nothing_measured_is_listed_as_such() -> None:
    line = line_of(forest_html(toy_plot()), "han2023.3a")
    assert f"{NOT_YET}</strong>" in line and "aria-label" not in line and "forest-line" not in line
    assert "not measured yet" in forest_html(toy_plot()) and "not measured yet" not in forest_html([toy_row()])


@pytest.mark.parametrize("interval", [(-math.inf, math.inf), (math.nan, math.nan), (-math.inf, 2.0)])
def test_a_strange_interval_is_drawn_with_finite_numbers(interval: tuple[float, float]) -> None:
    page = forest_html([toy_row(effect=1.0, interval=interval)])
    Balanced(page)
    drawn = re.sub(r'aria-label="[^"]*"', "", line_of(page, "han2023.1b"))
    assert "nan" not in drawn and '"inf' not in drawn and "no finite interval" in drawn


def test_names_are_text() -> None:
    line = line_of(forest_html(toy_plot()), "han2023.2b")
    assert "2b: costs $5 to $10, &lt;b&gt;less&lt;/b&gt; &amp; less" in line
    assert "mathjax_ignore" in forest_html(toy_plot())


def test_filters_offer_what_there_is() -> None:
    page = forest_html(toy_plot())
    assert options(page, "paper") == ["han2023", "cheng2020"]
    assert options(page, "verdict") == [*WORDS, NOT_YET]
    assert options(forest_html([toy_row()] * 2), "verdict") == ["supported"]
    assert options(page, "survives") == ["yes", "not asked"]
    answers = [toy_row(survives=answer) for answer in ("open", "", "no", "yes")]
    assert options(forest_html(answers), "survives") == ["yes", "no", "open", "not asked"]


def test_a_row_says_what_failed_what_it_survives_and_the_corrected_p() -> None:
    page = forest_html([replace(row, corrected=0.0312) for row in toy_plot()])
    assert '>survives a shuffled one.</span><span class="forest-said">p = 0.031 with Holm' in line_of(
        page, "han2023.1b"
    )
    assert ">gate failed: the teacher is poor.</span>" in line_of(page, "han2023.3b")
    assert 'data-survives="yes"' in line_of(page, "han2023.1b")
    assert "p = " not in line_of(forest_html(toy_plot()), "han2023.1b")


def test_an_exploratory_claim_is_marked_and_said_to_be_left_out() -> None:
    page = forest_html([toy_row(), toy_row("han2023.2b", exploratory=True)])
    assert ">exploratory</em>" in line_of(page, "han2023.2b") and "exploratory" not in line_of(page, "han2023.1b")
    assert "<p>1 exploratory claim is not counted: added after the result was seen.</p>" in page
    assert "exploratory" not in re.sub("<style>.*?</style>", "", forest_html([toy_row()]), flags=re.DOTALL)


def test_a_row_carries_what_the_script_asks_for() -> None:
    page = forest_html(toy_plot())
    line = line_of(page, "han2023.2b")
    for choice in FILTERS:
        assert f' data-{choice.name}="' in line
    ranks = {name: int(re.search(rf'data-order-{name}="(\d+)"', line)[1]) for name in ORDERS}
    assert ranks == {"paper": 3, "effect": 4, "verdict": 2}


def test_without_a_script_the_controls_are_hidden_and_all_claims_stand_there() -> None:
    page = forest_html(toy_plot())
    assert re.search(r"<form [^>]* hidden>", page)
    assert not re.search(r"<(li|section)[^>]* hidden", page)
    assert '<p role="status" data-total="7">7 of 7 claims shown</p>' in page


def test_no_claims() -> None:
    assert forest_html([]) == "<p>No claims on file.</p>"


def test_same_rows_same_page() -> None:
    assert forest_html(toy_plot()) == forest_html(toy_plot())
