"""Your own photographs: a tree of image files with one folder per class, as torchvision's ImageFolder reads it.

    root/cat/*.jpg  root/dog/*.jpg                       split here, class by class, by the seed
    root/train/cat/*.jpg ... root/val/... root/test/...  the existing split is kept

In the second layout a missing val is taken out of train. A missing test is taken out of train as well, unless there is
a val: then that is the test (as in ImageNet, where only val is public) and selection gets its own images out of train.
Nothing is ever selected on test.

A file `superclasses.csv` in root, with the header `class,superclass` and one line per class, names the superclasses;
without it every class belongs to "all". `load` keeps all images in memory; `kdlib.data.folder_stream` decodes them
again in each pass and so reads folders of any size.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from kdlib.data.checksums import is_there
from kdlib.data.colours import basic_colours
from kdlib.data.image_set import ImageSet, Splits
from kdlib.data.root import absolute
from kdlib.data.splitting import split_off_val, take
from kdlib.errors import KdlibError, choose, finite_number, positive_integer

PARTS = ("train", "val", "test")
SUPERCLASS_FILE = "superclasses.csv"
VAL_SHARE, TEST_SHARE = 0.1, 0.2
_GIB = 2**30


@dataclass(frozen=True)
class Listing:
    """The image files of a class tree: paths, their class labels (N,) and the classes' names."""

    folder: Path
    paths: tuple[str, ...]
    labels: Tensor
    class_names: tuple[str, ...]

    def at(self, indices: Tensor) -> Listing:
        """The files at `indices`, in that order."""
        paths = tuple(self.paths[index] for index in indices.tolist())
        return Listing(self.folder, paths, self.labels[indices], self.class_names)


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

    Raises KdlibError for a missing or empty folder or class, for a file that is no image, and, before any is decoded,
    for more images than fit into the limit. Example: `load("cats_vs_dogs", image_size=96, n_train=5000)`.
    """
    folder = existing_folder(root)
    size = positive_integer(64 if image_size is None else image_size, "image_size")
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


def existing_folder(root: str | Path) -> Path:
    """`root` as an absolute Path, refused if it is no folder."""
    folder = absolute(root, "root")
    if not is_there(folder):
        raise KdlibError(f"there is no folder {folder}; give the folder that holds one folder of images per class")
    if not folder.is_dir():
        raise KdlibError(f"{folder} is a file; give the folder that holds one folder of images per class")
    return folder


def _entries(folder: Path) -> list[Path]:
    """What is in `folder`, by name; an unreadable one is refused."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise KdlibError(f"{folder} cannot be read ({error.strerror}); change its permissions") from error


def list_images(folder: Path, class_names: tuple[str, ...] | None = None) -> Listing:
    """The image files below `folder`, by class folder in alphabetical order, as torchvision lists them.

    class_names: the classes to number by, in this order, if not those of `folder` itself; it may lack some of them.
    """
    from kdlib.vision import torchvision

    found = [entry.name for entry in _entries(folder) if entry.is_dir() and not entry.name.startswith(".")]
    if not found:
        raise KdlibError(f"{folder} holds no class folders; give the folder that holds one folder of images per class")
    names = class_names or tuple(found)
    for name in found:
        choose(name, names, f"class folder in {folder}")
        _entries(folder / name)  # torchvision passes over a folder that cannot be read
    reader = torchvision.datasets.folder
    number_of = {name: label for label, name in enumerate(names)}
    files = reader.make_dataset(str(folder), number_of, extensions=reader.IMG_EXTENSIONS, allow_empty=True)
    labels = torch.tensor([label for _, label in files], dtype=torch.int64)
    counts = torch.bincount(labels, minlength=len(names)).tolist()
    for name in found:
        if counts[number_of[name]] == 0:
            suffixes = ", ".join(reader.IMG_EXTENSIONS)
            raise KdlibError(f"class folder {folder / name} holds no image ({suffixes}); put some in or remove it")
    return Listing(folder, tuple(path for path, _ in files), labels, names)


def read_superclasses(folder: Path, class_names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """(superclass names, superclass index of each class) from superclasses.csv, or one superclass "all" without it."""
    path = folder / SUPERCLASS_FILE
    if not path.exists():
        return ("all",), (0,) * len(class_names)
    try:
        rows = [row for row in csv.reader(path.read_text(encoding="utf-8").splitlines()) if row]
    except (OSError, UnicodeDecodeError) as error:
        raise KdlibError(f"{path} cannot be read as text ({error}); save it as UTF-8 or remove it") from error
    header = [cell.strip() for cell in rows[0]] if rows else []
    if header != ["class", "superclass"] or any(len(row) != 2 for row in rows):
        raise KdlibError(f"{path} must hold the header 'class,superclass' and two cells a line")
    owner = {name.strip(): superclass.strip() for name, superclass in rows[1:]}
    for name in owner:
        choose(name, class_names, f"class in {path}")
    missing = [name for name in class_names if name not in owner]
    if missing:
        raise KdlibError(f"{path} gives no superclass to class '{missing[0]}'; add a line for it")
    names = tuple(dict.fromkeys(owner[name] for name in class_names))
    return names, tuple(names.index(owner[name]) for name in class_names)


def split_listings(
    folder: Path, seed: int, n_train: int | None, n_val: int | None, n_test: int | None
) -> dict[str, Listing]:
    """The files of train, val and test, chosen before any is decoded."""
    _entries(folder)
    if not (folder / "train").is_dir():
        if any((folder / part).is_dir() for part in PARTS[1:]):
            raise KdlibError(f"{folder} holds a val or test folder but no train folder; add {folder / 'train'}")
        everything = list_images(folder)
        pool, test = _carve(everything, n_test, TEST_SHARE, seed, "n_test")
        held_out = None
    else:
        pool = list_images(folder / "train")
        there = [part for part in ("test", "val") if (folder / part).is_dir()]
        listed = {part: list_images(folder / part, pool.class_names) for part in there}
        if not there:
            pool, test = _carve(pool, n_test, TEST_SHARE, seed, "n_test")
        else:
            source = listed[there[0]]
            test = source.at(take(source.labels, n_test, seed, "n_test", str(source.folder)))
        held_out = listed.get("val") if "test" in there else None
    if held_out is not None:
        val = held_out.at(take(held_out.labels, n_val, seed, "n_val", str(held_out.folder)))
        train = pool.at(take(pool.labels, n_train, seed, "n_train", str(pool.folder)))
        return {"train": train, "val": val, "test": test}
    chosen = n_val if n_val is not None else max(1, round(VAL_SHARE * len(pool.paths)))
    train_indices, val_indices = split_off_val(pool.labels, n_train, chosen, seed, str(pool.folder))
    return {"train": pool.at(train_indices), "val": pool.at(val_indices), "test": test}


def _carve(pool: Listing, count: int | None, share: float, seed: int, argument: str) -> tuple[Listing, Listing]:
    """(rest, taken): `count` files, by default `share` of them, taken out of the pool."""
    total = len(pool.paths)
    count = max(1, round(share * total)) if count is None else count
    taken = take(pool.labels, count, seed, argument, str(pool.folder))
    kept = torch.ones(total, dtype=torch.bool)
    kept[taken] = False
    return pool.at(kept.nonzero().flatten()), pool.at(taken)


def centre_decoder(size: int, resize: int | None = None) -> Callable[[str], Tensor]:
    """A function from an image file to (3, size, size) uint8: short side to `resize` (or `size`), then the centre."""
    return Decoder(functools.partial(_centre_cut, size, resize or size))


def _centre_cut(size: int, resize: int) -> Callable[[Image.Image], Image.Image]:
    from kdlib.vision import torchvision

    transforms = torchvision.transforms
    return transforms.Compose([transforms.Resize(resize), transforms.CenterCrop(size)])


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
        try:
            with Image.open(path) as image:
                return self._cut(image.convert("RGB"))
        # PIL answers damage with any of these.
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            reason = "permission denied" if isinstance(error, PermissionError) else "no whole image in it"
            raise KdlibError(f"{path} cannot be decoded ({reason}); replace or remove the file") from error


def _decode_all(listing: Listing, size: int) -> Tensor:
    decode = centre_decoder(size)
    images = torch.empty(len(listing.paths), 3, size, size, dtype=torch.uint8)
    for index, path in enumerate(listing.paths):
        images[index] = decode(path)
    return images
