"""What a sweep measured: one row a cell, one column a measured number, as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdlib.book.grid import Outcome
from kdlib.printing import format_table

Row = dict[str, Any]


@dataclass(frozen=True)
class Number:
    """A measured number: one value a seed, with the seeds, in a unit."""

    values: tuple[float, ...]
    unit: str
    seeds: tuple[int, ...]

    @property
    def mean(self) -> float:
        return math.fsum(self.values) / len(self.values)


def numbers(metrics: Mapping[str, Any] | None) -> dict[str, Number]:
    """Name -> measured number of one cell's metrics; empty for a notebook that keeps no record.

    Where the record does not name the seeds, they are those from the notebook's parameter `seed` on.

    >>> numbers({"measurements": {"accuracy/kd": {"values": [80.0, 82.0], "unit": "percent", "seeds": None}}})
    {'accuracy/kd': Number(values=(80.0, 82.0), unit='percent', seeds=(0, 1))}
    """
    first = (metrics or {}).get("execution", {}).get("parameters", {}).get("seed")
    first = first if isinstance(first, int) else 0
    found = {}
    for name, item in ((metrics or {}).get("measurements") or {}).items():
        values = tuple(float(value) for value in item["values"])
        seeds = item.get("seeds") or range(first, first + len(values))
        found[name] = Number(values, str(item["unit"]), tuple(seeds))
    return found


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row a cell: its parameters, its state, and the mean over seeds of each measured number, named with its unit."""
    made = []
    for outcome in outcomes:
        row = dict(outcome.cell.values) | {"state": "failed" if outcome.metrics is None else "done"}
        for name, number in numbers(outcome.metrics).items():
            row[f"{name} ({number.unit})"] = number.mean
        made.append(row)
    return made


def as_csv(table: Sequence[Row]) -> str:
    """Numbers to six significant digits, as records have them; what a cell lacks is empty.

    >>> print(as_csv([{"temperature": 4.0, "state": "done", "accuracy/kd (percent)": 81.0}]), end="")
    temperature,state,accuracy/kd (percent)
    4,done,81
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(table), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _written(value, 6) for name, value in row.items()} for row in table)
    return text.getvalue()


def as_markdown(table: Sequence[Row]) -> str:
    """The table for a page, numbers to four significant digits, negative ones with the sign of minus.

    >>> print(as_markdown([{"temperature": 4.0, "state": "done", "gain/kd (points)": -1.25}]), end="")
    | temperature | state | gain/kd (points) |
    |---|---|---|
    | 4 | done | −1.25 |
    """
    from kdlib.plotting.tables import with_minus

    columns = _columns(table)
    lines = [columns, *([_written(row.get(name, ""), 4) for name in columns] for row in table)]
    texts = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
    return with_minus("\n".join([texts[0], "|---" * len(columns) + "|", *texts[1:]])) + "\n"


def printed(table: Sequence[Row], width: int) -> str:
    """The table for a terminal of `width` characters: turned, a row a number, where it is too wide and that is shorter.

    >>> print(printed([{"temperature": 4.0, "state": "done", "accuracy/kd (percent)": 81.0}], 30))
    temperature            4
    state                  done
    accuracy/kd (percent)  81
    """
    text, columns = format_table(table), _columns(table)
    if len(columns) <= len(table) or max(map(len, text.splitlines())) <= width:
        return text
    lines = [{"": name, **{str(at): row.get(name, "") for at, row in enumerate(table)}} for name in columns]
    return format_table(lines).split("\n", 1)[1]


def _columns(table: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in table for name in row))


def _written(value: Any, digits: int) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)
