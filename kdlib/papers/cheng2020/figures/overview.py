"""Figures of the opening chapter on Cheng et al. 2020: their six measures, over seeds, from our records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from textwrap import wrap

import matplotlib.pyplot as plt

from kdlib.claims import Claim, Record
from kdlib.claims.on_file import Drawer, Drawn, measured, values_of
from kdlib.names import MODEL_NAMES
from kdlib.plotting.seeds import seeds_and_means

_COUNTS = {
    "concepts_on_object": ("on the object", "concepts (cells of 256)"),
    "concepts_beside_object": ("beside the object", "concepts (cells of 256)"),
    "share_on_object": ("share on the object", "share of concepts"),
}
_DYNAMICS = {
    "distance_mean": ("how early", "mean way (first norms)"),
    "distance_deviation": ("how simultaneously", "spread of ways (first norms)"),
    "stability": ("how directly", "part kept to the end"),
}


def concepts(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """Hypothesis 1: concepts on and beside the object, and their share, of teacher, student and baseline."""
    return _panels(records, "cheng2020_visual_concepts", _COUNTS, ("teacher", "student", "baseline"))


def learning(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """Hypotheses 2 and 3: D_mean, D_std and rho of student, baseline and the baseline with the student's rates."""
    return _panels(records, "cheng2020_learning_dynamics", _DYNAMICS, ("student", "baseline", "baseline_slow"))


def schedule(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """What claims 2c, 2d and 3b rest on: does the baseline learn at all with the student's learning rates?"""
    arms = ("student", "baseline", "baseline_slow")
    record = measured(records, "cheng2020_learning_dynamics")
    values = {} if record is None else values_of(record, "accuracy", arms)
    if record is None or set(values) != set(arms):
        return None
    figure, axis = plt.subplots(figsize=(5.4, 3.8))
    seeds_and_means(values, axis, ylabel="test accuracy (%)")
    axis.set_xticks(range(len(arms)), [_SHORT[arm] for arm in arms])
    axis.set_ylim(bottom=0)
    means = {arm: fmean(found) for arm, found in values.items()}
    words = (
        f"With the student's rates the baseline is right on {means['baseline_slow']:.1f} % of the test pictures, with "
        f"its own on {means['baseline']:.1f} %, the student on {means['student']:.1f} %"
    )
    by_chance = values_of(record, "accuracy", ("guessing",)).get("guessing")
    if by_chance:
        axis.axhline(fmean(by_chance), color="0.4", linestyle="--", linewidth=1.2)
        words += f"; guessing on {fmean(by_chance):.1f} %"
    figure.suptitle("\n".join(wrap(f"{words}. {_size(record, values)}.", 68)), fontsize=9)
    return figure, f"{words}. {_size(record, values)}."


def imitation(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """What claims 1e and 1f rest on: do students of other teachers learn to imitate theirs?"""
    arms, layers = ("student", "self", "random_teacher"), ("fc1", "fc2", "fc3")
    record = measured(records, "cheng2020_visual_concepts")
    panels = {} if record is None else {layer: values_of(record, f"explained_{layer}", arms) for layer in layers}
    if record is None or any(set(found) != set(arms) for found in panels.values()):
        return None
    figure, axes = plt.subplots(1, len(layers), figsize=(9, 3.8))
    words = []
    for axis, (layer, values) in zip(axes, panels.items(), strict=True):
        seeds_and_means(values, axis, ylabel="explained (%)" if layer == layers[0] else "")
        axis.axhline(0, color="0.4", linewidth=1)
        axis.set_title(layer.upper(), fontsize=11)
        axis.set_xticks(range(len(arms)), [_TAUGHT_BY[arm] for arm in arms])
        axis.tick_params(axis="x", labelsize=8)
        told = ", ".join(
            f"{MODEL_NAMES[arm]} {fmean(found):.0f} % ({min(found):.0f} to {max(found):.0f})"
            for arm, found in values.items()
        )
        words.append(f"{layer.upper()}: {told}")
    size = _size(record, panels[layers[0]])
    axes[1].set_xlabel("taught by", fontsize=10)
    figure.suptitle(size, fontsize=10)
    return figure, f"Part of the own teacher's outputs explained, mean and range of seeds. {'. '.join(words)}. {size}."


def _size(record: Record, values: Mapping[str, Sequence[float]]) -> str:
    return f"{len(next(iter(values.values())))} seeds, preset {record.preset}"


def _panels(
    records: Sequence[Record], notebook: str, panels: Mapping[str, tuple[str, str]], arms: Sequence[str]
) -> Drawn:
    record = measured(records, notebook)
    if record is None:
        return None
    values = {metric: values_of(record, metric, arms) for metric in panels}
    if any(set(found) != set(arms) for found in values.values()):
        return None
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.8))
    words = []
    for axis, (metric, (title, label)) in zip(axes, panels.items(), strict=True):
        seeds_and_means(values[metric], axis, ylabel=label)
        axis.set_title(title, fontsize=11)
        axis.set_xticks(range(len(arms)), [_SHORT[arm] for arm in arms])
        axis.tick_params(axis="x", labelsize=8)
        told = [
            f"{MODEL_NAMES[arm]} {fmean(found):.3g} ({min(found):.3g} to {max(found):.3g})"
            for arm, found in values[metric].items()
        ]
        words.append(f"{title}, {label}, mean and range of seeds: {', '.join(told)}")
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
