"""Widgets over folders: the best units with their own pictures and masks, and nothing else."""

from __future__ import annotations

import pytest
import torch
from photographs import plant

from kdlib.data.broden import BrodenFolder, export_broden
from kdlib.data.drawn.concept_world import draw_scenes
from kdlib.data.folder_stream import FolderStream
from kdlib.errors import KdlibError
from kdlib.metrics.dissection.controls import dissect_held_out
from kdlib.metrics.dissection.dissect import dissect
from kdlib.models import build
from kdlib.widgets.dissection_explorer import dissection_explorer
from kdlib.widgets.streamed import best_units
from kdlib.widgets.units import unit_views

MODELS = {
    name: build("small_resnet", num_classes=3, width=4, features=16, seed=s) for s, name in enumerate(("kd", "scratch"))
}


@pytest.fixture(scope="module")
def scenes():
    return draw_scenes(30, seed=2)


@pytest.fixture(scope="module")
def folder(scenes, tmp_path_factory):
    return BrodenFolder(export_broden(scenes, tmp_path_factory.mktemp("broden") / "world", mask_scale=0.5))


def views_of(probe):
    found = {name: dissect(model, probe, "layer3", quantile=0.02) for name, model in MODELS.items()}
    return {name: unit_views(found[name], MODELS[name], probe, k=3) for name in MODELS}


def test_the_best_units_show_the_images_that_excite_them(folder):
    views = views_of(folder)
    kept, held = best_units(views, folder, units=5)
    assert held.image_size == folder.mask_size == (16, 16)
    assert len(held) <= 2 * 5 * 3
    for name, found in kept.items():
        best = views[name].score.sort(descending=True).values[:5]
        assert torch.equal(found.score.sort(descending=True).values, best)
        for unit in range(5):
            original = int((views[name].score == found.score[unit]).nonzero()[0])
            for place, index in zip(found.top_index[unit], views[name].top_index[original], strict=True):
                expected = folder.subset(index.view(1)).load()
                assert torch.equal(held.concept_map("part").labels[place], expected.concept_map("part").labels[0])
                small = torch.nn.functional.avg_pool2d(expected.images.float(), 2)[0]
                assert (held.images[place].float() - small).abs().max() <= 0.5


def test_the_explorer_takes_them(folder):
    explorer = dissection_explorer(*best_units(views_of(folder), folder, units=4))
    assert sum(explorer.counts(0.0001)["kd"].values()) <= 4


def test_the_same_units_of_every_model_are_those_that_are_best_in_any(folder):
    views = views_of(folder)
    kept, _ = best_units(views, folder, units=5, same=True)
    highest = [max(float(found.score[unit]) for found in views.values()) for unit in range(16)]
    best = sorted(sorted(range(16), key=lambda unit: (-highest[unit], unit))[:5])
    for name, found in kept.items():
        assert found.score.tolist() == [float(views[name].score[unit]) for unit in best]
        assert found.best_concept == [views[name].best_concept[unit] for unit in best]


def test_models_with_other_numbers_of_units_have_no_same_units(folder):
    views = views_of(folder)
    wide = build("small_resnet", num_classes=3, width=4, features=24)
    views["teacher"] = unit_views(dissect(wide, folder, "layer3", quantile=0.02), wide, folder, k=3)
    with pytest.raises(KdlibError, match=r"need equally many in each, not \[16, 24\]"):
        best_units(views, folder, same=True)


def test_images_in_memory_and_all_their_units_stay_as_they_are(scenes):
    views = views_of(scenes)
    kept, held = best_units(views, scenes, units=2)
    assert held is scenes
    assert kept == views


def test_photographs_with_colours_alone_are_taken_too(tmp_path):
    stream = FolderStream(plant(tmp_path, {"cat": 6, "dog": 6}), image_size=16)
    kept, held = best_units(views_of(stream), stream, units=3)
    assert dissection_explorer(kept, held).counts().keys() == set(MODELS)


def test_folders_take_the_held_out_control(folder, scenes):
    from_folder = dissect_held_out(MODELS["kd"], folder, "layer3", quantile=0.02)
    assert from_folder.chosen.num_units == 16
    assert len(from_folder.score) == 16
