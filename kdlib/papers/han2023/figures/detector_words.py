"""Tables and sentences on the detectors of a set of networks, made from dissections alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kdlib.claims.phrases import decimals_for, signed
from kdlib.claims.rule import CONTRADICTED, INCONCLUSIVE, NO_TEST, NOT_SUPPORTED, SUPPORTED
from kdlib.metrics.dissection.dissect import Dissection
from kdlib.names import MODEL_NAMES, spelt
from kdlib.stats import Contrast

Networks = Mapping[str, Sequence[Dissection]]  # arm -> one dissection a seed


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
    networks: Networks, best: Networks, untrained: Dissection, tau: float
) -> tuple[list[dict[str, str]], dict[str, dict[str, float]]]:
    """Detectors under other choices: rows of a table of means over seeds, and the means by choice and arm.

    best: the same networks at the epoch best on validation.
    """
    denominator = untrained.denominator
    other = "original" if denominator == "lite" else "lite"
    ways: dict[str, tuple[Networks, Callable[[Dissection], float]]] = {
        f"as above ({denominator} denominator)": (networks, lambda d: d.count(tau)),
        f"{other} denominator": (networks, lambda d: d.with_denominator(other).count(tau)),
        "summed over all categories": (networks, lambda d: sum(d.count_by_category(tau, exclusive=False).values())),
        "epoch best on validation": (best, lambda d: d.count(tau)),
    }
    rows, means = [], {}
    for name, (found, count) in ways.items():
        means[name] = {arm: float(np.mean([count(d) for d in each])) for arm, each in found.items()}
        floor = "–" if name.startswith("epoch") else f"{count(untrained):.0f}"  # it has no epochs
        row = {"detectors (units)": name} | {MODEL_NAMES.get(a, a): f"{mean:.1f}" for a, mean in means[name].items()}
        rows.append(row | {"Untrained": floor})
    return rows, means


def choices_in_words(means: Mapping[str, Mapping[str, float]]) -> str:
    """In how many choices KD lies above scratch, and label smoothing (if measured) below it, by the means.

    >>> choices_in_words({"as above": {"scratch": 3.0, "kd": 4.0}, "other": {"scratch": 3.0, "kd": 2.0}})
    'KD lies above scratch in 1 of 2 ways of counting, by the means over seeds.'
    """
    listed = [f"KD lies above scratch in {sum(m['kd'] > m['scratch'] for m in means.values())}"]
    if all("label_smoothing" in m for m in means.values()):
        listed.append(f"label smoothing below it in {sum(m['label_smoothing'] < m['scratch'] for m in means.values())}")
    return f"{' and '.join(listed)} of {len(means)} ways of counting, by the means over seeds."


def mixtures_in_words(own: float, mixed: float, chosen: float, held_out: float) -> str:
    """What random mixtures of units and held-out images say; mean detectors of all students.

    >>> print(mixtures_in_words(100.0, 80.0, 95.0, 90.0))
    Random mixtures of units have fewer detectors than the students' own units (80 to 100). Of 95 detectors found on \
half of the images, 90 hold on the other half.
    """
    verdict = "fewer" if mixed < 0.95 * own else "hardly fewer" if mixed <= own else "no fewer"
    return (
        f"Random mixtures of units have {verdict} detectors than the students' own units ({mixed:.0f} to {own:.0f}). "
        f"Of {chosen:.0f} detectors found on half of the images, {held_out:.0f} hold on the other half."
    )


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
