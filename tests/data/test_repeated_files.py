"""The same picture in two parts is told, whatever it is called."""

from __future__ import annotations

import shutil

import pytest
from archives import plant_cub, plant_voc
from photographs import plant

from kdlib.data import cub, image_folder, repeated_files, voc
from kdlib.data.folder_stream import stream_splits
from kdlib.data.repeated_files import repeated
from kdlib.errors import KdlibError


@pytest.fixture
def tree(tmp_path):
    for number, part in enumerate(("train", "val", "test")):
        plant(tmp_path / part, {"cat": 5, "dog": 5}, 100 * number)
    return tmp_path


def test_parts_without_a_common_file_are_not_told_of(tree, recwarn):
    image_folder.load(tree, image_size=8)
    stream_splits(tree, image_size=8)
    assert not recwarn.list


def test_equal_files_under_other_names_are_told_in_one_line(tree):
    shutil.copy(tree / "train/cat/000.png", tree / "test/cat/other.png")
    shutil.copy(tree / "train/cat/001.png", tree / "test/dog/wrong.png")
    shutil.copy(tree / "val/cat/001.png", tree / "train/dog/again.png")
    message = (
        r"the same picture files lie in two parts \((1 of val also in train, 2 of test also in train|"
        r"2 of test also in train, 1 of val also in train); such as train/.*\.png and "
    )
    for load in (image_folder.load, stream_splits):
        with pytest.warns(UserWarning, match=message):
            load(tree, image_size=8)


@pytest.mark.parametrize("reader", ["cub", "voc"])
def test_photographs_with_masks_are_looked_at_too(tmp_path, reader):
    if reader == "cub":
        plant_cub(tmp_path)
        folder, load = tmp_path / "CUB_200_2011/images", cub.load
        part_of = dict(zip(cub.read_index(tmp_path).files, cub.read_index(tmp_path).is_training.tolist(), strict=True))
        first, other = (
            next(name for name, training in part_of.items() if training is which) for which in (True, False)
        )
    else:
        plant_voc(tmp_path)
        folder, load = tmp_path / "VOCdevkit/VOC2012/JPEGImages", voc.load
        parts = ((folder.parent / "ImageSets/Segmentation" / f"{part}.txt").read_text() for part in ("train", "val"))
        first, other = (f"{text.split()[0]}.jpg" for text in parts)
    shutil.copy(folder / first, folder / other)
    with pytest.warns(UserWarning, match="the same picture files lie in two parts .* scores there are not of new"):
        load(tmp_path, image_size=8, n_val=1)


def test_a_split_that_is_made_here_is_looked_at_too(tmp_path):
    plant(tmp_path, {"cat": 10, "dog": 10})
    for path in list((tmp_path / "cat").iterdir()):
        shutil.copy(path, path.with_name(f"copy_{path.name}"))
    with pytest.warns(UserWarning, match="the same picture files lie in two parts"):
        image_folder.load(tmp_path, image_size=8)


def test_files_of_one_length_and_beginning_are_compared_to_their_end(tmp_path):
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    one.write_bytes(b"a" * 100_000 + b"1")
    same.write_bytes(b"a" * 100_000 + b"1")
    other.write_bytes(b"a" * 100_000 + b"2")
    parts = {"train": [str(one)], "val": [str(other)], "test": [str(same)]}
    assert repeated(parts) == {("train", "test"): [(str(one), str(same))]}


def test_equal_files_in_one_part_are_no_leak(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    assert repeated({"train": [str(tmp_path / "a")] * 2, "test": []}) == {}


def test_a_file_that_went_away_is_told(tmp_path):
    with pytest.raises(KdlibError, match=r"gone.png cannot be read \(No such file or directory\)"):
        repeated({"train": [str(tmp_path / "gone.png")], "test": []})


def test_very_large_trees_are_not_read_twice(tree, monkeypatch, recwarn):
    shutil.copy(tree / "train/cat/000.png", tree / "test/cat/other.png")
    monkeypatch.setattr(repeated_files, "MOST_FILES", 10)
    image_folder.load(tree, image_size=8)
    assert not recwarn.list
