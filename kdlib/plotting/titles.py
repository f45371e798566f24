"""What a figure says, above it: a title that code makes of its numbers, and axes that end where values do."""

from __future__ import annotations

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 4.8  # inches of a figure whose text can be read on a telephone
_LETTERS_PER_INCH = 11


def headline(figure: Figure, message: str) -> None:
    """Write what a figure says above it, in lines that fit its width."""
    figure.suptitle(textwrap.fill(message, int(_LETTERS_PER_INCH * figure.get_figwidth())), fontsize=11)


def entitle(axis: Axes, *lines: str) -> None:
    """A panel's title of some lines that begins where the panel begins; empty lines are left out."""
    axis.set_title("\n".join(line for line in lines if line), fontsize=10.5, loc="left")


def within(axis: Axes, low: float, high: float, which: str = "y") -> None:
    """Cut an axis where no value can lie, such as below 0 %; an interval of few seeds may reach beyond.

    A margin is left in which a symbol that stands at the limit is seen whole.
    """
    get, limit = (getattr(axis, f"{verb}_{which}lim") for verb in ("get", "set"))
    first, last = get()
    margin = 0.03 * (min(last, high) - max(first, low))
    limit(max(first, low - margin), min(last, high + margin))
