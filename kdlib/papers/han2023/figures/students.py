"""What the chapters of many students share: words on arms, curves over thresholds, tables of units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from kdlib.claims.records import Record
from kdlib.metrics.dissection.dissect import Dissection
from kdlib.names import MODEL_NAMES, arm_in_prose, spelt
from kdlib.papers.han2023.figures.detectors import detector_curves
from kdlib.plotting.tables import with_minus
from kdlib.plotting.titles import WIDTH, headline

TAUS = tuple(round(0.02 + 0.005 * step, 4) for step in range(37))  # IoU thresholds of curves, to 0.2


def correlation(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> str:
    """Pearson's correlation in two decimals; in words where one of them does not vary.

    >>> correlation([1, 2, 3], [3, 2, 1]), correlation([1, 1], [1, 2])
    ('−1.00', 'not defined')
    """
    if min(np.ptp(x), np.ptp(y)) == 0:
        return "not defined"
    return with_minus(f"{np.corrcoef(x, y)[0, 1]:.2f}")


def above_scratch(values: Mapping[str, Sequence[float]]) -> str:
    """How many arms lie above scratch by their means over replicates, in words.

    >>> above_scratch({"scratch": [1, 2], "kd": [2, 3], "at": [0, 1]})
    '1 of 2 other kinds of student above scratch'
    """
    means = {arm: float(np.mean(seeds)) for arm, seeds in values.items()}
    others = [mean for arm, mean in means.items() if arm != "scratch"]
    higher = sum(mean > means["scratch"] for mean in others)
    return f"{higher} of {len(others)} other kinds of student above scratch"


def other_side(values: Mapping[str, Sequence[float]], again: Mapping[str, Sequence[float]]) -> str:
    """The arms whose mean lies on the other side of scratch's when counted again in another way; "none" without any.

    >>> other_side({"scratch": [1], "kd": [2], "at": [3]}, {"scratch": [1], "kd": [0], "at": [2]})
    'KD'
    """

    def side(counted: Mapping[str, Sequence[float]], arm: str) -> float:
        return float(np.mean(counted[arm]) - np.mean(counted["scratch"]))

    return ", ".join(arm_in_prose(arm) for arm in values if side(values, arm) * side(again, arm) < 0) or "none"


def filed(record: Record, metric: str, arms: Sequence[str]) -> dict[str, list[float]]:
    """Arm -> what is on file of a measure, one value a replicate; arms without any are left out."""
    names = {arm: f"{metric}/{arm}" for arm in arms}
    return {arm: list(record.measurements[name].values) for arm, name in names.items() if name in record.measurements}


def units_table(networks: Mapping[str, Sequence[Dissection]], tau: float) -> list[dict[str, str]]:
    """Rows of a table, means over replicates: detectors in all and by category, concepts, dead units, active area.

    networks: arm -> one dissection a replicate.
    """
    rows = []
    for arm, found in networks.items():
        summaries = [dissection.summary(tau) for dissection in found]
        mean = {key: float(np.mean([summary[key] for summary in summaries])) for key in summaries[0]}
        rows.append(
            {"network": MODEL_NAMES.get(arm, arm), "detectors": f"{mean['detectors']:.1f}"}
            | {spelt(category): f"{mean[f'detectors_{category}']:.1f}" for category in found[0].iou}
            | {"concepts": f"{mean['unique_concepts']:.1f}", "dead": f"{mean['dead_units']:.1f}"}
            | {"active (%)": f"{100 * mean['mean_activated_fraction']:.2f}"}
        )
    return rows


def order_at(dissections: Mapping[str, Sequence[Dissection]], tau: float) -> str:
    """The order of networks by their mean number of detectors at tau and at twice tau, and whether it is the same."""
    orders = {}
    for threshold in (tau, 2 * tau):
        means = {arm: float(np.mean([d.count(threshold) for d in found])) for arm, found in dissections.items()}
        orders[threshold] = ", ".join(arm_in_prose(arm) for arm in sorted(means, key=lambda arm: -means[arm]))
    same = "is the same" if len(set(orders.values())) == 1 else "is **not** the same"
    listed = "; ".join(f"at {threshold:g}, {order}" for threshold, order in orders.items())
    return f"The order {same} at both thresholds. Most first: {listed}."


def draw_thresholds(dissections: Mapping[str, Sequence[Dissection]], tau: float) -> str:
    """Detectors of each network against the IoU threshold; the title says which student has most at tau and 2 tau."""
    figure, axis = plt.subplots(figsize=(WIDTH, 4))
    detector_curves(dissections, TAUS, tau, axis)
    first = []
    for threshold in (tau, 2 * tau):
        means = {arm: np.mean([d.count(threshold) for d in found]) for arm, found in dissections.items()}
        means.pop("teacher", None)
        first.append(f"{MODEL_NAMES[max(means, key=lambda arm: means[arm])]} at {threshold:g}")
    headline(figure, f"Most detectors of all students: {', '.join(first)}")
    return "Number of detectors against the IoU threshold, falling from left to right; means over replicates."


def beyond_doubt(record: Record, arms: Sequence[str], baseline: Callable[[str], str]) -> str:
    """The arms whose detectors differ from a baseline's with the interval on one side of zero, in words.

    baseline: arm -> the arm that it is compared with. "none" where there is none.
    """
    found = []
    for arm in arms:
        contrast = record.contrast("detectors", arm, baseline(arm))
        if contrast.excludes_zero:
            found.append(f"{arm_in_prose(arm)} ({'more' if contrast.mean_difference > 0 else 'fewer'})")
    return ", ".join(found) or "none"
