"""Fashion-MNIST: real photographs of garments, 28x28 grey, ten classes (Xiao, Rasul and Vollgraf 2017, MIT licence).

A fixed, class-balanced subset of 8,000 training and 2,000 test images ships inside the package, so a real experiment
needs no network; `full=True` reads the official 60,000 + 10,000.

The background of the photographs was set to zero by the makers, so the foreground mask is exact: every non-zero
pixel. The concepts of the probe are computed from it and from the grey values, and hence exact by construction:

- object: the garment's class, on its foreground.
- part: zones of the silhouette. The "top rim" is the first two foreground pixels of each column from above (neckline,
  waistband, instep), "bottom rim" the last two (hem, sole), "left rim" and "right rim" the same in each row (sleeves,
  heel, toe). A pixel of two or more rims is a "corner". A "gap" is background with foreground to its left and to its
  right in its row (between trouser legs, under a bag's handle, between straps).
- color: the grey value of a foreground pixel in ten bands, each above its lower bound and up to its upper one. Half of
  all pixels are foreground, most of them bright; with fewer bands, some would cover too much for a unit to be
  counted as a detector.

Every concept's coverage lies between 0.00025 and 0.10 of all pixels, where an IoU of 0.05 can be reached at the
quantile 0.005 (see `kdlib.metrics.dissection.dissect`); a test holds it there.
"""

from __future__ import annotations

import io
import math
import struct
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdlib.data.checksums import is_there, read_verified
from kdlib.data.image_set import UNLABELLED, ConceptMap, ImageSet
from kdlib.data.labelled_set import Splits
from kdlib.data.root import data_root
from kdlib.data.splitting import split_off_val, take
from kdlib.errors import KdlibError, positive_integer

CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
SUPERCLASS_NAMES = ("tops", "bottoms", "footwear", "bags")
SUPERCLASS_OF = (0, 1, 0, 0, 0, 2, 0, 2, 3, 2)
PART_NAMES = (UNLABELLED, "top rim", "bottom rim", "left rim", "right rim", "corner", "gap")
GREY_NAMES = (UNLABELLED, *(f"grey {low}-{low + 10}%" for low in range(0, 100, 10)))

NATIVE_SIZE = 28
RIM_WIDTH = 2
EMBEDDED_FILE = Path(__file__).parent / "embedded" / "fashion_mnist_8000_2000.npz"
EMBEDDED_SHA256 = "f6ba45e9ea14b8ccb0b113ed930dd87b873a8b77478f0cff912ec72d8e297051"
FOLDER = Path("FashionMNIST", "raw")
# Unpacked official files: bytes and MD5.
OFFICIAL_FILES = {
    "train-images-idx3-ubyte": (47_040_016, "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
    "train-labels-idx1-ubyte": (60_008, "9018921c3c673c538a1fc5bad174d6f9"),
    "t10k-images-idx3-ubyte": (7_840_016, "8181f5470baa50b63fa0f6fddb340f0a"),
    "t10k-labels-idx1-ubyte": (10_008, "15d484375f8d13e6eb1aabb0c3f46965"),
}

Part = tuple[Tensor, Tensor]  # images (N, 28, 28) uint8, labels (N,) int64


def load(
    full: bool = False,
    root: str | Path | None = None,
    seed: int = 0,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    n_probe: int | None = None,
    image_size: int | None = None,
) -> Splits:
    """Fashion-MNIST as train, val, test and probe, all with their foreground; the probe with concepts as well.

    full: the official 60,000 + 10,000 images from root/FashionMNIST/raw (downloaded by torchvision if absent) instead
    of the embedded 8,000 + 2,000. root: the data root; None is `kdlib.data.root.data_root()`.
    seed: which images are val, and which ones a smaller n_* keeps; all choices are class-balanced.
    n_train, n_val: by default 7,000 and 1,000 (full: 55,000 and 5,000). n_test: all 2,000 (10,000).
    n_probe: the probe is the test set, never trained on, with concepts.
    image_size: 28 by default; a larger one pads with background on all sides.

    Raises KdlibError for damaged or missing files, counts beyond what there is and an image_size below 28.

    >>> splits = load(n_train=1000, n_test=500)
    >>> len(splits.train), len(splits.val), len(splits.test), splits.train.image_size
    (1000, 1000, 500, (28, 28))
    """
    size = positive_integer(NATIVE_SIZE if image_size is None else image_size, "image_size")
    if size < NATIVE_SIZE:
        raise KdlibError(f"image_size={size} is below Fashion-MNIST's own {NATIVE_SIZE}; give {NATIVE_SIZE} or more")
    if root is not None and not full:
        raise KdlibError(f"root={str(root)!r} is only read with full=True: the embedded subset needs no folder")
    training, testing = read_official(root) if full else read_embedded()
    kind = "full Fashion-MNIST" if full else "the embedded Fashion-MNIST"
    n_val = n_val if n_val is not None else (5000 if full else 1000)
    train, val = split_off_val(training[1], n_train, n_val, seed, f"the training part of {kind}")
    test = take(testing[1], n_test, seed, "n_test", f"the test part of {kind}")
    probe = take(testing[1], n_probe, seed, "n_probe", f"the test part of {kind}")
    name = "fashion_mnist_full" if full else "fashion_mnist"
    return Splits(
        name=name,
        train=_image_set(f"{name}/train", training, train, size),
        val=_image_set(f"{name}/val", training, val, size),
        test=_image_set(f"{name}/test", testing, test, size),
        probe=_image_set(f"{name}/probe", testing, probe, size, with_concepts=True),
    )


def read_embedded() -> tuple[Part, Part]:
    """The (training, test) images and labels that ship with kdlib, checked against their SHA-256."""
    content = read_verified(
        EMBEDDED_FILE, digest=EMBEDDED_SHA256, kind="sha256", remedy="reinstall kdlib to get the file back"
    )
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        parts = [
            (torch.from_numpy(arrays[f"{part}_images"]), torch.from_numpy(arrays[f"{part}_labels"]).long())
            for part in ("train", "test")
        ]
    return parts[0], parts[1]


def read_official(root: str | Path | None = None) -> tuple[Part, Part]:
    """The official (training, test) images and labels, verified; files that are absent are downloaded first."""
    folder = download(root) / FOLDER
    arrays = []
    for name, (size, md5) in OFFICIAL_FILES.items():
        remedy = "run `kdlib data get fashion_mnist`"
        content = read_verified(folder / name, size=size, digest=md5, remedy=remedy)
        arrays.append(torch.from_numpy(_read_idx(content, folder / name)))
    return (arrays[0], arrays[1].long()), (arrays[2], arrays[3].long())


def _read_idx(content: bytes, path: Path) -> np.ndarray:
    """The uint8 array of an idx file: bytes 0, 0, 8 and the number of dimensions, the dimensions in 4 bytes each."""
    dimensions = content[3] if content[:3] == b"\0\0\x08" else 0
    start = 4 + 4 * dimensions
    shape = struct.unpack(f">{dimensions}I", content[4:start]) if len(content) >= start else ()
    if not dimensions or len(content) - start != math.prod(shape):
        raise KdlibError(f"{path} is no idx file of bytes; delete it and run `kdlib data get fashion_mnist`")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def is_present(root: str | Path | None = None) -> bool:
    """Whether the files of the full set are in `root` (by name: reading verifies them)."""
    folder = data_root(root) / FOLDER
    return all(is_there(folder / name) for name in OFFICIAL_FILES)


def download(root: str | Path | None = None) -> Path:
    """Fetch the full set through torchvision unless its files are there; returns the data root."""
    place = data_root(root)
    if root is not None and not is_there(place):
        raise KdlibError(f"there is no folder {place}; give an existing one as root, or none for the data root")
    if is_present(place):
        return place
    from kdlib.vision import torchvision

    try:
        torchvision.datasets.FashionMNIST(place, download=True)
    except (OSError, RuntimeError, HTTPException) as error:
        for folder in (place / FOLDER, (place / FOLDER).parent):
            with suppress(OSError):  # removes what torchvision made and left empty, nothing else
                folder.rmdir()
        reason = " ".join(str(error).split())
        raise KdlibError(
            f"Fashion-MNIST could not be downloaded ({reason}); put the unpacked files {', '.join(OFFICIAL_FILES)} "
            f"into {place / FOLDER}, or use the embedded subset (full=False)"
        ) from error
    return place


def _image_set(name: str, part: Part, indices: Tensor, size: int, with_concepts: bool = False) -> ImageSet:
    before = (size - NATIVE_SIZE) // 2
    after = size - NATIVE_SIZE - before
    images, labels = F.pad(part[0][indices], (before, after, before, after)), part[1][indices]
    foreground = images > 0
    return ImageSet(
        name=name,
        images=images[:, None],
        labels=labels,
        class_names=CLASS_NAMES,
        superclass_names=SUPERCLASS_NAMES,
        superclass_of=SUPERCLASS_OF,
        foreground=foreground,
        concepts=_concepts(images, labels) if with_concepts else (),
    )


def _concepts(images: Tensor, labels: Tensor) -> tuple[ConceptMap, ...]:
    foreground = images > 0
    objects = foreground * (labels + 1).to(torch.uint8)[:, None, None]
    # ceil(10 v / 255): band 1 is above 0 up to 10 % of full brightness, band 10 above 90 up to 100 %.
    greys = ((images.int() * 10 + 254) // 255).to(torch.uint8)
    return (
        ConceptMap("object", objects, (UNLABELLED, *(name.lower() for name in CLASS_NAMES))),
        ConceptMap("part", silhouette_parts(foreground), PART_NAMES),
        ConceptMap("color", greys, GREY_NAMES),
    )


def silhouette_parts(foreground: Tensor) -> Tensor:
    """Zones of silhouettes, indices into `PART_NAMES`; foreground (N, H, W) bool, result (N, H, W) uint8.

    >>> trousers = torch.tensor([[[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 1, 1, 1]]]).bool()
    >>> [PART_NAMES[i] for i in silhouette_parts(trousers)[0, 1, 2:5]]
    ['corner', 'gap', 'corner']
    """
    rims = [_first_pixels(foreground, dimension, from_end) for dimension in (1, 2) for from_end in (False, True)]
    claims = torch.stack(rims).sum(0)
    zones = torch.zeros_like(foreground, dtype=torch.uint8)
    for index, rim in enumerate(rims, start=1):
        zones[rim] = index
    zones[claims > 1] = PART_NAMES.index("corner")
    left = foreground.cumsum(2) > 0
    right = foreground.flip(2).cumsum(2).flip(2) > 0
    zones[left & right & ~foreground] = PART_NAMES.index("gap")
    return zones


def _first_pixels(foreground: Tensor, dimension: int, from_end: bool) -> Tensor:
    """The first `RIM_WIDTH` foreground pixels along a dimension, counted from its start or its end."""
    line = foreground.flip(dimension) if from_end else foreground
    first = line & (line.cumsum(dimension) <= RIM_WIDTH)
    return first.flip(dimension) if from_end else first
