"""Writing an `ImageSet` in Broden's layout, which `kdlib.data.broden` describes and reads."""

from __future__ import annotations

import csv
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kdlib.data.image_set import CATEGORIES, ImageSet
from kdlib.data.root import expanded
from kdlib.errors import KdlibError, finite_number

_LARGEST_NUMBER = 256 * 256 - 1


def export_broden(image_set: ImageSet, folder: Path | str, *, mask_scale: float = 1.0) -> Path:
    """Write images and concept maps in Broden's layout and return the folder.

    mask_scale: side of the masks relative to the images', in (0, 1]; the original's is 0.5. Masks are resized by taking
    the nearest pixel. Labels of whole images are written into index.csv as numbers, others as PNGs. Broden knows
    neither classes nor foregrounds: these are left out. Pictures are PNGs and come back exactly (grey ones as RGB).

    The folder must be new or empty. Everything is written beside it and renamed at the end: a folder of this name is
    whole. Raises `KdlibError` for images without concepts, a folder in use or a disk that refuses.
    """
    folder = expanded(folder, "folder")
    finite_number(mask_scale, "mask_scale", minimum=0, maximum=1)
    mask_size = tuple(round(side * mask_scale) for side in image_set.image_size)
    if min(mask_size) < 1:
        raise KdlibError(f"mask_scale {mask_scale} leaves no pixel of a {image_set.image_size} mask; give a larger one")
    if not image_set.concepts:
        raise KdlibError(f"'{image_set.name}' has no concept maps; Broden's layout needs at least one")
    if image_set.channels not in (1, 3):
        raise KdlibError(f"'{image_set.name}' has {image_set.channels} channels; pictures need 1 or 3")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise KdlibError(f"{folder} exists and is not an empty folder; give a new one")
    partial = folder.with_name(f".{folder.name}.partial-{uuid.uuid4().hex[:8]}")
    try:
        (partial / "images").mkdir(parents=True)
        _write(image_set, partial, (mask_size[0], mask_size[1]))
        # Onto an empty folder this succeeds; onto one that another process has filled meanwhile it fails.
        partial.replace(folder)
    except OSError as error:
        raise KdlibError(
            f"cannot write {folder} ({error}); give a folder you may write to, on a disk with room"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _numbers(image_set: ImageSet) -> dict[str, int]:
    # One number per name, even when a name occurs in several categories.
    for concept in image_set.concepts:
        twice = [name for name, count in Counter(concept.names).items() if count > 1]
        if twice:
            raise KdlibError(
                f"concept map '{concept.category}' of '{image_set.name}' names '{twice[0]}' twice; names must differ"
            )
    names = dict.fromkeys(name for concept in image_set.concepts for name in concept.names[1:])
    if len(names) > _LARGEST_NUMBER:
        raise KdlibError(f"'{image_set.name}' has {len(names)} concepts; 16-bit labels allow {_LARGEST_NUMBER}")
    return {name: number for number, name in enumerate(names, start=1)}


def _nearest(labels: Tensor, size: tuple[int, int]) -> Tensor:
    rows, columns = (
        ((torch.arange(new) * 2 + 1) * old // (2 * new)).to(labels.device)
        for new, old in zip(size, labels.shape[1:], strict=True)
    )
    return labels[:, rows][:, :, columns]


def _write(image_set: ImageSet, folder: Path, mask_size: tuple[int, int]) -> None:
    numbers = _numbers(image_set)
    maps = {concept.category: concept for concept in image_set.concepts}
    categories = [category for category in CATEGORIES if category in maps]
    index_rows: list[list[object]] = []
    digits = max(6, len(str(len(image_set))))
    frequency = {c: np.zeros(len(maps[c].names), dtype=np.int64) for c in categories}
    covered = {c: np.zeros(len(maps[c].names), dtype=np.int64) for c in categories}
    tables = {c: np.array([0, *(numbers[name] for name in maps[c].names[1:])], dtype=np.int64) for c in categories}
    whole_image = {c: maps[c].labels.stride()[1:] == (0, 0) for c in categories}
    for position in range(len(image_set)):
        stem = f"{position:0{digits}d}"
        pixels = image_set.images[position].permute(1, 2, 0).cpu().numpy()
        Image.fromarray(pixels if image_set.channels == 3 else pixels[..., 0]).save(folder / "images" / f"{stem}.png")
        row: list[object] = [f"{stem}.png", "train", *image_set.image_size, *mask_size]
        for category in categories:
            labels = (
                _nearest(maps[category].labels[position : position + 1], mask_size)[0].cpu().numpy().astype(np.int64)
            )
            counts = np.bincount(labels.ravel(), minlength=len(maps[category].names))
            frequency[category] += counts > 0
            covered[category] += counts
            coded = tables[category][labels]
            if whole_image[category]:
                row.append(int(coded[0, 0]) or "")
            elif coded.any():
                mask = np.stack([coded % 256, coded // 256, np.zeros_like(coded)], axis=-1).astype(np.uint8)
                Image.fromarray(mask).save(folder / "images" / f"{stem}_{category}.png")
                row.append(f"{stem}_{category}.png")
            else:
                row.append("")
        index_rows.append(row)
    _table(folder / "index.csv", ("image", "split", "ih", "iw", "sh", "sw", *categories), index_rows)
    area = mask_size[0] * mask_size[1]
    by_name: dict[str, dict[str, tuple[int, float]]] = {name: {} for name in numbers}
    for category in categories:
        rows = []
        for code, name in enumerate(maps[category].names[1:], start=1):
            share = (int(frequency[category][code]), float(covered[category][code] / area))
            by_name[name][category] = share
            rows.append((code, numbers[name], name, *share))
        _table(folder / f"c_{category}.csv", ("code", "number", "name", "frequency", "coverage"), rows)
    label_rows = []
    for name, shares in by_name.items():
        # The category that a label covers most comes first.
        ranked = sorted(shares.items(), key=lambda item: -item[1][1])
        cell = ";".join(f"{category}({count})" for category, (count, _) in ranked)
        total = (sum(count for count, _ in shares.values()), sum(share for _, share in shares.values()))
        label_rows.append((numbers[name], name, cell, *total, ""))
    _table(folder / "label.csv", ("number", "name", "category", "frequency", "coverage", "syns"), label_rows)
    category_rows = []
    for category in categories:
        used = [numbers[name] for name in maps[category].names[1:]]
        first, last = (min(used), max(used)) if used else (0, 0)
        category_rows.append((category, first, last, len(used), int(frequency[category][1:].sum())))
    _table(folder / "category.csv", ("name", "first", "last", "count", "frequency"), category_rows)


def _table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
