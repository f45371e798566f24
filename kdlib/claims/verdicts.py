"""From a claim and a measured contrast to one of four words, by a rule fixed beforehand.

With D the difference in the metric between the claim's two arms, both 95 % intervals of its mean (bootstrap
percentile and Student t over paired seeds) and S the claim's smallest effect that would matter:

- fewer seeds than the claim's minimum: **inconclusive**;
- D exactly 0 in every seed: **inconclusive** (the measure is at its floor or ceiling and can't tell the arms apart);
- both intervals on the claimed side of zero: **supported**;
- both on the other side: **contradicted**;
- both within -S to +S: **not supported** (an effect large enough to matter is excluded);
- anything else: **inconclusive**.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kdlib.claims.claim import Claim
from kdlib.errors import KdlibError
from kdlib.plotting.tables import with_minus
from kdlib.stats import Contrast

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
CONTRADICTED, INCONCLUSIVE = "contradicted", "inconclusive"
WORDS = (SUPPORTED, NOT_SUPPORTED, CONTRADICTED, INCONCLUSIVE)
CONFIDENCE = 0.95

#: The rule for readers; the ledger prints it.
RULE = {
    SUPPORTED: "both 95 % intervals of the mean difference lie on the claimed side of zero",
    CONTRADICTED: "both lie on the other side of zero",
    NOT_SUPPORTED: "both lie within plus or minus the smallest effect that would matter, fixed beforehand for each "
    "claim: an effect large enough to matter is excluded",
    INCONCLUSIVE: "none of these holds, and always with fewer seeds than the claim asks for or where both arms gave "
    "the same value in every seed (the measure is then at its floor or ceiling and can't tell them apart)",
}


def rule_in_words() -> str:
    """The rule as one paragraph, the same text wherever a reader meets it.

    >>> rule_in_words().startswith("The rule, fixed beforehand: *supported* if both 95 % intervals")
    True
    """
    return f"The rule, fixed beforehand: {'; '.join(f'*{word}* if {RULE[word]}' for word in WORDS)}."


@dataclass(frozen=True)
class Verdict:
    """What a contrast says about a claim: one of the four words, and a sentence made from the numbers."""

    claim_id: str
    word: str
    sentence: str
    contrast: Contrast


def number(value: float, *, sign: bool = True) -> str:
    """A number in three significant digits, signed, no exponent for everyday sizes; "none" for NaN.

    >>> number(7.2345), number(-0.04), number(0.0), number(123.4), number(7.0, sign=False), number(math.nan)
    ('+7.23', '−0.04', '0', '+123', '7', 'none')
    """
    if math.isnan(value):
        return "none"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:{'+' if sign else ''}.{digits}f}" if digits <= 6 else f"{value:{'+' if sign else ''}.2e}"
    return with_minus(text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text)


def verdict(claim: Claim, contrast: Contrast) -> Verdict:
    """Judge `claim` by `contrast` (metric of arm_a minus metric of arm_b, in the claim's unit).

    Raises `KdlibError` for a contrast at another confidence than 95 %, or one that names other arms.

    >>> from kdlib.claims.claim_files import load_claims
    >>> from kdlib.stats import paired_contrast
    >>> claim = load_claims("han2023")["han2023.1b"]
    >>> result = verdict(claim, paired_contrast([61.0, 63.0, 62.5], [54.0, 55.0, 56.0]))
    >>> result.word
    'supported'
    >>> print(result.sentence)  # doctest: +NORMALIZE_WHITESPACE
    Detectors, KD minus scratch: +7.17 percentage points of the layer's units on average over 3 paired seeds
    (95 % interval +5.27 to +9.06 by Student's t, +6.5 to +8 by bootstrap);
    both intervals lie on the claimed side of zero.
    >>> verdict(claim, paired_contrast([61.0], [54.0])).word
    'inconclusive'
    """
    if contrast.confidence != CONFIDENCE:
        raise KdlibError(f"verdicts are reached at {CONFIDENCE:.0%} confidence, not at {contrast.confidence:.0%}")
    if contrast.name not in ("", claim.contrast_name):
        raise KdlibError(f"claim {claim.id} is judged by '{claim.contrast_name}', not by '{contrast.name}'")
    word, reason = _judge(claim, contrast)
    return Verdict(claim.id, word, f"{_measured(claim, contrast)}; {reason}.", contrast)


def word_of(
    differences: Sequence[float],
    interval: tuple[float, float],
    *,
    direction: str,
    smallest_effect: float,
    minimum_seeds: int = 2,
) -> str:
    """The word for paired `differences` (n,) and the `interval` of their mean; the whole rule is in these lines.

    interval: what is sure about the mean, in the differences' unit: where two intervals must agree, their span; NaN
    where there is none, which decides nothing. direction: one of `claim.DIRECTIONS`.

    >>> word_of([1.0, 2.0, 3.0], (0.5, 3.5), direction="greater", smallest_effect=1.0)
    'supported'
    >>> word_of([1.0, 2.0, 3.0], (-0.5, 4.5), direction="greater", smallest_effect=1.0)
    'inconclusive'
    """
    low, high = interval if direction == "greater" else (-interval[1], -interval[0])
    if len(differences) < minimum_seeds or all(difference == 0 for difference in differences):
        return INCONCLUSIVE
    if low > 0:
        return SUPPORTED
    if high < 0:
        return CONTRADICTED
    return NOT_SUPPORTED if -smallest_effect <= low and high <= smallest_effect else INCONCLUSIVE


def _judge(claim: Claim, contrast: Contrast) -> tuple[str, str]:
    """The word and its reason."""
    word = word_of(
        contrast.differences,
        contrast.widest,
        direction=claim.direction,
        smallest_effect=claim.smallest_effect,
        minimum_seeds=claim.minimum_seeds,
    )
    low, high = contrast.widest
    if claim.direction == "less":
        low, high = -high, -low
    smallest = claim.smallest_effect
    matters = f"the {claim.smallest} that would matter"
    if contrast.n < claim.minimum_seeds:
        return word, f"too few seeds, the claim asks for at least {claim.minimum_seeds}"
    if all(difference == 0 for difference in contrast.differences):
        return word, (
            "both arms gave the same value in every seed: the measure is at its floor or ceiling here and can't tell "
            "them apart"
        )
    if word == SUPPORTED:
        small = f", though the effect is smaller than {matters}" if high < smallest else ""
        return word, f"both intervals lie on the claimed side of zero{small}{_identical(contrast)}"
    if word == CONTRADICTED:
        small = f", though the effect is smaller than {matters}" if low > -smallest else ""
        return word, f"both intervals lie on the side opposite to the claimed one{small}{_identical(contrast)}"
    if word == NOT_SUPPORTED:
        return word, f"both intervals exclude an effect larger than {matters}{_identical(contrast)}"
    # From here on zero lies within low to high, and they reach beyond smallest, beyond -smallest, or both.
    if high < smallest:
        return word, (f"both intervals exclude {matters} on the claimed side, but not as large an effect the other way")
    side = "on either side" if low <= -smallest else "on the claimed side"
    return word, f"together the intervals leave possible both no effect and {matters} {side}"


def _identical(contrast: Contrast) -> str:
    """A warning where all seeds gave one difference, not 0: the intervals then have no width and say too much."""
    same = len(set(contrast.differences)) == 1
    return ", but every seed gave the same difference: check that the seeds differ" if same else ""


def _measured(claim: Claim, contrast: Contrast) -> str:
    """Mean difference, unit, seeds and intervals in words."""
    seeds = f"{contrast.n} paired seeds" if contrast.n > 1 else "1 paired seed"
    mean = f"{number(contrast.mean_difference)} {claim.difference_unit} on average over {seeds}"
    if contrast.n == 1:
        interval = "no interval can be given"
    else:
        interval = (
            f"95 % interval {number(contrast.t_low)} to {number(contrast.t_high)} by Student's t, "
            f"{number(contrast.low)} to {number(contrast.high)} by bootstrap"
        )
    words = claim.contrast_in_words
    return f"{words[0].upper()}{words[1:]}: {mean} ({interval})"
