"""Figures of the opening chapter on Cheng et al. 2020: their six measures, over seeds, from our records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import matplotlib.pyplot as plt

from kdlib.claims import Claim, Record
from kdlib.figures.from_records import Drawer, Drawn, measured, values_of
from kdlib.plots import MODEL_NAMES, seeds_and_means

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
    seeds = len(next(iter(values[next(iter(panels))].values())))
    figure.suptitle(f"{seeds} seeds, preset {record.preset}", fontsize=10)
    return figure, ". ".join(words) + "."


_SHORT = {
    "teacher": "Teacher",
    "student": "Student",
    "baseline": "Baseline",
    "baseline_slow": "Baseline,\nstudent's rates",
}
FIGURES: dict[str, Drawer] = {"concepts": concepts, "learning": learning}
