"""What a sweep measured: one row a cell, one column a measured number, as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdlib.book.grid import Outcome, exact
from kdlib.errors import one_line
from kdlib.printing import format_table

Row = dict[str, Any]
# Signs that mean something to Markdown, HTML or MathJax; a line within a word, as in n_seeds, does not.
_MARKUP = re.compile(r"[\\`*{}\[\]<>|$#~^&!]|(?<![^\W_])_|_(?![^\W_])")


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
    """Numbers to six significant digits; what a cell lacks is empty.

    >>> print(as_csv([{"temperature": 4.0, "state": "done", "accuracy/kd (percent)": 81.0}]), end="")
    temperature,state,accuracy/kd (percent)
    4,done,81
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(table), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _written(value, 6) for name, value in row.items()} for row in _named(table))
    return text.getvalue()


def as_markdown(table: Sequence[Row]) -> str:
    """The table for a page, numbers to four significant digits, negative ones with the sign of minus.

    >>> print(as_markdown([{"temperature": 4.0, "state": "done", "gain/kd (points)": -1.25}]), end="")
    | temperature | state | gain/kd (points) |
    |---|---|---|
    | 4 | done | −1.25 |
    """
    columns = _columns(table)
    cells = zip(table, _named(table), strict=True)
    lines = [[_cell(whole.get(name, ""), short.get(name, "")) for name in columns] for whole, short in cells]
    texts = [f"| {' | '.join(line)} |" for line in [list(map(as_text, columns)), *lines]]
    return "\n".join([texts[0], "|---" * len(columns) + "|", *texts[1:]]) + "\n"


def printed(table: Sequence[Row], width: int) -> str:
    """The table for a terminal of `width` characters: turned, a row a number, where it is too wide and that is shorter.

    >>> print(printed([{"temperature": 4.0, "state": "done", "accuracy/kd (percent)": 81.0}], 30))
    temperature            4
    state                  done
    accuracy/kd (percent)  81
    """
    table, columns = _named(table), _columns(table)
    text = format_table(table)
    if len(columns) <= len(table) or max(map(len, text.splitlines())) <= width:
        return text
    lines = [{"": name, **{str(at): row.get(name, "") for at, row in enumerate(table)}} for name in columns]
    return format_table(lines).split("\n", 1)[1]


def _columns(table: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in table for name in row))


def _cell(value: Any, shown: Any) -> str:
    from kdlib.plotting.tables import with_minus

    text = as_text(_written(shown, 4))
    return text if isinstance(value, str) else with_minus(text)  # a text, such as the name of a folder, is no number


def as_text(words: str) -> str:
    r"""Words within the page's Markdown that are shown as they are written, in one line.

    >>> print(as_text("n_seeds"), as_text("<b>, *x* and $_y$"))
    n_seeds \<b\>, \*x\* and \$\_y\$
    """
    return _MARKUP.sub(r"\\\g<0>", one_line(words))


def _named(table: Sequence[Row]) -> list[Row]:
    """The rows with the values of parameters, which stand before the state, in full: they tell rows apart."""
    return [
        {name: exact(value) if name in list(row)[: list(row).index("state")] else value for name, value in row.items()}
        if "state" in row
        else dict(row)
        for row in table
    ]


def _written(value: Any, digits: int) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)
