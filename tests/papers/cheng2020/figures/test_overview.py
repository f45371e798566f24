"""Figures of the opening page on Cheng et al. 2020: they say what the records say, or nothing."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

from kdlib.claims import Record
from kdlib.papers.cheng2020.figures.overview import imitation, schedule


def accuracies(**arms: float) -> Record:
    record = Record("cheng2020_learning_dynamics", {"preset": "quick", "n_seeds": 3})
    for arm, base in arms.items():
        record.measure(f"accuracy/{arm}", {seed: base + seed for seed in range(3)}, "percent")
    return record


def test_the_accuracies_under_the_control_of_the_rates_are_the_records():
    drawn = schedule({}, [accuracies(student=30.0, baseline=40.0, baseline_slow=5.0)])
    assert drawn is not None
    figure, words = drawn
    assert "6.0 %" in words and "41.0 %" in words and "31.0 %" in words and "guessing" not in words
    assert "6.0 %" in figure.get_suptitle() and "3 seeds, preset quick" in figure.get_suptitle().replace("\n", " ")
    _, words = schedule({}, [accuracies(student=30.0, baseline=40.0, baseline_slow=5.0, guessing=4.0)]) or (None, "")
    assert "guessing on 5.0 %" in words


def test_without_the_control_there_is_no_figure():
    assert schedule({}, []) is None
    assert schedule({}, [accuracies(student=30.0, baseline=40.0)]) is None


def test_what_students_explain_is_told_by_layer_and_teacher():
    record = Record("cheng2020_visual_concepts", {"preset": "quick", "n_seeds": 3})
    assert imitation({}, []) is None and imitation({}, [record]) is None
    for place, layer in enumerate(("fc1", "fc2", "fc3")):
        for arm, base in {"student": 50, "self": 40, "random_teacher": -30}.items():
            record.measure(f"explained_{layer}/{arm}", {seed: base + place + seed for seed in range(3)}, "percent")
    figure, words = imitation({}, [record]) or (None, "")
    assert figure is not None and len(figure.axes) == 3
    assert "FC1: Student 51 % (50 to 52)" in words and "Student of an untrained teacher −27 % (−28 to −26)" in words
    assert figure.axes[2].get_title(loc="left") == "FC3: 53 %, 43 %, −27 % explained"
    assert max(axis.get_ylim()[1] for axis in figure.axes) < 104
