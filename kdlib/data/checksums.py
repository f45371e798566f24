"""Files are checked before they are used: presence, size and checksum; an error is one sentence."""

from __future__ import annotations

import hashlib
from pathlib import Path

from kdlib.errors import KdlibError


def is_there(path: Path) -> bool:
    """Whether `path` exists; a folder that hides the answer is refused in one sentence.

    >>> is_there(Path("nowhere"))
    False
    """
    try:
        return path.exists()
    except OSError as error:
        raise KdlibError(f"{path} cannot be reached ({error.strerror}); change the folder's permissions") from error


def read_verified(path: Path, *, digest: str, remedy: str, size: int | None = None, kind: str = "md5") -> bytes:
    """The bytes of `path`, after their size and checksum have been found right.

    path: the file. digest: its expected checksum in hexadecimal. kind: "md5" (what the publishers of the data sets
    give) or "sha256". size: expected bytes; a wrong size is reported as such, since it means
    an unfinished download, not damage. remedy: how to get the file, ending the sentence; a file that is wrong must be
    deleted first.

    Raises KdlibError for a missing, unreadable, half-downloaded or damaged file.

    >>> read_verified(Path("nowhere.bin"), digest="", remedy="run `kdlib data get cifar10`")
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: nowhere.bin is missing; run `kdlib data get cifar10`
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise KdlibError(f"{path} is missing; {remedy}") from None
    except OSError as error:
        raise KdlibError(f"{path} cannot be read ({error.strerror}); make it a readable file") from error
    if size is not None and len(content) != size:
        what = "a half download" if len(content) < size else "another file"
        raise KdlibError(f"{path} is {what}, {len(content):,} bytes instead of {size:,}; delete it and {remedy}")
    found = hashlib.new(kind, content, usedforsecurity=False).hexdigest()
    if found != digest:
        raise KdlibError(f"{path} is damaged ({kind} {found}, expected {digest}); delete it and {remedy}")
    return content
