"""Gates, controls and marks read from a claim's table."""

from __future__ import annotations

import datetime
import tomllib

import pytest

from kdlib.claims.claim import Claim
from kdlib.claims.conditions import KEYS, Conditions, read_conditions, read_control, read_gate
from kdlib.claims.controls import Control
from kdlib.claims.gates import Gate
from kdlib.errors import KdlibError

FILE = """
[gate.good_teacher]
kind = "at least"
reads = "accuracy/teacher"
threshold = 85
subject = "the teacher's accuracy"
sentence = "A poor teacher has little to teach."

[control.shuffled]
name = "a shuffled teacher"
reads = "detectors/kd_shuffled"
minus = "detectors/scratch"
because = "It has no similarity of classes."

[claim]
id = "han2023.1b"
gates = [
    "good_teacher",
    { kind = "off floor and ceiling", reads = ["detectors/kd", "detectors/scratch"], threshold = 80, floor = 5, \
ceiling = 95, unit = "percent of units", sentence = "At a bound nothing can be told." },
]
controls = ["shuffled", { name = "equal accuracy", reads = "matched/kd", because = "Accuracy alone." }]
effect_in = "odds"
smallest_odds_ratio = 1.16
exploratory = true
exploratory_since = 2026-11-27
exploratory_why = "Added after the detectors had been seen."
"""
CONTENT = tomllib.loads(FILE)
GATES = {name: read_gate(table, f"[gate.{name}]") for name, table in CONTENT["gate"].items()}
CONTROLS = {name: read_control(table, f"[control.{name}]") for name, table in CONTENT["control"].items()}


def read(**changed) -> Conditions:
    table = {key: value for key, value in {**CONTENT["claim"], **changed}.items() if value is not None}
    return read_conditions(table, "claim 1b", GATES, CONTROLS)


def test_a_table_with_everything():
    found = read()
    assert found.gates == (
        Gate(
            "at least",
            ("accuracy/teacher",),
            "A poor teacher has little to teach.",
            threshold=85,
            subject="the teacher's accuracy",
        ),
        Gate(
            "off floor and ceiling",
            ("detectors/kd", "detectors/scratch"),
            "At a bound nothing can be told.",
            threshold=80,
            floor=5,
            ceiling=95,
            unit="percent of units",
        ),
    )
    assert found.controls[0] == CONTROLS["shuffled"]
    assert found.controls[1] == Control("equal accuracy", "matched/kd", "Accuracy alone.")
    assert found.smallest_odds_ratio == 1.16
    assert (found.exploratory, found.exploratory_since) == (True, datetime.date(2026, 11, 27))


def test_a_claim_of_today_has_no_conditions():
    assert read_conditions({"id": "han2023.1b"}, "claim 1b") == Conditions()


def test_no_key_is_one_that_a_claim_has_already():
    assert not set(KEYS) & set(Claim.__dataclass_fields__)


def gate_table(**changed) -> dict:
    table = {**CONTENT["gate"]["good_teacher"], **changed}
    return {key: value for key, value in table.items() if value is not None}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("good", "gate 1 must be a table of keys and values, not 'good'"),
        (gate_table(kind="at last"), "gate 1: unknown kind of gate 'at last'; did you mean 'at least'"),
        (gate_table(threshold=None), "gate 1: the gate 'at least' on 'accuracy/teacher' lacks its threshold; add it"),
        (gate_table(threshold="85"), "gate 1: threshold of .* must be a finite number, not '85'"),
        (gate_table(treshold=85), "unknown key of gate 1 'treshold'; did you mean 'threshold'"),
        (gate_table(sentence=None, kind=None), "gate 1 lacks kind, sentence; add what is missing"),
        (gate_table(sentence=" "), "sentence of gate 1 must be a text, not ' '"),
        (gate_table(reads=[1]), "reads number 1 of gate 1 must be a text, not 1"),
        (gate_table(reads=[]), "gate 1: the gate 'at least' on '' must read one measurement, not 0"),
        (gate_table(kind=["at least"]), "kind of gate 1 must be a text, not"),
    ],
)
def test_a_gate_that_cannot_be_read_is_refused(table, message):
    with pytest.raises(KdlibError, match=message):
        read_gate(table, "gate 1")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"gates": "good_teacher"}, "gates of claim 1b must be a list of tables and names, not 'good_teacher'"),
        ({"gates": ["god_teacher"]}, "unknown gate of claim 1b 'god_teacher'; did you mean 'good_teacher'"),
        ({"gates": [{}]}, "gate 1 of claim 1b lacks kind, reads, sentence"),
        ({"controls": ["x"]}, "unknown control of claim 1b 'x'"),
        ({"controls": [{"name": "x", "reads": "m/a"}]}, "control 1 of claim 1b lacks because"),
        (
            {"controls": [{"name": "x", "reads": 3, "because": "y"}]},
            "reads of control 1 of claim 1b must be a text, not 3",
        ),
        ({"effect_in": "ods"}, "unknown effect_in of claim 1b 'ods'; did you mean 'odds'"),
        (
            {"smallest_odds_ratio": None},
            "effect_in = 'odds' and smallest_odds_ratio = None; an effect in odds needs both",
        ),
        ({"effect_in": None}, "effect_in = 'difference' and smallest_odds_ratio = 1.16"),
        (
            {"smallest_odds_ratio": 0.9},
            "smallest_odds_ratio of claim 1b must be a finite number greater than 1, not 0.9",
        ),
        ({"exploratory": "yes"}, "exploratory of claim 1b must be true or false, not 'yes'"),
        ({"exploratory": False}, "says since when or why it is exploratory, and exploratory = False; make it true"),
        ({"exploratory_since": None}, "exploratory_since of claim 1b must be a day like 2026-11-27, not None"),
        ({"exploratory_since": "yesterday"}, "must be a day like 2026-11-27, not 'yesterday'"),
        ({"exploratory_why": None}, "exploratory_why of claim 1b must be a text, not ''"),
    ],
)
def test_conditions_that_cannot_be_read_are_refused(changed, message):
    with pytest.raises(KdlibError, match=message):
        read(**changed)
