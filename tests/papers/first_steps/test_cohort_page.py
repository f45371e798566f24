"""The cohort's chapter says what is on file, down to nothing, and its numbers are those of the files."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
from cohort_files import write_cohort

from kdlib.claims import all_claims
from kdlib.claims.paired import t_interval
from kdlib.cohort import premise
from kdlib.cohort.cohort import Cohort
from kdlib.cohort.protocol import read_protocol
from kdlib.errors import KdlibError
from kdlib.papers.first_steps import cohort_numbers as numbers
from kdlib.papers.first_steps import cohort_words as words
from kdlib.papers.first_steps.cohort_figures import dots_and_intervals, rows_in_words
from kdlib.widgets import seed_lottery

POPULATION = read_protocol().population("concept_world")
#: Gains over scratch: KD at T = 4 +3, +2, +4, +3; KD none on average; the shuffled control lacks two replicates.
MEASURED = {
    "teacher": {0: 96.0, 1: 95.0, 2: 97.0, 3: 96.0},
    "scratch": {0: 85.0, 1: 82.0, 2: 87.0, 3: 83.0},
    "kd": {0: 86.0, 1: 81.0, 2: 88.0, 3: 82.0},
    "kd_t4": {0: 88.0, 1: 84.0, 2: 91.0, 3: 86.0},
    "kd_t4_shuffled": {0: 86.0, 1: 82.5},
    "deeper_scratch": {0: 90.0, 1: 90.0},
    "deeper_kd": {0: 91.0, 1: 92.0},
}


@pytest.fixture
def folder(tmp_path):
    write_cohort(tmp_path / "concept_world", POPULATION, MEASURED)
    return tmp_path


@pytest.fixture
def cohort(folder) -> Cohort:
    found = numbers.on_file("concept_world", "cpu", folder)
    assert found is not None
    return found


class TestNumbers:
    def test_accuracies_are_those_on_file_of_the_first_replicates(self, cohort):
        found = numbers.accuracies(cohort)
        assert found.keys() == MEASURED.keys()
        for arm, values in MEASURED.items():
            assert found[arm] == pytest.approx(values)
        assert all(
            set(values) == {0, 1, 2} & set(MEASURED[arm]) for arm, values in numbers.accuracies(cohort, 3).items()
        )

    def test_a_gain_is_taken_within_replicates_over_the_same_network_by_labels_alone(self):
        found = numbers.gains(POPULATION, MEASURED)
        assert found["kd_t4"] == {0: 3.0, 1: 2.0, 2: 4.0, 3: 3.0}
        assert found["kd_t4_shuffled"] == {0: 1.0, 1: 0.5}  # the replicates that both have
        assert found["deeper_kd"] == {0: 1.0, 1: 2.0}
        assert {"scratch", "deeper_scratch", "teacher"}.isdisjoint(found)

    def test_a_student_without_its_baseline_has_no_gain(self):
        assert numbers.gains(POPULATION, {"kd": {0: 80.0}, "deeper_kd": {0: 80.0}, "scratch": {1: 80.0}}) == {}

    def test_every_arm_stands_in_one_group(self):
        found = numbers.groups(POPULATION, tuple(POPULATION.arms))
        assert sorted(arm for arms in found.values() for arm in arms) == sorted(POPULATION.arms)

    def test_the_premise_s_gains_are_those_of_its_table(self):
        judged = premise.read_results()
        found = numbers.premise_rows(judged)
        for row in judged:
            if row["arm"] not in ("teacher", "scratch"):
                scratch = next(r for r in judged if (r["candidate"], r["arm"]) == (row["candidate"], "scratch"))
                [line] = [line for line in found[row["candidate"]] if line.name == row["arm"]]
                assert line.values == pytest.approx(np.subtract(row["val_accuracy"], scratch["val_accuracy"]))

    def test_what_matters_is_the_yardstick_of_the_claims_about_accuracy(self):
        effects = {claim.smallest_effect for claim in all_claims().values() if claim.metric == "accuracy"}
        assert effects == {numbers.SMALLEST_GAIN}


class TestLottery:
    def test_it_draws_from_the_arms_with_enough_replicates(self):
        gained = numbers.gains(POPULATION, MEASURED)
        found = numbers.contrasts(POPULATION, gained, ("kd_t4", "kd_t4_shuffled", "self_kd"))
        assert [(one.count, list(one.differences)) for one in found] == [(4, [3.0, 2.0, 4.0, 3.0])]
        assert numbers.contrasts(POPULATION, {}, ("kd_t4",)) == []

    def test_draws_that_judge_otherwise_are_counted_one_by_one(self):
        [contrast] = numbers.contrasts(POPULATION, {"kd": {0: 2.0, 1: 1.0, 2: 0.6, 3: 1.5, 4: 0.2}}, ("kd",))
        lottery = seed_lottery([contrast])
        everything = lottery.judge()[0]
        draws = [(a, b, c) for a in range(5) for b in range(a) for c in range(b)]
        others = sum(lottery.judge(sorted(draw))[0] != everything for draw in draws)
        verdict, shares = numbers.other_verdicts(contrast)
        assert (verdict, shares) == (everything, {3: 100 * others / math.comb(5, 3)})
        assert 0 < others < len(draws)


class TestFigure:
    def test_each_row_has_its_dots_mean_and_interval(self):
        rows = numbers.rows_of({"KD": ["kd", "kd_t4"], "Features": ["at"]}, MEASURED)
        assert list(rows) == ["KD"]
        [axis] = dots_and_intervals(rows, "accuracy, %", "so").axes
        assert [tick.get_text() for tick in axis.get_yticklabels()] == ["KD", *(row.name for row in rows["KD"])]
        for place, (row, dots) in enumerate(zip(rows["KD"], axis.collections, strict=True), 1):
            assert dots.get_offsets().tolist() == [[value, place] for value in row.values]
            line, symbol = axis.lines[2 * place - 2 : 2 * place]
            found = t_interval(row.values, "kd")
            assert list(line.get_xdata()) == [found.low, found.high]
            assert list(symbol.get_xdata()) == [found.mean] and list(symbol.get_ydata()) == [place]

    def test_an_interval_that_leaves_the_axis_ends_in_an_arrow(self):
        rows = {"KD": [numbers.Row("KD", "kd", (1.0, 3.0)), numbers.Row("KD", "kd", (1.0, 2.0, 3.0, 2.0))]}
        [axis] = dots_and_intervals(rows, "gain", "so").axes
        assert [line.get_marker() for line in axis.lines if line.get_marker() in ("<", ">")] == ["<", ">"]
        low, high = axis.get_xlim()
        assert low < 1 and high > 3 and t_interval([1.0, 3.0], "kd").high > high

    def test_one_replicate_is_a_dot_without_an_interval(self):
        rows = {"KD": [numbers.Row("KD", "kd", (1.5,))]}
        [axis] = dots_and_intervals(rows, "gain", "so", about=0.5).axes
        assert len(axis.lines) == 1  # the line at zero
        assert rows_in_words(rows, "points", signed=True) == "KD: +1.50 points, one replicate."
        plt.close()


class TestWords:
    def test_the_box_says_whether_kd_gains_how_sure_that_is_and_what_controls_say(self, cohort):
        answer, sure, controls = words.box_lines("concept_world", POPULATION, cohort)
        assert "KD at T = 4 +3.0 points (+1.7 to +4.3), more accurate" in answer
        assert "KD at T = 1 0.0 points (−1.8 to +1.8), no difference is shown" in answer
        assert sure.startswith("4 replicates of teacher and students.")
        assert "shuffled probabilities, T = 4 +0.8 points (−2.4 to +3.9), no difference is shown" in controls
        assert words.box_lines("concept_world", POPULATION, cohort, 1)[1].startswith("1 replicate of")

    def test_nothing_on_file_is_told_in_a_sentence(self, tmp_path):
        assert numbers.on_file("concept_world", "cpu", tmp_path) is None
        assert numbers.accuracies(None) == {}
        lines = words.box_lines("concept_world", POPULATION, None)
        assert lines[0] == words.nothing("concept_world") and all(lines)
        assert words.nothing("concept_world") in words.fixed_in_words("concept_world", None)
        with pytest.raises(KdlibError, match="'cells'"):
            numbers.on_file("cells", "cpu", tmp_path)

    def test_networks_without_kd_or_scratch_make_no_claim(self, tmp_path):
        write_cohort(tmp_path / "concept_world", POPULATION, {"teacher": MEASURED["teacher"]})
        lines = words.box_lines("concept_world", POPULATION, numbers.on_file("concept_world", "cpu", tmp_path))
        assert lines[0].startswith("The networks on file lack KD or scratch") and all(lines)

    def test_controls_that_are_not_on_file_are_told(self, tmp_path):
        some = {arm: MEASURED[arm] for arm in ("scratch", "kd")}
        write_cohort(tmp_path / "concept_world", POPULATION, some)
        lines = words.box_lines("concept_world", POPULATION, numbers.on_file("concept_world", "cpu", tmp_path))
        assert lines[2] == "None is on file yet."

    @pytest.mark.parametrize(
        ("date", "says"),
        [("2026-11-28T04:11:00Z", "were trained after it"), ("2026-11-28T04:10:00Z", "8 had been trained before")],
    )
    def test_what_was_trained_before_the_protocol_was_fixed_is_told(self, tmp_path, date, says):
        some = {arm: MEASURED[arm] for arm in ("scratch", "kd")}
        write_cohort(tmp_path / "concept_world", POPULATION, some, date=date)
        text = words.fixed_in_words("concept_world", numbers.on_file("concept_world", "cpu", tmp_path))
        assert says in text and "still says" in text

    def test_a_table_has_a_row_for_each_arm(self, cohort):
        by_group = numbers.groups(POPULATION, tuple(POPULATION.arms))
        rows = words.arms_table(POPULATION, by_group)
        assert len(rows) == 2 + len(POPULATION.arms)
        assert "| `scratch_28` | `cross_entropy` |  | student | 28 |" in rows
        assert "| `kd_t4` | `kd`, temperature 4, alpha 0.9 | `teacher` | student | 14 |" in rows
        accuracy = words.accuracy_table(POPULATION, MEASURED)
        assert "| `kd_t4` | 4 | 87.25 | +3.0 points (+1.7 to +4.3) |" in accuracy and len(accuracy) == 2 + len(MEASURED)

    def test_what_is_on_file_is_counted_with_its_checksums(self, cohort):
        text = words.files_in_words(cohort)
        assert "22 networks of 7 arms, 2 to 4 replicates an arm, in 7 files" in text
        rows = words.files_table(cohort)
        assert len(rows) == 2 + 7 and all(len(row.split("`")[3]) == 64 for row in rows[2:])
