"""Temporary folders with an owner: what a killed process left is removed at the next start, a live one's never.

A folder holds a file that its owner has locked. The system frees the lock when the owner dies, by whatever means, so
a folder whose lock can be had is nobody's. No list of process numbers is needed, which are given anew.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import multiprocessing.util
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdlib.errors import KdlibError, shown

try:
    import fcntl
except ImportError:  # Windows: a folder is removed by its owner alone
    fcntl = None  # type: ignore[assignment]

PREFIX = "kdlib-"
_OWNER = ".kdlib-owner"
_FRESH = f"{_OWNER}.new"
_NAME = re.compile(rf"{PREFIX}(\w+-)?[a-z0-9_]{{8}}")
_MOST_OF_A_SOCKET = 103 - len("/kdlib-mp-12345678/listener-12345678")  # bytes of the path that such a folder lies in
_SHORT = ("/tmp", "/var/tmp")  # where sockets may lie if TMPDIR is longer than that
_SURELY_OWNED = 3600  # seconds: a new folder has its owner within milliseconds


@contextmanager
def temporary_folder(kind: str = "") -> Iterator[Path]:
    """A new folder in the system's folder of temporary files, removed with its content when the block ends.

    kind: goes into its name. Before, what owners left who died is removed. Raises KdlibError if it can't be made.

    >>> with temporary_folder("example") as folder:
    ...     _ = (folder / "file").write_text("text")
    >>> folder.exists()
    False
    """
    clear_leftovers()
    try:
        folder, owner = _owned_folder(kind)
    except OSError as error:
        raise KdlibError(
            f"can't make a folder of temporary files ({error.strerror or error}); free space or set TMPDIR to another "
            "folder"
        ) from error
    try:
        yield folder
    finally:
        _give_up(folder, owner)


@functools.cache
def own_the_files_of_multiprocessing() -> None:
    """Let what this process and its processes keep in temporary files, their sockets, lie in a folder with an owner.

    Python's own folder of them would stay for ever if this process was killed. To be called before the first of them.
    Raises KdlibError where no folder has a path so short that the system takes that of a socket in it.
    """
    clear_leftovers()
    config = getattr(multiprocessing.current_process(), "_config", None)
    if config is not None and "tempdir" not in config:  # where Python looks first, and its processes after it
        place = _place_of_sockets()
        if place is None:
            raise KdlibError(
                f"no socket can be made in TMPDIR={shown(tempfile.gettempdir())}, a path of more than "
                f"{_MOST_OF_A_SOCKET} bytes; set TMPDIR to a shorter one"
            )
        folder, owner = _owned_folder("mp", place)
        config["tempdir"] = str(folder)
        multiprocessing.util.Finalize(None, _give_up, (folder, owner), exitpriority=-100)  # the last, as Python's own


def clear_leftovers() -> int:
    """Remove the folders whose owners have died; how many there were. What can't be removed stays, without an error."""
    removed = 0
    for folder in _folders():
        owner = _lock(folder / _OWNER)
        if owner is not None:
            _remove(folder)
            os.close(owner)
            removed += not folder.exists()
        elif _never_owned(folder):
            shutil.rmtree(folder, ignore_errors=True)
    return removed


def _never_owned(folder: Path) -> bool:
    """Whether its maker died before it owned it, or just before the folder itself was removed: nothing is in it."""
    with contextlib.suppress(OSError):
        names = {entry.name for entry in folder.iterdir()}
        return names <= {_FRESH} and time.time() - folder.stat().st_mtime > _SURELY_OWNED
    return False


def _folders() -> list[Path]:
    """This user's folders that have an owner, alive or not, or look as if they never got one."""
    found = []
    for place in {tempfile.gettempdir(), _place_of_sockets() or tempfile.gettempdir()}:
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False):
                        path = Path(entry.path)
                        if entry.stat(follow_symlinks=False).st_uid != os.geteuid():
                            continue
                        if (path / _OWNER).is_file() or _NAME.fullmatch(entry.name):
                            found.append(path)
    return found


def _place_of_sockets() -> str | None:
    """The folder of temporary files, or a shorter one where the path of a socket in it would be too long."""
    usual = tempfile.gettempdir()
    if fcntl is None or len(os.fsencode(usual)) <= _MOST_OF_A_SOCKET:  # Windows has no such sockets
        return usual
    return next((place for place in _SHORT if os.access(place, os.W_OK | os.X_OK)), None)


def _owned_folder(kind: str, place: str | None = None) -> tuple[Path, int | None]:
    """A new folder and the file descriptor that holds its lock; None where files can't be locked."""
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}-" if kind else PREFIX, dir=place))
    fresh = folder / _FRESH
    fresh.touch(0o600)
    owner = _lock(fresh)
    if owner is not None:
        fresh.rename(folder / _OWNER)  # locked before it has its name: nobody ever sees it without its owner
    return folder, owner


def _give_up(folder: Path, owner: int | None) -> None:
    _remove(folder)
    if owner is not None:
        os.close(owner)


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
