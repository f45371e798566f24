"""Several trainings side by side, one process a core.

A training on a CPU uses one thread, so that its bits do not depend on the number of cores (see
`kdlib.train.deterministic`); the cores are used by training as many networks at once. On a GPU trainings run one after
another.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch
from tqdm.auto import tqdm

from kdlib.data.image_set import Splits
from kdlib.errors import KdlibError
from kdlib.runs import RunSpec, get_or_train, is_stored
from kdlib.train import resolve_device, watched

_WORTH_PROCESSES = 20_000  # images to be trained on: starting a process costs as much as about half of them


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def train_missing(specs: Sequence[RunSpec], splits: Splits, *, device: str = "auto", workers: int | None = None) -> int:
    """Train those of `specs` (and their teachers) that the store lacks; returns how many there were.

    workers: processes; by default one a core, and none besides this one where there is little to do. Every run is the
    same, bit for bit, whichever way it is trained. Raises what a training raises; the others are stopped then, and go
    on from their last epoch the next time.
    """
    wanted = {spec.canonical(): spec for spec in _teachers_first(specs)}
    missing = [spec for spec in wanted.values() if not is_stored(spec, splits, device)]
    images = sum(spec.recipe.epochs * len(splits.train) for spec in missing)
    if workers is None:
        workers = 1 if resolve_device(device).type != "cpu" or images < _WORTH_PROCESSES else cores()
    workers = min(workers, len(missing))
    bar = tqdm(total=len(missing), desc="training", unit="run", disable=not (missing and watched()), leave=False)
    with bar:
        if workers <= 1:
            for spec in missing:
                get_or_train(spec, splits, device=device)
                bar.update()
        else:
            _in_processes(missing, splits, device, workers, bar)
    return len(missing)


def _teachers_first(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """The specs and all their teachers: teachers, then runs without one, then the others, which would wait for them."""
    teachers: list[RunSpec] = []
    for spec in specs:
        teacher = spec.teacher
        while teacher is not None:
            teachers.insert(0, teacher)
            teacher = teacher.teacher
    return teachers + sorted(specs, key=lambda spec: spec.teacher is not None)


def _in_processes(specs: list[RunSpec], splits: Splits, device: str, workers: int, bar: tqdm) -> None:
    others = set(multiprocessing.active_children())
    with tempfile.TemporaryDirectory(prefix="kdlib-") as folder:
        path = Path(folder) / "splits.pt"
        torch.save(splits, path)
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, context, _start, (str(path), device))
        try:
            for done in as_completed([pool.submit(_train, spec) for spec in specs]):
                done.result()
                bar.update()
            pool.shutdown()
        except BrokenProcessPool as error:
            raise KdlibError(
                "a process that trained a network was killed, most likely for want of memory; run it again "
                "(what was trained is kept) or with fewer images"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()


_work: tuple[Splits, str] | None = None


def _start(path: str, device: str) -> None:
    """Runs first in each process."""
    global _work
    torch.set_num_threads(1)
    _work = torch.load(path, weights_only=False), device  # written by the process that started this one


def _train(spec: RunSpec) -> None:
    assert _work is not None
    splits, device = _work
    get_or_train(spec, splits, device=device)
