"""Measured numbers in words, each with as many decimals as its uncertainty deserves."""

from __future__ import annotations

import math

from kdlib.claims.claim import Claim
from kdlib.claims.verdicts import Verdict, number
from kdlib.plotting.tables import with_minus
from kdlib.stats import Contrast


def with_interval(contrast: Contrast, unit: str = "") -> str:
    """The mean difference with the wider of its 95 % intervals, to two significant digits of the interval's half width.

    >>> from kdlib.stats import paired_contrast
    >>> with_interval(paired_contrast([61.0, 63.0, 62.5], [54.0, 55.0, 56.0]), "points")
    '+7.2 (+5.3 to +9.1) points'
    >>> with_interval(paired_contrast([61.0], [54.0]), "points")
    '+7 points (one seed, no interval)'
    """
    tail = f" {unit}" if unit else ""
    low, high = contrast.widest
    if not math.isfinite(high - low):
        return f"{number(contrast.mean_difference)}{tail} (one seed, no interval)"
    decimals = decimals_for((high - low) / 2)
    mean, first, last = (signed(value, decimals) for value in (contrast.mean_difference, low, high))
    return f"{mean} ({first} to {last}){tail}"


def signed(value: float, decimals: int) -> str:
    """A difference with its sign, which zero does not have.

    >>> signed(-7.25, 1), signed(0.31, 1), signed(-0.004, 1)
    ('−7.2', '+0.3', '0.0')
    """
    text = f"{value:+.{decimals}f}"
    return with_minus(text) if float(text) else text[1:]


def decimals_for(uncertainty: float) -> int:
    """Decimals that show two significant digits of an uncertainty; one where there is none.

    >>> [decimals_for(value) for value in (23.0, 7.4, 0.31, 0.004, 1e-15, 0.0)]
    [0, 1, 2, 4, 1, 1]
    """
    if not uncertainty > 1e-9:  # what is left of equal differences by rounding is no uncertainty
        return 1
    return max(0, 1 - math.floor(math.log10(uncertainty)))


def measured_in_words(claim: Claim, found: Verdict) -> str:
    """A claim's contrast in its unit."""
    return with_interval(found.contrast, claim.difference_unit.replace("percentage points", "points"))
