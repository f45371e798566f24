"""What one name in the run store stands for: a run, a damaged run, something else, or what a killed process left.

Damage is a file that is missing or that has other content than was written. A file that can't be read now (a disk's
error, too many open files, no permission) tells nothing about the run, so it is an error and never a reason to train
over it. This module loads no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from kdlib.errors import KdlibError
from kdlib.runs.place import INDEX, locked_if_free, reason, unreadable

_KEY = re.compile(r"[0-9a-f]+")
_DAMAGED = re.compile(r"([0-9a-f]+)\.damaged-\d+")
_LEFTOVER = re.compile(
    r"\.tmp-(?P<written>[0-9a-f]+)-.+|\.removing-(?P<removed>.+)-[^-]+|\.partial-(?P<begun>[0-9a-f]+)"
)
_WEIGHTS = re.compile(r"\w[\w.-]{0,200}\.safetensors")
_NEEDED = "last.safetensors"
_KIND = re.compile(r"(?=.*[g-z])[a-z_]+")  # the folder of one kind of measurement, or of teachers


class Damaged(Exception):
    """Files of a run are missing or were changed; the text says which."""


class Unusable(KdlibError):
    """What is neither used as a run nor trained over. Three texts: the path, what is the matter, what to do."""

    def __str__(self) -> str:
        path, state, remedy = self.args
        return f"the stored run {path} {state}; {remedy}"


def is_key(name: str) -> bool:
    """Whether a run can have this name: hexadecimal digits.

    >>> is_key("3f9a"), is_key("3f9a.damaged-1"), is_key("../3f9a")
    (True, False, False)
    """
    return bool(_KEY.fullmatch(name))


def is_set_aside(name: str) -> bool:
    """Whether this is a damaged run that was moved aside."""
    return bool(_DAMAGED.fullmatch(name))


def lock_name(name: str) -> str:
    """The key whose lock guards this entry.

    >>> lock_name("3f9a"), lock_name("3f9a.damaged-1")
    ('3f9a', '3f9a')
    """
    damaged = _DAMAGED.fullmatch(name)
    return damaged[1] if damaged else name


def entry_names(root: Path) -> list[str]:
    """The sorted names of all runs in the store, damaged ones and those under a wrong name included.

    A store that isn't there yet is empty; one that can't be read raises KdlibError.
    """
    try:
        # Fails where names can be read but no files; a Path would drop the dot.
        os.stat(f"{root}/.")  # noqa: PTH116
        return sorted(path.name for path in root.iterdir() if _is_entry(path))
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not root.is_symlink():
            return []
        raise KdlibError(unreadable(root, error)) from error


def _is_entry(path: Path) -> bool:
    if is_key(path.name) or is_set_aside(path.name):
        return True
    # A run that somebody renamed. Measurements have folders of their own here, without an index.
    return not path.name.startswith(".") and os.path.lexists(path / INDEX)


def read_index(folder: Path) -> dict[str, Any] | None:
    """What the run in this folder tells about itself, or None if there is no such folder.

    Raises Damaged if the index or a file that it names is missing or the index was changed (the content of the
    weights is not looked at), Unusable if it can't be read now, belongs to another key or is no folder.
    """
    while True:
        place = _place(folder)
        if place is None:
            return None
        try:
            return _index_in(folder, place)
        except Damaged:
            now = _place(folder)
            if now is not None and os.path.samestat(now, place):
                raise
            # Another process removed or replaced it while its files were read.


def _place(folder: Path) -> os.stat_result | None:
    try:
        return folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(folder, error) from error


def _index_in(folder: Path, place: os.stat_result) -> dict[str, Any]:
    if not stat.S_ISDIR(place.st_mode):
        what = "link" if stat.S_ISLNK(place.st_mode) else "file"
        remedy = f"move it away, or remove it with `kdlib runs rm {folder.name}` (what a link leads to stays)"
        raise Unusable(folder, f"is a {what}, not a folder", remedy)
    content = read_content(folder / INDEX)
    try:
        index = json.loads(content)
        whole = isinstance(index, dict) and index.get("checksum") == checksum(index)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{INDEX} is no JSON: {reason(error)}") from error
    if not whole:
        raise Damaged(f"{INDEX} was changed")
    if (own := index.get("key")) != folder.name:
        own = own if isinstance(own, str) and is_key(own) else "one without a key"
        remedy = f"give it its own name again, or remove it with `kdlib runs rm {folder.name}`"
        raise Unusable(folder, f"holds another run, {own[:40]}", remedy)
    weights = index.get("files")
    if not isinstance(weights, dict) or _NEEDED not in weights:
        raise Damaged("it has no weights")
    for name in weights:
        if not _WEIGHTS.fullmatch(name):
            raise Damaged(f"{name[:40]!r} names no weights")
        _check_file(folder / name)
    return index


def is_whole(folder: Path) -> bool:
    """Whether a run lies here, as far as `read_index` can tell; False too where that can't be read now."""
    try:
        return read_index(folder) is not None
    except (Damaged, Unusable):
        return False


def read_content(path: Path) -> bytes:
    """The content of a run's file. Raises Damaged if there is no such file, Unusable if it can't be read now."""
    _check_file(path)
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise Damaged(f"{path.name} is missing") from error
    except (OSError, MemoryError) as error:
        raise _unreadable(path, error) from error


def _check_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Damaged(f"{path.name} is missing") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(mode):  # reading from a pipe would wait for ever
        raise Damaged(f"{path.name} is no file")


def _unreadable(path: Path, error: BaseException) -> Unusable:
    remedy = "nothing of it was removed or trained anew; try again once it can be read, or set KDLIB_RUNS to another "
    return Unusable(path, f"can't be read ({reason(error)})", remedy + "folder")


def checksum(index: dict[str, Any]) -> str:
    """SHA-256 of all that an index holds but its own checksum."""
    content = {name: value for name, value in index.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def set_aside(folder: Path) -> Path:
    """Rename a damaged run, whose lock is held, to KEY.damaged-N; returns its new path."""
    number = 1
    while os.path.lexists(aside := folder.with_name(f"{folder.name}.damaged-{number}")):
        number += 1
    folder.rename(aside)
    return aside


def take_out(path: Path) -> None:
    """Delete an entry whose lock is held: in one step it is no entry any more, then its files go.

    What a kill leaves of it is cleared by `sweep`. Raises OSError.
    """
    gone = Path(tempfile.mkdtemp(prefix=f".removing-{path.name}-", dir=path.parent))
    try:
        path.rename(gone / "entry")
    except OSError:
        gone.rmdir()
        raise
    _delete(gone)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sweep(root: Path, held: str = "") -> None:
    """Clear what killed processes left: halves that were being written or removed, progress of finished trainings.

    Measurements and teachers, in folders of their own, leave halves too. held: the key whose lock this process holds.
    What a living process works at, which holds its lock, stays; so does what can't be deleted now, such as in a store
    that is read-only: the next sweep finds it.
    """
    try:
        kinds = [path for path in root.iterdir() if _KIND.fullmatch(path.name) and path.is_dir()]
        found = [path for folder in (root, *kinds) for path in folder.glob(".*")]
    except OSError:  # whoever reads or writes the store reports this
        return
    for path in found:
        leftover = _LEFTOVER.fullmatch(path.name)
        if leftover is None or (path.parent != root and leftover["written"] is None):
            continue
        key = lock_name(leftover[leftover.lastgroup or 0])
        if key == held:
            _clear(root, key, path, leftover)
        else:
            with locked_if_free(root, key) as free:
                if free:
                    _clear(root, key, path, leftover)


def _clear(root: Path, key: str, path: Path, leftover: re.Match[str]) -> None:
    if leftover["begun"] and not is_whole(root / key):
        return  # the training goes on from it
    with suppress(OSError):
        _delete(path)
