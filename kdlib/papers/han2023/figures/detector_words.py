"""Tables and sentences on the detectors of a set of networks, made from dissections alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kdlib.claims.paired import t_interval
from kdlib.claims.phrases import decimals_for, signed
from kdlib.claims.rule import CONTRADICTED, INCONCLUSIVE, NO_TEST, NOT_SUPPORTED, SUPPORTED
from kdlib.metrics.dissection.controls import HeldOut
from kdlib.metrics.dissection.dissect import Dissection
from kdlib.names import MODEL_NAMES, arm_in_prose, spelt
from kdlib.stats import Contrast

Networks = Mapping[str, Sequence[Dissection]]  # arm -> one dissection a replicate
PAPERS_TAU = 0.05
TAUS = tuple(round(0.02 + 0.005 * step, 4) for step in range(27))  # IoU thresholds of curves, to 0.15


def shares(networks: Networks, count: Callable[[Dissection], float]) -> dict[str, list[float]]:
    """A count of each dissection in percent of the layer's units, as a record files it."""
    return {arm: [100 * count(d) / d.num_units for d in found] for arm, found in networks.items()}


def categories_table(networks: Networks, tau: float) -> list[dict[str, str]]:
    """Rows of a table: detectors by category, means over seeds, counted in both ways."""
    ways = {"under its best category": True, "in every category": False}
    rows = []
    for arm, found in networks.items():
        for way, exclusive in ways.items():
            counts = [d.count_by_category(tau, exclusive) for d in found]
            means = {spelt(category): f"{np.mean([c[category] for c in counts]):.1f}" for category in counts[0]}
            rows.append({"network": MODEL_NAMES.get(arm, arm), "each unit counts": way} | means)
    return rows


def units_table(networks: Networks, tau: float) -> list[dict[str, str]]:
    """Rows of a table, means over seeds: detectors, different concepts, best IoU, dead units, active area."""
    columns = {
        "detectors": ("detectors", 1, 1),
        "different concepts": ("unique_concepts", 1, 1),
        "mean best IoU": ("mean_score", 1, 3),
        "dead units": ("dead_units", 1, 1),
        "active (% of pixels)": ("mean_activated_fraction", 100, 3),
    }
    rows = []
    for arm, found in networks.items():
        summaries = [d.summary(tau) for d in found]
        row = {"network": MODEL_NAMES.get(arm, arm)}
        for heading, (key, factor, decimals) in columns.items():
            row[heading] = f"{factor * np.mean([s[key] for s in summaries]):.{decimals}f}"
        rows.append(row)
    return rows


def active_in_words(networks: Networks, tau: float) -> str:
    """On how much the units are really active, and how many concepts are then within reach."""
    first = next(iter(networks.values()))[0]
    by_arm = [float(np.mean([d.activated_fraction.mean().item() for d in found])) for found in networks.values()]
    concepts = sum(len(coverage) for coverage in first.coverage.values())
    return (
        f"Units are active on {100 * min(by_arm):.2f} to {100 * max(by_arm):.2f} % of the pixels by the networks' "
        f"means, not on {100 * first.quantile:g} %: peaks that stand alone are flattened when maps are upsampled. At "
        f"their mean, {first.reachable(tau, float(np.mean(by_arm)))} of {concepts} concepts are within reach."
    )


def largest_category(networks: Networks, arm_a: str, arm_b: str, tau: float) -> str:
    """The category in which two arms differ most by their means, for a figure's title."""
    means = {
        arm: {c: float(np.mean([d.count_by_category(tau)[c] for d in networks[arm]])) for c in networks[arm][0].iou}
        for arm in (arm_a, arm_b)
    }
    differences = {c: means[arm_a][c] - means[arm_b][c] for c in means[arm_a]}
    category = max(differences, key=lambda c: abs(differences[c]))
    if not differences[category]:
        return f"{MODEL_NAMES[arm_a]} and {MODEL_NAMES[arm_b]} do not differ in any category"
    value = signed(differences[category], 1)
    return f"{MODEL_NAMES[arm_a]} and {MODEL_NAMES[arm_b]} differ most in {spelt(category)} detectors: {value} units"


def by_category_in_words(networks: Networks, tau: float) -> str:
    """Mean detectors of each network and category, for a figure's text alternative."""
    words = []
    for arm, found in networks.items():
        means = {c: np.mean([d.count_by_category(tau)[c] for d in found]) for c in found[0].iou}
        words.append(f"{MODEL_NAMES.get(arm, arm)}: {', '.join(f'{mean:.0f} {spelt(c)}' for c, mean in means.items())}")
    return f"Mean number of detectors per category. {'; '.join(words)}."


def order_at(networks: Networks, taus: Sequence[float]) -> tuple[str, bool]:
    """Mean counts at each threshold, most first, and whether the order of the networks is the same at all."""
    listed, orders = [], set()
    for threshold in taus:
        means = {arm: float(np.mean([d.count(threshold) for d in found])) for arm, found in networks.items()}
        order = sorted(means, key=lambda arm: -means[arm])
        orders.add(tuple(order))
        listed.append(f"at {threshold:g}, {', '.join(f'{MODEL_NAMES.get(a, a)} {means[a]:.0f}' for a in order)}")
    return "; ".join(listed), len(orders) == 1


def order_in_words(networks: Networks, tau: float) -> str:
    """Whether the order of the networks is the same at tau and at twice tau."""
    _, same = order_at(networks, (tau, 2 * tau))
    return f"The order of the students at IoU {tau:g} and {2 * tau:g} is {'the same' if same else 'not the same'}."


def threshold_in_words(networks: Networks, tau: float) -> str:
    """Whether the order of the networks is the same at tau and at twice tau, and whether tau leaves room."""
    counts, _ = order_at(networks, (tau, 2 * tau))
    units = next(iter(networks.values()))[0].num_units
    most = max(d.count(tau) for found in networks.values() for d in found)
    room = (
        f"At {tau:g} nearly every unit of some network is a detector, so there is hardly room for more: in this small "
        "world the paper's threshold is generous, and a null result at it says little."
        if most > 0.8 * units
        else f"At {tau:g} there is room for differences in both directions."
    )
    return f"{order_in_words(networks, tau)} Mean counts of {units} units, {counts}. {room}"


def choices(
    networks: Networks, untrained: Dissection, tau: float
) -> tuple[list[dict[str, str]], dict[str, dict[str, float]]]:
    """Detectors under other choices: rows of a table of means over replicates, and the means by choice and arm."""
    denominator = untrained.denominator
    other = "original" if denominator == "lite" else "lite"
    ways: dict[str, Callable[[Dissection], float]] = {
        f"as above ({denominator} denominator)": lambda d: d.count(tau),
        f"{other} denominator": lambda d: d.with_denominator(other).count(tau),
        "summed over all categories": lambda d: sum(d.count_by_category(tau, exclusive=False).values()),
        f"at the paper's threshold, {PAPERS_TAU:g}": lambda d: d.count(PAPERS_TAU),
        "without a threshold": lambda d: d.num_units * d.curve_area,
        "different concepts": lambda d: d.unique_concepts(tau),
    }
    rows, means = [], {}
    for name, count in ways.items():
        means[name] = {arm: float(np.mean([count(d) for d in each])) for arm, each in networks.items()}
        row = {"detectors (units)": name} | {MODEL_NAMES.get(a, a): f"{mean:.1f}" for a, mean in means[name].items()}
        rows.append(row | {"Untrained": f"{count(untrained):.1f}"})
    return rows, means


def choices_in_words(means: Mapping[str, Mapping[str, float]]) -> str:
    """In how many choices each kind of student lies above the first, which is from scratch, by the means.

    >>> choices_in_words({"as above": {"scratch": 3.0, "kd": 4.0}, "other": {"scratch": 3.0, "kd": 2.0}})
    'Above scratch in so many of 2 ways of counting, by the means over replicates: Distilled (KD) 1.'
    """
    scratch, *arms = next(iter(means.values()))
    listed = [f"{MODEL_NAMES.get(arm, arm)} {sum(m[arm] > m[scratch] for m in means.values())}" for arm in arms]
    ways = f"so many of {len(means)} ways of counting"
    return f"Above scratch in {ways}, by the means over replicates: {', '.join(listed)}."


def mixtures_in_words(networks: Networks, mixtures: Networks, tau: float, measured: Sequence[str]) -> str:
    """What random mixtures of units say, of the replicates that they were dissected of.

    networks: every replicate's own units. mixtures: arm -> those of the first replicates. measured: the arms whose
    mixtures were dissected in all replicates, because a claim on them is supported so far.
    """
    own = np.mean([d.count(tau) for arm, found in mixtures.items() for d in networks[arm][: len(found)]])
    mixed = np.mean([d.count(tau) for found in mixtures.values() for d in found])
    fewer = "fewer" if mixed < 0.95 * own else "hardly fewer" if mixed <= own else "no fewer"
    sentence = (
        f"Random mixtures of units have {fewer} detectors than the students' own units ({mixed:.0f} to {own:.0f})."
    )
    if not measured:
        return f"{sentence} No claim is supported so far, so there is no effect that mixtures could explain."
    return f"{sentence} Whether effects outlast them stands with the verdicts."


def held_out_in_words(halves: Mapping[str, HeldOut], tau: float) -> str:
    """How many of the detectors found on half of the images hold on the other half, of one network of each kind."""
    chosen, held = (
        sum(count(half) for half in halves.values())
        for count in (lambda h: h.chosen.count(tau), lambda h: h.count(tau))
    )
    return (
        f"Of {chosen} detectors that these {len(halves)} networks have on half of the images, {held} hold on the other "
        "half."
    )


def matching_in_words(
    null: Sequence[float] | None,
    beyond: Mapping[str, Sequence[float] | None],
    unmatched: Sequence[str],
    what: str = "detectors, in points of the units",
) -> str:
    """What is left of a measure of each kind of student beyond scratch of the same accuracy.

    null: what the check of scratch against its other lengths gives, one value a replicate. beyond: arm -> the same of
    the arm; None for what can't be matched. unmatched: claims whose arms can't be.

    >>> matching_in_words(None, {"kd": None}, [])
    'Accuracies were not matched: that takes three replicates, and lengths around the accuracy of each student.'
    """
    there = {arm: values for arm, values in beyond.items() if values is not None}
    if not there:
        return (
            "Accuracies were not matched: that takes three replicates, and lengths around the accuracy of each student."
        )
    listed = "; ".join(f"{arm_in_prose(arm)} {interval_in_words(values)}" for arm, values in there.items())
    sentence = f"Beyond scratch of the same accuracy, {what}: {listed}."
    if null is not None:
        found = t_interval(null, "the null check")
        fails = found.low > 0 or found.high < 0
        says = "**which is not zero: the matching can't be trusted here**" if fails else "as it should be"
        sentence += f" Scratch against its own lengths: {interval_in_words(null)}, {says}."
    if unmatched:
        sentence += f" More accurate or less than all lengths, so that claims stay open: {', '.join(unmatched)}."
    return sentence


def interval_in_words(values: Sequence[float]) -> str:
    """A mean over replicates with its 95 % interval.

    >>> interval_in_words([1.0, 2.0, 3.0])
    '+2.0 (−0.5 to +4.5)'
    """
    found = t_interval(values, "values")
    decimals = decimals_for((found.high - found.low) / 2)
    mean, low, high = (signed(value, decimals) for value in (found.mean, found.low, found.high))
    return f"{mean} ({low} to {high})"


def teacher_similarity(of_teacher: float, scratch: Sequence[float]) -> str:
    """Whether the teacher's sibling mass ratio leaves students something to learn; in percent.

    >>> teacher_similarity(60.0, [70.0, 72.0]).startswith("The teacher's own ratio, 60.0 %, is below the mean")
    True
    """
    mean = float(np.mean(scratch))
    listed = f"The teacher's own ratio, {of_teacher:.1f} %, is {'below' if of_teacher < mean else 'not below'} the mean"
    if of_teacher < mean:
        return (
            f"{listed} of students from scratch, {mean:.1f} %. A student can't learn more similarity from a teacher "
            "than the teacher shows, so claim 3a can hardly come out here."
        )
    return f"{listed} of students from scratch, {mean:.1f} %: there is similarity to learn."


def plain_answer(word: str) -> str:
    """A verdict as the answer to "is it so?".

    >>> plain_answer("inconclusive"), plain_answer("supported")
    ('not decided', 'yes')
    """
    answers = {SUPPORTED: "yes", CONTRADICTED: "the opposite", NOT_SUPPORTED: "no"}
    return (answers | {INCONCLUSIVE: "not decided", NO_TEST: "not tested"})[word]


def sureness(contrast: Contrast, smallest: float) -> str:
    """Whether an interval is narrow enough to show an effect of the smallest size that would matter, in points.

    >>> from kdlib.stats import paired_contrast
    >>> sureness(paired_contrast([3.0, 2.9, 3.1], [1.0, 1.0, 1.0]), 1.0)
    'The interval reaches 0.25 points to each side, enough to see a difference of 1, which would matter.'
    """
    low, high = contrast.interval
    half = (high - low) / 2
    if not np.isfinite(half):
        return "One seed gives no interval, so nothing is decided."
    if not any(contrast.differences):
        return "Both gave the same value in every seed: the measure can't tell them apart here."
    enough = "enough to see" if half <= smallest else "too wide to exclude or to show"
    return (
        f"The interval reaches {half:.{decimals_for(half)}f} points to each side, {enough} a difference of "
        f"{smallest:g}, which would matter."
    )
