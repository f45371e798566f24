"""The seed lottery: draws, intervals and shares against slow twins, bad input, and the browser's sentences."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
from browser_checks import watched
from scipy import stats as scipy_stats
from widget_toys import toy_replicates, write_page

from kdlib.claims.rule import OUTCOMES
from kdlib.errors import KdlibError
from kdlib.stats import student_interval
from kdlib.widgets import Replicates, seed_lottery
from kdlib.widgets.seed_draws import MOST_SUBSETS, draw_replicates, mean_intervals, random_number, word_shares


def replicates(**changes) -> Replicates:
    usual = {"name": "x", "unit": "points", "direction": "greater", "smallest_effect": 0.5, "differences": [1, 2, 3]}
    return Replicates(**{**usual, **changes})


def word_by_bounds(values: list[float], direction: str, smallest: float) -> str:
    """Slow twin of the verdict: the textbook's t interval, its bounds looked at one by one."""
    if set(values) == {0}:
        return "inconclusive"
    mean, error = sum(values) / len(values), scipy_stats.sem(values)
    reach = scipy_stats.t.ppf(0.975, len(values) - 1) * error
    sign = 1 if direction == "greater" else -1
    bounds = {sign * (mean - reach), sign * (mean + reach)}
    if min(bounds) > 0:
        return "supported"
    if max(bounds) < 0:
        return "contradicted"
    return "not supported" if max(map(abs, bounds)) <= smallest else "inconclusive"


def test_numbers_are_mulberry32s():
    # The first three numbers of seed 0, from the generator's published C code.
    assert [random_number(0, i) for i in range(3)] == pytest.approx([0.26642920868, 0.00032974570, 0.22327202744])
    assert all(0 <= random_number(2**32 - 1, i) < 1 for i in range(1000))


@pytest.mark.parametrize("size", [3, 5, 16])
def test_a_draw_is_without_replacement_and_holds_the_smaller_one(size):
    for draw in range(200):
        drawn = draw_replicates(7, draw, 16, size)
        assert drawn == sorted(set(drawn)) and len(drawn) == size and set(drawn) <= set(range(16))
        assert set(draw_replicates(7, draw, 16, 3)) <= set(drawn)


def test_every_replicate_and_every_pair_is_drawn_as_often_as_the_others():
    draws = [draw_replicates(0, draw, 8, 3) for draw in range(20_000)]
    counts = np.zeros((8, 8))
    for drawn in draws:
        counts[np.ix_(drawn, drawn)] += 1
    assert np.diag(counts) / 20_000 == pytest.approx(np.full(8, 3 / 8), abs=0.02)
    assert counts[~np.eye(8, dtype=bool)] / 20_000 == pytest.approx(np.full(56, 6 / 56), abs=0.015)


@pytest.mark.parametrize("size", [3, 5, 8, 16])
def test_intervals_are_those_of_the_books_statistics(size):
    samples = np.random.default_rng(size).normal(0.3, 1.0, (40, size))
    for row, mean, low, high in zip(samples, *mean_intervals(samples), strict=True):
        assert mean == pytest.approx(row.mean(), abs=1e-12)
        assert (low, high) == pytest.approx(student_interval(row), abs=1e-12)


@pytest.mark.parametrize("contrast", toy_replicates(), ids=lambda contrast: contrast.unit)
def test_shares_count_every_subset_once(contrast):
    values = list(contrast.differences)[:9]
    direction = "greater" if contrast.direction == "greater" else "less"
    for size in (3, 5, 8):
        found = [
            word_by_bounds(list(each), direction, contrast.smallest_effect)
            for each in itertools.combinations(values, size)
        ]
        shares = word_shares(np.array(values), size, direction=direction, smallest_effect=contrast.smallest_effect)
        assert shares["counts"] == [found.count(word) for word in OUTCOMES]
        assert shares["possible"] == shares["judged"] == len(found)


def test_where_subsets_are_too_many_a_sample_comes_near_all_of_them():
    values = np.random.default_rng(3).normal(0.6, 1.0, 17)
    assert math.comb(17, 8) > MOST_SUBSETS
    sampled = word_shares(values, 8, direction="greater", smallest_effect=0.5)
    assert sampled == word_shares(values, 8, direction="greater", smallest_effect=0.5)
    assert sampled["judged"] == sum(sampled["counts"]) == MOST_SUBSETS and sampled["possible"] == 24_310
    every = np.array(list(itertools.combinations(values, 8)))
    supported = float((mean_intervals(every)[1] > 0).mean())
    assert sampled["counts"][0] / MOST_SUBSETS == pytest.approx(supported, abs=0.015)


def test_the_tally_of_many_draws_comes_near_the_exact_share(lottery):
    for lottery.contrast, lottery.size in itertools.product((0, 1), (3, 5, 8)):
        lottery.draws = 3000
        row = next(row for row in lottery.contrasts[lottery.contrast]["shares"] if row["size"] == lottery.size)
        exact = 1 - row["counts"][OUTCOMES.index(lottery.judge()[0])] / row["judged"]
        assert lottery.others() / 3000 == pytest.approx(exact, abs=0.04)


def test_smaller_and_less_are_one_direction():
    values = [-0.5, -1.0, -0.8, -0.7]
    one, other = (seed_lottery([replicates(direction=way, differences=values)]) for way in ("smaller", "less"))
    assert one.contrasts == other.contrasts and one.judge()[0] == "supported"


def test_as_few_as_three_replicates_are_all_drawn():
    lottery = seed_lottery([replicates()])
    assert lottery.drawn() == [0, 1, 2] and lottery.others() == 0 and len(lottery.contrasts[0]["shares"]) == 1
    assert "another verdict" not in lottery.describe()


def test_the_still_picture_names_the_verdicts_and_the_contrast(lottery):
    for place, entry in enumerate(lottery.contrasts):
        lottery.contrast = place
        assert lottery.draw().axes[0].get_title() == entry["name"]
        assert lottery.judge(lottery.drawn())[0] in lottery.describe() and lottery.judge()[0] in lottery.describe()


def test_the_same_content_has_the_same_key_and_other_content_another():
    keys = [seed_lottery(toy_replicates(), seed=seed).static_key for seed in (0, 0, 1)]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"differences": [1.0, 2.0]}, r"differences of 'x' must be a flat list of 3 to 200 numbers.*shape \(2,\)"),
        ({"differences": [[1.0, 2.0, 3.0]]}, r"flat list.*not of shape \(1, 3\)"),
        ({"differences": [1.0, math.nan, 3.0]}, "'x' holds nan at replicate 2; measure it again or leave it out"),
        ({"differences": ["one", "two", "three"]}, "differences of 'x' must be numbers, one per replicate"),
        ({"differences": [1.0, 1e200, 3.0]}, "'x' holds 1e\\+200 at replicate 2; give it in another unit"),
        ({"direction": "up"}, r"unknown direction of 'x' 'up'.*choices: greater, less, smaller"),
        ({"smallest_effect": 0.0}, "smallest_effect of 'x' must be a finite number greater than 0.*, not 0.0"),
        ({"smallest_effect": math.nan}, "smallest_effect of 'x' must be a finite number greater than 0.*, not nan"),
        ({"name": " "}, "name of a contrast must be a text that readers see, not ' '"),
        ({"unit": None}, "unit of a contrast must be a text that readers see, not None"),
    ],
)
def test_a_bad_contrast_gets_one_clear_sentence(changes, sentence):
    with pytest.raises(KdlibError, match=sentence):
        replicates(**changes)


def test_bad_sets_of_contrasts_and_choices_get_one_clear_sentence(lottery):
    with pytest.raises(KdlibError, match="there is no contrast to draw from; give at least one"):
        seed_lottery([])
    with pytest.raises(KdlibError, match="two contrasts are called 'x'; give each a name of its own"):
        seed_lottery([replicates(), replicates(unit="nats")])
    with pytest.raises(KdlibError, match="seed must be a whole number from 0"):
        seed_lottery([replicates()], seed=-1)
    with pytest.raises(KdlibError, match=r"unknown size of a draw .* '4'"):
        seed_lottery([replicates()], size=4)
    for trait, value in (("contrast", 4), ("size", 16), ("draws", 0), ("draws", 10_001)):
        with pytest.raises(KdlibError):
            setattr(lottery, trait, value)


# ---- in the browser ---------------------------------------------------------------------------------------------


def expect_state(root, lottery) -> None:
    """Cards, dots, tally and shares in the page are those of the widget in Python."""
    entry, drawn = lottery.contrasts[lottery.contrast], lottery.drawn()
    count = len(entry["differences"])
    words = [card.get_attribute("data-word") for card in root.locator(".kdlib-lottery-card").all()]
    assert words == [lottery.judge(drawn)[0], lottery.judge()[0]]
    assert root.locator(".kdlib-lottery-drawn").count() == len(drawn)
    assert root.locator(".kdlib-lottery-rest").count() == count - len(drawn)
    said = root.locator("[aria-live=polite]").inner_text()
    assert said.startswith(f"{entry['name']}. ") and f"all {count}: mean " in said
    if len(drawn) < count:
        assert f"replicates {', '.join(str(place + 1) for place in drawn)}: mean" in said
        share = re.search(r"Of ([\d,]+) draws? of (\d+), ([\d,]+) \(", said)
        assert [int(n.replace(",", "")) for n in share.groups()] == [lottery.draws, lottery.size, lottery.others()]
    for row in entry["shares"]:
        told = root.locator(f'.kdlib-lottery-share[data-size="{row["size"]}"]').inner_text()
        present = [word for word, times in zip(OUTCOMES, row["counts"], strict=True) if times]
        assert re.findall(r"^(.+?) [<>]?\d+ %$", told, re.MULTILINE) == present


@pytest.mark.browser
def test_drawing_by_mouse_and_keyboard(browser, tmp_path, lottery):
    with watched(browser, write_page(tmp_path, [lottery]).as_uri()) as page:
        root = page.locator(".kdlib-lottery")
        root.locator(".kdlib-chart svg").wait_for()
        expect_state(root, lottery)
        again = root.get_by_role("button", name="Draw again")
        again.click()
        again.press("Enter")
        page.keyboard.press("Space")
        lottery.draws = 4
        expect_state(root, lottery)
        root.get_by_role("button", name="Draw 100 more").click()
        lottery.draws = 104
        for lottery.size in (5, 8, 3):
            root.get_by_role("button", name=str(lottery.size), exact=True).click()
            for lottery.contrast in range(3):
                root.get_by_label("Contrast").select_option(str(lottery.contrast))
                expect_state(root, lottery)
        root.get_by_role("button", name="all 24").press("Enter")
        lottery.size = 0
        expect_state(root, lottery)
        assert again.is_disabled() and "nothing is left to chance" in root.inner_text()
        root.get_by_role("button", name="Start over").click()
        root.get_by_label("Contrast").select_option("3")  # eight replicates: a draw of 8 is all of them
        lottery.contrast, lottery.draws = 3, 1
        expect_state(root, lottery)
        assert not root.get_by_role("button", name="8", exact=True).is_visible()


@pytest.mark.browser
def test_names_are_shown_as_they_are_written(browser, tmp_path):
    odd = replicates(name="<b>$x$</b>", unit="<i>$y$</i>", differences=[-1.0, 2.0, 0.5, 0.1])
    with watched(browser, write_page(tmp_path, [seed_lottery([odd])]).as_uri()) as page:
        root = page.locator(".kdlib-lottery")
        assert root.locator("h4").first.inner_text() == "<b>$x$</b>"  # one contrast: nothing to choose
        assert root.get_by_label("Contrast").count() == 0
        said = root.locator("[aria-live=polite]").inner_text()
        assert said.startswith("<b>$x$</b>. Draw 1") and "<i>$y$</i>" in said
        assert "-" not in re.sub(r"[a-z]-[a-z]", "", root.inner_text())  # the sign of minus, nowhere a hyphen
