"""Where data sets are stored that kdlib does not ship."""

from __future__ import annotations

import os
from pathlib import Path


def data_root(root: str | Path | None = None) -> Path:
    """The folder of downloaded data sets: `root` if given, else `$KDLIB_DATA`, else ~/.cache/kdlib/data."""
    named = root or os.environ.get("KDLIB_DATA")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "kdlib" / "data"
