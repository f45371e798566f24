"""Figures of the chapter on other data and other networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from kdlib.plotting.seeds import seeds_and_means


def by_setting(
    values: Mapping[str, Sequence[float]], titles: Mapping[str, str], ylabel: str, references: Mapping[str, float]
) -> Figure:
    """A panel for each setting with every seed's value by arm; the settings' scales differ.

    values: prefix + arm -> one value a seed. titles: prefix -> the setting in words. references: prefix -> the
    teacher's value, a dashed line.
    """
    figure, axes = plt.subplots(1, len(titles), figsize=(4.5 * len(titles), 3.8), squeeze=False)
    others = [prefix for prefix in titles if prefix]
    for axis, (prefix, title) in zip(axes[0], titles.items(), strict=True):
        own = {
            name.removeprefix(prefix): seeds
            for name, seeds in values.items()
            if name.startswith(prefix) and (prefix or not name.startswith(tuple(others)))
        }
        seeds_and_means(own, axis, ylabel=ylabel, reference=("teacher", references[prefix]))
        axis.set_title(title, fontsize=10)
    return figure
