"""Which picture files lie in a tree of class folders, and which files there are not read.

    folder/cat/*.jpg  folder/cat/more/*.png  folder/dog/*.jpg

- A class has the pictures in its folder and in the sub-folders of that; sub-folders are named in a warning.
- Hidden files and folders, and those that systems put beside pictures (`FOREIGN`), are never looked at: they hold
  copies.
- A class folder may be a link. Inside a class, links to folders are passed over, and a folder that is reached twice is
  refused: else pictures would count twice, in a loop without end.
- Names of classes are compared in Unicode's form C: macOS and Linux write accents differently.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import torch
from torch import Tensor

from kdlib.data.checksums import is_there
from kdlib.data.decode import SUFFIXES
from kdlib.data.root import absolute
from kdlib.data.text_tables import at_a_glance, is_plain_text, same_form
from kdlib.errors import KdlibError, choose

FOREIGN = (
    "__macosx", "@eadir", "@tmp", "@__thumb", "@recycle", "@recently-snapshot", "@sharebin", "@sharesnap",
    "@synoresource", "#recycle", "#snapshot", "~snapshot", "$recycle.bin", "found.000", "system volume information",
    "network trash folder", "temporary items", "thevolumesettingsfolder", "ipod photo cache", "_vti_cnf", "lost+found",
    "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini",
)  # fmt: skip
LOOSE = "pictures right in {}, of no class (not read)"
ARCHIVES = "archives right in {} (not unpacked and not read)"
_PACKED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_GIVE = "give the folder that holds one folder of images per class"
_NESTED, _LINKS = "pictures in sub-folders (read as their class's)", "links to folders inside a class (not followed)"


@dataclass(frozen=True)
class Listing:
    """The image files of a class tree: paths, their class labels (N,) and the classes' names.

    remarks: what a reader must know of the rest, as phrases with their counts.
    """

    folder: Path
    paths: tuple[str, ...]
    labels: Tensor
    class_names: tuple[str, ...]
    remarks: Mapping[str, int] = field(default_factory=dict)

    def at(self, indices: Tensor) -> Listing:
        """The files at `indices`, in that order, without the remarks."""
        paths = tuple(self.paths[index] for index in indices.tolist())
        return Listing(self.folder, paths, self.labels[indices], self.class_names)


class Visits:
    """The folders that were read so far; each may be read once."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], Path] = {}

    def enter(self, folder: Path) -> None:
        """Note that `folder` is read now; refuse if it was read before, under whatever name."""
        try:
            found = folder.stat()
        except OSError as error:
            raise _unreadable(folder, error) from error
        before = self._seen.setdefault((found.st_dev, found.st_ino), folder)
        if before is not folder:
            raise KdlibError(
                f"{folder} is the same folder as {before}, by a link; remove the link, or its pictures count twice"
            )


def existing_folder(root: str | Path) -> Path:
    """`root` as an absolute Path, refused if it is no folder."""
    folder = absolute(root, "root")
    if not is_there(folder):
        raise KdlibError(f"there is no folder {folder}; {_GIVE}")
    if not folder.is_dir():
        raise KdlibError(f"{folder} is a file; {_GIVE}")
    return folder


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in `folder` by name, without what is hidden or foreign; an unreadable one is refused."""
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if is_visible(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from error


def is_visible(name: str) -> bool:
    """Whether a file or folder of that name may hold pictures.

    >>> is_visible("cat"), is_visible(".ipynb_checkpoints"), is_visible("._cat.png"), is_visible("@eaDir")
    (True, False, False, False)
    """
    return not name.startswith(".") and name.casefold() not in FOREIGN


def is_picture(name: str) -> bool:
    """Whether a file of that name counts as a picture.

    >>> is_picture("cat.JPG"), is_picture("cat.heic")
    (True, False)
    """
    return PurePath(name).suffix.lower() in SUFFIXES


def subfolders(folder: Path) -> dict[str, Path]:
    """Name -> path of the visible folders in `folder`; links to folders count."""
    return {entry.name: folder / entry.name for entry in entries(folder) if _is_folder(entry)}


def parts_or_classes(folder: Path) -> dict[str, Path]:
    """`subfolders` of a folder of parts or classes.

    A link to nothing is refused, for a class may be missing, and a link to what holds the folder is, never walked.
    """
    for entry in entries(folder):
        if entry.is_symlink() and not is_there(folder / entry.name):
            raise KdlibError(f"{entry.path} is a link to nothing; mend or remove it")
    found = subfolders(folder)
    for place in found.values():
        if place.is_symlink() and folder.resolve().is_relative_to(place.resolve()):
            raise KdlibError(f"{place} is a link to {place.resolve()}, which holds it; remove the link")
    return found


def count_archives(folder: Path, found: Iterable[str]) -> int:
    """How many archives lie in `folder` that were not unpacked: none of the folders `found` there is called so."""
    names = [PurePath(entry.name) for entry in entries(folder)]
    return sum(name.suffix.lower() in _PACKED and name.name.partition(".")[0] not in found for name in names)


def count_loose(folder: Path) -> int:
    """How many pictures lie right in `folder`."""
    return sum(is_picture(entry.name) and not _is_folder(entry) for entry in entries(folder))


def has_pictures(folder: Path, *, below: bool = False) -> bool:
    """Whether pictures lie right in `folder`; below: or at any depth of it (links to folders are not followed)."""
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as found:  # not `entries`: of a large class one entry is enough
                for entry in filter(lambda entry: is_visible(entry.name), found):
                    if _is_folder(entry):
                        waiting += [place / entry.name] if below and not entry.is_symlink() else []
                    elif is_picture(entry.name):
                        return True
        except OSError as error:
            raise _unreadable(place, error) from error
    return False


def list_images(folder: Path, class_names: tuple[str, ...] | None = None, visits: Visits | None = None) -> Listing:
    """The image files below `folder`, by class folder in alphabetical order, as torchvision lists them.

    class_names: the classes to number by, in this order, if not those of `folder` itself; it may lack some of them.
    visits: the folders that were read before, where several trees must have nothing in common.

    Raises KdlibError for a folder that can't be read, holds no classes, an empty class or one that `class_names` lacks,
    for classes that look like parts (`_refuse_parts`), and for what is called a picture and is no file.
    """
    visits = visits or Visits()
    visits.enter(folder)
    found = _class_folders(folder)
    names = class_names or tuple(found)
    number_of = {same_form(name): label for label, name in enumerate(names)}
    for name in found:
        choose(name, tuple(number_of), f"class folder in {folder}")
    _refuse_parts(folder, found)
    paths: list[str] = []
    labels: list[int] = []
    remarks: Counter[str] = Counter()
    remarks[LOOSE.format(folder.name)] = count_loose(folder)
    remarks[ARCHIVES.format(folder.name)] = count_archives(folder, found)
    alike = Counter(map(at_a_glance, found))
    remarks["classes whose names differ in case or spaces alone (each is its own)"] = sum(
        count for count in alike.values() if count > 1
    )
    for name, place in found.items():
        pictures, rest = _pictures_of(place, visits)
        if not pictures:
            held = f" but {in_one_line(rest)}" if rest else ""
            raise KdlibError(
                f"class folder {place} holds no image ({', '.join(SUFFIXES)}){held}; put some in or remove it"
            )
        paths += pictures
        labels += [number_of[name]] * len(pictures)
        remarks += rest
    return Listing(folder, tuple(paths), torch.tensor(labels, dtype=torch.int64), names, +remarks)


def in_one_line(remarks: Mapping[str, int]) -> str:
    """Remarks with their counts, the largest first and eight at most.

    >>> in_one_line({"links to folders inside a class (not followed)": 1, ".heic files (not read)": 12})
    '12 .heic files (not read); 1 links to folders inside a class (not followed)'
    """
    first = sorted(remarks.items(), key=lambda item: -item[1])
    shown = [f"{count:,} {what}" for what, count in first[:8]]
    return "; ".join([*shown, f"and {len(first) - 8} kinds more"] if len(first) > 8 else shown)


def _class_folders(folder: Path) -> dict[str, Path]:
    """Class name in form C -> its folder, by name."""
    found: dict[str, Path] = {}
    for name, place in parts_or_classes(folder).items():
        if not is_plain_text(name):
            raise KdlibError(f"the name of class folder {name!a} in {folder} is no plain text; rename it")
        if same_form(name) in found:
            raise KdlibError(
                f"{folder} holds two folders called '{same_form(name)}' (accents or spaces written differently); "
                "join them"
            )
        found[same_form(name)] = place
    if not found:
        pictures = " but pictures" if has_pictures(folder) else ""
        raise KdlibError(f"{folder} holds no class folders{pictures}; {_GIVE}")
    return dict(sorted(found.items()))


def _refuse_parts(folder: Path, found: Mapping[str, Path]) -> None:
    """Refuse class folders that hold no picture themselves but class folders: a level too high, or unknown parts."""
    bare = {name: place for name, place in found.items() if not has_pictures(place)}
    inside = {name: _glanced(place) for name, place in bare.items()}
    if len(found) == 1 and any(inside.values()):
        [(name, inner)] = inside.items()
        raise KdlibError(
            f"{folder} holds one class folder only, '{name}', and that holds no picture but the folders "
            f"{_some(sorted(inner.values()))}; give {folder / name}"
        )
    inside = {name: _below_wrappers(place, inside[name]) for name, place in bare.items()}
    several = [(name, inner) for name, inner in inside.items() if len(inner) > 1]
    for place, (name, inner) in enumerate(several):
        for other, others in several[:place]:
            common = sorted(name for look, name in inner.items() if look in others)
            if len(common) > 1:
                raise KdlibError(
                    f"the folders {other} and {name} in {folder} hold no picture but the same folders, "
                    f"{_some(common)}; if they are parts, call them train, val and test, and if they "
                    "are classes, put their pictures right into them"
                )


def _below_wrappers(place: Path, inner: dict[str, str]) -> dict[str, str]:
    """The folders in `place`, or below the one folder that it holds and so on (seg_train/seg_train/cat)."""
    while len(inner) == 1:
        place = place / next(iter(inner.values()))
        inner = {} if place.is_symlink() or has_pictures(place) else _glanced(place)
    return inner


def _glanced(folder: Path) -> dict[str, str]:
    """The names of the folders in `folder` by how they look: cat and Cat are one class of two parts."""
    return {at_a_glance(name): name for name in subfolders(folder)}


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _pictures_of(place: Path, visits: Visits) -> tuple[list[str], Counter[str]]:
    """The pictures at and below a class folder, in torchvision's order, and what else is there."""
    waiting, found, rest = [place], {}, Counter[str]()
    while waiting:
        folder = waiting.pop()
        visits.enter(folder)
        pictures = []
        for entry in entries(folder):
            if _is_folder(entry):
                if entry.is_symlink():
                    rest[_LINKS] += 1
                else:
                    waiting.append(folder / entry.name)
            elif is_picture(entry.name):
                _refuse_no_file(entry)
                pictures.append(entry.path)
            else:
                suffix = PurePath(entry.name).suffix.lower()
                rest[f"{suffix or 'other'} files (not read)"] += 1
        found[str(folder)] = pictures
    rest[_NESTED] += sum(map(len, found.values())) - len(found[str(place)])
    return [path for folder_name in sorted(found) for path in found[folder_name]], +rest


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        raise _unreadable(Path(entry.path), error) from error


def _refuse_no_file(entry: os.DirEntry[str]) -> None:
    try:
        if entry.is_file():
            return
    except OSError as error:
        raise _unreadable(Path(entry.path), error) from error
    what = "a pipe or device, not a file" if Path(entry.path).exists() else "a link to nothing"
    raise KdlibError(f"{entry.path} is {what}; remove it")


def _unreadable(path: Path, error: OSError) -> KdlibError:
    remedy = "change its permissions" if error.errno in (errno.EACCES, errno.EPERM) else "mend or remove it"
    return KdlibError(f"{path} cannot be read ({error.strerror}); {remedy}")
