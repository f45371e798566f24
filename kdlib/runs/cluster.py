"""Work on a Dask cluster: a function of kdlib, called on a worker in a process of its own, answers with content.

Dask schedules: it chooses the workers, and gives the work of one that died to another. Here is what it does not know:
that all have this kdlib, that a training needs a process of its own (one thread, and files as they are now, not as they
were when the worker began), and that work which nobody waits for any more is to end.

Everything goes through the scheduler's connections, so no disk is shared. Dask is imported only where it is used.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import pickle
import re
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any

from kdlib import __version__
from kdlib.errors import KdlibError, one_line, shortened, shown
from kdlib.lifeline import guarded, python_module
from kdlib.runs.source import PACKAGE
from kdlib.temporary import temporary_folder

PATIENCE = 10  # seconds that a scheduler has to answer, or that a first worker may be missing
_PORT = 8786
_ADDRESS = re.compile(
    r"(?:(?:tcp|tls|ws|wss|ucx)://)?(?P<host>\[[0-9a-fA-F:.]+\]|[^\s/:\[\]]+)(?::(?P<port>\d{1,5}))?/?"
)
_REMEDY = "give one such as tcp://127.0.0.1:8786"
_SOURCE = (".py", ".toml", ".txt", ".npz", ".js", ".css")
_INTERVAL = 0.5  # seconds between two looks whether work is still waited for


class WorkersDied(KdlibError):
    """Several workers in turn died over one piece of work."""


class SchedulerLost(KdlibError):
    """The scheduler, which had answered, does so no more: nothing more can be done."""


def identity() -> tuple[str, str]:
    """Version and source of this kdlib, which must be the same everywhere: a version, 20 hexadecimal digits.

    The files count as they are now: whatever is called on a worker is called in a new process.
    """
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix in _SOURCE and path.is_file():
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return __version__, digest.hexdigest()[:20]


class Cluster:
    """A connection to a Dask scheduler. address: as the user gave it."""

    def __init__(self, client: Any, address: str) -> None:
        self._client, self.address = client, address
        self._identity = identity()

    def submit(self, function: Callable[..., Any], *arguments: Any, needs: tuple[Any, ...] = ()) -> Any:
        """Begin `function(*arguments, *answers of needs)` on some worker; its future, for `finished` and `needs`.

        function: of a module of kdlib. needs: futures of what must be done before; Dask hands their answers on.
        """
        name = f"kdlib-{function.__name__}-{uuid.uuid4().hex}"
        work = pickle.dumps((function, arguments))
        return self._client.submit(_in_own_process, self._identity, work, *needs, key=name, pure=False)

    def hand(self, content: Any) -> Any:
        """A future of content that is here already. A worker that held it and died is no loss: it can be made again."""
        return self._client.submit(_itself, pickle.dumps(content), key=f"kdlib-given-{uuid.uuid4().hex}", pure=False)

    def finished(self, futures: dict[Any, Any]) -> Iterator[tuple[Any, Callable[[], Any]]]:
        """(value, answer) of each of these futures as they are done; answer() gives what the function returned.

        `futures` is emptied on the way, so that workers need not keep what is here. answer() raises KdlibError: what
        the function raised, `WorkersDied` or `SchedulerLost`.
        """
        from distributed import as_completed

        for future in as_completed(list(futures), loop=self._client.loop):
            yield futures.pop(future), partial(self._answer, future)

    def _answer(self, future: Any) -> Any:
        from distributed import KilledWorker

        try:
            return pickle.loads(future.result())
        except KdlibError:
            raise
        except KilledWorker as error:
            raise WorkersDied(
                "the workers that did it died, one after another (most likely for want of memory); start workers with "
                "more memory, or make it smaller"
            ) from error
        except Exception as error:
            if future.status == "error":  # raised on the worker, outside of the function: its disk is full, say
                what = shortened(one_line(f"{type(error).__name__}: {error}"), 300)
                raise KdlibError(f"a worker could not do it ({what}); see its log") from error
            raise SchedulerLost(
                f"the Dask scheduler at {self.address} went away; what was finished is kept: start it again, and the "
                "same command goes on"
            ) from error

    def check(self) -> None:
        """Raise KdlibError if there is no worker, or if one has another kdlib than this one."""
        try:
            self._client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError as error:
            raise KdlibError(
                f"the Dask scheduler at {self.address} has no workers; start some, such as by `dask worker "
                f"{self.address}`, where this kdlib is installed"
            ) from error
        for worker, found in self._client.run(identity, on_error="return").items():
            _compare(worker, found, self._identity)


def probe(address: str) -> None:
    """Raise KdlibError if Dask is not installed or nothing listens at this address; it loads nothing heavy.

    >>> probe("http://a:80")
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: 'http://a:80' is no address of a Dask scheduler; give one such as tcp://127.0.0.1:8786
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise KdlibError(f"{shown(address)} is no address of a Dask scheduler; {_REMEDY}")
    if find_spec("distributed") is None:
        raise KdlibError("--scheduler needs Dask, which is not installed: pip install 'kdlib[cluster]'")
    place = found["host"].strip("[]"), int(found["port"] or _PORT)
    try:
        socket.create_connection(place, timeout=PATIENCE).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise _silent(address) from error


def _silent(address: str) -> KdlibError:
    return KdlibError(
        f"no Dask scheduler answers at {shown(address)[1:-1]}; start one by `dask scheduler`, which prints its address"
    )


async def _greet(address: str) -> None:
    """Exchange Dask's greetings; the client itself would wait for them without end."""
    from distributed.core import connect
    from distributed.security import Security

    arguments = Security().get_connection_args("client")
    comm = await asyncio.wait_for(connect(address, timeout=PATIENCE, **arguments), PATIENCE)
    comm.abort()


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """A Dask cluster by its scheduler's address, such as "tcp://10.0.0.1:8786"; what is unfinished ends with the block.

    Raises KdlibError where Dask is not installed, the scheduler does not answer within some 10 s, it has no worker, or
    one of its workers has another kdlib.
    """
    probe(address)
    from distributed import Client

    for name in ("distributed", "distributed.client"):  # it tells of every failed attempt; we tell once
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        with ThreadPoolExecutor(1) as thread:  # a loop of its own, where a notebook's runs already
            thread.submit(asyncio.run, _greet(address)).result()
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, RuntimeError, TypeError) as error:  # something else listens there
        raise _silent(address) from error
    try:
        cluster = Cluster(client, address)
        cluster.check()
        yield cluster
    finally:
        client.close(timeout=PATIENCE)


# ---- on a worker ---------------------------------------------------------------------------------------------------


def _compare(worker: str, found: Any, wanted: tuple[str, str]) -> None:
    if found == wanted:
        return
    if isinstance(found, tuple):
        version, source = found
        what = f"kdlib {version}" if version != wanted[0] else f"kdlib {version} of another source ({source})"
    else:  # an error: it could not even find this module
        what = "no kdlib that can work in a cluster"
    raise KdlibError(
        f"the worker {worker} has {what}, and this is kdlib {wanted[0]} ({wanted[1]}); install the same there, and "
        "start the worker again"
    )


def _itself(content: bytes) -> bytes:
    return content


def _in_own_process(wanted: tuple[str, str], work: bytes, *needed: bytes) -> bytes:
    """Call a pickled function in a process of its own that ends with this worker; its answer, pickled."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    _compare(worker.address, identity(), wanted)  # one that came later than the check
    with temporary_folder("worker") as folder:
        (folder / "work").write_bytes(pickle.dumps((work, needed)))
        paths = (str(PACKAGE.parent), os.environ.get("PYTHONPATH", ""))
        threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
        environment = {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
        command = python_module(f"{__name__}:{_serve.__name__}", str(folder))
        with (folder / "log").open("wb") as log, guarded(command, folder, environment, log) as process:
            while process.poll() is None:
                try:
                    process.wait(timeout=_INTERVAL)
                except subprocess.TimeoutExpired:
                    task = worker.state.tasks.get(key)
                    if task is None or task.state == "cancelled":
                        raise KdlibError("nobody waits for this work any more") from None
        if not (folder / "answer").is_file():
            last = (folder / "log").read_text(errors="replace").strip().splitlines()[-1:]
            reason = last[0] if last and process.returncode == 1 else "killed, most likely for want of memory"
            raise KdlibError(f"work on {worker.address} was not finished: {shortened(one_line(reason), 300)}")
        answer = pickle.loads((folder / "answer").read_bytes())
    if isinstance(answer, KdlibError):
        raise answer
    return answer


def _serve() -> None:
    """In the process: call the function, leave its pickled answer or its KdlibError."""
    from pathlib import Path

    folder = Path(sys.argv[1])
    work, needed = pickle.loads((folder / "work").read_bytes())
    function, arguments = pickle.loads(work)
    try:
        answer: Any = pickle.dumps(function(*arguments, *map(pickle.loads, needed)))
    except KdlibError as error:
        answer = error
    fresh = folder / "answer.new"
    fresh.write_bytes(pickle.dumps(answer))
    fresh.rename(folder / "answer")
