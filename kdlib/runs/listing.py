"""What lies in the store of trained models: the functions behind `kdlib runs`."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdlib.errors import KdlibError
from kdlib.runs.entries import (
    Damaged,
    Unusable,
    entry_names,
    is_key,
    is_set_aside,
    lock_name,
    read_index,
    sweep,
    take_out,
)
from kdlib.runs.place import locked, locked_if_free, reason, store_root, unwritable

_PATIENCE = 5  # seconds: another process may be removing it; one that trains it takes hours


def list_runs() -> list[dict[str, object]]:
    """One row a stored run: key, data, model, objective, seed, epochs, score on val, seconds, bytes, date.

    What is no usable run has a row that says so in place of its data. Raises KdlibError if the store can't be read.
    """
    root = store_root()
    return [row for name in entry_names(root) if (row := _row(root / name)) is not None]


def unfinished() -> list[str]:
    """The keys of trainings that were interrupted, and whose runs are not in the store: they go on when wanted."""
    root = store_root()
    stored = entry_names(root)  # reports a store that can't be read
    begun = [path.name.removeprefix(".partial-") for path in root.glob(".partial-*")]
    return sorted(key for key in begun if is_key(key) and key not in stored)


def _row(folder: Path) -> dict[str, object] | None:
    """The row of one entry; None if it was removed in the meantime."""
    if is_set_aside(folder.name):
        return {"key": folder.name, "data": f"damaged, moved aside; `kdlib runs rm {folder.name}` removes it"}
    try:
        index = read_index(folder)
        return None if index is None else _described(folder, index)
    except (Damaged, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        state = error.args[1] if isinstance(error, Unusable) else _damage(error)
        return {"key": folder.name, "data": state}
    except OSError as error:
        return {"key": folder.name, "data": f"can't be read ({reason(error)})"}


def _damage(error: Exception) -> str:
    return f"damaged ({error}); moved aside and trained anew when it is wanted"


def _described(folder: Path, index: dict[str, Any]) -> dict[str, object]:
    spec, history = index["spec"], index["history"]
    last = history[-1] if history or spec["recipe"]["epochs"] else {}  # a network of first weights has no epoch
    return {
        "key": folder.name,
        "data": index["data"],
        "model": spec["model"] + "".join(f" {name}={value}" for name, value in spec["model_options"]),
        "objective": spec["objective"] + "".join(f" {name}={value}" for name, value in spec["objective_options"]),
        "seed": spec["seed"],
        "epochs": spec["recipe"]["epochs"],
        # A regression has another score.
        **{name: value for name, value in last.items() if name.startswith("val_") and name != "val_loss"},
        "seconds": sum(row["seconds"] for row in history),
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
        "date": index["date"],
    }


def show_run(key: str) -> dict[str, object]:
    """Everything stored of a run but its weights; `key` may be shortened as long as it is unique."""
    folder = _find(key)
    if is_set_aside(folder.name):
        raise KdlibError(
            f"the run {folder.name} is damaged and was moved aside; `kdlib runs rm {folder.name}` removes it"
        )
    try:
        index = read_index(folder)
    except Damaged as error:
        raise KdlibError(
            f"the stored run {folder.name} is damaged ({error}); remove it with `kdlib runs rm {folder.name}`, or "
            "leave it: it is moved aside and trained anew when it is wanted"
        ) from error
    if index is None:
        raise _gone(folder.name)
    return index


def remove_run(key: str) -> str:
    """Delete a run, whole or damaged, with what is left of its training, or an unfinished training; its whole key."""
    root, folder = store_root(), _find(key, unfinished())
    if folder.name.startswith(".partial-"):
        return _forget(root, folder)
    with locked(root, lock_name(folder.name), patience=_PATIENCE):
        sweep(root, held=folder.name)
        try:
            take_out(folder)
        except FileNotFoundError as error:
            raise _gone(folder.name) from error
        except OSError as error:
            if os.path.lexists(folder):
                raise KdlibError(unwritable(root, error)) from error
            raise KdlibError(
                f"the run {folder.name} is out of the store, but its files can't all be deleted ({reason(error)}): "
                f"delete {root / f'.removing-{folder.name}-*'}"
            ) from error
    return folder.name


def _forget(root: Path, progress: Path) -> str:
    """Delete the progress of an unfinished training; returns its key."""
    key = progress.name.removeprefix(".partial-")
    with locked_if_free(root, key) as free:
        if not free:
            raise KdlibError(f"the training of {key} is at work, or its store can't be written to; end it first")
        try:
            take_out(progress)
        except OSError as error:
            raise KdlibError(unwritable(root, error)) from error
    return key


def _gone(name: str) -> KdlibError:
    return KdlibError(f"no run '{name}' any more: another process removed it; `kdlib runs list` shows the others")


def _find(key: str, begun: Sequence[str] = ()) -> Path:
    """The entry of this name or beginning; begun: keys of unfinished trainings that are meant too."""
    if not key or key.startswith(".") or any(sign in key for sign in "/\\\0"):
        raise KdlibError(f"a run is named by its key or the beginning of it, not {key[:40]!r}; see `kdlib runs list`")
    root = store_root()
    names = entry_names(root)
    matches = [name for name in (*names, *begun) if name.startswith(key)]
    # A run before the damaged ones of its key, which need their whole names.
    matches = [name for name in matches if name == key] or [name for name in matches if is_key(name)] or matches
    if len(matches) == 1:
        return root / (f".partial-{matches[0]}" if matches[0] in begun else matches[0])
    if matches:
        raise KdlibError(f"'{key}' begins the keys of {len(matches)} runs; give more of it ({', '.join(matches[:4])})")
    if not names:
        raise KdlibError(f"no run {key[:40]!r}: the store is empty; a notebook fills it")
    near = difflib.get_close_matches(key[:40], names, n=1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    raise KdlibError(f"no run {key[:40]!r}{hint}; `kdlib runs list` shows them")
