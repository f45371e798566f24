"""Temporary folders with an owner: what a killed process left is removed at the next start, a live one's never.

A folder holds a file that its owner has locked. The system frees the lock when the owner dies, by whatever means, so
a folder whose lock can be had is nobody's. No list of process numbers is needed, which are given anew.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: a folder is removed by its owner alone
    fcntl = None  # type: ignore[assignment]

PREFIX = "kdlib-"
_OWNER = ".kdlib-owner"


@contextmanager
def temporary_folder(kind: str = "") -> Iterator[Path]:
    """A new folder in the system's folder of temporary files, removed with its content when the block ends.

    kind: goes into its name. Before, what owners left who died is removed.

    >>> with temporary_folder("example") as folder:
    ...     _ = (folder / "file").write_text("text")
    >>> folder.exists()
    False
    """
    clear_leftovers()
    folder, owner = _owned_folder(kind)
    try:
        yield folder
    finally:
        _remove(folder)
        if owner is not None:
            os.close(owner)


def clear_leftovers() -> int:
    """Remove the folders whose owners have died; how many there were. What can't be removed stays, without an error."""
    removed = 0
    for folder in _folders():
        owner = _lock(folder / _OWNER)
        if owner is not None:
            _remove(folder)
            os.close(owner)
            removed += not folder.exists()
    return removed


def _folders() -> list[Path]:
    """This user's folders that have an owner, alive or not."""
    found = []
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False):
                    path = Path(entry.path)
                    if entry.stat(follow_symlinks=False).st_uid == os.geteuid() and (path / _OWNER).is_file():
                        found.append(path)
    return found


def _owned_folder(kind: str) -> tuple[Path, int | None]:
    """A new folder and the file descriptor that holds its lock; None where files can't be locked."""
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}-" if kind else PREFIX))
    fresh = folder / f"{_OWNER}.new"
    fresh.touch(0o600)
    owner = _lock(fresh)
    if owner is not None:
        fresh.rename(folder / _OWNER)  # locked before it has its name: nobody ever sees it without its owner
    return folder, owner


def _lock(path: Path) -> int | None:
    """The descriptor that holds the file's lock as long as it is open; None if someone else does, or nobody can."""
    if fcntl is None:
        return None
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)  # not inherited by other programs
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError:
            os.close(descriptor)
    return None


def _remove(folder: Path) -> None:
    """Remove the folder; while anything stays in it, the owner's file does, so that the next start tries again."""
    for entry in _content(folder):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                entry.unlink()
    if not _content(folder):
        shutil.rmtree(folder, ignore_errors=True)


def _content(folder: Path) -> list[Path]:
    """What lies in the folder besides the owner's file."""
    with contextlib.suppress(OSError):
        return [entry for entry in folder.iterdir() if entry.name != _OWNER]
    return []
