"""The method comparison's Python side: what it packs, counts, and refuses."""

from __future__ import annotations

import dataclasses
import gzip

import numpy as np
import pytest
import torch
from widget_toys import shapes, toy_views

from kdlib.errors import KdlibError
from kdlib.widgets import method_comparison
from kdlib.widgets.units import region_masks


def state_bytes(widget) -> float:
    """What the widget's state weighs in a page, bytes as base64."""
    values = widget.get_state().values()
    return sum(len(v) * 4 / 3 if isinstance(v, (bytes, memoryview)) else len(repr(v)) for v in values)


def test_the_regions_reach_the_browser_pixel_by_pixel(comparison):
    bits = np.unpackbits(np.frombuffer(gzip.decompress(comparison.masks), np.uint8)).reshape(-1, 32, 32)
    for model in comparison.models:
        views = comparison._views[model["name"]]
        masks = region_masks(views.top_maps, views.thresholds, (32, 32)).flatten(0, 1).numpy()
        assert np.array_equal(bits[model["mask_start"] :][: len(masks)], masks)
        assert masks.any()


def test_every_image_travels_once_and_every_slot_finds_its_own(comparison, probe):
    used = sorted({int(i) for views in comparison._views.values() for i in views.top_index.flatten()})
    assert len(comparison.tile_classes) == len(used)
    for model in comparison.models:
        assert [used[t] for t in model["tiles"]] == comparison._views[model["name"]].top_index.flatten().tolist()
    assert comparison.tile_classes == [probe.class_names[probe.labels[i]] for i in used]


def test_counts_and_what_is_shared_by_definition(comparison):
    comparison.left, comparison.right = "teacher", "kd"
    left, right = ({m["name"]: m for m in comparison.models}[name] for name in ("teacher", "kd"))
    for tau in (0.01, 0.05, 0.2):
        both = same = 0
        for unit in range(30):  # the teacher's units
            is_left = left["scores"][unit] >= tau and left["categories"][unit] >= 0
            is_right = right["scores"][unit] >= tau and right["categories"][unit] >= 0
            both += is_left and is_right
            same += is_left and is_right and left["categories"][unit] == right["categories"][unit]
        shared, counts = comparison.shared(tau), comparison.counts(tau)
        assert (shared["both"], shared["same_category"]) == (both, same)
        assert shared["both"] + shared["left_only"] == sum(counts["teacher"].values())
        assert shared["both"] + shared["right_only"] == sum(counts["kd"].values())


def test_scratch_and_kd_are_shown_first_and_the_right_ones_best_unit(probe):
    views = {name: toy_views(probe, 5, 0.9, seed) for seed, name in enumerate(("teacher", "scratch", "kd"))}
    first = method_comparison(views, probe)
    assert (first.left, first.right, first.unit) == ("scratch", "kd", int(views["kd"].score.argmax()))
    assert method_comparison(views, probe, right="scratch").left == "teacher"
    others = {"mine": views["teacher"], "yours": views["kd"]}
    second = method_comparison(others, probe, unit=2, images_per_unit=2, colours={"mine": "#123456"})
    assert (second.left, second.right, second.unit, second.images_per_unit) == ("mine", "yours", 2, 2)
    assert second.models[0]["colour"] == "#123456" and len(second.models[0]["tiles"]) == 10


def test_a_unit_that_one_network_lacks_is_said_and_drawn(comparison):
    comparison.left, comparison.unit = "teacher", 40
    assert "no such unit in Teacher" in comparison.describe() and comparison.draw().axes


def test_twelve_methods_of_128_units_stay_below_3_mb_whatever_pictures_and_regions():
    big = shapes(1500)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, big.images.shape, dtype=torch.uint8, generator=generator)
    big = dataclasses.replace(big, images=noise)  # the worst case for any compression
    toy = toy_views(big, 128, 0.7, 1)
    views = {
        f"method {i}": dataclasses.replace(
            toy,
            top_index=torch.randint(0, 1500, (128, 4), generator=generator),
            top_maps=torch.rand(128, 4, 8, 8, generator=generator),
            thresholds=torch.full((128,), 0.5),
        )
        for i in range(12)
    }
    assert state_bytes(method_comparison(views, big)) < 3_000_000


def test_without_room_regions_coarsen_and_then_it_is_refused(probe):
    views = {name: toy_views(probe, 48, 0.3, seed) for seed, name in enumerate(("scratch", "kd"))}
    small = method_comparison(views, probe, max_bytes=90_000)
    height, width = small.mask_size
    assert (height, width) == (16, 16) and state_bytes(small) < 90_000
    bits = np.unpackbits(np.frombuffer(gzip.decompress(small.masks), np.uint8)).reshape(-1, height, width)
    first = region_masks(views["scratch"].top_maps, views["scratch"].thresholds, (height, width)).flatten(0, 1)
    assert np.array_equal(bits[: len(first)], first.numpy())
    with pytest.raises(KdlibError, match="the regions of 96 units do not fit"):
        method_comparison(views, probe, max_bytes=60_000)


def test_the_same_content_has_the_same_key(probe):
    def key(seed: int) -> str:
        views = {name: toy_views(probe, 5, 0.9, seed) for name in ("scratch", "kd")}
        return method_comparison(views, probe).static_key

    assert key(1) == key(1) != key(2)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"left": "kdd"}, "unknown method 'kdd'; did you mean 'kd'?"),
        ({"threshold": 1.5}, "threshold must be a number between 0 and 1, not 1.5"),
        ({"images_per_unit": 0}, "images_per_unit must be a whole number of at least 1, not 0"),
        ({"unit": 5}, "unit must be one of 0 to 4, not 5"),
    ],
)
def test_options_that_do_not_fit_are_refused(probe, options, sentence):
    views = {name: toy_views(probe, 5, 0.9, seed) for seed, name in enumerate(("scratch", "kd"))}
    with pytest.raises(KdlibError, match=sentence):
        method_comparison(views, probe, **options)


def test_other_bad_input_is_refused(probe, comparison):
    views = toy_views(probe, 5, 0.9, 1)
    with pytest.raises(KdlibError, match="needs at least two methods, not 1"):
        method_comparison({"kd": views}, probe)
    pair = {"scratch": views, "kd": views}
    with pytest.raises(KdlibError, match="has no concept masks"):
        method_comparison(pair, dataclasses.replace(probe, concepts=()))
    with pytest.raises(KdlibError, match="points at image 99, but the probe set has 60"):
        method_comparison({**pair, "at": dataclasses.replace(views, top_index=torch.full((5, 4), 99))}, probe)
    with pytest.raises(KdlibError, match="unknown method 'nobody'"):
        comparison.left = "nobody"
