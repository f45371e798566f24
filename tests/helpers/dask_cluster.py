"""A Dask scheduler and workers as processes of this machine, which can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from killed import wait_until

from kdlib.book.notebooks import REPOSITORY

PATIENCE = 300  # seconds until a process must be there: against hanging only


class LocalCluster:
    """A scheduler, and workers that share no store of runs; `folder` holds what they write.

    deaths: how many workers may die over a piece of work before it is given up.
    """

    def __init__(self, folder: Path, deaths: int = 3) -> None:
        self.folder = folder
        self._deaths = str(deaths)
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self._file = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0")
        assert wait_until(self._file.exists, PATIENCE), self.log("scheduler")
        self.address: str = json.loads(self._file.read_text())["address"]

    def _start(self, kind: str, *arguments: str, name: str = "", source: Path = REPOSITORY) -> subprocess.Popen[bytes]:
        name = name or kind
        own = {"PYTHONPATH": str(source), "KDLIB_RUNS": str(self.store(name)), "KDLIB_TEST_WORKER": name}
        own["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] = self._deaths
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--scheduler-file", str(self._file)]
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [*command, "--no-dashboard", *arguments],
                cwd=self.folder,
                env={**os.environ, **own},
                stdout=log,
                stderr=log,
            )

    def start_worker(self, name: str, source: Path = REPOSITORY) -> None:
        """A worker that does one thing at a time. source: the folder of its kdlib."""
        arguments = ("--nthreads", "1", "--no-nanny", "--name", name, "--local-directory", str(self.folder / "dask"))
        self.workers[name] = self._start("worker", *arguments, name=name, source=source)

    def store(self, name: str) -> Path:
        """A worker's own store of runs."""
        return self.folder / f"runs-{name}"

    def kill_worker(self, name: str) -> None:
        self.workers[name].kill()
        self.workers[name].wait()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def close(self) -> None:
        for process in (*self.workers.values(), self.scheduler):
            process.kill()
            process.wait()


@contextmanager
def local_cluster(folder: Path, *workers: str, deaths: int = 3) -> Iterator[LocalCluster]:
    """A scheduler with these workers, gone when the block ends."""
    pytest.importorskip("distributed")
    folder.mkdir(parents=True, exist_ok=True)
    cluster = LocalCluster(folder, deaths)
    try:
        for name in workers:
            cluster.start_worker(name)
        yield cluster
    finally:
        cluster.close()


@contextmanager
def once(holds: Callable[[], object], then: Callable[[], None]) -> Iterator[None]:
    """Within the block, another thread calls `then` as soon as `holds()`; the test fails if that never comes."""
    begun = threading.Event()
    left = threading.Event()

    def watch() -> None:
        if wait_until(lambda: bool(holds() or left.is_set()), PATIENCE) and not left.is_set():
            begun.set()  # before, or the block might end in between
            then()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
        assert begun.is_set(), "what should have happened on the way did not"
    finally:
        left.set()
        thread.join()
