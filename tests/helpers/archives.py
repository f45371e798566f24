"""Tiny folders in the layout of PASCAL VOC 2012 and CUB-200-2011, written as real JPEG, palette PNG and XML files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

VOC_CLASSES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]  # fmt: skip
VOID = 255


@dataclass(frozen=True)
class Thing:
    """An object to plant: its class and its rectangle (left, top, right, bottom), right and bottom outside."""

    name: str
    box: tuple[int, int, int, int]
    difficult: bool = False
    truncated: bool = False
    masked: bool = True


def save_palette(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels.astype(np.uint8), mode="P")
    image.putpalette([(37 * value) % 256 for value in range(768)])
    image.save(path)


def save_jpeg(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=100, subsampling=0)


def annotation(name: str, size: tuple[int, int], things: Sequence[Thing]) -> str:
    """The XML file of one photograph; pixels are counted from 1 and the last ones are inside."""
    objects = "".join(
        f"<object><name>{thing.name}</name><pose>Left</pose><truncated>{thing.truncated:d}</truncated>"
        f"<difficult>{thing.difficult:d}</difficult><bndbox><xmin>{thing.box[0] + 1}</xmin>"
        f"<ymin>{thing.box[1] + 1}</ymin><xmax>{thing.box[2]}</xmax><ymax>{thing.box[3]}.0</ymax></bndbox></object>"
        for thing in things
    )
    return (
        f"<annotation><folder>VOC2012</folder><filename>{name}.jpg</filename><size><width>{size[0]}</width>"
        f"<height>{size[1]}</height><depth>3</depth></size><segmented>1</segmented>{objects}</annotation>"
    )


def plant_voc_photograph(folder: Path, name: str, things: Sequence[Thing], size: tuple[int, int] = (60, 40)) -> None:
    """A photograph of bright rectangles with a ring of void one pixel wide around each; a difficult one is all void."""
    width, height = size
    picture = np.full((height, width, 3), 40)
    numbers, classes = (np.zeros((height, width), np.uint8) for _ in range(2))
    for number, thing in enumerate(things, start=1):
        left, top, right, bottom = thing.box
        picture[top:bottom, left:right] = (200, 20 * number, 10 * VOC_CLASSES.index(thing.name))
        if thing.masked:
            for mask, value in ((numbers, number), (classes, VOC_CLASSES.index(thing.name) + 1)):
                mask[top:bottom, left:right] = VOID
                mask[top + 1 : bottom - 1, left + 1 : right - 1] = VOID if thing.difficult else value
    save_jpeg(folder / "JPEGImages" / f"{name}.jpg", picture)
    save_palette(folder / "SegmentationObject" / f"{name}.png", numbers)
    save_palette(folder / "SegmentationClass" / f"{name}.png", classes)
    path = folder / "Annotations" / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(annotation(name, size, things))


def list_voc_part(folder: Path, part: str, names: Sequence[str]) -> None:
    path = folder / "ImageSets" / "Segmentation" / f"{part}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))


def plant_voc(root: Path, train: int = 10, val: int = 6) -> Path:
    """So many photographs in train and val, each with a bird and a car in other places; returns the VOC2012 folder."""
    folder = root / "VOCdevkit" / "VOC2012"
    for part, count, year in (("train", train, 2007), ("val", val, 2008)):
        names = [f"{year}_{number:06}" for number in range(count)]
        for shift, name in enumerate(names):
            bird = Thing("bird", (5 + shift, 10, 25 + shift, 30))
            plant_voc_photograph(folder, name, [bird, Thing("car", (40, 5 + shift, 58, 17 + shift))])
        list_voc_part(folder, part, names)
    return folder


def plant_cub(
    root: Path, classes: Sequence[str] = ("001.Black_footed_Albatross", "002.Laysan_Albatross"), per_class: int = 8
) -> Path:
    """Photographs of a bright rectangle with its votes, half of them for training; returns the CUB_200_2011 folder."""
    folder, masks = root / "CUB_200_2011", root / "segmentations"
    lines: dict[str, list[str]] = {
        name: [] for name in ("images", "image_class_labels", "train_test_split", "bounding_boxes")
    }
    number = 0
    for class_number, class_folder in enumerate(classes, start=1):
        for index in range(per_class):
            number += 1
            name = f"{class_folder}/{class_folder.partition('.')[2]}_{index:04}_{number}"
            left, top = 4 + index, 6
            picture = np.full((30, 50, 3), 60)
            picture[top : top + 12, left : left + 20] = (220, 30 * class_number, 5 * index)
            save_jpeg(folder / "images" / f"{name}.jpg", picture)
            votes = np.zeros((30, 50), np.uint8)
            votes[top : top + 12, left : left + 20] = 51
            votes[top + 2 : top + 10, left + 2 : left + 18] = 255
            path = masks / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(votes).save(path)
            lines["images"].append(f"{number} {name}.jpg")
            lines["image_class_labels"].append(f"{number} {class_number}")
            lines["train_test_split"].append(f"{number} {index % 2}")
            lines["bounding_boxes"].append(f"{number} {left}.0 {top}.0 20.0 12.0")
    for name, content in lines.items():
        (folder / f"{name}.txt").write_text("\n".join(content) + "\n")
    return folder
