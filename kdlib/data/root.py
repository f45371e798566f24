"""Where folders lie that a user names, and where data sets and trained networks are if none is named."""

from __future__ import annotations

import os
from pathlib import Path

from kdlib.errors import KdlibError, shown


def data_root(root: str | Path | None = None) -> Path:
    """The folder of downloaded data sets: `root` if given, else `$KDLIB_DATA`, else ~/.cache/kdlib/data."""
    return expanded(root, "root") if root else kept_folder("data", "KDLIB_DATA")


def kept_folder(part: str, variable: str) -> Path:
    """The folder that the environment's `variable` names, else ~/.cache/kdlib/PART; absolute.

    Raises KdlibError that names the variable where there is no home folder to take.
    """
    named = os.environ.get(variable)
    if named:
        return absolute(named, variable)
    try:
        home = Path.home()
    except RuntimeError:  # neither HOME nor the system's list of users names one
        home = Path()
    if not home.is_absolute():
        raise KdlibError(
            f"this user has no home folder in which kdlib could keep its {part}; set {variable} to a folder, or HOME"
        )
    return home / ".cache" / "kdlib" / part


def expanded(path: str | Path, name: str) -> Path:
    """The path with `~` and `~user` as the home folder; name: what gave it, for messages.

    >>> expanded("~no_such_user/photos", "data_folder")
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: data_folder='~no_such_user/photos': there is no such home folder; write the path without ~
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(text := os.fspath(path), str):
        raise KdlibError(f"{name} must be a path, not {shown(path)}")
    if not text:
        raise KdlibError(f"{name} is empty; name a folder, the current one as '.'")
    if "\0" in text:
        raise KdlibError(f"{name}={shown(text)} holds a zero byte, which no path has; name another folder")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        if os.path.lexists(text):  # its own name begins so
            return Path(text)
        remedy = f"set {name} to a path without ~" if name.isupper() else "write the path without ~"
        raise KdlibError(f"{name}={shown(text)}: there is no such home folder; {remedy}") from error


def absolute(path: str | Path, name: str) -> Path:
    """The path from the root of the file system; a relative one is taken from the current folder."""
    try:
        return expanded(path, name).absolute()
    except OSError as error:  # the current folder has been removed
        raise KdlibError(
            f"{name}={shown(os.fspath(path))} is relative, but the current folder is gone ({error.strerror}); give it "
            "from the root on"
        ) from error


def callers_folder(path: str | Path, name: str) -> Path:
    """The absolute path of a folder that is there; name: what gave it, for messages."""
    folder = absolute(path, name)
    try:
        there = folder.is_dir()
    except OSError as error:
        raise KdlibError(f"{name}={shown(os.fspath(path))} can't be looked at ({error.strerror}); mend that") from error
    if not there:
        what = "is a file" if folder.is_file() else "is not there"
        raise KdlibError(f"{name}={shown(os.fspath(path))}: the folder {folder} {what}; name one that is")
    return folder
