"""Controls: what must not explain an effect away.

Students of a teacher may have more detectors because they are more accurate, because any smoothed target does it, or
because the count of detectors hardly sees units. A control does that other thing alone: scratch of the same accuracy, a
shuffled teacher, random mixtures of the same units. It has an effect of its own, E_c, beside the claim's effect E.

The rule: an effect survives a control if more than the control's effect is left of it. With

    R = E - E_c    within each replicate, turned so that the claimed direction is positive,

and S the smallest effect that matters, the 95 % interval of R's mean (Student's t) decides: **yes** if it lies above 0;
**no** if it reaches no further than S, so that what is left is too small to matter; **open** otherwise.

Why not "the control itself shows no effect": a control that was measured loosely shows no effect either, and one that
explains a tenth of E shows one and explains nothing away. Only the difference of the two, paired, asks whether E is
larger. Why not "the two intervals do not overlap": paired differences have narrower intervals, and overlap is no test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdlib.claims.interval_words import difference_in_words, size
from kdlib.claims.paired import Measured, TInterval, difference, subtract, t_interval
from kdlib.claims.terms import DIRECTIONS
from kdlib.errors import KdlibError, choose, finite_number

YES, NO, OPEN = "yes", "no", "open"


@dataclass(frozen=True)
class Control:
    """A contrast that must not explain an effect away.

    name: as prose has it ("a shuffled teacher"). reads, minus: the measurements METRIC/ARM whose difference is the
    control's effect; without minus, `reads` holds that effect already, one a replicate (accuracy matching files it so).
    because: what the control does alone.
    """

    name: str
    reads: str
    because: str
    minus: str | None = None

    def __post_init__(self) -> None:
        for field in ("name", "reads", "because"):
            if not getattr(self, field).strip():
                raise KdlibError(f"the control '{self.name}' has an empty {field}; write it")
        if self.minus == self.reads:
            raise KdlibError(f"{self.named} takes '{self.minus}' from itself; name another measurement")

    @property
    def measurements(self) -> tuple[str, ...]:
        """The measurements that the control's effect is made of."""
        return (self.reads, self.minus) if self.minus else (self.reads,)

    @property
    def named(self) -> str:
        """The control as errors name it."""
        return f"the control '{self.name}'"


@dataclass(frozen=True)
class ControlOutcome:
    """Whether an effect survives a control: yes, no or open, a sentence, and what is left of it (R, not turned).

    left: None where the control was not measured, which leaves it open.
    """

    control: Control
    survives: str
    sentence: str
    left: TInterval | None


def control_effect(control: Control, measured: Measured) -> dict[int, float]:
    """The control's own effect by replicate. Raises KdlibError for what was not measured in all replicates.

    >>> control = Control("a shuffled teacher", "detectors/kd_shuffled", "no similarity", "detectors/scratch")
    >>> control_effect(control, {"detectors/kd_shuffled": {0: 56.0}, "detectors/scratch": {0: 54.0}})
    {0: 2.0}
    """
    return difference(measured, control.reads, control.minus, control.named)


def against_control(
    control: Control,
    effect: Mapping[int, float],
    its_effect: Mapping[int, float],
    *,
    direction: str,
    smallest_effect: float,
    unit: str,
) -> ControlOutcome:
    """Whether the claim's effect survives the control's, by the rule above.

    effect, its_effect: the claim's and the control's, by replicate, at least two, in the same unit. direction: the
    claim's, "greater" or "less". smallest_effect: above 0, in that unit. unit: of the levels, or "odds ratio" for
    effects in log odds.

    Where every replicate leaves the same, the interval has no width and decides by its one value; the sentence says so.
    Raises KdlibError for different or too few replicates, and for what is no number.

    >>> control = Control("a shuffled teacher", "detectors/kd_shuffled", "no similarity", "detectors/scratch")
    >>> outcome = against_control(control, {0: 8.0, 1: 9.0, 2: 10.0}, {0: 1.0, 1: 1.0, 2: 1.0},
    ...                           direction="greater", smallest_effect=3.5, unit="percent")
    >>> outcome.survives
    'yes'
    >>> print(outcome.sentence)
    survives a shuffled teacher: beyond it +8.0 percentage points (+5.5 to +10.5) are left, on the claimed side of zero
    """
    sign = 1 if choose(direction, DIRECTIONS, "direction") == "greater" else -1
    smallest = finite_number(smallest_effect, "smallest_effect", minimum=0, exclusive=True)
    rest = subtract(effect, its_effect, ("the claim's effect", control.reads), control.named)
    left = t_interval(list(rest.values()), control.named)
    low, high = sorted((sign * left.low, sign * left.high))
    matters = f"the {size(smallest, unit)} that would matter"
    if low > 0:
        survives, start, end = YES, "survives", "on the claimed side of zero"
    elif high <= smallest:
        survives, start, end = NO, "does not survive", f"and no effect larger than {matters} on the claimed side"
    else:
        survives, start, end = OPEN, "is open against", f"so that both nothing and {matters} stay possible"
    same = "; every replicate left the same: check that the replicates differ" if left.all_equal else ""
    words = difference_in_words(left, unit, [sign * smallest])
    sentence = f"{start} {control.name}: beyond it {words} are left, {end}{same}"
    return ControlOutcome(control, survives, sentence, left)


def not_measured(control: Control) -> ControlOutcome:
    """The outcome of a control without a measurement, such as accuracies that can't be matched.

    >>> not_measured(Control("a shuffled teacher", "detectors/kd_shuffled", "no similarity")).sentence
    'is open against a shuffled teacher, which was not or could not be measured'
    """
    sentence = f"is open against {control.name}, which was not or could not be measured"
    return ControlOutcome(control, OPEN, sentence, None)


def survives_its_controls(outcomes: Sequence[ControlOutcome]) -> str:
    """One word for all controls: no if one explains the effect away, else open if one is open, else yes.

    Raises KdlibError without any control: nothing has then been survived.

    >>> survives_its_controls([])
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: an effect cannot survive 0 controls; name some or leave the question out
    """
    if not outcomes:
        raise KdlibError("an effect cannot survive 0 controls; name some or leave the question out")
    words = {outcome.survives for outcome in outcomes}
    return next(word for word in (NO, OPEN, YES) if word in words)
