"""Which photographs of a folder are train, val and test: the parts that it has, or those that are made of it.

    root/cat/*.jpg  root/dog/*.jpg                       split here, class by class, by the seed
    root/train/cat/*.jpg ... root/val/... root/test/...  the existing split is kept

Parts go by the names of `PART_NAMES`, in any case and with a word such as "set" or "images" (Training, valid,
test_set). A folder of such a name with class folders in it is a part; with pictures right in it, beside other classes,
it is a class (a train on rails). What is neither, or both, is refused, and so are two folders of one part.

A missing val is taken out of train. A missing test is taken out of train as well, unless there is a val: then that is
the test (as in ImageNet, where only val is public) and selection gets its own images out of train.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch

from kdlib.data.class_tree import (
    ARCHIVES,
    LOOSE,
    Listing,
    Visits,
    count_archives,
    count_loose,
    has_pictures,
    in_one_line,
    list_images,
    parts_or_classes,
    subfolders,
)
from kdlib.data.splitting import split_off_val, take
from kdlib.data.text_tables import at_a_glance
from kdlib.errors import KdlibError, positive_integer, shown

PARTS = ("train", "val", "test")
PART_NAMES = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validate", "dev", "devel", "development"),
    "test": ("test", "testing", "tst"),
}
_FILLERS = "set|sets|data|dataset|split|part|folder|img|imgs|image|images|photos|pictures"
_WORD = "[A-Z]?[a-z]+|[A-Z]+"  # train2017, trainA, segTrain and TRAIN_1 speak of train
VAL_SHARE, TEST_SHARE = 0.1, 0.2


def part_of(name: str) -> str | None:
    """The part that a folder of that name is by its name, if any.

    >>> [part_of(name) for name in ("Training", "VALID", "test_images", "trainset", "trains", "cat")]
    ['train', 'val', 'test', 'train', None, None]
    """
    for part, names in PART_NAMES.items():
        if re.fullmatch(rf"({'|'.join(names)})([\W_]*({_FILLERS}))*[\W_]*", name.strip().casefold()):
            return part
    return None


def find_parts(folder: Path) -> tuple[dict[str, Path], dict[str, int]]:
    """(part -> its folder, remarks on what is beside the parts); no parts where `folder` holds classes themselves.

    Raises KdlibError where that can't be decided, or where one part has two folders or train has none.
    """
    inside = parts_or_classes(folder)
    by_name = {name: part for name in inside if (part := part_of(name))}
    others = [name for name in inside if name not in by_name]
    deep = [name for name in by_name if subfolders(inside[name])]
    if not by_name or (others and not deep):
        _refuse_alike(folder, inside)
        return {}, {}
    if not deep:
        raise KdlibError(
            f"{folder} holds {' and '.join(by_name)} without class folders in them, so that no picture has a class; "
            "put one folder of images per class into each"
        )
    found: dict[str, str] = {}
    for name, part in by_name.items():
        if part in found:
            raise KdlibError(f"the folders {found[part]} and {name} of {folder} are both its {part} part; join them")
        found[part] = name
    if "train" not in found:
        raise KdlibError(f"{folder} holds a val or test folder but no train folder; add {folder / 'train'}")
    classes = set(map(at_a_glance, subfolders(inside[found["train"]])))
    loose = {
        LOOSE.format(folder.name): count_loose(folder),
        ARCHIVES.format(folder.name): count_archives(folder, inside),
    }
    remarks = {what: count for what, count in loose.items() if count}
    for name in others:
        if classes & set(map(at_a_glance, subfolders(inside[name]))) or (
            len(found) == 1 and has_pictures(inside[name], below=True)
        ):
            raise KdlibError(
                f"beside the part {found['train']} of {folder} lies {name}, which is no part by its name and would not "
                "be read; call it val or test if it is one, else put it elsewhere"
            )
        if has_pictures(inside[name], below=True):
            remarks[f"folder of pictures beside the parts, {name} (not read)"] = 1
    return {part: inside[found[part]] for part in PARTS if part in found}, remarks


def _refuse_alike(folder: Path, inside: Mapping[str, Path]) -> None:
    """Refuse classes whose names speak of parts (train2017, seg_test), and a class that holds parts (cat/train)."""
    parts = {name: {part for word in re.findall(_WORD, name) if (part := part_of(word))} for name in inside}
    alike = [name for name in inside if parts[name]]
    if len(set().union(*parts.values())) > 1 and (
        len(alike) == len(inside) or any(subfolders(inside[n]) for n in alike)
    ):
        raise KdlibError(
            f"the folders {' and '.join(alike[:5])} of {folder} are called like parts, and are none by these names; "
            "call them train, val and test if they are, else something else"
        )
    for name, place in inside.items() if len(inside) > 1 else ():
        held = [] if has_pictures(place) else [inner for inner in subfolders(place) if part_of(inner)]
        if len({part_of(inner) for inner in held}) > 1:
            raise KdlibError(
                f"the folder {name} of {folder} holds the parts {' and '.join(held)}; give {place} if they are all, "
                f"else put parts above classes, as in {folder / held[0] / name}"
            )


def split_listings(
    folder: Path,
    seed: int,
    n_train: int | None,
    n_val: int | None,
    n_test: int | None,
    val_per_class: int | None = None,
) -> dict[str, Listing]:
    """The files of train, val and test, chosen before any is decoded.

    n_train, n_val, n_test: images a part; None for all that is left, a tenth of train and a fifth of all.
    val_per_class: the most images a class where val is taken out of train and n_val is None.

    What is not read is named in one warning. Raises KdlibError for whatever is wrong with the folder, for a single
    class, and for counts beyond what is there.
    """
    visits = Visits()
    parts, remarks = find_parts(folder)
    if not parts:
        pool = list_images(folder, visits=visits)
        listed = {"train": pool}
    else:
        visits.enter(folder)
        pool = list_images(parts["train"], visits=visits)
        listed = {
            part: list_images(place, pool.class_names, visits) for part, place in parts.items() if part != "train"
        }
        listed = {"train": pool, **listed}
    if len(pool.class_names) < 2:
        raise KdlibError(
            f"{pool.folder} holds one class only, '{pool.class_names[0]}', and at least 2 are needed; "
            "give the folder that holds one folder of images per class"
        )
    for part, listing in listed.items():
        if part != "train" and (lacking := len(pool.class_names) - len(listing.labels.unique())):
            remarks[f"classes of train without a picture in {listing.folder.name}"] = lacking
    tell(folder, listed, remarks)
    if "val" not in listed and "test" not in listed:
        pool, test = _carve(pool, n_test, TEST_SHARE, seed, "n_test")
    else:
        source = listed["test" if "test" in listed else "val"]
        test = source.at(take(source.labels, n_test, seed, "n_test", str(source.folder)))
    if "val" in listed and "test" in listed:
        held_out = listed["val"]
        val = held_out.at(take(held_out.labels, n_val, seed, "n_val", str(held_out.folder)))
        train = pool.at(take(pool.labels, n_train, seed, "n_train", str(pool.folder)))
        _tell_unlearnt(train)
        return {"train": train, "val": val, "test": test}
    if n_val is None:
        most = len(pool.paths) if val_per_class is None else val_per_class * len(pool.class_names)
        n_val = min(most, max(1, round(VAL_SHARE * len(pool.paths))))
        _need_classes(pool, len(pool.paths) - n_val)
    train_indices, val_indices = split_off_val(pool.labels, n_train, n_val, seed, str(pool.folder))
    train = pool.at(train_indices)
    if n_train is None:
        _need_classes(train, len(train.paths))
    _tell_unlearnt(train)
    return {"train": train, "val": pool.at(val_indices), "test": test}


def _need_classes(listing: Listing, left: int) -> None:
    """Refuse what leaves train without pictures of two classes; left: how many train has."""
    classes = len(listing.labels.unique())
    if left < 2 or classes < 2:
        raise KdlibError(
            f"besides val and test, {listing.folder} has {max(left, 0)} pictures of {min(left, classes)} of its "
            f"{len(listing.class_names)} classes to train on, and at least 2 of different classes are needed; add some"
        )


def _tell_unlearnt(train: Listing) -> None:
    """Warn in one line of classes that no picture is left of to train on: a network can't learn them."""
    seen = set(train.labels.tolist())
    lacking = [name for label, name in enumerate(train.class_names) if label not in seen]
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        warnings.warn(
            f"no picture of {', '.join(map(shown, lacking[:3]))}{more} of {train.folder} is among the "
            f"{len(train.paths)} to train on, so that a network can't learn {'them' if len(lacking) > 1 else 'it'}; "
            "add pictures, or take more to train on",
            stacklevel=1,
        )


def tell(folder: Path, listed: Mapping[str, Listing], remarks: Mapping[str, int] | None = None) -> None:
    """Warn in one line of what was found in `folder` and isn't read as one would think."""
    together = Counter(remarks or {})
    for listing in listed.values():
        together += Counter(listing.remarks)
    if together:
        warnings.warn(f"{folder} holds {in_one_line(together)}", stacklevel=1)


def _carve(pool: Listing, count: int | None, share: float, seed: int, argument: str) -> tuple[Listing, Listing]:
    """(rest, taken): `count` files, by default `share` of them, taken out of the pool."""
    total = len(pool.paths)
    count = max(1, round(share * total)) if count is None else positive_integer(count, argument)
    if count == total:
        raise KdlibError(
            f"{argument}={count:,} leaves none of the {total:,} images of {pool.folder} to train on; give fewer"
        )
    taken = take(pool.labels, count, seed, argument, str(pool.folder))
    kept = torch.ones(total, dtype=torch.bool)
    kept[taken] = False
    return pool.at(kept.nonzero().flatten()), pool.at(taken)
