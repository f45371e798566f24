"""Holm's correction of the claims of one paper, beside their verdicts.

A paper makes some twenty claims. If there were no effect in any, one in twenty contrasts would have an interval that
excludes zero by chance. Holm's step-down correction (1979) keeps the chance of *any* such mistake within a paper below
5 %: of the m p-values in ascending order the i-th becomes the largest of (m - j + 1) p_(j) over j <= i, at most 1. Only
claims that were tested take part: one without a test (a failed gate), an estimate and an exploratory claim neither
count nor are corrected.

The p-value is that of the paired t test, two-sided, so that p < 0.05 where the 95 % interval excludes zero.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from scipy import stats as scipy_stats

from kdlib.claims.paired import TInterval
from kdlib.errors import KdlibError, shown
from kdlib.stats import holm


def paired_p(interval: TInterval) -> float:
    """The two-sided p-value of Student's paired t test: t = mean / (s / sqrt(n)) with n - 1 degrees of freedom.

    Where all differences are equal, s is 0: p is 0 as the interval of no width excludes zero, and 1 where all are 0.

    >>> from kdlib.claims.paired import t_interval
    >>> round(paired_p(t_interval([1.0, 2.0, 3.0], "detectors")), 4)  # t = 2 / (1 / sqrt(3)) = 3.464, 2 degrees
    0.0742
    """
    n, mean = interval.n, interval.mean
    if interval.all_equal:
        return 1.0 if mean == 0 else 0.0
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in interval.values) / (n - 1))
    return float(2 * scipy_stats.t.sf(abs(mean) * math.sqrt(n) / spread, n - 1))


def holm_within_paper(tested: Mapping[str, TInterval], left_out: Collection[str] = ()) -> dict[str, float]:
    """Holm's adjusted p-values of one paper's tested claims, by claim id in the order of `tested`.

    tested: claim id -> the interval of its paired differences. left_out: ids among them that take no part: exploratory
    ones, those with a failed gate or too few replicates.

    Raises KdlibError for claims of two papers, an id in `left_out` that is not there, and where no claim is left.

    >>> from kdlib.claims.paired import t_interval
    >>> found = {"han2023.1a": t_interval([1.0, 2.0, 3.0], "1a"), "han2023.1b": t_interval([1.0, 2.0, 2.0], "1b")}
    >>> {claim: round(p, 3) for claim, p in holm_within_paper(found).items()}  # 0.074 and 0.038, twice the smaller
    {'han2023.1a': 0.075, 'han2023.1b': 0.075}
    >>> {claim: round(p, 3) for claim, p in holm_within_paper(found, left_out=["han2023.1b"]).items()}
    {'han2023.1a': 0.074}
    """
    papers = sorted({claim_id.partition(".")[0] for claim_id in tested})
    if len(papers) > 1:
        raise KdlibError(f"Holm's correction is within one paper, not over {', '.join(papers)}; correct each by itself")
    unknown = [claim_id for claim_id in left_out if claim_id not in tested]
    if unknown:
        raise KdlibError(f"{shown(unknown[0])} cannot be left out of a correction it is not in; take it off the list")
    taking_part = {claim_id: paired_p(interval) for claim_id, interval in tested.items() if claim_id not in left_out}
    if not taking_part:
        raise KdlibError(
            f"0 of {len(tested)} claims take part in Holm's correction; correct only where a claim was tested"
        )
    return holm(taking_part)
