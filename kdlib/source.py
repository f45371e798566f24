"""Which source a training depends on: the text of its modules and of all they import."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from kdlib.errors import KdlibError

PACKAGE = Path(__file__).parent
# What shapes a training. Errors, statistics, the run store itself and everything above it do not.
SHAPES_TRAINING = (
    "data", "models", "distill", "capture.py", "lesson.py", "processes.py", "train.py", "train_stream.py", "travel.py",
)  # fmt: skip
# Names of networks, methods and data sets: a new one changes nothing for the others.
_TABLES = ("models/__init__.py", "distill/catalogue.py", "data/__init__.py", "data/catalogue.py")
_ALWAYS = ("kdlib.train", "kdlib.models.seeded", "kdlib.distill.setting")


def training_source(modules: Iterable[str]) -> str:
    """Hash of the source of the trainings that these modules have a part in: those of network, method and data.

    A method's file that changes changes the hash of its own trainings and leaves that of the others.

    >>> one, other = training_source(["kdlib.distill.kd"]), training_source(["kdlib.distill.contrastive"])
    >>> one == other, one == training_source(["kdlib.distill.kd"])
    (False, True)
    """
    own = {name for name in modules if name.split(".")[0] == "kdlib"}  # a user's module has no place here
    return _source_hash(frozenset(own | set(_ALWAYS)), PACKAGE)


@functools.cache
def _source_hash(modules: frozenset[str], package: Path) -> str:
    """Of the text of the modules and of all that they import of what shapes a training."""
    files: set[Path] = set()
    waiting = [file for name in sorted(modules) for file in _files(name, package, required=True)]
    while waiting:
        file = waiting.pop()
        if file not in files:
            files.add(file)
            waiting += [found for name in imported(file) for found in _files(name, package)]
    return _text_hash(files, package)


def _text_hash(files: Iterable[Path], package: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


@functools.cache
def source_fingerprint() -> str:
    """Hash of all source that shapes any training, for provenance."""
    return _text_hash(
        (file for file in PACKAGE.rglob("*.py") if file.relative_to(PACKAGE).as_posix().startswith(SHAPES_TRAINING)),
        PACKAGE,
    )


def _files(module: str, package: Path, required: bool = False) -> Sequence[Path]:
    """The file of a module if it is one that shapes a training."""
    stem = package.joinpath(*module.split(".")[1:])
    for file in (stem.with_suffix(".py"), stem / "__init__.py"):
        if file.is_file():
            name = file.relative_to(package).as_posix()
            return [] if name in _TABLES or not name.startswith(SHAPES_TRAINING) else [file]
    if required:
        raise KdlibError(f"there is no module {module} whose source could be read; name one of kdlib's")
    return []  # a name in a module, not a module


def imported(file: Path) -> tuple[str, ...]:
    """What of kdlib a file imports anywhere in it; of `from kdlib.a import b` both kdlib.a and kdlib.a.b."""
    names = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in names if name.split(".")[0] == "kdlib")
