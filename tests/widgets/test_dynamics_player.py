"""The dynamics player: what it tells is the metric's, words, bad input, play and every control in the browser."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from browser_checks import watched
from widget_toys import toy_dynamics, write_page

from kdlib.errors import KdlibError
from kdlib.metrics.learning_dynamics import learning_speed, stability
from kdlib.widgets import dynamics_player


def build(**changes):
    return dynamics_player(**{**toy_dynamics(), **changes})


def test_at_the_end_rho_and_the_peak_are_the_metrics(dynamics):
    toy = toy_dynamics()
    for name, concepts in toy["concepts"].items():
        stable = stability(concepts, toy["foreground"])
        counts = (concepts & toy["foreground"]).flatten(2).sum(2)
        speed = learning_speed(counts, toy["distances"][name])
        for dynamics.image in range(6):
            found = dynamics.progress(name)
            assert found["remaining"] == float(stable.rho[dynamics.image])
            assert found["mean_remaining"] == stable.summary()["rho"]
            assert found["peak"] == float(speed.distance[dynamics.image])
            assert found["foreground"] == int(counts[-1, dynamics.image])


def test_changes_from_the_definition_cell_by_cell(dynamics):
    concepts = toy_dynamics()["concepts"]["scratch"]
    dynamics.image = 4
    for dynamics.step in range(5):
        found = dynamics.changes("scratch")
        for row in range(16):
            for column in range(16):
                now = bool(concepts[dynamics.step, 4, row, column])
                before = dynamics.step > 0 and bool(concepts[dynamics.step - 1, 4, row, column])
                kinds = {(True, False): "new", (True, True): "kept", (False, True): "vanished"}
                expected = {kinds[now, before]} if now or before else set()
                assert {kind for kind, cells in found.items() if cells[row, column]} == expected


def test_by_hand_what_is_new_what_vanished_and_what_remains():
    sets = torch.tensor([[1, 0, 0, 1], [1, 1, 0, 0], [0, 1, 1, 0]]).bool().view(3, 1, 1, 4)
    player = dynamics_player(
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8), {"a": sets, "b": sets},
        torch.tensor([[[True, True, True, False]]]), {"a": [0, 1, 2], "b": [0, 1, 2]}, {"a": [0, 5, 9], "b": [0, 5, 9]},
    )  # fmt: skip
    wanted = {"foreground": 2, "background": 0, "new": 1, "kept": 1, "vanished": 1, "union": 3, "most": 2, "peak": 1.0}
    found = player.progress("a")
    assert {key: found[key] for key in wanted} == wanted and found["remaining"] == pytest.approx(2 / 3)
    player.step = 0
    found = player.progress("a")
    assert (found["foreground"], found["background"], found["new"], found["vanished"]) == (1, 1, 1, 0)


def test_an_epoch_without_a_checkpoint_shows_the_last_one_before(dynamics):
    assert dynamics.epochs == [0, 2, 5, 10, 20]
    shown = []
    for dynamics.step in range(5):
        shown.append([dynamics.progress(name)["epoch"] for name in ("scratch", "kd", "teacher")])
    assert shown == [[0, 0, 0], [2, 2, 0], [5, 5, 5], [10, 10, 5], [20, 10, 20]]


def test_an_image_that_never_has_a_concept_has_no_peak_and_rho_0():
    concepts = {name: torch.zeros_like(each) for name, each in toy_dynamics()["concepts"].items()}
    player = build(concepts=concepts)
    found = player.progress("kd")
    assert found["most"] == 0 and math.isnan(found["peak"]) and found["remaining"] == 0.0 and player.draw().axes


def test_the_bits_are_the_concepts(dynamics):
    bits = np.unpackbits(np.frombuffer(dynamics.concepts, np.uint8)).reshape(-1, 6, 16, 16)
    for entry in dynamics.networks:
        mine = bits[entry["start"] : entry["start"] + len(entry["epochs"])]
        assert torch.equal(torch.from_numpy(mine).bool(), toy_dynamics()["concepts"][entry["name"]])


def test_the_first_two_networks_stand_side_by_side_at_the_last_checkpoint(dynamics):
    assert (dynamics.left, dynamics.right, dynamics.step) == ("scratch", "kd", 4)
    assert build(left="kd").right == "scratch" and build(right="scratch").left == "kd"
    assert "rho" in dynamics.describe() and "Distilled (KD) at epoch 10" in dynamics.describe()
    assert len(dynamics.draw().axes) == 4
    dynamics.step = 1
    assert "rho" not in dynamics.describe()


def test_the_same_content_has_the_same_key_and_other_content_another():
    assert build().static_key == build().static_key != build(image=1).static_key


def test_eight_images_and_nineteen_checkpoints_of_two_networks_stay_below_150_kb():
    generator = torch.Generator().manual_seed(0)
    concepts = {name: torch.rand(19, 8, 16, 16, generator=generator) < 0.3 for name in ("scratch", "kd")}
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=generator)
    steps = {name: list(range(19)) for name in concepts}
    state = dynamics_player(images, concepts, concepts["kd"][0], steps, steps).get_state().values()
    assert sum(len(v) * 4 / 3 if isinstance(v, (bytes, memoryview)) else len(repr(v)) for v in state) < 150_000


def changed(key: str, name: str, value) -> dict:
    return {key: {**toy_dynamics()[key], name: value}}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"images": torch.zeros(6, 3, 32, 32)}, "images must be a uint8 tensor"),
        ({"foreground": torch.zeros(6, 16, 16)}, r"foreground must be bool of shape \(6, rows, columns\)"),
        ({"concepts": {"kd": torch.zeros(2, 6, 16, 16).bool()}}, "at least two networks to set side by side, not 1"),
        (changed("concepts", "kd", torch.zeros(4, 6, 16, 16)), r"concepts of 'kd' must be bool of shape \(checkpoints"),
        (changed("concepts", "kd", torch.zeros(4, 5, 16, 16).bool()), r"\(checkpoints, 6, 16, 16\)"),
        (changed("distances", "kd", [0, 1]), "distances of 'kd' must be 4, one for each checkpoint"),
        (changed("distances", "kd", [0, 2, 1, 3]), "distances of 'kd' must be finite, 0 or more and never fall"),
        (changed("distances", "kd", [0, 1, 2, math.inf]), "distances of 'kd' must be finite"),
        ({"distances": {}}, "unknown network of distances 'scratch'"),
        (changed("epochs", "kd", [0, 1]), "epochs of 'kd' must be 4, one for each checkpoint, not 2"),
        (changed("epochs", "kd", [0, 5, 2, 9]), "epochs of 'kd' must rise"),
        (changed("epochs", "kd", [1, 2, 5, 10]), "all networks must have the same first checkpoint"),
        ({"left": "nobody"}, "unknown network 'nobody'"),
        ({"image": 6}, "image must be one of 0 to 5, not 6"),
        ({"max_bytes": 45_000}, r"6 images take 0.\d\d MB of widget state, more than 0.04 MB; give at most \d images"),
    ],
)
def test_bad_input_gets_one_clear_sentence(changes, sentence):
    with pytest.raises(KdlibError, match=sentence):
        build(**changes)


@pytest.mark.parametrize(("trait", "value"), [("image", 6), ("left", "nobody"), ("right", "x"), ("step", 5)])
def test_a_choice_that_does_not_exist_is_refused(dynamics, trait, value):
    with pytest.raises(KdlibError):
        setattr(dynamics, trait, value)


# ---- in the browser ---------------------------------------------------------------------------------------------


def expect(root, player) -> None:
    """What the page tells and draws, against Python."""
    shown = [player.progress(name) for name in (player.left, player.right)]
    for key in ("distance", "foreground", "new", "kept", "vanished", "background", "union", "remaining",
                "mean_foreground", "mean_remaining"):  # fmt: skip
        told = root.locator(f'[data-kdlib-value="{key}"]').all_inner_texts()
        assert [float(text) for text in told] == pytest.approx([found[key] for found in shown], abs=5.1e-3), key
    most = [f"{f['most']} at {f['peak']:.3f}" if f["most"] else "–" for f in shown]
    assert root.locator('[data-kdlib-value="most"]').all_inner_texts() == most
    overlays = root.locator(".kdlib-overlay").all()
    for overlay, name in zip(overlays, (player.left, player.right), strict=True):
        for kind, cells in player.changes(name).items():
            drawn = overlay.locator(f'[data-mark="{kind}"]').evaluate_all(
                "all => all.flatMap(p => p.getAttribute('d').match(/Z/g)).length"
            )
            assert drawn == int(cells.sum())
    for side, name in (("left", player.left), ("right", player.right)):
        chart = root.locator(f'[data-side="{side}"]')
        assert chart.locator('[data-line="image"]').count() == len(player.image_names)
        points = chart.locator('[data-line="mean"]').get_attribute("d").count(",")
        assert points == player.checkpoint(name) + 1  # traced as far as the checkpoint shown
    assert root.locator("input[type=range]").get_attribute("aria-valuetext") == f"epoch {player.epochs[player.step]}"


@pytest.fixture()
def opened(browser, tmp_path, dynamics):
    with watched(browser, write_page(tmp_path, [dynamics]).as_uri()) as page:
        root = page.locator(".kdlib-dynamics")
        root.locator(".kdlib-summary").wait_for()
        yield root


@pytest.mark.browser
def test_slider_buttons_networks_and_images(opened, dynamics):
    expect(opened, dynamics)
    assert "ρ is" in opened.locator(".kdlib-summary").inner_text()
    opened.locator("input[type=range]").focus()
    for key, dynamics.step in (("Home", 0), ("ArrowRight", 1), ("End", 4), ("ArrowLeft", 3)):
        opened.page.keyboard.press(key)
        expect(opened, dynamics)
    opened.get_by_role("button", name="Next checkpoint").press("Enter")
    dynamics.step = 4
    expect(opened, dynamics)
    assert opened.get_by_role("button", name="Next checkpoint").get_attribute("aria-disabled") == "true"
    assert "epoch 10, its last" in opened.inner_text()
    opened.get_by_role("button", name="Previous checkpoint").click(click_count=2)
    dynamics.step = 2
    expect(opened, dynamics)
    opened.get_by_label("Left network").select_option("teacher")
    opened.get_by_label("Right network").select_option("scratch")
    opened.locator(".kdlib-thumbs button").nth(5).click()
    dynamics.left, dynamics.right, dynamics.image = "teacher", "scratch", 5
    expect(opened, dynamics)


@pytest.mark.browser
def test_nothing_moves_until_play_which_goes_to_the_end_and_can_be_paused(opened, dynamics):
    page, said = opened.page, opened.locator(".kdlib-summary")
    page.clock.install(time=0)
    page.clock.pause_at(10)  # from here on time moves with run_for alone, however slow the machine is
    expect(opened, dynamics)
    opened.get_by_role("button", name="Play").press("Space")  # from the end: starts anew
    dynamics.step = 0
    expect(opened, dynamics)
    assert said.get_attribute("aria-live") == "off"
    page.clock.run_for(1850)
    dynamics.step = 2
    expect(opened, dynamics)
    opened.get_by_role("button", name="Pause").click()
    page.clock.run_for(5000)
    expect(opened, dynamics)
    assert said.get_attribute("aria-live") == "polite"
    opened.get_by_role("button", name="Play").click()  # goes on from here
    page.clock.run_for(10_000)
    dynamics.step = 4
    expect(opened, dynamics)
    assert opened.get_by_role("button", name="Play").is_visible()
    opened.get_by_role("button", name="Play").click()
    opened.get_by_role("button", name="Next checkpoint").click()  # taking a step pauses
    page.clock.run_for(5000)
    dynamics.step = 1
    expect(opened, dynamics)
