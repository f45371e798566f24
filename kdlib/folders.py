"""What is asked of a folder before long work: whether it can be written to, and whose turn it is."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdlib.errors import KdlibError


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
