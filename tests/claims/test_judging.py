"""A claim judged from paired replicates, from its table to its sentence."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from kdlib.claims import load_claims
from kdlib.claims.conditions import Conditions
from kdlib.claims.controls import Control
from kdlib.claims.gates import Gate
from kdlib.claims.judging import judge
from kdlib.claims.odds import log_odds
from kdlib.errors import KdlibError

CLAIM = replace(load_claims("han2023")["han2023.1b"], minimum_seeds=8)
TEACHER = Gate("at least", ("accuracy/teacher",), "A poor teacher has little to teach.", threshold=85.0)
PREMISE = Gate("premise", ("accuracy/kd",), "Who learnt no more shows nothing.", minus="accuracy/scratch")
SHUFFLED = Control("a shuffled teacher", "detectors/kd_shuffled", "No similarity.", "detectors/scratch")
CONDITIONS = Conditions((TEACHER, PREMISE), (SHUFFLED,))


def measured(n: int = 16, kd: float = 8.0, shuffled: float = 1.0, teacher: float = 95.0, **more):
    """Shares of 128 units, so that counts are whole: a base of some 54 %, raised by so many units of 128."""
    base = {i: 68.0 + i % 5 for i in range(n)}

    def raised(by: float) -> dict[int, float]:
        return {i: 100 * (base[i] + by + (i * 3) % 4) / 128 for i in base}

    found = {"detectors/scratch": raised(0.0), "detectors/kd": raised(kd), "detectors/kd_shuffled": raised(shuffled)}
    for arm, extra in (("detectors/kd", 1.0), ("detectors/kd_shuffled", 2.0)):
        found[arm] = {i: value + 100 * extra * (i % 3) / 128 for i, value in found[arm].items()}
    found["accuracy/teacher"] = {i: teacher + i % 2 for i in range(n)}
    found["accuracy/scratch"] = {i: 86.0 + i % 3 for i in range(n)}
    found["accuracy/kd"] = {i: 89.0 + i % 4 for i in range(n)}
    return {**found, **more}


def test_a_supported_claim_names_what_it_survives():
    found = judge(CLAIM, CONDITIONS, measured())
    assert (found.word, found.survives, found.needed, found.tested) == ("supported", "yes", None, True)
    assert found.sentence.startswith("Detectors, KD minus scratch: +6.98 percentage points")
    assert "; survives a shuffled teacher: beyond it" in found.sentence
    assert all(outcome.passed for outcome in found.gates) and len(found.gates) == 2


def test_a_control_that_does_as_much_is_told():
    found = judge(CLAIM, CONDITIONS, measured(shuffled=8.0))
    assert (found.word, found.survives) == ("supported", "no")
    assert "does not survive a shuffled teacher" in found.sentence


def test_a_failed_gate_is_no_test_and_takes_no_part_in_holm_s_correction():
    found = judge(CLAIM, CONDITIONS, measured(teacher=72.0))
    assert (found.word, found.survives, found.tested) == ("no test", "", False)
    assert "gate failed: accuracy of teacher, 72.50 % (72.22 to 72.78), is below 85 %" in found.sentence


def test_an_inconclusive_claim_says_how_many_replicates_would_decide():
    kd = {i: 56.0 + (12.0 if i % 2 else -9.0) for i in range(16)}
    found = judge(CLAIM, CONDITIONS, measured(**{"detectors/kd": kd}))
    assert found.word == "inconclusive" and found.needed is not None and found.needed > 16
    assert found.sentence.endswith(f"; about {found.needed} replicates would decide.")
    assert (found.survives, found.controls, found.tested) == ("", (), True)


def test_a_handful_of_replicates_gives_an_estimate_even_if_the_claim_asks_for_fewer():
    found = judge(replace(CLAIM, minimum_seeds=3), CONDITIONS, measured(n=7))
    assert (found.word, found.tested) == ("inconclusive", False)
    assert "an estimate: 7 replicates are too few, the claim asks for at least 8; about 8 replicates" in found.sentence


def test_one_replicate_alone_is_an_estimate_and_no_gate_is_evaluated():
    found = judge(CLAIM, CONDITIONS, measured(n=1, teacher=10.0))
    assert (found.word, found.gates, found.controls, found.needed, found.tested) == (
        "inconclusive",
        (),
        (),
        None,
        False,
    )
    assert math.isnan(found.interval.low) and found.interval.n == 1
    assert "in one replicate, which has no interval; an estimate: 1 replicate is too few" in found.sentence
    odds = judge(CLAIM, replace(CONDITIONS, smallest_odds_ratio=1.16), measured(n=1), units=128)
    assert ": odds ratio 1.29 in one replicate" in odds.sentence


def test_a_measure_at_its_floor_needs_no_number_of_replicates():
    nothing = dict.fromkeys(range(16), 0.0)
    found = judge(CLAIM, Conditions(), measured(**{"detectors/kd": nothing, "detectors/scratch": nothing}))
    assert (found.word, found.needed) == ("inconclusive", None)
    assert "would decide" not in found.sentence


class TestOdds:
    ODDS = replace(CONDITIONS, smallest_odds_ratio=1.16)

    def test_differences_are_in_log_odds_and_printed_as_a_ratio(self):
        values = measured()
        found = judge(CLAIM, self.ODDS, values, units=128)
        twin = [
            log_odds(values["detectors/kd"][i], 128) - log_odds(values["detectors/scratch"][i], 128) for i in range(16)
        ]
        assert found.interval.values == pytest.approx(twin)
        assert found.smallest_effect == pytest.approx(math.log(1.16))
        assert (found.word, found.survives, found.unit) == ("supported", "yes", "odds ratio")
        assert found.sentence.startswith("Detectors, KD minus scratch: odds ratio 1.3")
        assert "beyond it odds ratio" in found.sentence

    def test_an_effect_that_matters_at_a_low_base_is_not_lost_in_points(self):
        """From 2 to 3 of 128 units is less than a point, and half as many again."""
        low = {i: 100 * (2 + i % 2) / 128 for i in range(16)}
        high = {i: 100 * (3 + i % 2) / 128 for i in range(16)}
        values = {"detectors/kd": high, "detectors/scratch": low}
        points = judge(CLAIM, Conditions(), values)
        odds = judge(CLAIM, Conditions(smallest_odds_ratio=1.16), values, units=128)
        assert "though the effect is smaller than" in points.sentence
        assert odds.word == "supported" and "though" not in odds.sentence

    def test_without_the_number_of_units_it_is_refused(self):
        with pytest.raises(
            KdlibError, match=r"claim han2023\.1b has its effect in odds and units = None; say how many"
        ):
            judge(CLAIM, self.ODDS, measured())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "claim han2023.1b lacks its measurement 'detectors/kd'"),
        (
            {name: values for name, values in measured().items() if name != "accuracy/teacher"},
            "the gate 'at least' on 'accuracy/teacher' lacks its measurement",
        ),
        (measured(**{"detectors/kd": {0: 1.0}}), "claim han2023.1b: replicate 1 has 'detectors/scratch' and not"),
        (measured(**{"detectors/kd": {}}), "claim han2023.1b found no replicate in 'detectors/kd'"),
        (measured(**{"detectors/kd": dict.fromkeys(range(16), math.nan)}), "'detectors/kd' is nan in replicate 0"),
    ],
)
def test_what_was_not_measured_in_pairs_is_refused(values, message):
    with pytest.raises(KdlibError, match=message):
        judge(CLAIM, CONDITIONS, values)


def test_a_control_that_was_not_measured_leaves_a_supported_claim_open():
    values = measured()
    del values["detectors/kd_shuffled"]
    found = judge(CLAIM, CONDITIONS, values)
    assert (found.word, found.survives, found.controls[0].left) == ("supported", "open", None)
    assert "is open against a shuffled teacher, which was not or could not be measured" in found.sentence
