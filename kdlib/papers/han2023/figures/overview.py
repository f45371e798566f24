"""Figures of a paper's opening chapter: its argument, redrawn from our records beside what the paper reports.

Each function takes the claims and the records on file and returns a figure with its description, or None where the
records do not hold what it shows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from kdlib.claims import Claim, Record
from kdlib.claims.on_file import Drawer, Drawn, measured, strongest, values_of
from kdlib.claims.phrases import interval_in_words
from kdlib.claims.verdicts import WORDS, Verdict
from kdlib.names import MODEL_COLOURS, MODEL_NAMES
from kdlib.papers.han2023.figures import overview_steps
from kdlib.plotting.seeds import seeds_and_means, seeds_in_words
from kdlib.stats import paired_contrast

# Okabe and Ito; the shape says the same, for readers who see no colour.
VERDICT_LOOKS = {
    "supported": ("#009E73", "o"),
    "not supported": ("#56B4E9", "s"),
    "contradicted": ("#D55E00", "X"),
    "inconclusive": ("#777777", "d"),
}


def _reported(claim: Claim) -> dict[str, float]:
    """What the paper reports for each arm of a claim, as numbers."""
    return {item.what: float(item.value) for item in claim.reported if item.value is not None}


def headline(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """Accuracy and detectors of scratch, label smoothing and KD: the paper's single runs, then ours over seeds."""
    record = measured(records, "han2023_concept_detectors")
    arms = ("scratch", "label_smoothing", "kd")
    if record is None:
        return None
    ours = {metric: values_of(record, metric, arms) for metric in ("accuracy", "detectors")}
    if any(set(values) != set(arms) for values in ours.values()):
        return None
    figure, axes = plt.subplots(2, 2, figsize=(8, 6.4))
    theirs = {"accuracy": ("1a", "2a", "test accuracy (%)"), "detectors": ("1b", "2b", "detectors (of 512 units)")}
    words = []
    for row, (metric, (kd, smoothing, label)) in enumerate(theirs.items()):
        numbers = _reported(claims[f"han2023.{kd}"]) | _reported(claims[f"han2023.{smoothing}"])
        named = {"scratch": "scratch", "label_smoothing": "label smoothing", "kd": "KD"}
        values = {arm: [numbers[named[arm]]] for arm in arms}
        seeds_and_means(values, axes[row, 0], ylabel=label)
        words.append(f"Paper, {metric}: " + ", ".join(f"{MODEL_NAMES[arm]} {v[0]:g}" for arm, v in values.items()))
        unit = "test accuracy (%)" if metric == "accuracy" else "detectors (% of units)"
        seeds_and_means(ours[metric], axes[row, 1], ylabel=unit)
        words.append(f"Here, {metric}: {seeds_in_words(ours[metric], '%')}")
    axes[0, 0].set_title("The paper: ResNet-18, ImageNet, single runs")
    axes[0, 1].set_title(f"Here: small nets, {len(next(iter(ours['accuracy'].values())))} seeds, {record.preset}")
    for axis in axes.flat:
        axis.tick_params(axis="x", labelsize=9)
    return figure, ". ".join(words) + "."


def logits_added(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """Detectors of the four feature methods without and with the teacher's logits: the paper's bars, and ours."""
    record = measured(records, "han2023_kd_methods")
    methods = ("at", "ft", "crd", "sskd")
    if record is None:
        return None
    ours = {
        method: [values_of(record, "detectors", (method, f"{method}_with_logits")).get(arm) for arm in _pair(method)]
        for method in methods
    }
    if any(value is None for pair in ours.values() for value in pair):
        return None
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.9))
    words = []
    for place, (method, letter) in enumerate(zip(methods, "abcd", strict=True)):
        claim = claims[f"han2023.5{letter}"]
        alone, added = _reported(claim).values()
        _slope(axes[0], place, method, [[alone], [added]])
        pair = [np.asarray(value) for value in ours[method]]
        _slope(axes[1], place, method, pair)
        words.append(
            f"{MODEL_NAMES[method]}: paper {alone:g} to {added:g} of 512 units, here {pair[0].mean():.1f} to "
            f"{pair[1].mean():.1f} % of units"
        )
    axes[0].set(title="The paper: single runs", ylabel="detectors (of 512 units)")
    axes[1].set(title=f"Here: {len(pair[0])} seeds, {record.preset}", ylabel="detectors (% of units)")
    for axis in axes:
        axis.set_xticks(range(len(methods)), [MODEL_NAMES[method] for method in methods])
        axis.grid(axis="x", visible=False)
    return figure, "Left end without, right end with logits. " + "; ".join(words) + "."


def _pair(method: str) -> tuple[str, str]:
    return method, f"{method}_with_logits"


def _slope(axis: Axes, place: int, method: str, pair: Sequence[Any]) -> None:
    """A line from without (hollow) to with logits (filled) for each seed, a thick one for the mean."""
    x = (place - 0.2, place + 0.2)
    colour = MODEL_COLOURS[method]
    if len(pair[0]) > 1:
        for without, added in zip(*pair, strict=True):
            axis.plot(x, (without, added), color=colour, linewidth=0.8, alpha=0.5)
    means = [float(np.mean(values)) for values in pair]
    axis.plot(x, means, color=colour, linewidth=2.5)
    axis.scatter(x[:1], means[:1], facecolor="white", edgecolor=colour, s=50, zorder=3, linewidth=2)
    axis.scatter(x[1:], means[1:], color=colour, s=50, zorder=3)


def temperatures(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """Students of a label-smoothed teacher against its temperature: similarity, detectors and accuracy, every seed.

    Above each panel, the highest temperature minus the lowest, with the wider of both 95 % intervals.
    """
    record = measured(records, "han2023_class_similarity")
    if record is None:
        return None
    arms = sorted(
        (
            name.removeprefix("accuracy/")
            for name in record.measurements
            if re.match(r"accuracy/ls_teacher_t\d+$", name)
        ),
        key=lambda arm: int(arm.removeprefix("ls_teacher_t")),
    )
    panels = {
        "sibling_mass_ratio": "siblings' share (%)",
        "detectors": "detectors (% of units)",
        "accuracy": "test accuracy (%)",
    }
    ours = {metric: values_of(record, metric, arms) for metric in panels}
    if len(arms) < 2 or any(set(values) != set(arms) for values in ours.values()):
        return None
    seeds = len(ours["accuracy"][arms[0]])
    x = [int(arm.removeprefix("ls_teacher_t")) for arm in arms]
    figure, axes = plt.subplots(1, len(panels), figsize=(9, 3.5))
    words = []
    for axis, (metric, label) in zip(axes, panels.items(), strict=True):
        table = np.array([ours[metric][arm] for arm in arms])
        axis.plot(x, table, color="0.75", linewidth=1)
        axis.plot(x, table.mean(1), color=MODEL_COLOURS["ls_teacher_t4"], marker="o", linewidth=2)
        axis.set(xscale="log", xlabel="temperature T", ylabel=label)
        axis.set_xticks(x, [str(t) for t in x])
        axis.minorticks_off()
        change = interval_in_words(paired_contrast(table[-1], table[0]))
        axis.set_title(f"T = {x[-1]} minus T = {x[0]}:\n{change}", fontsize=9.5)
        at = ", ".join(f"{mean:.1f} at T = {t}" for t, mean in zip(x, table.mean(1), strict=True))
        words.append(f"Mean of {label}: {at}; highest minus lowest T: {change}")
    figure.suptitle(f"{seeds} seeds, preset {record.preset}", fontsize=10)
    return figure, ". ".join(words) + "."


def at_a_glance(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """Every judged claim's contrast with its interval, in units of the smallest effect that would matter.

    Turned so that the claimed direction is to the right.
    """
    judged: list[tuple[Claim, Verdict]] = []
    for claim in claims.values():
        best = strongest(records, claim.id)
        if best is not None:
            judged.append((claim, best[1]))
    if not judged:
        return None
    figure, axis = plt.subplots(figsize=(8, 0.29 * len(judged) + 1.3))
    axis.axvspan(-1, 1, color="0.93", zorder=0)
    axis.axvline(0, color="0.4", linewidth=1)
    limit = 12.0
    for place, (claim, found) in enumerate(judged):
        sign = (1 if claim.direction == "greater" else -1) / claim.smallest_effect
        mean, (low, high) = sign * found.contrast.mean_difference, sorted(sign * end for end in found.contrast.widest)
        colour, marker = VERDICT_LOOKS[found.word]
        axis.plot(np.clip([low, high], -limit, limit), [place, place], color=colour, linewidth=2)
        for end in (low, high):
            if abs(end) > limit:
                axis.plot([np.sign(end) * limit], [place], marker="<" if end < 0 else ">", color=colour, markersize=5)
        axis.plot([np.clip(mean, -limit, limit)], [place], marker=marker, color=colour, markersize=7)
    axis.set_yticks(range(len(judged)), [f"{claim.short_id} {claim.short}" for claim, _ in judged], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(-limit - 0.6, limit + 0.6)
    axis.set_xlabel(
        "difference in the claimed direction, in units of the smallest effect that would matter", fontsize=9
    )
    for word, (colour, marker) in VERDICT_LOOKS.items():
        axis.plot([], [], marker=marker, color=colour, linestyle="-", label=word)
    axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.35, 1.0 + 0.55 / (0.29 * len(judged) + 1.3)), ncols=4)
    words = [f"{claim.short_id} {claim.short}: {found.word}" for claim, found in judged]
    counts = [f"{sum(found.word == word for _, found in judged)} {word}" for word in WORDS]
    return figure, f"{', '.join(counts)}. " + "; ".join(words) + "."


FIGURES: dict[str, Drawer] = {
    "headline": headline,
    "logits_added": logits_added,
    "temperatures": temperatures,
    "at_a_glance": at_a_glance,
} | overview_steps.FIGURES
