"""Files that take the place of earlier ones, whole or not at all; and what is asked of a folder before long work."""

from __future__ import annotations

import contextlib
import glob
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdlib.errors import KdlibError


def replace_file(path: Path, content: str | bytes) -> None:
    """Write `content` (text as UTF-8) to `path` so that a reader sees the old file or the whole new one, never a part.

    What the new file needs while it is written lies beside it and is gone afterwards, also if that fails; what a killed
    process left of such a file goes with the next one. Raises OSError where it can't be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if _is_of_the_dead(leftover.suffix[1:]):
            leftover.unlink(missing_ok=True)
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_of_the_dead(number: str) -> bool:
    """Whether a file with this number was left by a process that was killed."""
    import psutil

    return number.isdecimal() and not psutil.pid_exists(int(number))


def refuse_unwritable(folder: Path) -> None:
    """Raise KdlibError if nothing can be written to this folder, which need not be there yet; nothing is left behind.

    To be asked before work whose results would be lost.
    """
    try:
        there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        with tempfile.TemporaryFile(dir=there):
            return
    except OSError as error:
        raise KdlibError(f"cannot write results to {folder}: {error.strerror}; name another folder") from error


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """One process at a time in this folder, which is there; the system ends a turn with its process.

    On a disk without such locks all work at once.
    """
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
