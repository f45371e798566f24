"""The grid of a sweep: `-p temperature=1,2,4,8 -p seed=0..3` as cells, each a value for every parameter that is named.

It loads nothing beyond the standard library, so that a mistyped sweep is refused at once.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdlib.book.parameters import Parameter, check_parameters
from kdlib.errors import KdlibError, choose, shown

MOST_CELLS = 1_000  # of one sweep: a cell is a whole notebook, which takes seconds at least
_RANGE = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})")
_PLAIN = re.compile(r"[a-z0-9_.+-]{1,40}")
_MOST_NAME = 150  # characters of a folder


@dataclass(frozen=True)
class Cell:
    """One cell of a grid: the value of every parameter that the sweep names.

    >>> Cell({"temperature": 4.0, "seed": 0}).name
    'temperature=4,seed=0'
    """

    values: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The folder of the cell's results; it depends on the values alone, so that a larger grid finds it again."""
        name = ",".join(f"{name}={in_name(value)}" for name, value in self.values.items())
        return name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME - 9]}-{_hash(dict(self.values))}"


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: its metrics, as in `metrics.json`, or why it failed."""

    cell: Cell
    metrics: dict[str, Any] | None
    failure: str = ""


@dataclass(frozen=True)
class Grid:
    """The values of each parameter, in the order given; the cells are all their combinations, the last one fastest."""

    values: Mapping[str, tuple[Any, ...]]

    @property
    def cells(self) -> list[Cell]:
        """All combinations.

        >>> [cell.name for cell in Grid({"temperature": (1.0, 4.0), "seed": (0, 1)}).cells]
        ['temperature=1,seed=0', 'temperature=1,seed=1', 'temperature=4,seed=0', 'temperature=4,seed=1']
        """
        return [Cell(dict(zip(self.values, row, strict=True))) for row in itertools.product(*self.values.values())]

    @property
    def varied(self) -> tuple[str, ...]:
        """The parameters with more than one value."""
        return tuple(name for name, values in self.values.items() if len(values) > 1)


def read_grid(form: Sequence[Parameter], given: Mapping[str, str], notebook: str) -> Grid:
    """The grid that `given` (name -> text) spans, every value typed and checked by the notebook's form.

    A text is values between commas; `0..3` stands for the whole numbers from 0 to 3. A value that is a list stands in
    brackets: `fractions=[0.1,0.2],[0.5]`. Raises KdlibError for an unknown parameter, an unfit value, a value given
    twice, no value, and more than 1,000 cells.

    >>> from kdlib.book.parameters import read_parameters
    >>> form = read_parameters("temperature = 4.0\\nseed = 0")
    >>> read_grid(form, {"temperature": "1,2,4", "seed": "0..3"}, "kd_loss").values
    {'temperature': (1.0, 2.0, 4.0), 'seed': (0, 1, 2, 3)}
    """
    names = [parameter.name for parameter in form]
    if not given:
        choices = f"parameters of {notebook}: {', '.join(names)}" if names else f"{notebook} has no parameters"
        raise KdlibError(f"a sweep has no cell without -p; give one, such as -p name=1,2,4 ({choices})")
    for name in given:
        choose(name, names, f"parameter of {notebook}")
    values, cells = {}, 1
    for name, text in given.items():
        texts = list(itertools.islice(_split(text, name), MOST_CELLS + 1))
        cells *= len(texts)
        if cells > MOST_CELLS:
            raise KdlibError(
                f"a sweep may have {MOST_CELLS:,} cells, and with {name}={shown(text)[1:-1]} this one has more; give "
                "fewer values, or sweep in parts into one --out"
            )
        values[name] = tuple(check_parameters(form, {name: one}, notebook)[name] for one in texts)
        for position, value in enumerate(values[name]):
            if value in values[name][:position]:
                raise KdlibError(f"{name} has the value {shown(value)} twice; give it once")
    return Grid(values)


def _split(text: str, name: str) -> Iterator[str]:
    """The single values of a text: what stands between commas outside brackets, ranges written out."""
    for item in _items(text):
        if not item:
            raise KdlibError(f"{name} has an empty value in '{name}={text}'; write values between commas, as in 1,2,4")
        found = _RANGE.fullmatch(item)
        if found is None:
            yield item
            continue
        first, last = int(found[1]), int(found[2])
        if last < first:
            raise KdlibError(f"{name}={item} is an empty range; write the smaller number first: {last}..{first}")
        yield from map(str, range(first, last + 1))


def _items(text: str) -> Iterator[str]:
    depth, start = 0, 0
    for position, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth <= 0:
            yield text[start:position].strip()
            start = position + 1
    yield text[start:].strip()


def exact(value: Any) -> str:
    """A value as it is told apart from all others: a float with all its digits.

    >>> exact(4.0), exact(0.1234567), exact("cells")
    ('4', '0.1234567', 'cells')
    """
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def in_name(value: Any) -> str:
    """A value as part of a folder's name: itself if it is short and plain, else its beginning and a hash.

    Capitals count as not plain: some disks take `A` and `a` for one name.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        text = exact(value)
        return text if _PLAIN.fullmatch(text) else _hash(value)
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    start = re.sub(r"[^a-z0-9_]+", "-", str(value).lower())[:20].strip("-")
    return f"{start}-{_hash(value)}".lstrip("-")


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:8]
