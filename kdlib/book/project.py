"""Where the parts of a book lie, and which chapters it has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlib.book.notebooks import REPOSITORY, list_notebooks
from kdlib.errors import KdlibError

TIMES = "seconds.json"  # beside the committed results: how long each notebook took


@dataclass(frozen=True)
class Project:
    """Where the parts of a book lie; `root` holds _config.yml, _toc.yml, book/ and notebooks/."""

    root: Path = REPOSITORY
    executed_at: Path | None = None
    build_at: Path | None = None

    @property
    def notebooks(self) -> Path:
        return self.root / "notebooks"

    @property
    def executed(self) -> Path:
        """Notebooks executed on this machine, with their metrics."""
        return self.executed_at or self.root / "book/executed"

    @property
    def build(self) -> Path:
        return self.build_at or self.root / "_build"

    @property
    def results(self) -> list[Path]:
        """Where records lie; the later folder wins, so fresh results stand before committed ones of their preset."""
        return [self.root / "book/results", self.executed]

    def chapters(self) -> list[Path]:
        """The notebooks in the order of the table of contents; the two must name the same files."""
        import yaml

        try:
            toc = (self.root / "_toc.yml").read_text(encoding="utf-8")
        except OSError:
            raise KdlibError(f"{self.root} has no _toc.yml; run this in a clone of the repository") from None
        listed = [name for name in _files_in(yaml.safe_load(toc)) if name.startswith("notebooks/")]
        paths = [self.root / (name.removesuffix(".ipynb") + ".ipynb") for name in listed]
        for path in paths:
            if not path.is_file():
                raise KdlibError(f"_toc.yml names notebooks/{path.stem}, but there is no notebooks/{path.name}")
        for path in list_notebooks(self.notebooks):
            if path not in paths:
                raise KdlibError(f"notebooks/{path.name} is not in the book; add it to _toc.yml")
        return paths

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the book for the time of the block: it is built, or its outputs are written back, by one at a time.

        The system frees it if this process dies. Raises KdlibError if another process holds it.
        """
        from filelock import FileLock, Timeout

        self.build.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.build / ".lock", timeout=0):
                yield
        except Timeout:
            raise KdlibError(f"another build is at work in {self.build}; wait for it to end") from None

    def seconds(self) -> dict[str, float]:
        """How long each notebook took when its committed results were made."""
        record = self.root / "book/results/quick" / TIMES
        return json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}


def _files_in(node: Any) -> list[str]:
    """Every page a table of contents names, in its order."""
    if isinstance(node, dict):
        own = [str(node[key]) for key in ("root", "file") if key in node]
        return own + [name for value in node.values() for name in _files_in(value)]
    if isinstance(node, list):
        return [name for item in node for name in _files_in(item)]
    return []
