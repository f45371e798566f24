"""PASCAL VOC 2012: objects cut out of photographs, with the mask of each (Everingham et al.; 20 classes).

The folder is the official archive's (VOCtrainval_11-May-2012.tar):

    VOCdevkit/VOC2012/JPEGImages/2007_000032.jpg
                      Annotations/2007_000032.xml          boxes, classes, difficult, truncated
                      SegmentationClass/2007_000032.png    palette: 0 background, 1 to 20 class, 255 void
                      SegmentationObject/2007_000032.png   palette: 0 background, 1, 2, ... object, 255 void
                      ImageSets/Segmentation/train.txt, val.txt

One picture is one object: its annotated box, enlarged 1.2 times about its centre, black and without foreground where it
leaves the photograph, stretched to a square (the pictures of Cheng et al., CVPR 2020, as far as is known; their random
crop and flip are a matter of training).

- An object is what SegmentationObject marks with one number. Its class is the one SegmentationClass shows there, its
  box the annotated one of that class that overlaps most with the mask.
- A truncated object is one like any other. A difficult one has no mask in the archive (it is void) and so is no
  picture; one that has a mask is left out too, unless `difficult=True`.
- Void, 255, is the unsure border of an object, or a difficult one: it is not foreground.
- Masks are read at the nearest pixel, photographs averaged.

The official test masks are not public: test is the official val, train the official train without what val here takes.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kdlib.data.checksums import is_there
from kdlib.data.colours import basic_colours
from kdlib.data.decode import read_numbers, read_rgb
from kdlib.data.image_set import UNLABELLED, ConceptMap, ImageSet
from kdlib.data.labelled_set import Splits
from kdlib.data.masked_photographs import (
    ENLARGEMENT,
    Box,
    check_box,
    check_memory,
    checked_options,
    cut,
    cut_pair,
    enlarge,
    need,
    read_lines,
    split_by_photograph,
)
from kdlib.data.on_disk import VOC, VOC_FOLDERS, voc_folder
from kdlib.data.repeated_files import tell_repeated
from kdlib.data.root import data_root
from kdlib.data.splitting import take
from kdlib.data.text_tables import read_bytes
from kdlib.errors import KdlibError, choose

CLASS_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
SUPERCLASS_NAMES = ("vehicle", "animal", "indoor", "person")  # the four branches of VOC's own hierarchy
SUPERCLASS_OF = (0, 0, 1, 0, 2, 0, 0, 1, 2, 1, 2, 1, 1, 0, 3, 2, 1, 2, 0, 2)
VOID = 255
_REMEDY = "unpack VOCtrainval_11-May-2012.tar again"


@dataclass(frozen=True)
class VocObject:
    """An object with a mask: its photograph's name, its number in SegmentationObject, its class and annotated box."""

    photograph: str
    number: int
    label: int
    box: Box
    difficult: bool = False
    truncated: bool = False


def load(
    root: str | Path | None = None,
    seed: int = 0,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    n_probe: int | None = None,
    image_size: int | None = None,
    difficult: bool = False,
    foreground: str = "object",
    memory_limit: float = 4.0,
) -> Splits:
    """VOC 2012's segmented objects as train, val, test and probe, all with their foreground.

    root: the folder that holds VOCdevkit, or VOCdevkit or VOC2012 itself; None is `kdlib.data.root.data_root()`.
    seed: which photographs are val, and which objects a smaller n_* keeps. Objects of one photograph are in one part.
    n_train: all that is left by default. n_val: a tenth of the official train. n_test: the official val.
    n_probe: the probe is the test set, with concepts: object (the classes of all that is in the picture) and color.
    image_size: side of the square pictures, 64 by default. difficult: objects marked difficult as well.
    foreground: "object", the object's own pixels, or "any", every value above 0 of the photograph's mask (other
    objects and void as well), the rule of Cheng et al.'s code. memory_limit: GiB that the pictures may take.

    Raises KdlibError for a missing or half-unpacked archive, a damaged or missing file, masks and annotations that
    do not belong together, and counts beyond what there is. Example: `load("/data", n_train=2000, image_size=96)`.
    """
    folder = find_folder(root)
    size, limit = checked_options(image_size, memory_limit)
    choose(foreground, ("object", "any"), "foreground")
    training, testing = _both_parts(folder, difficult)
    where = f"the official train part of {folder}"
    train, val = split_by_photograph([o.photograph for o in training], _labels(training), n_train, n_val, seed, where)
    test = take(_labels(testing), n_test, seed, "n_test", f"the official val part of {folder}")
    probe = take(_labels(testing), n_probe, seed, "n_probe", f"the official val part of {folder}")
    chosen = {
        "train": [training[index] for index in train.tolist()],
        "val": [training[index] for index in val.tolist()],
        "test": [testing[index] for index in test.tolist()],
        "probe": [testing[index] for index in probe.tolist()],
    }
    check_memory(sum(map(len, chosen.values())), size, limit, str(folder))
    files = {
        part: sorted({str(folder / "JPEGImages" / f"{one.photograph}.jpg") for one in objects})
        for part, objects in chosen.items()
        if part != "probe"
    }
    tell_repeated(folder, files)
    parts = {part: _image_set(folder, part, objects, size, foreground == "any") for part, objects in chosen.items()}
    return Splits(name="voc", **parts)


def find_folder(root: str | Path | None = None) -> Path:
    """The VOC2012 folder in (or at) `root`; one that is missing or half unpacked is refused."""
    place = data_root(root)
    folder = voc_folder(place)
    if folder is None:
        raise KdlibError(
            f"there is no {VOC} in {place}; unpack VOCtrainval_11-May-2012.tar there (`kdlib data get voc` does it), "
            "or name its folder by root"
        )
    need([folder / name for name in VOC_FOLDERS], f"the archive is half unpacked: {_REMEDY}")
    return folder


def download(root: str | Path | None = None) -> Path:
    """Fetch the archive (2 GB) through torchvision unless its folder is there; returns the VOC2012 folder."""
    place = data_root(root)
    if not is_there(place / VOC):
        from kdlib.vision import torchvision

        try:
            torchvision.datasets.VOCSegmentation(place, year="2012", image_set="train", download=True)
        except (OSError, RuntimeError, HTTPException) as error:
            reason = " ".join(str(error).split())
            raise KdlibError(
                f"PASCAL VOC 2012 could not be downloaded ({reason}); unpack VOCtrainval_11-May-2012.tar into {place}"
            ) from error
    return find_folder(place)


def available(root: str | Path | None = None, seed: int = 0) -> dict[str, int]:
    """How many objects each part gets if nothing bounds it; no photograph is decoded."""
    folder = find_folder(root)
    training, testing = _both_parts(folder)
    train, val = split_by_photograph([o.photograph for o in training], _labels(training), None, None, seed, str(folder))
    return {"train": len(train), "val": len(val), "test": len(testing), "probe": len(testing)}


def _both_parts(folder: Path, difficult: bool = False) -> tuple[list[VocObject], list[VocObject]]:
    """The objects of the official train and val, which have no photograph in common."""
    training, testing = (list_objects(folder, part, difficult) for part in ("train", "val"))
    for photograph in {one.photograph for one in training} & {one.photograph for one in testing}:
        raise KdlibError(
            f"{photograph} is in train.txt and in val.txt of {folder / 'ImageSets/Segmentation'}; {_REMEDY}"
        )
    return training, testing


def list_objects(folder: Path, part: str, difficult: bool = False) -> list[VocObject]:
    """The objects with a mask of the official part "train" or "val", in the order of its list and of their numbers."""
    index = folder / "ImageSets" / "Segmentation" / f"{part}.txt"
    objects = []
    listed: set[str] = set()
    for line in read_lines(index, f"the archive is half unpacked: {_REMEDY}"):
        if len(line.split()) != 1:
            raise KdlibError(f"{index} must hold one photograph's name a line, not {line!r}; {_REMEDY}")
        if line in listed:
            raise KdlibError(f"{index} names the photograph {line} twice; {_REMEDY}")
        listed.add(line)
        need([folder / "JPEGImages" / f"{line}.jpg"], f"the archive is half unpacked: {_REMEDY}")
        objects += [one for one in _objects_of(folder, line) if difficult or not one.difficult]
    if not objects:
        raise KdlibError(f"{index} names no photograph with a segmented object; {_REMEDY}")
    return objects


def _objects_of(folder: Path, photograph: str) -> list[VocObject]:
    numbers, classes = (
        np.asarray(_read_mask(folder / kind / f"{photograph}.png"))
        for kind in ("SegmentationObject", "SegmentationClass")
    )
    if numbers.shape != classes.shape:
        raise KdlibError(f"the masks of {photograph} in {folder} are of two sizes; {_REMEDY}")
    path = folder / "Annotations" / f"{photograph}.xml"
    annotated = read_annotation(path)
    found = []
    for number in np.unique(numbers).tolist():
        if number in (0, VOID):
            continue
        inside = numbers == number
        counts = np.bincount(classes[inside], minlength=VOID + 1)
        counts[[0, VOID]] = 0
        label = int(counts.argmax()) - 1
        if not counts.any() or label >= len(CLASS_NAMES):
            raise KdlibError(f"SegmentationClass gives object {number} of {photograph} in {folder} no class; {_REMEDY}")
        rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
        box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        rivals = [one for one in annotated if one.label == label]
        best = max(rivals, key=lambda one: overlap(one.box, box), default=None)
        if best is None or overlap(best.box, box) == 0:
            raise KdlibError(
                f"{path} has no {CLASS_NAMES[label]} where SegmentationObject has object {number}; they belong to "
                f"different photographs: {_REMEDY}"
            )
        found.append(VocObject(photograph, number, label, best.box, best.difficult, best.truncated))
    return found


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes.

    >>> overlap((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return common / (sum(areas) - common)


def read_annotation(path: Path) -> list[VocObject]:
    """The annotated objects of one photograph, numbered from 1 in the order of its XML file.

    The file counts pixels from 1 and its last ones are inside; boxes here are from 0 to the end of the last pixel.
    """
    content = read_bytes(path, f"the archive is half unpacked: {_REMEDY}")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last for an encoding that nobody knows
        raise KdlibError(f"{path} is no whole XML file ({error}); {_REMEDY}") from error
    found = []
    for number, entry in enumerate(root.findall("object"), start=1):
        name = choose((entry.findtext("name") or "").strip(), CLASS_NAMES, f"class of object {number} in {path}")
        texts = [entry.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        try:
            left, top, right, bottom = (float(text or "") for text in texts)
        except ValueError:
            raise KdlibError(f"object {number} in {path} has no box of four numbers; {_REMEDY}") from None
        difficult, truncated = ((entry.findtext(flag) or "0").strip() == "1" for flag in ("difficult", "truncated"))
        box = (left - 1, top - 1, right, bottom)
        found.append(VocObject(path.stem, number, CLASS_NAMES.index(name), box, difficult, truncated))
    return found


def _read_mask(path: Path) -> Image.Image:
    mask = read_numbers(path, _REMEDY)
    if mask.mode not in ("P", "L"):
        raise KdlibError(f"{path} is a picture of mode {mask.mode}, not a palette of numbers; {_REMEDY}")
    return mask


def _labels(objects: Sequence[VocObject]) -> Tensor:
    return torch.tensor([one.label for one in objects], dtype=torch.int64)


def _image_set(folder: Path, part: str, objects: Sequence[VocObject], size: int, any_value: bool) -> ImageSet:
    images = torch.empty(len(objects), 3, size, size, dtype=torch.uint8)
    foreground = torch.empty(len(objects), size, size, dtype=torch.bool)
    classes = torch.empty(len(objects) if part == "probe" else 0, size, size, dtype=torch.uint8)
    together: dict[str, list[int]] = {}
    for index, one in enumerate(objects):
        together.setdefault(one.photograph, []).append(index)
    for photograph, indices in together.items():  # each file is decoded once
        picture = read_rgb(folder / "JPEGImages" / f"{photograph}.jpg", _REMEDY, turned=False)
        mask = _read_mask(folder / "SegmentationObject" / f"{photograph}.png")
        if mask.size != picture.size:
            raise KdlibError(f"photograph and masks of {photograph} in {folder} are of two sizes; {_REMEDY}")
        for index in indices:
            check_box(objects[index].box, picture, f"{photograph}.xml in {folder / 'Annotations'}", _REMEDY)
            images[index], numbers = cut_pair(picture, mask, objects[index].box, size)
            foreground[index] = torch.tensor(numbers > 0 if any_value else numbers == objects[index].number)
            if part == "probe":
                whole = _read_mask(folder / "SegmentationClass" / f"{photograph}.png")
                around = cut(whole, enlarge(objects[index].box, ENLARGEMENT), size, smooth=False)
                classes[index] = torch.tensor(np.where(around == VOID, 0, around))
    concepts: tuple[ConceptMap, ...] = ()
    if part == "probe":
        concepts = (ConceptMap("object", classes, (UNLABELLED, *CLASS_NAMES)), basic_colours(images))
    return ImageSet(
        name=f"voc/{part}",
        images=images,
        labels=_labels(objects),
        class_names=CLASS_NAMES,
        superclass_names=SUPERCLASS_NAMES,
        superclass_of=SUPERCLASS_OF,
        foreground=foreground,
        concepts=concepts,
    )
