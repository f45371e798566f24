"""No process outlives the one that wanted it, however that one ends: by an error, Ctrl-C, SIGTERM, SIGHUP or SIGKILL.

Two means, since each has a gap that the other closes:

- `end_with_parent`: a thread of a started process watches its parent and ends the process with it. It begins to watch
  when the process has come to call it, which takes seconds where a script that imports torch is read first.
- A guard: a small process beside the caller that watches it from outside and ends what it was given: a command and
  all that descends from it (`guarded`), or processes that the caller started itself (`guarding`). It also removes the
  caller's folder of temporary files. It has a session of its own, so that no signal to the caller's group reaches it;
  what it guards watches its own parent too, in case both are killed.

The guard notices the caller's end by its standard input, which the system closes then, and by its parent: something
else that the caller started might still hold the other end of the pipe.

    python lifeline.py guard CALLER FOLDER [COMMAND...]    # FOLDER, of temporary files, is removed if the caller died
    python lifeline.py module NAME [ARGUMENTS...]          # `python -m NAME`, to end with its parent
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import multiprocessing
import os
import queue
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_CLOSED = b"."  # what the caller writes when it ends the guard itself: it removes the folder then
# What is sent to end a process that may tidy up first; the last one is not known everywhere.
ENDING_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER of Linux' prctl
_INTERVAL = 0.2  # seconds between two looks at the parent
_PATIENCE = 4  # seconds for ending what was guarded


# ---- in the process that should end --------------------------------------------------------------------------------


def end_with_parent() -> None:
    """Let this process end when the one that started it ends; to be called as early as can be.

    The parent of a process of `multiprocessing` is the one that wanted it, also where a fork server forked it.
    """
    wanted_by, parent = multiprocessing.parent_process(), os.getppid()
    own_child = wanted_by is None or wanted_by.pid == parent  # a fork server may end before those it forked

    def watch() -> None:
        while not own_child or os.getppid() == parent:
            if wanted_by is None:
                time.sleep(_INTERVAL)
            else:
                wanted_by.join(_INTERVAL)
                if not wanted_by.is_alive():
                    break
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end with parent").start()


def end_with_torchrun() -> None:
    """Let this process end with the `torchrun` that started it; nothing where it was started otherwise."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    end_with_parent()
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":  # torchrun itself is where the processes meet
        try:
            socket.create_connection((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), timeout=60).close()
        except ConnectionRefusedError:  # it ended before we began to watch; torch would wait for it for days
            os._exit(1)
        except OSError:  # torch says better what is wrong
            return


def begin_worker(module: str, function: str, *arguments: Any) -> None:
    """The initializer of a pool's processes: call `module.function(*arguments)`, after what guards the process.

    The function is given by its name, so that the process watches its parent before it imports torch. Ctrl-C in a
    terminal goes to the pool's owner alone, which ends the others.
    """
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    getattr(importlib.import_module(module), function)(*arguments)


# ---- in the caller -------------------------------------------------------------------------------------------------


def python_module(name: str, *arguments: str) -> list[str]:
    """The command `python -m name arguments` of this interpreter, for a process that ends with its parent.

    name: of a module, or "module:function" as of an installed command.
    """
    return [sys.executable, "-P", __file__, "module", name, *arguments]


@contextmanager
def guarded(
    command: Sequence[str], folder: Path, env: Mapping[str, str] | None, output: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """The guard of a running command; its return code is the command's. When the block ends, all has ended.

    folder: of the command's temporary files; the caller removes it, and the guard does if the caller has died.
    output: where the command's standard output and errors go.
    """
    with _guard(folder, command, env, output) as guard:
        yield guard


class Guard:
    """Ends the processes that it was given when the caller ends."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def watch(self, processes: Iterable[Any]) -> None:
        """Guard these processes (with a `pid`) too."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it was killed: those that were begun by `begin_worker` guard themselves
            self._process.stdin.write(b"".join(b"%d\n" % process.pid for process in processes))
            self._process.stdin.flush()


@contextmanager
def guarding(folder: Path) -> Iterator[Guard]:
    """A guard of processes that the caller starts within the block; when the block ends, those given to it have ended.

    folder: of their temporary files; the caller removes it, and the guard does if the caller has died.
    """
    with _guard(folder, (), None, subprocess.DEVNULL) as guard:
        yield Guard(guard)


@contextmanager
def _guard(
    folder: Path, command: Sequence[str], env: Mapping[str, str] | None, output: IO[bytes] | int
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        # By its file: the caller may have found kdlib where another process would not look for it.
        [sys.executable, "-P", __file__, "guard", str(os.getpid()), str(folder), *command],
        env=env,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        # Ctrl-C in a terminal goes to the caller alone, which ends the guard.
        start_new_session=True,
    )
    assert process.stdin is not None
    try:
        yield process
    finally:
        with contextlib.suppress(OSError):  # it has ended by itself
            process.stdin.write(_CLOSED)
            process.stdin.close()
        process.wait()


# ---- the guard -----------------------------------------------------------------------------------------------------


def guard(caller: int, folder: str, command: Sequence[str]) -> int:
    """Run the command, or guard the processes given to it, until it ends or the caller does; return the exit code."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # only the caller ends it
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_ADOPT_ORPHANS, 1, 0, 0, 0)
    news: queue.SimpleQueue[int | bytes] = queue.SimpleQueue()  # the command's code, or what the caller says

    def listen() -> None:
        for line in sys.stdin.buffer:
            news.put(line)
        news.put(b"")

    def watch() -> None:
        while os.getppid() == caller:
            time.sleep(_INTERVAL)
        news.put(b"")

    for target in (listen, watch):
        threading.Thread(target=target, daemon=True).start()
    if command:
        # The command must not inherit that signals are ignored: a kernel is interrupted by SIGINT.
        usual = _usual_signals if os.name == "posix" else None
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=usual)
        threading.Thread(target=lambda: news.put(process.wait()), daemon=True).start()
    watched: list[Any] = []
    while True:
        heard = news.get()
        if isinstance(heard, bytes) and heard not in (b"", _CLOSED):
            watched += _processes(heard)
            continue
        _end(watched)
        if heard == b"":
            _remove(folder)
        if isinstance(heard, int):
            return heard if heard >= 0 else 128 - heard
        return 128 + signal.SIGTERM


def _remove(folder: str) -> None:
    """Remove the folder, its owner's hidden file last: without it no later start would clear what is left."""

    def content() -> list[os.DirEntry[str]]:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            return [entry for entry in entries if entry.name != ".kdlib-owner"]
        return []

    for entry in content():
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)  # noqa: PTH108 - a Path would have to be made of it
    if not content():
        shutil.rmtree(folder, ignore_errors=True)


def _processes(line: bytes) -> list[Any]:
    import psutil

    if not line.endswith(b"\n"):  # half a number: the caller was killed
        return []
    try:
        return [psutil.Process(int(line))]  # it knows the process from a later one with the same number
    except psutil.NoSuchProcess:
        return []


def _end(watched: Sequence[Any]) -> None:
    """End what was given and all that descends from it or from this process; new ones may appear in the meantime."""
    import psutil

    roots = [psutil.Process(), *watched]
    deadline = time.monotonic() + _PATIENCE
    while (alive := _living(roots)) and time.monotonic() < deadline:
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.suspend()  # none of them starts another one, or writes half a file, in the meantime
        for process in {*alive, *_living(roots)}:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=0.5)


def _living(roots: Sequence[Any]) -> list[Any]:
    import psutil

    found = []
    for root in roots:
        with contextlib.suppress(psutil.Error):
            found += [root, *root.children(recursive=True)]
    alive = []
    for process in found:
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


def _usual_signals() -> None:
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def do_without_a_grammar() -> None:
    """Spare this process a second: jsonschema, which nbformat imports, compiles a grammar of web addresses where it
    finds one to import. No notebook's schema has that format.
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]


def _run_module(name: str, arguments: Sequence[str]) -> None:
    end_with_parent()
    do_without_a_grammar()
    sys.argv = [name, *arguments]
    module, _, function = name.partition(":")
    if function:
        sys.exit(getattr(importlib.import_module(module), function)())
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if sys.argv[1] == "module":
        _run_module(sys.argv[2], sys.argv[3:])
    else:
        code = guard(int(sys.argv[2]), sys.argv[3], sys.argv[4:])
        sys.stdout.flush()
        os._exit(code)  # a thread waits for input: a usual exit would wait for it
