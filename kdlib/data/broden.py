"""Broden, the densely labelled data set of network dissection: a reader of its folders.

The layout (Bau, Zhou, Khosla, Oliva and Torralba, "Network Dissection", CVPR 2017; release broden1):

    index.csv         image, split, ih, iw, sh, sw and one column per category: empty, or items separated by ";",
                      each the number of a label that covers the whole image or the name of a PNG under images/
    category.csv      name, first, last, count, frequency
    label.csv         number, name, category, frequency, coverage, syns; a number belongs to one name
    c_<category>.csv  code (dense within the category), number, name, frequency, coverage
    images/           pictures and masks; a mask pixel is R + 256 * G, the label's number, 0 = unlabelled

Several items in a cell are layers of labels, the dominant one first; a pixel has the labels of all of them. A category
with a table has a column. Frequencies count images; coverages add up the share of each image that a label covers, so
their unit is whole images.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdlib.data.broden_export import export_broden
from kdlib.data.broden_tables import primary_categories, read_category, read_table, require_columns, whole
from kdlib.data.decode import read_numbers, read_rgb
from kdlib.data.image_set import CATEGORIES, UNLABELLED, Batch, ConceptMap, ImageSet
from kdlib.data.root import expanded
from kdlib.errors import KdlibError, choose, positive_integer, sentence_of, shown

__all__ = ["BrodenFolder", "export_broden"]

_REMEDY = "copy or download the folder again"
_DIGITS = 9  # of a label's number, at most: masks hold 65,535
_SIZES = ("ih", "iw", "sh", "sw")


def _pixels(path: Path, size: tuple[int, int], what: str) -> np.ndarray:
    # Decoded by Pillow: complete or not at all. Masks count in the stored pixels, so pictures are not turned.
    if what == "mask":
        stored = read_numbers(path, _REMEDY)
        if stored.mode not in ("RGB", "RGBA"):
            raise KdlibError(f"mask {path} is a picture of mode {stored.mode}; labels need red and green channels")
        pixels = np.asarray(stored.convert("RGB"))
    else:
        pixels = np.asarray(read_rgb(path, _REMEDY, turned=False))
    if pixels.shape[:2] != size:
        found = f"{pixels.shape[0]}x{pixels.shape[1]}"
        raise KdlibError(f"the {what} {path} is {found}, but index.csv says {size[0]}x{size[1]}; copy it again")
    return pixels


class BrodenFolder:
    """A folder in Broden's layout, read image by image as it is iterated over.

    Give it where an `ImageSet` with concepts is wanted for its `batches`. `concept_names` maps a category to its names,
    [0] being "unlabelled". Broden has no classes: all images are of the class "unlabelled". No split is left out, as in
    the original.

    one_category: a label's number may be in the tables of several categories ("wood", a material and an object).
        True, as in NetDissect and NetDissect-Lite (`primary_categories_per_index`; Han et al. 2023 build on it): it is
        a concept of `primary_category[number]` alone, the category where its coverage is largest (of equal ones the
        first of `CATEGORIES`), and its pixels count there, whatever category's masks show it. The other categories
        neither name it nor have its pixels. False: it is a concept of each category that lists it, and a pixel counts
        where it is annotated.
    workers: processes of torch's DataLoader that decode batches ahead; 0 decodes in this one.

    >>> import tempfile
    >>> from kdlib.data.drawn.concept_world import draw_scenes
    >>> with tempfile.TemporaryDirectory() as home:
    ...     folder = BrodenFolder(export_broden(draw_scenes(20), Path(home) / "world"))
    ...     batch = next(folder.batches(4))
    >>> len(folder), tuple(batch.images.shape), sorted(batch.concepts)
    (20, (4, 3, 32, 32), ['color', 'material', 'object', 'part', 'scene', 'texture'])
    """

    channels = 3
    num_classes = 1
    class_names = superclass_names = (UNLABELLED,)

    def __init__(self, folder: Path | str, workers: int = 0, one_category: bool = True) -> None:
        self.workers = positive_integer(workers, "workers", minimum=0)
        self.folder = expanded(folder, "probe_folder")
        self.name = self.folder.name
        index = self.folder / "index.csv"
        self._rows = read_table(index, ("image", *_SIZES))
        if not self._rows:
            raise KdlibError(f"{index} lists no image; copy or download it again")
        repeated = len(self._rows) - len({os.path.normpath(row["image"]) for row in self._rows})
        if repeated:
            warnings.warn(f"{index} lists {repeated} images again; they count twice: delete these lines", stacklevel=2)
        self.categories = tuple(category for category in CATEGORIES if category in self._rows[0])
        if not self.categories:
            raise KdlibError(
                f"{index} has a column for none of the categories {', '.join(CATEGORIES)}; copy or download it again"
            )
        require_columns(index, self.categories)
        sizes = {tuple(whole(row[key], f"{key} of '{row['image']}'", index, 1) for key in _SIZES) for row in self._rows}
        if len(sizes) > 1:
            raise KdlibError(f"images in {index} have several sizes; a folder must have one")
        ih, iw, sh, sw = sizes.pop()
        self.image_size, self.mask_size = (ih, iw), (sh, sw)
        tables = {category: read_category(self.folder, category) for category in self.categories}
        self.primary_category = primary_categories(self.folder, tables, one_category)
        self.concept_names: dict[str, tuple[str, ...]] = {}
        # Per category, and per category whose masks may show its labels (its own first): from Broden's number to the
        # position of the name; 0 for a number that counts elsewhere, -1 for one that the masks' category does not list.
        self._codes: dict[str, dict[str, np.ndarray]] = {}
        for category, table in tables.items():
            own = [n for n in table if not one_category or self.primary_category[n] == category]
            self.concept_names[category] = (UNLABELLED, *(table[number][0] for number in own))
            code = {0: 0, **{number: position for position, number in enumerate(own, start=1)}}
            others = [
                c for c in self.categories if c != category and one_category and not code.keys().isdisjoint(tables[c])
            ]
            self._codes[category] = {}
            for source in (category, *others):
                codes = np.full(max(tables[source], default=0) + 1, -1, dtype=np.int32)
                for number in (0, *tables[source]):
                    codes[number] = code.get(number, 0)
                self._codes[category][source] = codes

    def __len__(self) -> int:
        return len(self._rows)

    def image(self, index: int) -> Tensor:
        """Picture `index` as (3, ih, iw) uint8."""
        path = self._file(self._rows[index]["image"])
        return torch.from_numpy(_pixels(path, self.image_size, "picture").copy()).permute(2, 0, 1)

    def _file(self, name: str) -> Path:
        # What index.csv names lies in the folder: it may be someone else's.
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise KdlibError(f"{self.folder / 'index.csv'} names {shown(name)}, which is not below images; {_REMEDY}")
        return self.folder / "images" / name

    def layers(self, index: int, category: str) -> list[Tensor]:
        """All layers of labels of one image: those of its cell, the dominant one first, then labels of other masks.

        Each is (sh, sw) int32 indices into `concept_names[category]`, not all 0; a label of the whole image is an
        expanded (1, 1). Other categories' masks are looked at with `one_category`, for labels that count here.
        """
        sources = self._codes[choose(category, self.categories, "category")]
        return self._layers({source: self._numbers(index, source) for source in sources}, category)

    def _numbers(self, index: int, category: str) -> list[tuple[np.ndarray, str]]:
        # The items of a cell as Broden's numbers, (1, 1) or (sh, sw), and where each is.
        found: list[tuple[np.ndarray, str]] = []
        for item in (piece.strip() for piece in self._rows[index][category].split(";")):
            if item.isdecimal():
                row = f"the row of '{self._rows[index]['image']}' in {self.folder / 'index.csv'}"
                if len(item) > _DIGITS:
                    raise KdlibError(f"{row} has a label of {len(item)} digits, '{item[:_DIGITS]}...'; {_REMEDY}")
                # 0 stands for "unlabelled" in cells of the scene column too, and is dropped.
                if int(item):
                    found.append((np.array([[int(item)]]), row))
            elif item:
                path = self._file(item)
                pixels = _pixels(path, self.mask_size, "mask")
                # Widened first: 256 * G does not fit into 8 bits.
                numbers = pixels[..., 0].astype(np.int32) + 256 * pixels[..., 1].astype(np.int32)
                found.append((numbers, f"the mask {path}"))
        return found

    def _layers(self, numbers: dict[str, list[tuple[np.ndarray, str]]], category: str) -> list[Tensor]:
        found = []
        for source, codes in self._codes[category].items():
            for values, place in numbers[source]:
                known = np.where(values < len(codes), codes[np.minimum(values, len(codes) - 1)], -1)
                if (known < 0).any():
                    raise KdlibError(
                        f"{place} has label {values[known < 0][0]}, which c_{source}.csv does not list; "
                        "take masks and tables from one copy"
                    )
                if known.any():
                    found.append(torch.from_numpy(known).expand(self.mask_size))
        return found

    def labels(self, index: int, category: str) -> Tensor:
        """(sh, sw) int32 dominant labels of one image: at each pixel that of the first layer that has one, or 0.

        A label of the whole image stays an expanded (1, 1).
        """
        return _stack([_distinct(self.layers(index, category))[:1]], self.mask_size)[0]

    def batches(self, batch_size: int = 256) -> Iterator[Batch]:
        """Consecutive images (B, 3, ih, iw) uint8 with all labels of their pixels, decoded when asked for.

        Per category (B, sh, sw) int32 if no pixel of these images has more than one label of it, else (B, L, sh, sw):
        [:, k] has the k-th label of each pixel, 0 where there are fewer. [:, 0] are those of `labels`, and none comes
        twice at a pixel. L may differ between batches.
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
        """Everything in memory, for folders that fit, with the dominant labels alone: those of `labels`.

        An `ImageSet` holds one label per pixel and category. Dissect the folder itself, not this, where it has layers.
        """
        positive_integer(len(self), "the number of images")
        batch = _Pieces(self, [range(len(self))], depth=1)[0]
        concepts = tuple(ConceptMap(c, batch.concepts[c], self.concept_names[c]) for c in self.categories)
        return ImageSet(self.name, batch.images, batch.labels, (UNLABELLED,), (UNLABELLED,), (0,), concepts=concepts)


class _Pieces(torch.utils.data.Dataset):
    """Batches of a folder, for the DataLoader; depth: how many labels of a pixel are kept, all if None."""

    def __init__(self, folder: BrodenFolder, pieces: list[range], depth: int | None = None) -> None:
        self.folder, self.pieces, self.depth = folder, pieces, depth

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, number: int) -> Batch:
        folder, chosen = self.folder, self.pieces[number]
        layers: dict[str, list[list[Tensor]]] = {category: [] for category in folder.categories}
        for index in chosen:
            numbers = {category: folder._numbers(index, category) for category in folder.categories}
            for category, images in layers.items():
                images.append(_distinct(folder._layers(numbers, category))[: self.depth])
        concepts = {category: _stack(images, folder.mask_size) for category, images in layers.items()}
        labels = torch.zeros(len(chosen), dtype=torch.int64)
        return Batch(torch.stack([folder.image(index) for index in chosen]), labels, concepts)


def _distinct(layers: list[Tensor]) -> list[Tensor]:
    # The k-th result has the k-th different label of each pixel, in the order of the layers. (1, 1) for whole images.
    found: list[Tensor] = []
    for layer in layers:
        rest = layer[:1, :1] if layer.stride() == (0, 0) else layer
        for place, above in enumerate(found):
            free = above == 0
            found[place] = torch.where(free, rest, above)
            rest = torch.where(free | (rest == above), 0, rest)
        if rest.any():
            found.append(rest)
    return found


def _stack(images: list[list[Tensor]], size: tuple[int, int]) -> Tensor:
    # (B, sh, sw) or (B, L, sh, sw); image-level labels together need the memory of one number each.
    depth = max(1, max(len(layers) for layers in images))
    whole = all(layer.shape == (1, 1) for layers in images for layer in layers)
    stacked = torch.zeros(len(images), depth, *((1, 1) if whole else size), dtype=torch.int32)
    for place, layers in enumerate(images):
        for level, layer in enumerate(layers):
            stacked[place, level] = layer
    stacked = stacked.expand(-1, -1, *size)
    return stacked[:, 0] if depth == 1 else stacked
