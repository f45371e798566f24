"""The verdict rule over a grid of intervals, against the rule written out a second way."""

from __future__ import annotations

import itertools
import math

import pytest

from kdlib.claims.gates import Gate, evaluate
from kdlib.claims.paired import TInterval, t_interval
from kdlib.claims.rule import (
    NO_TEST,
    OUTCOMES,
    RULE,
    WORDS,
    needed_in_words,
    rule_in_words,
    word_and_reason,
    word_of,
    would_decide,
)
from kdlib.errors import KdlibError

S = 3.5
BOUNDS = (-9.0, -S, -2.0, -0.1, 0.0, 0.1, 2.0, S, 9.0)
GATE = Gate("at least", ("accuracy/teacher",), "A poor teacher has little to teach.", threshold=85.0)
PASSED, FAILED = (evaluate(GATE, {"accuracy/teacher": {0: x, 1: x + 1}}) for x in (90.0, 70.0))


def interval(low: float, high: float, n: int = 16) -> TInterval:
    middle = (low + high) / 2
    return TInterval(middle, low, high, tuple(middle + i - (n - 1) / 2 for i in range(n)))


GRID = [
    interval(low, high, n) for low, high in itertools.product(BOUNDS, repeat=2) if low <= high for n in (2, 7, 8, 16)
]
GRID += [t_interval([value] * n, "x") for value in (0.0, 1.0, -20.0) for n in (3, 8)]


def word(found: TInterval, direction: str = "greater", **given) -> str:
    return word_and_reason(found, direction=direction, smallest_effect=S, unit="percent", **given)[0]


def reason(found: TInterval, direction: str = "greater", **given) -> str:
    return word_and_reason(found, direction=direction, smallest_effect=S, unit="percent", **given)[1]


def twin(found: TInterval, direction: str, minimum: int) -> str:
    """Slow twin: which effects, of all on a fine grid, does the interval leave possible?"""
    if found.n < minimum or set(found.values) == {0.0}:
        return "inconclusive"
    sign = 1 if direction == "greater" else -1
    possible = {sign * found.low, sign * found.high}
    possible |= {sign * x / 10 for x in range(-200, 201) if found.low <= x / 10 <= found.high}
    if all(effect > 0 for effect in possible):
        return "supported"
    if all(effect < 0 for effect in possible):
        return "contradicted"
    return "not supported" if all(abs(effect) <= S for effect in possible) else "inconclusive"


@pytest.mark.parametrize("direction", ["greater", "less"])
@pytest.mark.parametrize("minimum", [2, 8])
def test_over_the_grid_the_word_is_the_twins(direction, minimum):
    seen = set()
    for found in GRID:
        assert word(found, direction, minimum_replicates=minimum) == twin(found, direction, minimum), found
        seen.add(twin(found, direction, minimum))
    assert seen == set(WORDS) - {NO_TEST}


def test_the_rule_without_gates_needs_no_claim():
    for found in GRID:
        given = word_of(found.values, (found.low, found.high), direction="less", smallest_effect=S, minimum_seeds=8)
        assert given == word(found, "less"), found
    assert word_of([1.0], (math.nan, math.nan), direction="greater", smallest_effect=S, minimum_seeds=1) == (
        "inconclusive"
    )


def test_zero_itself_is_on_neither_side():
    assert word(interval(0.0, 9.0)) == "inconclusive"
    assert word(interval(0.0, S)) == "not supported"


def test_a_larger_smallest_effect_never_undoes_not_supported():
    for found in GRID:
        if word(found) == "not supported":
            again = word_and_reason(found, direction="greater", smallest_effect=2 * S, unit="percent")
            assert again[0] == "not supported"


def test_the_opposite_claim_swaps_supported_and_contradicted():
    swapped = {"supported": "contradicted", "contradicted": "supported"}
    for found in GRID:
        there = word(found)
        assert word(found, "less") == swapped.get(there, there)


def test_a_failed_gate_is_no_test_whatever_the_contrast():
    for found in GRID:
        assert word(found, gates=[PASSED, FAILED]) == NO_TEST
        assert word(found, gates=[PASSED]) == word(found)
    assert reason(GRID[0], gates=[FAILED, PASSED, FAILED]) == f"{FAILED.sentence}; {FAILED.sentence}"


def test_few_replicates_give_an_estimate_however_large_the_effect():
    found = t_interval([90.0, 90.5, 89.5, 90.2, 90.1, 90.0, 90.3], "x")
    assert (word(found), word(found, minimum_replicates=7)) == ("inconclusive", "supported")
    assert reason(found) == "an estimate: 7 replicates are too few, the claim asks for at least 8"


def test_equal_differences_are_taken_as_they_are_with_a_warning():
    assert word(t_interval([1.0] * 8, "x")) == "supported"
    assert reason(t_interval([1.0] * 8, "x")).endswith("check that they differ")
    assert word(t_interval([0.0] * 8, "x")) == "inconclusive"
    assert "at its floor or ceiling" in reason(t_interval([0.0] * 8, "x"))
    # rounding is no spread
    assert "check that they differ" in reason(t_interval([0.3 - 0.2, 0.4 - 0.3] * 4, "x"))


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.1, 2.0, "the interval lies on the claimed side of zero, though the effect is smaller than the 3.5"),
        (0.1, 9.0, "the interval lies on the claimed side of zero"),
        (-2.0, -0.1, "opposite to the claimed one, though the effect is smaller than the 3.5"),
        (-2.0, 2.0, "the interval excludes an effect larger than the 3.5 percentage points that would matter"),
        (-9.0, 2.0, "excludes the 3.5 percentage points that would matter on the claimed side, but not"),
        (-2.0, 9.0, "possible both no effect and the 3.5 percentage points that would matter on the claimed side"),
        (-9.0, 9.0, "possible both no effect and the 3.5 percentage points that would matter on either side"),
    ],
)
def test_reasons_say_which_effects_stay_possible(low, high, text):
    assert text in reason(interval(low, high))
    assert text in reason(interval(-high, -low), "less")


class TestReplicatesThatWouldDecide:
    def test_an_inconclusive_interval_needs_more_than_it_has(self):
        for n in (8, 16):
            found = t_interval([(-8.0 if i % 2 else 9.0) for i in range(n)], "x")
            assert word(found) == "inconclusive"
            needed = would_decide(found, S)
            assert needed is not None and needed > n
            more = t_interval([(-8.0 if i % 2 else 9.0) for i in range(2 * needed)], "x")  # the same mean and spread
            assert word(more) != "inconclusive"

    def test_never_fewer_than_the_rule_asks_for(self):
        assert would_decide(t_interval([5.0, 5.1, 5.2], "x"), S) == 8

    def test_a_measure_at_its_floor_stays_there(self):
        assert would_decide(t_interval([0.0, 0.0, 0.0], "x"), S) is None

    def test_in_words(self):
        assert needed_in_words(1234) == "about 1,234 replicates would decide"


def test_every_word_is_explained_to_readers():
    assert set(RULE) == set(WORDS) and len(WORDS) == 5 and set(WORDS) - set(OUTCOMES) == {NO_TEST}
    assert all(f"*{word}* if {RULE[word]}" in rule_in_words() for word in WORDS)
    for what in (
        "Student's t",
        "gate",
        "survives its controls",
        "Holm",
        "exploratory",
        "odds ratio",
        "replicates would decide",
    ):
        assert what in rule_in_words()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"direction": "up"}, "unknown direction 'up'"),
        ({"smallest_effect": 0.0}, "smallest_effect must be a finite number greater than 0, not 0.0"),
        ({"smallest_effect": float("nan")}, "not nan"),
        ({"minimum_replicates": 1}, "minimum_replicates must be a whole number of at least 2, not 1"),
    ],
)
def test_what_is_no_rule_is_refused(given, message):
    with pytest.raises(KdlibError, match=message):
        word_and_reason(GRID[0], **{"direction": "greater", "smallest_effect": S, "unit": "percent", **given})
