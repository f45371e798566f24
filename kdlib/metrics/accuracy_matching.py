"""What a measure would be at another arm's accuracy: interpolation between schedules of several lengths.

An arm that is more accurate than scratch may differ from it in a measure for that reason alone. So scratch is trained
at several lengths, each with the whole schedule (rates down to zero), and its measure is interpolated where its mean
accuracy is the other arm's. Accuracies are those on val, on which things may be chosen. An epoch picked out of one long
training would not do: its learning rate is still high there.

With n replicates, and means over them written with a bar, the two schedules k and l with the nearest mean accuracies
below and above the arm's give

    w = (A_bar - A_k_bar) / (A_l_bar - A_k_bar),    theta = M_bar - (1 - w) M_k_bar - w M_l_bar.

w is found from the same replicates, so theta's uncertainty is taken from the jackknife (Tukey 1958): the pseudo-value
n theta - (n - 1) theta_(-i) of each replicate i, theta_(-i) being found without it. Their mean and Student's interval
are theta's; where w were known, they would be the paired differences themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdlib.errors import KdlibError

FEWEST = 3  # replicates: with two, a pseudo-value is found from one alone


@dataclass(frozen=True)
class Matched:
    """An arm against schedules interpolated to its mean accuracy.

    difference: theta, in the measure's unit. values: (n,) pseudo-values, whose mean is theta but for a small bias.
    below, above: the schedules' names. weight: w, in [0, 1], of the one above.
    """

    difference: float
    values: tuple[float, ...]
    below: str
    above: str
    weight: float


def accuracy_matched(
    accuracy: Sequence[float],
    measure: Sequence[float],
    schedules: Mapping[str, tuple[Sequence[float], Sequence[float]]],
) -> Matched:
    """The difference in a measure between an arm and schedules of the same mean accuracy.

    accuracy, measure: the arm's, (n,) over replicates. schedules: name -> (accuracy, measure) of scratch at one length,
    in the same replicates.

    Raises KdlibError for fewer than three replicates, values that are not finite or not of n replicates, fewer than two
    schedules, and a mean accuracy that lies outside the schedules': nothing is extrapolated.

    >>> short, long = ([70.0, 71.0, 72.0], [10.0, 11.0, 12.0]), ([80.0, 81.0, 82.0], [20.0, 21.0, 22.0])
    >>> found = accuracy_matched([75.0, 76.0, 77.0], [18.0, 19.0, 20.0], {"short": short, "long": long})
    >>> found.difference, found.below, found.above, found.weight
    (3.0, 'short', 'long', 0.5)
    """
    arm = _pair(accuracy, measure, "the arm")
    if len(schedules) < 2:
        raise KdlibError(
            f"matching accuracies needs at least two schedules, not {len(schedules)}; train another length"
        )
    pairs = {name: _pair(*values, f"schedule '{name}'") for name, values in schedules.items()}
    for name, pair in pairs.items():
        if pair.shape != arm.shape:
            raise KdlibError(
                f"schedule '{name}' has {pair.shape[1]} replicates and the arm {arm.shape[1]}; take the same"
            )
    wanted = float(arm[0].mean())
    means = {name: float(pair[0].mean()) for name, pair in pairs.items()}
    lower = [name for name in means if means[name] <= wanted]
    upper = [name for name in means if means[name] >= wanted]
    if not lower or not upper:
        span = f"{min(means.values()):.4g} to {max(means.values()):.4g}"
        raise KdlibError(
            f"the arm's mean accuracy {wanted:.4g} lies outside the schedules' {span}; train one of another length"
        )
    below, above = max(lower, key=means.__getitem__), min(upper, key=means.__getitem__)
    difference, weight = _theta(arm, pairs[below], pairs[above])
    n = arm.shape[1]
    values = []
    for left_out in range(n):
        kept = np.arange(n) != left_out
        without, _ = _theta(arm[:, kept], pairs[below][:, kept], pairs[above][:, kept])
        values.append(n * difference - (n - 1) * without)
    return Matched(difference, tuple(values), below, above, weight)


def can_be_matched(accuracy: Sequence[float], schedules: Sequence[Sequence[float]]) -> bool:
    """Whether an arm's mean accuracy lies within those of schedules, over at least three replicates.

    >>> can_be_matched([75.0, 76.0, 77.0], [[70.0, 71.0, 72.0], [80.0, 81.0, 82.0]])
    True
    >>> can_be_matched([85.0, 86.0, 87.0], [[70.0, 71.0, 72.0], [80.0, 81.0, 82.0]])
    False
    """
    if len(accuracy) < FEWEST or len(schedules) < 2:
        return False
    means = [float(np.mean(values)) for values in schedules]
    return min(means) <= float(np.mean(accuracy)) <= max(means)


def _theta(arm: np.ndarray, below: np.ndarray, above: np.ndarray) -> tuple[float, float]:
    """theta and w from (2, n) accuracies and measures."""
    (accuracy, measure), (low, low_measure), (high, high_measure) = (rows.mean(axis=1) for rows in (arm, below, above))
    weight = 0.0 if high == low else float((accuracy - low) / (high - low))
    return float(measure - (1 - weight) * low_measure - weight * high_measure), weight


def _pair(accuracy: Sequence[float], measure: Sequence[float], name: str) -> np.ndarray:
    rows = [np.asarray(values, dtype=np.float64) for values in (accuracy, measure)]
    if rows[0].ndim != 1 or rows[0].shape != rows[1].shape or not np.isfinite(rows).all():
        raise KdlibError(f"{name} needs one finite accuracy and measure for each replicate; some are missing")
    if rows[0].size < FEWEST:
        raise KdlibError(f"{name} has {rows[0].size} replicates; matching accuracies needs at least {FEWEST}")
    return np.stack(rows)
