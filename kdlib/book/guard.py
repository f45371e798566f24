"""Run a command so that it and every process it starts end with the one that wanted it, however that one ends.

A notebook's kernel and its training processes each lead or leave process groups, so no signal to one group reaches
them all. A small process of its own, the guard, therefore starts the command and adopts whatever loses its parent. It
ends all of them when the command ends, and when its standard input closes: the system closes it when the caller dies,
even by SIGKILL.

    python -m kdlib.book.guard FOLDER COMMAND...    # FOLDER, of temporary files, is removed if the caller died
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_CLOSED = b"."  # what the caller writes when it ends the guard itself: it removes the folder then
_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER of Linux' prctl


@contextmanager
def guarded(
    command: Sequence[str], folder: Path, env: Mapping[str, str], output: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """The guard of a running command; its return code is the command's. When the block ends, all has ended.

    folder: where the command keeps temporary files; the caller removes it.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "kdlib.book.guard", str(folder), *command],
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


def _end_descendants() -> None:
    """End every process that descends from this one; new ones may appear while others are being ended."""
    import psutil

    own = psutil.Process()
    deadline = time.monotonic() + 4
    while (alive := _living(own)) and time.monotonic() < deadline:
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.suspend()  # none of them starts another one, or writes half a file, in the meantime
        for process in {*alive, *_living(own)}:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=0.5)


def _living(own: Any) -> list[Any]:
    import psutil

    found = []
    for process in own.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def main(folder: str, command: Sequence[str]) -> int:
    """Run the command to its end or the caller's, whichever comes first; return its exit code."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)  # only the caller ends it
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_ADOPT_ORPHANS, 1, 0, 0, 0)
    # The command must not inherit that signals are ignored: a kernel is interrupted by SIGINT.
    usual = _usual_signals if os.name == "posix" else None
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=usual)

    ending = threading.Event()

    def wait_for_the_caller() -> None:
        last = sys.stdin.buffer.read()
        ending.set()
        _end_descendants()
        if last != _CLOSED:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(128 + signal.SIGTERM)

    waiter = threading.Thread(target=wait_for_the_caller, daemon=True)
    waiter.start()
    code = process.wait()
    if ending.is_set():
        waiter.join()  # it ends this process
    _end_descendants()
    return code if code >= 0 else 128 - code


def _usual_signals() -> None:
    for number in _ENDING:
        signal.signal(number, signal.SIG_DFL)


if __name__ == "__main__":
    sys.stdout.flush()
    os._exit(main(sys.argv[1], sys.argv[2:]))  # a thread waits for input: a usual exit would wait for it
