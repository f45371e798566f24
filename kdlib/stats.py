"""Contrasts between two arms of an experiment, over paired seeds.

Every comparison in the book goes through `paired_contrast`: seed i of one arm
is compared with seed i of the other (same initialisation, same order of the data), so that what the seed does
to both drops out. The mean difference has one 95 % interval, Student's t. It is exact for normal differences and has
the right width with a handful of seeds too, where a bootstrap percentile interval is too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as scipy_stats

from kdlib.errors import KdlibError, finite_number, positive_integer


@dataclass(frozen=True)
class Interval:
    """The mean of one arm over its seeds, with its Student-t interval (NaN with one seed)."""

    name: str
    mean: float
    low: float
    high: float
    n: int
    values: tuple[float, ...]
    confidence: float = 0.95


@dataclass(frozen=True)
class Contrast:
    """Mean difference a - b over `n` paired seeds, in the unit of the measure.

    `low`, `high` bound the Student-t interval of the mean difference; both are NaN with one seed.
    """

    name: str
    mean_difference: float
    low: float
    high: float
    n: int
    differences: tuple[float, ...]
    confidence: float = 0.95

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends of the interval."""
        return self.low, self.high

    @property
    def excludes_zero(self) -> bool:
        """True where the interval lies on one side of zero; never with one seed.

        >>> paired_contrast([3.0, 4.0, 5.0], [1.0, 2.5, 2.5]).excludes_zero
        True
        """
        return self.low > 0 or self.high < 0


def _values(values: Sequence[float] | np.ndarray, name: str) -> np.ndarray:
    """Seed values as float64 `(n,)`; refuses what is empty, not flat, not a number or not finite."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise KdlibError(f"{name} must be a list of numbers, one per seed, not {values!r}") from error
    if array.ndim != 1:
        raise KdlibError(f"{name} must be a flat list, one number per seed, not of shape {array.shape}")
    if array.size == 0:
        raise KdlibError(f"{name} holds no value; give one number per seed")
    wrong = np.flatnonzero(~np.isfinite(array))
    if wrong.size:
        raise KdlibError(
            f"{name} holds {array[wrong[0]]} at position {wrong[0]}; every seed needs a finite number, "
            "so rerun that seed or leave it out of both arms"
        )
    return array


def student_interval(values: Sequence[float] | np.ndarray, *, confidence: float = 0.95) -> tuple[float, float]:
    """Student-t interval of the mean: mean +- t(n-1) * s / sqrt(n), s the unbiased standard deviation.

    `(nan, nan)` for a single value.

    >>> low, high = student_interval([1.0, 2.0, 3.0])
    >>> (round(low, 3), round(high, 3))
    (-0.484, 4.484)
    """
    array = _values(values, "values")
    confidence = finite_number(confidence, "confidence", minimum=0, maximum=1, exclusive=True)
    if array.size == 1:
        return math.nan, math.nan
    half = scipy_stats.t.ppf((1 + confidence) / 2, array.size - 1) * array.std(ddof=1) / math.sqrt(array.size)
    return float(array.mean() - half), float(array.mean() + half)


def rounding_resolution(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, digits: int) -> float:
    """How far rounding to `digits` significant digits can bring a difference of two values, or a mean of such, from 0.

    Half a unit in the last digit of the largest absolute value for each of the two; 0 where all values are 0.

    >>> rounding_resolution([44.5312], [26.5625], digits=6)
    0.0001
    """
    largest = max(np.abs(_values(values, "values")).max() for values in (a, b))
    digits = positive_integer(digits, "digits")
    return 10.0 ** (math.floor(math.log10(largest)) - digits + 1) if largest else 0.0


def paired_contrast(
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    *,
    name: str = "",
    confidence: float = 0.95,
    digits: int = 12,
) -> Contrast:
    """Compare arm `a` with arm `b`, both `(n_seeds,)` in the same order of seeds: difference a - b.

    The values are taken as known to `digits` significant digits (12: floats after some arithmetic). A mean difference,
    or a bound of an interval, that is closer to zero than `rounding_resolution` is 0: its sign would be chance.

    Raises `KdlibError` for empty, unequal or non-finite arms. With one seed the interval is NaN and nothing can be
    concluded.

    >>> contrast = paired_contrast([61.0, 63.0, 62.5], [54.0, 55.0, 56.0], name="detectors")
    >>> (round(contrast.mean_difference, 2), contrast.n, contrast.excludes_zero)
    (7.17, 3, True)
    >>> paired_contrast([1.0], [0.0]).excludes_zero
    False
    >>> paired_contrast([33.3333, 33.3333, 33.3333], [0.0, 33.3333, 66.6667], digits=6).mean_difference
    0.0
    """
    arm_a, arm_b = _values(a, f"{name or 'contrast'}, arm a"), _values(b, f"{name or 'contrast'}, arm b")
    if arm_a.size != arm_b.size:
        raise KdlibError(
            f"{name or 'contrast'}: the arms have {arm_a.size} and {arm_b.size} seeds; "
            "a paired contrast needs the same seeds in both"
        )
    differences = arm_a - arm_b
    bounds = student_interval(differences, confidence=confidence)
    resolution = rounding_resolution(arm_a, arm_b, digits)
    mean, low, high = (0.0 if abs(value) < resolution else value for value in (float(differences.mean()), *bounds))
    return Contrast(
        name=name,
        mean_difference=mean,
        low=low,
        high=high,
        n=int(differences.size),
        differences=tuple(differences.tolist()),
        confidence=float(confidence),
    )


def mean_interval(values: Sequence[float] | np.ndarray, *, name: str = "", confidence: float = 0.95) -> Interval:
    """The mean of one arm, values `(n_seeds,)`, with its Student-t interval; a NaN interval with one seed.

    >>> mean_interval([1.0, 2.0, 3.0]).mean
    2.0
    """
    array = _values(values, name or "values")
    low, high = student_interval(array, confidence=confidence)
    return Interval(name, float(array.mean()), low, high, int(array.size), tuple(array.tolist()), float(confidence))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjustment (1979) for several contrasts asked at once; keys keep their order.

    The i-th smallest of m p-values is multiplied by m - i + 1 (i from 1), made non-decreasing, capped at 1.
    Rejecting where the adjusted value is below alpha keeps the chance of any false rejection below alpha.

    >>> {name: round(p, 3) for name, p in holm({"a": 0.01, "b": 0.04, "c": 0.03}).items()}
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    checked = {name: finite_number(p, f"the p-value of {name}", minimum=0, maximum=1) for name, p in p_values.items()}
    adjusted: dict[str, float] = {}
    running = 0.0
    for rank, name in enumerate(sorted(checked, key=lambda key: checked[key])):
        running = max(running, min(1.0, (len(checked) - rank) * checked[name]))
        adjusted[name] = running
    return {name: adjusted[name] for name in checked}
