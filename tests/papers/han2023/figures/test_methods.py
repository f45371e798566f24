"""The figures of many methods show every seed, every mean and every pair where they are."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from kdlib.claims import Record, load_claims
from kdlib.metrics.dissection.dissect import dissect_activations
from kdlib.names import MODEL_COLOURS, MODEL_NAMES
from kdlib.papers.han2023.figures.methods import (
    draw_pairs,
    draw_students,
    look_of,
    method_curves,
    methods_in_rows,
    without_and_with_logits,
)
from kdlib.papers.han2023.figures.methods_tables import (
    beyond_accuracy_in_words,
    matched_table,
    mixtures_table,
    null_check_in_words,
    published_gains,
    robustness_table,
    settings_table,
)
from kdlib.papers.han2023.matching import Matching
from kdlib.papers.han2023.study import HanStudy
from kdlib.stats import mean_interval

METHODS = ("at", "ft", "crd", "sskd")
VALUES = {
    arm: [10.0 * place + seed for seed in (0.0, 1.0, 5.0)]
    for place, arm in enumerate(["scratch", "kd", *(f"{m}{end}" for m in METHODS for end in ("", "_with_logits"))])
}


def dissection(seed: int):
    """Units whose regions lie on a concept by chance, so that counts fall with the threshold."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, 6, (12, 6, 6), generator=generator)
    units = torch.rand(12, 10, 6, 6, generator=generator)
    names = {"object": ("unlabelled", *"abcde")}
    return dissect_activations([(units, {"object": masks})], names, quantile=0.1)


class TestLook:
    def test_a_method_keeps_its_colour_and_marker_with_logits(self):
        for method in METHODS:
            alone, added = look_of(method), look_of(f"{method}_with_logits")
            assert (alone["color"], alone["marker"]) == (added["color"], added["marker"])
            assert (alone["markerfacecolor"], added["markerfacecolor"]) == ("white", MODEL_COLOURS[method])

    def test_what_distils_logits_is_filled(self):
        for arm in ("scratch", "kd", "self_kd"):
            assert look_of(arm)["markerfacecolor"] == MODEL_COLOURS[arm]

    def test_a_dark_edge_tells_temperature_4_from_what_looks_the_same(self):
        for arm in ("self_kd", "at_with_logits"):
            first, second = look_of(arm), look_of(f"{arm}_t4")
            assert first["color"] == second["color"]
            assert (first["markeredgecolor"], second["markeredgecolor"]) == (first["color"], "0.1")


class TestRows:
    def test_every_arm_has_a_row_with_its_seeds_mean_and_interval(self):
        _, axis = plt.subplots()
        methods_in_rows(VALUES, axis, xlabel="accuracy (%)", reference=("teacher", 120.0))
        assert [label.get_text() for label in axis.get_yticklabels()] == [MODEL_NAMES[arm] for arm in VALUES]
        assert axis.yaxis_inverted()  # the first arm on top
        for place, (values, bar) in enumerate(zip(VALUES.values(), axis.containers, strict=True)):
            expected = mean_interval(values)
            assert bar.lines[0].get_xdata()[0] == pytest.approx(expected.mean)
            [segment] = bar.lines[2][0].get_segments()
            assert sorted(segment[:, 0]) == pytest.approx([expected.low, expected.high])
            [row] = [line for line in axis.lines if list(line.get_xdata()) == values]
            assert set(row.get_ydata()) == {place - 0.14}
        scratch, teacher = axis.lines[-2:]
        assert scratch.get_xdata() == pytest.approx([np.mean(VALUES["scratch"])] * 2)
        assert teacher.get_xdata() == pytest.approx([120.0] * 2)
        assert [text.get_text() for text in axis.texts] == ["Teacher"]

    def test_one_seed_has_no_interval(self):
        _, axis = plt.subplots()
        methods_in_rows({"scratch": [70.0], "at": [75.0]}, axis, xlabel="accuracy (%)")
        assert not any(bar.has_xerr for bar in axis.containers)

    def test_the_figure_counts_who_is_above_scratch_and_ends_at_a_hundred_percent(self):
        words = draw_students(
            {"scratch": [90.0, 95.0], "at": [96.0, 99.0], "kd": [80.0, 81.0]}, "accuracy", chance=50.0
        )
        axis = plt.gcf().axes[0]
        assert plt.gcf().get_suptitle().replace("\n", " ") == "Accuracy: 1 of 2 other kinds of student above scratch"
        assert axis.get_xlim()[1] < 103  # where the interval reaches further
        assert words.endswith("Chance (dotted line): 50.0 %.")


class TestPairs:
    def test_each_seed_is_joined_in_its_method_s_panel(self):
        figure = without_and_with_logits(VALUES, METHODS)
        assert [axis.get_title() for axis in figure.axes] == [MODEL_NAMES[m] for m in METHODS]
        for axis, method in zip(figure.axes, METHODS, strict=True):
            drawn = [list(line.get_ydata()) for line in axis.lines]
            pairs = list(zip(VALUES[method], VALUES[f"{method}_with_logits"], strict=True))
            for pair in [*pairs, tuple(np.mean(pairs, axis=0))]:
                assert list(pair) in drawn
            levels = [line.get_ydata()[0] for line in axis.lines[:2]]
            assert levels == pytest.approx([np.mean(VALUES["scratch"]), np.mean(VALUES["kd"])])

    def test_logits_at_temperature_4_stand_behind_those_of_the_paper_where_there_are_some(self):
        figure = without_and_with_logits(VALUES | {"at_with_logits_t4": [1.0, 2.0, 3.0]}, METHODS)
        at, ft = figure.axes[:2]
        assert [label.get_text() for label in at.get_xticklabels()] == ["without", "with", "at T = 4"]
        assert [label.get_text() for label in ft.get_xticklabels()] == ["without", "with"]
        assert [20.0, 30.0, 1.0] in [list(line.get_ydata()) for line in at.lines]

    def test_the_title_counts_the_methods_that_gain(self):
        values = VALUES | {"sskd_with_logits": [value - 50 for value in VALUES["sskd"]]}
        words = draw_pairs(values | {"at_with_logits_t4": [1.0, 2.0, 3.0]}, METHODS)
        title = plt.gcf().get_suptitle().replace("\n", " ")
        assert title == "By their means 3 of 4 methods have more detectors with logits, at T = 4 0 of 1"
        assert "AT 22.0, 32.0, 2.0 %" in words
        draw_pairs(VALUES, METHODS)
        assert "T = 4" not in plt.gcf().get_suptitle()

    def test_the_paper_s_gains_come_from_its_counts_in_the_claims(self):
        claims = load_claims("han2023")
        gains = published_gains([claims[f"han2023.5{letter}"] for letter in "abcd"])
        assert gains == "AT +3.1, FT +1.8, CRD +0.8, SSKD +1.2"


class TestTables:
    def test_settings_with_logits_are_those_that_the_arm_adds(self):
        rows = settings_table(HanStudy(preset="smoke", temperature=3.0))
        assert [row["method"] for row in rows] == ["AT", "FT", "CRD", "SSKD"]
        assert rows[0]["without logits"] == "weight 1000, alpha 0, temperature 1"
        assert rows[0]["with logits, in place"] == "alpha 0.5, temperature 3"
        assert not any("_" in text for row in rows for text in row.values())

    def test_ways_of_counting_are_means_over_replicates(self):
        found = [dissection(0), dissection(1)]
        [row] = robustness_table({"kd": found}, 0.1, "lite")
        assert row["detectors"] == f"{np.mean([d.count(0.1) for d in found]):.1f}"
        assert (
            row["original denominator"] == f"{np.mean([d.with_denominator('original').count(0.1) for d in found]):.1f}"
        )
        assert row["from IoU 0.2"] == f"{np.mean([d.count(0.2) for d in found]):.1f}"
        assert row["area under the curve"] == f"{np.mean([d.score.mean() for d in found]):.4f}"
        assert row["unique concepts"] == f"{np.mean([d.unique_concepts(0.1) for d in found]):.1f}"

    def test_mixtures_stand_beside_their_own_units(self):
        record = Record("my_notebook", {"preset": "smoke"})
        for name, values in {"detectors/kd": (40.0, 44.0, 48.0), "mixture_detectors/kd": (10.0, 12.0, 14.0)}.items():
            record.measure(name, dict(enumerate(values)), "percent of units")
        [row] = mixtures_table(record, ["kd", "scratch"])  # of scratch there are none
        assert (row["own units (%)"], row["mixtures (%)"]) == ("44.0", "12.0")
        assert row["own minus mixtures (points)"].startswith("+32.0 points (+27.0 to +37.0)")


# A measure that is a tenth of the accuracy, of which KD has 2 more; AT is more accurate than all schedules.
ACCURACY = {"short": [70.0, 71.0, 72.0], "scratch": [80.0, 81.0, 82.0], "long": [90.0, 91.0, 92.0]}
ACCURACY |= {"kd": [85.0, 86.0, 87.5], "at": [95.0, 96.0, 97.0]}
MEASURE = {arm: [value / 10 + (2 if arm == "kd" else 0) for value in values] for arm, values in ACCURACY.items()}


class TestAccuracyMatching:
    matching = Matching(ACCURACY, MEASURE, ["short", "scratch", "long"], {})

    def test_the_table_has_what_is_left_at_equal_accuracy(self):
        kd, at, scratch = matched_table(self.matching, ["kd", "at", "scratch"])
        assert kd["accuracy on val (%)"] == "86.2"
        assert kd["detectors beyond accuracy"] == "odds ratio 7.39 (7.39 to 7.39)"  # exp(2)
        assert at["detectors beyond accuracy"] == "no match"
        assert scratch["detectors beyond accuracy"] == "odds ratio 1.00 (1.00 to 1.00)"  # against its other lengths

    def test_who_has_more_at_equal_accuracy_is_named_and_who_has_no_match(self):
        words = beyond_accuracy_in_words(self.matching, ["kd", "at"])
        assert words == "KD (more); without a match: AT"
        assert beyond_accuracy_in_words(self.matching, ["at"]) == "no student has a match"

    def test_the_null_check_says_whether_matching_works(self):
        assert null_check_in_words(self.matching).endswith("which holds 1, as it must.")
        bent = Matching(ACCURACY, MEASURE | {"scratch": [9.0, 9.1, 9.2]}, self.matching.schedules, {})
        assert "matching misleads here" in null_check_in_words(bent)

    def test_with_too_few_replicates_or_schedules_it_says_what_is_missing(self):
        few = Matching({arm: values[:2] for arm, values in ACCURACY.items()}, MEASURE, ["short", "long"], {})
        assert "three replicates or more" in null_check_in_words(few)


class TestCurves:
    def test_a_panel_shows_the_mean_share_of_units_of_its_method_scratch_and_kd(self):
        arms = ("scratch", "kd", "self_kd", "at", "at_with_logits")
        dissections = {arm: [dissection(place), dissection(place + 50)] for place, arm in enumerate(arms)}
        taus = [0.05, 0.1, 0.2]
        figure = method_curves(dissections, ("self_kd", "at"), taus, 0.1)
        for axis, shown in zip(figure.axes, (arms[:3], ("scratch", "kd", "at", "at_with_logits")), strict=False):
            assert len(axis.lines) == len(shown) + 1  # and the threshold
            for arm, line in zip(shown, axis.lines, strict=False):
                expected = np.mean([[10 * count for count in d.curve(taus)] for d in dissections[arm]], axis=0)
                assert line.get_ydata().tolist() == pytest.approx(expected.tolist())
            heights = [height for line in axis.lines[:-1] for height in line.get_ydata()]
            low, high = axis.get_ylim()
            assert low == 0
            assert max(heights) <= high
        assert [line.get_linestyle() for line in figure.axes[1].lines[2:4]] == ["--", "-"]
        at_t4 = dissections | {"at_with_logits_t4": dissections["at"]}
        assert method_curves(at_t4, ("self_kd", "at"), taus, 0.1).axes[1].lines[4].get_linestyle() == "-."
        assert to_hex(figure.axes[0].lines[2].get_color()) == MODEL_COLOURS["self_kd"].lower()
        assert figure.axes[0].lines[2].get_linestyle() == "-"
