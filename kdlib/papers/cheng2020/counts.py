"""Counts of visual concepts over the arms, seeds and layers of a study, as the chapter on them files them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdlib.claims import Claim, Record
from kdlib.errors import KdlibError
from kdlib.metrics.visual_concepts import agreement, discards, precision_recall
from kdlib.names import DATA_SETS, NETWORKS
from kdlib.papers.chapter import Chapter
from kdlib.papers.cheng2020.study import LAYERS, ConceptStudy
from kdlib.stats import Contrast

#: Measure -> its column in `VisualConcepts.summary`, its unit, and the sign of student minus baseline in the paper.
MEASURES = {
    "concepts_on_object": ("n_foreground", "cells of 256", 1),
    "concepts_beside_object": ("n_background", "cells of 256", -1),
    "share_on_object": ("share", "fraction", 1),
}
WORDS = {
    "concepts_on_object": "concepts on the object",
    "concepts_beside_object": "concepts beside the object",
    "share_on_object": "share on the object",
}
Panels = dict[str, dict[str, Contrast]]
Keep = Mapping[tuple[int, str], Tensor]  # (seed, layer) -> (N,) bool, the pictures that count


def measure_counts(
    chapter: Chapter,
    study: ConceptStudy,
    arms: Sequence[str],
    suffix: str = "",
    layers: Sequence[str] = LAYERS,
    *,
    keep: Keep | None = None,
    threshold: float | None = None,
    mean: bool = True,
) -> None:
    """File the three measures of every arm, at each layer and, unless mean is False, as the mean over the layers."""

    def summary(arm: str, seed: int, layer: str) -> dict[str, float]:
        kept = keep[seed, layer] if keep else None
        return study.concepts(arm, seed, layer, threshold=threshold, keep=kept).summary()

    found = {(arm, s, layer): summary(arm, s, layer) for arm in arms for s in study.seeds for layer in layers}
    taken = {f"_{layer}": [layer] for layer in layers} | ({"": layers} if mean else {})
    for measure, (column, unit, _) in MEASURES.items():
        for name, of in taken.items():
            values = {
                arm: [float(np.mean([found[arm, s, layer][column] for layer in of])) for s in study.seeds]
                for arm in arms
            }
            chapter.measure(f"{measure}{name}{suffix}", values, unit)


def contrasts(
    record: Record,
    suffix: str = "",
    layers: Sequence[str] = LAYERS,
    label: Callable[[str], str] = str.upper,
    pair: tuple[str, str] = ("student", "baseline"),
) -> Panels:
    """measure -> name of the row, label(layer) -> the contrast of two arms at a layer, from what is on record."""
    return {
        measure: {label(layer): record.contrast(f"{measure}_{layer}{suffix}", *pair) for layer in layers}
        for measure in MEASURES
    }


def setting_in_words(usual: ConceptStudy, study: ConceptStudy, layer: str) -> str:
    """Data, network and layer, as the name of a row; the regime of the backgrounds where it is not the usual one."""
    regime = f" ({study.regime})" if study.regime not in ("", usual.regime) else ""
    return f"{DATA_SETS[study.data].title}{regime}, {NETWORKS[study.network]}, {layer.upper()}"


def measure_median_image(chapter: Chapter, study: ConceptStudy, arms: Sequence[str]) -> None:
    """File the three measures of the median image in place of the mean over images."""
    found = {arm: [[study.concepts(arm, s, layer).summary() for layer in LAYERS] for s in study.seeds] for arm in arms}
    for measure, (column, unit, _) in MEASURES.items():
        values = {
            arm: [float(np.mean([one[f"median_{column}"] for one in layers])) for layers in by_seed]
            for arm, by_seed in found.items()
        }
        chapter.measure(f"{measure}_of_the_median_image", values, unit)


def hits(study: ConceptStudy, arm: str, seed: int, layer: str, keep: Tensor | None = None) -> dict[str, float]:
    """Precision and recall of concepts for the object, and for the telling part among the object's cells."""
    found, telling = study.concepts(arm, seed, layer, keep=keep), study.telling_cells
    precision, recall = (
        v.nanmean().item() for v in precision_recall(found.concepts[found.kept], found.foreground[found.kept])
    )
    values = {"precision": precision, "recall": recall}
    if telling is not None:
        inside = telling & study.foreground
        seen = found.kept & inside.flatten(1).any(1)
        on_object = found.concepts[seen] & study.foreground[seen]
        on_part, of_part = (v.nanmean().item() for v in precision_recall(on_object, inside[seen]))
        values |= {"telling_precision": on_part, "telling_recall": of_part}
    return values


def measure_hits(
    chapter: Chapter, study: ConceptStudy, arms: Sequence[str], suffix: str = "", keep: Keep | None = None
) -> dict[str, dict[str, float]]:
    """File `hits`, each the mean over layers, where every seed has a number; arm -> measure -> mean over seeds."""
    means: dict[str, dict[str, float]] = {}
    for arm in arms:
        by_seed = [[hits(study, arm, s, la, keep[s, la] if keep else None) for la in LAYERS] for s in study.seeds]
        means[arm] = {}
        for name in by_seed[0][0]:
            values = [float(np.mean([one[name] for one in layers])) for layers in by_seed]
            means[arm][name] = float(np.mean(values))
            if np.isfinite(values).all():
                chapter.measure(f"{name}{suffix}", {arm: values}, "fraction")
    return means


def hits_by_chance(study: ConceptStudy) -> dict[str, float]:
    """Precision of cells drawn blindly, on the object and within it on the telling part."""
    found = {"precision": float(study.foreground.double().mean())}
    if study.telling_cells is not None:
        inside = (study.telling_cells & study.foreground).flatten(1)
        seen = inside.any(1)
        found["telling_precision"] = (inside.sum(1) / study.foreground.flatten(1).sum(1).double())[seen].mean().item()
    return found


def kept_by_both(study: ConceptStudy, arms: Sequence[str], layers: Sequence[str] = LAYERS) -> dict[Any, Tensor]:
    """(seed, layer) -> the pictures that the released rule leaves to both networks, at their last checkpoint."""

    def left(arm: str, seed: int, layer: str) -> Tensor:
        return discards(study.maps(arm, seed, layer)[None], study.foreground).keep

    return {
        (seed, layer): torch.stack([left(arm, seed, layer) for arm in arms]).all(0)
        for seed in study.seeds
        for layer in layers
    }


def measure_dropped(chapter: Chapter, study: ConceptStudy, arms: Sequence[str]) -> dict[str, dict[str, float]]:
    """File what part of the pictures the released rule drops; arm -> layer -> percent, means over seeds."""
    rates: dict[str, dict[str, float]] = {}
    for arm in arms:
        by_layer = {
            layer: [100 * discards(study.maps(arm, s, layer)[None], study.foreground).rate() for s in study.seeds]
            for layer in LAYERS
        }
        means = [float(np.mean(values)) for values in zip(*by_layer.values(), strict=True)]
        chapter.measure("dropped", {arm: means}, "percent of images")
        rates[arm] = {layer: float(np.mean(values)) for layer, values in by_layer.items()}
    return rates


def measure_claim_with_rule(chapter: Chapter, study: ConceptStudy, claim: Claim) -> str | None:
    """File a claim's measure on the pictures that the rule leaves to both of its arms, at the layers where a seed has
    some; the metric's name, or None if a seed has none at any layer."""
    arms, column = (claim.arm_a, claim.arm_b), MEASURES[claim.metric][0]
    kept = kept_by_both(study, arms)
    usable = {s: [layer for layer in LAYERS if kept[s, layer].any()] for s in study.seeds}
    if not all(usable.values()):
        return None
    name = f"{claim.metric}_ruled_{claim.short_id}"
    for arm in arms:
        values = [
            float(np.mean([study.concepts(arm, s, la, keep=kept[s, la]).summary()[column] for la in layers]))
            for s, layers in usable.items()
        ]
        chapter.measure(name, {arm: values}, claim.unit)
    return name


def measure_counts_with_rule(
    chapter: Chapter, study: ConceptStudy, arms: Sequence[str], suffix: str, layers: Sequence[str]
) -> list[str]:
    """File the counts on the pictures that the rule leaves to all arms; the layers where all seeds have some."""
    kept = kept_by_both(study, arms, layers)
    usable = [layer for layer in layers if all(kept[s, layer].any() for s in study.seeds)]
    if usable:
        measure_counts(chapter, study, arms, f"{suffix}_ruled", usable, keep=kept, mean=False)
    return usable


def agreement_of_seeds(study: ConceptStudy, arm: str, layer: str = "fc1") -> tuple[float, float]:
    """How far networks that differ in their seed have the same concepts: intersection over union, mean over pairs of
    seeds and images; and the same of as many cells drawn blindly, to first order. NaN if no image has any."""
    if len(study.seeds) < 2:
        raise KdlibError("the agreement of seeds needs at least two of them; raise n_seeds")
    sets = [study.concepts(arm, seed, layer).concepts for seed in study.seeds]
    shared, blind = [], []
    for one, other in combinations(sets, 2):
        shared.append(agreement(one, other))
        a, b = (cells.flatten(1).sum(1).double() for cells in (one, other))
        both = a * b / one[0].numel()
        blind.append(both / (a + b - both))
    return float(torch.cat(shared).nanmean()), float(torch.cat(blind).nanmean())


def agreement_with(study: ConceptStudy, arm: str, other: str) -> float:
    """How far two arms have the same concepts, mean over seeds, layers and images."""
    found = [
        agreement(*(study.concepts(one, s, layer).concepts for one in (arm, other))).nanmean().item()
        for s in study.seeds
        for layer in LAYERS
    ]
    return float(np.mean(found))
