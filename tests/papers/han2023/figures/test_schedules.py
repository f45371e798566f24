"""Detectors against accuracy beside students from scratch of several lengths: who is above their line."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest

from kdlib.papers.han2023.figures.schedules import against_schedules, draw_schedules
from kdlib.stats import student_interval

SCHEDULES = ("scratch_7", "scratch", "scratch_28")
ACCURACIES = {"scratch_7": [69.0, 71.0], "scratch": [79.0, 81.0], "scratch_28": [89.0, 91.0]}
PERCENT = {"scratch_7": [29.0, 31.0], "scratch": [49.0, 51.0], "scratch_28": [39.0, 41.0]}
# On the line stands 40 at 75 and 45 at 85; at 95 there is no line.
ACCURACIES |= {"kd": [74.0, 76.0], "at": [84.0, 86.0], "ft": [94.0, 96.0]}
PERCENT |= {"kd": [41.0, 43.0], "at": [43.0, 44.0], "ft": [60.0, 62.0]}
STUDENTS = ("scratch", "kd", "at", "ft")


def test_the_title_counts_who_is_above_the_line_and_who_beyond_it():
    words = draw_schedules(ACCURACIES, PERCENT, STUDENTS, SCHEDULES)
    title = plt.gcf().get_suptitle().replace("\n", " ")
    assert title == "1 of 2 kinds of student lie above the line of scratch; 1 lie beyond its ends"
    assert "Distilled (KD) 75.0 % right, 42.0 %" in words


def test_the_line_goes_through_the_schedules_means_by_their_accuracy():
    _, axis = plt.subplots()
    against_schedules(ACCURACIES, PERCENT, STUDENTS, SCHEDULES[::-1], axis)
    line = axis.lines[0]
    assert list(line.get_xdata()) == [70.0, 80.0, 90.0]
    assert list(line.get_ydata()) == [30.0, 50.0, 40.0]


def test_every_student_and_schedule_has_its_means_with_intervals():
    _, axis = plt.subplots()
    against_schedules(ACCURACIES, PERCENT, STUDENTS, SCHEDULES, axis)
    names = [text.get_text() for text in axis.get_legend().get_texts()]
    assert names == ["Scratch, other lengths", "Scratch", "Distilled (KD)", "AT", "FT"]
    for cross, arm in zip(axis.containers, (*SCHEDULES, *STUDENTS), strict=True):
        across, upright = cross.lines[2]
        assert sorted(across.get_segments()[0][:, 0]) == pytest.approx(list(student_interval(ACCURACIES[arm])))
        assert sorted(upright.get_segments()[0][:, 1]) == pytest.approx(list(student_interval(PERCENT[arm])))


def test_one_replicate_has_no_interval():
    _, axis = plt.subplots()
    one = {arm: values[:1] for arm, values in ACCURACIES.items()}
    against_schedules(one, one, STUDENTS, SCHEDULES, axis)
    assert not any(cross.has_xerr or cross.has_yerr for cross in axis.containers)
