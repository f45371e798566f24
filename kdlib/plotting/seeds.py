"""Every seed beside the mean: the figure that all chapters share, and the same in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from kdlib.names import MODEL_COLOURS, MODEL_MARKERS, MODEL_NAMES
from kdlib.plotting.tables import with_minus
from kdlib.stats import mean_interval


def seeds_and_means(
    values: Mapping[str, Sequence[float]], axis: Axes, *, ylabel: str, reference: tuple[str, float] | None = None
) -> Axes:
    """Every seed's value as a point, lines joining a seed's arms, and each arm's mean with its 95 % t interval.

    values: arm -> one value a seed, in the order of the seeds. reference: name and value of a dashed line.
    """
    arms = list(values)
    for seed_values in zip(*values.values(), strict=True):
        axis.plot(range(len(arms)), seed_values, color="0.8", linewidth=1, zorder=1)
    for place, arm in enumerate(arms):
        colour, marker = MODEL_COLOURS.get(arm, "0.3"), MODEL_MARKERS.get(arm, "o")
        axis.scatter([place] * len(values[arm]), values[arm], color=colour, marker=marker, s=28, alpha=0.6, zorder=2)
        arm_mean = mean_interval(values[arm])
        if np.isfinite(arm_mean.low):
            errors = [[arm_mean.mean - arm_mean.low], [arm_mean.high - arm_mean.mean]]
            axis.errorbar(
                place + 0.16, arm_mean.mean, errors, fmt=marker, color=colour, capsize=4, markersize=8, zorder=3
            )
    if reference:
        name, value = reference
        axis.axhline(value, color=MODEL_COLOURS.get(name, "0.3"), linestyle="--", linewidth=1.2)
        # At the left margin, where no interval is drawn.
        axis.annotate(MODEL_NAMES.get(name, name), (-0.48, value), va="bottom", ha="left", fontsize=9, color="0.2")
    axis.set_xticks(range(len(arms)), [MODEL_NAMES.get(arm, arm) for arm in arms])
    axis.set_xlim(-0.5, len(arms) - 0.5)
    axis.set_ylabel(ylabel)
    return axis


def seeds_in_words(values: Mapping[str, Sequence[float]], unit: str) -> str:
    """Each arm's mean and range over seeds, for a figure's text alternative.

    >>> seeds_in_words({"kd": [70.0, 72.0]}, "%")
    'Distilled (KD): mean 71.0 %, seeds 70.0 to 72.0'
    """
    words = [
        f"{MODEL_NAMES.get(arm, arm)}: "
        + with_minus(f"mean {np.mean(v):.1f} {unit}, seeds {min(v):.1f} to {max(v):.1f}")
        for arm, v in values.items()
    ]
    return "; ".join(words)
