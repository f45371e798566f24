"""The store of trained models, keyed by what made them.

A run's key is a hash of its specification, of the data's content and of the source code that shapes a training, so a
corrected loss never meets an old student. Each run is a folder of safetensors and one JSON file, written beside its
place and renamed into it: a kill at any moment leaves the whole run or none. An unfinished training leaves its last
epoch and goes on from there.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdlib import __version__
from kdlib.data.augment import Augmentation
from kdlib.data.folder_stream import FolderStream
from kdlib.data.labelled_set import Splits
from kdlib.distill import Objective
from kdlib.distill.catalogue import METHODS
from kdlib.distill.setting import Setting
from kdlib.errors import KdlibError
from kdlib.models import MODELS
from kdlib.models import build as build_model
from kdlib.models.freezing import freeze_up_to
from kdlib.runs.entries import Damaged, Unusable, read_index, sweep
from kdlib.runs.files import ProgressSaver, load_run, read_run, save_run
from kdlib.runs.place import locked, store_root
from kdlib.runs.source import training_source
from kdlib.runs.spec import RunSpec
from kdlib.runs.teachers import KnownNetwork, KnownTeacher, outputs_of, weights_of
from kdlib.train.device import deterministic, resolve_device
from kdlib.train.loop import fit
from kdlib.train.processes import current
from kdlib.train.state import Run
from kdlib.train.stream import fit_stream


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
        if isinstance(one.teacher, KnownNetwork):
            modules.add(MODELS[one.teacher.model].__module__)
    return training_source(modules)


def get_or_train(spec: RunSpec, splits: Splits, *, device: str = "auto", label: str = "") -> Run:
    """The run of this specification on this data: from the store, or trained now and stored.

    A stored run is read without writing, so that a read-only store will do. Two processes that want the same run train
    it once: the second waits. Processes that work together (see `kdlib.train.processes`) train a streamed run together,
    and all get it. A damaged entry is reported in one line, moved aside and trained again; one that can't be read now,
    or that is another run, raises KdlibError. If the run can't be stored (no space), it is returned all the same, with
    a warning.
    """
    root = store_root()
    key = run_key(spec, splits, device)
    make = _model_builder(spec, splits)
    if key in _unkept:
        return _unkept[key]
    processes = current()

    def look() -> Run | None:
        try:
            return _checked(read_run(root / key, make), root, spec, splits)
        except Damaged:  # or being written or removed now: who holds the lock looks again
            return None

    run = processes.from_first(look)
    if run is None:
        with ExitStack() as held:
            processes.from_first(lambda: held.enter_context(locked(root, key)))
            run = processes.from_first(lambda: _checked(load_run(root / key, make), root, spec, splits))
            if run is None:
                run = _train(spec, splits, key, make, device, label or f"{spec.objective} seed {spec.seed}")
    if processes.first:
        sweep(root)
    return run


def _checked(run: Run | None, root: Path, spec: RunSpec, splits: Splits) -> Run | None:
    """The run as it is, if its own record tells of this specification and these data."""
    if run is not None:
        recorded = json.dumps(run.metadata.get("spec"), sort_keys=True, separators=(",", ":"))
        if (recorded, run.metadata.get("data_hash")) != (spec.canonical(), splits.content_hash()):
            remedy = f"remove it with `kdlib runs rm {run.key}`"
            raise Unusable(root / run.key, "tells of another training than its key", remedy)
    return run


def _train(spec: RunSpec, splits: Splits, key: str, make: Callable[[], nn.Module], device: str, label: str) -> Run:
    """Train a run that the store lacks and store it; the first process holds its lock and does all writing."""
    root, processes = store_root(), current()
    streamed = isinstance(splits.train, FolderStream)
    whole, splits = splits, _seen(spec, splits)
    if processes.count > 1 and not streamed:
        raise KdlibError(f"several processes can train only from streamed folders, not from {splits.name}; start one")
    if processes.first:
        sweep(root, held=key)
    objective = _objective(spec, splits, whole, device)
    saver = ProgressSaver(root / f".partial-{key}")
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
        kept = save_run(root, run)
        if kept:
            saver.remove()
        return kept

    if not processes.from_first(keep):
        _unkept[key] = run
    return run


def is_stored(spec: RunSpec, splits: Splits, device: str = "auto") -> bool:
    """Whether the store holds this run; its weights may still turn out to be damaged when they are read.

    Raises KdlibError if that can't be known now, or if something else has the run's name.
    """
    try:
        return read_index(store_root() / run_key(spec, splits, device)) is not None
    except Damaged:
        return False


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
        return freeze_up_to(model, spec.frozen_up_to) if spec.frozen_up_to else model

    return build


# Runs that could not be stored: this process at least trains them once.
_unkept: dict[str, Run] = {}


def kept_in_memory(keys: Iterable[str]) -> dict[str, Run]:
    """Those of these runs that this process trained and could not store."""
    return {key: _unkept[key] for key in keys if key in _unkept}


def keep_in_memory(runs: Mapping[str, Run]) -> None:
    """Take over runs that another process trained and could not store."""
    _unkept.update(runs)


# What the students of one teacher share in this process: its network and its answers.
_teachers: dict[tuple[str, ...], tuple[nn.Module, dict[str, Any]]] = {}


def _objective(spec: RunSpec, splits: Splits, whole: Splits, device: str) -> Objective:
    target = resolve_device(device)
    augmentation = Augmentation(spec.recipe.augment)
    model: nn.Module | None = None
    outputs: dict[str, Tensor] | None = None
    memory: dict[str, Any] = {}
    if isinstance(spec.teacher, KnownTeacher):
        outputs = {name: known.to(target) for name, known in outputs_of(spec.teacher).items()}
    elif spec.teacher is not None:
        key, make = _taught_by(spec.teacher, whole, device)
        name = (key, splits.content_hash(), augmentation.name, str(target))
        if name not in _teachers:
            _teachers[name] = make().to(target).eval(), {}
        model, memory = _teachers[name]
    student = _model_builder(spec, splits)().to(target)
    setting = Setting(student, splits.train.to(target), augmentation, spec.seed, model, outputs, memory)
    with deterministic():  # a builder may train a network of its own and fill the teacher's memory
        return METHODS[spec.objective].build(setting, **dict(spec.objective_options))


def _taught_by(teacher: RunSpec | KnownNetwork, whole: Splits, device: str) -> tuple[str, Callable[[], nn.Module]]:
    """What names a teacher's network, and what builds it with its weights."""
    if isinstance(teacher, RunSpec):
        run = get_or_train(teacher, whole, device=device, label="teacher")
        return run.key, lambda: run.model("last")
    options = whole.train.model_options() | dict(teacher.model_options)

    def make() -> nn.Module:
        model = build_model(teacher.model, **options)
        model.load_state_dict(weights_of(teacher))
        return model

    return teacher.content, make


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
