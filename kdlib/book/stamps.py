"""Stamps: what a notebook's outputs were made from, when and where, kept in the notebook's metadata under `kdlib`.

A stamp fits as long as nothing that decides the outputs has changed: the notebook's code cells, its parameters, and
the source of kdlib that they import. Versions of Python and torch are noted, not compared: a reader's differ.

    {"fingerprint": "…", "preset": "quick", "finished": "2026-11-27T12:00:00+00:00", "seconds": 81.4,
     "machine": "Linux x86_64, 2 cores", "versions": {"python": "3.11.2", …}, "widgets": 1}
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlib.names import DATA_SETS
from kdlib.runs.source import PACKAGE, TRAINING, code_of

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
# Tables that name their rows by a text: what a notebook names, its outputs depend on.
_TABLES = {"kdlib.distill.catalogue": "METHODS", "kdlib.models": "MODELS"}
# What decides no output: tables, to which a new row changes nothing for the others, messages, what ends processes,
# and the run store.
_NO_OUTPUT = (
    *_TABLES, "kdlib", "kdlib.cores", "kdlib.errors", "kdlib.names", "kdlib.lifeline", "kdlib.temporary",
    "kdlib.data.catalogue", "kdlib.data.registry",
)  # fmt: skip
_DATA_FILES = (".js", ".css", ".toml", ".json", ".npz", ".txt")
_PUBLISHED = "published/*/index.json"  # names trained networks with their checksums: it stands for their files
_TEXTS = ("fingerprint", "preset", "finished", "machine")


def code_of_cells(cells: Iterable[Mapping[str, Any]]) -> str:
    """The code of a notebook as one text that Python can parse: IPython's own commands (`%`, `!`) do nothing in it."""
    code = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "code")
    return re.sub(r"^([ \t]*)[%!].*$", r"\1pass", code, flags=re.MULTILINE)


def fingerprint(notebook: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    """What the outputs of an executed notebook depend on, as a hash.

    Outputs, metadata and Markdown are left out: a better sentence asks for no other execution.
    """
    code = code_of_cells(notebook["cells"])
    parts = {
        "cells": [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"],
        "parameters": dict(parameters),
        "source": _hashes(code, PACKAGE),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _hashes(code: str, package: Path) -> dict[str, str]:
    return {name: _hash_of(path) for name, path in source_of(code, package).items()}


def source_of(code: str, package: Path = PACKAGE) -> dict[str, Path]:
    """What of kdlib some code depends on, by name: the modules that it imports, directly or not; the methods, networks
    and data sets that it or one of these names; and the data files beside them."""
    found: dict[str, Path] = {}
    waiting = [*_needed_by(_read(code), package)]
    while waiting:
        module = waiting.pop()
        path = _file(module, package)
        if module in found or path is None or module in _NO_OUTPUT or module.startswith("kdlib.runs"):
            continue
        found[module] = path
        waiting += _needed_by(_read_file(path), package)
        if module.startswith("kdlib.papers"):  # its studies train
            waiting += TRAINING
    for folder in sorted({path.parent for path in found.values()}):
        for path in sorted(folder.iterdir()):
            owner = path.with_suffix(".py")
            # A file with a module's name is that module's; one without, such as claims.toml, is its folder's.
            if path.suffix in _DATA_FILES and (not owner.is_file() or owner in found.values()):
                found[path.relative_to(package).as_posix()] = path
        for path in sorted(folder.glob(_PUBLISHED)):
            found[path.relative_to(package).as_posix()] = path
    return found


@dataclass(frozen=True)
class _Code:
    """Of some code: (module, name) of each import, name "" for a whole module, and the texts that it spells out."""

    imports: tuple[tuple[str, str], ...] = ()
    texts: frozenset[str] = frozenset()


def _read(code: str) -> _Code:
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except SyntaxError:  # it fails when it is executed; that its own text counts is enough
        return _Code()
    imports = []
    for node in nodes:
        if isinstance(node, ast.Import):
            imports += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports += [(node.module, alias.name) for alias in node.names]
    texts = (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return _Code(tuple(pair for pair in imports if pair[0].split(".")[0] == "kdlib"), frozenset(texts))


@functools.cache
def _read_file(path: Path) -> _Code:
    return _read(path.read_text(encoding="utf-8"))


def _needed_by(code: _Code, package: Path) -> Iterator[str]:
    for module, name in code.imports:
        yield _origin(module, name, package)
    for word in code.texts:
        yield from _table_modules(package).get(word, ())
        if word in DATA_SETS:
            yield DATA_SETS[word].module


def _origin(module: str, name: str, package: Path) -> str:
    """The module that `from module import name` is about: a package hands on what its parts hold."""
    if name and _file(f"{module}.{name}", package):
        return f"{module}.{name}"
    path = _file(module, package)
    if name and path is not None and path.name == "__init__.py":
        for origin, imported in _read_file(path).imports:
            if imported == name and origin != module:
                return _origin(origin, name, package)
    return module


def _file(module: str, package: Path) -> Path | None:
    stem = package.joinpath(*module.split(".")[1:])
    return next((file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file()), None)


@functools.cache
def _table_modules(package: Path) -> dict[str, tuple[str, ...]]:
    """Name of a method or network -> the modules of what its row names; read, not imported: that would load torch."""
    found = {}
    for module, variable in _TABLES.items():
        path = _file(module, package)
        if path is None:
            continue
        origin = {name: module for module, name in _read_file(path).imports}
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.Assign) or getattr(node.targets[0], "id", None) != variable:
                continue
            assert isinstance(node.value, ast.Dict)
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                if isinstance(key, ast.Constant):
                    used = {part.id for part in ast.walk(value) if isinstance(part, ast.Name)}
                    found[str(key.value)] = tuple(sorted({origin[name] for name in used & set(origin)}))
    return found


@functools.cache
def _hash_of(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".py":  # comments and docstrings decide nothing
        content = code_of(content.decode()).encode()
    return hashlib.sha256(content).hexdigest()


def stamp_of(execution: Mapping[str, Any], notebook: Mapping[str, Any]) -> dict[str, Any]:
    """The stamp of a notebook that was executed; execution: `metrics["execution"]` of `execute_notebook`."""
    kept = {key: execution[key] for key in ("fingerprint", "finished", "seconds", "machine", "versions")}
    return {**kept, "preset": execution["parameters"].get("preset", "quick"), "widgets": len(widget_views(notebook))}


def read_stamp(notebook: Mapping[str, Any]) -> dict[str, Any] | None:
    """The stamp in a notebook's metadata; None if there is none that is whole."""
    stamp = notebook["metadata"].get("kdlib")
    if not isinstance(stamp, Mapping) or not isinstance(stamp.get("seconds"), (int, float)):
        return None
    if not all(isinstance(stamp.get(key), str) for key in _TEXTS):
        return None
    whole = isinstance(stamp.get("versions"), Mapping) and isinstance(stamp.get("widgets"), int)
    return dict(stamp) if whole else None


def why_not(notebook: Mapping[str, Any], key: str) -> str | None:
    """Why the outputs that a notebook holds can't stand for an execution with the fingerprint `key`; None if they can.

    In a few words, as for a line of a log.
    """
    if not isinstance(notebook["metadata"].get("kdlib"), Mapping):
        return "it has no stamp"
    stamp = read_stamp(notebook)
    if stamp is None:
        return "its stamp is broken"
    if stamp["fingerprint"] != key:
        return "its source has changed"
    if lost_widgets(notebook, stamp):
        return "its widgets' state is gone"
    return None


def widget_views(notebook: Mapping[str, Any]) -> list[str]:
    """The models of the widgets that a notebook's outputs show."""
    return [
        output["data"][WIDGET_VIEW].get("model_id", "")
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if WIDGET_VIEW in output.get("data", {})
    ]


def lost_widgets(notebook: Mapping[str, Any], stamp: Mapping[str, Any]) -> bool:
    """Whether a widget that the stamp counts is no longer shown, or one that is shown has no state."""
    views = widget_views(notebook)
    state = notebook["metadata"].get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    return len(views) != stamp["widgets"] or any(view not in state for view in views)
