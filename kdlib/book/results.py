"""Files that take the place of earlier ones: one file, or a set of files in a folder, whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import sys
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdlib.errors import KdlibError
from kdlib.files import replace_file
from kdlib.folders import refuse_unwritable, turn

_MOST_BESIDE = 1000  # files of others in a folder that is still exchanged as a whole
_AT_CURRENT_FOLDER, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux; macOS has RENAME_SWAP, 2 too


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """The folder for the time of the block, made where it is not there; if the block fails and left it empty, it goes.

    Raises KdlibError if it can't be made or written to: a run is not worth beginning then.
    """
    refuse_unwritable(folder)
    try:
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KdlibError(f"cannot write results to {folder}: {error.strerror}; name another folder") from None
    try:
        yield
    except BaseException:  # an interruption too
        with contextlib.suppress(OSError):  # something is in it
            for place in made:
                place.rmdir()
        raise


def replace_set(folder: Path, texts: Mapping[str, str], gone: Collection[str] = ()) -> None:
    """Write several files into a folder so that, whenever this process ends, all are the old ones or all the new ones.

    texts: file name -> text. gone: names of files that the new ones make void. Whatever else is in the folder stays.

    One rename of the whole folder does it: the new one is made beside it, with the other files linked. Where that can't
    be (the folder holds the current folder or more than a thousand files of others, the folder above is not writable,
    the file system can't exchange two folders), each file is replaced by a rename of its own.
    """
    folder = folder.resolve()
    name = hashlib.sha256(folder.name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    fresh = folder.with_name(f".kdlib-{name}-{uuid.uuid4().hex[:8]}")
    with turn(folder.parent):
        for leftover in folder.parent.glob(f".kdlib-{name}-*"):  # of a process that was killed here
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            if _exchangeable(folder) and _filled(fresh, folder, texts, gone) and _exchanged(fresh, folder):
                _keep_newcomers(fresh, folder, {*texts, *gone})
                return
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        for file, text in texts.items():
            replace_file(folder / file, text)
        for file in gone:
            (folder / file).unlink(missing_ok=True)


def _exchangeable(folder: Path) -> bool:
    current = Path.cwd()
    if folder in (current, *current.parents) or folder.is_mount():
        return False
    files = 0
    for _, folders, names in os.walk(folder):
        files += len(folders) + len(names)
        if files > _MOST_BESIDE:
            return False
    return True


def _filled(fresh: Path, folder: Path, texts: Mapping[str, str], gone: Collection[str]) -> bool:
    """Make the new folder, whole; False where that is not allowed."""

    def replaced(place: str, names: list[str]) -> set[str]:
        return {*texts, *gone} & set(names) if Path(place) == folder else set()

    try:
        fresh.mkdir()
        shutil.copytree(folder, fresh, symlinks=True, ignore=replaced, copy_function=_link_or_copy, dirs_exist_ok=True)
    except (OSError, shutil.Error):
        return False
    for file, text in texts.items():
        (fresh / file).write_text(text, encoding="utf-8")
    return True


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, target)


def _exchanged(fresh: Path, folder: Path) -> bool:
    """Let the two folders change places by one system call; False where the system has none for it."""
    libc: Any = ctypes.CDLL(None) if os.name == "posix" else None
    if sys.platform == "linux" and hasattr(libc, "renameat2"):
        here = _AT_CURRENT_FOLDER
        return libc.renameat2(here, os.fsencode(fresh), here, os.fsencode(folder), _EXCHANGE) == 0
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        return libc.renamex_np(os.fsencode(fresh), os.fsencode(folder), _EXCHANGE) == 0
    return False


def _keep_newcomers(old: Path, folder: Path, replaced: Collection[str]) -> None:
    """What someone put into the old folder while the new one was being made goes into the new one."""
    for entry in old.iterdir():
        if entry.name not in replaced and not os.path.lexists(folder / entry.name):
            entry.rename(folder / entry.name)
