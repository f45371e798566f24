"""What every widget promises a reader: legible in light and dark, at any width, by keyboard, before any script."""

from __future__ import annotations

import re

import pytest
from browser_checks import CONTRASTS, OVERHANG, watched
from widget_toys import KINDS, write_page

pytestmark = pytest.mark.browser
PACKED = ("dissection", "comparison", "bands")


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture()
def widget(kind, request):
    return request.getfixturevalue(kind)


def alive(page, kind: str):
    """The widget's element, once its still picture has gone."""
    page.wait_for_selector(KINDS[kind])
    page.locator("figure.kdlib-static").first.wait_for(state="hidden")
    return page.locator(KINDS[kind])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_has_contrast_and_the_page_can_change_its_mind(browser, tmp_path, kind, widget, theme):
    with watched(browser, write_page(tmp_path, [widget], theme).as_uri()) as page:
        root = alive(page, kind)
        assert root.get_attribute("data-theme") == theme
        worst = root.evaluate(CONTRASTS)
        assert len(worst) > 20 and worst[0][0] >= 4.5, worst[:3]
        other = "dark" if theme == "light" else "light"
        page.evaluate("name => { document.documentElement.dataset.theme = name; }", other)
        page.wait_for_selector(f'{KINDS[kind]}[data-theme="{other}"]')
        assert root.evaluate(CONTRASTS)[0][0] >= 4.5


def test_nothing_sticks_out_at_any_width(browser, tmp_path, kind, widget):
    with watched(browser, write_page(tmp_path, [widget]).as_uri(), width=360) as page:
        root = alive(page, kind)
        for width in (360, 320, 600, 1200):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(100)  # what observes the size draws anew
            assert root.evaluate(OVERHANG) <= 0.5, width
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_still_picture_goes_when_the_widget_lives_and_comes_back_when_it_goes(browser, tmp_path, kind, widget):
    with watched(browser, write_page(tmp_path, [widget]).as_uri()) as page:
        alive(page, kind)
        figure = page.locator("figure.kdlib-static")
        assert not figure.is_visible()
        page.evaluate("selector => document.querySelector(selector).remove()", KINDS[kind])
        assert figure.is_visible()


def test_without_scripts_the_picture_stands_there_with_words(browser, tmp_path, kind, widget):
    with watched(browser, write_page(tmp_path, [widget]).as_uri(), java_script_enabled=False) as page:
        figure = page.locator("figure.kdlib-static")
        picture = figure.locator("img")
        assert picture.is_visible() and picture.bounding_box()["width"] > 300
        assert picture.get_attribute("alt") in figure.locator("figcaption").inner_text()
        assert page.locator(".kdlib").count() == 0


@pytest.mark.parametrize("kind", PACKED, indirect=True)
def test_a_browser_that_cannot_unpack_the_data_keeps_the_picture_and_says_why(browser, tmp_path, kind, widget):
    address = write_page(tmp_path, [widget]).as_uri()
    with watched(browser, address, before="delete window.DecompressionStream") as page:
        page.get_by_text("lacks DecompressionStream").wait_for()
        assert page.locator("figure.kdlib-static").is_visible()


def test_every_control_has_a_name_and_focus_shows(browser, tmp_path, kind, widget):
    with watched(browser, write_page(tmp_path, [widget]).as_uri()) as page:
        root = alive(page, kind)
        controls = root.locator(":is(input, select, button, [tabindex]):visible").all()
        assert len(controls) >= 4
        for control in controls:
            snapshot = control.aria_snapshot()
            assert re.search(r'"[^"]+"', snapshot) or ":" in snapshot, snapshot
            # Without it JupyterLab moves its cell cursor at an arrow key instead of the slider.
            assert control.get_attribute("data-lm-suppress-shortcuts") == "true"
        controls[0].focus()
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_two_of_a_kind_do_not_collide(browser, tmp_path, kind, widget):
    with watched(browser, write_page(tmp_path, [widget, widget]).as_uri()) as page:
        page.wait_for_function("s => document.querySelectorAll(s).length === 2", arg=KINDS[kind])
        page.wait_for_function(
            "s => [...document.querySelectorAll(s)].every(n => n.querySelector('[aria-live]'))", arg=KINDS[kind]
        )
        ids = page.evaluate("[...document.querySelectorAll('.kdlib [id]')].map(n => n.id)")
        assert len(ids) == len(set(ids)) >= 2
