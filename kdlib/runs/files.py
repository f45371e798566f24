"""The files of the run store: where they lie, how a run is written whole or not at all, and how it is read back."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from kdlib.runs.place import INDEX, unwritable
from kdlib.train.state import Progress, Run, State


def save_run(root: Path, run: Run) -> bool:
    """Write the run beside its place and rename it in; False, with a warning, if there is no room."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".tmp-{run.key}-", dir=root) as name:
            folder = Path(name) / "run"
            folder.mkdir()
            checksums = {}
            for state_name, state in run.states.items():
                content = save_tensors({k: v.contiguous() for k, v in state.items()})
                checksums[f"{state_name}.safetensors"] = hashlib.sha256(content).hexdigest()
                _write(folder / f"{state_name}.safetensors", content)
            index = {**run.metadata, "files": checksums}
            index["checksum"] = _checksum(index)
            _write(folder / INDEX, json.dumps(index, indent=1, sort_keys=True).encode())
            target = root / run.key
            if target.exists():
                shutil.rmtree(target)
            folder.rename(target)
    except OSError as error:
        warnings.warn(f"{unwritable(root, error)}; this run is used from memory and not kept", stacklevel=3)
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _checksum(index: dict[str, object]) -> str:
    content = {name: value for name, value in index.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load_run(folder: Path, make: Callable[[], nn.Module]) -> Run | None:
    """The stored run, or None if there is none or it is damaged (told in one line, and taken away)."""
    if not folder.exists():
        return None
    try:
        index = json.loads((folder / INDEX).read_text())
        if index.get("checksum") != _checksum(index):
            raise ValueError(f"{INDEX} was changed")
        states: dict[str, State] = {}
        for name, expected in index["files"].items():
            content = (folder / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != expected:
                raise ValueError(f"{name} was changed")
            states[name.removesuffix(".safetensors")] = load_tensors(content)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        print(f"the stored run {folder.name} is damaged ({error}); it is trained anew", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    metadata = {name: value for name, value in index.items() if name not in ("files", "checksum")}
    return Run(make, states, index["history"], index["device"], index["key"], metadata)


def remove_leftovers(root: Path, key: str) -> None:
    """Remove what killed processes left of this run's half-written folders (we hold its lock)."""
    for leftover in root.glob(f".tmp-{key}-*"):
        shutil.rmtree(leftover, ignore_errors=True)


@dataclass
class ProgressSaver:
    """Keeps the last whole epoch of an unfinished training on disk."""

    folder: Path
    warned: bool = field(default=False)

    @property
    def path(self) -> Path:
        return self.folder / "progress.pt"

    def save(self, progress: Progress) -> None:
        try:
            self.folder.mkdir(exist_ok=True)
            buffer = io.BytesIO()
            torch.save({f.name: getattr(progress, f.name) for f in fields(progress)}, buffer)
            content = buffer.getvalue()
            fresh = self.folder / "progress.new"
            # The checksum leads the file, so that one rename puts both in place.
            fresh.write_bytes(hashlib.sha256(content).digest() + content)
            fresh.replace(self.path)
        except OSError as error:
            with suppress(OSError):  # the disk is full: half a file must not stay
                (self.folder / "progress.new").unlink(missing_ok=True)
            if not self.warned:
                warnings.warn(f"can't keep this training's progress ({error}); it goes on without", stacklevel=2)
            self.warned = True

    def load(self) -> Progress | None:
        if not self.path.exists():
            return None
        try:
            stored = self.path.read_bytes()
            digest, content = stored[:32], stored[32:]
            if digest != hashlib.sha256(content).digest():
                raise ValueError("its checksum does not fit")
            return Progress(**torch.load(io.BytesIO(content), weights_only=True))
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            print(f"an interrupted training could not be taken up ({error}); it starts anew", file=sys.stderr)
            self.remove()
            return None

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
