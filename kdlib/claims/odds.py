"""Effects in odds, for shares whose base rate decides what is a large difference.

3.5 points more detectors are an odds ratio of 1.15 at a base of 54 % of the units, and of 2.85 at a base of 2 %: a
difference in points is not the same effect at another base rate, an odds ratio is. With k of n units,

    L = log((k + 1/2) / (n - k + 1/2))

are their log odds; the halves (Haldane 1956, Anscombe 1956) keep L finite where no unit or every unit counts, and L
of k is minus L of n - k. A contrast of two arms is the difference of their L, taken within each replicate; its
exponential is an odds ratio, 1 for no effect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from kdlib.errors import KdlibError, finite_number, positive_integer, shown

#: The unit of a difference in log odds, which is printed as the odds ratio.
ODDS_RATIO = "odds ratio"
_MOST_LOG_RATIO = 700.0  # exp of more is beyond all floats


def log_odds(percent: float, units: int, name: str = "share") -> float:
    """The log odds of a share of units, with one half added to both counts.

    percent: the share, 0 to 100. units: of how many, n. The halves pull L towards 0: with 128 units by 0.001 at a share
    of 54 % and by 0.17 at one of 2 %.

    Raises KdlibError for a share outside 0 to 100 or no whole number of units.

    >>> round(log_odds(50.0, 128), 3), round(log_odds(0.0, 4), 3)  # log(64.5 / 64.5), log(0.5 / 4.5)
    (0.0, -2.197)
    """
    share = finite_number(percent, f"{name} in percent", minimum=0, maximum=100)
    n = positive_integer(units, "the number of units")
    count = share / 100 * n
    return math.log((count + 0.5) / (n - count + 0.5))


def in_log_odds(shares: Mapping[int, float], units: int, name: str) -> dict[int, float]:
    """One measurement in log odds: shares in percent by replicate, all of the same number of units.

    Raises KdlibError as `log_odds` does, with the measurement's name and the replicate.

    >>> {replicate: round(value, 2) for replicate, value in in_log_odds({0: 50.0, 1: 75.0}, 128, "detectors").items()}
    {0: 0.0, 1: 1.09}
    """
    return {
        replicate: log_odds(share, units, f"'{name}' in replicate {replicate}") for replicate, share in shares.items()
    }


def odds_ratio(log_ratio: float) -> float:
    """The odds ratio of a difference in log odds: its exponential.

    Raises KdlibError for a difference that no share of units has.

    >>> odds_ratio(0.0)
    1.0
    >>> odds_ratio(1e6)
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: a difference of 1000000.0 in log odds is no ratio of odds of units; give it as a logarithm
    """
    value = finite_number(log_ratio, "a difference in log odds")
    if abs(value) > _MOST_LOG_RATIO:
        raise KdlibError(
            f"a difference of {shown(value)} in log odds is no ratio of odds of units; give it as a logarithm"
        )
    return math.exp(value)


def smallest_log_ratio(ratio: float, name: str = "smallest_odds_ratio") -> float:
    """The smallest effect that matters in log odds, from an odds ratio above 1: a ratio of 1 / ratio matters as much.

    >>> round(smallest_log_ratio(1.16), 4)
    0.1484
    >>> smallest_log_ratio(0.8)
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: smallest_odds_ratio must be a finite number greater than 1, not 0.8
    """
    return math.log(finite_number(ratio, name, minimum=1, exclusive=True))
