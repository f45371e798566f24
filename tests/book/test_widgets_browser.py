"""The widgets on the book's own pages, over http and from a file, reaching nothing else: what a reader can move
shows the right numbers, which are computed here from the state in the page."""

from __future__ import annotations

import base64
import functools
import gzip
import html
import json
import re
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from browser_checks import CONTRASTS, OVERHANG, watched

pytestmark = [pytest.mark.browser, pytest.mark.book]

# Which widget stands on which page.
PAGES = {
    "TemperatureExplorer": ("start_here", "kd_loss"),
    "DissectionExplorer": ("han2023_concept_detectors", "han2023_other_data"),
    "SimilarityExplorer": ("han2023_class_similarity",),
    "MethodComparison": ("han2023_kd_methods",),
    "FiveBandViewer": ("han2023_other_measures",),
    "WordExplorer": ("han2023_language",),
    "EntropyExplorer": ("cheng2020_information_discarding",),
    "DynamicsPlayer": ("cheng2020_learning_dynamics",),
}
PLACES = [(kind, page) for kind, pages in PAGES.items() for page in pages]
ROOTS = {
    "TemperatureExplorer": ".kdlib-temperature",
    "DissectionExplorer": ".kdlib-dissection",
    "SimilarityExplorer": ".kdlib-similarity",
    "MethodComparison": ".kdlib-comparison",
    "FiveBandViewer": ".kdlib-bands-viewer",
    "WordExplorer": ".kdlib-words",
    "EntropyExplorer": ".kdlib-entropy",
    "DynamicsPlayer": ".kdlib-dynamics",
}
# What is drawn last of each: from then on it lives.
READY = {
    "TemperatureExplorer": ".kdlib-curve svg",
    "DissectionExplorer": ".kdlib-card canvas",
    "SimilarityExplorer": ".kdlib-matrix canvas",
    "MethodComparison": ".kdlib-card canvas",
    "FiveBandViewer": ".kdlib-picture canvas",
    "WordExplorer": ".kdlib-word",
    "EntropyExplorer": ".kdlib-curve svg",
    "DynamicsPlayer": ".kdlib-chart svg",
}


@pytest.fixture(scope="module")
def address(built_book):
    """address(page, way): where a page is, `way` being "http" (on loopback, in a subfolder) or "file"."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Say nothing."""

        def translate_path(self, path):
            return super().translate_path(path.removeprefix("/companion"))

    def find(page: str, way: str) -> str:
        if way == "file":
            return (built_book / f"notebooks/{page}.html").as_uri()
        return f"http://127.0.0.1:{running.server_address[1]}/companion/notebooks/{page}.html"

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(built_book))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield find
        running.shutdown()


@pytest.fixture(scope="module")
def state_of(built_book):
    """state_of(kind, page): the widget's state as the page holds it, bytes decoded."""

    @functools.cache
    def read(kind: str, page: str) -> dict:
        text = (built_book / f"notebooks/{page}.html").read_text(encoding="utf-8")
        blocks = re.findall(r'<script type="application/vnd\.jupyter\.widget-state\+json">(.*?)</script>', text, re.S)
        models = [model for block in blocks for model in json.loads(html.unescape(block))["state"].values()]
        found = next(m for m in models if m["state"].get("_anywidget_id", "").endswith(kind))
        buffers = {item["path"][0]: base64.b64decode(item["data"]) for item in found.get("buffers", [])}
        return {**found["state"], **buffers}

    return read


def alive(page, kind: str):
    """The widget on the page, once it lives."""
    root = page.locator(ROOTS[kind]).first
    root.locator(READY[kind]).first.wait_for()
    root.scroll_into_view_if_needed()
    return root


def number(root, key: str) -> float:
    return float(root.locator(f'[data-kdlib-value="{key}"]').inner_text())


def expect_numbers(root, state: dict, image: int, student: str, temperature: float) -> None:
    p, q = (
        torch.softmax(torch.tensor(logits[image], dtype=torch.float64) / temperature, 0)
        for logits in (state["teacher_logits"], state["student_logits"][student])
    )
    kl = float(F.kl_div(q.log(), p, reduction="sum"))
    assert number(root, "kl") == pytest.approx(kl, abs=5.1e-5)
    assert number(root, "scaled") == pytest.approx(temperature**2 * kl, abs=5.1e-5)
    assert number(root, "teacher_entropy") == pytest.approx(float(torch.special.entr(p).sum()), abs=5.1e-4)
    assert number(root, "student_entropy") == pytest.approx(float(torch.special.entr(q).sum()), abs=5.1e-4)


def expect_counts(root, state: dict, tau: float) -> None:
    for model in state["models"]:
        row = root.locator(f'.kdlib-count[data-model="{model["name"]}"]')
        found = [c for s, c in zip(model["scores"], model["categories"], strict=True) if s >= tau and c >= 0]
        assert int(row.locator("b").inner_text()) == len(found)
        told = {name: int(n) for n, name in re.findall(r"(\d+) (\w+)", row.locator("p").inner_text())}
        assert told == {name: found.count(i) for i, name in enumerate(state["categories"]) if i in found}


def expect_unit(root, state: dict, name: str, unit: int) -> None:
    """The shown facts, and the share of each picture that is active: upsampled and thresholded here by torch."""
    model = next(m for m in state["models"] if m["name"] == name)
    assert number(root, "score") == pytest.approx(model["scores"][unit], abs=5.1e-4)
    assert (model["concepts"][unit] or "no concept") in root.locator(".kdlib-facts").inner_text()
    (h, w), k = model["map_size"], state["images_per_unit"]
    maps = np.frombuffer(gzip.decompress(state["maps"]), "<f4")[model["map_start"] :][
        : len(model["scores"]) * k * h * w
    ]
    chosen = torch.tensor(maps.reshape(-1, k, h, w)[unit])
    larger = F.interpolate(chosen[None], state["image_size"], mode="bilinear", align_corners=False)[0]
    for caption, region in zip(root.locator(".kdlib-card p").all(), larger > model["thresholds"][unit], strict=True):
        share = float(re.search(r"active on ([\d.]+) %", caption.inner_text())[1])
        assert share == pytest.approx(100 * float(region.double().mean()), abs=0.051)


def expect_concepts(root, state: dict, network: str, layer: str, image: int, threshold: float) -> None:
    """The counts of the shown image and the marks on it, from the levels that the page holds."""
    size = int(np.prod(state["cells"]))
    levels = np.frombuffer(state["levels"], "<i2").reshape(len(state["maps"]), -1, size)
    bits = np.unpackbits(np.frombuffer(state["foreground"], np.uint8).reshape(levels.shape[1], -1), axis=1)
    inside = bits[image, :size].astype(bool)
    place = [(entry["network"], entry["layer"]) for entry in state["maps"]].index((network, layer))
    concepts = levels[place, image] > round(1000 * threshold)
    row = root.locator(f'tr[data-network="{network}"]')
    for kind, cells in (("foreground", concepts & inside), ("background", concepts & ~inside)):
        assert int(row.locator(f'[data-kdlib-value="{kind}"]').inner_text()) == cells.sum()
        marks = root.locator(f'.kdlib-overlay [data-mark="{kind}"]')
        drawn = marks.evaluate_all("all => all.flatMap(p => (p.getAttribute('d').match(/Z/g) || [])).length")
        assert drawn == cells.sum()


def expect_course(root, state: dict, networks: list[str], image: int, step: int) -> None:
    """Counts on the object, their union so far and the marks, from the bits that the page holds."""
    size, count = int(np.prod(state["cells"])), len(state["image_names"])
    bits, inside = (
        np.unpackbits(np.frombuffer(state[name], np.uint8).reshape(-1, count, -(-size // 8)), axis=2)[..., :size]
        for name in ("concepts", "foreground")
    )
    shown = []
    for name in networks:
        entry = next(each for each in state["networks"] if each["name"] == name)
        place = sum(epoch <= state["epochs"][step] for epoch in entry["epochs"])
        shown.append(bits[entry["start"] : entry["start"] + place, image].astype(bool))
    on = inside[0, image].astype(bool)
    wanted = {
        "foreground": [int((sets[-1] & on).sum()) for sets in shown],
        "background": [int((sets[-1] & ~on).sum()) for sets in shown],
        "union": [int((sets.any(0) & on).sum()) for sets in shown],
    }
    for kind, numbers in wanted.items():
        told = root.locator(f'[data-kdlib-value="{kind}"]').all_inner_texts()
        assert [int(text) for text in told] == numbers, kind
    for overlay, sets in zip(root.locator(".kdlib-overlay").all(), shown, strict=True):
        before = sets[-2] if len(sets) > 1 else np.zeros_like(sets[-1])
        marked = {"new": sets[-1] & ~before, "kept": sets[-1] & before, "vanished": before & ~sets[-1]}
        for kind, cells in marked.items():
            marks = overlay.locator(f'[data-mark="{kind}"]')
            drawn = marks.evaluate_all("all => all.flatMap(p => (p.getAttribute('d').match(/Z/g) || [])).length")
            assert drawn == cells.sum(), kind


def ranking(state: dict, name: str) -> list[int]:
    scores = next(m for m in state["models"] if m["name"] == name)["scores"]
    return sorted(range(len(scores)), key=lambda unit: (-scores[unit], unit))


@pytest.mark.parametrize("way", ["http", "file"])
@pytest.mark.parametrize("name", PAGES["TemperatureExplorer"])
def test_the_temperature_explorer_answers(browser, address, state_of, name, way):
    state = state_of("TemperatureExplorer", name)
    with watched(browser, address(name, way), width=1200) as page:
        root = alive(page, "TemperatureExplorer")
        steps, start = state["temperatures"], state["temperature"]
        students = state["order"]
        expect_numbers(root, state, 0, state["student"], start)
        said = root.locator("[aria-live=polite]")
        picture, sentence = root.screenshot(animations="disabled"), said.inner_text()
        root.locator("input[type=range]").focus()
        for key, now in (("ArrowLeft", steps[steps.index(start) - 1]), ("End", 20.0), ("Home", 0.5)):
            page.keyboard.press(key)
            expect_numbers(root, state, 0, state["student"], now)
            assert f"T = {now:g} " in said.inner_text()
        assert root.screenshot(animations="disabled") != picture and said.inner_text() != sentence
        for student in students:
            root.get_by_role("group", name="Student").get_by_role("button").nth(students.index(student)).click()
            expect_numbers(root, state, 0, student, 0.5)
        last = len(state["labels"]) - 1
        thumb = root.locator(".kdlib-thumbs button").nth(last)
        before = root.locator(".kdlib-picked > .kdlib-tile").screenshot()
        thumb.focus()
        page.keyboard.press("Enter")
        expect_numbers(root, state, last, students[-1], 0.5)
        assert root.locator(".kdlib-picked > .kdlib-tile").screenshot() != before


@pytest.mark.parametrize("way", ["http", "file"])
def test_the_dissection_explorer_answers(browser, address, state_of, way):
    name = PAGES["DissectionExplorer"][0]
    state = state_of("DissectionExplorer", name)
    with watched(browser, address(name, way), width=1200) as page:
        root = alive(page, "DissectionExplorer")
        steps, said = state["threshold_steps"], root.locator("[aria-live=polite]")
        expect_counts(root, state, state["threshold"])
        expect_unit(root, state, state["model"], state["unit"])
        bars = root.locator(".kdlib-counts")
        picture, sentence = bars.screenshot(animations="disabled"), said.inner_text()
        root.locator("input[type=range]").focus()
        for key, index in (("Home", 0), ("ArrowRight", 1), ("End", len(steps) - 1)):
            page.keyboard.press(key)
            expect_counts(root, state, steps[index])
            assert f"IoU of {steps[index]:.3f}" in said.inner_text()
        assert bars.screenshot(animations="disabled") != picture and said.inner_text() != sentence
        for place, model in enumerate(state["models"]):
            root.get_by_role("group", name="Model").get_by_role("button").nth(place).click()
            units = ranking(state, model["name"])
            expect_unit(root, state, model["name"], units[0])
            cards = root.locator(".kdlib-cards").screenshot()
            root.get_by_label("Unit", exact=True).focus()
            page.keyboard.press("ArrowDown")
            expect_unit(root, state, model["name"], units[1])
            root.get_by_role("button", name="next unit").press("Enter")
            expect_unit(root, state, model["name"], units[2])
            assert root.locator(".kdlib-cards").screenshot() != cards


@pytest.mark.parametrize("way", ["http", "file"])
def test_the_entropy_explorer_answers(browser, address, state_of, way):
    [name] = PAGES["EntropyExplorer"]
    state = state_of("EntropyExplorer", name)
    with watched(browser, address(name, way), width=1200) as page:
        root = alive(page, "EntropyExplorer")
        expect_concepts(root, state, state["network"], state["layer"], state["image"], state["threshold"])
        said = root.locator(".kdlib-summary")
        board, sentence = root.locator(".kdlib-grids"), said.inner_text()
        picture = board.screenshot(animations="disabled")
        root.locator("input[type=range]").focus()
        for key, threshold in (("End", state["thresholds"][-1]), ("Home", 0.0), ("ArrowRight", state["thresholds"][1])):
            page.keyboard.press(key)
            expect_concepts(root, state, state["network"], state["layer"], state["image"], threshold)
        assert board.screenshot(animations="disabled") != picture and said.inner_text() != sentence
        last = len(state["image_names"]) - 1
        root.locator(".kdlib-thumbs button").nth(last).press("Enter")
        for place, layer in enumerate(state["layers"]):
            root.get_by_role("group", name="Layer").get_by_role("button").nth(place).click()
            there = [entry["network"] for entry in state["maps"] if entry["layer"] == layer["name"]]
            shown = state["network"] if state["network"] in there else there[0]
            expect_concepts(root, state, shown, layer["name"], last, threshold)


@pytest.mark.parametrize("way", ["http", "file"])
def test_the_dynamics_player_answers(browser, address, state_of, way):
    [name] = PAGES["DynamicsPlayer"]
    state = state_of("DynamicsPlayer", name)
    with watched(browser, address(name, way), width=1200) as page:
        root = alive(page, "DynamicsPlayer")
        networks, last = [state["left"], state["right"]], len(state["epochs"]) - 1
        expect_course(root, state, networks, state["image"], last)
        said = root.locator(".kdlib-summary")
        curves, sentence = root.locator(".kdlib-curves"), said.inner_text()
        picture = curves.screenshot(animations="disabled")
        root.locator("input[type=range]").focus()
        for key, step in (("Home", 0), ("ArrowRight", 1)):
            page.keyboard.press(key)
            expect_course(root, state, networks, state["image"], step)
            assert said.inner_text().startswith(f"Epoch {state['epochs'][step]},")
        assert curves.screenshot(animations="disabled") != picture and said.inner_text() != sentence
        pictures = len(state["image_names"])
        root.locator(".kdlib-thumbs button").nth(pictures - 1).press("Enter")
        for other in state["networks"]:
            root.get_by_label("Right network").select_option(other["name"])
            expect_course(root, state, [state["left"], other["name"]], pictures - 1, 1)
        root.get_by_role("button", name="Play").click()
        page.wait_for_function(
            "([place, words]) => document.querySelector(place).innerText.startsWith(words)",
            arg=[f"{ROOTS['DynamicsPlayer']} .kdlib-summary", f"Epoch {state['epochs'][last]},"],
        )
        expect_course(root, state, [state["left"], state["networks"][-1]["name"]], pictures - 1, last)


@pytest.mark.parametrize(("kind", "name"), PLACES)
def test_the_still_picture_stands_in_until_the_widget_lives(browser, address, state_of, kind, name):
    selector = f'figure[data-kdlib-static="{state_of(kind, name)["static_key"]}"]'
    with watched(browser, address(name, "file"), java_script_enabled=False) as page:
        figure = page.locator(selector)
        assert figure.is_visible() and figure.locator("img").bounding_box()["width"] > 300
        assert len(figure.locator("img").get_attribute("alt")) > 80
        assert page.locator(ROOTS[kind]).count() == 0
    with watched(browser, address(name, "file")) as page:
        alive(page, kind)
        assert page.locator(selector).count() == 1 and not page.locator(selector).is_visible()
        # The theme paints and pads the frame of an output: an empty one would be a blank strip.
        assert not page.locator(selector).locator("..").is_visible()


@pytest.mark.parametrize(("kind", "name"), PLACES)
def test_it_fits_a_phone(browser, address, kind, name):
    with watched(browser, address(name, "file"), width=360) as page:
        root = alive(page, kind)
        assert root.evaluate(OVERHANG) <= 0.5
        box = root.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360 and box["width"] >= 280


@pytest.mark.parametrize(("kind", "name"), PLACES)
def test_it_follows_the_books_dark_theme_legibly(browser, address, kind, name):
    with watched(browser, address(name, "file"), width=1200) as page:
        root = alive(page, kind)
        for theme in ("dark", "light"):
            page.evaluate("name => { document.documentElement.dataset.theme = name; }", theme)
            page.locator(f'{ROOTS[kind]}[data-theme="{theme}"]').first.wait_for()
            worst = root.evaluate(CONTRASTS)
            assert len(worst) > 20 and worst[0][0] >= 4.5, (theme, worst[:3])
