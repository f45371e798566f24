"""The temperature explorer's Python side: state, numbers told, bad input."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from kdlib.distill.kd import kd_loss
from kdlib.errors import KdlibError
from kdlib.widgets import temperature_explorer
from kdlib.widgets.temperature_explorer import TEMPERATURES


def build(**changes):
    arguments = {
        "images": torch.zeros(2, 1, 8, 8, dtype=torch.uint8),
        "labels": [0, 2],
        "teacher_logits": torch.tensor([[3.0, 1.0, 0.0], [0.0, 1.0, 3.0]]),
        "student_logits": {"scratch": torch.zeros(2, 3), "kd": torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])},
        "class_names": ["cat", "dog", "car"],
        "superclass_names": ["animal", "vehicle"],
        "superclass_of": [0, 0, 1],
    }
    return temperature_explorer(**{**arguments, **changes})


def test_the_logits_reach_the_browser_digit_by_digit():
    logits = torch.randn(2, 3)
    widget = build(teacher_logits=logits)
    assert torch.equal(torch.tensor(widget.teacher_logits), logits)
    assert widget.student == "kd" and widget.temperature == 4.0 and widget.image == 0


def test_the_divergence_is_that_of_the_kd_loss(temperature):
    for temperature.temperature in (0.5, 1.0, 8.0):
        for temperature.image in (0, 3):
            i, t = temperature.image, temperature.temperature
            student = torch.tensor(temperature.student_logits[temperature.student], dtype=torch.float64)[i : i + 1]
            teacher = torch.tensor(temperature.teacher_logits, dtype=torch.float64)[i : i + 1]
            expected = float(kd_loss(student, teacher, t))
            assert t * t * temperature.divergence() == pytest.approx(expected, rel=1e-9)


def test_by_hand_two_equal_logits_give_half_each_and_ln2():
    widget = build(
        teacher_logits=torch.zeros(2, 2), student_logits={"mine": torch.tensor([[1.0, 0.0]] * 2)},
        class_names=["a", "b"], superclass_names=["x"], superclass_of=[0, 0], labels=[0, 1], temperature=1.0,
    )  # fmt: skip
    q = math.e / (1 + math.e)
    assert widget.probabilities().tolist() == [0.5, 0.5]
    assert widget.divergence() == pytest.approx(0.5 * math.log(0.5 / q) + 0.5 * math.log(0.5 / (1 - q)))


def test_the_steps_go_from_a_half_to_twenty_nearly_evenly_in_log():
    steps = [math.log(b / a) for a, b in itertools.pairwise(TEMPERATURES)]
    assert (TEMPERATURES[0], TEMPERATURES[-1]) == (0.5, 20.0)
    assert min(steps) > 0.08 and max(steps) < 0.25 and {1.0, 2.0, 4.0, 8.0} <= set(TEMPERATURES)


def test_with_many_classes_the_likeliest_twenty_and_the_true_one_are_shown():
    teacher = torch.arange(100.0).repeat(1, 1)
    widget = build(
        images=torch.zeros(1, 3, 8, 8, dtype=torch.uint8), labels=[5], teacher_logits=teacher,
        student_logits={"kd": teacher}, class_names=[f"c{i}" for i in range(100)], superclass_names=["all"],
        superclass_of=[0] * 100,
    )  # fmt: skip
    assert sorted(widget.shown_classes()) == [5, *range(80, 100)]
    assert widget.draw().axes[0].get_yticklabels()[0].get_text() == "c5"


def test_the_same_content_has_the_same_key_and_other_content_another():
    assert build().static_key == build().static_key != build(labels=[1, 2]).static_key


def test_the_state_is_small(temperature):
    assert sum(len(repr(value)) for value in temperature.get_state().values()) < 400_000


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"images": torch.zeros(2, 1, 8, 8)}, "images must be a uint8 tensor"),
        ({"images": torch.zeros(2, 2, 8, 8, dtype=torch.uint8)}, "must have 1 or 3 channels to be shown, not 2"),
        ({"labels": [0]}, "labels must be 2, one per image"),
        ({"labels": [0, 3]}, "label 3 has no name"),
        ({"labels": [-1, 0]}, "label -1 has no name"),
        ({"teacher_logits": torch.zeros(2, 4)}, r"logits of 'teacher' must have shape \(2, 3\)"),
        ({"teacher_logits": torch.full((2, 3), math.nan)}, "logits of 'teacher' hold values that are not finite"),
        ({"student_logits": {}}, "holds no student"),
        ({"student_logits": {"kd": torch.zeros(3, 3)}}, "logits of 'kd' must have shape"),
        ({"superclass_of": [0, 0, 2]}, "superclass_of must give each of the 3 classes an index below 2"),
        ({"temperature": 40.0}, "temperature must be a number from 0.5 to 20, not 40.0"),
        ({"student": "kdd"}, "unknown student 'kdd'; did you mean 'kd'?"),
    ],
)
def test_bad_input_gets_one_clear_sentence(changes, sentence):
    with pytest.raises(KdlibError, match=sentence):
        build(**changes)


@pytest.mark.parametrize(("trait", "value"), [("image", 12), ("student", "nobody"), ("temperature", 0.0)])
def test_a_choice_that_does_not_exist_is_refused(temperature, trait, value):
    with pytest.raises(KdlibError):
        setattr(temperature, trait, value)
