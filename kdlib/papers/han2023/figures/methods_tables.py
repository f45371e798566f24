"""Tables of the chapter on distillation methods, and the sentences beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature

import numpy as np

from kdlib.claims.claim import Claim
from kdlib.claims.phrases import with_interval
from kdlib.claims.records import Record
from kdlib.distill import catalogue
from kdlib.metrics.dissection.dissect import Dissection
from kdlib.names import MODEL_NAMES
from kdlib.papers.han2023.arms import METHODS
from kdlib.papers.study import ImageStudy


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


def choices_table(
    networks: Mapping[str, Sequence[Dissection]],
    best: Mapping[str, Sequence[Dissection]],
    rotated: Mapping[str, Dissection],
    tau: float,
    denominator: str,
) -> list[dict[str, str]]:
    """Rows of a table: detectors in units as counted above and under other choices, means over seeds.

    networks, best: one dissection a seed, of the last epoch and of the one best on validation. rotated: of the first
    seed, in a random basis.
    """
    other = "original" if denominator == "lite" else "lite"

    def mean(found: Sequence[Dissection] | None) -> str:
        return "–" if found is None else f"{np.mean([d.count(tau) for d in found]):.1f}"

    return [
        {
            "network": MODEL_NAMES[arm],
            "as above": mean(found),
            f"{other} denominator": mean([d.with_denominator(other) for d in found]),
            "best epoch": mean(best.get(arm)),
            "first seed": str(found[0].count(tau)),
            "rotated": str(rotated[arm].count(tau)) if arm in rotated else "–",
        }
        for arm, found in networks.items()
    ]


def rotated_in_words(
    networks: Mapping[str, Sequence[Dissection]], rotated: Mapping[str, Dissection], tau: float
) -> str:
    """What a random rotation leaves of the first seed's detectors, network by network."""
    listed = [
        f"{MODEL_NAMES[arm]} {found.count(tau)} of {networks[arm][0].count(tau)}" for arm, found in rotated.items()
    ]
    return f"In a random basis are left: {', '.join(listed)} detectors (first seed)."


def matched_table(
    record: Record, accuracies: Mapping[str, Sequence[float]], matches: Mapping[str, Sequence[float]]
) -> list[dict[str, str]]:
    """Rows of a table: each arm beside scratch and beside students from scratch of its own accuracy.

    matches: arm -> the accuracies of its match, filed as "scratch_matched_to_<arm>".
    """
    return [
        {
            "student": MODEL_NAMES[arm],
            "accuracy (%)": f"{np.mean(accuracies[arm]):.1f}",
            "its match (%)": f"{np.mean(matches[arm]):.1f}",
            "detectors − scratch": "–"
            if arm == "scratch"
            else with_interval(record.contrast("detectors", arm, "scratch")),
            "detectors − match": with_interval(record.contrast("detectors", arm, f"scratch_matched_to_{arm}")),
        }
        for arm in accuracies
    ]


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
