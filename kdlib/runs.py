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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, fields, replace
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
from kdlib.distill.layer_mse import layer_path
from kdlib.distill.setting import Setting
from kdlib.errors import KdlibError, choose, positive_integer
from kdlib.models import MODELS
from kdlib.models import build as build_model
from kdlib.processes import current
from kdlib.source import training_source
from kdlib.train import Progress, Recipe, Run, State, deterministic, fit, resolve_device
from kdlib.train_stream import fit_stream
from kdlib.travel import freeze_up_to

INDEX = "run.json"


@dataclass(frozen=True)
class RunSpec:
    """What makes a run: model, objective, recipe, seed and, for distillation, the run of the teacher.

    model and objective are a name with its options, as sorted (name, value) pairs; see `make_spec`. start: a run of the
    same network whose last weights are this run's first; frozen_up_to: the layer up to which they stay (a module path,
    or one of the network's probed layers). n_train: only the first so many training images are seen; a teacher may see
    more than its student (both normalise by the statistics of all).
    """

    model: str
    model_options: tuple[tuple[str, int], ...]
    objective: str
    objective_options: tuple[tuple[str, float | str], ...]
    recipe: Recipe
    seed: int
    teacher: RunSpec | None = None
    start: RunSpec | None = None
    frozen_up_to: str = ""
    n_train: int | None = None

    def __post_init__(self) -> None:
        if self.start and (self.start.model, self.start.model_options) != (self.model, self.model_options):
            raise KdlibError(
                f"a run of {self.model} can't start from the weights of {self.start.model} with other options; "
                "start from a run of the same network"
            )
        if self.frozen_up_to and not self.start:
            raise KdlibError(
                f"layers up to '{self.frozen_up_to}' are frozen, but there is no run to start from: they would stay "
                "random; give start"
            )
        if self.n_train is not None:
            positive_integer(self.n_train, "n_train")
        choose(self.objective, METHODS, "objective")
        if METHODS[self.objective].taught != (self.teacher is not None):
            word = "takes no" if self.teacher else "needs a"
            raise KdlibError(f"objective '{self.objective}' {word} teacher")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise KdlibError(f"seed must be a whole number of at least 0, not {self.seed!r}")

    def needs(self) -> tuple[RunSpec, ...]:
        """The runs that must be there before this one: its teacher and the one it starts from."""
        return tuple(run for run in (self.teacher, self.start) if run is not None)

    def others(self) -> tuple[RunSpec, ...]:
        """All runs that this one builds on, those first that the others need."""
        found: dict[RunSpec, None] = {}
        for run in self.needs():
            found |= dict.fromkeys((*run.others(), run))
        return tuple(found)

    def canonical(self) -> str:
        """The specification as JSON with sorted keys: equal specifications give equal text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))


def make_spec(
    model: str,
    objective: str,
    recipe: Recipe,
    seed: int,
    *,
    model_options: Mapping[str, int] | None = None,
    objective_options: Mapping[str, float | str] | None = None,
    teacher: RunSpec | None = None,
    start: RunSpec | None = None,
    frozen_up_to: str = "",
    n_train: int | None = None,
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
        start,
        frozen_up_to,
        n_train,
    )


def store_root() -> Path:
    """`$KDLIB_RUNS`, else ~/.cache/kdlib/runs."""
    return Path(os.environ.get("KDLIB_RUNS") or Path.home() / ".cache" / "kdlib" / "runs").expanduser()


def run_key(spec: RunSpec, splits: Splits, device: str = "auto") -> str:
    """The run's name in the store: 20 hexadecimal digits.

    Of the source, the files count that this training runs through: another method's may change. The kind of device
    counts where it decides the precision of the training, not otherwise.
    """
    precision = resolve_device(device).type if spec.recipe.mixed_precision else ""
    parts = (spec.canonical(), splits.content_hash(), _source_of(spec, splits), precision)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


def _source_of(spec: RunSpec, splits: Splits) -> str:
    modules = {type(splits.train).__module__}
    if isinstance(splits.train, FolderStream):
        modules.add(fit_stream.__module__)
    for one in (spec, *spec.others()):
        modules |= {MODELS[one.model].__module__, METHODS[one.objective].build.__module__}
    return training_source(modules)


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
    whole, splits = splits, _seen(spec, splits)
    if processes.count > 1 and not streamed:
        raise KdlibError(f"several processes can train only from streamed folders, not from {splits.name}; start one")
    if processes.first:
        _sweep(root, key)
    objective = _objective(spec, splits, whole, device)
    saver = _ProgressSaver(root / f".partial-{key}")
    train = fit_stream if streamed else fit
    run = train(
        _start(spec, whole, make, device),
        splits,
        objective,
        spec.recipe,
        spec.seed,
        device=device,
        resume=processes.from_first(saver.load),
        after_epoch=saver.save if spec.recipe.epochs > 1 else None,
        label=label,
    )
    run.key, run.build = key, make
    run.metadata = _metadata(spec, whole, run, key)

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


def _seen(spec: RunSpec, splits: Splits) -> Splits:
    """What the training sees: all, or the first n_train training images."""
    if spec.n_train is None:
        return splits
    if isinstance(splits.train, FolderStream):
        raise KdlibError(f"n_train={spec.n_train} can't be taken of a streamed folder; give a folder with fewer images")
    if spec.n_train > len(splits.train):
        raise KdlibError(f"n_train is {spec.n_train}, but {splits.name} has {len(splits.train)} training images")
    return replace(splits, train=splits.train.subset(slice(0, spec.n_train)))


def _start(spec: RunSpec, whole: Splits, make: Callable[[], nn.Module], device: str) -> Callable[[], nn.Module]:
    """What builds the network with the weights from which this training starts."""
    if spec.start is None:
        return make
    weights = get_or_train(spec.start, whole, device=device, label="start").state("last")

    def build() -> nn.Module:
        model = make()
        model.load_state_dict(weights)
        return freeze_up_to(model, layer_path(model, spec.frozen_up_to)) if spec.frozen_up_to else model

    return build


# Runs that could not be stored: this process at least trains them once.
_unkept: dict[str, Run] = {}

# What the students of one teacher share in this process: its network and what it said.
_teachers: dict[tuple[str, ...], tuple[nn.Module, dict[str, Any]]] = {}


def _objective(spec: RunSpec, splits: Splits, whole: Splits, device: str) -> Objective:
    target = resolve_device(device)
    augmentation = Augmentation(spec.recipe.augment)
    model: nn.Module | None = None
    memory: dict[str, Any] = {}
    if spec.teacher is not None:
        teacher_run = get_or_train(spec.teacher, whole, device=device, label="teacher")
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
        "source": _source_of(spec, splits),
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
