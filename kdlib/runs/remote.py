"""Trainings on a Dask cluster: each on some worker, the finished run sent back into the caller's run store.

A worker trains in its own run store (`$KDLIB_RUNS` there), so that a training that was cut off goes on there; what a
training builds on, such as its teacher, is sent along. Students of one teacher do not share its answers as they do on
one machine: each fills them anew, which takes about an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from kdlib.data.labelled_set import Splits
from kdlib.errors import KdlibError
from kdlib.runs.cluster import Cluster
from kdlib.runs.entries import Damaged, is_whole
from kdlib.runs.files import run_files, store_files
from kdlib.runs.parallel import needed_first
from kdlib.runs.place import store_root
from kdlib.runs.spec import RunSpec
from kdlib.runs.store import get_or_train, is_stored, run_key
from kdlib.train.device import watched


@dataclass(frozen=True)
class Study:
    """Runs on one data set. load: what makes the data on a worker, to be pickled; it must give these splits."""

    specs: Sequence[RunSpec]
    splits: Splits
    load: Callable[[], Splits]


def train_missing_on(cluster: Cluster, studies: Sequence[Study], *, device: str = "auto") -> int:
    """Train those of the specs (and their teachers) that the caller's store lacks; returns how many there were.

    A run is stored here as soon as it is done. Raises KdlibError for the first training that fails, or if a worker's
    data are not the caller's; what was finished until then is kept.
    """
    root = store_root()
    begun: dict[Any, RunSpec] = {}
    here: dict[str, Any] = {}
    for study in studies:
        futures: dict[RunSpec, Any] = {}
        for spec in dict.fromkeys(needed_first(study.specs)):
            if is_stored(spec, study.splits, device):
                continue
            key, needs = run_key(spec, study.splits, device), []
            for other in spec.others():
                if other not in futures and (name := run_key(other, study.splits, device)) not in here:
                    here[name] = cluster.hand((name, _files_here(other, study.splits, device)))
                needs.append(futures[other] if other in futures else here[name])
            futures[spec] = cluster.submit(_train_there, spec, study.load, key, device, needs=tuple(needs))
            begun[futures[spec]] = spec
    count = len(begun)
    with tqdm(total=count, desc="training", unit="run", disable=not (count and watched()), leave=False) as bar:
        for spec, answer in cluster.finished(begun):
            try:
                key, files = answer()
            except KdlibError as error:
                raise KdlibError(f"the training of {spec.objective}, seed {spec.seed}, failed: {error}") from error
            store_files(root, key, files)
            bar.update()
    return count


def _files_here(spec: RunSpec, splits: Splits, device: str) -> dict[str, bytes]:
    """The content of a run of the caller's store; a damaged one is trained anew."""
    run = get_or_train(spec, splits, device=device)
    files = run_files(store_root() / run.key)
    if files is None:
        raise KdlibError(f"the run {run.key} can't be kept in {store_root()}; free space or set KDLIB_RUNS")
    return files


Named = tuple[str, dict[str, bytes]]  # the key of a run and its content


def _train_there(spec: RunSpec, load: Callable[[], Splits], key: str, device: str, *needed: Named) -> Named:
    """On a worker: train, and give the run as content. needed: what it builds on."""
    torch.set_num_threads(1)  # the bits of a training must not depend on a worker's cores
    root = store_root()
    for name, files in needed:
        if not is_whole(root / name):
            store_files(root, name, files)
    splits = load()
    if run_key(spec, splits, device) != key:
        raise KdlibError(
            "a worker's data or versions give another run than the caller's; install the same packages and data there"
        )
    run = get_or_train(spec, splits, device=device)
    return key, _content(root / run.key)


def _content(folder: Path) -> dict[str, bytes]:
    try:
        files = run_files(folder)
    except Damaged as damage:
        raise KdlibError(f"the worker's run {folder.name} is damaged ({damage})") from damage
    if files is None:
        raise KdlibError(f"a worker can't keep runs in {folder.parent}; free space there or set KDLIB_RUNS")
    return files
