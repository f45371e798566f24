"""Words and tables on detectors follow from the dissections."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdlib.metrics.dissection.dissect import dissect_activations
from kdlib.papers.han2023.figures import detector_words as words
from kdlib.stats import paired_contrast

MASKS = torch.zeros(20, 10, 10, dtype=torch.int64)
MASKS[:, 2:4, 2:4] = 1
MASKS[:10, 6:9, 6:9] = 2
NAMES = {"color": ("unlabelled", "red", "blue")}


def network(*kinds: float):
    """A unit for each number: the share of red pixels that it is active on, the rest on nothing in particular."""
    generator = torch.Generator().manual_seed(0)
    units = []
    for share in kinds:
        noise = torch.rand(MASKS.shape, generator=generator)
        units.append(((MASKS == 1) & (noise < share)) + 0.5 * torch.rand(MASKS.shape, generator=generator))
    return dissect_activations([(torch.stack(units, 1), {"color": MASKS})], NAMES, quantile=0.04)


@pytest.fixture(scope="module")
def networks():
    return {
        "scratch": [network(0.0, 0.5), network(0.0, 0.0)],
        "kd": [network(1.0, 0.9), network(1.0, 0.8)],
        "label_smoothing": [network(0.0, 0.0), network(0.0, 0.0)],
    }


TAU = 0.2


def test_shares_are_percent_of_units(networks):
    shares = words.shares(networks, lambda d: d.count(TAU))
    assert shares == {"scratch": [50.0, 0.0], "kd": [100.0, 100.0], "label_smoothing": [0.0, 0.0]}


def test_tables_hold_means_over_seeds(networks):
    rows = {row["network"]: row for row in words.units_table(networks, TAU)}
    assert rows["Scratch"]["detectors"] == "0.5" and rows["Distilled (KD)"]["detectors"] == "2.0"
    by_category = words.categories_table(networks, TAU)
    assert by_category[0] == {"network": "Scratch", "each unit counts": "under its best category", "colour": "0.5"}
    assert len(by_category) == 6


def test_readers_see_one_spelling_of_colour(networks):
    assert words.by_category_in_words(networks, TAU).count("colour") == 3
    told = words.largest_category(networks, "kd", "scratch", TAU)
    assert told == "Distilled (KD) and Scratch differ most in colour detectors: +1.5 units"
    assert "do not differ" in words.largest_category(networks, "kd", "kd", TAU)


def test_the_order_is_that_of_the_mean_counts(networks):
    told, same = words.order_at(networks, (TAU, 0.25))
    assert told.startswith("at 0.2, Distilled (KD) 2, Scratch 0, Label smoothing 0")
    assert same
    _, same = words.order_at(networks | {"scratch": networks["kd"], "kd": networks["scratch"]}, (TAU,))
    assert same
    flipped = {"scratch": [network(0.6, 0.6)], "kd": [network(1.0, 0.0)]}
    low, high = 0.2, 0.6
    counts = {t: {arm: d.count(t) for arm, (d,) in flipped.items()} for t in (low, high)}
    assert counts == {low: {"scratch": 2, "kd": 1}, high: {"scratch": 0, "kd": 1}}
    assert not words.order_at(flipped, (low, high))[1]


def test_a_full_layer_leaves_no_room(networks):
    assert "hardly room for more" in words.threshold_in_words(networks, TAU)
    few = {"scratch": networks["scratch"], "kd": networks["label_smoothing"]}
    assert "there is room" in words.threshold_in_words(few, TAU)


def test_choices_count_what_they_name(networks):
    rows, means = words.choices(networks, networks["label_smoothing"][0], TAU)
    assert {row["Untrained"] for row in rows if "denominator" in row["detectors (units)"]} == {"0.0"}
    for name, by_arm in means.items():
        if "denominator" in name:
            denominator = "original" if name.startswith("original") else "lite"
            assert by_arm["kd"] == np.mean([d.with_denominator(denominator).count(TAU) for d in networks["kd"]])
    assert means["without a threshold"]["kd"] == np.mean([float(d.score.sum()) for d in networks["kd"]])
    assert "of 6 ways of counting" in words.choices_in_words(means)


def test_mixtures_are_compared_with_the_same_replicates_units(networks):
    few = {"kd": [networks["label_smoothing"][0]]}  # stands for a mixture without detectors
    told = words.mixtures_in_words(networks, few, TAU, [])
    own = networks["kd"][0].count(TAU)
    assert told.startswith(f"Random mixtures of units have fewer detectors than the students' own units (0 to {own})")
    assert "No claim is supported so far" in told
    assert "stands with the verdicts" in words.mixtures_in_words(networks, few, TAU, ["kd"])


def test_a_failing_null_check_is_said_in_bold():
    fine = words.matching_in_words([-1.0, 0.0, 1.0], {"kd": [3.0, 3.1, 3.2]}, [])
    assert "as it should be" in fine and "KD +3.10" in fine
    assert "**which is not zero" in words.matching_in_words([4.0, 4.1, 4.2], {"kd": [3.0, 3.1, 3.2]}, [])
    assert "so that claims stay open: 5a, 5b" in words.matching_in_words(None, {"kd": [3.0, 3.1]}, ["5a", "5b"])


def test_active_area_is_between_the_networks_means(networks):
    told = words.active_in_words(networks, TAU)
    assert "not on 4 %" in told and "of 2 concepts are within reach" in told


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ([3.0], [1.0], "One seed gives no interval"),
        ([1.0, 1.0], [1.0, 1.0], "Both gave the same value"),
        ([9.0, 1.0, 4.0], [1.0, 1.0, 1.0], "too wide to exclude or to show"),
    ],
)
def test_how_sure_an_interval_is(a, b, said):
    assert said in words.sureness(paired_contrast(a, b), 1.0)


def test_a_teacher_can_lie_above_or_below():
    assert "there is similarity to learn" in words.teacher_similarity(75.0, [70.0, 72.0])
    assert "can hardly come out" in words.teacher_similarity(65.0, [70.0, 72.0])
