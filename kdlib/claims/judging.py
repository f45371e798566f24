"""One claim judged from sixteen or so paired replicates: gates, the contrast, the verdict, controls.

This file puts the parts together: `gates`, `rule`, `controls`, `odds`. Holm's correction needs all claims of a paper
and stands in `holm`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from kdlib.claims.claim import Claim
from kdlib.claims.conditions import Conditions
from kdlib.claims.controls import ControlOutcome, against_control, not_measured, survives_its_controls
from kdlib.claims.gates import GateOutcome, evaluate
from kdlib.claims.interval_words import difference_in_words
from kdlib.claims.odds import ODDS_RATIO, in_log_odds, odds_ratio, smallest_log_ratio
from kdlib.claims.paired import Measured, TInterval, difference, measurement, subtract, t_interval
from kdlib.claims.phrases import number
from kdlib.claims.rule import (
    INCONCLUSIVE,
    MINIMUM_REPLICATES,
    NO_TEST,
    SUPPORTED,
    needed_in_words,
    word_and_reason,
    would_decide,
)
from kdlib.claims.terms import DIFFERENCE_UNITS
from kdlib.errors import KdlibError


@dataclass(frozen=True)
class Judgement:
    """What the replicates say about a claim.

    word: one of `rule.WORDS`. sentence: the numbers and the reason. interval: of the paired differences, arm a minus
    arm b, in `unit` ("odds ratio": in log odds), with bounds that are NaN for one replicate. smallest_effect: in that
    unit too. needed: for an inconclusive verdict, how many replicates would decide (None where no number would).
    survives: "yes", "no" or "open" for a supported claim with controls, else empty. tested: no gate failed and there
    are replicates enough, so that it takes part in Holm's correction if it is not exploratory.
    """

    claim_id: str
    word: str
    sentence: str
    interval: TInterval
    unit: str
    smallest_effect: float
    gates: tuple[GateOutcome, ...]
    controls: tuple[ControlOutcome, ...]
    needed: int | None
    survives: str
    tested: bool


def judge(claim: Claim, conditions: Conditions, measured: Measured, units: int | None = None) -> Judgement:
    """The verdict on a claim by its conditions and what was measured.

    units: how many units a share is of, for claims whose smallest effect is in odds. At least `MINIMUM_REPLICATES` are
    asked for, more where the claim says so; fewer give an estimate. One replicate alone has no interval, and gates are
    not evaluated on it. Controls are looked at only where the claim is supported: of what was not found nothing can be
    explained away.

    Raises KdlibError for a measurement that is missing, has other replicates than its partner or holds no number, and
    for an effect in odds without `units`.

    >>> from kdlib.claims import load_claims
    >>> claim = load_claims("han2023")["han2023.1b"]
    >>> kd, scratch = {i: 60.0 + i for i in range(8)}, {i: 52.5 + i % 2 for i in range(8)}
    >>> shares = {"detectors/kd": kd, "detectors/scratch": scratch}
    >>> print(judge(claim, Conditions(), shares).sentence)  # doctest: +NORMALIZE_WHITESPACE
    Detectors, KD minus scratch: +10.5 percentage points of the layer's units (+8.5 to +12.5) on average over 8 paired
    replicates; the interval lies on the claimed side of zero.
    """
    what = f"claim {claim.id}"
    arms = (f"{claim.metric}/{claim.arm_a}", f"{claim.metric}/{claim.arm_b}")
    unit, smallest = claim.unit, claim.smallest_effect
    if conditions.smallest_odds_ratio is not None:
        unit, smallest = ODDS_RATIO, smallest_log_ratio(conditions.smallest_odds_ratio)
        if units is None:
            raise KdlibError(f"{what} has its effect in odds and units = None; say how many units a share is of")
    in_odds = units if unit == ODDS_RATIO else None
    effect = _effect(measured, *arms, what, in_odds)
    alone = len(effect) == 1
    gates = () if alone else tuple(evaluate(gate, measured) for gate in conditions.gates)
    interval = _of_one(*effect.values()) if alone else t_interval(list(effect.values()), what)
    minimum = max(claim.minimum_seeds, MINIMUM_REPLICATES)
    word, reason = word_and_reason(
        interval,
        direction=claim.direction,
        smallest_effect=smallest,
        unit=unit,
        minimum_replicates=minimum,
        gates=gates,
    )
    needed = would_decide(interval, smallest, minimum) if word == INCONCLUSIVE and not alone else None
    controls: tuple[ControlOutcome, ...] = ()
    if word == SUPPORTED:
        controls = tuple(
            against_control(
                control,
                effect,
                _effect(measured, control.reads, control.minus, control.named, in_odds),
                direction=claim.direction,
                smallest_effect=smallest,
                unit=unit,
            )
            if all(name in measured for name in control.measurements)
            else not_measured(control)
            for control in conditions.controls
        )
    words = claim.contrast_in_words
    sentence = f"{words[0].upper()}{words[1:]}: {_numbers(interval, unit, smallest)}; {reason}"
    if word == INCONCLUSIVE and any(interval.values) and not alone:
        sentence += f"; {needed_in_words(needed)}"
    sentence = "; ".join([sentence, *(outcome.sentence for outcome in controls)])
    return Judgement(
        claim.id,
        word,
        f"{sentence}.",
        interval,
        unit,
        smallest,
        gates,
        controls,
        needed,
        survives_its_controls(controls) if controls else "",
        word != NO_TEST and interval.n >= minimum,
    )


def _of_one(value: float) -> TInterval:
    return TInterval(value, math.nan, math.nan, (value,))


def _numbers(interval: TInterval, unit: str, smallest: float) -> str:
    if interval.n == 1:
        ratio = f"odds ratio {odds_ratio(interval.mean):.3g}" if unit == ODDS_RATIO else ""
        value = ratio or f"{number(interval.mean)} {DIFFERENCE_UNITS.get(unit, unit)}"
        return f"{value} in one replicate, which has no interval"
    numbers = difference_in_words(interval, unit, [smallest, -smallest])
    return f"{numbers} on average over {interval.n} paired replicates"


def _effect(measured: Measured, name: str, minus: str | None, what: str, units: int | None) -> Mapping[int, float]:
    """A difference within replicates: in the unit of the levels, or in log odds of a share of `units`.

    Without `minus`, the measurement is taken for an effect that is in its unit already.
    """
    if units is None or minus is None:
        return difference(measured, name, minus, what)
    first, second = (in_log_odds(measurement(measured, one, what), units, one) for one in (name, minus))
    return subtract(first, second, (name, minus), what)
