"""Whether a verdict that was computed anew is the one on file."""

from __future__ import annotations

import math
from collections.abc import Iterable

from kdlib.claims.paired import TInterval
from kdlib.claims.verdicts import Verdict
from kdlib.plotting.tables import MINUS

#: What of a verdict is compared besides its word.
COMPARED = (
    "unit",
    "smallest_effect",
    "interval",
    "needed",
    "survives",
    "failed_gates",
    "controls",
    "exploratory",
    "tested",
    "sentence",
)


def alike(first: Iterable[float], second: Iterable[float]) -> bool:
    """Whether numbers are the same but for their last digits, which another version of a library may change.

    >>> alike([0.1 + 0.2, float("nan")], [0.3, float("nan")]), alike([0.3], [0.30001])
    (True, False)
    """
    return all(
        math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(a) and math.isnan(b))
        for a, b in zip(first, second, strict=True)
    )


def first_difference(anew: Verdict, filed: Verdict) -> str:
    """The first of `COMPARED` in which two verdicts differ, empty where they agree."""
    return next((key for key in COMPARED if not _same(getattr(anew, key), getattr(filed, key))), "")


def _same(anew: object, filed: object) -> bool:
    if isinstance(anew, TInterval) and isinstance(filed, TInterval):
        return anew.n == filed.n and alike(_numbers(anew), _numbers(filed))
    if isinstance(anew, float) and isinstance(filed, float):
        return alike([anew], [filed])
    return _as_filed(anew) == _as_filed(filed)


def _numbers(interval: TInterval) -> tuple[float, ...]:
    return interval.mean, interval.low, interval.high, *interval.values


def _as_filed(value: object) -> object:
    """Texts as the file has them, with hyphens for minus signs."""
    if isinstance(value, str):
        return value.replace(MINUS, "-")
    return tuple(map(_as_filed, value)) if isinstance(value, tuple) else value
