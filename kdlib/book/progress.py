"""What a build says while it works: lines that stay, and on a terminal a line for each notebook at work."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

Say = Callable[[str], None]
Counter = Callable[[int, int, float], None]  # cells done, cells in all, seconds


def counted(label: str, done: int, total: int, seconds: float) -> str:
    """
    >>> counted("kd_loss", 3, 20, 8.2)
    'kd_loss: cell 3 of 20, 8 s'
    """
    return f"{label}: {f'cell {done} of {total}, ' if total else ''}{seconds:.0f} s"


def line_on_terminal(label: str) -> Counter | None:
    """A counter that rewrites its own line, where there is a terminal to see it."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int, seconds: float) -> None:
        print(f"\r{counted(label, done, total, seconds)} ", end="\r", file=sys.stderr, flush=True)

    return show


class Board:
    """Lines that stay, above a line for each notebook that is at work; without a terminal only the former."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._lines: dict[str, str] = {}
        self._drawn = 0
        self._live = sys.stderr.isatty()

    def say(self, line: str, done: str | None = None) -> None:
        """Say a line that stays; `done`: the label that is no longer at work."""
        with self._lock:
            self._lines.pop(done or "", None)
            self._erase()
            self._say(line)
            self._draw()

    def counter(self, label: str) -> Counter | None:
        """What keeps the line of the notebook `label`."""
        if not self._live:
            return None

        def show(done: int, total: int, seconds: float) -> None:
            with self._lock:
                self._lines[label] = counted(label, done, total, seconds)
                self._erase()
                self._draw()

        return show

    def _erase(self) -> None:
        if self._drawn:
            print(f"\x1b[{self._drawn}F\x1b[J", end="", file=sys.stderr, flush=True)
            self._drawn = 0

    def _draw(self) -> None:
        for line in self._lines.values():
            print(line[:78], file=sys.stderr, flush=True)
        self._drawn = len(self._lines)
