"""Accuracy matching (control C5) of a study's arms: what of an effect students of the same accuracy would show.

Students from scratch, trained for several lengths with the whole schedule, say what a measure is at which accuracy
(`kdlib.metrics.accuracy_matching`). An arm that is more accurate than all of them is looked at from the other side: its
own shorter schedules are interpolated to the accuracy of scratch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdlib.claims.odds import log_odds
from kdlib.metrics.accuracy_matching import accuracy_matched, can_be_matched

Values = Mapping[str, Sequence[float]]  # arm -> one value a replicate


@dataclass(frozen=True)
class Matching:
    """Accuracies on val and a measure, of the same arms and replicates.

    schedules: arms from scratch of several lengths, "scratch" among them. own: arm -> the arm's own schedules, itself
    among them.
    """

    accuracy: Values
    measure: Values
    schedules: Sequence[str]
    own: Mapping[str, Sequence[str]]

    def beyond_accuracy(self, arm: str) -> list[float] | None:
        """What an arm has more of the measure than scratch of the same accuracy, one value a replicate.

        None where its accuracy lies outside all schedules', or with fewer than three replicates.

        >>> accuracy = {"short": [70, 71, 72], "scratch": [80, 81, 82], "kd": [75, 76, 77]}
        >>> measure = {"short": [10, 11, 12], "scratch": [20, 21, 22], "kd": [18, 19, 20]}
        >>> Matching(accuracy, measure, ["short", "scratch"], {}).beyond_accuracy("kd")
        [3.0, 3.0, 3.0]
        """
        if arm == "scratch":
            return [0.0] * len(self.measure[arm])
        if can_be_matched(self.accuracy[arm], [self.accuracy[name] for name in self.schedules]):
            return self._matched(arm, self.schedules)
        own = self.own.get(arm, ())
        if can_be_matched(self.accuracy["scratch"], [self.accuracy[name] for name in own]):
            return [-value for value in self._matched("scratch", own)]
        return None

    def explained(self, arm_a: str, arm_b: str = "scratch") -> list[float] | None:
        """What of arm a minus arm b their accuracies explain, one value a replicate: the control's own effect.

        Of the difference E it is E less what both have beyond their accuracies. None where either can't be matched.

        >>> accuracy = {"short": [70, 71, 72], "scratch": [80, 81, 82], "kd": [75, 76, 77]}
        >>> measure = {"short": [10, 11, 12], "scratch": [20, 21, 22], "kd": [18, 19, 20]}
        >>> Matching(accuracy, measure, ["short", "scratch"], {}).explained("kd")  # of a difference of -2
        [-5.0, -5.0, -5.0]
        """
        beyond_a, beyond_b = self.beyond_accuracy(arm_a), self.beyond_accuracy(arm_b)
        if beyond_a is None or beyond_b is None:
            return None
        values = zip(self.measure[arm_a], self.measure[arm_b], beyond_a, beyond_b, strict=True)
        return [(a - b) - (rest_a - rest_b) for a, b, rest_a, rest_b in values]

    def null_check(self) -> list[float] | None:
        """Scratch against its other schedules at its own accuracy, one value a replicate: no effect, if matching works.

        >>> accuracy = {"short": [70, 71, 72], "scratch": [75, 76, 77], "long": [80, 81, 82]}
        >>> measure = {"short": [10, 11, 12], "scratch": [15, 16, 17], "long": [20, 21, 22]}
        >>> Matching(accuracy, measure, ["short", "scratch", "long"], {}).null_check()
        [0.0, 0.0, 0.0]
        """
        others = [name for name in self.schedules if name != "scratch"]
        if not can_be_matched(self.accuracy["scratch"], [self.accuracy[name] for name in others]):
            return None
        return self._matched("scratch", others)

    def _matched(self, arm: str, schedules: Sequence[str]) -> list[float]:
        lengths = {name: (self.accuracy[name], self.measure[name]) for name in schedules}
        return list(accuracy_matched(self.accuracy[arm], self.measure[arm], lengths).values)


def in_log_odds(percent: Values, units: int) -> dict[str, list[float]]:
    """Shares of units in percent as log odds, as claims whose smallest effect is in odds have them.

    >>> {arm: [round(value, 3) for value in values] for arm, values in in_log_odds({"kd": [50.0, 0.0]}, 4).items()}
    {'kd': [0.0, -2.197]}
    """
    return {arm: [log_odds(value, units, arm) for value in values] for arm, values in percent.items()}
