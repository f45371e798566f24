"""The verdict rule for paired replicates: one of five words from gates, one interval and the smallest effect.

With D the difference between a claim's two arms within a replicate, the 95 % interval of its mean by Student's t, and S
the smallest effect that would matter, fixed beforehand:

- a gate of the claim failed: **no test**;
- fewer replicates than the claim asks for: **inconclusive**, and called an estimate;
- D exactly 0 in every replicate: **inconclusive** (the measure cannot tell the arms apart);
- the interval on the claimed side of zero: **supported**;
- on the other side: **contradicted**;
- within -S to +S: **not supported** (an effect large enough to matter is excluded);
- anything else: **inconclusive**, with the number of replicates that would decide.

With eight replicates or more Student's interval has the right width. Where all differences are equal it has none; it is
then taken as it is, and the sentence warns.
"""

from __future__ import annotations

from collections.abc import Sequence

from kdlib.claims.gates import GateOutcome
from kdlib.claims.interval_words import size
from kdlib.claims.paired import TInterval
from kdlib.claims.replicates_needed import MOST, replicates_needed
from kdlib.claims.terms import DIRECTIONS
from kdlib.errors import choose, finite_number, positive_integer

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
CONTRADICTED, INCONCLUSIVE = "contradicted", "inconclusive"
NO_TEST = "no test"
#: What an interval can say; the fifth word is that of a failed gate.
OUTCOMES = (SUPPORTED, NOT_SUPPORTED, CONTRADICTED, INCONCLUSIVE)
WORDS = (*OUTCOMES, NO_TEST)
MINIMUM_REPLICATES = 8

#: The rule for readers, word by word.
RULE = {
    SUPPORTED: "the 95 % interval of the mean difference (Student's t over paired replicates) lies on the claimed side "
    "of zero",
    CONTRADICTED: "it lies on the other side of zero",
    NOT_SUPPORTED: "it lies within plus or minus the smallest effect that would matter: an effect large enough to "
    "matter is excluded",
    INCONCLUSIVE: "none of these holds (we then say how many replicates would decide), and always with fewer "
    "replicates than the claim asks for, which give an estimate only, or where both arms gave the same value in every "
    "replicate (the measure is then at its floor or ceiling and can't tell them apart)",
    NO_TEST: "a gate failed, a condition without which the difference says nothing: that the teacher is good, say, "
    "that KD made its student more accurate, or that the measure is not at its floor",
}


def rule_in_words() -> str:
    """The whole rule for readers, as one paragraph.

    >>> rule_in_words().startswith("The rule, fixed beforehand: *supported* if the 95 % interval of the mean")
    True
    """
    words = "; ".join(f"*{word}* if {RULE[word]}" for word in WORDS)
    return (
        f"The rule, fixed beforehand: {words}. Where a base rate decides what is large, the smallest effect is an "
        "odds ratio. A replicate is a teacher of its own with one student of every kind, "
        "so the interval speaks of teachers and students alike. A supported effect *survives its controls* if it is "
        "larger than what each control does alone: the 95 % interval of the rest lies on the claimed side of zero. A "
        "paper makes many claims, and where there is no effect one in forty is supported by chance; so a p-value "
        "corrected for all tested claims of the paper (Holm) stands beside the verdict. A claim that was "
        "written down after its result was seen is exploratory and counts in no total."
    )


def word_of(
    differences: Sequence[float],
    interval: tuple[float, float],
    *,
    direction: str,
    smallest_effect: float,
    minimum_seeds: int = 2,
) -> str:
    """The word for paired `differences` (n,) and the `interval` of their mean: the rule without its gates.

    interval: of the mean, in the differences' unit; NaN where there is none, which decides nothing. direction: one of
    `terms.DIRECTIONS`.

    >>> word_of([1.0, 2.0, 3.0], (0.5, 3.5), direction="greater", smallest_effect=1.0)
    'supported'
    >>> word_of([1.0, 2.0, 3.0], (-0.5, 4.5), direction="greater", smallest_effect=1.0)
    'inconclusive'
    """
    low, high = interval if direction == "greater" else (-interval[1], -interval[0])
    if len(differences) < minimum_seeds or all(difference == 0 for difference in differences):
        return INCONCLUSIVE
    if low > 0:
        return SUPPORTED
    if high < 0:
        return CONTRADICTED
    return NOT_SUPPORTED if -smallest_effect <= low and high <= smallest_effect else INCONCLUSIVE


def word_and_reason(
    interval: TInterval,
    *,
    direction: str,
    smallest_effect: float,
    unit: str,
    minimum_replicates: int = MINIMUM_REPLICATES,
    gates: Sequence[GateOutcome] = (),
) -> tuple[str, str]:
    """The word and its reason, by the rule above.

    interval: of the paired differences, arm a minus arm b. direction: "greater" or "less". smallest_effect: above 0, in
    the differences' unit. unit: of the levels, or "odds ratio" for differences in log odds. gates: what became of the
    claim's gates.

    Raises KdlibError for an unknown direction, a smallest effect that is not above 0, a minimum below 2.

    >>> from kdlib.claims.paired import t_interval
    >>> found = t_interval([7.0, 8.0, 6.5, 7.2, 6.8, 7.9, 7.4, 6.1], "detectors")
    >>> word_and_reason(found, direction="greater", smallest_effect=3.5, unit="percent")
    ('supported', 'the interval lies on the claimed side of zero')
    >>> word_and_reason(found, direction="less", smallest_effect=3.5, unit="percent", minimum_replicates=16)
    ('inconclusive', 'an estimate: 8 replicates are too few, the claim asks for at least 16')
    """
    smallest = finite_number(smallest_effect, "smallest_effect", minimum=0, exclusive=True)
    minimum = positive_integer(minimum_replicates, "minimum_replicates", minimum=2)
    choose(direction, DIRECTIONS, "direction")
    failed = [outcome.sentence for outcome in gates if not outcome.passed]
    matters = f"the {size(smallest, unit)} that would matter"
    if failed:
        return NO_TEST, "; ".join(failed)
    word = word_of(
        interval.values,
        (interval.low, interval.high),
        direction=direction,
        smallest_effect=smallest,
        minimum_seeds=minimum,
    )
    if interval.n < minimum:
        few = "1 replicate is" if interval.n == 1 else f"{interval.n} replicates are"
        return word, f"an estimate: {few} too few, the claim asks for at least {minimum}"
    if all(value == 0 for value in interval.values):
        return word, (
            "both arms gave the same value in every replicate: the measure is at its floor or ceiling here and can't "
            "tell them apart"
        )
    same = ", but every replicate gave the same difference: check that they differ" if interval.all_equal else ""
    low, high = (interval.low, interval.high) if direction == "greater" else (-interval.high, -interval.low)
    if word in (SUPPORTED, CONTRADICTED):
        side = "claimed side of zero" if word == SUPPORTED else "side opposite to the claimed one"
        small = f", though the effect is smaller than {matters}" if max(abs(low), abs(high)) < smallest else ""
        return word, f"the interval lies on the {side}{small}{same}"
    if word == NOT_SUPPORTED:
        return word, f"the interval excludes an effect larger than {matters}"
    # Inconclusive: zero lies within low to high, and they reach beyond smallest, beyond -smallest, or both.
    if high < smallest:
        return word, f"the interval excludes {matters} on the claimed side, but not as large an effect the other way"
    side = "on either side" if low <= -smallest else "on the claimed side"
    return word, f"the interval leaves possible both no effect and {matters} {side}"


def would_decide(
    interval: TInterval, smallest_effect: float, minimum_replicates: int = MINIMUM_REPLICATES
) -> int | None:
    """How many replicates would decide what is inconclusive, if mean and spread stayed as they are.

    At least `minimum_replicates`. None where 100,000 would not do, and where all differences are 0: a measure at its
    floor stays there.

    >>> from kdlib.claims.paired import t_interval
    >>> would_decide(t_interval([1.0, 2.0, 3.0], "detectors"), smallest_effect=0.5)  # 4 by the interval, 8 by the rule
    8
    """
    minimum = positive_integer(minimum_replicates, "minimum_replicates", minimum=2, maximum=MOST)
    if all(value == 0 for value in interval.values):
        return None
    needed = replicates_needed(interval.values, smallest_effect)
    return None if needed is None else max(minimum, needed)


def needed_in_words(needed: int | None) -> str:
    """The number of replicates that would decide, as the sentence of an inconclusive verdict has it.

    >>> needed_in_words(31), needed_in_words(None)
    ('about 31 replicates would decide', 'no affordable number of replicates would decide')
    """
    return f"{'no affordable number of' if needed is None else f'about {needed:,}'} replicates would decide"
