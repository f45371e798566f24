"""What readers of photographs with masks share.

Checking options and files, cutting out enlarged boxes, splitting by photograph. Pictures are
read by `kdlib.data.decode`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kdlib.data import text_tables
from kdlib.data.checksums import is_there
from kdlib.data.decode import MAX_SIDE
from kdlib.data.splitting import balanced_order
from kdlib.errors import KdlibError, finite_number, positive_integer

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels; pixel k spans k to k + 1
VAL_SHARE = 0.1
ENLARGEMENT = 1.2
SIDE = 64  # of a square picture where no image_size is given
_GIB = 2**30


def checked_options(image_size: int | None, memory_limit: float) -> tuple[int, float]:
    """The side of the square pictures and the GiB that all of them may take.

    >>> checked_options(None, 4.0)
    (64, 4.0)
    """
    size = positive_integer(SIDE if image_size is None else image_size, "image_size", maximum=MAX_SIDE)
    return size, finite_number(memory_limit, "memory_limit", minimum=0, exclusive=True)


def default_val(training: int) -> int:
    """How many of the official training images are val where no n_val is given: a tenth, one at least."""
    return max(1, round(VAL_SHARE * training))


def read_lines(path: Path, remedy: str) -> list[str]:
    """The lines of a text file that are not blank; a missing file or one that is no text is refused."""
    return [line.strip() for _, line in text_tables.read_lines(path, remedy)]


def need(paths: Sequence[Path], remedy: str) -> None:
    """Refuse if one of the files or folders is not there."""
    for path in paths:
        if not is_there(path):
            raise KdlibError(f"{path} is missing; {remedy}")


def enlarge(box: Box, factor: float) -> Box:
    """The box about the same centre with sides `factor` times as long; it may leave the photograph.

    >>> enlarge((10.0, 0.0, 20.0, 40.0), 1.5)
    (7.5, -10.0, 22.5, 50.0)
    """
    left, top, right, bottom = box
    across, down = (right - left) * (factor - 1) / 2, (bottom - top) * (factor - 1) / 2
    return left - across, top - down, right + across, bottom + down


def check_box(box: Box, image: Image.Image, what: str, remedy: str) -> None:
    """Refuse a box without area, or one that leaves its photograph by more than two pixels (rounding gives one)."""
    left, top, right, bottom = box
    if not (-2 <= left < right <= image.width + 2 and -2 <= top < bottom <= image.height + 2):
        raise KdlibError(f"{what} has the box {box}, which is none in {image.width}x{image.height} pixels; {remedy}")


def cut(image: Image.Image, box: Box | None, size: int, *, smooth: bool) -> np.ndarray:
    """The pixels in `box` (None: all) stretched to size x size, zero where the box leaves the image.

    The box is rounded outwards to whole pixels; its aspect is not kept. smooth: averages (photographs); otherwise the
    nearest pixel (masks, whose values are names). Shape (size, size) or (size, size, channels), uint8.
    """
    if box is not None:
        left, top, right, bottom = box
        image = image.crop((math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)))
    method = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    return np.asarray(image.resize((size, size), method))


def cut_pair(picture: Image.Image, mask: Image.Image, box: Box | None, size: int) -> tuple[Tensor, np.ndarray]:
    """The same square of a photograph and of its mask: (3, size, size) uint8, averaged, and the nearest mask values.

    box: as annotated, checked by `check_box`; it is enlarged `ENLARGEMENT` times about its centre. None: everything.
    """
    square = None if box is None else enlarge(box, ENLARGEMENT)
    image = torch.tensor(cut(picture, square, size, smooth=True)).permute(2, 0, 1)
    return image, cut(mask, square, size, smooth=False)


def check_memory(count: int, size: int, limit: float, where: str) -> None:
    """Refuse, before any is decoded, more photographs than fit into `limit` GiB."""
    needed = count * 3 * size * size / _GIB
    if needed > limit:
        raise KdlibError(
            f"the {count:,} pictures of {where} take {needed:.2g} GiB at image_size={size}, more than "
            f"memory_limit={limit:g}; give a smaller image_size or n_train, or a larger memory_limit"
        )


def split_by_photograph(
    photographs: Sequence[str], labels: Tensor, n_train: int | None, n_val: int | None, seed: int, where: str
) -> tuple[Tensor, Tensor]:
    """Indices of (train, val) crops, none of a photograph that the other part shows too.

    photographs: the photograph of each crop. labels: (N,) its class. n_train: all that val's photographs leave by
    default. n_val: a tenth of the crops by default. Photographs are taken in an order balanced by the class of their
    first crop, val from one end, train from the other. The last photograph of either may give some of its crops only.

    >>> train, val = split_by_photograph(["a", "a", "b", "b", "c"], torch.tensor([0, 0, 1, 0, 1]), None, 1, 0, "a toy")
    >>> len(train) in (3, 4), len(val)
    (True, 1)
    """
    total = len(photographs)
    n_val = default_val(total) if n_val is None else positive_integer(n_val, "n_val")
    if n_train is not None:
        positive_integer(n_train, "n_train")
    crops: dict[str, list[int]] = {}
    for index, photograph in enumerate(photographs):
        crops.setdefault(photograph, []).append(index)
    groups = list(crops.values())
    order = balanced_order(labels[[group[0] for group in groups]], seed).tolist()
    val: list[int] = []
    used = 0
    while len(val) < n_val and used < len(order):
        val += groups[order[used]]
        used += 1
    train = [index for place in reversed(order[used:]) for index in groups[place]]
    if not train or len(val) < n_val:
        raise KdlibError(f"n_val={n_val:,} leaves none of the {total:,} crops of {where} to train on; give fewer")
    if n_train is not None and n_train > len(train):
        raise KdlibError(
            f"n_train={n_train:,} exceeds the {len(train):,} crops that n_val={n_val:,} leaves of {where}; give fewer"
        )
    return torch.tensor(train[:n_train]), torch.tensor(val[:n_val])
