"""Which source a result depends on: the code of some modules and of all of kdlib that they import.

It follows imports, so that a helper that is split off stays part of what depends on it, and a new method's file changes
nothing for the others. Comments and docstrings do not count: a better sentence makes no result stale.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import io
import tokenize
from collections.abc import Iterable
from pathlib import Path

from kdlib.errors import KdlibError

PACKAGE = Path(__file__).parents[1]
# What every training runs through: the loop for its step, the network's first weights, a method's setting.
TRAINING = ("kdlib.train.loop", "kdlib.models.seeded", "kdlib.distill.setting")
# Modules whose text decides no number: messages, what ends processes and their files, the run store, and tables of
# names, networks, methods and data sets, to which a new row changes nothing for the others.
_NO_NUMBERS = (
    "kdlib", "kdlib.cores", "kdlib.errors", "kdlib.names", "kdlib.models", "kdlib.distill.catalogue", "kdlib.data",
    "kdlib.data.catalogue", "kdlib.data.registry", "kdlib.data.root", "kdlib.lifeline", "kdlib.runs.entries",
    "kdlib.runs.files", "kdlib.runs.measurements", "kdlib.runs.parallel", "kdlib.runs.place", "kdlib.runs.source",
    "kdlib.runs.spec", "kdlib.runs.store", "kdlib.runs.teachers", "kdlib.temporary",
)  # fmt: skip


def training_source(modules: Iterable[str]) -> str:
    """Hash of the source of the trainings that these modules have a part in: those of network, method and data.

    A method's file that changes changes the hash of its own trainings and leaves that of the others.

    >>> one, other = training_source(["kdlib.distill.kd"]), training_source(["kdlib.distill.contrastive"])
    >>> one == other, one == training_source(["kdlib.distill.kd"])
    (False, True)
    """
    own = {name for name in modules if name.split(".")[0] == "kdlib"}  # a user's module has no place here
    return source_hash(own | set(TRAINING))


def source_hash(modules: Iterable[str], package: Path = PACKAGE) -> str:
    """Hash of the code of the modules and of all of the package that they import, directly or not.

    package: the folder of kdlib. Raises KdlibError for a module that is not there.
    """
    return _source_hash(frozenset(modules), package)


@functools.cache
def _source_hash(modules: frozenset[str], package: Path) -> str:
    digest = hashlib.sha256()
    for name, file in sorted(source_files(modules, package).items()):
        digest.update(f"{name}\0{code_of(file.read_text(encoding='utf-8'))}\0".encode())
    return digest.hexdigest()


def source_files(modules: Iterable[str], package: Path = PACKAGE) -> dict[str, Path]:
    """Module -> file of these modules and of all of the package that they import, but for those that decide no number.

    >>> sorted(source_files(["kdlib.train.recipe"]))
    ['kdlib.data.augment', 'kdlib.train.recipe']
    """
    for name in _NO_NUMBERS if package == PACKAGE else ():  # a table that moved would count again, unnoticed
        _file(name, package)
    found: dict[str, Path] = {}
    waiting = sorted(modules)
    wanted = set(waiting)
    while waiting:
        name = waiting.pop()
        if name in found or name in _NO_NUMBERS:
            continue
        file = _file(name, package) if name in wanted else _file_or_none(name, package)
        if file is not None:  # else a name in a module, not a module
            found[name] = file
            waiting += imported(file)
    return found


def _file(module: str, package: Path) -> Path:
    file = _file_or_none(module, package)
    if file is None:
        raise KdlibError(f"there is no module {module} whose source could be read; name one of kdlib's")
    return file


def _file_or_none(module: str, package: Path) -> Path | None:
    stem = package.joinpath(*module.split(".")[1:])
    for file in (stem.with_suffix(".py"), stem / "__init__.py"):
        if file.is_file():
            return file
    return None


@functools.cache
def code_of(source: str) -> str:
    r"""The text of a module without comments, docstrings and empty lines, the same for every version of Python.

    >>> code_of("# why it is 1\n\nx = 1  # really\n")
    'x = 1'
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    gone = [(*token.start, *token.end) for token in tokens if token.type == tokenize.COMMENT]
    lines = source.split("\n")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                last = first.end_lineno or first.lineno
                end = len(lines[last - 1].encode()[: first.end_col_offset].decode())  # ast counts bytes
                gone.append((first.lineno, first.col_offset, last, end))
    for first_line, first_column, last_line, last_column in sorted(gone, reverse=True):
        kept = lines[first_line - 1][:first_column] + lines[last_line - 1][last_column:]
        lines[first_line - 1 : last_line] = [kept]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def imported(file: Path) -> tuple[str, ...]:
    """What of kdlib a file imports anywhere in it; of `from kdlib.a import b` both kdlib.a and kdlib.a.b."""
    return imported_by(file.read_text(encoding="utf-8"))


@functools.cache
def imported_by(source: str) -> tuple[str, ...]:
    """What of kdlib a text imports.

    >>> imported_by("from kdlib.train import loop")
    ('kdlib.train', 'kdlib.train.loop')
    """
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in names if name.split(".")[0] == "kdlib")
