"""Forest plots: many differences with their intervals, one below the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from kdlib.names import MODEL_COLOURS, MODEL_MARKERS, MODEL_NAMES
from kdlib.stats import Contrast


def forest(
    panels: Mapping[str, Mapping[str, Contrast]], arms: Sequence[str], smallest: Mapping[str, float], columns: int = 2
) -> Figure:
    """Differences of many arms with 95 % intervals, a panel each.

    panels: title -> arm -> contrast. arms: the rows of every panel, from above; an arm that a panel lacks leaves its
    row empty. smallest: title -> the smallest difference that would matter, a grey band about zero.
    """
    rows = -(-len(panels) // columns)
    size = (3.9 * columns + 0.8, (0.27 * len(arms) + 0.9) * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, sharey=True, squeeze=False)
    for axis, (title, by_arm) in zip(axes.flat, panels.items(), strict=False):
        axis.axvspan(-smallest[title], smallest[title], color="0.9", zorder=0)
        axis.axvline(0, color="0.4", linewidth=1)
        for arm, contrast in by_arm.items():
            place, colour = arms.index(arm), MODEL_COLOURS.get(arm, "0.3")
            axis.plot(contrast.interval, [place, place], color=colour, linewidth=2)
            marker = MODEL_MARKERS.get(arm, "o")
            axis.plot([contrast.mean_difference], [place], color=colour, marker=marker, markersize=7)
        axis.set_title(title, fontsize=10)
        axis.grid(axis="y", visible=False)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    axes[0, 0].set_yticks(range(len(arms)), [MODEL_NAMES.get(arm, arm) for arm in arms])
    for axis in axes[:, 0]:
        axis.tick_params(axis="y", labelsize=9)
    axes[0, 0].set_ylim(len(arms) - 0.5, -0.5)
    return figure
