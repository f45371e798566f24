"""Tables of the chapter on distillation methods, and the sentences beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from inspect import signature

import numpy as np

from kdlib.claims.claim import Claim
from kdlib.claims.interval_words import difference_in_words
from kdlib.claims.odds import ODDS_RATIO
from kdlib.claims.paired import t_interval
from kdlib.claims.phrases import signed, with_interval
from kdlib.claims.records import Record
from kdlib.distill import catalogue
from kdlib.metrics.dissection.dissect import Dissection
from kdlib.names import MODEL_NAMES, arm_in_prose
from kdlib.papers.han2023.arms import METHODS
from kdlib.papers.han2023.figures.students import filed
from kdlib.papers.han2023.matching import Matching
from kdlib.papers.study import ImageStudy
from kdlib.stats import student_interval


def settings_table(study: ImageStudy) -> list[dict[str, str]]:
    """Rows of a table: the settings of every feature method, and those that differ with logits."""

    def listed(values: Mapping[str, object]) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in values.items())

    rows = []
    for method, objective in METHODS.items():
        found = signature(catalogue.METHODS[objective].build).parameters.values()
        defaults = {p.name: p.default for p in found if p.default not in (p.empty, None)}
        added = dict(study.spec(f"{method}_with_logits").objective_options)
        rows.append(
            {"method": MODEL_NAMES[method], "without logits": listed(defaults), "with logits, in place": listed(added)}
        )
    return rows


def against_scratch(record: Record, arms: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a table: accuracy and detectors of each arm minus those of scratch."""
    units = {"accuracy": "accuracy (points)", "detectors": "detectors (points of units)"}
    return [
        {"student, minus scratch": MODEL_NAMES[arm]}
        | {unit: with_interval(record.contrast(metric, arm, "scratch")) for metric, unit in units.items()}
        for arm in arms
    ]


def robustness_table(
    networks: Mapping[str, Sequence[Dissection]], tau: float, denominator: str
) -> list[dict[str, str]]:
    """Rows of a table, means over replicates: detectors in units, and what other ways of counting give.

    networks: arm -> one dissection a replicate. The area is that under the curve of detectors, the mean best IoU.
    """
    other = "original" if denominator == "lite" else "lite"

    def mean(values: Iterable[float], decimals: int) -> str:
        return f"{np.mean(list(values)):.{decimals}f}"

    return [
        {
            "network": MODEL_NAMES[arm],
            "detectors": mean((one.count(tau) for one in found), 1),
            f"{other} denominator": mean((one.with_denominator(other).count(tau) for one in found), 1),
            f"from IoU {2 * tau:g}": mean((one.count(2 * tau) for one in found), 1),
            "area under the curve": mean((one.curve_area for one in found), 4),
            "unique concepts": mean((one.unique_concepts(tau) for one in found), 1),
        }
        for arm, found in networks.items()
    ]


def mixtures_table(record: Record, arms: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a table: detectors of the arms' own units and of random mixtures of them, in percent of units."""
    own, mixed = filed(record, "detectors", arms), filed(record, "mixture_detectors", arms)
    return [
        {
            "network": MODEL_NAMES[arm],
            "own units (%)": f"{np.mean(own[arm]):.1f}",
            "mixtures (%)": f"{np.mean(mixed[arm]):.1f}",
            "own minus mixtures (points)": _interval([a - b for a, b in zip(own[arm], mixed[arm], strict=True)]),
        }
        for arm in mixed
    ]


def matched_table(matching: Matching, arms: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a table: each arm's accuracy on val, and its detectors beyond those of scratch of that accuracy.

    matching: of detectors in log odds, shown as odds ratios. Scratch itself stands against its other lengths.
    """
    rows = []
    for arm in arms:
        beyond = matching.null_check() if arm == "scratch" else matching.beyond_accuracy(arm)
        rows.append(
            {
                "student": MODEL_NAMES[arm],
                "accuracy on val (%)": f"{np.mean(matching.accuracy[arm]):.1f}",
                "detectors beyond accuracy": "no match" if beyond is None else _interval(beyond, ODDS_RATIO),
            }
        )
    return rows


def beyond_accuracy_in_words(matching: Matching, arms: Sequence[str]) -> str:
    """The arms that have more or fewer detectors than scratch of the same accuracy, and those without a match."""
    found, unmatched = [], []
    for arm in arms:
        beyond = matching.beyond_accuracy(arm)
        if beyond is None:
            unmatched.append(arm_in_prose(arm))
            continue
        low, high = student_interval(beyond)
        if low > 0 or high < 0:
            found.append(f"{arm_in_prose(arm)} ({'more' if low > 0 else 'fewer'})")
    if len(unmatched) == len(arms):
        return "no student has a match"
    tail = f"; without a match: {', '.join(unmatched)}" if unmatched else ""
    return f"{', '.join(found) or 'none'}{tail}"


def null_check_in_words(matching: Matching) -> str:
    """Whether scratch has what its other schedules have at its own accuracy, as it must if matching works."""
    values = matching.null_check()
    if values is None:
        return (
            "Accuracies can't be matched here: that takes three replicates or more, and shorter and longer trainings "
            "from scratch that are less and more accurate."
        )
    low, high = student_interval(values)
    says = "which holds 1, as it must" if low <= 0 <= high else "which does not hold 1: **matching misleads here**"
    return (
        "Scratch of the usual length against its other lengths at its own accuracy: "
        f"{_interval(values, ODDS_RATIO)}, {says}."
    )


def verdict_counts(words: Sequence[str]) -> str:
    """How many claims have which verdict, most first.

    >>> verdict_counts(["supported", "inconclusive", "inconclusive"]), verdict_counts([])
    ('inconclusive 2, supported 1', 'none was judged')
    """
    counts = Counter(words)
    return ", ".join(f"{word} {count}" for word, count in counts.most_common()) or "none was judged"


def _interval(values: Sequence[float], unit: str = "points") -> str:
    """A mean with its interval; of one replicate the value alone."""
    if len(values) < 2:
        return f"{signed(float(np.mean(values)), 1)} (one replicate, no interval)"
    return difference_in_words(t_interval([round(value, 12) for value in values], "the table"), unit)


def published_gains(claims: Sequence[Claim]) -> str:
    """The paper's gains in percentage points of the units, such as "AT +3.1, FT +1.8".

    claims: each about `<method>_with_logits` against the method, with two reported counts "of N units", the method's
    own first.

    >>> from kdlib.claims import load_claims
    >>> published_gains([load_claims("han2023")[f"han2023.5{letter}"] for letter in "ab"])
    'AT +3.1, FT +1.8'
    """
    gains = []
    for claim in claims:
        without, added, units = _counts(claim)
        gain = round(100 * (added - without) / units, 1)
        gains.append(f"{MODEL_NAMES[claim.arm_b]} {f'{gain:+.1f}' if gain else '0.0'}")
    return ", ".join(gains)


def published_noise(claims: Sequence[Claim]) -> str:
    """How far the published gains are from chance, if each unit were a detector or not by a coin of its own.

    >>> from kdlib.claims import load_claims
    >>> published_noise([load_claims("han2023")[f"han2023.5{letter}"] for letter in "abcd"])
    '0.3 to 1.0 standard errors'
    """
    errors = []
    for claim in claims:
        without, added, units = _counts(claim)
        variance = sum(count * (1 - count / units) for count in (without, added))
        errors.append((added - without) / variance**0.5)
    return f"{min(errors):.1f} to {max(errors):.1f} standard errors"


def _counts(claim: Claim) -> tuple[int, int, int]:
    """A claim's two reported counts and the number of units that they are of."""
    without, added = (int(str(item.value)) for item in claim.reported)
    return without, added, int(str(claim.reported[1].unit).split(" of ")[1].split()[0])
