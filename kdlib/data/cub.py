"""Caltech-UCSD Birds-200-2011: photographs of 200 kinds of birds, with the mask of each (Wah et al. 2011).

The folders are those of the two official archives, CUB_200_2011.tgz and segmentations.tgz:

    CUB_200_2011/images/001.Black_footed_Albatross/....jpg
                 images.txt  image_class_labels.txt  train_test_split.txt  bounding_boxes.txt
    segmentations/001.Black_footed_Albatross/....png      beside CUB_200_2011 or in it

A picture is the whole photograph stretched to a square, as in Cheng et al. (CVPR 2020: resized to 224, no augmentation;
whether they cut out the bird is not known), or with `crop=True` the bird's box, enlarged 1.2 times about its centre,
black and without foreground where it leaves the photograph. Some photographs are grey; all are given as RGB.

A mask holds the votes of several people as grey levels, 0 none to 255 all. Any value above 0 is foreground, the rule of
Cheng et al.'s code; `least_vote` asks for more. Masks are read at the nearest pixel, photographs averaged.

The superclass of a bird is the last word of its name: 25 kinds of warbler, 21 of sparrow, ...
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from kdlib.data.colours import basic_colours
from kdlib.data.decode import read_numbers, read_rgb
from kdlib.data.image_set import ImageSet
from kdlib.data.labelled_set import Splits
from kdlib.data.masked_photographs import (
    Box,
    check_box,
    check_memory,
    checked_options,
    cut_pair,
    default_val,
    need,
    read_lines,
)
from kdlib.data.on_disk import CUB, CUB_FILES, cub_folder, cub_masks
from kdlib.data.repeated_files import tell_repeated
from kdlib.data.root import data_root
from kdlib.data.splitting import split_off_val, take
from kdlib.errors import KdlibError, positive_integer

_REMEDY = "unpack CUB_200_2011.tgz again"
_MASK_REMEDY = "unpack segmentations.tgz again"


@dataclass(frozen=True)
class Birds:
    """What the archive's index files say: files (relative to images/), labels (N,), official split, classes."""

    folder: Path
    masks: Path
    files: tuple[str, ...]
    labels: Tensor
    is_training: Tensor
    class_names: tuple[str, ...]
    boxes: tuple[Box, ...] = ()


def load(
    root: str | Path | None = None,
    seed: int = 0,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    n_probe: int | None = None,
    image_size: int | None = None,
    crop: bool = False,
    least_vote: int = 1,
    memory_limit: float = 4.0,
) -> Splits:
    """CUB-200-2011 as train, val, test and probe, all with their foreground.

    root: the folder that holds CUB_200_2011, or that folder itself; None is `kdlib.data.root.data_root()`.
    seed: which training photographs are val, and which ones a smaller n_* keeps; all choices are class-balanced.
    n_train: all that val leaves of the official training part. n_val: a tenth of it by default. n_test: the official
    test part. n_probe: the probe is the test set, with the basic colours (`kdlib.data.colours`) as its concepts.
    image_size: side of the square pictures, 64 by default. crop: the bird's enlarged box instead of the whole.
    least_vote: least grey level of a mask, 1 to 255, that is foreground. memory_limit: GiB that the pictures may take.

    Raises KdlibError for a missing or half-unpacked archive, a malformed line of an index, a photograph without
    mask, a damaged file, and counts beyond what there is. Example: `load("/data", n_train=3000, image_size=96)`.
    """
    size, limit = checked_options(image_size, memory_limit)
    if positive_integer(least_vote, "least_vote") > 255:
        raise KdlibError(f"least_vote must be a grey level from 1 to 255, not {least_vote}")
    birds = read_index(root, boxes=crop)
    training, testing = (flags.nonzero().flatten() for flags in (birds.is_training, ~birds.is_training))
    where = f"the official training part of {birds.folder}"
    n_val = default_val(len(training)) if n_val is None else n_val
    train, val = split_off_val(birds.labels[training], n_train, n_val, seed, where)
    where = f"the official test part of {birds.folder}"
    test, probe = (
        take(birds.labels[testing], count, seed, name, where)
        for count, name in ((n_test, "n_test"), (n_probe, "n_probe"))
    )
    chosen = {"train": training[train], "val": training[val], "test": testing[test], "probe": testing[probe]}
    check_memory(sum(map(len, chosen.values())), size, limit, str(birds.folder))
    files = [str(birds.folder / "images" / name) for name in birds.files]
    shown = {part: [files[index] for index in indices.tolist()] for part, indices in chosen.items() if part != "probe"}
    tell_repeated(birds.folder, shown)
    parts = {part: _image_set(birds, part, indices, size, least_vote) for part, indices in chosen.items()}
    return Splits(name="cub", **parts)


def find_folders(root: str | Path | None = None) -> tuple[Path, Path]:
    """The folders (CUB_200_2011, segmentations) in or at `root`; missing or half-unpacked ones are refused."""
    place = data_root(root)
    folder = cub_folder(place)
    if folder is None:
        raise KdlibError(
            f"there is no {CUB} in {place}; unpack CUB_200_2011.tgz and segmentations.tgz there "
            "(www.vision.caltech.edu/datasets/cub_200_2011), or name their folder by root"
        )
    need([folder / name for name in CUB_FILES], f"the archive is half unpacked: {_REMEDY}")
    masks = cub_masks(folder)
    if masks is None:
        raise KdlibError(
            f"{folder} has no masks; unpack segmentations.tgz, the archive of their own, there or beside it"
        )
    return folder, masks


def available(root: str | Path | None = None, seed: int = 0) -> dict[str, int]:
    """How many photographs each part gets if nothing bounds it; none is decoded. The seed does not matter."""
    is_training = read_index(root).is_training
    training, testing = int(is_training.sum()), int((~is_training).sum())
    val = default_val(training)
    return {"train": training - val, "val": val, "test": testing, "probe": testing}


def read_index(root: str | Path | None = None, boxes: bool = False) -> Birds:
    """Read the archive's index files, with bounding_boxes.txt if asked, and see that every photograph has its mask."""
    folder, masks = find_folders(root)
    files = _read_table(folder / "images.txt", 1, str, "a file name")
    needed: dict[str, tuple[int, Callable[[str], Any], str]] = {
        "image_class_labels.txt": (1, int, "a class number"),
        "train_test_split.txt": (1, _flag, "0 or 1"),
    }
    if boxes:
        needed["bounding_boxes.txt"] = (4, float, "a box of four numbers")
    tables = {name: _read_table(folder / name, *form) for name, form in needed.items()}
    for name, table in tables.items():
        for number in files:
            if number not in table:
                raise KdlibError(f"{folder / name} has no line for image {number}; {_REMEDY}")
        for number in table.keys() - files.keys():
            raise KdlibError(f"{folder / 'images.txt'} has no line for image {number}, but {name} has; {_REMEDY}")
    names = tuple(values[0] for values in files.values())
    numbers = [tables["image_class_labels.txt"][image][0] for image in files]
    for name, count in Counter(names).items():
        if count > 1:
            raise KdlibError(f"{folder / 'images.txt'} gives {count} numbers to {name}; {_REMEDY}")
    owner: dict[int, str] = {}
    for number, name in zip(numbers, names, strict=True):
        if owner.setdefault(number, name.split("/")[0]) != name.split("/")[0]:
            raise KdlibError(f"class {number} has images in {owner[number]} and {name.split('/')[0]}; {_REMEDY}")
    for name, count in Counter(owner.values()).items():
        if count > 1:
            raise KdlibError(f"{folder / 'image_class_labels.txt'} gives {count} numbers to {name}; {_REMEDY}")
    classes = sorted(owner)
    is_training = torch.tensor([tables["train_test_split.txt"][image][0] for image in files], dtype=torch.bool)
    if is_training.all() or not is_training.any():
        raise KdlibError(f"{folder / 'train_test_split.txt'} gives no image to one of the two parts; {_REMEDY}")
    for name in names:
        need([folder / "images" / name], f"the archive is half unpacked: {_REMEDY}")
        need([(masks / name).with_suffix(".png")], f"a photograph has no mask: {_MASK_REMEDY}")
    return Birds(
        folder=folder,
        masks=masks,
        files=names,
        labels=torch.tensor([classes.index(number) for number in numbers], dtype=torch.int64),
        is_training=is_training,
        class_names=tuple(_spoken(owner[number]) for number in classes),
        boxes=tuple(_as_box(tables["bounding_boxes.txt"][image]) for image in files) if boxes else (),
    )


def _read_table(path: Path, columns: int, kind: Callable[[str], Any], what: str) -> dict[int, list[Any]]:
    """Image number -> the values of its line."""
    table = {}
    for place, line in enumerate(read_lines(path, f"the archive is half unpacked: {_REMEDY}"), start=1):
        cells = line.split()
        try:
            number, values = int(cells[0]), [kind(cell) for cell in cells[1:]]
        except ValueError:
            values = []
        if len(values) != columns:
            raise KdlibError(f"line {place} of {path} must hold an image number and {what}, not {line!r}; {_REMEDY}")
        if number in table:
            raise KdlibError(f"line {place} of {path} is the second for image {number}; {_REMEDY}")
        table[number] = values
    if not table:
        raise KdlibError(f"{path} is empty; {_REMEDY}")
    return table


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(text)
    return text == "1"


def _as_box(values: Sequence[float]) -> Box:
    left, top, width, height = values
    return left, top, left + width, top + height


def _spoken(folder: str) -> str:
    """001.Black_footed_Albatross is the Black footed Albatross."""
    return folder.partition(".")[2].replace("_", " ") or folder


def _superclasses(class_names: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    last = [name.split()[-1].lower() for name in class_names]
    names = tuple(dict.fromkeys(last))
    return names, tuple(names.index(name) for name in last)


def _votes(mask: Image.Image, path: Path) -> Image.Image:
    # Masks are grey; a colour picture of one has the same value in every channel, and transparency is no vote. A
    # palette counts by its colours.
    mask = mask.convert("RGB") if mask.mode in ("P", "PA", "CMYK") else mask
    colours = [mask.getchannel(band) for band in mask.getbands() if band in "RGB"]
    if any(one.tobytes() != colours[0].tobytes() for one in colours):
        raise KdlibError(f"{path} is coloured, and a mask holds votes in grey; {_MASK_REMEDY}")
    return mask.getchannel(0) if len(mask.getbands()) > 1 else mask.convert("L")


def _image_set(birds: Birds, part: str, indices: Tensor, size: int, least_vote: int) -> ImageSet:
    images = torch.empty(len(indices), 3, size, size, dtype=torch.uint8)
    foreground = torch.empty(len(indices), size, size, dtype=torch.bool)
    for row, index in enumerate(indices.tolist()):
        name = birds.files[index]
        picture = read_rgb(birds.folder / "images" / name, _REMEDY, turned=False)
        path = (birds.masks / name).with_suffix(".png")
        mask = _votes(read_numbers(path, _MASK_REMEDY, of_grey=True), path)
        if mask.size != picture.size:
            raise KdlibError(
                f"{path} is {mask.width}x{mask.height} pixels and its photograph {picture.width}x{picture.height}; "
                f"{_MASK_REMEDY}"
            )
        box = birds.boxes[index] if birds.boxes else None
        if box is not None:
            check_box(box, picture, f"{name} in {birds.folder / 'bounding_boxes.txt'}", _REMEDY)
        images[row], votes = cut_pair(picture, mask, box, size)
        foreground[row] = torch.tensor(votes >= least_vote)
    superclass_names, superclass_of = _superclasses(birds.class_names)
    return ImageSet(
        name=f"cub/{part}",
        images=images,
        labels=birds.labels[indices],
        class_names=birds.class_names,
        superclass_names=superclass_names,
        superclass_of=superclass_of,
        foreground=foreground,
        concepts=(basic_colours(images),) if part == "probe" else (),
    )
