"""Figures of a paper's opening chapter: its argument, redrawn from our records beside what the paper reports.

Each function takes the claims and the records on file and returns a figure with its description, or None where the
records do not hold what it shows. Panels stand one below the other, so that a phone shows them at a size to be read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from kdlib.claims import Claim, Record
from kdlib.claims.on_file import Drawer, Drawn, judged_in_words, measured, names_by_word, values_of
from kdlib.claims.phrases import with_interval
from kdlib.names import MODEL_COLOURS, MODEL_NAMES
from kdlib.papers.han2023.figures import overview_steps
from kdlib.plotting.seeds import seeds_and_means, seeds_in_words
from kdlib.plotting.titles import WIDTH, entitle, within
from kdlib.stats import paired_contrast


def _reported(claim: Claim) -> dict[str, float]:
    """What the paper reports for each arm of a claim, as numbers."""
    return {item.what: float(item.value) for item in claim.reported if item.value is not None}


def headline(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """Accuracy and detectors of scratch, label smoothing and KD: the paper's single runs, then ours over replicates."""
    record = measured(records, "han2023_concept_detectors")
    arms = ("scratch", "label_smoothing", "kd")
    if record is None:
        return None
    ours = {metric: values_of(record, metric, (*arms, "kd_t4")) for metric in ("accuracy", "detectors")}
    if any(not set(arms) <= set(values) for values in ours.values()):
        return None
    figure, axes = plt.subplots(4, 1, figsize=(WIDTH, 10))
    theirs = {"accuracy": ("1a", "2a", "accuracy (%)"), "detectors": ("1b", "2b", "detectors (of 512)")}
    twins = {"accuracy": "han2023.9a", "detectors": "han2023.9b"}  # of KD at T = 4
    here = {"accuracy": "accuracy (%)", "detectors": "detectors (% of units)"}
    words = []
    for place, (metric, (kd, smoothing, label)) in enumerate(theirs.items()):
        numbers = _reported(claims[f"han2023.{kd}"]) | _reported(claims[f"han2023.{smoothing}"])
        named = {"scratch": "scratch", "label_smoothing": "label smoothing", "kd": "KD"}
        values = {arm: [numbers[named[arm]]] for arm in arms}
        paper, own = axes[2 * place : 2 * place + 2]
        seeds_and_means(values, paper, ylabel=label)
        words.append(f"Paper, {metric}: " + ", ".join(f"{MODEL_NAMES[arm]} {v[0]:g}" for arm, v in values.items()))
        entitle(paper, f"The paper, {metric}: ResNet-18, ImageNet, single runs")
        seeds_and_means(ours[metric], own, ylabel=here[metric])
        within(own, 0, 100)
        judged = judged_in_words(record, claims, (f"han2023.{kd}", twins[metric], f"han2023.{smoothing}"))
        entitle(own, f"Here: small networks, {len(ours[metric]['kd'])} replicates, {record.preset}", judged)
        words.append(f"Here, {metric}: {seeds_in_words(ours[metric], '%')}")
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
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 6))
    words, named = [], {}
    for place, (method, letter) in enumerate(zip(methods, "abcd", strict=True)):
        claim = claims[f"han2023.5{letter}"]
        named[claim.id] = MODEL_NAMES[method]
        alone, added = _reported(claim).values()
        _slope(axes[0], place, method, [[alone], [added]])
        pair = [np.asarray(value) for value in ours[method]]
        _slope(axes[1], place, method, pair)
        words.append(
            f"{MODEL_NAMES[method]}: paper {alone:g} to {added:g} of 512 units, here {pair[0].mean():.1f} to "
            f"{pair[1].mean():.1f} % of units"
        )
    entitle(axes[0], "The paper: logits add detectors, in single runs")
    axes[0].set_ylabel("detectors (of 512)")
    seeds = f"Here, {len(pair[0])} replicates, {record.preset}: do logits add detectors?"
    entitle(axes[1], seeds, names_by_word(record, named))
    axes[1].set_ylabel("detectors (% of units)")
    within(axes[1], 0, 100)
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

    Above each panel, the highest temperature minus the lowest, with the 95 % interval.
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
    judging = {"detectors": ("han2023.6a",), "accuracy": ("han2023.6b",)}
    ours = {metric: values_of(record, metric, arms) for metric in panels}
    if len(arms) < 2 or any(set(values) != set(arms) for values in ours.values()):
        return None
    seeds = len(ours["accuracy"][arms[0]])
    x = [int(arm.removeprefix("ls_teacher_t")) for arm in arms]
    figure, axes = plt.subplots(len(panels), 1, figsize=(WIDTH, 8))
    words = []
    for axis, (metric, label) in zip(axes, panels.items(), strict=True):
        table = np.array([ours[metric][arm] for arm in arms])
        axis.plot(x, table, color="0.75", linewidth=1)
        axis.plot(x, table.mean(1), color=MODEL_COLOURS["ls_teacher_t4"], marker="o", linewidth=2)
        axis.set(xscale="log", ylabel=label)
        axis.set_xticks(x, [str(t) for t in x])
        axis.minorticks_off()
        within(axis, 0, 100)
        change = with_interval(paired_contrast(table[-1], table[0]), "points")
        judged = judged_in_words(record, claims, judging.get(metric, ()))
        entitle(axis, f"T = {x[-1]} minus T = {x[0]}: {change}", judged)
        at = ", ".join(f"{mean:.1f} at T = {t}" for t, mean in zip(x, table.mean(1), strict=True))
        words.append(f"Mean of {label}: {at}; highest minus lowest T: {change}")
    axes[-1].set_xlabel(f"temperature T ({seeds} seeds, {record.preset})")
    return figure, ". ".join(words) + "."


FIGURES: dict[str, Drawer] = {
    "headline": headline,
    "logits_added": logits_added,
    "temperatures": temperatures,
} | overview_steps.FIGURES
