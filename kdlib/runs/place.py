"""Where the run store lies, and the lock of each run; it loads no torch, so that `kdlib runs list` answers at once."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kdlib.data.root import kept_folder
from kdlib.errors import KdlibError

INDEX = "run.json"


def store_root() -> Path:
    """`$KDLIB_RUNS`, else ~/.cache/kdlib/runs; absolute. Raises KdlibError where there is no home folder."""
    return kept_folder("runs", "KDLIB_RUNS")


@contextmanager
def locked(root: Path, key: str, patience: float = -1) -> Iterator[None]:
    """Hold the run's lock, which the system frees if this process dies.

    patience: seconds to wait for another process that holds it, then KdlibError; by default as long as it takes.
    """
    try:
        lock = _lock(root, key)
        lock.acquire(timeout=patience)
    except Timeout as error:
        raise KdlibError(f"another process is at work on {key}, such as training it; end it or wait for it") from error
    except OSError as error:
        raise KdlibError(unwritable(root, error)) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def locked_if_free(root: Path, key: str) -> Iterator[bool]:
    """Hold the run's lock if that takes no waiting; False if it is taken, or if the store can't be written to."""
    try:
        lock = _lock(root, key)
        lock.acquire(timeout=0)
    except OSError:  # filelock's Timeout is one too
        lock = None
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


def _lock(root: Path, key: str) -> FileLock:
    (root / ".locks").mkdir(parents=True, exist_ok=True)
    return FileLock(root / ".locks" / f"{key}.lock")


def read_file(path: Path) -> bytes:
    """The content of a file of the store. OSError also where something else stands: a pipe would be read for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no file", str(path))
    return path.read_bytes()


def write_file(path: Path, content: bytes) -> None:
    """Write a file of the store, whose lock is held, whole or not at all; OSError if that can't be.

    Others may read it as they may read any new file: a temporary one of Python's own would be closed to them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".tmp-{path.stem}-", dir=path.parent))
    try:
        with (beside / path.name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        (beside / path.name).replace(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)  # what stays is cleared by the next `sweep`


def unwritable(root: Path, error: OSError) -> str:
    return f"can't write to the run store {root} ({reason(error)}): free space or set KDLIB_RUNS to another folder"


def unreadable(root: Path, error: OSError) -> str:
    return f"can't read the run store {root} ({reason(error)}): allow reading it or set KDLIB_RUNS to another folder"


def reason(error: BaseException) -> str:
    """What the system says of an error, without number and path.

    >>> reason(PermissionError(13, "Permission denied", "a/file")), reason(MemoryError())
    ('Permission denied', 'MemoryError')
    """
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
