"""What the first chapters' numbers say, in sentences that follow from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kdlib.stats import Contrast


def direction(contrast: Contrast, more: str, less: str) -> str:
    """`more` or `less` where the contrast shows a difference, else that none is shown.

    >>> from kdlib.stats import paired_contrast
    >>> direction(paired_contrast([3.0, 3.1, 3.2], [1.0, 1.0, 1.1]), "more accurate", "less accurate")
    'more accurate'
    >>> direction(paired_contrast([3.0, 0.0], [1.0, 1.0]), "more accurate", "less accurate")
    'no difference is shown'
    """
    if not contrast.excludes_zero:
        return "no difference is shown" if contrast.n > 1 else "one seed shows no difference"
    return more if contrast.mean_difference > 0 else less


def same_sign(contrast: Contrast) -> str:
    """In how many seeds the difference has the sign of its mean, to follow "the difference has".

    >>> from kdlib.stats import paired_contrast
    >>> same_sign(paired_contrast([3.0, 0.5, 4.0], [1.0, 1.0, 1.0]))
    'the same sign in 2 of 3 seeds'
    >>> same_sign(paired_contrast([1.0, 1.0], [1.0, 1.0]))
    'the value 0 in every seed'
    """
    if contrast.n == 1:
        return "one seed only"
    if not any(contrast.differences):
        return "the value 0 in every seed"
    count = sum(np.sign(difference) == np.sign(contrast.mean_difference) for difference in contrast.differences)
    return f"the same sign in {count} of {contrast.n} seeds"


def similarity_story(teacher: float, scratch: Sequence[float], kd: Sequence[float]) -> str:
    """Whether a teacher's sibling mass ratio leaves its students something to take over, and whose lies nearer to it.

    All in percent, students one value a seed.

    >>> print(similarity_story(70.0, [60.0, 62.0], [66.0, 65.0]))
    The teacher's ratio, 70.0 %, lies above that of every student from scratch (60.0 to 62.0 %): there is class \
similarity to take over. The distilled students' mean, 65.5 %, lies nearer to the teacher's than the mean from \
scratch, 61.0 %.
    """
    low, high = min(scratch), max(scratch)
    if teacher > high:
        place, so = "above that of every student", "there is class similarity to take over"
    elif teacher < low:
        place, so = (
            "below that of every student",
            "the teacher has less class similarity to give than they have already",
        )
    else:
        place, so = "within the range of the students", "the teacher has no class similarity to give that they lack"
    mean_kd, mean_scratch = float(np.mean(kd)), float(np.mean(scratch))
    gap_kd, gap_scratch = abs(mean_kd - teacher), abs(mean_scratch - teacher)
    nearer = "nearer to" if gap_kd < gap_scratch else "no nearer to"
    return (
        f"The teacher's ratio, {teacher:.1f} %, lies {place} from scratch ({low:.1f} to {high:.1f} %): {so}. "
        f"The distilled students' mean, {mean_kd:.1f} %, lies {nearer} the teacher's than the mean from scratch, "
        f"{mean_scratch:.1f} %."
    )
