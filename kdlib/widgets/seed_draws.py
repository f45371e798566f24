"""Draws of a few replicates out of many, and the verdict that each of them would have given.

The browser draws and judges as these functions do, to the last bit: sums are taken one after another in the
replicates' order, and the random numbers come from a generator of a few lines that both sides have.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
from scipy import stats as scipy_stats

from kdlib.claims.paired import CONFIDENCE
from kdlib.claims.rule import OUTCOMES, word_of

MOST_SUBSETS = 20_000  # 16 replicates have 12,870 subsets of 8: all of them are judged
_SAMPLE_SEED = 0
_STEP = 0x6D2B79F5
_MASK = 0xFFFFFFFF


def t_quantile(size: int) -> float:
    """By how many standard errors the 95 % Student t interval of a mean of `size` values reaches to either side.

    >>> round(t_quantile(3), 3), round(t_quantile(16), 3)
    (4.303, 2.131)
    """
    return float(scipy_stats.t.ppf((1 + CONFIDENCE) / 2, size - 1))


def mean_intervals(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean, low, high), each (m,): mean and 95 % Student t interval of every row of `samples` (m, k), k >= 2.

    What `kdlib.stats.student_interval` gives, but with sums in the order in which the browser takes them.

    >>> [round(float(bound[0]), 3) for bound in mean_intervals(np.array([[1.0, 2.0, 3.0]]))]
    [2.0, -0.484, 4.484]
    """
    size = samples.shape[1]
    total = np.zeros(len(samples))
    for column in samples.T:
        total = total + column
    mean = total / size
    squares = np.zeros(len(samples))
    for column in samples.T:
        squares = squares + (column - mean) * (column - mean)
    half = t_quantile(size) * np.sqrt(squares / (size - 1)) / math.sqrt(size)
    return mean, mean - half, mean + half


def random_number(seed: int, position: int) -> float:
    """Number `position` (from 0) of the stream of `seed`, in [0, 1): the generator Mulberry32, whose state counts up.

    >>> round(random_number(0, 0), 6), round(random_number(0, 1), 6)
    (0.266429, 0.00033)
    """
    mixed = (seed + (position + 1) * _STEP) & _MASK
    mixed = (mixed ^ (mixed >> 15)) * (mixed | 1) & _MASK
    mixed ^= mixed + ((mixed ^ (mixed >> 7)) * (mixed | 61) & _MASK) & _MASK
    return (mixed ^ (mixed >> 14)) / 2**32


def draw_replicates(seed: int, draw: int, count: int, size: int) -> list[int]:
    """Draw number `draw` (from 0): `size` of the replicates 0 to count - 1 without replacement, in their order.

    A larger draw of the same number holds the smaller one: who goes from 3 to 5 replicates trains two more.

    >>> draw_replicates(0, 0, 16, 3), draw_replicates(0, 0, 16, 5)
    ([1, 4, 5], [0, 1, 4, 5, 9])
    """
    order = list(range(count))
    for place in range(size):
        other = place + int(random_number(seed, draw * count + place) * (count - place))
        order[place], order[other] = order[other], order[place]
    return sorted(order[:size])


def word_shares(
    differences: np.ndarray, size: int, *, direction: str, smallest_effect: float
) -> Mapping[str, int | list[int]]:
    """How often each verdict comes out of draws of `size` of the `differences` (n,).

    size; possible: the number of subsets; judged: how many of them were looked at, all up to `MOST_SUBSETS`, else as
    many as that, drawn with a fixed seed; counts: of each of `OUTCOMES`, they add up to judged.

    >>> word_shares(np.array([1.0, 1.1, 0.9, -1.0]), 3, direction="greater", smallest_effect=0.5)
    {'size': 3, 'possible': 4, 'judged': 4, 'counts': [1, 0, 0, 3]}
    """
    possible = math.comb(len(differences), size)
    if possible <= MOST_SUBSETS:
        subsets = np.array(list(itertools.combinations(range(len(differences)), size)))
    else:
        numbers = np.random.default_rng(_SAMPLE_SEED).random((MOST_SUBSETS, len(differences)))
        subsets = np.sort(numbers.argsort(axis=1)[:, :size], axis=1)
    samples = differences[subsets]
    _, lows, highs = mean_intervals(samples)
    counts = dict.fromkeys(OUTCOMES, 0)
    for values, low, high in zip(samples.tolist(), lows.tolist(), highs.tolist(), strict=True):
        counts[word_of(values, (low, high), direction=direction, smallest_effect=smallest_effect)] += 1
    return {"size": size, "possible": possible, "judged": len(subsets), "counts": list(counts.values())}
