"""A verdict as it is filed: the judgement with its marks, and how it reads beside a claim."""

from __future__ import annotations

import datetime
import math
from dataclasses import replace

import pytest

from kdlib.claims import load_claims
from kdlib.claims.conditions import Conditions
from kdlib.claims.controls import Control
from kdlib.claims.gates import Gate
from kdlib.claims.judging import judge
from kdlib.claims.odds import log_odds
from kdlib.claims.verdicts import in_smallest_effects, measured_in_words, reach, without_conditions
from kdlib.errors import KdlibError
from kdlib.stats import paired_contrast

CLAIM = load_claims("han2023")["han2023.1b"]  # smallest effect 3.5, greater
TEACHER = Gate("at least", ("accuracy/teacher",), "A poor teacher has little to teach.", threshold=85.0)
SHUFFLED = Control("a shuffled teacher", "detectors/kd_shuffled", "No similarity.", "detectors/scratch")
KD, SCRATCH = [64.0 + i % 3 for i in range(8)], [50.0 + i % 2 for i in range(8)]
CONTRAST = paired_contrast(KD, SCRATCH, name=CLAIM.contrast_name)
MEASURED = {
    "detectors/kd": dict(enumerate(KD)),
    "detectors/scratch": dict(enumerate(SCRATCH)),
    "detectors/kd_shuffled": {i: 52.0 + i % 2 for i in range(8)},
    "accuracy/teacher": dict.fromkeys(range(8), 95.0),
}
UNITS = {"detectors/kd": 128, "detectors/scratch": 128, "detectors/kd_shuffled": 128}


def claim_with(**conditions):
    return replace(CLAIM, conditions=Conditions(**conditions))


def test_it_holds_what_the_judgement_says_and_the_contrast():
    claim = claim_with(gates=(TEACHER,), controls=(SHUFFLED,))
    found, judged = reach(claim, CONTRAST, MEASURED), judge(claim, claim.conditions, MEASURED)
    for key in ("word", "sentence", "interval", "unit", "smallest_effect", "needed", "survives", "tested"):
        assert getattr(found, key) == getattr(judged, key)
    assert (found.word, found.survives, found.contrast) == ("supported", "yes", CONTRAST)
    assert found.remarks == (f"{judged.controls[0].sentence}.",) and found.failed_gates == ()


def test_a_failed_gate_is_told_with_its_reason():
    poor = {**MEASURED, "accuracy/teacher": {i: 70.0 + i % 2 for i in range(8)}}
    found = reach(claim_with(gates=(TEACHER,)), CONTRAST, poor)
    assert (found.word, found.tested, found.would_decide) == ("no test", False, "")
    (remark,) = found.remarks
    assert remark.startswith("gate failed: accuracy of teacher, 70.50 %")
    assert remark.endswith("is below 85 %: A poor teacher has little to teach.")


def test_a_claim_added_after_its_result_is_marked():
    claim = claim_with(exploratory_since=datetime.date(2026, 11, 27), exploratory_why="Seen before.")
    assert reach(claim, CONTRAST, MEASURED).exploratory and not reach(CLAIM, CONTRAST, MEASURED).exploratory


class TestOdds:
    CLAIM = claim_with(controls=(SHUFFLED,), smallest_odds_ratio=1.16)

    def test_the_interval_is_in_log_odds_and_the_contrast_in_points(self):
        found = reach(self.CLAIM, CONTRAST, MEASURED, UNITS)
        twin = [log_odds(a, 128) - log_odds(b, 128) for a, b in zip(KD, SCRATCH, strict=True)]
        assert found.interval.values == pytest.approx(twin)
        assert found.contrast is CONTRAST and (found.unit, found.word) == ("odds ratio", "supported")
        mean, low, high = in_smallest_effects(self.CLAIM, found)
        assert mean == pytest.approx(sum(twin) / 8 / math.log(1.16)) and low < mean < high

    def test_both_are_told(self):
        text = measured_in_words(self.CLAIM, reach(self.CLAIM, CONTRAST, MEASURED, UNITS))
        assert text.startswith("+14.38 (+13.61 to +15.14) points of the layer's units; odds ratio 1.8")
        assert "odds" not in measured_in_words(CLAIM, reach(CLAIM, CONTRAST, MEASURED))

    def test_shares_of_different_layers_are_refused(self):
        with pytest.raises(KdlibError, match=r"different numbers of units \('detectors/kd' of 64, 'detectors/scratch'"):
            reach(self.CLAIM, CONTRAST, MEASURED, UNITS | {"detectors/kd": 64})

    def test_without_the_number_of_units_it_is_refused(self):
        with pytest.raises(KdlibError, match="units = None; say how many units"):
            reach(self.CLAIM, CONTRAST, MEASURED)


def test_one_replicate_is_an_estimate_without_interval_and_its_gates_are_not_evaluated():
    one = {name: {0: values[0]} for name, values in MEASURED.items()} | {"accuracy/teacher": {0: 10.0}}
    found = reach(claim_with(gates=(TEACHER,)), paired_contrast(KD[:1], SCRATCH[:1]), one)
    assert (found.word, found.has_interval, found.tested, found.remarks) == ("inconclusive", False, False, ())
    assert found.sentence == (
        "Detectors, KD minus scratch: +14 percentage points of the layer's units in one replicate, which has no "
        "interval; an estimate: 1 replicate is too few, the claim asks for at least 8."
    )
    assert in_smallest_effects(CLAIM, found)[0] == pytest.approx(14 / 3.5)
    assert (found.needed, found.would_decide) == (None, "")


def test_what_would_decide_is_said_of_open_claims_alone():
    wide = [50.0 + (9.0 if i % 2 else -8.0) for i in range(8)]
    open_ = reach(CLAIM, paired_contrast(wide, SCRATCH), MEASURED | {"detectors/kd": dict(enumerate(wide))})
    assert open_.would_decide == f"about {open_.needed} replicates would decide"
    same = reach(CLAIM, paired_contrast(SCRATCH, SCRATCH), MEASURED | {"detectors/kd": dict(enumerate(SCRATCH))})
    assert (same.word, same.would_decide) == ("inconclusive", "")
    assert reach(CLAIM, CONTRAST, MEASURED).would_decide == ""


def test_a_claim_of_less_is_turned():
    less = replace(CLAIM, direction="less")
    mean, low, high = in_smallest_effects(CLAIM, reach(CLAIM, CONTRAST, MEASURED))
    assert in_smallest_effects(less, reach(less, CONTRAST, MEASURED)) == pytest.approx((-mean, -high, -low))


class TestWithoutConditions:
    def test_it_is_the_verdict_of_a_claim_that_has_none(self):
        for values in (KD, SCRATCH, [50.0 + 3 * (-1) ** i for i in range(8)], KD[:3], KD[:1]):
            contrast = paired_contrast(values, SCRATCH[: len(values)])
            found = without_conditions(claim_with(gates=(TEACHER,)), contrast)
            measured = {"detectors/kd": dict(enumerate(values)), "detectors/scratch": MEASURED["detectors/scratch"]}
            if len(values) == 8:
                assert found == reach(CLAIM, contrast, measured)
            else:
                assert found.word == "inconclusive" and found.contrast is contrast
