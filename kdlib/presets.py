"""What a preset stands for: sizes of nets and data, recipes, seeds; and the data at a preset's size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kdlib import data as datasets
from kdlib import paper_settings
from kdlib.data.folder_stream import stream_splits
from kdlib.data.image_set import Splits
from kdlib.errors import KdlibError, choose
from kdlib.processes import current
from kdlib.side_by_side import cores
from kdlib.train import Recipe

DATA_NAMES = {
    "concept_world": "Concept World",
    "cells": "synthetic cells",
    "fashion_mnist": "Fashion-MNIST",
    "garment_scenes": "garment scenes",
    "cifar10": "CIFAR-10",
    "voc": "PASCAL VOC 2012",
    "cub": "CUB-200-2011",
    "image_folder": "your images",
}
PARTS = ("train", "val", "test", "probe")


@dataclass(frozen=True)
class Preset:
    """Sizes of one preset. Numbers of images are upper bounds: a data set that has fewer gives all it has.

    teacher_model, student_model: "" for the study's own network. streamed_size: side of the images where a folder is
    streamed instead of held in memory. method_recipes: of methods whose students have a recipe of their own.
    """

    n_train: int | None
    n_val: int | None
    n_test: int | None
    n_probe: int | None
    n_seeds: int
    teacher: dict[str, int] = field(default_factory=dict)
    student: dict[str, int] = field(default_factory=dict)
    teacher_recipe: Recipe = field(default_factory=lambda: Recipe(epochs=12))
    student_recipe: Recipe = field(default_factory=lambda: Recipe(epochs=8))
    teacher_model: str = ""
    student_model: str = ""
    streamed_size: int | None = None
    method_recipes: Mapping[str, Recipe] = field(default_factory=dict)


PRESETS = {
    # seconds: everything runs, nothing is learned
    "smoke": Preset(
        n_train=640,
        n_val=200,
        n_test=300,
        n_probe=300,
        n_seeds=2,
        teacher={"depth": 8, "width": 8, "features": 32},
        student={"depth": 8, "width": 4, "features": 32},
        teacher_recipe=Recipe(epochs=2, batch_size=64),
        student_recipe=Recipe(epochs=2, batch_size=64),
    ),
    # minutes on two cores
    "quick": Preset(
        n_train=4300,
        n_val=1000,
        n_test=2000,
        n_probe=2000,
        n_seeds=3,
        teacher={"depth": 8, "width": 24, "features": 128},
        student={"depth": 8, "width": 8, "features": 128},
        teacher_recipe=Recipe(epochs=12, batch_size=64),
        student_recipe=Recipe(epochs=8, batch_size=64),
    ),
    # an hour or more on two cores: the nets of quick, more images and eight seeds, also where a chapter has many arms
    "long": Preset(
        n_train=5000,
        n_val=1000,
        n_test=2000,
        n_probe=5000,
        n_seeds=8,
        teacher={"depth": 8, "width": 24, "features": 128},
        student={"depth": 8, "width": 8, "features": 128},
        teacher_recipe=Recipe(epochs=12, batch_size=64),
        student_recipe=Recipe(epochs=8, batch_size=64),
    ),
    # whole data sets, larger nets, eight seeds: meant for a GPU
    "gpu": Preset(
        n_train=None,
        n_val=None,
        n_test=None,
        n_probe=None,
        n_seeds=8,
        teacher={"depth": 20, "width": 64, "features": 512},
        student={"depth": 8, "width": 16, "features": 512},
        teacher_recipe=Recipe(epochs=60, augment="flip_shift", mixed_precision=True),
        student_recipe=Recipe(epochs=40, augment="flip_shift", mixed_precision=True),
    ),
}


# The paper's own nets, recipe and image size, for a folder of one's own (ImageNet) at preset gpu.
PAPER_SCALE = Preset(
    n_train=None,
    n_val=None,
    n_test=None,
    n_probe=None,
    n_seeds=paper_settings.SEEDS,
    teacher_recipe=paper_settings.RECIPE,
    student_recipe=paper_settings.RECIPE,
    teacher_model=paper_settings.TEACHER,
    student_model=paper_settings.STUDENT,
    streamed_size=paper_settings.IMAGE_SIZE,
    method_recipes=paper_settings.METHOD_RECIPES,
)


def smaller(n_train: int, teacher_epochs: int, student_epochs: int, n_seeds: int = 3) -> dict[str, Preset]:
    """The presets with fewer images and epochs at `quick`, for a chapter that trains many networks; batches of 32."""
    quick = replace(
        PRESETS["quick"],
        n_train=n_train,
        n_seeds=n_seeds,
        teacher_recipe=Recipe(epochs=teacher_epochs, batch_size=32),
        student_recipe=Recipe(epochs=student_epochs, batch_size=32),
    )
    return PRESETS | {"quick": quick}


# At `quick`, a chapter of a dozen arms and three seeds has the time for fewer images and epochs than one of three arms.
MANY_ARMS = smaller(n_train=1900, teacher_epochs=9, student_epochs=3)
# The same networks in a chapter of two arms, which has the time for more seeds.
TWO_ARMS = smaller(n_train=1900, teacher_epochs=9, student_epochs=3, n_seeds=6)


def deeper_students(presets: dict[str, Preset], depth: int) -> dict[str, Preset]:
    """The presets with students of another depth, 6 n + 2; all else stays.

    >>> deeper_students(MANY_ARMS, 14)["quick"].student
    {'depth': 14, 'width': 8, 'features': 128}
    """
    return {name: replace(sizes, student=sizes.student | {"depth": depth}) for name, sizes in presets.items()}


def sizes_of(data: str | Splits, preset: str, presets: dict[str, Preset] = PRESETS) -> Preset:
    """What a preset stands for with a data set: for a folder of one's own, "gpu" is the paper's own scale."""
    sizes = presets[choose(preset, presets, "preset")]
    if isinstance(data, str):
        choose(data, datasets.DATASETS, "data set")
    return PAPER_SCALE if data == "image_folder" and preset == "gpu" else sizes


def load_data(
    name: str,
    preset: str,
    *,
    seed: int = 0,
    full: bool = False,
    data_folder: str = "",
    presets: dict[str, Preset] = PRESETS,
) -> Splits:
    """The data set at a preset's size; `full` takes the whole of it (downloaded or put in place beforehand).

    At preset gpu a folder of one's own (ImageNet) is streamed, not held in memory.
    """
    sizes = sizes_of(name, preset, presets)
    options: dict[str, object] = {"seed": seed}
    if name == "image_folder" or data_folder:
        if not data_folder:
            raise KdlibError("data=image_folder needs the folder of your images: give data_folder=PATH")
        options["root"] = data_folder
    if name == "image_folder" and sizes.streamed_size:
        workers = max(1, cores() // current().count)
        return stream_splits(data_folder, seed, image_size=sizes.streamed_size, workers=workers)
    whole = full or preset == "gpu"
    if name in ("fashion_mnist", "garment_scenes"):
        options["full"] = whole
    if not whole:
        wanted = {part: getattr(sizes, f"n_{part}") for part in PARTS}
        if name in ("image_folder", "voc", "cub"):
            there = images_in(name, data_folder, seed)
            wanted = {part: min(count, there[part]) for part, count in wanted.items()}
        options |= {f"n_{part}": count for part, count in wanted.items()}
    return datasets.load(name, **options)


def images_in(name: str, folder: str, seed: int) -> dict[str, int]:
    """How many images each part of a folder of photographs gets if nothing bounds it; no photograph is decoded."""
    from kdlib.data import cub, image_folder, voc

    if name != "image_folder":
        return {"voc": voc, "cub": cub}[name].available(folder or None, seed)
    listings = image_folder.split_listings(image_folder.existing_folder(folder), seed, None, None, None)
    counts = {part: len(listing.paths) for part, listing in listings.items()}
    return counts | {"probe": counts["test"]}
