"""Where the run store lies, and the lock of each run; it loads no torch, so that `kdlib runs list` answers at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from kdlib.data.root import kept_folder
from kdlib.errors import KdlibError

INDEX = "run.json"


def store_root() -> Path:
    """`$KDLIB_RUNS`, else ~/.cache/kdlib/runs; absolute. Raises KdlibError where there is no home folder."""
    return kept_folder("runs", "KDLIB_RUNS")


@contextmanager
def locked(root: Path, key: str) -> Iterator[None]:
    """Hold the run's lock, which the system frees if this process dies."""
    lock = FileLock(root / ".locks" / f"{key}.lock")
    try:
        (root / ".locks").mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise KdlibError(unwritable(root, error)) from error
    try:
        yield
    finally:
        lock.release()


def unwritable(root: Path, error: OSError) -> str:
    reason = error.strerror or error
    return f"can't write to the run store {root} ({reason}): free space or set KDLIB_RUNS to another folder"
