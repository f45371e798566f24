"""Measured numbers in words, each with as many decimals as its uncertainty deserves."""

from __future__ import annotations

import math

from kdlib.plotting.tables import with_minus
from kdlib.stats import Contrast


def with_interval(contrast: Contrast, unit: str = "") -> str:
    """The mean difference with its 95 % interval, to two significant digits of the interval's half width.

    >>> from kdlib.stats import paired_contrast
    >>> with_interval(paired_contrast([61.0, 63.0, 62.5], [54.0, 55.0, 56.0]), "points")
    '+7.2 (+5.3 to +9.1) points'
    >>> with_interval(paired_contrast([61.0], [54.0]), "points")
    '+7 points (one seed, no interval)'
    """
    tail = f" {unit}" if unit else ""
    low, high = contrast.interval
    if not math.isfinite(high - low):
        return f"{number(contrast.mean_difference)}{tail} (one seed, no interval)"
    decimals = decimals_for((high - low) / 2)
    mean, first, last = (signed(value, decimals) for value in (contrast.mean_difference, low, high))
    return f"{mean} ({first} to {last}){tail}"


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
