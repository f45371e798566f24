"""Figures of the opening chapter on Cheng et al. 2020: their six measures, over seeds, from our records.

Panels stand one below the other, so that a phone shows them at a size to be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from statistics import fmean
from textwrap import wrap

import matplotlib.pyplot as plt

from kdlib.claims import Claim, Record
from kdlib.claims.on_file import TITLE_WIDTH, Drawer, Drawn, judged_in_words, measured, values_of
from kdlib.names import MODEL_NAMES
from kdlib.plotting.seeds import seeds_and_means
from kdlib.plotting.tables import with_minus
from kdlib.plotting.titles import WIDTH, entitle, within

# By measure: its name, the axis, the most that can occur, and the claims about it.
_COUNTS = {
    "concepts_on_object": ("On the object", "concepts (cells of 256)", 256.0, ("1a", "1d")),
    "concepts_beside_object": ("Beside the object", "concepts (cells of 256)", 256.0, ("1b",)),
    "share_on_object": ("Share on the object", "share of concepts", 1.0, ("1c",)),
}
_DYNAMICS = {
    "distance_mean": ("How early", "mean path length", inf, ("2a", "2c")),
    "distance_deviation": ("How simultaneously", "spread of path lengths", inf, ("2b", "2d")),
    "stability": ("How directly", "part kept to the end", 1.0, ("3a", "3b")),
}


def concepts(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """Hypothesis 1: concepts on and beside the object, and their share, of teacher, student and baseline."""
    return _panels(claims, records, "cheng2020_visual_concepts", _COUNTS, ("teacher", "student", "baseline"))


def learning(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """Hypotheses 2 and 3: D_mean, D_std and rho of student, baseline and the baseline with the student's rates."""
    return _panels(claims, records, "cheng2020_learning_dynamics", _DYNAMICS, ("student", "baseline", "baseline_slow"))


def schedule(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """What claims 2c, 2d and 3b rest on: does the baseline learn at all with the student's learning rates?"""
    arms = ("student", "baseline", "baseline_slow")
    record = measured(records, "cheng2020_learning_dynamics")
    values = {} if record is None else values_of(record, "accuracy", arms)
    if record is None or set(values) != set(arms):
        return None
    figure, axis = plt.subplots(figsize=(WIDTH, 3.8))
    seeds_and_means(values, axis, ylabel="test accuracy (%)")
    axis.set_xticks(range(len(arms)), [_SHORT[arm] for arm in arms])
    axis.set_ylim(bottom=0)
    within(axis, 0, 100)
    means = {arm: fmean(found) for arm, found in values.items()}
    words = (
        f"With the student's rates the baseline is right on {means['baseline_slow']:.1f} % of the test pictures, with "
        f"its own on {means['baseline']:.1f} %, the student on {means['student']:.1f} %"
    )
    by_chance = values_of(record, "accuracy", ("guessing",)).get("guessing")
    if by_chance:
        axis.axhline(fmean(by_chance), color="0.4", linestyle="--", linewidth=1.2)
        words += f"; guessing on {fmean(by_chance):.1f} %"
    figure.suptitle("\n".join(wrap(f"{words}. {_size(record, values)}.", TITLE_WIDTH + 6)), fontsize=10)
    return figure, f"{words}. {_size(record, values)}."


def imitation(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """What claims 1e and 1f rest on: do students of other teachers learn to imitate theirs?"""
    arms, layers = ("student", "self", "random_teacher"), ("fc1", "fc2", "fc3")
    record = measured(records, "cheng2020_visual_concepts")
    panels = {} if record is None else {layer: values_of(record, f"explained_{layer}", arms) for layer in layers}
    if record is None or any(set(found) != set(arms) for found in panels.values()):
        return None
    figure, axes = plt.subplots(len(layers), 1, figsize=(WIDTH, 8.4), sharex=True)
    words = []
    for axis, (layer, values) in zip(axes, panels.items(), strict=True):
        seeds_and_means(values, axis, ylabel="explained (%)")
        within(axis, -inf, 100)
        axis.axhline(0, color="0.4", linewidth=1)
        means = [with_minus(f"{fmean(found):.0f} %") for found in values.values()]
        entitle(axis, f"{layer.upper()}: {', '.join(means)} explained")
        axis.set_xticks(range(len(arms)), [_TAUGHT_BY[arm] for arm in arms])
        by_arm = ", ".join(
            f"{MODEL_NAMES[arm]} {fmean(found):.0f} % ({min(found):.0f} to {max(found):.0f})"
            for arm, found in values.items()
        )
        words.append(f"{layer.upper()}: {by_arm}")
    size = _size(record, panels[layers[0]])
    axes[-1].set_xlabel("taught by")
    figure.suptitle(size, fontsize=10)
    text = f"Part of the own teacher's outputs explained, mean and range of seeds. {'. '.join(words)}. {size}."
    return figure, with_minus(text)


def _size(record: Record, values: Mapping[str, Sequence[float]]) -> str:
    return f"{len(next(iter(values.values())))} seeds, preset {record.preset}"


def _panels(
    claims: Mapping[str, Claim],
    records: Sequence[Record],
    notebook: str,
    panels: Mapping[str, tuple[str, str, float, Sequence[str]]],
    arms: Sequence[str],
) -> Drawn:
    record = measured(records, notebook)
    if record is None:
        return None
    values = {metric: values_of(record, metric, arms) for metric in panels}
    if any(set(found) != set(arms) for found in values.values()):
        return None
    figure, axes = plt.subplots(3, 1, figsize=(WIDTH, 8.8), sharex=True)
    words = []
    for axis, (metric, (title, label, most, judging)) in zip(axes, panels.items(), strict=True):
        seeds_and_means(values[metric], axis, ylabel=label)
        within(axis, 0, most)
        judged = judged_in_words(record, claims, [f"cheng2020.{short}" for short in judging])
        entitle(axis, judged or title)
        axis.set_xticks(range(len(arms)), [_SHORT[arm] for arm in arms])
        by_arm = [
            f"{MODEL_NAMES[arm]} {fmean(found):.3g} ({min(found):.3g} to {max(found):.3g})"
            for arm, found in values[metric].items()
        ]
        words.append(f"{title}, {label}, mean and range of seeds: {', '.join(by_arm)}")
    figure.suptitle(_size(record, values[next(iter(panels))]), fontsize=10)
    return figure, ". ".join(words) + "."


_SHORT = {
    "teacher": "Teacher",
    "student": "Student",
    "baseline": "Baseline",
    "baseline_slow": "Baseline,\nstudent's rates",
}
_TAUGHT_BY = {"student": "the trained\nteacher", "self": "its own\nbaseline", "random_teacher": "an untrained\nteacher"}
FIGURES: dict[str, Drawer] = {
    "concepts": concepts,
    "learning": learning,
    "schedule": schedule,
    "imitation": imitation,
}
