"""Measurements that take as long as trainings, kept beside the trained models and made once."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kdlib.errors import KdlibError, shown
from kdlib.runs.entries import Damaged, set_aside, sweep
from kdlib.runs.place import locked, locked_if_free, read_file, reason, store_root, unwritable, write_file


def measurement_key(parts: Sequence[str]) -> str:
    """20 hexadecimal digits that name a measurement by everything that made it.

    parts: texts such as data hashes, settings as JSON and a fingerprint of the source.

    >>> measurement_key(["a", "bc"]) == measurement_key(["ab", "c"])
    False
    """
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()[:20]


def stored_measurement(kind: str, key: str) -> Any | None:
    """What is kept of this measurement, or None; a damaged file is reported in one line and moved aside.

    Raises KdlibError if the file can't be read now: that tells nothing about what it holds.
    """
    try:
        return _read(kind, key)
    except Damaged:
        with locked_if_free(store_root(), key) as free:  # else another process is at it, or the store is read-only
            return _mended(kind, key) if free else None


def measure_once(kind: str, key: str, measure: Callable[[], Any]) -> Any:
    """The stored measurement, or that of `measure()`, stored now.

    kind: a folder of the run store, such as "diffroar". measure: gives lists, tables, texts and numbers as JSON has
    them. What is stored is read without writing. Two processes that want the same measurement make it once. What can't
    be stored is returned all the same, with a warning.
    """
    with suppress(Damaged):  # who holds the lock mends it
        values = _read(kind, key)
        if values is not None:
            return values
    root = store_root()
    with locked(root, key):
        sweep(root, held=key)
        values = _mended(kind, key)
        if values is None:
            values = measure()
            _store(kind, key, values)
    return values


def _read(kind: str, key: str) -> Any | None:
    """What is kept, or None; nothing is changed. Raises Damaged, and KdlibError if it can't be read now."""
    path = _path(kind, key)
    try:
        text = read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, MemoryError) as error:
        raise KdlibError(
            f"the stored measurement {path} can't be read ({reason(error)}); try again once it can be read, or set "
            "KDLIB_RUNS to another folder"
        ) from error
    try:
        content = json.loads(text)
        whole = content["checksum"] == _checksum(content["values"], *_owner(content))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(str(error)) from error
    if not whole:
        raise Damaged("its checksum does not fit")
    for owner in _owner(content):
        if owner != f"{kind}/{key}":
            raise KdlibError(
                f"the stored measurement {path} holds another one, {shown(owner)}; give it its own name again, or "
                "remove it"
            )
    return content["values"]


def _owner(content: dict[str, Any]) -> list[str]:
    """Which measurement it says it is; files of earlier versions don't."""
    return [content["of"]] if "of" in content else []


def _mended(kind: str, key: str) -> Any | None:
    """`_read` for who holds the lock: what is damaged is moved aside, and one line says where to."""
    try:
        return _read(kind, key)
    except Damaged as damage:
        path = _path(kind, key)
        try:
            aside = set_aside(path)
        except OSError as error:
            raise KdlibError(unwritable(store_root(), error)) from error
        print(
            f"the stored measurement {kind}/{key} is damaged ({damage}); it is measured again, and what is there is "
            f"kept as {aside}, which you may delete",
            file=sys.stderr,
        )
        return None


def _path(kind: str, key: str) -> Path:
    # A run's folder has a name of hexadecimal digits.
    if not re.fullmatch(r"(?=.*[g-z])[a-z_]+", kind):
        raise KdlibError(f"a kind of measurement is named by lower-case letters, like diffroar, not {kind!r}")
    return store_root() / kind / f"{key}.json"


def _checksum(values: Any, *owner: str) -> str:
    """owner: which measurement it is, where the file says so."""
    return hashlib.sha256(json.dumps([*owner, values] if owner else values, sort_keys=True).encode()).hexdigest()


def _store(kind: str, key: str, values: Any) -> None:
    path, owner = _path(kind, key), f"{kind}/{key}"
    # Not indented: Python's own encoder, which that takes, needs a tenth of a second for a dissection.
    text = json.dumps({"of": owner, "values": values, "checksum": _checksum(values, owner)})
    try:
        write_file(path, text.encode())
    except OSError as error:
        warnings.warn(
            f"can't keep a measurement in {path.parent} ({reason(error)}); it is used from memory", stacklevel=3
        )
