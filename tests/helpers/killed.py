"""Real parents that are started to be killed, and a look at what they leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kdlib.book.notebooks import REPOSITORY

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks at processes under /proc")
# Seconds until everything has gone: it takes less than 5 on a quiet machine; by themselves they would take 600.
SOON = 120
# Tasks for `in_processes`, in a module that the processes find: each takes ten minutes.
SLEEPERS = "import time\ndef sleep(shared, task):\n    time.sleep(600)\n"
POOL = """\
import sys
sys.path.insert(0, {folder!r})
from sleepers import sleep
from tqdm import tqdm
from kdlib.runs.parallel import in_processes
if __name__ == "__main__":
    in_processes(sleep, [1], [1, 2, 3], 2, tqdm(disable=True))
"""


def pool_script(folder: Path) -> str:
    """A script that has two processes at work for half an hour; what it imports is written into the folder."""
    (folder / "sleepers.py").write_text(SLEEPERS)
    return POOL.format(folder=str(folder))


class Parent:
    """A command with a mark in its environment, which all that it starts inherit, and its own temporary files.

    ignored: signals that it is to ignore, as a shell's background job ignores SIGINT and nohup's SIGHUP.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, ignored: Sequence[int] = ()) -> None:
        self.mark = f"mark-{folder.name}-{os.getpid()}-{time.monotonic_ns()}"
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        variables = {"KDLIB_TEST_MARK": self.mark, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(self.temporary)}
        handlers = dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_DFL)
        handlers |= dict.fromkeys(ignored, signal.SIG_IGN)
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, **variables},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: [signal.signal(*pair) for pair in handlers.items()],
        )

    def living(self, words: str = "") -> dict[int, str]:
        """Process number -> command line of those that run, with these words in it; zombies have none."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark in entry.read_bytes().decode(errors="replace"):
                    line = (entry.parent / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
                    found[int(entry.parent.name)] = line
            except OSError:
                continue
        return {number: line for number, line in found.items() if line and words in line}

    def wait_for(self, words: str, count: int) -> None:
        """Wait until `count` processes with these words in their command line run."""

        def there() -> bool:
            if self.process.poll() is not None:
                assert self.process.stderr is not None
                pytest.fail(f"the parent has ended by itself: {self.process.stderr.read().decode()}")
            return len(self.living(words)) >= count

        assert wait_until(there, 300), self.living()

    def kill(self, *words: str) -> None:
        """Kill by SIGKILL the processes with one of these words in their command line."""
        for number in {number for word in words for number in self.living(word)}:
            os.kill(number, signal.SIGKILL)

    def all_gone(self) -> bool:
        return wait_until(lambda: not self.living(), SOON)

    def end(self) -> tuple[int, str]:
        """Wait for the parent: its exit code and what it said on stderr."""
        _, message = self.process.communicate(timeout=SOON)
        return self.process.returncode, message.decode()

    def left(self) -> list[str]:
        """kdlib's temporary files that are still there."""
        return sorted(path.name for path in self.temporary.glob("kdlib-*"))


def wait_until(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()
