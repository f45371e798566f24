"""Several trainings in parallel, one process a core.

A training on a CPU uses one thread, so that its bits do not depend on the number of cores (see
`kdlib.train.device.deterministic`); the cores are used by training as many networks at once. On a GPU trainings run
one after another.
"""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch
from tqdm.auto import tqdm

from kdlib.cores import cores
from kdlib.data.labelled_set import Splits
from kdlib.distill.catalogue import METHODS
from kdlib.errors import KdlibError
from kdlib.lifeline import begin_worker, guarding
from kdlib.runs.place import reason
from kdlib.runs.spec import RunSpec
from kdlib.runs.store import get_or_train, is_stored, keep_in_memory, kept_in_memory, run_key
from kdlib.runs.teachers import KnownNetwork, KnownTeacher
from kdlib.temporary import clear_leftovers, temporary_folder
from kdlib.train.device import resolve_device, watched

Task = TypeVar("Task")
Result = TypeVar("Result")
_WORTH_PROCESSES = 20_000  # images to be trained on: starting a process costs as much as about half of them


def train_missing(specs: Sequence[RunSpec], splits: Splits, *, device: str = "auto", workers: int | None = None) -> int:
    """Train those of `specs` (and their teachers) that the store lacks; returns how many there were.

    workers: processes; by default one a core, and none besides this one where there is little to do. Every run is the
    same, bit for bit, whichever way it is trained. Raises what a training raises; the others are stopped then, and go
    on from their last epoch the next time.
    """
    return train_missing_of([(specs, splits)], device=device, workers=workers)


def train_missing_of(
    studies: Sequence[tuple[Sequence[RunSpec], Splits]], *, device: str = "auto", workers: int | None = None
) -> int:
    """`train_missing` for several data sets at once: no core waits for the last teacher of one of them."""
    missing, images = [], 0
    for specs, splits in studies:
        wanted = dict.fromkeys(needed_first(specs))
        missing.append([spec for spec in wanted if not is_stored(spec, splits, device)])
        images += sum(spec.recipe.epochs * len(splits.train) for spec in missing[-1])
    if workers is None:
        workers = cores() if worth_processes(images, device) else 1
    groups = [(study, group) for study, specs in enumerate(missing) for group in _groups(specs, workers)]
    needed = {other for specs, _ in studies for spec in specs for other in spec.needs()}
    # All that others wait for, then runs that wait for none, then the others; the order within a study stays.
    groups.sort(key=lambda task: (len(task[1][0].others()), task[1][0] not in needed))
    bar = tqdm(total=len(groups), desc="training", unit="group", disable=not (groups and watched()), leave=False)
    with bar:
        for unkept in in_processes(_train, ([splits for _, splits in studies], device), groups, workers, bar):
            keep_in_memory(pickle.loads(unkept))
    return sum(map(len, missing))


def worth_processes(images: int, device: str) -> bool:
    """Whether trainings on this many images, epochs counted, are worth more processes than this one."""
    return resolve_device(device).type == "cpu" and images >= _WORTH_PROCESSES


def needed_first(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """The specs and all runs they build on: these first, then runs that wait for none, then the others."""
    needed = [other for spec in specs for other in spec.others()]
    return sorted([*needed, *specs], key=lambda spec: len(spec.others()))


def _groups(specs: Sequence[RunSpec], workers: int) -> list[list[RunSpec]]:
    """Runs that one process should train one after another, in the order in which to begin them.

    Students of one teacher and method share the teacher's memory in a process, which takes about an epoch to fill. The
    longest groups of students come first, so that none is begun last; few groups are cut, so that no process idles.
    """
    alone = [[spec] for spec in specs if spec.teacher is None and spec.start is None]
    started = [[spec] for spec in specs if spec.teacher is None and spec.start is not None]
    taught: dict[tuple[str, RunSpec | KnownTeacher | KnownNetwork], list[RunSpec]] = {}
    for spec in specs:
        if spec.teacher is not None:
            taught.setdefault((spec.objective, spec.teacher), []).append(spec)
    groups = list(taught.values())
    if len(groups) < 2 * workers:
        groups = [group[part::workers] for group in groups for part in range(min(workers, len(group)))]
    groups.sort(key=lambda group: -sum(METHODS[spec.objective].cost * spec.recipe.epochs for spec in group))
    return alone + groups + started


def in_processes(
    work: Callable[[Any, Task], Result], shared: Any, tasks: Sequence[Task], workers: int, bar: tqdm
) -> list[Result]:
    """work(shared, task) for each task, in their order; in this process if `workers` or the tasks are fewer than 2.

    work: a function of a module, to be found by the others. shared: handed over once a process, through a file.
    bar: moves on with each task. The first error is raised, and the other processes are stopped then. They end within
    seconds when this process does, whatever ended it; what a killed one left of its files is removed before.
    """
    clear_leftovers()
    results = []
    # A process of a `multiprocessing.Pool` may have none of its own.
    if min(workers, len(tasks)) < 2 or multiprocessing.current_process().daemon:
        for task in tasks:
            results.append(work(shared, task))
            bar.update()
        return results
    others = set(multiprocessing.active_children())
    with temporary_folder("training") as folder, guarding(folder) as guard:
        path = folder / "shared.pt"
        try:
            torch.save(shared, path)
        except (OSError, RuntimeError) as error:  # of torch, if the disk is full
            raise KdlibError(
                f"can't write what the other processes need to {folder} ({reason(error)}); free space or set TMPDIR to "
                "another folder"
            ) from error
        context = multiprocessing.get_context("spawn")
        start = (__name__, _start.__name__, str(path))
        pool = ProcessPoolExecutor(min(workers, len(tasks)), context, begin_worker, start)
        started: set[Any] = set()
        try:
            futures = [pool.submit(_call, work, task) for task in tasks]
            started = set(multiprocessing.active_children()) - others
            guard.watch(started)
            for done in as_completed(futures):
                done.result()
                bar.update()
            results = [future.result() for future in futures]
            pool.shutdown()
        except BrokenProcessPool as error:
            for process in started:
                process.kill()
            pool.shutdown()
            if any((process.exitcode or 0) >= 0 for process in started):
                raise KdlibError(
                    "a process that was to train ended by itself, by the error above; a script that trains must be a "
                    'file with its work below `if __name__ == "__main__":`'
                ) from error
            raise KdlibError(
                "a process that trained a network was killed, most likely for want of memory; run it again "
                "(what was trained is kept) or with fewer images"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - others:
                process.kill()  # SIGTERM may be ignored: they inherit that
    return results


_shared: Any = None


def _start(path: str) -> None:
    """Runs first in each process, after `begin_worker`."""
    global _shared
    torch.set_num_threads(1)
    _shared = torch.load(path, weights_only=False)  # written by the process that started this one


def _call(work: Callable[[Any, Task], Result], task: Task) -> Result:
    return work(_shared, task)


def _train(shared: tuple[list[Splits], str], task: tuple[int, list[RunSpec]]) -> bytes:
    """Gives back the runs that could not be stored; as bytes, since shared memory is often small."""
    (all_splits, device), (study, specs) = shared, task
    for spec in specs:
        get_or_train(spec, all_splits[study], device=device)
    return pickle.dumps(kept_in_memory(run_key(spec, all_splits[study], device) for spec in specs))
