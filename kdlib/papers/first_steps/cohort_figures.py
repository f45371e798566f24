"""The figure of the cohort's chapter: a dot a replicate, means with their intervals, group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from kdlib.names import MODEL_COLOURS, MODEL_MARKERS
from kdlib.papers.first_steps.cohort_numbers import Row
from kdlib.plotting.tables import with_minus
from kdlib.plotting.titles import headline


def dots_and_intervals(
    groups: Mapping[str, Sequence[Row]], xlabel: str, message: str, *, about: float | None = None, width: float = 5.6
) -> Figure:
    """A line a row: every replicate as a pale dot, and the mean with its 95 % interval where there are several.

    groups: heading -> rows, from above. about: for differences, the smallest one that would matter; a line at 0 and a
    grey band of that size about it are drawn. An interval that leaves the axis ends in an arrow.
    message: what the figure says.
    """
    lines = sum(1 + len(rows) for rows in groups.values())
    figure, axis = plt.subplots(figsize=(width, 0.24 * lines + 1.1))
    if about is not None:
        axis.axvspan(-about, about, color="0.9", zorder=0)
        axis.axvline(0, color="0.4", linewidth=1)
    low, high = _domain([value for rows in groups.values() for row in rows for value in row.values], about or 0.0)
    labels: list[str] = []
    for heading, rows in groups.items():
        labels.append(heading)
        for row in rows:
            _draw_row(axis, row, len(labels), low, high)
            labels.append(row.name)
    axis.set_yticks(range(len(labels)), labels, fontsize=9)
    for label in axis.get_yticklabels():
        if label.get_text() in groups:
            label.set_fontweight("bold")
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.set_xlim(low, high)
    axis.tick_params(axis="x", labelsize=9)
    axis.set_xlabel(xlabel, fontsize=10)
    axis.grid(axis="y", visible=False)
    headline(figure, message)
    return figure


def _domain(values: Sequence[float], about: float) -> tuple[float, float]:
    """What the axis shows: all replicates and some room; the interval of two replicates may reach far beyond."""
    ends = [*values, -about, about] if about else list(values)
    margin = max((max(ends) - min(ends)) / 3, 0.1)
    return min(ends) - margin, max(ends) + margin


def _draw_row(axis: plt.Axes, row: Row, place: int, low: float, high: float) -> None:
    colour, marker = MODEL_COLOURS.get(row.arm, "0.3"), MODEL_MARKERS.get(row.arm, "o")
    axis.scatter(row.values, [place] * len(row.values), color=colour, s=14, alpha=0.45, linewidths=0, zorder=2)
    found = row.interval
    if found is not None:
        axis.plot([max(found.low, low), min(found.high, high)], [place, place], color=colour, linewidth=2.2, zorder=3)
        for edge, beyond, arrow in ((low, found.low < low, "<"), (high, found.high > high, ">")):
            if beyond:
                axis.plot([edge], [place], marker=arrow, color=colour, markersize=7, clip_on=False)
        axis.plot(
            [found.mean], [place], marker=marker, color=colour, markersize=6.5, markeredgecolor="white", zorder=4,
        )  # fmt: skip


def rows_in_words(groups: Mapping[str, Sequence[Row]], unit: str, *, signed: bool = False) -> str:
    """Every row's mean and interval, for a figure's text alternative.

    >>> rows_in_words({"KD": [Row("KD", "kd", (1.0, 2.0, 3.0))]}, "points", signed=True)
    'KD: +2.00 (−0.48 to +4.48) points.'
    """
    form = "+.2f" if signed else ".2f"
    words = []
    for row in (row for rows in groups.values() for row in rows):
        found = row.interval
        if found is None:
            words.append(f"{row.name}: {row.values[0]:{form}} {unit}, one replicate")
        else:
            words.append(f"{row.name}: {found.mean:{form}} ({found.low:{form}} to {found.high:{form}}) {unit}")
    return with_minus("; ".join(words)) + "."
