"""The three widgets that compare networks, alive in a page without kernel and network: every control."""

from __future__ import annotations

import re

import pytest
import torch
from browser_checks import watched
from widget_toys import CLASSES, SUPERCLASS_OF, toy_bands, toy_matrices, write_page

from kdlib.metrics.five_band import MEASURES, five_band_scores, soft_thresholds, stratify
from kdlib.widgets.units import region_masks

pytestmark = pytest.mark.browser


@pytest.fixture()
def opened(browser, tmp_path):
    """opened(widget, selector): the widget's element in a page of its own, alive."""
    contexts = []

    def show(widget, selector: str):
        context = watched(browser, write_page(tmp_path, [widget]).as_uri())
        contexts.append(context)
        page = context.__enter__()
        page.locator("figure.kdlib-static").wait_for(state="hidden")
        return page.locator(selector)

    yield show
    for context in contexts:
        context.__exit__(None, None, None)


def value(root, key: str) -> float:
    return float(root.locator(f'[data-kdlib-value="{key}"]').inner_text().replace("−", "-"))


# ---- method comparison ------------------------------------------------------------------------------------------


def expect_counts(root, comparison, left: str, right: str, tau: float) -> None:
    counts = comparison.counts(tau)
    for category in comparison.categories:
        told = root.locator(f'.kdlib-row[data-category="{category}"] .kdlib-values').inner_text().split("\n")
        assert [int(n) for n in told] == [counts[name][category] for name in (left, right)]
    told = root.locator('.kdlib-row[data-category="all"] .kdlib-values').inner_text().split("\n")
    assert [int(n) for n in told] == [sum(counts[name].values()) for name in (left, right)]
    for side, name in (("left", left), ("right", right)):
        model = comparison._entry(name)
        cells = root.locator(f'[data-side="{side}"] .kdlib-unit').evaluate_all(
            "all => all.map(c => c.dataset.category)"
        )
        found = zip(model["scores"], model["categories"], strict=True)
        expected = [comparison.categories[c] if c >= 0 and s >= tau else "" for s, c in found]
        assert cells[: len(expected)] == expected and set(cells[len(expected) :]) <= {""}


def expect_unit(root, comparison, side: str, name: str, unit: int) -> None:
    half = root.locator(f'[data-side="{side}"]').last
    views, probe = comparison._views[name], comparison._probe
    facts = half.locator(".kdlib-facts").inner_text()
    assert f"Unit {unit} of" in facts and (views.best_concept[unit] or "no concept") in facts
    assert value(half, "score") == pytest.approx(float(views.score[unit]), abs=5.1e-4)
    masks = region_masks(views.top_maps, views.thresholds, (32, 32))[unit]
    for card, index, mask in zip(
        half.locator(".kdlib-card p").all(), views.top_index[unit].tolist(), masks, strict=True
    ):
        name_of_class, share = re.fullmatch(r"(.+)\nactive on ([\d.]+) %", card.inner_text()).groups()
        assert name_of_class == CLASSES[probe.labels[index]]
        assert float(share) == pytest.approx(100 * float(mask.double().mean()), abs=0.051)
    selected = root.locator(f'[data-side="{side}"] [aria-selected="true"]')
    assert selected.count() == 1 and selected.get_attribute("aria-label").startswith(f"unit {unit}:")


def test_both_methods_are_recounted_and_shown(opened, comparison):
    root = opened(comparison, ".kdlib-comparison")
    page, unit = root.page, comparison.unit
    expect_counts(root, comparison, "scratch", "kd", 0.05)
    expect_unit(root, comparison, "left", "scratch", unit)
    expect_unit(root, comparison, "right", "kd", unit)
    said = root.locator("[aria-live]").inner_text()
    root.get_by_label("A unit is a detector from IoU").focus()
    for key, place in (("ArrowRight", comparison.threshold_steps.index(0.05) + 1), ("Home", 0), ("End", -1)):
        page.keyboard.press(key)
        expect_counts(root, comparison, "scratch", "kd", comparison.threshold_steps[place])
    assert root.locator("[aria-live]").inner_text() != said
    root.get_by_label("Right method").select_option("label_smoothing")
    expect_counts(root, comparison, "scratch", "label_smoothing", comparison.threshold_steps[-1])
    expect_unit(root, comparison, "right", "label_smoothing", unit)


def test_units_by_click_arrow_keys_slider_and_buttons(opened, comparison):
    root = opened(comparison, ".kdlib-comparison")
    page = root.page
    root.locator('[data-side="left"] .kdlib-unit').nth(5).click()
    expect_unit(root, comparison, "left", "scratch", 5)
    grid = root.get_by_role("listbox", name="units of Distilled (KD)")
    grid.focus()
    columns = len(grid.evaluate("node => getComputedStyle(node).gridTemplateColumns").split())
    for key, unit in (
        ("ArrowRight", 6),
        ("ArrowDown", 6 + columns),
        ("ArrowUp", 6),
        ("ArrowLeft", 5),
        ("End", 47),
        ("ArrowRight", 47),
    ):
        page.keyboard.press(key)
        expect_unit(root, comparison, "right", "kd", unit)
    assert grid.get_attribute("aria-activedescendant") == grid.locator('[aria-selected="true"]').get_attribute("id")
    root.locator(".kdlib-unit-line input").focus()
    page.keyboard.press("Home")
    expect_unit(root, comparison, "right", "kd", 0)  # the unit without a concept
    assert "no concept" in root.locator("[aria-live]").inner_text()
    root.get_by_role("button", name="next unit").press("Enter")
    expect_unit(root, comparison, "left", "scratch", 1)
    root.get_by_role("button", name="previous unit").click()
    root.get_by_role("button", name="previous unit").click()
    expect_unit(root, comparison, "left", "scratch", 47)
    root.get_by_label("Left method").select_option("teacher")  # which has 30 units
    assert "no unit 47: this layer has 30" in root.locator('[data-side="left"]').last.inner_text()
    assert not root.locator('[data-side="left"] .kdlib-card').first.is_visible()


def test_the_pictures_are_the_images_and_the_region_dims_the_rest(opened, comparison):
    root = opened(comparison, ".kdlib-comparison")
    views, unit = comparison._views["kd"], comparison.unit
    colours = root.locator('[data-side="right"] canvas').first.evaluate(
        """c => { const size = c.width / 32, out = [];
        const data = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        for (let y = 0; y < 32; y++) for (let x = 0; x < 32; x++) {
            const at = 4 * (Math.floor((y + 0.5) * size) * c.width + Math.floor((x + 0.5) * size));
            out.push([data[at], data[at + 1], data[at + 2]]);
        } return out; }"""
    )
    shown = torch.tensor(colours).view(32, 32, 3).permute(2, 0, 1).double()
    image = comparison._probe.images[views.top_index[unit, 0]].double()
    region = region_masks(views.top_maps, views.thresholds, (32, 32))[unit, 0]
    inner = torch.zeros(32, 32, dtype=torch.bool)
    inner[1:-1, 1:-1] = True  # along the picture's own border the outline lies over the pixels' centres
    assert (region & inner).any() and torch.equal(shown[:, region & inner], image[:, region & inner])
    shade, outside = torch.tensor([10.0, 12.0, 16.0]).double()[:, None], ~region & inner
    assert torch.allclose(shown[:, outside], image[:, outside] * 0.38 + shade * 0.62, atol=2)


# ---- similarity explorer ----------------------------------------------------------------------------------------


def expect_pair(root, left: torch.Tensor, right: torch.Tensor, row: int, column: int) -> None:
    words = root.locator("[aria-live]").inner_text()
    relation = (
        "the same class" if row == column else ("no sibling", "sibling")[SUPERCLASS_OF[row] == SUPERCLASS_OF[column]]
    )
    assert words.startswith(f"Images of {CLASSES[row]}: mean log-probability of {CLASSES[column]} ({relation}) is ")
    assert value(root, "left") == pytest.approx(float(left[row, column]), abs=5.1e-3)
    assert value(root, "right") == pytest.approx(float(right[row, column]), abs=5.1e-3)
    assert value(root, "difference") == pytest.approx(float(right[row, column] - left[row, column]), abs=5.1e-3)


def test_a_pair_is_read_by_arrow_keys_by_pointing_and_by_choice(opened, similarity):
    root, (fixed, _) = opened(similarity, ".kdlib-similarity"), toy_matrices()
    pair = (fixed["teacher"], fixed["kd"])
    expect_pair(root, *pair, 0, 1)
    assert value(root, "rho") == pytest.approx(similarity.correlation(), abs=5.1e-3)
    matrix = root.get_by_role("application", name="matrix of Teacher")
    matrix.focus()
    moves = {
        "ArrowDown": (1, 1),
        "ArrowRight": (1, 2),
        "End": (1, 9),
        "ArrowLeft": (1, 8),
        "Home": (1, 0),
        "ArrowUp": (0, 0),
    }
    for key, (row, column) in moves.items():
        root.page.keyboard.press(key)
        expect_pair(root, *pair, row, column)
    canvas = root.locator(".kdlib-matrix canvas").last
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] * 0.45, "y": box["height"] * 0.75})
    expect_pair(root, *pair, 7, 4)
    root.get_by_label("Images of").select_option("3")
    root.get_by_label("Log-probability of").select_option("2")
    expect_pair(root, *pair, 3, 2)


def test_the_slider_moves_the_smoothed_teacher_and_its_student(opened, similarity):
    root, (_, sweep) = opened(similarity, ".kdlib-similarity"), toy_matrices()
    slider = root.locator("input[type=range]")
    assert slider.is_disabled() and "neither is shown" in root.inner_text()
    root.get_by_role("button", name="Show LS teacher").click()
    expect_pair(root, *sweep[1.0].values(), 0, 1)
    pictures = root.locator(".kdlib-panels")
    slider.focus()
    for key, t in (("ArrowRight", 2.0), ("End", 8.0), ("ArrowLeft", 4.0), ("Home", 1.0), ("ArrowRight", 2.0)):
        before = pictures.screenshot()
        root.page.keyboard.press(key)
        expect_pair(root, *sweep[t].values(), 0, 1)
        assert f"LS teacher, T = {t:g}" in pictures.inner_text() and pictures.screenshot() != before
    assert slider.get_attribute("aria-valuetext") == "2"
    similarity.left, similarity.right, similarity.temperature = "ls_teacher", "ls_student", 2.0
    for i, name in enumerate(("ls_teacher", "ls_student")):
        cells = root.locator(".kdlib-table td").all_inner_texts()[i::2]
        numbers = similarity.numbers(name)
        expected = [numbers["siblings"], numbers["others"], numbers["siblings"] - numbers["others"]]
        assert [float(c.replace("−", "-")) for c in cells] == pytest.approx(expected, abs=5.1e-3)


CELLS = """c => { const k = 10, out = [], context = c.getContext('2d');
    for (let y = 0; y < k; y++) for (let x = 0; x < k; x++)
        out.push([...context.getImageData(...[x, y].map((i) => Math.floor((i + 0.5) * c.width / k)), 1, 1).data]);
    return out; }"""


def colour_of(scale: list[str], share: float) -> list[int]:
    shade = scale[int(share * (len(scale) - 1) + 0.5)]
    return [int(shade[i : i + 2], 16) for i in (1, 3, 5)]


def test_cells_have_the_colours_of_their_values_and_the_diagonal_is_grey(opened, similarity):
    root = opened(similarity, ".kdlib-similarity")
    left, right = similarity.matrix("teacher"), similarity.matrix("kd")
    off = ~torch.eye(10, dtype=torch.bool)
    whole = torch.cat([left[off], right[off]])
    ranges = {"both": (whole, whole), "own": (left[off], right[off])}
    for scale, limits in ranges.items():
        root.get_by_label("Colours").select_option(scale)
        for place, (matrix, limit) in enumerate(zip((left, right), limits, strict=True)):
            cells = root.locator(".kdlib-matrix canvas").nth(place).evaluate(CELLS)
            low, high = float(limit.min()), float(limit.max())
            for i, cell in enumerate(cells):  # the toy's classes stand in the order of their superclasses
                share = (float(matrix[i // 10, i % 10]) - low) / (high - low)
                expected = [0xB9, 0xC0, 0xC8] if i % 11 == 0 else colour_of(similarity.value_colours, share)
                assert cell[:3] == expected
    root.get_by_role("button", name="difference").click()
    assert root.locator(".kdlib-matrix:visible").count() == 1
    top = float((right - left)[off].abs().max())
    cells = root.locator(".kdlib-matrix canvas").first.evaluate(CELLS)
    for i, cell in enumerate(cells):
        if i % 11:
            share = (float((right - left)[i // 10, i % 10]) + top) / (2 * top)
            assert cell[:3] == colour_of(similarity.difference_colours, share)
    ends = root.locator(".kdlib-ends").first.inner_text().replace("−", "-").split("\n")
    assert [float(e) for e in ends] == pytest.approx([-top, 0, top], abs=5.1e-3)


# ---- five-band viewer -------------------------------------------------------------------------------------------


def expect_scores(root, toy: dict, images: list[int], step: int) -> None:
    for name, maps in toy["saliency"].items():
        found = five_band_scores(maps[images][:, None], toy["truth_bands"][images], soft_thresholds("v1"))
        row = root.locator(f'tr[data-model="{name}"]')
        for measure in MEASURES:
            assert value(row, measure) == pytest.approx(float(getattr(found, measure)[:, step].mean()), abs=5.1e-4)


def test_the_threshold_cuts_and_scores_anew(opened, bands):
    root, toy = opened(bands, ".kdlib-bands-viewer"), toy_bands()
    slider, said = root.locator("input[type=range]"), root.locator("[aria-live]")
    expect_scores(root, toy, [0], 0)
    assert slider.get_attribute("aria-valuetext") == "0.300 and 0.500"
    slider.focus()
    for key, step in (("ArrowRight", 1), ("ArrowRight", 2), ("End", 55), ("ArrowLeft", 54), ("Home", 0)):
        sentence = said.inner_text()
        root.page.keyboard.press(key)
        expect_scores(root, toy, [0], step)
        assert (
            said.inner_text() != sentence
            and f"{0.3 - 0.005 * step:.3f} and {0.5 - 0.005 * step:.3f}" in said.inner_text()
        )


def test_images_models_means_and_curves(opened, bands):
    root, toy = opened(bands, ".kdlib-bands-viewer"), toy_bands()
    root.locator(".kdlib-thumbs button").nth(3).click()
    expect_scores(root, toy, [3], 0)
    assert root.locator(".kdlib-thumbs button").nth(3).get_attribute("aria-pressed") == "true"
    root.get_by_role("group", name="Model").get_by_role("button", name="Scratch").press("Enter")
    assert (
        "predicted barred cell (wrong)" in root.inner_text()
        and "bands of Scratch" in root.locator("[aria-live]").inner_text()
    )
    root.locator(".kdlib-thumbs button").nth(5).press("Space")
    assert "its recall is 0 by construction" in root.locator("[aria-live]").inner_text()
    root.get_by_label("Scores of").select_option("mean")
    expect_scores(root, toy, [0, 1, 2, 3, 4], 0)  # without the blank one
    chart = root.locator(".kdlib-curve")
    for name in ("precision", "recall", "false positive rate"):
        before = chart.screenshot()
        root.get_by_role("button", name=name).click()
        assert f"{name} as the thresholds move" in chart.inner_text() and chart.screenshot() != before


PIXELS = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"


def test_the_pictures_show_every_pixels_band(opened, bands):
    root, toy = opened(bands, ".kdlib-bands-viewer"), toy_bands()
    root.locator("input[type=range]").focus()
    root.page.keyboard.press("End")
    ramp = torch.tensor([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in bands.band_colours])
    predicted = stratify(bands._saliency["kd"][0], soft_thresholds("v1")[-1].tolist()).long()
    for place, expected in ((1, predicted), (2, toy["truth_bands"][0])):
        canvas = root.locator(".kdlib-picture canvas").nth(place)
        shown = torch.tensor(canvas.evaluate(PIXELS)).view(48, 48, 4)[..., :3]
        assert torch.equal(shown, ramp[expected + 2])
        share = 100 * float((expected == 2).double().mean())
        assert re.search(rf"\b{share:.1f} % in band 2", canvas.get_attribute("aria-label"))
    saliency = torch.tensor(root.locator(".kdlib-picture canvas").first.evaluate(PIXELS)).view(48, 48, 4)[..., :3]
    colours = torch.tensor([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in bands.saliency_colours])
    exact = ((bands._saliency["kd"][0] + 1) / 2 * (len(colours) - 1)).round().long()
    nearest = (saliency[:, :, None].float() - colours.float()).square().sum(-1).argmin(-1)
    assert int((nearest - exact).abs().max()) <= 3  # 0.024 of saliency
