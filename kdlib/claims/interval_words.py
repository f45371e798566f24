"""Intervals over replicates in words: levels, differences and odds ratios, with as many digits as they need."""

from __future__ import annotations

from collections.abc import Sequence

from kdlib.claims.odds import ODDS_RATIO, odds_ratio
from kdlib.claims.paired import TInterval
from kdlib.claims.phrases import decimals_for, signed
from kdlib.claims.terms import DIFFERENCE_UNITS
from kdlib.names import MEASURES, arm_in_prose
from kdlib.plotting.tables import with_minus

_MOST_DECIMALS = 8


def subject_of(name: str) -> str:
    """A measurement METRIC/ARM in prose.

    >>> subject_of("scene_detectors/label_smoothing"), subject_of("five_band_accuracy/kd")
    ('scene detectors of label smoothing', 'five-band pixel accuracy of KD')
    """
    metric, _, arm = name.partition("/")
    words = MEASURES.get(metric, metric.replace("_", " "))
    return f"{words} of {arm_in_prose(arm)}" if arm else words


def level(interval: TInterval, unit: str, marks: Sequence[float] = ()) -> str:
    """A level with its interval. marks: numbers beside which it stands, such as a threshold it must not round to.

    >>> level(TInterval(72.1, 70.9, 73.3, (71.0, 73.2)), "percent", [85])
    '72.1 % (70.9 to 73.3)'
    >>> level(TInterval(84.96, 83.2, 86.6, (84.0, 86.0)), "percent", [85])
    '84.96 % (83.20 to 86.60)'
    """
    decimals = _decimals((interval.mean, interval.low, interval.high), marks)
    mean, low, high = (with_minus(f"{value:.{decimals}f}") for value in (interval.mean, interval.low, interval.high))
    return f"{mean}{_after(unit)} ({low} to {high})"


def difference_in_words(interval: TInterval, unit: str, marks: Sequence[float] = ()) -> str:
    """A difference with its sign and interval; a difference in log odds as the odds ratio.

    unit: of the two levels. marks: as for `level`, 0 always among them.

    >>> difference_in_words(TInterval(3.35, 2.2, 4.5, (3.0, 3.7)), "percent")
    '+3.4 percentage points (+2.2 to +4.5)'
    >>> difference_in_words(TInterval(0.0, -0.6931471805599453, 0.6931471805599453, (0.0, 0.0)), "odds ratio")
    'odds ratio 1.00 (0.50 to 2.00)'
    """
    bounds = (interval.mean, interval.low, interval.high)
    if unit == ODDS_RATIO:
        ratios = [odds_ratio(value) for value in bounds]
        decimals = max(2, _decimals(ratios, [1, *(odds_ratio(mark) for mark in marks)]))
        mean, low, high = (f"{value:.{decimals}f}" for value in ratios)
        return f"odds ratio {mean} ({low} to {high})"
    decimals = _decimals(bounds, [0, *marks])
    mean, low, high = (signed(value, decimals) for value in bounds)
    return f"{mean} {DIFFERENCE_UNITS.get(unit, unit)} ({low} to {high})"


def size(value: float, unit: str) -> str:
    """The size of an effect in either direction, in the unit of the levels (or in log odds).

    >>> size(3.5, "percent"), size(1, "percent"), size(0.1484, "odds ratio")
    ('3.5 percentage points', '1 percentage point', 'odds ratio of 1.16 (or 0.862)')
    """
    if unit == ODDS_RATIO:
        return f"odds ratio of {odds_ratio(value):.3g} (or {odds_ratio(-value):.3g})"
    words = DIFFERENCE_UNITS.get(unit, unit)
    return f"{value:g} {words.replace('points', 'point') if value == 1 else words}"


def threshold_in_words(value: float, unit: str, *, difference: bool) -> str:
    """A threshold of a level, or of a difference of two.

    >>> threshold_in_words(85, "percent", difference=False), threshold_in_words(-2, "percent", difference=True)
    ('85 %', '−2 percentage points')
    """
    return with_minus(size(value, unit) if difference else f"{value:g}{_after(unit)}")


def _after(unit: str) -> str:
    return " " + unit.replace("percent", "%", 1)


def _decimals(bounds: Sequence[float], marks: Sequence[float]) -> int:
    """Two significant digits of the half width, and more where a number would round to a mark that it is not."""
    decimals = decimals_for((bounds[2] - bounds[1]) / 2)
    while decimals < _MOST_DECIMALS and any(
        value != mark and round(value, decimals) == round(mark, 6) for value in bounds for mark in marks
    ):
        decimals += 1
    return decimals
