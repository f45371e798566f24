"""What the two archives of photographs with masks have in common: parts, presets, the data root, what is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from archives import plant_cub, plant_voc, save_jpeg
from PIL import Image

from kdlib.data import cub, on_disk, voc
from kdlib.data.catalogue import get_dataset, list_datasets
from kdlib.errors import KdlibError
from kdlib.papers.presets import PRESETS, load_data
from kdlib.train.recipe import Recipe


@dataclass(frozen=True)
class Archive:
    """A planted archive: its loader, its folder, its photographs and how many pictures each part has."""

    name: str
    loader: ModuleType
    root: Path
    folder: Path
    photographs: list[Path]
    counts: dict[str, int]
    test_part: str


@pytest.fixture(params=["cub", "voc"])
def archive(request, tmp_path) -> Archive:
    if request.param == "cub":
        plant_cub(tmp_path)
        folder, images, counts, part = tmp_path / "CUB_200_2011", "images", (7, 1, 8, 8), "test"
    else:
        plant_voc(tmp_path)
        folder, images, counts, part = tmp_path / "VOCdevkit" / "VOC2012", "JPEGImages", (18, 2, 12, 12), "val"
    return Archive(
        request.param,
        {"cub": cub, "voc": voc}[request.param],
        tmp_path,
        folder,
        sorted((folder / images).rglob("*.jpg")),
        dict(zip(("train", "val", "test", "probe"), counts, strict=True)),
        part,
    )


def counts_of(splits):
    return {part: len(getattr(splits, part)) for part in ("train", "val", "test", "probe")}


def test_counts_are_taken_from_what_there_is(archive):
    asked = {"n_train": 4, "n_val": 2, "n_test": 4, "n_probe": 3}
    splits, again = (archive.loader.load(archive.root, image_size=16, **asked) for _ in range(2))
    assert counts_of(splits) == {"train": 4, "val": 2, "test": 4, "probe": 3}
    assert again.content_hash() == splits.content_hash()


def test_a_preset_takes_all_where_there_are_fewer(archive):
    small = Recipe(epochs=1, batch_size=4)
    sizes = {"quick": replace(PRESETS["quick"], teacher_recipe=small, student_recipe=small)}
    splits = load_data(archive.name, "quick", data_folder=str(archive.root), presets=sizes)
    assert counts_of(splits) == archive.counts
    assert archive.loader.available(archive.root) == archive.counts


def test_root_is_the_data_root_by_default(archive, monkeypatch):
    monkeypatch.setenv("KDLIB_DATA", str(archive.root))
    assert counts_of(archive.loader.load(image_size=16)) == archive.counts
    assert {row.name: row for row in list_datasets()}[archive.name].present
    where = f"{archive.name} is in {archive.folder}; its files are checked when they are read"
    assert get_dataset(archive.name) == where


def test_pictures_are_squares_of_64_pixels_by_default(archive):
    assert archive.loader.load(archive.root, n_train=1, n_val=1, n_test=1, n_probe=1).train.image_size == (64, 64)


def test_only_the_probe_has_concepts_and_every_part_has_a_foreground(archive):
    splits = archive.loader.load(archive.root, image_size=20)
    for part in (splits.train, splits.val, splits.test):
        assert part.foreground.flatten(1).any(1).all() and not part.concepts
    assert splits.probe.concept_map("color").labels.shape == (len(splits.probe), 20, 20)


def test_grey_photographs_are_read_as_colour(archive):
    for path in archive.photographs:
        save_jpeg(path, np.asarray(Image.open(path))[..., 0])
    images = archive.loader.load(archive.root, image_size=16).train.images
    assert images.shape[1] == 3 and torch.equal(images[:, 0], images[:, 1])


def test_nothing_there(archive, tmp_path):
    place = tmp_path / "elsewhere"
    place.mkdir()
    inside = archive.folder.relative_to(archive.root)
    with pytest.raises(KdlibError, match=rf"there is no {inside} in .*elsewhere; unpack .* by root"):
        archive.loader.load(place)
    found = on_disk.FILES[archive.name]
    assert found(place) == (place / inside, False) and not found(tmp_path / "nowhere")[1]
    assert found(archive.root) == (archive.folder, True)


def test_damaged_photographs(archive):
    for path in archive.photographs:
        path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(KdlibError, match=r"jpg holds no whole image \(PNG, .* or PPM\); unpack .* again"):
        archive.loader.load(archive.root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_test": 100}, "n_test=100 exceeds the {test} images of the official {part} part of"),
        ({"n_probe": 0}, "n_probe must be"),
        ({"image_size": 0}, "image_size must be"),
        ({"image_size": 10**400}, "image_size must be a whole number from 1 to 13377, not 1000"),
        ({"memory_limit": 0}, "memory_limit must be"),
        ({"image_size": 400, "memory_limit": 0.001}, "the {all} pictures of .* take 0.0.* GiB at image_size=400"),
    ],
)
def test_options(archive, options, message):
    known = {"test": archive.counts["test"], "part": archive.test_part, "all": sum(archive.counts.values())}
    with pytest.raises(KdlibError, match=message.format(**known)):
        archive.loader.load(archive.root, **options)
