"""A verdict as a record files it: what the rule said of a claim, and all that a reader is told about it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from kdlib.claims.claim import Claim
from kdlib.claims.conditions import Conditions
from kdlib.claims.interval_words import difference_in_words
from kdlib.claims.judging import judge
from kdlib.claims.odds import ODDS_RATIO
from kdlib.claims.paired import Measured, TInterval
from kdlib.claims.phrases import with_interval
from kdlib.claims.rule import INCONCLUSIVE, needed_in_words
from kdlib.errors import KdlibError
from kdlib.stats import Contrast


@dataclass(frozen=True)
class Verdict:
    """What the measurements say about a claim: one of `rule.WORDS`, a sentence made from the numbers, and the marks.

    contrast: in the unit of the metric. interval: of the paired differences in `unit` ("odds ratio": in log odds),
    its bounds NaN with one replicate. smallest_effect: in that unit too. needed: how many replicates would decide an
    inconclusive claim, None where no number would. survives: its controls, "yes", "no" or "open", empty where nothing
    was asked of them. failed_gates, controls: a sentence each. exploratory: added after its result was seen. tested:
    takes part in Holm's correction if it is not exploratory.
    """

    claim_id: str
    word: str
    sentence: str
    contrast: Contrast
    interval: TInterval
    unit: str
    smallest_effect: float
    needed: int | None = None
    survives: str = ""
    failed_gates: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    exploratory: bool = False
    tested: bool = False

    @property
    def has_interval(self) -> bool:
        """Whether the interval has two finite ends; one replicate gives none."""
        return math.isfinite(self.interval.high - self.interval.low)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What stands below a verdict, a sentence each: the gates that failed, what became of the controls."""
        return tuple(f"{text.rstrip('.')}." for text in (*self.failed_gates, *self.controls))

    @property
    def would_decide(self) -> str:
        """How many replicates would decide; empty where that is no question or cannot be said."""
        open_ = self.word == INCONCLUSIVE and self.has_interval and any(self.interval.values)
        return needed_in_words(self.needed) if open_ else ""


def reach(
    claim: Claim, contrast: Contrast, measured: Measured, units: Mapping[str, int | None] | None = None
) -> Verdict:
    """The verdict on `claim` by its conditions and what was measured.

    contrast: the claim's own, in the unit of its metric. units: measurement -> of how many units its shares are, for
    claims whose effect is in odds; the claim's arms and its controls must have the same.

    Raises KdlibError as `kdlib.claims.judging.judge` does, and for shares of different numbers of units.

    >>> from kdlib.claims.claim_files import load_claims
    >>> from kdlib.stats import paired_contrast
    >>> claim, kd, scratch = load_claims("han2023")["han2023.1b"], [61.0] * 7 + [62.0], [54.0] * 8
    >>> shares = {"detectors/kd": dict(enumerate(kd)), "detectors/scratch": dict(enumerate(scratch))}
    >>> reach(claim, paired_contrast(kd, scratch), shares).word
    'supported'
    """
    conditions = claim.conditions
    of = None
    if conditions.smallest_odds_ratio is not None:
        sizes = {name: (units or {}).get(name) for name in claim.effects_read if name in measured}
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"'{name}' of {size}" for name, size in sizes.items())
            raise KdlibError(f"claim {claim.id} reads shares of different numbers of units ({told}); measure all alike")
        of = next(iter(sizes.values()))
    found = judge(claim, conditions, measured, of)
    return Verdict(
        claim.id,
        found.word,
        found.sentence,
        contrast,
        found.interval,
        found.unit,
        found.smallest_effect,
        found.needed,
        found.survives,
        tuple(f"{gate.sentence}: {gate.gate.sentence}" for gate in found.gates if not gate.passed),
        tuple(control.sentence for control in found.controls),
        conditions.exploratory,
        found.tested,
    )


def without_conditions(claim: Claim, contrast: Contrast) -> Verdict:
    """What `contrast`, in the claim's unit, would say about `claim` if it had neither gates nor controls.

    For contrasts that are not the claim's own, such as its measure on fewer images; nothing is filed.

    >>> from kdlib.claims.claim_files import load_claims
    >>> from kdlib.stats import paired_contrast
    >>> without_conditions(load_claims("han2023")["han2023.1b"], paired_contrast([61.0], [54.0])).word
    'inconclusive'
    """
    replicates = range(contrast.n)
    arms = (f"{claim.metric}/{claim.arm_a}", f"{claim.metric}/{claim.arm_b}")
    measured = {arms[0]: dict(enumerate(contrast.differences)), arms[1]: dict.fromkeys(replicates, 0.0)}
    found = judge(claim, Conditions(), measured)
    return Verdict(
        claim.id,
        found.word,
        found.sentence,
        contrast,
        found.interval,
        found.unit,
        found.smallest_effect,
        found.needed,
        tested=found.tested,
    )


def measured_in_words(claim: Claim, found: Verdict) -> str:
    """A claim's contrast in its unit; where the effect is in odds, as odds ratio too."""
    text = with_interval(found.contrast, claim.difference_unit.replace("percentage points", "points"))
    if found.unit == ODDS_RATIO and found.has_interval:
        return f"{text}; {difference_in_words(found.interval, found.unit)}"
    return text


def in_smallest_effects(claim: Claim, found: Verdict) -> tuple[float, float, float]:
    """Mean and both ends of the interval in smallest effects that would matter, positive in the claimed direction.

    For an effect in odds all of it is in log odds, over the logarithm of the smallest ratio. The ends are NaN with one
    replicate.
    """
    unit = found.smallest_effect if claim.direction == "greater" else -found.smallest_effect
    low, high = sorted((found.interval.low / unit, found.interval.high / unit))
    return found.interval.mean / unit, low, high
