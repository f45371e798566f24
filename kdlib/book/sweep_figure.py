"""The figure of a sweep: every measured number in a panel of its own, over the swept parameters."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

from kdlib.book.grid import Grid, Outcome, exact, in_name
from kdlib.book.sweep_table import numbers
from kdlib.errors import one_line
from kdlib.names import MODEL_NAMES
from kdlib.plotting.panels import Panel, panels_over
from kdlib.plotting.style import use_style
from kdlib.plotting.text import names_are_text

_DPI = 150
_MOST_TEXT = 40  # characters of a value beside an axis
_SEED = "seed"  # what differs in the seed alone is one measurement, repeated


def draw(notebook: str, grid: Grid, outcomes: Sequence[Outcome]) -> tuple[dict[str, bytes], str]:
    """PNG and SVG, by file name, and what they show in words; nothing, and "", where no number was measured."""
    x, others = axes_of(grid)
    panels = panels_of(outcomes, x, others)
    if not panels:
        return {}, ""
    by = f", a line each for {' and '.join(others)}" if others else ""
    description = f"{notebook}: each measured number over {x}{by}; means over seeds with 95 % intervals (Student's t)"
    pictures = {}
    with mpl.rc_context({"svg.hashsalt": notebook}):
        use_style()
        figure = names_are_text(panels_over(panels, x, description))
        for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=ending, dpi=_DPI, metadata=metadata)
            pictures[f"sweep.{ending}"] = buffer.getvalue()
        plt.close(figure)
    return pictures, description


def axes_of(grid: Grid) -> tuple[str, tuple[str, ...]]:
    """The parameter of the horizontal axis, and those that tell lines apart: the first that varies and is a number
    comes first. Seeds are put together, unless nothing else varies.

    >>> axes_of(Grid({"data": ("cells", "voc"), "temperature": (1.0, 4.0), "seed": (0, 1)}))
    ('temperature', ('data',))
    >>> axes_of(Grid({"seed": (0, 1), "temperature": (4.0,)}))
    ('seed', ())
    """
    varied = [name for name in grid.varied if name != _SEED] or list(grid.varied) or list(grid.values)[:1]
    x = next((name for name in varied if all(_is_number(value) for value in grid.values[name])), varied[0])
    return x, tuple(name for name in varied if name != x)


def panels_of(outcomes: Sequence[Outcome], x: str, others: Sequence[str]) -> list[Panel]:
    """A panel a measured number; where cells differ in the seed alone, a seed that several of them measured counts
    once."""
    found: dict[tuple[str, str], dict[str, dict[Any, dict[int, float]]]] = {}
    for outcome in outcomes:
        values = outcome.cell.values
        line = ", ".join(f"{name} {_text(values[name])}" for name in others)
        place = values[x] if _is_number(values[x]) else _text(values[x])
        for name, number in numbers(outcome.metrics).items():
            points = found.setdefault((name, number.unit), {}).setdefault(line, {})
            points.setdefault(place, {}).update(zip(number.seeds, number.values, strict=True))
    return [
        Panel(
            _title(name),
            unit,
            {
                line: {place: tuple(by_seed.values()) for place, by_seed in points.items()}
                for line, points in own.items()
            },
        )
        for (name, unit), own in found.items()
    ]


def _title(name: str) -> str:
    metric, slash, arm = name.rpartition("/")
    return f"{metric}: {MODEL_NAMES.get(arm, arm)}" if slash else name


def _text(value: Any) -> str:
    """A value as the figure names it, so that no two values have one name; a long one as its folder is called."""
    text = one_line(exact(value))
    return text if len(text) <= _MOST_TEXT else in_name(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
