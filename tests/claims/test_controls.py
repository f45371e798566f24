"""Whether an effect survives a control: against the rule written out a second way."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest

from kdlib.claims.controls import Control, ControlOutcome, against_control, control_effect, survives_its_controls
from kdlib.claims.paired import t_interval
from kdlib.errors import KdlibError
from kdlib.metrics.accuracy_matching import accuracy_matched

SHUFFLED = Control("a shuffled teacher", "detectors/kd_shuffled", "No similarity of classes.", "detectors/scratch")
S = 3.5
GRID = [dict(enumerate(values)) for values in itertools.product((-9.0, -1.0, 0.0, 1.0, 2.0, 9.0), repeat=3)]
NOTHING = dict.fromkeys(range(3), 0.0)


def outcome(effect, its_effect, direction="greater", smallest_effect=S, unit="percent of units") -> ControlOutcome:
    return against_control(
        SHUFFLED, effect, its_effect, direction=direction, smallest_effect=smallest_effect, unit=unit
    )


def word(left: list[float]) -> str:
    """Slow twin: is every value that the interval holds positive, or none above S?"""
    mean = sum(left) / 3
    half = 4.302652729911275 * math.sqrt(sum((value - mean) ** 2 for value in left) / 2) / math.sqrt(3)
    if mean - half > 0:
        return "yes"
    return "no" if mean + half <= S else "open"


def test_over_a_grid_the_word_is_the_twins():
    seen = set()
    for left in GRID:
        found = outcome({i: value + 4.0 + i for i, value in left.items()}, {i: 4.0 + i for i in range(3)})
        assert found.survives == word(list(left.values())), left
        seen.add(found.survives)
    assert seen == {"yes", "no", "open"}


def test_a_claim_of_less_is_the_mirror():
    for left in GRID:
        mirrored = {i: -value for i, value in left.items()}
        assert outcome(left, NOTHING).survives == outcome(mirrored, NOTHING, "less").survives


def test_only_the_rest_within_each_replicate_counts():
    """A control's own spread drops out where it is the effect's too, however wide both are."""
    control = {0: -20.0, 1: 0.0, 2: 20.0}
    assert outcome({i: value + 5.0 + 0.1 * i for i, value in control.items()}, control).survives == "yes"


def test_a_control_without_effect_leaves_the_effect_itself():
    effect = {0: 7.0, 1: 8.0, 2: 9.5}
    assert outcome(effect, NOTHING).left == t_interval(list(effect.values()), "x")


def test_a_control_that_does_as_much_explains_the_effect_away():
    found = outcome({0: 7.0, 1: 8.0, 2: 9.0}, {0: 7.0, 1: 8.0, 2: 9.0})
    assert found.survives == "no"
    assert found.sentence.endswith("check that the replicates differ")


def test_the_words_of_a_larger_smallest_effect_only_move_from_open_to_no():
    for left in GRID:
        small, large = (outcome(left, NOTHING, smallest_effect=size).survives for size in (S, 2 * S))
        assert (small, large) in {("yes", "yes"), ("no", "no"), ("open", "open"), ("open", "no")}


def test_sentences():
    assert outcome({0: 1.0, 1: 1.1, 2: 0.9}, {0: 1.0, 1: 0.9, 2: 1.0}).sentence.startswith(
        "does not survive a shuffled"
    )
    assert "both nothing and the 3.5 percentage points of the layer's units that would matter" in (
        outcome({0: 1.0, 1: 9.0, 2: 0.9}, NOTHING).sentence
    )
    ratio = outcome({0: 0.3, 1: 0.31, 2: 0.32}, NOTHING, smallest_effect=0.15, unit="odds ratio").sentence
    assert ratio.startswith("survives a shuffled teacher: beyond it odds ratio 1.363 (1.330 to 1.398) are left")


def test_pseudo_values_of_accuracy_matching_serve_as_a_control():
    """With the control's effect = the effect less the pseudo-value, what is left are the pseudo-values."""
    accuracy, detectors = [75.0, 76.0, 77.0], [18.0, 19.5, 20.0]
    short, long = ([70.0, 71.0, 72.0], [10.0, 11.0, 12.0]), ([80.0, 81.0, 82.0], [20.0, 21.0, 22.0])
    matched = accuracy_matched(accuracy, detectors, {"short": short, "long": long})
    scratch = [14.0, 15.0, 15.5]
    effect = {i: detectors[i] - scratch[i] for i in range(3)}
    measured = {"accuracy_effect/kd": {i: effect[i] - matched.values[i] for i in range(3)}}
    control = Control("students of the same accuracy", "accuracy_effect/kd", "Accuracy alone.")
    found = against_control(
        control, effect, control_effect(control, measured), direction="greater", smallest_effect=S, unit="percent"
    )
    assert found.left.values == pytest.approx(matched.values)


def test_one_control_decides_for_all():
    yes, no, open_ = (
        outcome(left, NOTHING)
        for left in ({0: 7.0, 1: 8.0, 2: 9.0}, {0: 0.0, 1: 1.0, 2: 0.5}, {0: 0.0, 1: 9.0, 2: 1.0})
    )
    assert [survives_its_controls([one]) for one in (yes, no, open_)] == ["yes", "no", "open"]
    assert survives_its_controls([yes, open_, no]) == "no"
    assert survives_its_controls([open_, yes]) == "open"
    assert survives_its_controls([yes, yes]) == "yes"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: outcome({0: 1.0}, {0: 0.0}), "the control 'a shuffled teacher': 1 replicate has no interval"),
        (lambda: outcome({}, {0: 0.0}), "found no replicate in 'the claim's effect'"),
        (lambda: outcome({0: 1.0, 1: 2.0}, {0: 0.0, 2: 0.0}), "replicate 1 has 'the claim's effect' and not"),
        (lambda: outcome({0: 1.0, 1: math.nan}, {0: 0.0, 1: 0.0}), "the claim's effect' is nan in replicate 1"),
        (lambda: outcome(NOTHING, NOTHING, direction="up"), "unknown direction 'up'"),
        (lambda: outcome(NOTHING, NOTHING, smallest_effect=0.0), "smallest_effect must be .* greater than 0, not 0.0"),
        (lambda: control_effect(SHUFFLED, {}), "the control 'a shuffled teacher' lacks its measurement"),
        (lambda: survives_its_controls([]), "0 controls"),
        (lambda: replace(SHUFFLED, because=" "), "the control 'a shuffled teacher' has an empty because; write it"),
        (lambda: replace(SHUFFLED, minus=SHUFFLED.reads), "takes 'detectors/kd_shuffled' from itself"),
    ],
)
def test_what_cannot_be_judged_is_refused(call, message):
    with pytest.raises(KdlibError, match=message):
        call()
