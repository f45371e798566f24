"""Measurements by replicate, their paired differences, and the one interval that the verdict rule looks at.

A replicate is a teacher and one student of every arm, begun from the same first weights. What it does to all its
students alike drops out of a difference within it, so every difference here is taken within a replicate, never between
means of arms that have different replicates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdlib.errors import KdlibError, finite_number, shown
from kdlib.stats import rounding_resolution, student_interval

CONFIDENCE = 0.95
#: Name of a measurement, METRIC/ARM ("accuracy/teacher") -> replicate -> value.
Measured = Mapping[str, Mapping[int, float]]
_DIGITS = 12  # significant digits to which a computed number can be trusted


@dataclass(frozen=True)
class TInterval:
    """A mean over replicates and its 95 % interval by Student's t. values: one a replicate."""

    mean: float
    low: float
    high: float
    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """The number of replicates."""
        return len(self.values)

    @property
    def all_equal(self) -> bool:
        """Whether all values are the same but for rounding: the interval then has no width and says too much.

        >>> t_interval([0.3 - 0.2, 0.4 - 0.3], "detectors").all_equal  # they differ in the last bit
        True
        """
        scale = max(abs(value) for value in self.values)
        return max(self.values) - min(self.values) <= 10.0 ** (3 - _DIGITS) * scale


def t_interval(values: Sequence[float], what: str) -> TInterval:
    """The mean of the values and mean +- t(n - 1) s / sqrt(n), with s their standard deviation (n - 1 below the line).

    values: one a replicate, in any unit. what: what they are, for errors. Where all are equal, s is 0 and the interval
    is that one value, without width. A bound that is 0 but for rounding is 0.

    Raises KdlibError for no value, one value, or one that is not a finite number.

    >>> found = t_interval([1.0, 2.0, 3.0], "detectors")  # 2 +- 4.303 * 1 / sqrt(3)
    >>> found.mean, round(found.low, 3), round(found.high, 3), found.n
    (2.0, -0.484, 4.484, 3)
    >>> t_interval([2.0, 2.0], "detectors").low
    2.0
    """
    checked = [finite_number(value, f"{what}, replicate number {place}") for place, value in enumerate(values, 1)]
    if len(checked) < 2:
        count = "1 replicate has" if checked else "no replicate has"
        raise KdlibError(f"{what}: {count} no interval; measure at least two replicates")
    resolution = 10.0**-_DIGITS * max(abs(value) for value in checked)
    low, high = student_interval(checked, confidence=CONFIDENCE)
    mean, low, high = (
        0.0 if abs(value) <= resolution else value for value in (math.fsum(checked) / len(checked), low, high)
    )
    return TInterval(mean, low, high, tuple(checked))


def measurement(measured: Measured, name: str, wanted_by: str) -> dict[int, float]:
    """The values of one measurement by replicate.

    wanted_by: who asks, for errors. Raises KdlibError where the measurement is not there or empty, or a value is not a
    finite number.

    >>> measurement({"accuracy/teacher": {0: 96.3}}, "accuracy/kd", "the gate 'premise'")
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: the gate 'premise' lacks its measurement 'accuracy/kd'; measure it in every replicate
    """
    if name not in measured:
        raise KdlibError(f"{wanted_by} lacks its measurement '{name}'; measure it in every replicate")
    return _checked(measured[name], name, wanted_by)


def _checked(values: Mapping[int, float], name: str, wanted_by: str) -> dict[int, float]:
    if not values:
        raise KdlibError(f"{wanted_by} found no replicate in '{name}'; measure it in every replicate")
    for replicate, value in values.items():
        try:
            finite_number(value, name)
        except KdlibError:
            raise KdlibError(
                f"{wanted_by}: '{name}' is {shown(value)} in replicate {replicate}; measure that replicate anew or "
                "leave it out of all arms"
            ) from None
    return {replicate: float(value) for replicate, value in values.items()}


def check_same_replicates(
    a: Mapping[int, float], b: Mapping[int, float], names: tuple[str, str], wanted_by: str
) -> None:
    """Refuse two measurements, called `names`, of which one has a replicate that the other lacks.

    >>> check_same_replicates({0: 61.0, 1: 63.0}, {1: 55.0, 0: 54.0}, ("kd", "scratch"), "the claim")
    >>> check_same_replicates({0: 61.0, 1: 63.0}, {0: 54.0}, ("kd", "scratch"), "the claim")
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: the claim: replicate 1 has 'kd' and not 'scratch'; measure both in the same replicates
    """
    for first, second, (has, lacks) in ((a, b, names), (b, a, names[::-1])):
        alone = [replicate for replicate in first if replicate not in second]
        if alone:
            raise KdlibError(
                f"{wanted_by}: replicate {alone[0]} has '{has}' and not '{lacks}'; measure both in the same replicates"
            )


def subtract(
    a: Mapping[int, float], b: Mapping[int, float], names: tuple[str, str], wanted_by: str
) -> dict[int, float]:
    """a - b within each replicate, in the order of a. A difference that is 0 but for rounding is 0.

    names: of a and b, for errors. Raises KdlibError for no replicate, a value that is no finite number, and as
    `check_same_replicates` does.

    >>> subtract({0: 61.0, 1: 63.0}, {1: 55.0, 0: 54.0}, ("kd", "scratch"), "the claim")
    {0: 7.0, 1: 8.0}
    """
    a, b = _checked(a, names[0], wanted_by), _checked(b, names[1], wanted_by)
    check_same_replicates(a, b, names, wanted_by)
    resolution = rounding_resolution(list(a.values()), list(b.values()), _DIGITS)
    found = {replicate: a[replicate] - b[replicate] for replicate in a}
    return {replicate: 0.0 if abs(value) < resolution else value for replicate, value in found.items()}


def difference(measured: Measured, name: str, minus: str | None, wanted_by: str) -> dict[int, float]:
    """Measurement `name` less measurement `minus` within each replicate; `name` itself where `minus` is None.

    Raises KdlibError as `measurement` and `subtract` do.

    >>> difference({"accuracy/kd": {0: 89.0}, "accuracy/scratch": {0: 85.5}}, "accuracy/kd", "accuracy/scratch", "1a")
    {0: 3.5}
    """
    values = measurement(measured, name, wanted_by)
    if minus is None:
        return values
    return subtract(values, measurement(measured, minus, wanted_by), (name, minus), wanted_by)
