"""How many replicates would decide what these have left open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev

from scipy import stats as scipy_stats

from kdlib.errors import KdlibError, finite_number, positive_integer

MOST = 100_000  # replicates: beyond them an effect is as good as undecidable


def replicates_needed(
    differences: Sequence[float], smallest_effect: float, *, confidence: float = 0.95, most: int = MOST
) -> int | None:
    """The number of replicates at which Student's interval would decide, if mean and spread stayed as they are.

    With D the mean of the differences and s their standard deviation, the interval of n replicates is
    D +- t(n - 1) s / sqrt(n). It decides where it excludes zero, or lies within plus or minus the smallest effect that
    matters. The answer is the smallest such n, at least 2; it is a plan, not a promise: D and s are estimates.

    differences: one a replicate, at least two. smallest_effect: above 0, in the same unit.

    Returns None if `most` replicates would not decide. Raises KdlibError for what is no number.

    >>> replicates_needed([1.0, 2.0, 3.0], smallest_effect=0.5)  # 2 +- t(3) / sqrt(4) = 2 +- 1.59
    4
    >>> replicates_needed([2.0, 2.0, 2.0], smallest_effect=0.5)
    2
    """
    values = [finite_number(value, "difference") for value in differences]
    if len(values) < 2:
        raise KdlibError(f"{len(values)} differences have no spread; give those of at least two replicates")
    matters = finite_number(smallest_effect, "smallest_effect", minimum=0, exclusive=True)
    level = (1 + finite_number(confidence, "confidence", minimum=0, maximum=1, exclusive=True)) / 2
    middle, spread = abs(mean(values)), stdev(values)

    def decides(n: int) -> bool:
        half = float(scipy_stats.t.ppf(level, n - 1)) * spread / math.sqrt(n)
        return half < middle or middle + half <= matters

    low, high = 1, positive_integer(most, "most", minimum=2)
    if not decides(high):
        return None
    while high - low > 1:  # the interval only shrinks with n, so what decides at n decides at all larger ones
        half_way = (low + high) // 2
        low, high = (low, half_way) if decides(half_way) else (half_way, high)
    return high
