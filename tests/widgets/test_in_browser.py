"""The two explorers of single networks alive in a page without kernel and network: every control."""

from __future__ import annotations

import math
import re

import pytest
import torch
from browser_checks import watched
from widget_toys import CLASSES, write_page

from kdlib.widgets import temperature_explorer
from kdlib.widgets.dissection_explorer import region_masks

pytestmark = pytest.mark.browser
TEMPERATURE, DISSECTION = ".kdlib-temperature", ".kdlib-dissection"


def alive(page) -> None:
    page.wait_for_selector(f"{TEMPERATURE} .kdlib-chart svg")
    page.wait_for_selector(f"{DISSECTION} .kdlib-card canvas")


@pytest.fixture()
def page(browser, tmp_path, temperature, dissection):
    with watched(browser, write_page(tmp_path, [temperature, dissection]).as_uri()) as opened:
        alive(opened)
        yield opened


def number(page, key: str) -> float:
    return float(page.locator(f'[data-kdlib-value="{key}"]').first.inner_text())


def expect_numbers(page, widget, image: int, student: str, t: float) -> None:
    """The page's numbers against float64 formulas written out here."""
    z = torch.tensor(widget.teacher_logits[image], dtype=torch.float64) / t
    s = torch.tensor(widget.student_logits[student][image], dtype=torch.float64) / t
    p, q = z.exp() / z.exp().sum(), s.exp() / s.exp().sum()
    kl = float((p * (p / q).log()).sum())
    assert number(page, "kl") == pytest.approx(kl, abs=5.1e-5)
    assert number(page, "scaled") == pytest.approx(t * t * kl, abs=5.1e-5)
    assert number(page, "teacher_entropy") == pytest.approx(float(-(p * p.log()).sum()), abs=5.1e-4)
    assert number(page, "student_entropy") == pytest.approx(float(-(q * q.log()).sum()), abs=5.1e-4)
    rows = page.locator(f"{TEMPERATURE} .kdlib-row").evaluate_all(
        "rows => rows.map(r => [r.dataset.class, r.querySelector('.kdlib-values').innerText, "
        "...[...r.querySelectorAll('.kdlib-bar > i')].map(b => b.style.width)])"
    )
    assert len(rows) == len(p)
    top = float(torch.cat([p, q]).max())  # bars reach up to the largest at first
    for index, told, upper, lower in rows:
        for value, text, width in zip((p, q), told.split("\n"), (upper, lower), strict=True):
            mine = float(value[int(index)])
            assert text == "<0.001" if mine < 0.0005 else float(text) == pytest.approx(mine, abs=5.1e-4)
            assert float(width[:-1]) == pytest.approx(100 * mine / top, abs=5.1e-3)


def test_the_temperature_slider_by_keyboard(page, temperature):
    slider = page.locator(f"{TEMPERATURE} input[type=range]")
    chart, said = page.locator(f"{TEMPERATURE} .kdlib-groups"), page.locator(f"{TEMPERATURE} [aria-live=polite]")
    expect_numbers(page, temperature, 0, "kd", 4.0)
    before, sentence = chart.screenshot(animations="disabled"), said.inner_text()
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    steps = temperature.temperatures
    now = steps[steps.index(4.0) + 4]
    assert slider.get_attribute("aria-valuetext") == f"{now:g}"
    expect_numbers(page, temperature, 0, "kd", now)
    assert chart.screenshot(animations="disabled") != before
    assert said.inner_text() != sentence and f"T = {now:g} " in said.inner_text()
    page.keyboard.press("Home")
    expect_numbers(page, temperature, 0, "kd", 0.5)
    page.keyboard.press("End")
    expect_numbers(page, temperature, 0, "kd", 20.0)


def test_images_and_students_by_mouse_and_keyboard(page, temperature):
    thumbs, said = page.locator(f"{TEMPERATURE} .kdlib-thumbs button"), page.locator(f"{TEMPERATURE} [aria-live]")
    assert thumbs.count() == 12
    preview = page.locator(f"{TEMPERATURE} .kdlib-picked > .kdlib-tile")
    before, sentence = preview.screenshot(), said.inner_text()
    thumbs.nth(5).click()
    expect_numbers(page, temperature, 5, "kd", 4.0)
    assert preview.screenshot() != before and said.inner_text() != sentence
    assert CLASSES[temperature.labels[5]] in preview.get_attribute("aria-label")
    pressed = thumbs.evaluate_all("all => all.map(b => b.getAttribute('aria-pressed'))")
    assert pressed == ["true" if i == 5 else "false" for i in range(12)]
    thumbs.nth(7).focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="scratch").first.focus()
    page.keyboard.press("Space")
    expect_numbers(page, temperature, 7, "scratch", 4.0)


def test_the_thumbnails_show_the_images_themselves(page, temperature, probe):
    # One pixel of the sprite per pixel of the image: the browser decodes what Python packed.
    for i in (0, 11):
        colours = page.evaluate(
            """async ([selector, i]) => {
                const node = document.querySelectorAll(selector)[i];
                const url = getComputedStyle(node).backgroundImage.slice(5, -2);
                const image = new Image(); image.src = url; await image.decode();
                const canvas = document.createElement("canvas");
                [canvas.width, canvas.height] = [image.width, image.height];
                const context = canvas.getContext("2d"); context.drawImage(image, 0, 0);
                const [y, x] = [Math.floor(i / 4) * 32, (i % 4) * 32];
                return [...context.getImageData(x, y, 32, 32).data];
            }""",
            [f"{TEMPERATURE} .kdlib-thumbs button", i],
        )
        assert temperature.sprite_columns == 4
        assert torch.equal(torch.tensor(colours).view(32, 32, 4)[..., :3].permute(2, 0, 1).byte(), probe.images[i])


@pytest.mark.parametrize(("scale", "length"), [
    ("log", lambda p, top: 1 + math.log10(max(p, 1e-4)) / 4),
    ("fit", lambda p, top: p / top),
    ("linear", lambda p, top: p),
])  # fmt: skip
def test_the_scale_of_the_bars(page, temperature, scale, length):
    page.locator(f"{TEMPERATURE} select").select_option(scale)
    p, q = temperature.probabilities(), temperature.probabilities("kd")
    top = float(torch.cat([p, q]).max())
    widths = page.locator(f"{TEMPERATURE} .kdlib-row").evaluate_all(
        "rows => rows.map(r => [r.dataset.class, r.querySelector('.kdlib-bar > i').style.width])"
    )
    for index, width in widths:
        assert float(width[:-1]) == pytest.approx(100 * length(float(p[int(index)]), top), abs=5.1e-3)


def shown_counts(page) -> dict[str, tuple[int, str]]:
    rows = page.locator(f"{DISSECTION} .kdlib-count").evaluate_all(
        "rows => rows.map(r => [r.dataset.model, Number(r.querySelector('b').innerText),"
        " r.querySelector('p').innerText])"
    )
    return {name: (total, words) for name, total, words in rows}


def test_the_threshold_recounts_every_model(page, dissection):
    slider, said = page.locator(f"{DISSECTION} input[type=range]"), page.locator(f"{DISSECTION} [aria-live]")
    bars, sentence = page.locator(f"{DISSECTION} .kdlib-counts"), said.inner_text()
    before = bars.screenshot(animations="disabled")
    slider.focus()
    place = dissection.threshold_steps.index(0.05)
    for key, index in (("ArrowRight", place + 1), ("ArrowRight", place + 2), ("Home", 0), ("End", -1)):
        page.keyboard.press(key)
        tau = dissection.threshold_steps[index]
        for model in dissection.models:
            found = [c for s, c in zip(model["scores"], model["categories"], strict=True) if s >= tau and c >= 0]
            total, words = shown_counts(page)[model["name"]]
            assert total == len(found)
            told = {name: int(n) for n, name in re.findall(r"(\d+) (\w+)", words)}
            assert told == {c: found.count(i) for i, c in enumerate(dissection.categories) if found.count(i)}
        assert f"IoU of {tau:.3f}" in said.inner_text()
    assert bars.screenshot(animations="disabled") != before and said.inner_text() != sentence
    assert page.locator(f"{DISSECTION} .kdlib-badge").inner_text() == "not a detector"


def check_unit(page, dissection, name: str, unit: int) -> None:
    """Facts and captions of the shown unit, against the views that the widget was made of."""
    views = dissection._views[name]
    facts = page.locator(f"{DISSECTION} .kdlib-facts").inner_text()
    assert f"Unit {unit} of" in facts and (views.best_concept[unit] or "no concept") in facts
    assert number(page, "score") == pytest.approx(float(views.score[unit]), abs=5.1e-4)
    region = region_masks(views.top_maps, views.thresholds, (32, 32))[unit]
    captions = page.locator(f"{DISSECTION} .kdlib-card p").all_inner_texts()
    for rank, index in enumerate(views.top_index[unit].tolist()):
        words = captions[rank].split("\n")
        assert words[0] == CLASSES[dissection._probe.labels[index]]
        assert words[1] == f"active on {100 * float(region[rank].float().mean()):.1f} %"
        if views.best_concept[unit]:
            found = dissection._probe.concept_map(views.best_category[unit])
            concept = found.labels[index] == found.names.index(views.best_concept[unit])
            iou = float((region[rank] & concept).sum() / (region[rank] | concept).sum())
            assert float(words[2].split()[-1]) == pytest.approx(iou, abs=5.1e-3)


def test_every_model_and_unit_can_be_looked_at(page, dissection):
    select, said = page.get_by_label("Unit", exact=True), page.locator(f"{DISSECTION} [aria-live]")
    pictures = page.locator(f"{DISSECTION} .kdlib-cards")
    check_unit(page, dissection, "kd", int(dissection._views["kd"].score.argmax()))
    for name, title in (("label_smoothing", "label smoothing"), ("teacher", "teacher")):
        picture, sentence = pictures.screenshot(), said.inner_text()
        page.locator(DISSECTION).get_by_role("button", name=title).click()
        ranking = dissection._views[name].score.sort(descending=True, stable=True).indices.tolist()
        check_unit(page, dissection, name, ranking[0])
        assert pictures.screenshot() != picture and said.inner_text() != sentence
    select.focus()
    page.keyboard.press("ArrowDown")
    check_unit(page, dissection, "teacher", ranking[1])
    page.get_by_role("button", name="next unit").click()
    check_unit(page, dissection, "teacher", ranking[2])
    page.get_by_role("button", name="previous unit").press("Enter")
    check_unit(page, dissection, "teacher", ranking[1])
    select.select_option("0")  # the unit without a concept
    check_unit(page, dissection, "teacher", 0)
    assert page.locator(f"{DISSECTION} .kdlib-badge").get_attribute("data-detector") == "false"


def test_units_are_filtered_and_sorted(page, dissection):
    units = page.get_by_label("Unit", exact=True)
    model = next(m for m in dissection.models if m["name"] == "kd")

    def listed() -> list[int]:
        return [int(value) for value in units.locator("option").evaluate_all("all => all.map(o => o.value)")]

    page.get_by_label("Show units of").select_option("texture")
    texture = dissection.categories.index("texture")
    expected = [u for u, c in enumerate(model["categories"]) if c == texture]
    assert listed() == sorted(expected, key=lambda u: (-model["scores"][u], u))
    page.get_by_label("Sort by").select_option("number")
    assert listed() == expected
    page.get_by_label("Show units of").select_option("detectors")
    assert listed() == [u for u, s in enumerate(model["scores"]) if s >= 0.05 and model["categories"][u] >= 0]
    page.get_by_label("Show units of").select_option("scene")  # none in the toy
    assert "No unit of Distilled (KD) is listed" in page.locator(DISSECTION).inner_text()
    assert page.get_by_role("button", name="next unit").is_disabled()
    page.get_by_label("Show units of").select_option("all")
    assert len(listed()) == 48


def test_the_pictures_are_the_images_and_the_region_dims_the_rest(page, dissection):
    views, unit = dissection._views["kd"], int(dissection._views["kd"].score.argmax())
    read = """() => { const c = document.querySelector('.kdlib-card canvas'), size = c.width / 32;
        const data = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, out = [];
        for (let y = 0; y < 32; y++) for (let x = 0; x < 32; x++) {
            const at = 4 * (Math.floor((y + 0.5) * size) * c.width + Math.floor((x + 0.5) * size));
            out.push([data[at], data[at + 1], data[at + 2]]);
        } return out; }"""

    def picture() -> torch.Tensor:
        return torch.tensor(page.evaluate(read)).view(32, 32, 3).permute(2, 0, 1).double()

    image = dissection._probe.images[views.top_index[unit, 0]].double()
    region = region_masks(views.top_maps, views.thresholds, (32, 32))[unit, 0]
    page.get_by_label("the concept's true mask").uncheck()
    dimmed = picture()
    inner = torch.zeros(32, 32, dtype=torch.bool)
    inner[1:-1, 1:-1] = True  # along the picture's own border the outline lies over the pixels' centres
    assert (region & inner).any() and torch.equal(dimmed[:, region & inner], image[:, region & inner])
    shade, outside = torch.tensor([10.0, 12.0, 16.0]).double()[:, None], ~region & inner
    assert torch.allclose(dimmed[:, outside], image[:, outside] * 0.38 + shade * 0.62, atol=2)
    page.get_by_label("the unit's active region").uncheck()
    assert torch.equal(picture(), image)


@pytest.mark.parametrize(("scheme", "lab", "expected"), [
    ("dark", None, "dark"), ("light", None, "light"), ("light", "false", "dark"), ("dark", "true", "light"),
])  # fmt: skip
def test_jupyterlabs_theme_goes_before_the_systems(browser, tmp_path, temperature, scheme, lab, expected):
    address = write_page(tmp_path, [temperature], theme="auto").as_uri()
    change = f"addEventListener('DOMContentLoaded', () => document.body.setAttribute('data-jp-theme-light', '{lab}'))"
    with watched(browser, address, color_scheme=scheme, before=change if lab else "") as page:
        page.wait_for_selector(f'{TEMPERATURE}[data-theme="{expected}"]')


def test_two_widgets_do_not_collide_and_two_views_of_one_agree(browser, tmp_path, temperature, dissection, probe):
    other = temperature_explorer(
        probe.images[:3], probe.labels[:3], torch.eye(10)[:3], {"kd": torch.zeros(3, 10)}, CLASSES, ["all"], [0] * 10
    )
    address = write_page(tmp_path, [temperature, other, temperature, dissection]).as_uri()
    with watched(browser, address) as page:
        alive(page)
        page.wait_for_function("document.querySelectorAll('.kdlib-temperature .kdlib-chart svg').length === 3")
        sliders = page.locator(f"{TEMPERATURE} input[type=range]")
        values = [sliders.nth(i).input_value() for i in range(3)]
        sliders.nth(0).focus()
        page.keyboard.press("ArrowRight")
        now = [sliders.nth(i).input_value() for i in range(3)]
        assert now[0] == now[2] == str(int(values[0]) + 1) and now[1] == values[1]
        ids = page.evaluate("[...document.querySelectorAll('.kdlib [id]')].map(n => n.id)")
        assert len(ids) == len(set(ids)) >= 8


@pytest.mark.parametrize(("motion", "duration"), [("reduce", "0s"), ("no-preference", "0.14s, 0.14s")])
def test_who_asks_for_less_motion_gets_none(browser, tmp_path, temperature, motion, duration):
    with watched(browser, write_page(tmp_path, [temperature]).as_uri(), reduced_motion=motion) as page:
        page.wait_for_selector(f"{TEMPERATURE} .kdlib-chart svg")
        bar = page.locator(f"{TEMPERATURE} .kdlib-bar > i").first
        assert bar.evaluate("node => getComputedStyle(node).transitionDuration") == duration
