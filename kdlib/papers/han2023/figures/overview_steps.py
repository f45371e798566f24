"""More figures of the opening chapter on Han et al. 2023: one for each step of their argument, from our records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from kdlib.claims import Claim, Record
from kdlib.claims.on_file import Drawer, Drawn, measured, strongest, values_of
from kdlib.names import MODEL_NAMES
from kdlib.papers.han2023.figures.methods import methods_in_rows
from kdlib.plotting.seeds import seeds_and_means, seeds_in_words

_THREE = ("scratch", "label_smoothing", "kd")
_SHORT = {"scratch": "Scratch", "label_smoothing": "LS", "kd": "KD"}
_DETECTORS = "concept detectors (% of units)"
# By the claim that a panel is about: its title, the axis, and what the arms' names begin with in the record.
_OTHER_MEASURES = {
    "7e": ("Saliency bands:\nright pixels", "pixels (%)", ""),
    "7f": ("Saliency bands:\nfalse pixels", "pixels (%)", ""),
    "7g": ("DiffROAR", "points of accuracy", ""),
    "7h": ("Gradient energy\non the object", "share (%)", ""),
    "7i": ("Sentences:\naccuracy", "accuracy (%)", ""),
    "7j": ("Sentences:\nwords that matter", "agreement (%)", ""),
    "7k": ("Other data:\ndetectors", "units (%)", ""),
    "7l": ("Other networks:\ndetectors", "units (%)", "deeper_"),
}


def _title(record: Record, seeds: int) -> str:
    return f"{seeds} seeds, preset {record.preset}"


def categories(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """Object detectors and scene detectors of scratch, label smoothing and KD: what the gain is a gain in."""
    record = measured(records, "han2023_concept_detectors")
    if record is None:
        return None
    panels = {name: values_of(record, f"{name}_detectors", _THREE) for name in ("object", "scene")}
    if any(set(values) != set(_THREE) for values in panels.values()):
        return None
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.6))
    words = []
    for axis, (name, values) in zip(axes, panels.items(), strict=True):
        seeds_and_means(values, axis, ylabel=f"{name} detectors (% of units)")
        axis.set_xticks(range(len(_THREE)), [MODEL_NAMES[arm] for arm in _THREE], fontsize=9)
        if not any(value for seeds in values.values() for value in seeds):
            axis.set_ylim(-0.1, 1)
            axis.text(0.5, 0.5, "none in any network", transform=axis.transAxes, ha="center", color="0.3")
        words.append(f"{name.capitalize()} detectors. {seeds_in_words(values, '% of units')}")
    figure.suptitle(_title(record, len(panels["object"]["kd"])), fontsize=10)
    return figure, ". ".join(words) + "."


def similarity(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """How alike classes are to a network: the paper's entropy, then our siblings' share of the wrong probability."""
    record = measured(records, "han2023_concept_detectors")
    ours = {} if record is None else values_of(record, "sibling_mass_ratio", _THREE)
    if record is None or set(ours) != set(_THREE):
        return None
    told = [item for short in ("3a", "3b") for item in claims[f"han2023.{short}"].reported if item.value is not None]
    numbers = {item.what: float(item.value or 0) for item in told}
    theirs = {"scratch": [numbers["scratch"]], "label_smoothing": [numbers["label smoothing"]], "kd": [numbers["KD"]]}
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6))
    entropy = str(told[0].unit)
    seeds_and_means(theirs, left, ylabel=entropy)
    left.set_title("The paper: single runs, not defined to us")
    seeds_and_means(ours, right, ylabel="siblings' share of wrong classes (%)")
    right.set_title(f"Here: {_title(record, len(ours['kd']))}")
    for axis in (left, right):
        axis.set_xticks(range(len(_THREE)), [MODEL_NAMES[arm] for arm in _THREE], fontsize=9)
    paper = ", ".join(f"{MODEL_NAMES[arm]} {values[0]:g}" for arm, values in theirs.items())
    return figure, f"Paper, {entropy}: {paper}. Here, siblings' share: {seeds_in_words(ours, '%')}."


def controls(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """Similarity taken away from a teacher and given without one: siblings' share beside detectors."""
    arms = ("scratch", "kd", "kd_shuffled", "kd_wrong_classes", "superclass_smoothing", "antisibling_smoothing")
    panels = {"sibling_mass_ratio": "siblings' share of wrong classes (%)", "detectors": _DETECTORS}
    return _rows(records, "han2023_class_similarity", arms, panels, "kd_shuffled")


def every_method(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """Accuracy and detectors of all methods of distillation against scratch."""
    arms = ("scratch", "kd", "self_kd", "at", "ft", "crd", "sskd")
    panels = {"accuracy": "test accuracy (%)", "detectors": _DETECTORS}
    return _rows(records, "han2023_kd_methods", arms, panels, "self_kd")


def _rows(
    records: Sequence[Record], notebook: str, arms: Sequence[str], panels: Mapping[str, str], needed: str
) -> Drawn:
    """A row for each arm on file, a panel for each metric; None unless scratch, KD and `needed` are in all panels."""
    record = measured(records, notebook)
    if record is None:
        return None
    values = {metric: values_of(record, metric, arms) for metric in panels}
    if any(not {"scratch", "kd", needed} <= set(found) for found in values.values()):
        return None
    rows = [arm for arm in arms if all(arm in found for found in values.values())]
    figure, axes = plt.subplots(1, len(panels), figsize=(8, 0.42 * len(rows) + 1.2), sharey=True)
    words = []
    for axis, (metric, label) in zip(axes, panels.items(), strict=True):
        shown = {arm: values[metric][arm] for arm in rows}
        methods_in_rows(shown, axis, xlabel=label)
        words.append(f"{label[0].upper()}{label[1:]}: {seeds_in_words(shown, '%')}")
    figure.suptitle(_title(record, len(values[next(iter(panels))]["scratch"])), fontsize=10)
    return figure, ". ".join(words) + "."


def other_measures(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """KD against scratch (and label smoothing where it was trained) by every other measure, a panel each."""
    found = {}
    for short, (title, label, prefix) in _OTHER_MEASURES.items():
        claim = claims[f"han2023.{short}"]
        best = strongest(records, claim.id)
        if best is None:
            continue
        measured_arms = values_of(best[0], claim.metric, [f"{prefix}{arm}" for arm in _THREE])
        values = {arm.removeprefix(prefix): seeds for arm, seeds in measured_arms.items()}
        found[short] = (f"{short}. {title}", label, claim.direction, values, best[0].preset)
    if not found:
        return None
    columns = 4
    rows = -(-len(found) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(9, 2.75 * rows), squeeze=False)
    for axis in axes.flat[len(found) :]:
        axis.axis("off")
    words = []
    for axis, (title, label, direction, values, preset) in zip(axes.flat, found.values(), strict=False):
        seeds_and_means(values, axis, ylabel=label)
        more = "higher" if direction == "greater" else "lower"
        axis.set_title(title, fontsize=9.5)
        axis.set_xlabel(f"claimed: KD {more}\n{len(values['kd'])} seeds, {preset}", fontsize=8)
        axis.set_xticks(range(len(values)), [_SHORT[arm] for arm in values])
        axis.tick_params(labelsize=8)
        axis.yaxis.label.set_size(9)
        means = ", ".join(f"{MODEL_NAMES[arm]} {np.mean(seeds):.1f}" for arm, seeds in values.items())
        words.append(f"{' '.join(title.split())}, {label}, means: {means}; claimed: KD {more}")
    return figure, ". ".join(words) + "."


FIGURES: dict[str, Drawer] = {
    "categories": categories,
    "similarity": similarity,
    "controls": controls,
    "every_method": every_method,
    "other_measures": other_measures,
}
