"""Files that take the place of earlier ones, whole or not at all."""

from __future__ import annotations

import glob
import os
from pathlib import Path


def replace_file(path: Path, content: str | bytes) -> None:
    """Write `content` (text as UTF-8) to `path` so that a reader sees the old file or the whole new one, never a part.

    What the new file needs while it is written lies beside it and is gone afterwards, also if that fails; what a killed
    process left of such a file goes with the next one. Raises OSError where it can't be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if _is_of_the_dead(leftover.suffix[1:]):
            leftover.unlink(missing_ok=True)
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_of_the_dead(number: str) -> bool:
    """Whether a file with this number was left by a process that was killed."""
    import psutil

    return number.isdecimal() and not psutil.pid_exists(int(number))
