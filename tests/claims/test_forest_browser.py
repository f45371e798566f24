"""The forest plot in a browser: filters, order and count, by keyboard too; legible on a phone, light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser_checks import CONTRASTS, OVERHANG, watched
from forest_toys import toy_plot

from kdlib.claims.forest import forest_html

pytestmark = pytest.mark.browser

WIDTHS = (380, 1300)
# The theme's colours, which the book sets.
DARK = "--pst-color-text-base:#ced6dd;--pst-color-text-muted:#9ca4af;--pst-color-background:#14181e;background:#14181e"


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    """A page that holds the plot and nothing else."""
    return written(tmp_path_factory.mktemp("forest"), "")


def written(folder: Path, style: str) -> str:
    page = folder / "forest.html"
    links = "<style>a { color: #7cb8ff }</style>" if style else ""
    body = f'{links}<body style="margin:8px;{style};color:var(--pst-color-text-base)">{forest_html(toy_plot())}'
    page.write_text(f"<!DOCTYPE html><html lang=en><meta charset=utf-8><title>Plot</title>{body}", encoding="utf-8")
    return page.as_uri()


def shown(page) -> list[str]:
    """The ids of the visible rows from above."""
    rows = page.locator(".forest-row:visible")
    return [row.removeprefix("forest-") for row in rows.evaluate_all("rows => rows.map(row => row.id)")]


@pytest.mark.parametrize("width", WIDTHS)
def test_filters_narrow_what_is_shown_and_the_count_says_so(browser, address, width):
    with watched(browser, address, width=width) as page:
        status = page.get_by_role("status")
        assert status.inner_text() == "7 of 7 claims shown" and len(shown(page)) == 7
        page.get_by_label("Verdict").select_option("not yet measured")
        assert shown(page) == ["han2023.3a", "cheng2020.1a"]
        assert status.inner_text() == "2 of 7 claims shown"
        page.get_by_label("Paper").select_option("cheng2020")
        assert shown(page) == ["cheng2020.1a"]
        assert page.get_by_role("heading", name="Han et al. 2023").count() == 0  # not in the accessibility tree
        page.get_by_label("Survives its controls").select_option("yes")
        page.get_by_label("Verdict").select_option("supported")
        assert shown(page) == [] and status.inner_text() == "0 of 7 claims shown"
        page.get_by_role("button", name="Show all").click()
        page.wait_for_function("document.querySelectorAll('.forest-row:not([hidden])').length === 7")
        assert status.inner_text() == "7 of 7 claims shown"


@pytest.mark.parametrize("width", WIDTHS)
def test_rows_are_sorted_within_their_paper(browser, address, width):
    with watched(browser, address, width=width) as page:
        order = page.get_by_label("Order")
        in_paper = shown(page)
        order.select_option("effect")
        assert shown(page)[:6] == [f"han2023.{name}" for name in ("3b", "1b", "1a", "2a", "2b", "3a")]
        order.select_option("verdict")
        assert shown(page)[:6] == [f"han2023.{name}" for name in ("1b", "2a", "2b", "1a", "3b", "3a")]
        assert shown(page)[6] == "cheng2020.1a"
        order.select_option("paper")
        assert shown(page) == in_paper


def test_the_keyboard_does_it_all(browser, address):
    with watched(browser, address) as page:
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowDown")
        assert len(shown(page)) == 6
        page.keyboard.press("Tab")
        page.keyboard.press("s")
        assert shown(page) == ["han2023.1b"]
        for _ in range(3):
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_function("document.querySelectorAll('.forest-row:not([hidden])').length === 7")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.innerText") == "1a: KD raises accuracy"


def test_without_javascript_every_claim_stands_there_and_no_control(browser, address):
    with watched(browser, address, width=380, java_script_enabled=False) as page:
        assert page.locator(".forest-row").count() == 7
        assert page.locator(".forest-row").last.is_visible()
        assert not page.locator("form").is_visible()


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out(browser, address, width):
    with watched(browser, address, width=width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator(".kdlib-forest").evaluate(OVERHANG) <= 0.5


def test_the_text_stands_above_its_interval_on_a_phone_and_beside_it_where_there_is_room(browser, address):
    bottoms = "row => [row.querySelector('.forest-text'), row.querySelector('.forest-interval')].map(part => "
    for width, stacked in zip(WIDTHS, (True, False), strict=True):
        with watched(browser, address, width=width) as page:
            row = page.locator(".forest-row").first
            text, drawing = row.evaluate(bottoms + "part.getBoundingClientRect().toJSON())")
            assert (text["bottom"] <= drawing["top"]) is stacked
            assert (text["right"] <= drawing["left"]) is not stacked


@pytest.mark.parametrize("style", ["", DARK], ids=["light", "dark"])
def test_text_can_be_read(browser, tmp_path, style):
    with watched(browser, written(tmp_path, style), width=380) as page:
        worst, what = page.locator(".kdlib-forest").evaluate(CONTRASTS)[0]
        assert worst >= 4.5, what


def test_names_are_shown_as_they_are(browser, address):
    with watched(browser, address) as page:
        name = page.locator('[id="forest-han2023.2b"] .forest-claim').inner_text()
        assert name == "2b: costs $5 to $10, <b>less</b> & less"
