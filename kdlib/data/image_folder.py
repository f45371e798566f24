"""Your own photographs: a tree of image files with one folder per class, as torchvision's ImageFolder reads it.

    root/cat/*.jpg  root/dog/*.jpg                       split here, class by class, by the seed
    root/train/cat/*.jpg ... root/val/... root/test/...  the existing split is kept

Which names of parts are known, and where a missing one is taken from: `kdlib.data.folder_parts`. Which files count:
`kdlib.data.class_tree`. How they become pixels: `kdlib.data.decode`. Nothing is ever selected on test.

A file `superclasses.csv` in root, with the header `class,superclass` and one line per class, names the superclasses;
without it every class belongs to "all". `load` keeps all images in memory; `kdlib.data.folder_stream` decodes them
again in each pass and so reads folders of any size.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from kdlib.data.class_tree import Listing, existing_folder
from kdlib.data.colours import basic_colours
from kdlib.data.decode import MAX_SIDE, read_rgb, without_far_ends
from kdlib.data.folder_parts import split_listings
from kdlib.data.image_set import ImageSet
from kdlib.data.labelled_set import Splits
from kdlib.data.repeated_files import tell_repeated
from kdlib.data.splitting import take
from kdlib.data.superclasses import read_superclasses
from kdlib.errors import KdlibError, finite_number, positive_integer

_GIB = 2**30


def load(
    root: str | Path,
    seed: int = 0,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    n_probe: int | None = None,
    image_size: int | None = None,
    memory_limit: float = 4.0,
) -> Splits:
    """A folder of photographs as train, val, test and probe, decoded into memory as RGB.

    root: the tree, in either layout above. seed: which images go where; all choices keep the classes' proportions.
    n_train: all that is left by default. n_val: a tenth of train, or all of the val folder. n_test: a fifth of all,
    or all of the test folder. n_probe: the probe is the test set, with the basic colours (`kdlib.data.colours`) as its
    concepts.
    image_size: 64 by default; the short side is resized to it and the centre cut out.
    memory_limit: GiB that the decoded images may take.

    Files that are not read, and equal files in two parts, are named in a warning. Raises KdlibError for a missing or
    empty folder or class, a single class, a file that is no image, and, before any is decoded, for more images than fit
    into the limit. Example: `load("cats_vs_dogs", image_size=96, n_train=5000)`.
    """
    folder = existing_folder(root)
    size = positive_integer(64 if image_size is None else image_size, "image_size", maximum=MAX_SIDE)
    limit = finite_number(memory_limit, "memory_limit", minimum=0, exclusive=True)
    listings = split_listings(folder, seed, n_train, n_val, n_test)
    probe = take(listings["test"].labels, n_probe, seed, "n_probe", f"the test part of {folder}")
    count = sum(len(listing.paths) for listing in listings.values())
    needed = count * 3 * size * size / _GIB
    if needed > limit:
        raise KdlibError(
            f"the {count:,} images of {folder} take {needed:.2g} GiB at image_size={size}, more than "
            f"memory_limit={limit:g}; give a smaller image_size or n_train, or read them with FolderStream"
        )
    superclass_names, superclass_of = read_superclasses(folder, listings["train"].class_names)
    tell_repeated(folder, {part: listing.paths for part, listing in listings.items()})
    sets = {
        part: ImageSet(
            name=f"{folder.name}/{part}",
            images=_decode_all(listing, size),
            labels=listing.labels,
            class_names=listing.class_names,
            superclass_names=superclass_names,
            superclass_of=superclass_of,
        )
        for part, listing in listings.items()
    }
    shown = sets["test"].subset(probe, name=f"{folder.name}/probe")
    with_colours = ImageSet(**{**vars(shown), "concepts": (basic_colours(shown.images),)})
    return Splits(name=folder.name, train=sets["train"], val=sets["val"], test=sets["test"], probe=with_colours)


def centre_decoder(size: int, resize: int | None = None) -> Callable[[str], Tensor]:
    """A function from an image file to (3, size, size) uint8: short side to `resize` (or `size`), then the centre."""
    return Decoder(functools.partial(_centre_cut, size, resize or size))


def _centre_cut(size: int, resize: int) -> Callable[[Image.Image], Image.Image]:
    from kdlib.vision import torchvision

    transforms = torchvision.transforms
    shortened = functools.partial(without_far_ends, side=resize)
    return transforms.Compose([shortened, transforms.Resize(resize), transforms.CenterCrop(size)])


class Decoder:
    """From an image file to what a cut makes of the RGB picture, as (3, H, W) uint8.

    make_cut: gives the cut. It is called where images are decoded: another process must first import torchvision by
    way of `kdlib.vision`, which a pickled transform would not.
    """

    def __init__(self, make_cut: Callable[[], Callable[[Image.Image], Image.Image]]) -> None:
        self._make_cut = make_cut
        self._cut: Callable[[Image.Image], Tensor] | None = None

    def __reduce__(self) -> tuple[type[Decoder], tuple[Callable]]:
        return Decoder, (self._make_cut,)

    def __call__(self, path: str) -> Tensor:
        if self._cut is None:
            from kdlib.vision import torchvision

            self._cut = torchvision.transforms.Compose([self._make_cut(), torchvision.transforms.PILToTensor()])
        return self._cut(read_rgb(path))


def _decode_all(listing: Listing, size: int) -> Tensor:
    decode = centre_decoder(size)
    images = torch.empty(len(listing.paths), 3, size, size, dtype=torch.uint8)
    for index, path in enumerate(listing.paths):
        images[index] = decode(path)
    return images
