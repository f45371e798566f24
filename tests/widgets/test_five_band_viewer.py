"""The five-band viewer's Python side: levels that keep every band, scores, bad input."""

from __future__ import annotations

import gzip
import itertools
import math

import numpy as np
import pytest
import torch
from widget_toys import toy_bands

from kdlib.errors import KdlibError
from kdlib.metrics.five_band import MEASURES, VARIANTS, five_band_scores, normalise, soft_thresholds, stratify
from kdlib.widgets import five_band_viewer
from kdlib.widgets.five_band_viewer import LEVELS, SCORES


def levels_of(viewer) -> torch.Tensor:
    """(models, N, H, W) as the browser reads them."""
    shape = (len(viewer.models), len(viewer.image_names), *viewer.size)
    return torch.from_numpy(np.frombuffer(gzip.decompress(viewer.levels), np.int8).reshape(shape).copy()).long()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_levels_give_every_band_at_every_threshold(variant):
    table = soft_thresholds(variant)
    toy = toy_bands(3)
    # Values on the thresholds themselves, on both sides of zero, and just beside them.
    on = torch.cat([table.flatten(), table.flatten() + 1e-12, table.flatten() - 1e-12])
    maps = normalise(toy["saliency"]["kd"][:, None])
    maps[0].view(-1)[1 : len(on) + 1] = on
    maps[0].view(-1)[0] = 1.0  # so that dividing by the largest changes nothing
    toy["saliency"] = {"kd": maps}
    toy["predictions"] = None
    viewer = five_band_viewer(**toy, variant=variant)
    levels = levels_of(viewer)[0]
    assert int(levels.abs().max()) == LEVELS and len(viewer.thresholds) == len(table)
    for row, (inner, outer) in zip(table, viewer.cuts, strict=True):
        bands = levels.sign() * ((levels.abs() >= inner).long() + (levels.abs() >= outer).long())
        assert torch.equal(bands, stratify(maps, row.tolist()).long())


def test_levels_keep_the_saliency_within_0_02_for_the_eye(bands):
    edges = [0.0, *bands.edges, 1.0]
    assert edges == sorted(set(edges)) and len(bands.edges) == LEVELS
    assert max(b - a for a, b in itertools.pairwise(edges)) / 2 < 0.02


def test_scores_are_the_metrics(bands):
    toy = toy_bands()
    for name in toy["saliency"]:
        expected = five_band_scores(toy["saliency"][name][:, None], toy["truth_bands"], soft_thresholds("v1"))
        for bands.image in (0, 3):
            for bands.step in (0, 20, 55):
                got = bands.scores(name)
                for measure in MEASURES:
                    assert got[measure] == pytest.approx(float(getattr(expected, measure)[bands.image, bands.step]))


def test_by_hand_two_pixels_in_the_wrong_band():
    viewer = five_band_viewer(
        torch.zeros(1, 3, 2, 2, dtype=torch.uint8),
        {"mine": torch.tensor([[[2.0, 0.8], [0.8, 0.0]]])},  # 1, 0.4, 0.4, 0
        torch.tensor([[[2, 2], [0, 1]]]),
    )
    assert viewer.bands().tolist() == [[[2, 1], [1, 0]]]
    expected = {"accuracy": 1 / 4, "precision": 1 / 3, "recall": 1 / 2, "false_positive_rate": 1.0}
    assert viewer.scores() == pytest.approx(expected, abs=1e-5)


def test_blank_images_are_known_and_names_shown(bands):
    assert bands.blank == [False] * 5 + [True]
    assert bands.image_names[:2] == ["barred cell", "plain cell"]
    predicted = {m["name"]: m["predicted"] for m in bands.models}
    assert predicted["kd"] == bands.image_names and predicted["teacher"] == []
    assert tuple(SCORES) == MEASURES and bands.model == "kd" and bands.draw().axes
    bare = {key: value for key, value in toy_bands().items() if key in ("images", "saliency", "truth_bands")}
    assert five_band_viewer(**bare).image_names[1] == "image 2"


def test_twelve_noisy_images_of_96_pixels_and_four_models_stay_below_1_mb():
    generator = torch.Generator().manual_seed(0)
    maps = {name: torch.randn(12, 96, 96, generator=generator) for name in ("teacher", "scratch", "at", "kd")}
    images = torch.randint(0, 256, (12, 3, 96, 96), dtype=torch.uint8, generator=generator)
    viewer = five_band_viewer(images, maps, torch.zeros(12, 96, 96, dtype=torch.int64))
    values = viewer.get_state().values()
    assert sum(len(v) * 4 / 3 if isinstance(v, (bytes, memoryview)) else len(repr(v)) for v in values) < 1_400_000


def test_the_same_content_has_the_same_key():
    assert five_band_viewer(**toy_bands()).static_key == five_band_viewer(**toy_bands()).static_key
    assert five_band_viewer(**toy_bands(4)).static_key != five_band_viewer(**toy_bands()).static_key


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"images": torch.zeros(6, 3, 48, 48)}, "images must be a uint8 tensor"),
        (
            {"truth_bands": torch.zeros(6, 48, 47, dtype=torch.int64)},
            r"truth_bands must be whole numbers of shape \(6, 48, 48\)",
        ),
        ({"truth_bands": torch.zeros(6, 48, 48)}, "truth_bands must be whole numbers"),
        ({"truth_bands": torch.full((6, 48, 48), 3)}, r"truth_bands must lie in -2 ... 2, not in 3 ... 3"),
        ({"saliency": {}}, "saliency holds no model"),
        ({"saliency": {"kd": torch.zeros(6, 3, 48, 48)}}, "saliency of 'kd' must be real numbers of shape"),
        ({"saliency": {"kd": torch.full((6, 48, 48), math.nan)}}, "saliency of 'kd' holds values that are not finite"),
        ({"labels": [0, 1]}, "labels and predictions must be 6, one per image, not 2"),
        ({"labels": [2] * 6}, "label 2 has no name: class_names names 2 classes"),
        ({"predictions": {"kdd": [0] * 6}}, "unknown model of the predictions 'kdd'; did you mean 'kd'?"),
        ({"variant": "v3"}, "unknown five-band variant 'v3'"),
        ({"model": "nobody"}, "unknown model 'nobody'"),
        (
            {"max_bytes": 100_000},
            r"6 images of 48x48 pixels and 4 models take 0.\d MB of widget state, .* give at most",
        ),
    ],
)
def test_bad_input_gets_one_clear_sentence(changes, sentence):
    with pytest.raises(KdlibError, match=sentence):
        five_band_viewer(**{**toy_bands(), **changes})


@pytest.mark.parametrize(("trait", "value"), [("image", 6), ("model", "nobody"), ("step", 56)])
def test_a_choice_that_does_not_exist_is_refused(bands, trait, value):
    with pytest.raises(KdlibError):
        setattr(bands, trait, value)
