"""Small multiples: many measured numbers over one parameter, a panel each."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdlib.plotting.titles import headline
from kdlib.stats import student_interval

_MARKERS = "osD^vPX<>*"
_STYLES = ("-", "--", ":", "-.")
_MOST_TICKS = 8  # places that are all named on an axis


@dataclass(frozen=True)
class Panel:
    """One measured number in its unit. lines: name ("" for the only one) -> place on the axis -> one value a seed.

    Places are numbers, or texts, which stand beside each other in the order of their first appearance.
    """

    title: str
    unit: str
    lines: Mapping[str, Mapping[Any, Sequence[float]]]


def panels_over(panels: Sequence[Panel], xlabel: str, message: str = "", columns: int = 3) -> Figure:
    """A figure with a panel each: means with 95 % t intervals joined by lines, every seed's value as a ring.

    Lines differ in colour (safe for colour-blind readers), marker and dash; one legend serves all panels. A single
    value has no interval. message: stands above.

    >>> panel = Panel("accuracy", "percent", {"": {1.0: [80.0, 82.0], 4.0: [84.0, 85.0]}})
    >>> figure = panels_over([panel], "temperature")
    >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
    ('temperature', 'percent')
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    places = list(dict.fromkeys(place for panel in panels for line in panel.lines.values() for place in line))
    axis_of = _Axis(places)
    size = (max(3.7 * columns, 4.8), 2.9 * rows + 0.5 + 0.25 * (len(names) > 1))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    colours = sns.color_palette("colorblind", 10)
    for axis, panel in zip(axes.flat, panels, strict=False):
        for number, name in enumerate(names):
            look = {
                "color": colours[number % 10],
                "marker": _MARKERS[number % len(_MARKERS)],
                "linestyle": _STYLES[number // 10 % len(_STYLES)],
            }
            _draw_line(
                axis, panel.lines.get(name, {}), axis_of, (number - (len(names) - 1) / 2) / len(names), look, name
            )
        axis_of.label(axis, xlabel)
        axis.set_ylabel(panel.unit, fontsize=9)
        axis.set_title(textwrap.fill(panel.title, 38), fontsize=10)
        axis.tick_params(labelsize=9)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    if len(names) > 1:
        handles = {h.get_label(): h for axis in axes.flat for h in axis.get_legend_handles_labels()[0]}
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(4, len(names)), fontsize=9)
    if message:
        headline(figure, message)
    return figure


def _uneven(places: Any) -> float:
    """The largest distance between neighbours by the smallest; 1 where they are even."""
    gaps = np.diff(places)
    return round(float(gaps.max() / gaps.min()), 6) if len(gaps) else 1.0


class _Axis:
    """Where places stand on the horizontal axis: numbers by their size, texts one after another.

    Numbers that are spaced more evenly by their ratios, such as 1, 2, 4, 8, have a logarithmic axis.
    """

    def __init__(self, places: Sequence[Any]) -> None:
        self.numeric = all(isinstance(place, (int, float)) for place in places)
        self.places = sorted(places) if self.numeric else list(places)
        low, high = (self.places[0], self.places[-1]) if self.numeric else (0, len(places) - 1)
        self.log = self.numeric and low > 0 and _uneven(np.log(self.places)) < _uneven(self.places)
        self._span = np.log(high / low) if self.log else high - low

    def position(self, place: Any, aside: float) -> float:
        """aside: of several lines, from -0.5 to 0.5, so that their intervals do not hide each other."""
        shift = 0.04 * aside * self._span
        at = place if self.numeric else self.places.index(place)
        return float(at * np.exp(shift) if self.log else at + shift)

    def label(self, axis: Axes, name: str) -> None:
        if self.log:
            axis.set_xscale("log")
            axis.minorticks_off()
        if not self.numeric:
            axis.set_xticks(
                range(len(self.places)), self.places, rotation=30 if len(self.places) > 3 else 0, ha="center"
            )
            axis.set_xlim(-0.5, len(self.places) - 0.5)
        elif len(self.places) <= _MOST_TICKS:
            axis.set_xticks(self.places, [f"{place:g}" for place in self.places])
        axis.set_xlabel(name, fontsize=9)


def _draw_line(
    axis: Axes, line: Mapping[Any, Sequence[float]], places: _Axis, aside: float, look: Mapping[str, Any], name: str
) -> None:
    known = [place for place in places.places if place in line]
    if not known:
        return
    at = [places.position(place, aside) for place in known]
    means = [float(np.mean(line[place])) for place in known]
    axis.plot(at, means, linewidth=1.6, markersize=6, label=name, zorder=3, **look)
    for position, place, mean in zip(at, known, means, strict=True):
        values = line[place]
        if len(values) > 1:
            low, high = student_interval(values)
            ring: dict[str, Any] = {
                "marker": "o",
                "linestyle": "",
                "markersize": 3.5,
                "markerfacecolor": "white",
                "zorder": 4,
            }
            axis.plot([position] * len(values), values, color=look["color"], markeredgewidth=0.9, **ring)
            bar = {"fmt": "none", "ecolor": look["color"], "elinewidth": 1.4, "capsize": 3, "zorder": 3}
            axis.errorbar(position, mean, [[mean - low], [high - mean]], **bar)
