"""Presets are sizes and nothing else: of data, nets, recipes, seeds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from photographs import plant

from kdlib.errors import KdlibError
from kdlib.names import DATA_SETS
from kdlib.names import PRESETS as PRESET_NAMES
from kdlib.papers.han2023.presets import MANY_ARMS, PAPER_SCALE, TWO_ARMS, smaller
from kdlib.papers.han2023.presets import PRESETS as HAN
from kdlib.papers.presets import PARTS, PRESETS, load_data, sizes_of
from kdlib.train.recipe import Recipe


def test_the_form_knows_the_same_presets():
    assert set(PRESETS) == set(PRESET_NAMES)


@pytest.mark.parametrize("data", ["fashion_mnist", "garment_scenes", "concept_world", "cells"])
def test_a_preset_bounds_the_number_of_images(data):
    sizes, splits = PRESETS["smoke"], load_data(data, "smoke")
    for part in ("train", "val", "test", "probe"):
        assert 0 < len(getattr(splits, part)) <= getattr(sizes, f"n_{part}")


def counted(splits):
    return {part: len(getattr(splits, part)) for part in PARTS}


def test_a_preset_bounds_ones_own_images_and_takes_all_where_they_are_fewer(tmp_path, monkeypatch):
    plant(tmp_path, {"cat": 50, "dog": 50})
    splits = load_data("image_folder", "quick", data_folder=str(tmp_path))
    # test is a fifth, val a tenth of the rest, train what is left
    assert counted(splits) == {"train": 72, "val": 8, "test": 20, "probe": 20}
    small = Recipe(epochs=1, batch_size=16)
    bounds = replace(
        PRESETS["smoke"], n_train=20, n_val=4, n_test=10, n_probe=8, teacher_recipe=small, student_recipe=small
    )
    monkeypatch.setitem(PRESETS, "smoke", bounds)
    splits = load_data("image_folder", "smoke", data_folder=str(tmp_path))
    assert counted(splits) == {"train": 20, "val": 4, "test": 10, "probe": 8}


def test_fewer_images_than_a_batch_are_refused_before_any_is_decoded(tmp_path):
    plant(tmp_path, {"cat": 20, "dog": 20, "emu": 20})
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"would fail if it were decoded")
    message = rf"{tmp_path} gives 43 training images, and a batch has 64; put at least 21 more into its training part"
    with pytest.raises(KdlibError, match=message):
        load_data("image_folder", "smoke", data_folder=str(tmp_path))


def test_fewer_streamed_images_than_a_batch_are_refused(tmp_path):
    plant(tmp_path, {"cat": 20, "dog": 20})
    with pytest.raises(KdlibError, match=r"gives 29 training images, and a batch has 256"):
        load_data("image_folder", "gpu", data_folder=str(tmp_path), presets=HAN)


def test_own_images_need_their_folder():
    with pytest.raises(KdlibError, match="data=image_folder needs the folder of your images: give data_folder=PATH"):
        load_data("image_folder", "smoke")


@pytest.mark.parametrize("preset", PRESETS)
def test_every_data_set_has_a_title_and_sizes_and_only_ones_own_images_get_the_papers_scale(preset):
    for data in DATA_SETS:
        paper_scale = data == "image_folder" and preset == "gpu"
        assert sizes_of(data, preset, HAN) is (PAPER_SCALE if paper_scale else HAN[preset])
        assert sizes_of(data, preset) is PRESETS[preset]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cells", "quik"), "unknown preset 'quik'; did you mean 'quick'"),
        (("cell", "quick"), "unknown data set 'cell'; did you mean 'cells'"),
    ],
)
def test_a_slip_of_the_pen_gets_the_nearest_name(arguments, message):
    for use in (sizes_of, load_data):
        with pytest.raises(KdlibError, match=message):
            use(*arguments)


def test_chapters_of_many_arms_differ_from_the_others_in_images_and_epochs_of_quick_alone():
    assert {name: sizes for name, sizes in MANY_ARMS.items() if sizes != HAN[name]}.keys() == {"quick"}
    quick, few = HAN["quick"], smaller(n_train=100, teacher_epochs=2, student_epochs=1)["quick"]
    assert (few.n_train, few.teacher_recipe.epochs, few.student_recipe.epochs) == (100, 2, 1)
    alike = replace(
        few, n_train=quick.n_train, teacher_recipe=quick.teacher_recipe, student_recipe=quick.student_recipe
    )
    assert alike == quick


def test_a_chapter_of_two_arms_has_the_same_networks_and_more_seeds():
    for preset, sizes in TWO_ARMS.items():
        assert replace(sizes, n_seeds=3) == replace(MANY_ARMS[preset], n_seeds=3)
    assert TWO_ARMS["quick"].n_seeds > MANY_ARMS["quick"].n_seeds
