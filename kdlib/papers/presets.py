"""Presets of image experiments: sizes of nets and data, recipes, seeds; and the data at a preset's size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kdlib.cores import cores
from kdlib.data import cub, voc
from kdlib.data.class_tree import existing_folder
from kdlib.data.folder_parts import split_listings
from kdlib.data.folder_stream import stream_splits
from kdlib.data.labelled_set import Splits
from kdlib.data.registry import load
from kdlib.errors import KdlibError, choose
from kdlib.names import DATA_SETS
from kdlib.runs.arms import Net
from kdlib.train.processes import current
from kdlib.train.recipe import Recipe

PARTS = ("train", "val", "test", "probe")


@dataclass(frozen=True)
class Preset:
    """Sizes of one preset. Numbers of images are upper bounds: a data set that has fewer gives all it has.

    teacher_model, student_model: "" for the study's own network. streamed_size: side of the images where a folder is
    streamed instead of held in memory. method_recipes: of methods whose students have a recipe of their own.
    other_nets: what arms name besides teacher and student.
    for_folder: the sizes where the data are a folder of one's own, these if None.
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
    other_nets: Mapping[str, Net] = field(default_factory=dict)
    for_folder: Preset | None = None

    def with_student_epochs(self, epochs: int) -> Preset:
        """The preset with this many epochs for every student.

        >>> two = Preset(64, 64, 64, 64, 1, method_recipes={"own": Recipe(epochs=4)}).with_student_epochs(2)
        >>> two.student_recipe.epochs, two.method_recipes["own"].epochs
        (2, 2)
        """
        return replace(
            self,
            student_recipe=replace(self.student_recipe, epochs=epochs),
            method_recipes={method: replace(own, epochs=epochs) for method, own in self.method_recipes.items()},
            other_nets={
                name: replace(net, recipe=replace(net.recipe, epochs=epochs)) for name, net in self.other_nets.items()
            },
        )


PRESETS = {
    # seconds: everything runs, nothing is learned
    "smoke": Preset(
        n_train=160,
        n_val=100,
        n_test=200,
        n_probe=200,
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
    "retrain": Preset(
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


def sizes_of(data: str | Splits, preset: str, presets: Mapping[str, Preset] = PRESETS) -> Preset:
    """What a preset stands for with a data set: a folder of one's own may have sizes of its own."""
    sizes = presets[choose(preset, presets, "preset")]
    if isinstance(data, str):
        choose(data, DATA_SETS, "data set")
    return sizes.for_folder if data == "image_folder" and sizes.for_folder else sizes


def load_data(
    name: str,
    preset: str,
    *,
    seed: int = 0,
    full: bool = False,
    data_folder: str = "",
    presets: Mapping[str, Preset] = PRESETS,
) -> Splits:
    """The data set at a preset's size; `full` takes the whole of it (downloaded or put in place beforehand).

    A folder of one's own is streamed, not held in memory, where the sizes say so. Raises KdlibError for whatever the
    loader refuses, and for fewer training images than a batch of the teacher or of the students has.
    """
    sizes = sizes_of(name, preset, presets)
    options: dict[str, object] = {"seed": seed}
    largest = max(sizes.teacher_recipe.batch_size, sizes.student_recipe.batch_size)
    if name == "image_folder" or data_folder:
        if not data_folder:
            raise KdlibError("data=image_folder needs the folder of your images: give data_folder=PATH")
        options["root"] = data_folder
    if name == "image_folder" and sizes.streamed_size:
        workers = max(1, cores() // current().count)
        streamed = stream_splits(data_folder, seed, image_size=sizes.streamed_size, workers=workers)
        need_a_batch(len(streamed.train), largest, data_folder)
        return streamed
    whole = full or preset == "gpu"
    if name in ("fashion_mnist", "garment_scenes"):
        options["full"] = whole
    if not whole:
        wanted = {part: getattr(sizes, f"n_{part}") for part in PARTS}
        if DATA_SETS[name].own_size:
            there = images_in(name, data_folder, seed)
            wanted = {part: min(count, there[part]) for part, count in wanted.items()}
            need_a_batch(wanted["train"], largest, data_folder or name)  # before any is decoded
        options |= {f"n_{part}": count for part, count in wanted.items()}
    splits = load(name, **options)
    need_a_batch(len(splits.train), largest, data_folder or name)
    return splits


def need_a_batch(images: int, batch_size: int, where: str) -> None:
    """Refuse fewer training images than one batch has; `where` they are from.

    >>> need_a_batch(43, 64, "photos")
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: photos gives 43 training images, and a batch has 64; put at least 21 more into its ...
    """
    if images < batch_size:
        raise KdlibError(
            f"{where} gives {images} training images, and a batch has {batch_size}; put at least {batch_size - images} "
            "more into its training part, besides those that go to val and test"
        )


def images_in(name: str, folder: str, seed: int) -> dict[str, int]:
    """How many images each part of a folder of photographs gets if nothing bounds it; no photograph is decoded."""
    if name != "image_folder":
        return {"voc": voc, "cub": cub}[name].available(folder or None, seed)
    listings = split_listings(existing_folder(folder), seed, None, None, None)
    counts = {part: len(listing.paths) for part, listing in listings.items()}
    return counts | {"probe": counts["test"]}
