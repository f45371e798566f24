"""The dissection explorer's Python side: what it packs, counts, and refuses."""

from __future__ import annotations

import dataclasses
import gzip
import math

import numpy as np
import pytest
import torch
from torch import nn
from widget_toys import shapes, toy_views

from kdlib.data.image_set import ImageSet
from kdlib.errors import KdlibError
from kdlib.metrics.dissection.dissect import dissect
from kdlib.names import spelt
from kdlib.widgets import UnitViews, dissection_explorer, unit_views
from kdlib.widgets.dissection_explorer import region_masks


@pytest.fixture(scope="module")
def dissected(probe):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3, stride=4, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return model, dissect(model, probe, "1", quantile=0.02, batch_size=16)


def test_unit_views_hold_the_dissections_top_images_with_their_maps(dissected, probe):
    model, dissection = dissected
    views = unit_views(dissection, model, probe, 3, batch_size=7)
    whole = model[:2](probe.inputs(slice(None))).detach()
    maxima = whole.amax((2, 3)).T.sort(dim=1, descending=True).values[:, :3]  # (U, 3), by a full sort
    assert torch.allclose(views.top_maps.amax((2, 3)), maxima, atol=1e-6)
    for unit in range(6):
        assert torch.allclose(views.top_maps[unit], whole[views.top_index[unit], unit], atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 6])
def test_of_equally_exciting_images_the_earlier_comes_first(dissected, probe, batch_size):
    model, dissection = dissected
    images = torch.zeros(6, *probe.images.shape[1:], dtype=torch.uint8)
    images[[1, 4]] = 255
    same = ImageSet("equal", images, probe.labels[:6], probe.class_names, probe.superclass_names, probe.superclass_of)
    order = unit_views(dissection, model, same, 4, batch_size=batch_size).top_index
    bright = model[:2](same.inputs(slice(None))).amax((2, 3)).T.detach()
    for unit, row in enumerate(order.tolist()):
        assert row == sorted(range(6), key=lambda i: (-float(bright[unit, i]), i))[:4]


def test_regions_are_the_dissections_own_active_pixels(dissected, probe):
    model, dissection = dissected
    views = unit_views(dissection, model, probe, len(probe))
    masks = region_masks(views.top_maps, views.thresholds, probe.image_size)
    assert torch.equal(masks.double().mean((1, 2, 3)), dissection.activated_fraction)


def test_an_explorer_of_real_dissections_counts_what_they_count(dissected, probe):
    model, dissection = dissected
    views = unit_views(dissection, model, probe, 4)
    explorer = dissection_explorer({"scratch": views, "kd": views}, probe, quantile=0.02)
    for tau in (0.01, 0.05, 0.1):
        expected = {spelt(category): count for category, count in dissection.count_by_category(tau).items()}
        assert explorer.counts(tau)["kd"] == {c: expected[c] for c in explorer.categories}


def test_counts_are_exclusive_and_leave_out_units_without_a_concept(dissection):
    for tau in dissection.threshold_steps:
        for model in dissection.models:
            labelled = [s for s, c in zip(model["scores"], model["categories"], strict=True) if c >= 0]
            assert sum(dissection.counts(tau)[model["name"]].values()) == sum(s >= tau for s in labelled)
    assert sum(sum(each.values()) for each in dissection.counts(dissection.threshold_steps[-1]).values()) == 0


def test_maps_and_concept_masks_survive_packing(probe):
    views = toy_views(probe, 5, 0.9, 1)
    explorer = dissection_explorer({"kd": views}, probe)
    maps = np.frombuffer(gzip.decompress(explorer.maps), "<f4").reshape(5, 4, 8, 8)
    assert np.array_equal(maps, views.top_maps.numpy())
    bits = np.unpackbits(np.frombuffer(gzip.decompress(explorer.concept_masks), np.uint8)).reshape(5, 4, 32, 32)
    for unit in range(1, 5):
        found = probe.concept_map(views.best_category[unit])
        label = found.names.index(views.best_concept[unit])
        for rank in range(4):
            assert np.array_equal(bits[unit, rank], found.labels[views.top_index[unit, rank]].numpy() == label)
    assert not bits[0].any()  # the unit without a concept


def test_four_models_of_128_units_with_4_images_stay_below_2_mb_whatever_the_pictures():
    big = shapes(600)
    noise = torch.randint(0, 256, big.images.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    big = dataclasses.replace(big, images=noise)  # the worst case for any compression
    generator = torch.Generator().manual_seed(1)
    views = {}
    for seed, name in enumerate(("teacher", "scratch", "label_smoothing", "kd")):
        toy = toy_views(big, 128, 0.7, seed)
        index = torch.randint(0, 600, (128, 4), generator=generator)
        views[name] = dataclasses.replace(toy, top_index=index, top_maps=torch.rand(128, 4, 8, 8, generator=generator))
    explorer = dissection_explorer(views, big)
    size = sum(
        len(value) * 4 / 3 if isinstance(value, (bytes, memoryview)) else len(repr(value))
        for value in explorer.get_state().values()
    )
    assert size < 2_000_000 and explorer.sprite_type == "image/jpeg"


def test_grey_images_and_models_of_different_sizes_fit_together(probe):
    grey = dataclasses.replace(probe, images=probe.images[:, :1])
    small, large = toy_views(grey, 4, 0.9, 1), toy_views(grey, 9, 0.9, 2)
    large = dataclasses.replace(large, top_maps=torch.rand(9, 4, 4, 4))
    explorer = dissection_explorer({"teacher": large, "mine": small}, grey, colours={"mine": "#123456"})
    assert [m["map_size"] for m in explorer.models] == [[4, 4], [8, 8]]
    assert explorer.models[1]["map_start"] == 9 * 4 * 16
    assert explorer.models[1]["colour"] == "#123456" and explorer.draw().axes


def test_a_model_with_fewer_units_shows_its_last_one_where_the_chosen_one_is_beyond(probe):
    models = {"teacher": toy_views(probe, 6, 0.9, 1), "kd": toy_views(probe, 3, 0.9, 2)}
    explorer = dissection_explorer(models, probe)
    explorer.model, explorer.unit = "teacher", 5
    assert "Unit 5 of" in explorer.describe()
    explorer.model = "kd"
    assert "Unit 2 of" in explorer.describe()
    assert explorer.draw().axes


def test_the_same_content_has_the_same_key(probe):
    def key(seed: int) -> str:
        return dissection_explorer({"kd": toy_views(probe, 5, 0.9, seed)}, probe).static_key

    assert key(1) == key(1) != key(2)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"score": torch.full((5,), math.nan)}, "score holds values that are not finite"),
        ({"best_concept": ["disc"] * 4}, "best_concept covers 4 units, but score covers 5"),
        ({"best_category": ["objekt"] * 5}, "unknown concept category 'objekt'; did you mean 'object'?"),
        ({"top_maps": torch.zeros(5, 3, 8, 8)}, "top_maps must have shape"),
        ({"top_index": torch.full((5, 4), 99)}, "points at image 99, but the probe set has 60"),
        ({"best_concept": ["disk"] * 5, "best_category": ["object"] * 5}, "'disk'; did you mean 'disc'?"),
    ],
)
def test_views_that_do_not_fit_are_refused(probe, changes, sentence):
    with pytest.raises(KdlibError, match=sentence):
        dissection_explorer({"kd": dataclasses.replace(toy_views(probe, 5, 0.9, 1), **changes)}, probe)


def test_other_bad_input_is_refused(probe, dissected):
    views = toy_views(probe, 5, 0.9, 1)
    with pytest.raises(KdlibError, match="no model to explore"):
        dissection_explorer({}, probe)
    with pytest.raises(KdlibError, match="threshold must be a number between 0 and 1, not 1"):
        dissection_explorer({"kd": views}, probe, threshold=1.5)
    with pytest.raises(KdlibError, match="unit must be one of 0 to 4, not 5"):
        dissection_explorer({"kd": views}, probe).unit = 5
    with pytest.raises(KdlibError, match="has no concept masks"):
        dissection_explorer({"kd": views}, dataclasses.replace(probe, concepts=()))
    with pytest.raises(KdlibError, match="same number of images per unit"):
        dissection_explorer({"kd": views, "scratch": toy_views(probe, 5, 0.9, 1, k=2)}, probe)
    model, dissection = dissected
    with pytest.raises(KdlibError, match="k is 61, but the probe set has 60 images"):
        unit_views(dissection, model, probe, 61)
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    with pytest.raises(KdlibError, match="has 4 units, but the dissection 6"):
        unit_views(dissection, other, probe)
    assert isinstance(views, UnitViews)
