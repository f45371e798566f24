"""Teachers that are no run of the store: by their outputs for every training row, or by their weights, kept and keyed
by content."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from kdlib.data.checksums import is_there
from kdlib.errors import KdlibError
from kdlib.runs.place import locked, read_file, reason, store_root, unwritable, write_file


@dataclass(frozen=True)
class KnownTeacher:
    """A teacher by its outputs: a name, and the hash of the outputs, 20 hexadecimal digits."""

    name: str
    content: str


@dataclass(frozen=True)
class KnownNetwork:
    """A teacher by its weights: a model of `kdlib.models` with its own options, and the hash of the weights, 20
    hexadecimal digits. What else it is built with follows from the data."""

    model: str
    model_options: tuple[tuple[str, int], ...]
    content: str


# What could not be written: this process at least can train with it.
_unkept: dict[KnownTeacher | KnownNetwork, dict[str, Tensor]] = {}


def keep_teacher(name: str, outputs: Mapping[str, Tensor]) -> KnownTeacher:
    """Keep a teacher's outputs in the run store, so that a `RunSpec` can name it.

    name: what it is, such as "lightgbm". outputs: named tensors (N, ...) in the order of the training set, "logits"
    among them: (N, K), -inf for a class that a row can't have. The same outputs under the same name give the same
    teacher, in whatever order they are named.
    """
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise KdlibError(f"a teacher's name is made of lower-case letters, digits and _, like lightgbm, not {name!r}")
    if "logits" not in outputs:
        raise KdlibError(
            f"the outputs of teacher {name} must include 'logits', not only {', '.join(outputs) or 'nothing'}"
        )
    logits = outputs["logits"]
    if logits.ndim != 2 or bool((logits.isnan() | (logits == torch.inf)).any()):
        raise KdlibError(
            f"the logits of teacher {name} must be numbers of shape (rows, outputs), -inf for a class that can't be, "
            f"not {'of shape ' + str(tuple(logits.shape)) if logits.ndim != 2 else 'nan or inf'}; correct them"
        )
    kept, content = _sorted(outputs)
    teacher = KnownTeacher(name, _hash_of(content))
    _keep(teacher, name, kept, content)
    return teacher


def keep_network(model: str, model_options: Mapping[str, int], state: Mapping[str, Tensor]) -> KnownNetwork:
    """Keep a trained network in the run store, so that a `RunSpec` can name it as its teacher.

    model, model_options: a name of `kdlib.models` with the network's own options. state: its state_dict.
    """
    kept, content = _sorted(state)
    network = KnownNetwork(model, tuple(sorted(model_options.items())), _hash_of(content))
    _keep(network, model, kept, content)
    return network


def _sorted(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], bytes]:
    kept = {key: tensors[key].detach().cpu().contiguous() for key in sorted(tensors)}
    return kept, save(kept)


def _hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:20]


def _keep(teacher: KnownTeacher | KnownNetwork, name: str, kept: dict[str, Tensor], content: bytes) -> None:
    path = _path(teacher)
    try:
        if is_there(path):
            return
        with locked(store_root(), teacher.content):
            _write(path, content)
    except KdlibError as error:
        warnings.warn(f"{error}; teacher {name} is used from memory", stacklevel=3)
        _unkept[teacher] = kept


def _write(path: Path, content: bytes) -> None:
    try:
        write_file(path, content)
    except OSError as error:
        raise KdlibError(unwritable(store_root(), error)) from error


def outputs_of(teacher: KnownTeacher) -> dict[str, Tensor]:
    """The teacher's outputs for every training row; an error if the file is missing or damaged."""
    return _read(teacher, teacher.name, "keep_teacher")


def weights_of(network: KnownNetwork) -> dict[str, Tensor]:
    """The network's state; an error if the file is missing or damaged."""
    return _read(network, network.model, "keep_network")


def _read(teacher: KnownTeacher | KnownNetwork, name: str, maker: str) -> dict[str, Tensor]:
    if teacher in _unkept:
        return _unkept[teacher]
    try:
        content = read_file(_path(teacher))
    except (OSError, MemoryError) as error:
        missing = isinstance(error, FileNotFoundError)
        remedy = "" if missing else f"try again once it can be read, or remove {_path(teacher)} and "
        raise KdlibError(
            f"teacher {name} ({teacher.content}) can't be read from the run store ({reason(error)}); "
            f"{remedy}make it again with {maker}"
        ) from error
    if _hash_of(content) != teacher.content:
        raise KdlibError(
            f"teacher {name} ({teacher.content}) is damaged: its content does not fit its name; remove "
            f"{_path(teacher)} and make it again with {maker}"
        )
    return load(content)


def _path(teacher: KnownTeacher | KnownNetwork) -> Path:
    return store_root() / "teachers" / f"{teacher.content}.safetensors"
