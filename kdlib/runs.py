"""The store of trained models, keyed by what made them.

A run's key is a hash of its specification, of the data's content and of the source code that shapes a training, so a
mended loss never meets a stale student. Each run is a folder of safetensors and one JSON file, written beside its
place and renamed into it: a kill at any moment leaves the whole run or none. An unfinished training leaves its last
epoch and goes on from there.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from kdlib import __version__
from kdlib.data.augment import Augmentation
from kdlib.data.folder_stream import FolderStream
from kdlib.data.image_set import Splits
from kdlib.distill import Objective
from kdlib.distill.catalogue import METHODS
from kdlib.distill.setting import Setting
from kdlib.errors import KdlibError, choose
from kdlib.models import build as build_model
from kdlib.processes import current
from kdlib.train import Progress, Recipe, Run, State, deterministic, fit, resolve_device
from kdlib.train_stream import fit_stream

_SOURCE = ("data", "models", "distill", "capture.py", "lesson.py", "train.py", "processes.py", "train_stream.py")
_NO_TRAINING = ("kd_mistakes.py", "kd_teacher_mistakes.py", "kd_checks.py")  # the gallery trains nothing that is stored
INDEX = "run.json"


@dataclass(frozen=True)
class RunSpec:
    """What makes a run: model, objective, recipe, seed and, for distillation, the run of the teacher.

    model and objective are a name with its options, as sorted (name, value) pairs; see `make_spec`.
    """

    model: str
    model_options: tuple[tuple[str, int], ...]
    objective: str
    objective_options: tuple[tuple[str, float], ...]
    recipe: Recipe
    seed: int
    teacher: RunSpec | None = None

    def __post_init__(self) -> None:
        choose(self.objective, METHODS, "objective")
        if METHODS[self.objective].taught != (self.teacher is not None):
            word = "takes no" if self.teacher else "needs a"
            raise KdlibError(f"objective '{self.objective}' {word} teacher")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise KdlibError(f"seed must be a whole number of at least 0, not {self.seed!r}")

    def canonical(self) -> str:
        """The specification as JSON with sorted keys: equal specifications give equal text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))


def make_spec(
    model: str,
    objective: str,
    recipe: Recipe,
    seed: int,
    *,
    model_options: dict[str, int] | None = None,
    objective_options: dict[str, float] | None = None,
    teacher: RunSpec | None = None,
) -> RunSpec:
    """A `RunSpec` from plain dictionaries.

    >>> spec = make_spec("small_resnet", "label_smoothing", Recipe(epochs=2), 0, objective_options={"alpha": 0.1})
    >>> spec.objective_options
    (('alpha', 0.1),)
    """
    return RunSpec(
        model,
        tuple(sorted((model_options or {}).items())),
        objective,
        tuple(sorted((objective_options or {}).items())),
        recipe,
        seed,
        teacher,
    )


def store_root() -> Path:
    """`$KDLIB_RUNS`, else ~/.cache/kdlib/runs."""
    return Path(os.environ.get("KDLIB_RUNS") or Path.home() / ".cache" / "kdlib" / "runs").expanduser()


@functools.cache
def source_fingerprint() -> str:
    """Hash of the source that shapes a training: data, models, distill, capture and train."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for name in _SOURCE:
        path = package / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            if file.name in _NO_TRAINING:
                continue
            digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def run_key(spec: RunSpec, splits: Splits, device: str = "auto") -> str:
    """The run's name in the store: 20 hexadecimal digits.

    The kind of device counts where it decides the precision of the training, not otherwise.
    """
    precision = resolve_device(device).type if spec.recipe.mixed_precision else ""
    parts = (spec.canonical(), splits.content_hash(), source_fingerprint(), precision)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


def get_or_train(spec: RunSpec, splits: Splits, *, device: str = "auto", label: str = "") -> Run:
    """The run of this specification on this data: from the store, or trained now and stored.

    Two processes that want the same run train it once: the second waits. Processes that work together (see
    `kdlib.processes`) train a streamed run together, and all get it. A damaged entry is told of in one line and
    trained anew. If the run can't be stored (no space), it is returned all the same, with a warning.
    """
    root = store_root()
    key = run_key(spec, splits, device)
    make = _model_builder(spec, splits)
    if key in _unkept:
        return _unkept[key]
    processes = current()
    with locked(root, key) if processes.first else nullcontext():
        run = processes.from_first(lambda: _load(root / key, make))
        if run is None:
            run = _train(spec, splits, key, make, device, label or f"{spec.objective} seed {spec.seed}")
    return run


def _train(spec: RunSpec, splits: Splits, key: str, make: Callable[[], nn.Module], device: str, label: str) -> Run:
    """Train a run that the store lacks and store it; the first process holds its lock and does all writing."""
    root, processes = store_root(), current()
    streamed = isinstance(splits.train, FolderStream)
    if processes.count > 1 and not streamed:
        raise KdlibError(f"several processes can train only from streamed folders, not from {splits.name}; start one")
    if processes.first:
        _sweep(root, key)
    objective = _objective(spec, splits, device)
    saver = _ProgressSaver(root / f".partial-{key}")
    train = fit_stream if streamed else fit
    run = train(
        make,
        splits,
        objective,
        spec.recipe,
        spec.seed,
        device=device,
        resume=processes.from_first(saver.load),
        after_epoch=saver.save if spec.recipe.epochs > 1 else None,
        label=label,
    )
    run.key = key
    run.metadata = _metadata(spec, splits, run, key)

    def keep() -> bool:
        kept = _save(root, run)
        if kept:
            saver.remove()
        return kept

    if not processes.from_first(keep):
        _unkept[key] = run
    return run


def is_stored(spec: RunSpec, splits: Splits, device: str = "auto") -> bool:
    """Whether the store holds this run (it may still turn out to be damaged when it is read)."""
    return (store_root() / run_key(spec, splits, device) / INDEX).exists()


@contextmanager
def locked(root: Path, key: str) -> Iterator[None]:
    """Hold the run's lock, which the system frees if this process dies."""
    lock = FileLock(root / ".locks" / f"{key}.lock")
    try:
        (root / ".locks").mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise KdlibError(_unwritable(root, error)) from error
    try:
        yield
    finally:
        lock.release()


def _model_builder(spec: RunSpec, splits: Splits) -> Callable[[], nn.Module]:
    options = splits.train.model_options() | dict(spec.model_options)
    return functools.partial(build_model, spec.model, seed=spec.seed, **options)


# Runs that could not be stored: this process at least trains them once.
_unkept: dict[str, Run] = {}

# What the students of one teacher share in this process: its network and what it said.
_teachers: dict[tuple[str, ...], tuple[nn.Module, dict[str, Any]]] = {}


def _objective(spec: RunSpec, splits: Splits, device: str) -> Objective:
    target = resolve_device(device)
    augmentation = Augmentation(spec.recipe.augment)
    model: nn.Module | None = None
    memory: dict[str, Any] = {}
    if spec.teacher is not None:
        teacher_run = get_or_train(spec.teacher, splits, device=device, label="teacher")
        name = (teacher_run.key, splits.content_hash(), augmentation.name, str(target))
        if name not in _teachers:
            _teachers[name] = teacher_run.model("last", target), {}
        model, memory = _teachers[name]
    student = _model_builder(spec, splits)().to(target)
    setting = Setting(student, splits.train.to(target), augmentation, spec.seed, model, memory)
    with deterministic():  # a builder may train a network of its own and fill the teacher's memory
        return METHODS[spec.objective].build(setting, **dict(spec.objective_options))


def _metadata(spec: RunSpec, splits: Splits, run: Run, key: str) -> dict[str, object]:
    return {
        "key": key,
        "spec": json.loads(spec.canonical()),
        "data": splits.name,
        "data_hash": splits.content_hash(),
        "source": source_fingerprint(),
        "history": run.history,
        "device": run.device,
        "kdlib": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processes": current().count,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _save(root: Path, run: Run) -> bool:
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
        warnings.warn(f"{_unwritable(root, error)}; this run is used from memory and not kept", stacklevel=3)
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _unwritable(root: Path, error: OSError) -> str:
    reason = error.strerror or error
    return f"can't write to the run store {root} ({reason}): free space or set KDLIB_RUNS to another folder"


def _checksum(index: dict[str, object]) -> str:
    content = {name: value for name, value in index.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _load(folder: Path, make: Callable[[], nn.Module]) -> Run | None:
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


def _sweep(root: Path, key: str) -> None:
    """Remove what killed processes left of this run's half-written folders (we hold its lock)."""
    for leftover in root.glob(f".tmp-{key}-*"):
        shutil.rmtree(leftover, ignore_errors=True)


@dataclass
class _ProgressSaver:
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
