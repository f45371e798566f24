"""Broden, the densely labelled data set of network dissection: a reader of its folders and a writer of its format.

The layout (Bau, Zhou, Khosla, Oliva and Torralba, "Network Dissection", CVPR 2017; release broden1):

    index.csv         image, split, ih, iw, sh, sw and one column per category: empty, or items separated by ";",
                      each the number of a label that covers the whole image or the name of a PNG under images/
    category.csv      name, first, last, count, frequency
    label.csv         number, name, category, frequency, coverage, syns; a number belongs to one name
    c_<category>.csv  code (dense within the category), number, name, frequency, coverage
    images/           pictures and masks; a mask pixel is R + 256 * G, the label's number, 0 = unlabelled

Several items in a cell are layers of labels, the dominant one first. Frequencies count images; coverages add up the
share of each image that a label covers, so their unit is whole images.
"""

from __future__ import annotations

import copy
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kdlib.data.broden_export import export_broden
from kdlib.data.image_set import CATEGORIES, UNLABELLED, Batch, ConceptMap, ImageSet
from kdlib.errors import KdlibError, choose, positive_integer, sentence_of

__all__ = ["BrodenFolder", "export_broden"]

_SIZES = ("ih", "iw", "sh", "sw")


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a CSV file that must have at least these columns."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except FileNotFoundError as error:
        raise KdlibError(f"there is no {path}; give a folder in Broden's layout") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise KdlibError(f"cannot read {path} ({error}); copy or download it again") from error
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise KdlibError(f"{path} lacks the column '{missing[0]}'; is it Broden's?")
    for line, row in enumerate(rows, start=2):
        if any(row[column] is None for column in columns):
            raise KdlibError(f"line {line} of {path} has too few cells; the file may have been cut short")
    return rows


def _whole(text: str, what: str, path: Path, minimum: int = 0) -> int:
    try:
        number = int(text)
    except ValueError:
        number = minimum - 1
    if number < minimum:
        raise KdlibError(f"{what} in {path} must be a whole number of at least {minimum}, not '{text}'")
    return number


def _pixels(path: Path, mode: str, size: tuple[int, int], what: str) -> np.ndarray:
    # Decoded by Pillow: complete or not at all.
    try:
        with Image.open(path) as picture:
            if mode == "mask" and picture.mode not in ("RGB", "RGBA"):
                raise KdlibError(f"mask {path} is a picture of mode {picture.mode}; labels need red and green channels")
            pixels = np.asarray(picture.convert("RGB"))
    except FileNotFoundError as error:
        raise KdlibError(f"the {what} {path} is missing; copy or download the folder again") from error
    except KdlibError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise KdlibError(f"cannot decode the {what} {path} ({error}); copy or download it again") from error
    if pixels.shape[:2] != size:
        found = f"{pixels.shape[0]}x{pixels.shape[1]}"
        raise KdlibError(f"the {what} {path} is {found}, but index.csv says {size[0]}x{size[1]}; copy it again")
    return pixels


class BrodenFolder:
    """A folder in Broden's layout, read image by image as it is iterated over.

    Give it where an `ImageSet` with concepts is wanted for its `batches`. `concept_names` maps a category to its names,
    [0] being "unlabelled". A name may occur in several categories and is a concept of each; `primary_category` tells
    for every name the one category where it covers most, as the original's reports count it. Broden has no classes:
    all images are of the class "unlabelled". No split is left out, as in the original.

    workers: processes of torch's DataLoader that decode batches ahead; 0 decodes in this one.

    >>> import tempfile
    >>> from kdlib.data.concept_world import draw_scenes
    >>> with tempfile.TemporaryDirectory() as home:
    ...     folder = BrodenFolder(export_broden(draw_scenes(20), Path(home) / "world"))
    ...     batch = next(folder.batches(4))
    >>> len(folder), tuple(batch.images.shape), sorted(batch.concepts)
    (20, (4, 3, 32, 32), ['color', 'material', 'object', 'part', 'scene', 'texture'])
    """

    channels = 3
    num_classes = 1
    class_names = superclass_names = (UNLABELLED,)

    def __init__(self, folder: Path | str, workers: int = 0) -> None:
        self.workers = positive_integer(workers, "workers", minimum=0)
        self.folder = Path(folder)
        self.name = self.folder.name
        index = self.folder / "index.csv"
        self._rows = read_table(index, ("image", *_SIZES))
        if not self._rows:
            raise KdlibError(f"{index} lists no image; copy or download it again")
        self.categories = tuple(category for category in CATEGORIES if category in self._rows[0])
        if not self.categories:
            raise KdlibError(
                f"{index} has a column for none of the categories {', '.join(CATEGORIES)}; copy or download it again"
            )
        for row in self._rows:
            if any(row[category] is None for category in self.categories):
                raise KdlibError(
                    f"the row of '{row['image']}' in {index} has too few cells; it may have been cut short"
                )
        sizes = {
            tuple(_whole(row[key], f"{key} of '{row['image']}'", index, 1) for key in _SIZES) for row in self._rows
        }
        if len(sizes) > 1:
            raise KdlibError(f"images in {index} have several sizes; a folder must have one")
        ih, iw, sh, sw = sizes.pop()
        self.image_size, self.mask_size = (ih, iw), (sh, sw)
        self.concept_names: dict[str, tuple[str, ...]] = {}
        self.primary_category: dict[str, str] = {}
        self._codes: dict[str, np.ndarray] = {}
        best: dict[str, float] = {}
        for category in self.categories:
            self._read_category(category, best)

    def _read_category(self, category: str, best: dict[str, float]) -> None:
        path = self.folder / f"c_{category}.csv"
        names, numbers = [UNLABELLED], []
        rows = read_table(path, ("code", "number", "name", "coverage"))
        for row in sorted(rows, key=lambda row: _whole(row["code"], "code", path)):
            number = _whole(row["number"], f"number of '{row['name']}'", path)
            if number == 0:  # "unlabelled" is no concept
                continue
            names.append(row["name"])
            numbers.append(number)
            try:
                covered = float(row["coverage"])
            except ValueError as error:
                raise KdlibError(
                    f"coverage of '{row['name']}' in {path} must be a number, not '{row['coverage']}'"
                ) from error
            if covered > best.get(row["name"], -1.0):
                best[row["name"]] = covered
                self.primary_category[row["name"]] = category
        if len(set(numbers)) != len(numbers):
            raise KdlibError(f"{path} gives one number to two labels")
        # From Broden's number to the position of the name; -1 for numbers without an entry.
        codes = np.full(max(numbers, default=0) + 1, -1, dtype=np.int32)
        codes[0] = 0
        codes[numbers] = np.arange(1, len(names))
        self.concept_names[category] = tuple(names)
        self._codes[category] = codes

    def __len__(self) -> int:
        return len(self._rows)

    def image(self, index: int) -> Tensor:
        """Picture `index` as (3, ih, iw) uint8."""
        path = self.folder / "images" / self._rows[index]["image"]
        return torch.from_numpy(_pixels(path, "picture", self.image_size, "picture").copy()).permute(2, 0, 1)

    def layers(self, index: int, category: str) -> list[Tensor]:
        """All layers of labels of one image, the dominant one first; empty where the cell is.

        Each is (sh, sw) int32 indices into `concept_names[category]`; a label of the whole image is an expanded (1, 1).
        """
        cell = self._rows[index][choose(category, self.categories, "category")]
        codes, found = self._codes[category], []
        for item in (piece.strip() for piece in cell.split(";")):
            if item.isdecimal():
                # 0 stands for "unlabelled" in cells of the scene column too, and is dropped.
                if int(item):
                    source = f"the row of '{self._rows[index]['image']}' in {self.folder / 'index.csv'}"
                    found.append(self._lookup(codes, np.array([[int(item)]]), category, source).expand(self.mask_size))
            elif item:
                path = self.folder / "images" / item
                pixels = _pixels(path, "mask", self.mask_size, "mask")
                # Widened first: 256 * G does not fit into 8 bits.
                numbers = pixels[..., 0].astype(np.int32) + 256 * pixels[..., 1].astype(np.int32)
                found.append(self._lookup(codes, numbers, category, f"the mask {path}"))
        return found

    def _lookup(self, codes: np.ndarray, numbers: np.ndarray, category: str, source: str) -> Tensor:
        known = np.where(numbers < len(codes), codes[np.minimum(numbers, len(codes) - 1)], -1)
        if (known < 0).any():
            raise KdlibError(
                f"{source} has label {numbers[known < 0][0]}, which c_{category}.csv does not list; "
                "take masks and tables from one copy"
            )
        return torch.from_numpy(known)

    def labels(self, index: int, category: str) -> Tensor:
        """(sh, sw) int32 labels of one image: at each pixel that of the most dominant layer that has one, or 0.

        A label of the whole image stays an expanded (1, 1).
        """
        combined: Tensor | None = None
        for layer in self.layers(index, category):
            combined = layer if combined is None else torch.where(combined == 0, layer, combined)
            if combined.stride() == (0, 0):  # it covers everything
                break
        return torch.zeros(1, 1, dtype=torch.int32).expand(self.mask_size) if combined is None else combined

    def batches(self, batch_size: int = 256) -> Iterator[Batch]:
        """Consecutive images (B, 3, ih, iw) uint8 with masks (B, sh, sw) int32 per category, decoded when asked for.

        Where a cell has several layers, the masks are those of `labels`.
        """
        positive_integer(batch_size, "batch_size")
        pieces = [range(start, min(start + batch_size, len(self))) for start in range(0, len(self), batch_size)]
        workers = self.workers if len(pieces) > 1 else 0
        try:
            yield from torch.utils.data.DataLoader(
                _Pieces(self, pieces), batch_size=None, num_workers=workers, generator=torch.Generator()
            )
        except KdlibError as error:
            raise sentence_of(error) from None

    def subset(self, indices: Tensor) -> BrodenFolder:
        """The folder with the images at `indices` alone, in that order."""
        part = copy.copy(self)
        part._rows = [self._rows[index] for index in torch.as_tensor(indices).tolist()]
        return part

    def load(self) -> ImageSet:
        """Everything in memory, for folders that fit."""
        [batch] = self.batches(len(self))
        concepts = tuple(ConceptMap(c, batch.concepts[c], self.concept_names[c]) for c in self.categories)
        return ImageSet(self.name, batch.images, batch.labels, (UNLABELLED,), (UNLABELLED,), (0,), concepts=concepts)


class _Pieces(torch.utils.data.Dataset):
    """Batches of a folder, for the DataLoader."""

    def __init__(self, folder: BrodenFolder, pieces: list[range]) -> None:
        self.folder, self.pieces = folder, pieces

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, number: int) -> Batch:
        folder, chosen = self.folder, self.pieces[number]
        concepts = {c: _stack([folder.labels(i, c) for i in chosen]) for c in folder.categories}
        labels = torch.zeros(len(chosen), dtype=torch.int64)
        return Batch(torch.stack([folder.image(i) for i in chosen]), labels, concepts)


def _stack(maps: list[Tensor]) -> Tensor:
    # (B, sh, sw); image-level labels together need the memory of one number each.
    if all(labels.stride() == (0, 0) for labels in maps):
        return torch.stack([labels[:1, :1] for labels in maps]).expand(len(maps), *maps[0].shape)
    return torch.stack(maps)
