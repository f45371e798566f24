"""How the command prints what it was asked for: tables with aligned columns, facts line by line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

from kdlib.errors import one_line


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, default=str)
    return str(value)


def format_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as aligned columns under their names; a row that lacks a column leaves it empty.

    >>> print(format_table([{"name": "kd_loss", "minutes": 1.5}]))
    name     minutes
    kd_loss  1.5
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *([one_line(_cell(row.get(name, ""))) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def format_answer(found: object) -> str:
    """What a backend answered, for reading: rows as a table, a mapping or dataclass line by line, text as it is.

    >>> print(format_answer({"name": "toy", "size": {"train": 8, "test": 2}, "history": [{"epoch": 1}, {"epoch": 2}]}))
    name     toy
    size     train  8
             test   2
    history  epoch
             1
             2
    """
    if dataclasses.is_dataclass(found) and not isinstance(found, type):
        found = dataclasses.asdict(found)
    if isinstance(found, Mapping):
        names = [str(name) for name in found]
        width = max(map(len, names), default=0)
        lines = []
        for name, value in zip(names, found.values(), strict=True):
            nested = isinstance(value, Mapping) or _are_rows(value)
            first, *rest = (format_answer(value) if nested else _cell(value)).splitlines() or [""]
            lines += [f"{name:<{width}}  {first}".rstrip(), *(" " * (width + 2) + line for line in rest)]
        return "\n".join(lines)
    if isinstance(found, Sequence) and not isinstance(found, str):
        rows = [dataclasses.asdict(row) if dataclasses.is_dataclass(row) else row for row in found]  # type: ignore[arg-type]
        return format_table(rows) if _are_rows(rows) else "\n".join(map(str, rows))
    return "" if found is None else str(found)


def _are_rows(value: object) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(row, Mapping) for row in value)
