"""The entropy explorer: counts exactly those of the metric, words, bad input, every control in the browser."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from browser_checks import watched
from widget_toys import toy_entropy, write_page

from kdlib.errors import KdlibError
from kdlib.metrics.visual_concepts import visual_concepts
from kdlib.widgets import entropy_explorer
from kdlib.widgets.entropy_explorer import NUMBERS
from kdlib.widgets.entropy_levels import NO_MAP


def build(**changes):
    return entropy_explorer(**{**toy_entropy(), **changes})


def levels_of(widget) -> np.ndarray:
    """(entries, N, R * C) as the browser reads them."""
    return np.frombuffer(widget.levels, "<i2").reshape(len(widget.maps), len(widget.image_names), -1)


def test_concepts_and_counts_are_the_metrics(entropy):
    toy = toy_entropy()
    for entry in entropy.maps:
        maps = toy["maps"][entry["network"]][entry["layer"]]
        for entropy.threshold in (0.01, 0.2, 0.35, 0.6):
            expected = visual_concepts(maps, toy["foreground"], entropy.threshold)
            assert torch.equal(entropy.concepts(entry), expected.concepts)
            assert entry["background_entropy"] == expected.background_entropy
            summary, counts = expected.summary(), entropy.counts(entry)
            for name, column in (("foreground", "n_foreground"), ("background", "n_background"), ("share", "share")):
                assert counts[f"mean_{name}"] == pytest.approx(summary[column], abs=1e-12)
            for entropy.image in (0, 2):
                mine = entropy.counts(entry)["foreground"]
                kept = bool(expected.kept[entropy.image])
                assert mine == int(expected.on_foreground[entropy.image]) if kept else math.isnan(mine)


def test_levels_decide_at_every_thousandth_as_the_entropies_do():
    steps = torch.arange(0, 601).double() / 1000
    # On the thresholds themselves and a hair to both sides; the background lies at 0.
    values = torch.cat([steps, steps + 1e-12, steps - 1e-12, torch.tensor([-3.0, 9.0, 50.0, -50.0])])
    size = len(values) + 1
    entropy = torch.zeros(1, 1, size, dtype=torch.float64)
    entropy[0, 0, 1:] = -values
    foreground = torch.ones(1, 1, size, dtype=torch.bool)
    foreground[0, 0, 0] = False
    widget = entropy_explorer(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), {"net": {"fc1": entropy}}, foreground)
    levels = levels_of(widget)[0, 0]
    for cut in range(601):
        assert np.array_equal(levels > cut, (-entropy.flatten() > cut / 1000).numpy())
    assert max(abs((levels[1:-2] - 0.5) / 1000 - values[:-2].numpy())) <= 0.0005 + 1e-9


def test_by_hand_one_concept_of_three_on_the_object():
    # The background's one cell has -2.6: below -2.8 lies -3.0 alone.
    foreground = torch.tensor([[[True, True], [True, False]]])
    entropy = torch.tensor([[[-3.0, -2.75], [-2.79, -2.6]]])
    widget = entropy_explorer(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), {"net": {"fc1": entropy}}, foreground)
    counts = widget.counts()
    assert [counts[name] for name in NUMBERS] == [1, 0, 1.0]
    widget.threshold = 0.1
    assert widget.counts()["foreground"] == 3
    widget.threshold = 0.5
    assert [widget.counts()[name] for name in NUMBERS] == [0, 0, 0]  # share 0 if nothing is a concept


def test_an_image_without_a_map_counts_nowhere_and_says_so(entropy):
    entropy.network, entropy.layer, entropy.image = "scratch", "fc1", 2
    entry = entropy.shown()
    assert entry["images"] == 5 and (levels_of(entropy)[entropy.maps.index(entry), 2] == NO_MAP).all()
    assert "This image has no map." in entropy.describe() and "over the 5 images shown here" in entropy.describe()
    assert entropy.draw().axes


def test_where_a_network_lacks_the_layer_the_first_that_has_it_is_shown(entropy):
    entropy.network, entropy.layer = "kd", "conv"
    assert entropy.shown()["network"] == "teacher"
    entropy.layer = "fc1"
    assert entropy.shown()["network"] == "kd"


def test_a_given_background_entropy_takes_the_place_of_the_shown_images():
    given = {name: dict.fromkeys(layers, -2.0) for name, layers in toy_entropy()["maps"].items()}
    widget = build(background_entropy=given)
    assert torch.equal(widget.concepts(), -2.0 - toy_entropy()["maps"]["teacher"]["conv"].double() > 0.2)
    assert "−2.000 nats, as given" in widget.describe()
    assert "shown here" in build().describe()


def test_the_slider_goes_as_far_as_the_threshold_and_stops_there():
    assert build().thresholds[-1] == 0.6 and len(build().thresholds) == 61
    further = build(threshold=0.715)
    assert further.thresholds[-2:] == [0.715, 0.72] and further.threshold == 0.715


def test_choices_titles_and_colours_at_first():
    widget = build(network="kd", image=3, titles={"kd": "Student", "fc1": "first linear"}, colours={"kd": "#123456"})
    assert (widget.network, widget.layer, widget.image, widget.threshold) == ("kd", "fc1", 3, 0.2)
    assert widget.networks[2] == {"name": "kd", "title": "Student", "colour": "#123456"}
    assert "Student, first linear" in widget.describe()


def test_the_same_content_has_the_same_key_and_other_content_another():
    assert build().static_key == build().static_key != build(threshold=0.3).static_key


def test_eight_images_three_networks_and_four_layers_stay_below_200_kb():
    foreground = torch.zeros(8, 16, 16, dtype=torch.bool)
    foreground[:, 4:10, 5:12] = True
    generator = torch.Generator().manual_seed(0)
    maps = {n: {la: torch.randn(8, 16, 16, generator=generator) for la in "abcd"} for n in ("teacher", "kd", "scratch")}
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=generator)
    state = entropy_explorer(images, maps, foreground).get_state().values()
    size = sum(len(v) * 4 / 3 if isinstance(v, (bytes, memoryview)) else len(repr(v)) for v in state)
    assert size < 200_000


FULL = torch.ones(6, 16, 16, dtype=torch.bool)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"images": torch.zeros(6, 3, 32, 32)}, "images must be a uint8 tensor"),
        ({"foreground": torch.zeros(6, 16, 16)}, r"foreground must be bool of shape \(6, rows, columns\)"),
        ({"foreground": FULL[:5]}, r"foreground must be bool of shape \(6, rows, columns\)"),
        ({"foreground": FULL}, "image 0 has no background cell; leave it out"),
        ({"foreground": ~FULL}, "image 0 has no foreground cell; leave it out"),
        ({"maps": {}}, "maps holds a network without a layer"),
        ({"maps": {"kd": {}}}, "maps holds a network without a layer"),
        ({"maps": {"kd": {"fc1": torch.zeros(6, 8, 8)}}}, r"maps of 'kd', layer 'fc1' must be real numbers of shape"),
        ({"maps": {"kd": {"fc1": torch.full((6, 16, 16), math.nan)}}}, "are NaN for every image; leave this layer out"),
        ({"maps": {"kd": {"fc1": torch.full((6, 16, 16), math.inf)}}}, "hold infinite entropies"),
        ({"background_entropy": {"teacher": {}}}, "unknown layer of background_entropy of 'teacher' 'conv'"),
        ({"threshold": 0.1234}, "threshold must be in whole thousandths of a nat here, not 0.1234"),
        ({"threshold": -0.1}, "threshold must be a finite number at least 0"),
        ({"labels": [0]}, "must be 6, one per image, not 1"),
        ({"network": "nobody"}, "unknown network 'nobody'"),
        ({"layer": "fc9"}, "unknown layer 'fc9'"),
        ({"image": 6}, "image must be one of 0 to 5, not 6"),
        ({"max_bytes": 50_000}, r"6 images take 0.\d\d MB of widget state, more than 0.05 MB; give at most \d images"),
    ],
)
def test_bad_input_gets_one_clear_sentence(changes, sentence):
    with pytest.raises(KdlibError, match=sentence):
        build(**changes)


@pytest.mark.parametrize(
    ("trait", "value"), [("image", -1), ("network", "nobody"), ("layer", "x"), ("threshold", 0.00001)]
)
def test_a_choice_that_does_not_exist_is_refused(entropy, trait, value):
    with pytest.raises(KdlibError):
        setattr(entropy, trait, value)


# ---- in the browser ---------------------------------------------------------------------------------------------


def expect(root, widget) -> None:
    """What the page tells and draws, against Python."""
    for entry in (each for each in widget.maps if each["layer"] == widget.layer):
        row, counts = root.locator(f'tr[data-network="{entry["network"]}"]'), widget.counts(entry)
        for name, expected in counts.items():
            told = row.locator(f'[data-kdlib-value="{name}"]').inner_text()
            tolerance = 5.1e-3 if name.startswith("mean") or name == "share" else 0
            assert told == "–" if math.isnan(expected) else float(told) == pytest.approx(expected, abs=tolerance)
    found = (
        (widget.concepts() & widget._foreground)[widget.image],
        (widget.concepts() & ~widget._foreground)[widget.image],
    )
    for kind, cells in zip(("foreground", "background"), found, strict=True):
        paths = root.locator(f'.kdlib-overlay [data-mark="{kind}"]')
        drawn = paths.evaluate_all("all => all.flatMap(p => p.getAttribute('d').match(/Z/g)).length")
        assert drawn == int(cells.sum())
    assert widget.image_names[widget.image] in root.locator(".kdlib-summary").inner_text()


@pytest.mark.browser
def test_every_control_recounts_and_redraws(browser, tmp_path, entropy):
    with watched(browser, write_page(tmp_path, [entropy]).as_uri()) as page:
        root = page.locator(".kdlib-entropy")
        root.locator(".kdlib-summary").wait_for()
        expect(root, entropy)
        bar = root.locator("input[type=range]")
        bar.focus()
        for key, entropy.threshold in (("ArrowRight", 0.21), ("Home", 0.0), ("End", 0.6), ("ArrowLeft", 0.59)):
            page.keyboard.press(key)
            assert bar.get_attribute("aria-valuetext") == f"{entropy.threshold:.2f} nats"
            expect(root, entropy)
        for _ in range(30):
            page.keyboard.press("ArrowLeft")
        entropy.threshold = 0.29
        root.get_by_role("button", name="fc1").press("Enter")
        entropy.layer = "fc1"
        expect(root, entropy)
        root.get_by_role("button", name="Distilled (KD)").click()
        entropy.network = "kd"
        expect(root, entropy)
        root.get_by_role("button", name="conv").click()  # which this network does not have
        entropy.layer = "conv"
        expect(root, entropy)
        assert root.get_by_role("button", name="Distilled (KD)").is_disabled()
        root.get_by_role("button", name="fc1").click()
        root.get_by_role("button", name="Scratch").click()
        root.locator(".kdlib-thumbs button").nth(2).click()
        entropy.network, entropy.layer, entropy.image = "scratch", "fc1", 2
        expect(root, entropy)
        assert "it has no map" in root.locator(".kdlib-summary").inner_text()
        chart = root.locator(".kdlib-curve")
        for name in ("concepts on the background", "share on the object"):
            before = chart.screenshot()
            root.get_by_role("button", name=name).click()
            assert f"{name[1:]} over b" in chart.inner_text() and chart.screenshot() != before


@pytest.mark.browser
def test_cells_are_read_by_pointing_and_by_arrow_keys(browser, tmp_path, entropy):
    values = toy_entropy()["maps"]["teacher"]["conv"][0]
    with watched(browser, write_page(tmp_path, [entropy]).as_uri()) as page:
        root = page.locator(".kdlib-entropy")
        board, readout = root.get_by_role("application"), root.locator("p[aria-live][id]")
        board.focus()
        for key, (row, column) in {
            "ArrowRight": (8, 8), "ArrowDown": (9, 8), "ArrowLeft": (9, 7), "ArrowUp": (8, 7), "Home": (8, 0),
            "End": (8, 15),
        }.items():  # fmt: skip
            page.keyboard.press(key)
            side = "object" if entropy._foreground[0, row, column] else "background"
            assert f"Row {row + 1}, column {column + 1}, on the {side}: H is " in readout.inner_text()
            told = float(readout.inner_text().split("H is ")[1].split(" nats")[0].replace("−", "-"))
            assert told == pytest.approx(float(values[row, column]), abs=0.006)
            concept = bool(entropy.concepts()[0, row, column])
            assert readout.inner_text().endswith(": a concept." if concept else ": no concept.")
        box = board.bounding_box()
        board.hover(position={"x": box["width"] * 2.5 / 16, "y": box["height"] * 4.5 / 16})
        assert readout.inner_text().startswith("Row 5, column 3, ")


@pytest.mark.browser
def test_the_map_has_the_colours_of_its_entropies(browser, tmp_path, entropy):
    values = toy_entropy()["maps"]["teacher"]["conv"][0].double()
    with watched(browser, write_page(tmp_path, [entropy]).as_uri()) as page:
        page.locator(".kdlib-entropy .kdlib-summary").wait_for()
        drawn = page.locator(".kdlib-board canvas").evaluate(
            "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
        )
    shown = torch.tensor(drawn).view(16, 16, 4)[..., :3].double()
    ramp = torch.tensor([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in entropy.entropy_colours]).double()
    place = (shown[:, :, None] - ramp).square().sum(-1).argmin(-1)
    layer = entropy.layers[0]
    expected = ((values - layer["low"]) / (layer["high"] - layer["low"])).clamp(0, 1) * (len(ramp) - 1)
    assert float((place - expected).abs().max()) < 0.6
