"""Figures and tables of the chapter that counts visual concepts (Cheng et al. 2020, hypothesis 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from kdlib.metrics.visual_concepts import VisualConcepts
from kdlib.names import MODEL_COLOURS, MODEL_MARKERS, MODEL_NAMES
from kdlib.papers.cheng2020.counts import MEASURES, WORDS
from kdlib.plotting.titles import headline, within
from kdlib.stats import Contrast, mean_interval
from kdlib.widgets.cells import MARKS, draw_outline, mark_handles

TITLES = {measure: f"{words} ({MEASURES[measure][1]})" for measure, words in WORDS.items()}
_BETWEEN_ROWS = 0.14


def maps_by_hand(entropy: Tensor, found: VisualConcepts, titles: Sequence[str], message: str = "") -> Figure:
    """Small maps with the entropy written in each cell, the object's outline, and marks on the concepts.

    entropy: (N, rows, columns) nats. found: their concepts. titles: one an image. message: the figure's title.
    """
    figure, axes = plt.subplots(1, len(entropy), figsize=(1.9 * len(entropy), 2.9), squeeze=False)
    rows, columns = entropy.shape[1:]
    low, high = float(entropy.min()), float(entropy.max())
    for axis, values, concepts, inside, title in zip(
        axes[0], entropy, found.concepts, found.foreground, titles, strict=True
    ):
        axis.imshow(values.numpy(), cmap="viridis_r", vmin=low, vmax=high, extent=(0, columns, rows, 0), alpha=0.55)
        draw_outline(axis, inside)
        for kind, cells in (("foreground", concepts & inside), ("background", concepts & ~inside)):
            y, x = (cells.nonzero().double() + 0.5).T.numpy()
            colour, shape = MARKS[kind]
            axis.plot(x, y + 0.22, shape, color=colour, markeredgecolor="0.1", markersize=8)
        for row in range(rows):
            for column in range(columns):
                axis.text(column + 0.5, row + 0.3, f"{values[row, column]:.1f}", ha="center", va="center", fontsize=9)
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize=10)
        axis.margins(0.03)
    names = {"foreground": "concept on the object", "background": "concept beside it"}
    figure.legend(handles=mark_handles(names), loc="outside lower center", ncols=2, fontsize=10, frameon=False)
    headline(figure, message)
    return figure


def counts_of_arms(values: Mapping[str, Mapping[str, Sequence[float]]], message: str = "") -> Figure:
    """A panel for each measure, one above the other; in it a row an arm: every seed small, the mean with its 95 %
    interval (Student's t) large, and a thin line at the baseline's mean.

    values: measure of `MEASURES` -> arm -> one value a seed. message: what the figure says, its title.
    """
    arms = list(next(iter(values.values())))
    figure, axes = plt.subplots(len(values), figsize=(5.4, (0.34 * len(arms) + 0.8) * len(values) + 0.5), squeeze=False)
    for axis, (measure, by_arm) in zip(axes[:, 0], values.items(), strict=True):
        axis.axvline(float(np.mean(by_arm["baseline"])), color=MODEL_COLOURS["baseline"], zorder=0)
        for place, arm in enumerate(arms):
            _seeds_and_mean(axis, by_arm[arm], place, arm)
        axis.grid(axis="y", visible=False)
        axis.set_xlabel(TITLES[measure], fontsize=10)
        axis.set_yticks(range(len(arms)), [_two_lines(MODEL_NAMES.get(arm, arm)) for arm in arms], fontsize=9)
        axis.set_ylim(len(arms) - 0.5, -0.5)
        # Neither a count nor a share is negative, whatever a wide interval says; nor is a share above 1.
        within(axis, 0, 1 if MEASURES[measure][1] == "fraction" else 256, "x")
    headline(figure, message)
    return figure


def _two_lines(name: str) -> str:
    return "\n".join(wrap(name, 20))


def _seeds_and_mean(axis: plt.Axes, seeds: Sequence[float], place: float, arm: str) -> None:
    """An arm's seeds and below them their mean; a teacher is one for all seeds and drawn once."""
    colour, marker = MODEL_COLOURS.get(arm, "0.3"), MODEL_MARKERS.get(arm, "o")
    if arm == "teacher" or len(seeds) == 1:
        axis.plot([seeds[0]], [place], marker, color=colour, markersize=7)
        return
    axis.plot(seeds, [place - _BETWEEN_ROWS] * len(seeds), marker, color=colour, markersize=4, alpha=0.6)
    found = mean_interval(seeds)
    errors = [[found.mean - found.low], [found.high - found.mean]]
    axis.errorbar([found.mean], [place + _BETWEEN_ROWS], xerr=errors, fmt=marker, color=colour, markersize=7, capsize=3)


def differences(
    panels: Mapping[str, Mapping[str, Contrast]], smallest: Mapping[str, float], message: str = ""
) -> Figure:
    """Student minus baseline with 95 % intervals, a panel a measure, a row each.

    panels: measure of `MEASURES` -> name of the row -> contrast. smallest: measure -> the difference that would matter,
    a grey band. message: the figure's title. The half on the paper's side of zero is tinted; symbols are filled where
    the interval excludes zero.
    """
    rows = list(next(iter(panels.values())))
    labels = ["\n".join(wrap(row, 26)) for row in rows]
    height = 0.3 * len(rows) + 0.12 * sum(label.count("\n") for label in labels) + 0.9
    figure, axes = plt.subplots(len(panels), figsize=(5.4, height * len(panels) + 0.9), squeeze=False)
    colour = MODEL_COLOURS["student"]
    for axis, (measure, by_row) in zip(axes[:, 0], panels.items(), strict=True):
        for place, contrast in enumerate(by_row.values()):
            axis.plot(contrast.interval, [place, place], color=colour, linewidth=2)
            face = colour if contrast.excludes_zero else "white"
            axis.plot([contrast.mean_difference], [place], MODEL_MARKERS["student"], color=colour, markerfacecolor=face)
        reach = 1.05 * max(abs(end) for end in axis.get_xlim())
        if MEASURES[measure][1] == "fraction":
            reach = min(reach, 1.0)  # no share is above 1, so no difference of two is
        axis.set_xlim(-reach, reach)
        axis.axvspan(0, MEASURES[measure][2] * reach, color=colour, alpha=0.08, linewidth=0, zorder=0)
        axis.axvspan(-smallest[measure], smallest[measure], color="0.86", zorder=0)
        axis.axvline(0, color=MODEL_COLOURS["baseline"], linewidth=1.5, zorder=1)
        axis.set_xlabel(f"{WORDS[measure]}, student minus baseline\n({MEASURES[measure][1]})", fontsize=10)
        axis.tick_params(axis="x", labelsize=10)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.grid(axis="y", visible=False)
        axis.set_yticks(range(len(rows)), labels, fontsize=10)
        axis.set_ylim(len(rows) - 0.5, -0.5)
    _explain_marks(figure)
    headline(figure, message)
    return figure


def over_thresholds(contrasts: Mapping[str, Mapping[float, Contrast]], used: float, message: str = "") -> Figure:
    """Student minus baseline against the threshold b, a panel a measure, with 95 % intervals.

    contrasts: measure of `MEASURES` -> b in nats -> contrast. used: the chapter's b, a dotted line. message: the
    figure's title.
    """
    figure, axes = plt.subplots(len(contrasts), figsize=(5.2, 2.1 * len(contrasts) + 0.6), squeeze=False, sharex=True)
    colour = MODEL_COLOURS["student"]
    for axis, (measure, by_threshold) in zip(axes[:, 0], contrasts.items(), strict=True):
        thresholds, found = list(by_threshold), list(by_threshold.values())
        axis.axhline(0, color=MODEL_COLOURS["baseline"], linewidth=1.5)
        axis.axvline(used, color="0.4", linestyle=":", linewidth=1.2)
        for threshold, contrast in by_threshold.items():
            axis.plot([threshold, threshold], contrast.interval, color=colour, linewidth=2)
        means = [contrast.mean_difference for contrast in found]
        axis.plot(thresholds, means, marker=MODEL_MARKERS["student"], color=colour, linewidth=1)
        axis.set_xticks(thresholds)
        axis.set_title(f"{WORDS[measure]}, student minus baseline", fontsize=10)
        axis.set_ylabel(MEASURES[measure][1], fontsize=10)
        axis.tick_params(labelsize=10)
    axes[-1, 0].set_xlabel("threshold b (nats)", fontsize=10)
    headline(figure, message)
    return figure


def _explain_marks(figure: Figure) -> None:
    """Explain the marks of `differences` below the figure."""
    colour, marker = MODEL_COLOURS["student"], MODEL_MARKERS["student"]
    handles = [
        Line2D([], [], marker=marker, linestyle="none", color=colour, label="interval excludes zero"),
        Line2D([], [], marker=marker, linestyle="none", color=colour, markerfacecolor="white", label="they do not"),
        Line2D([], [], color=colour, alpha=0.15, linewidth=8, label="the paper's side"),
        Line2D([], [], color="0.86", linewidth=8, label="would not matter"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=10, frameon=False)


def sign(measure: str, contrast: Contrast) -> str:
    """Whether student minus baseline has the paper's sign by its mean; "surely" where the interval excludes zero.

    >>> from kdlib.stats import paired_contrast
    >>> more = paired_contrast([20.0, 21.0, 22.5], [10.0, 11.0, 12.0])
    >>> sign("concepts_on_object", more), sign("concepts_beside_object", more)
    ('as the paper, surely', 'against it, surely')
    >>> sign("share_on_object", paired_contrast([0.5, 0.4], [0.5, 0.4]))
    'no difference'
    """
    if contrast.mean_difference == 0:
        return "no difference"
    word = "as the paper" if contrast.mean_difference * MEASURES[measure][2] > 0 else "against it"
    return f"{word}, surely" if contrast.excludes_zero else word


def tally(panels: Mapping[str, Mapping[str, Contrast]]) -> list[dict[str, str]]:
    """Rows of a table: of how many rows of `differences` each measure agrees with the paper.

    >>> from kdlib.stats import paired_contrast
    >>> more = paired_contrast([20.0, 21.0, 22.5], [10.0, 11.0, 12.0])
    >>> tally({"concepts_on_object": {"FC1": more, "FC2": more}})[0]["as the paper"]
    '2 of 2'
    """
    rows = []
    for measure, by_row in panels.items():
        words = [sign(measure, contrast) for contrast in by_row.values()]
        agree, against = (sum(word.startswith(start) for word in words) for start in ("as", "against"))
        rows.append(
            {
                "student minus baseline": TITLES[measure],
                "the paper's sign": "+" if MEASURES[measure][2] > 0 else "−",
                "as the paper": f"{agree} of {len(words)}",
                "surely": f"{words.count('as the paper, surely')} of {len(words)}",
                "against it": f"{against} of {len(words)}",
                "against it, surely": f"{words.count('against it, surely')} of {len(words)}",
            }
        )
    return rows


def signs_in_words(panels: Mapping[str, Mapping[str, Contrast]]) -> str:
    """In how many rows each measure has the paper's sign, in one line.

    >>> from kdlib.stats import paired_contrast
    >>> more = paired_contrast([20.0, 21.0, 22.5], [10.0, 11.0, 12.0])
    >>> signs_in_words({"concepts_on_object": {"FC1": more}, "concepts_beside_object": {"FC1": more}})
    'concepts on the object 1 of 1, concepts beside the object 0 of 1'
    """
    rows = zip(panels, tally(panels), strict=True)
    return ", ".join(f"{WORDS[measure]} {row['as the paper']}" for measure, row in rows)
