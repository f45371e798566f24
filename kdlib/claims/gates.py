"""Gates: the conditions without which a claim's contrast says nothing.

A contrast of two arms answers its question only where the premise holds, the teacher is good, the arms have learnt and
the measure can tell networks apart. Each such condition is a gate; where one fails, the verdict is "no test", whatever
the contrast. Gates are written down with the claim, before its result is known.

| kind | passes where |
|---|---|
| premise | accuracy of one arm minus that of another: the 95 % interval (Student's t) lies above 0 |
| above untrained | score of a trained network minus an untrained one's: the interval lies above 0 |
| above | a measurement minus another (say the score of an empty map): the interval lies above 0 |
| below | the same, for measures where less is better: the interval lies below 0 |
| at least | the mean over replicates (of a measurement, or of its difference to another) is the threshold or more |
| at most | the mean is the threshold or less |
| off floor and ceiling | in at least `threshold` percent of the replicates, the arms read can be told apart |

Arms cannot be told apart where all of them stand at or below the floor, or all at or above the ceiling. For shares of
units at a bound instead of replicates, measure that share and use "at most".

"""

from __future__ import annotations

from dataclasses import dataclass

from kdlib.claims.interval_words import difference_in_words, level, subject_of, threshold_in_words
from kdlib.claims.paired import Measured, TInterval, check_same_replicates, difference, measurement, t_interval
from kdlib.errors import KdlibError, choose, finite_number

ABOVE = ("premise", "above untrained", "above")
OFF_BOUNDS = "off floor and ceiling"
#: Of each kind, the fields it cannot do without and those it may have.
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    **dict.fromkeys((*ABOVE, "below"), (("minus",), ())),
    **dict.fromkeys(("at least", "at most"), (("threshold",), ("minus",))),
    OFF_BOUNDS: (("threshold",), ("floor", "ceiling")),
}


@dataclass(frozen=True)
class Gate:
    """One condition on measurements, which are named METRIC/ARM.

    kind: one of `KINDS`. reads: the measurement, several for the kind "off floor and ceiling" alone. sentence: why the
    contrast says nothing without it. minus: what is taken from it within each replicate. threshold, floor, ceiling: in
    the unit of the measurement; of "off floor and ceiling" the threshold is in percent of the replicates. subject: what
    is judged, in prose (with a `minus`, the whole difference); made from the names where it is empty.

    >>> gate = Gate("at least", ("accuracy/teacher",), "A poor teacher has little to teach.", threshold=85.0)
    >>> Gate("atleast", ("accuracy/teacher",), "A poor teacher has little to teach.", threshold=85.0)
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: unknown kind of gate 'atleast'; did you mean 'at least'? (choices: premise, above \
untrained, above, below, at least, at most, off floor and ceiling)
    """

    kind: str
    reads: tuple[str, ...]
    sentence: str
    minus: str | None = None
    threshold: float | None = None
    floor: float | None = None
    ceiling: float | None = None
    unit: str = "percent"
    subject: str = ""

    def __post_init__(self) -> None:
        needed, optional = KINDS[choose(self.kind, KINDS, "kind of gate")]
        for field in ("minus", "threshold", "floor", "ceiling"):
            given = getattr(self, field) is not None
            if field in needed and not given:
                raise KdlibError(f"{self.named} lacks its {field}; add it")
            if given and field not in (*needed, *optional):
                raise KdlibError(f"{self.named} has no use for {field} = {getattr(self, field)!r}; leave it out")
            if given and field != "minus":
                finite_number(getattr(self, field), f"{field} of {self.named}")
        if not self.reads or (len(self.reads) > 1 and self.kind != OFF_BOUNDS):
            many = "at least one measurement" if self.kind == OFF_BOUNDS else "one measurement"
            raise KdlibError(f"{self.named} must read {many}, not {len(self.reads)}; name it as METRIC/ARM")
        if self.minus in self.reads:
            raise KdlibError(f"{self.named} takes '{self.minus}' from itself; name another measurement")
        metric = self.reads[0].partition("/")[0]
        if self.kind == "premise" and "accuracy" not in metric:
            raise KdlibError(f"{self.named} compares accuracies, not {metric}; use the kind 'above'")
        if self.kind == OFF_BOUNDS:
            self._check_bounds()

    def _check_bounds(self) -> None:
        finite_number(self.threshold, f"threshold of {self.named}", minimum=0, maximum=100)
        if self.floor is None and self.ceiling is None:
            raise KdlibError(f"{self.named} has neither floor nor ceiling; give at least one of them")
        if self.floor is not None and self.ceiling is not None and self.floor >= self.ceiling:
            raise KdlibError(f"{self.named} has its floor {self.floor:g} not below its ceiling {self.ceiling:g}")

    @property
    def named(self) -> str:
        """The gate as errors name it."""
        return f"the gate '{self.kind}' on '{', '.join(self.reads)}'"


@dataclass(frozen=True)
class GateOutcome:
    """What became of a gate: passed or not, a sentence, and what was measured.

    measured: the mean over replicates with its interval; of "off floor and ceiling" the values are 100 for a replicate
    off the bounds and 0 for one at them, so that the mean is their share in percent.
    """

    gate: Gate
    passed: bool
    sentence: str
    measured: TInterval


def evaluate(gate: Gate, measured: Measured) -> GateOutcome:
    """Whether a gate passes, by measurements of at least two replicates.

    Raises KdlibError for a measurement that is not there (a gate that nobody measured has not passed), that differs
    from the other in its replicates, that is not a finite number, or that has one replicate alone.

    >>> gate = Gate("at least", ("accuracy/teacher",), "A poor teacher has little to teach.", threshold=85.0,
    ...             subject="the teacher's accuracy")
    >>> evaluate(gate, {"accuracy/teacher": {0: 72.8, 1: 72.1, 2: 71.4}}).sentence
    "gate failed: the teacher's accuracy, 72.1 % (70.4 to 73.8), is below 85 %"
    >>> premise = Gate("premise", ("accuracy/kd",), "Who learnt nothing more shows nothing.", minus="accuracy/scratch")
    >>> taught = {"accuracy/kd": {0: 89.0, 1: 89.2, 2: 89.6}, "accuracy/scratch": {0: 85.5, 1: 86.3, 2: 86.8}}
    >>> print(evaluate(premise, taught).sentence)
    gate passed: accuracy of KD minus accuracy of scratch, +3.07 percentage points (+2.13 to +4.01), is above 0
    """
    if gate.kind == OFF_BOUNDS and gate.threshold is not None:
        return _off_bounds(gate, measured, gate.threshold)
    found = t_interval(list(difference(measured, gate.reads[0], gate.minus, gate.named).values()), gate.named)
    if gate.threshold is not None:
        return _against_threshold(gate, found, gate.threshold)
    side, other = ("above", "below") if gate.kind in ABOVE else ("below", "above")
    low, high = (found.low, found.high) if side == "above" else (-found.high, -found.low)
    says = f"is {side} 0" if low > 0 else f"is {other} 0" if high < 0 else f"is not shown to be {side} 0"
    return _outcome(gate, low > 0, f"{_subject(gate)}, {difference_in_words(found, gate.unit)}, {says}", found)


def _against_threshold(gate: Gate, found: TInterval, threshold: float) -> GateOutcome:
    at_least = gate.kind == "at least"
    passed = found.mean >= threshold if at_least else found.mean <= threshold
    is_difference = gate.minus is not None
    words = (difference_in_words if is_difference else level)(found, gate.unit, [threshold])
    says = f"is {gate.kind}" if passed else "is below" if at_least else "is above"
    bound = threshold_in_words(threshold, gate.unit, difference=is_difference)
    return _outcome(gate, passed, f"{_subject(gate)}, {words}, {says} {bound}", found)


def _off_bounds(gate: Gate, measured: Measured, share: float) -> GateOutcome:
    arms = [measurement(measured, name, gate.named) for name in gate.reads]
    for name, arm in zip(gate.reads[1:], arms[1:], strict=True):
        check_same_replicates(arms[0], arm, (gate.reads[0], name), gate.named)
    at_bounds = {}
    for replicate in arms[0]:
        values = [arm[replicate] for arm in arms]
        at_floor = gate.floor is not None and max(values) <= gate.floor
        at_ceiling = gate.ceiling is not None and min(values) >= gate.ceiling
        at_bounds[replicate] = at_floor or at_ceiling
    found = t_interval([0.0 if stuck else 100.0 for stuck in at_bounds.values()], gate.named)
    bounds = {"floor": gate.floor, "ceiling": gate.ceiling}
    where = " or ".join(
        f"the {name} of {threshold_in_words(bound, gate.unit, difference=False)}"
        for name, bound in bounds.items()
        if bound is not None
    )
    count = f"off {where} in {len(at_bounds) - sum(at_bounds.values())} of {len(at_bounds)} replicates"
    text = f"{_subject(gate)}: {count}, where {share:g} % of them are asked for"
    return _outcome(gate, found.mean >= share, text, found)


def _outcome(gate: Gate, passed: bool, text: str, found: TInterval) -> GateOutcome:
    return GateOutcome(gate, passed, f"gate {'passed' if passed else 'failed'}: {text}", found)


def _subject(gate: Gate) -> str:
    subject = gate.subject or " and ".join(subject_of(name) for name in gate.reads)
    return f"{subject} minus {subject_of(gate.minus)}" if gate.minus and not gate.subject else subject
