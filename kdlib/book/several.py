"""Several notebooks at once, each in processes of its own with one thread: results are those of one after another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from kdlib.cores import cores

Task = TypeVar("Task")
Result = TypeVar("Result")


def several_at_once(
    work: Callable[[Task, threading.Event], Result], tasks: Sequence[Task], jobs: int | None = None
) -> list[Result]:
    """work(task, stop) for each task, `jobs` at once (None: one a core); the results, in the order of their ends.

    Whatever ends this early, an error of a task or an interruption, ends them all: `stop` is set then, which work hands
    on to `execute_notebook`, and no other task is begun.

    >>> sorted(several_at_once(lambda task, stop: task * task, [1, 2, 3], jobs=2))
    [1, 4, 9]
    """
    stop = threading.Event()

    def begin(task: Task) -> Result:
        if stop.is_set():
            raise KeyboardInterrupt
        try:
            return work(task, stop)
        except BaseException:
            stop.set()  # before this thread takes the next one
            raise

    with ThreadPoolExecutor(cores() if jobs is None else jobs) as pool:
        futures = [pool.submit(begin, task) for task in tasks]
        try:
            return [future.result() for future in as_completed(futures)]
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
