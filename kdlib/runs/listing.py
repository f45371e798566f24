"""What lies in the store of trained models: the functions behind `kdlib runs`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from kdlib.errors import KdlibError, choose
from kdlib.runs.place import INDEX, locked, store_root


def list_runs() -> list[dict[str, object]]:
    """One row a stored run: key, model, objective, seed, epochs, val accuracy, seconds, bytes, date."""
    rows = []
    for path in sorted(store_root().glob(f"[0-9a-f]*/{INDEX}")):
        try:
            meta = json.loads(path.read_text())
            spec, history = meta["spec"], meta["history"]
            rows.append(
                {
                    "key": path.parent.name,
                    "data": meta["data"],
                    "model": spec["model"] + "".join(f" {name}={value}" for name, value in spec["model_options"]),
                    "objective": spec["objective"]
                    + "".join(f" {name}={value}" for name, value in spec["objective_options"]),
                    "seed": spec["seed"],
                    "epochs": spec["recipe"]["epochs"],
                    "val_accuracy": history[-1]["val_accuracy"],
                    "seconds": sum(row["seconds"] for row in history),
                    "bytes": sum(file.stat().st_size for file in path.parent.iterdir()),
                    "date": meta["date"],
                }
            )
        except (ValueError, KeyError, IndexError, TypeError):
            rows.append({"key": path.parent.name, "data": "damaged; it will be trained anew when it is wanted"})
    return rows


def show_run(key: str) -> dict[str, object]:
    """Everything stored of a run but its weights; `key` may be shortened as long as it is unique."""
    folder = _find(key)
    try:
        return json.loads((folder / INDEX).read_text())
    except ValueError as error:
        raise KdlibError(
            f"the stored run {folder.name} is damaged ({error}); remove it with `kdlib runs rm {folder.name}`, or "
            "leave it: it is trained anew when it is wanted"
        ) from error


def remove_run(key: str) -> str:
    """Delete a run; returns its whole key."""
    folder = _find(key)
    with locked(store_root(), folder.name):
        shutil.rmtree(folder)
    return folder.name


def _find(key: str) -> Path:
    keys = [path.parent.name for path in store_root().glob(f"[0-9a-f]*/{INDEX}")]
    matches = [name for name in keys if key and name.startswith(key)]
    if len(matches) == 1:
        return store_root() / matches[0]
    if matches:
        raise KdlibError(f"'{key}' begins the keys of {len(matches)} runs; give more of it ({', '.join(matches[:4])})")
    if not keys:
        raise KdlibError(f"no run '{key}': the store is empty; a notebook fills it")
    choose(key, keys, "run")
    raise KdlibError(f"no run '{key}'; `kdlib runs list` shows them")
