"""The files of the run store: how a run is written whole or not at all, and how it is read back."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from kdlib.errors import KdlibError, shown
from kdlib.runs.entries import Damaged, Unusable, checksum, is_whole, read_content, read_index, set_aside
from kdlib.runs.place import INDEX, locked, read_file, reason, unwritable
from kdlib.train.state import Progress, Run, State


def save_run(root: Path, run: Run) -> bool:
    """Write the run, whose lock is held, beside its place and rename it in; False, with a warning, if it can't be."""
    files = {}
    for state_name, state in run.states.items():
        files[f"{state_name}.safetensors"] = save_tensors({k: v.contiguous() for k, v in state.items()})
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    index = {**run.metadata, "files": checksums}
    index["checksum"] = checksum(index)
    files[INDEX] = json.dumps(index, indent=1, sort_keys=True).encode()
    try:
        with _beside(root, run.key, files) as folder:
            _move_in(folder, root)
    except OSError as error:
        warnings.warn(f"{unwritable(root, error)}; this run is used from memory and not kept", stacklevel=3)
        return False
    return True


def run_files(folder: Path) -> dict[str, bytes] | None:
    """The stored run as content, file name -> bytes, to be given to `store_files` elsewhere; None if there is none.

    Raises Damaged where files are missing or changed, and KdlibError where they can't be read now.
    """
    index = read_index(folder)
    if index is None:
        return None
    return {INDEX: read_content(folder / INDEX), **dict(_weights(folder, index))}


def store_files(root: Path, key: str, files: Mapping[str, bytes]) -> None:
    """Put a run that `run_files` read elsewhere into this store, whole or not at all; one that is here stays.

    Raises KdlibError if the files are not a whole run of this key, or if the store can't be written to.
    """
    for name in files:
        if Path(name).name != name:
            raise KdlibError(f"a run has no file {shown(name)}; get it again")
    with locked(root, key):
        try:
            with _beside(root, key, files) as folder:
                run_files(folder)
                _move_in(folder, root)
        except Damaged as damage:
            raise KdlibError(f"the run {key} did not arrive whole ({damage}); run the same command again") from damage
        except OSError as error:
            raise KdlibError(unwritable(root, error)) from error


@contextmanager
def _beside(root: Path, key: str, files: Mapping[str, bytes]) -> Iterator[Path]:
    """The files in a folder beside their place, gone when the block ends."""
    beside = Path(tempfile.mkdtemp(prefix=f".tmp-{key}-", dir=root))
    try:
        folder = beside / key
        folder.mkdir()
        for name, content in files.items():
            _write(folder / name, content)
        yield folder
    finally:
        shutil.rmtree(beside, ignore_errors=True)  # what stays is cleared by the next `sweep`


def _move_in(folder: Path, root: Path) -> None:
    target = root / folder.name
    if not is_whole(target):  # else another process stored it meanwhile, on a disk without locks
        folder.rename(target)  # never over another run


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_run(folder: Path, make: Callable[[], nn.Module]) -> Run | None:
    """The stored run, or None if there is none; nothing is written, so that a read-only store will do.

    Raises Damaged where files are missing or changed, and KdlibError where they can't be read now.
    """
    index = read_index(folder)
    if index is None:
        return None
    states: dict[str, State] = {}
    for name, content in _weights(folder, index):
        try:
            states[name.removesuffix(".safetensors")] = load_tensors(content)
        except (SafetensorError, ValueError, KeyError) as error:
            raise Damaged(f"{name} can't be understood: {error}") from error
    if not states["last"]:
        raise Damaged("it has no weights")
    metadata = {name: value for name, value in index.items() if name not in ("files", "checksum")}
    try:
        return Run(make, states, index["history"], index["device"], index["key"], metadata)
    except KeyError as error:
        raise Damaged(f"{INDEX} has no {error}") from error


def _weights(folder: Path, index: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    for name, expected in index["files"].items():
        content = read_content(folder / name)
        if hashlib.sha256(content).hexdigest() != expected:
            raise Damaged(f"{name} was changed")
        yield name, content


def load_run(folder: Path, make: Callable[[], nn.Module]) -> Run | None:
    """The stored run, whose lock is held, or None: a damaged one is moved aside and reported in one line."""
    try:
        return read_run(folder, make)
    except Damaged as damage:
        try:
            aside = set_aside(folder)
        except OSError as error:
            state = f"is damaged ({damage}) and can't be moved aside ({reason(error)})"
            raise Unusable(folder, state, "allow that, or set KDLIB_RUNS to another folder") from error
        print(
            f"the stored run {folder.name} is damaged ({damage}); it is kept as {aside.name} and trained anew",
            file=sys.stderr,
        )
        return None


@dataclass
class ProgressSaver:
    """Keeps the last whole epoch of an unfinished training on disk."""

    folder: Path
    warned: bool = field(default=False)

    @property
    def path(self) -> Path:
        return self.folder / "progress.pt"

    @property
    def key(self) -> str:
        return self.folder.name.removeprefix(".partial-")

    def save(self, progress: Progress) -> None:
        try:
            self.folder.mkdir(exist_ok=True)
            buffer = io.BytesIO()
            torch.save({"key": self.key} | {f.name: getattr(progress, f.name) for f in fields(progress)}, buffer)
            content = buffer.getvalue()
            fresh = self.folder / "progress.new"
            # The checksum leads the file, so that one rename puts both in place.
            fresh.write_bytes(hashlib.sha256(content).digest() + content)
            fresh.replace(self.path)
        except OSError as error:
            with suppress(OSError):  # the disk is full: half a file must not stay
                (self.folder / "progress.new").unlink(missing_ok=True)
                self.folder.rmdir()  # if no earlier epoch is in it: there is nothing to go on from
            if not self.warned:
                warnings.warn(f"can't keep this training's progress ({error}); it goes on without", stacklevel=2)
            self.warned = True

    def load(self) -> Progress | None:
        """The last whole epoch, or None; what is damaged is moved aside within the folder and reported in one line.

        Raises KdlibError if it can't be read now: hours of training are not thrown away for that.
        """
        try:
            stored = read_file(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, MemoryError) as error:
            raise KdlibError(
                f"the interrupted training {self.path} can't be read ({reason(error)}); try again once it can be read, "
                "or remove it to train from the start"
            ) from error
        try:
            digest, content = stored[:32], stored[32:]
            if digest != hashlib.sha256(content).digest():
                raise ValueError("its checksum does not fit")
            kept = torch.load(io.BytesIO(content), weights_only=True)
            if (key := kept.pop("key", self.key)) != self.key:  # that of earlier versions has none
                raise ValueError(f"it is that of another run, {key}")
            return Progress(**kept)
        except (ValueError, RuntimeError, TypeError, AttributeError, UnpicklingError) as error:
            print(f"an interrupted training could not be taken up ({error}); it starts anew", file=sys.stderr)
            with suppress(OSError):  # else the first epoch replaces it
                self.path.replace(self.folder / "progress.damaged")
            return None

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
