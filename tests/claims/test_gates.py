"""Gates: each kind against the condition written out a second way, and the failures that are known on file."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest
from scipy import stats

from kdlib.claims.gates import KINDS, OFF_BOUNDS, Gate, evaluate
from kdlib.errors import KdlibError

WHY = "Without it the contrast says nothing."
THRESHOLD = 2.0
TRIPLES = [dict(enumerate(values)) for values in itertools.product((-4.0, 0.0, 2.0, 5.0), repeat=3)]


def gate(kind: str, **given) -> Gate:
    return Gate(kind, given.pop("reads", ("accuracy/kd",)), WHY, **given)


def passes(kind: str, values: list[float]) -> bool:
    """Slow twin on differences or levels: a one-sided t test at 2.5 % is an interval of 95 % beside 0."""
    if kind == "at least":
        return sum(values) >= THRESHOLD * len(values)
    if kind == "at most":
        return sum(values) <= THRESHOLD * len(values)
    side = -1 if kind == "below" else 1
    turned = [side * value for value in values]
    if statistics.stdev(values) == 0:
        return turned[0] > 0
    return stats.ttest_1samp(turned, 0, alternative="greater").pvalue < 0.025


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != OFF_BOUNDS])
def test_each_kind_passes_where_its_condition_holds(kind):
    needs_threshold = "threshold" in KINDS[kind][0]
    one = gate(kind, minus="accuracy/scratch", **({"threshold": THRESHOLD} if needs_threshold else {}))
    seen = set()
    for values in TRIPLES:
        measured = {"accuracy/scratch": dict.fromkeys(range(3), 50.0)}
        measured["accuracy/kd"] = {replicate: 50.0 + value for replicate, value in values.items()}
        outcome = evaluate(one, measured)
        assert outcome.passed == passes(kind, list(values.values())), values
        assert outcome.sentence.startswith("gate passed: " if outcome.passed else "gate failed: ")
        seen.add(outcome.passed)
    assert seen == {True, False}


def test_above_and_below_are_mirrors():
    for values in TRIPLES:
        measured = {"accuracy/kd": values, "accuracy/scratch": dict.fromkeys(range(3), 1.0)}
        there = evaluate(gate("above", minus="accuracy/scratch"), measured)
        back = evaluate(gate("below", reads=("accuracy/scratch",), minus="accuracy/kd"), measured)
        assert there.passed == back.passed


class TestOffBounds:
    def outcome(self, *arms, **given):
        measured = {f"scene_detectors/{place}": dict(enumerate(values)) for place, values in enumerate(arms)}
        return evaluate(gate(OFF_BOUNDS, reads=tuple(measured), unit="percent of units", **given), measured)

    def test_against_counting_one_by_one(self):
        for a, b in itertools.product(itertools.product((0.0, 3.0, 99.0), repeat=3), repeat=2):
            off = sum(not (x <= 1 and y <= 1) and not (x >= 98 and y >= 98) for x, y in zip(a, b, strict=True))
            found = self.outcome(a, b, threshold=60.0, floor=1.0, ceiling=98.0)
            assert found.passed == (off >= 2)
            assert found.measured.mean == pytest.approx(100 * off / 3)

    def test_an_arm_at_its_floor_beside_one_that_is_not_can_be_told_apart(self):
        assert self.outcome((0.0, 0.0), (30.0, 31.0), threshold=100.0, floor=0.0).passed

    def test_one_arm_at_the_floor_and_one_at_the_ceiling_differ_most(self):
        assert self.outcome((0.0, 0.0), (100.0, 100.0), threshold=100.0, floor=0.0, ceiling=100.0).passed

    def test_the_sentence_counts(self):
        found = self.outcome((0.0, 0.0, 1.5, 0.0), (0.0, 0.0, 0.0, 0.0), threshold=80.0, floor=0.0)
        assert found.sentence == (
            "gate failed: scene detectors of 0 and scene detectors of 1: off the floor of 0 % of units in 1 of 4 "
            "replicates, where 80 % of them are asked for"
        )

    def test_arms_of_other_replicates_are_refused(self):
        with pytest.raises(KdlibError, match="replicate 1 has 'scene_detectors/0' and not 'scene_detectors/1'"):
            self.outcome((0.0, 1.0), (0.0,), threshold=80.0, floor=0.0)


class TestSentences:
    def sentence(self, one, values):
        return evaluate(one, {"accuracy/kd": dict(enumerate(values)), "accuracy/scratch": {0: 86.0, 1: 86.0}}).sentence

    def test_a_premise_that_is_open_is_not_called_false(self):
        premise = gate("premise", minus="accuracy/scratch", subject="KD's gain in accuracy")
        assert self.sentence(premise, [86.0, 87.0]).endswith("is not shown to be above 0")
        assert self.sentence(premise, [85.0, 85.01]).endswith("is below 0")
        assert self.sentence(premise, [87.0, 87.01]).startswith("gate passed: KD's gain in accuracy, +1.0")

    def test_equal_differences_decide_by_their_one_value(self):
        premise = gate("premise", minus="accuracy/scratch")
        assert "+1.0 percentage points (+1.0 to +1.0), is above 0" in self.sentence(premise, [87.0, 87.0])
        assert self.sentence(premise, [86.0, 86.0]).endswith(
            "0.0 percentage points (0.0 to 0.0), is not shown to be above 0"
        )

    def test_thresholds_of_levels_and_differences(self):
        assert self.sentence(gate("at most", threshold=80.0), [86.0, 87.0]).endswith(", is above 80 %")
        assert self.sentence(gate("at most", threshold=86.5), [86.0, 87.0]).endswith(", is at most 86.5 %")
        above_guessing = gate("at least", threshold=10.0, minus="accuracy/scratch")
        assert self.sentence(above_guessing, [86.0, 87.0]).endswith(", is below 10 percentage points")


class TestMeasurements:
    @pytest.mark.parametrize(
        ("measured", "message"),
        [
            ({}, "the gate 'at least' on 'accuracy/kd' lacks its measurement 'accuracy/kd'; measure it in every"),
            ({"accuracy/kd": {}}, "found no replicate in 'accuracy/kd'"),
            ({"accuracy/kd": {0: 90.0}}, "1 replicate has no interval; measure at least two"),
            ({"accuracy/kd": {0: 90.0, 1: math.nan}}, "'accuracy/kd' is nan in replicate 1"),
        ],
    )
    def test_a_gate_that_was_not_measured_has_not_passed(self, measured, message):
        with pytest.raises(KdlibError, match=message):
            evaluate(gate("at least", threshold=85.0), measured)

    def test_unpaired_replicates_are_refused(self):
        measured = {"accuracy/kd": {0: 1.0, 1: 2.0}, "accuracy/scratch": {0: 1.0, 2: 2.0}}
        with pytest.raises(KdlibError, match="replicate 1 has 'accuracy/kd' and not 'accuracy/scratch'"):
            evaluate(gate("premise", minus="accuracy/scratch"), measured)


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("at last", {}, "unknown kind of gate 'at last'; did you mean 'at least'"),
        ("at least", {}, "the gate 'at least' on 'accuracy/kd' lacks its threshold; add it"),
        ("at least", {"threshold": math.nan}, "threshold of the gate .* must be a finite number, not nan"),
        ("at least", {"threshold": 1.0, "floor": 0.0}, "has no use for floor = 0.0; leave it out"),
        ("premise", {}, "lacks its minus; add it"),
        ("premise", {"minus": "accuracy/kd"}, "takes 'accuracy/kd' from itself; name another"),
        (
            "premise",
            {"minus": "x/y", "reads": ("detectors/kd",)},
            "compares accuracies, not detectors; use the kind 'above'",
        ),
        ("above untrained", {"minus": "x/y", "threshold": 1.0}, "has no use for threshold = 1.0"),
        ("above", {"minus": "x/y", "reads": ("a/b", "c/d")}, "must read one measurement, not 2"),
        ("above", {"minus": "x/y", "reads": ()}, "must read one measurement, not 0"),
        (OFF_BOUNDS, {"threshold": 80.0, "floor": 0.0, "reads": ()}, "must read at least one measurement, not 0"),
        (OFF_BOUNDS, {"threshold": 80.0}, "has neither floor nor ceiling; give at least one"),
        (OFF_BOUNDS, {"threshold": 180.0, "floor": 0.0}, "at most 100, not 180.0"),
        (OFF_BOUNDS, {"threshold": 80.0, "floor": 5.0, "ceiling": 5.0}, "its floor 5 not below its ceiling 5"),
    ],
)
def test_a_gate_that_cannot_be_read_is_refused(kind, given, message):
    with pytest.raises(KdlibError, match=message):
        gate(kind, **given)


# What an audit of the results on file found: each must come out by a gate, not by hand. The numbers are those on file,
# but for 7e, 7g and 7k, where the audit gives one number in words and the spread is ours.
KNOWN = {
    "2c: the baseline at the student's rates has learnt nothing": (
        gate("at least", reads=("accuracy/baseline_slow",), minus="accuracy/guessing", threshold=10.0),
        {"accuracy/baseline_slow": {0: 5.0, 1: 7.8, 2: 4.6}, "accuracy/guessing": {0: 5.0, 1: 5.0, 2: 5.0}},
    ),
    "3b: the targets of label smoothing are themselves at chance": (
        gate("at least", reads=("ratio/ls_targets",), minus="ratio/scratch", threshold=-2.0),
        {"ratio/ls_targets": dict.fromkeys(range(3), 300 / 19), "ratio/scratch": {0: 71.5, 1: 73.0, 2: 72.2}},
    ),
    "4c: no scene detectors anywhere": (
        gate(OFF_BOUNDS, reads=("scene/ls", "scene/scratch"), threshold=80.0, floor=0.0),
        {"scene/ls": {0: 0.0, 1: 0.0, 2: 0.0}, "scene/scratch": {0: 0.0, 1: 0.0, 2: 0.0}},
    ),
    "7e: an empty map scores as the teacher's": (
        gate("above", reads=("five_band_accuracy/teacher",), minus="five_band_accuracy/empty_map"),
        {"five_band_accuracy/teacher": {0: 87.1, 1: 86.9}, "five_band_accuracy/empty_map": {0: 87.6, 1: 87.6}},
    ),
    "7g: an untrained network beats every student": (
        gate("above untrained", reads=("diffroar/kd",), minus="diffroar/untrained"),
        {"diffroar/kd": {0: 10.0, 1: 16.3, 2: 15.8}, "diffroar/untrained": {0: 17.5, 1: 18.1, 2: 18.0}},
    ),
    "7k: hardly any detectors": (
        gate(OFF_BOUNDS, reads=("detectors/kd", "detectors/scratch"), threshold=80.0, floor=5.0),
        {"detectors/kd": {0: 2.0, 1: 1.6, 2: 2.3}, "detectors/scratch": {0: 2.3, 1: 1.6, 2: 2.0}},
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_failures_known_on_file_come_out_by_rule(name):
    assert not evaluate(*KNOWN[name]).passed
