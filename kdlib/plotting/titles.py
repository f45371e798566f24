"""What a figure says, above it: a title that code makes of its numbers, and axes that end where values do."""

from __future__ import annotations

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 4.8  # inches of a figure whose text is still read on a telephone
_LETTERS_PER_INCH = 11


def headline(figure: Figure, message: str) -> None:
    """Write what a figure says above it, in lines that fit its width."""
    figure.suptitle(textwrap.fill(message, int(_LETTERS_PER_INCH * figure.get_figwidth())), fontsize=11)


def within(axis: Axes, low: float, high: float, which: str = "y") -> None:
    """Cut an axis where no value can lie, such as below 0 %; an interval of few seeds may reach beyond."""
    get, limit = (getattr(axis, f"{verb}_{which}lim") for verb in ("get", "set"))
    limit(max(get()[0], low), min(get()[1], high))
