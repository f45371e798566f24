"""More figures of the opening chapter on Han et al. 2023: one for each step of their argument, from our records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from kdlib.claims import Claim, Record
from kdlib.claims.on_file import Drawer, Drawn, judged_in_words, measured, names_by_word, strongest, values_of
from kdlib.claims.phrases import with_interval
from kdlib.names import MODEL_NAMES
from kdlib.papers.han2023.figures.methods import methods_in_rows
from kdlib.plotting.seeds import seeds_and_means, seeds_in_words
from kdlib.plotting.titles import WIDTH, entitle, within
from kdlib.stats import paired_contrast

_BESIDE_NAMES = 38  # characters of a title over rows with names at their left
_THREE = ("scratch", "label_smoothing", "kd")
_SHOWN = (*_THREE, "kd_t4")  # the last where it is on file
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


def _size(record: Record, seeds: int) -> str:
    return f"{seeds} replicates, {record.preset}"


def categories(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """Object detectors and scene detectors of scratch, label smoothing and KD: what the gain is a gain in."""
    record = measured(records, "han2023_concept_detectors")
    if record is None:
        return None
    panels = {name: values_of(record, f"{name}_detectors", _SHOWN) for name in ("object", "scene")}
    if any(not set(_THREE) <= set(values) for values in panels.values()):
        return None
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 6))
    judging = {"object": ("han2023.4a", "han2023.9g", "han2023.4b"), "scene": ("han2023.4c",)}
    words = []
    for axis, (name, values) in zip(axes, panels.items(), strict=True):
        seeds_and_means(values, axis, ylabel=f"{name} detectors (%)")
        within(axis, 0, 100)
        if not any(value for seeds in values.values() for value in seeds):
            axis.set_ylim(-0.03, 1)
            axis.text(0.5, 0.5, "none in any network", transform=axis.transAxes, ha="center", color="0.3")
        judged = judged_in_words(record, claims, judging[name])
        entitle(axis, f"{name.capitalize()} detectors, {_size(record, len(values['kd']))}", judged)
        words.append(f"{name.capitalize()} detectors. {seeds_in_words(values, '% of units')}")
    return figure, ". ".join(words) + "."


def similarity(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """How alike classes are to a network: the paper's entropy, then our siblings' share of the wrong probability."""
    record = measured(records, "han2023_concept_detectors")
    ours = {} if record is None else values_of(record, "sibling_mass_ratio", _SHOWN)
    if record is None or not set(_THREE) <= set(ours):
        return None
    known = [item for short in ("3a", "3b") for item in claims[f"han2023.{short}"].reported if item.value is not None]
    numbers = {item.what: float(item.value or 0) for item in known}
    theirs = {"scratch": [numbers["scratch"]], "label_smoothing": [numbers["label smoothing"]], "kd": [numbers["KD"]]}
    figure, (above, below) = plt.subplots(2, 1, figsize=(WIDTH, 6))
    entropy = str(known[0].unit)
    seeds_and_means(theirs, above, ylabel=entropy)
    entitle(above, "The paper: single runs, definition not known")
    seeds_and_means(ours, below, ylabel="siblings' share (%)")
    within(below, 0, 100)
    judged = judged_in_words(record, claims, ("han2023.3a", "han2023.9c", "han2023.3b"))
    entitle(below, f"Here: {_size(record, len(ours['kd']))}", judged)
    paper = ", ".join(f"{MODEL_NAMES[arm]} {values[0]:g}" for arm, values in theirs.items())
    return figure, f"Paper, {entropy}: {paper}. Here, siblings' share: {seeds_in_words(ours, '%')}."


def controls(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """Similarity taken away from a teacher and given without one: siblings' share above detectors."""
    taught = ("kd", "kd_shuffled", "kd_wrong_classes", "kd_t4", "kd_t4_shuffled", "kd_t4_wrong_classes")
    arms = ("scratch", *taught, "superclass_smoothing", "antisibling_smoothing")
    panels = {"sibling_mass_ratio": "siblings' share of wrong classes (%)", "detectors": _DETECTORS}

    def titles(record: Record) -> dict[str, str]:
        shares = values_of(record, "sibling_mass_ratio", ("kd", "kd_shuffled"))
        lost = paired_contrast(shares["kd"], shares["kd_shuffled"])
        return {
            "sibling_mass_ratio": f"KD's share minus that of shuffled KD:\n{with_interval(lost, 'points')}",
            "detectors": judged_in_words(
                record, claims, ("han2023.3d", "han2023.9e", "han2023.3e"), width=_BESIDE_NAMES
            ),
        }

    return _rows(records, "han2023_class_similarity", arms, panels, "kd_shuffled", titles)


def every_method(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """Accuracy and detectors of all methods of distillation against scratch."""
    methods = {"self_kd": "8", "at": "7", "ft": "7", "crd": "7", "sskd": "7"}
    panels = {"accuracy": "test accuracy (%)", "detectors": _DETECTORS}
    claimed = {"accuracy": ("More accurate than scratch?", "cmnop"), "detectors": ("More than scratch?", "aabcd")}

    def titles(record: Record) -> dict[str, str]:
        found = {}
        for metric, (question, letters) in claimed.items():
            pairs = zip(methods.items(), letters, strict=True)
            named = {f"han2023.{number}{letter}": MODEL_NAMES[arm] for (arm, number), letter in pairs}
            found[metric] = f"{question}\n{names_by_word(record, named, width=_BESIDE_NAMES)}".strip()
        return found

    arms = ("scratch", "kd", "kd_t4", *methods, "self_kd_t4")
    return _rows(records, "han2023_kd_methods", arms, panels, "self_kd", titles)


def _rows(
    records: Sequence[Record],
    notebook: str,
    arms: Sequence[str],
    panels: Mapping[str, str],
    needed: str,
    titles: Callable[[Record], Mapping[str, str]],
) -> Drawn:
    """A row for each arm on file, a panel for each metric; None unless scratch, KD and `needed` are in all panels."""
    record = measured(records, notebook)
    if record is None:
        return None
    values = {metric: values_of(record, metric, arms) for metric in panels}
    if any(not {"scratch", "kd", needed} <= set(found) for found in values.values()):
        return None
    rows = [arm for arm in arms if all(arm in found for found in values.values())]
    figure, axes = plt.subplots(len(panels), 1, figsize=(WIDTH, len(panels) * (0.36 * len(rows) + 1.5)))
    words, over = [], titles(record)
    for axis, (metric, label) in zip(axes, panels.items(), strict=True):
        shown = {arm: values[metric][arm] for arm in rows}
        methods_in_rows(shown, axis, xlabel=label)
        within(axis, 0, 100, which="x")
        entitle(axis, over[metric])
        words.append(f"{label[0].upper()}{label[1:]}: {seeds_in_words(shown, '%')}")
    figure.suptitle(_size(record, len(values[next(iter(panels))]["scratch"])), fontsize=10)
    return figure, ". ".join(words) + "."


def other_measures(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """KD against scratch (and label smoothing where it was trained) by every other measure, a panel each."""
    found = {}
    for short, (title, label, prefix) in _OTHER_MEASURES.items():
        claim = claims[f"han2023.{short}"]
        best = strongest(records, claim.id)
        if best is None:
            continue
        record, verdict = best
        measured_arms = values_of(record, claim.metric, [f"{prefix}{arm}" for arm in _THREE])
        values = {arm.removeprefix(prefix): seeds for arm, seeds in measured_arms.items()}
        found[short] = (f"{short}. {title}", label, claim.direction, values, record.preset, verdict.word)
    if not found:
        return None
    columns = 2
    rows = -(-len(found) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, 2.9 * rows), squeeze=False)
    for axis in axes.flat[len(found) :]:
        axis.axis("off")
    words = []
    for axis, (title, label, direction, values, preset, word) in zip(axes.flat, found.values(), strict=False):
        seeds_and_means(values, axis, ylabel=label)
        # DiffROAR is a difference of accuracies: it has no floor at zero.
        within(axis, -100 if label.startswith("points") else 0, 100)
        more = "higher" if direction == "greater" else "lower"
        entitle(axis, title, word)
        axis.set_xlabel(f"claimed: KD {more}\n{len(values['kd'])} seeds, {preset}", fontsize=9.5)
        axis.set_xticks(range(len(values)), [_SHORT[arm] for arm in values])
        axis.tick_params(labelsize=9.5)
        axis.yaxis.label.set_size(10)
        means = ", ".join(f"{MODEL_NAMES[arm]} {np.mean(seeds):.1f}" for arm, seeds in values.items())
        words.append(f"{' '.join(title.split())}, {label}, means: {means}; claimed: KD {more}; {word}")
    return figure, ". ".join(words) + "."


FIGURES: dict[str, Drawer] = {
    "categories": categories,
    "similarity": similarity,
    "controls": controls,
    "every_method": every_method,
    "other_measures": other_measures,
}
