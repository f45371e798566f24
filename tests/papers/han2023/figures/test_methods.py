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
    detectors_against_accuracy,
    draw_accuracy,
    draw_pairs,
    draw_students,
    look_of,
    method_curves,
    methods_in_rows,
    without_and_with_logits,
)
from kdlib.papers.han2023.figures.methods_tables import (
    choices_table,
    matched_table,
    published_gains,
    settings_table,
)
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

    def test_the_title_counts_the_methods_that_gain(self):
        values = VALUES | {"sskd_with_logits": [value - 50 for value in VALUES["sskd"]]}
        words = draw_pairs(values, METHODS)
        assert "3 of 4 methods have more detectors" in plt.gcf().get_suptitle().replace("\n", " ")
        assert "AT from 22.0 to 32.0 %" in words

    def test_the_paper_s_gains_come_from_its_counts_in_the_claims(self):
        claims = load_claims("han2023")
        gains = published_gains([claims[f"han2023.5{letter}"] for letter in "abcd"])
        assert gains == "AT +3.1, FT +1.8, CRD +0.8, SSKD +1.2"


class TestScatter:
    def test_every_student_and_every_path_is_there(self):
        _, axis = plt.subplots()
        detectors = {arm: [value / 2 for value in values] for arm, values in VALUES.items()}
        path = ([10.0, 20.0], [1.0, 3.0])
        detectors_against_accuracy(VALUES, detectors, axis, [path, path])
        drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines]
        assert drawn == [path, path, *((VALUES[arm], detectors[arm]) for arm in VALUES)]
        texts = [text.get_text() for text in axis.get_legend().get_texts()]
        assert texts == ["Scratch, by epoch", *(MODEL_NAMES[arm] for arm in VALUES)]

    def test_the_title_has_the_correlation_over_all_students(self):
        draw_accuracy(VALUES, {arm: [-value for value in values] for arm, values in VALUES.items()}, [])
        assert plt.gcf().get_suptitle().endswith("−1.00")


class TestTables:
    def test_settings_with_logits_are_those_that_the_arm_adds(self):
        rows = settings_table(HanStudy(preset="smoke", temperature=3.0))
        assert [row["method"] for row in rows] == ["AT", "FT", "CRD", "SSKD"]
        assert rows[0]["without logits"] == "weight 1000, alpha 0, temperature 1"
        assert rows[0]["with logits, in place"] == "alpha 0.5, temperature 3"
        assert not any("_" in text for row in rows for text in row.values())

    def test_a_match_is_compared_with_its_own_arm(self):
        record = Record("my_notebook", {"preset": "smoke"})
        for arm, values in {"scratch": (1, 2), "kd": (4, 5), "scratch_matched_to_kd": (2, 3)}.items():
            record.measure(f"detectors/{arm}", dict(enumerate(values)), "percent of units")
        [row] = matched_table(record, {"kd": [10.0, 20.0]}, {"kd": [11.0, 21.0]})
        assert (row["accuracy (%)"], row["its match (%)"]) == ("15.0", "16.0")
        assert row["detectors − scratch"].startswith("+3.0") and row["detectors − match"].startswith("+2.0")

    def test_choices_are_counted_in_units(self):
        found = [dissection(0), dissection(1)]
        [row] = choices_table({"kd": found}, {"kd": found[:1]}, {"kd": found[1]}, 0.1, "lite")
        counts = [d.count(0.1) for d in found]
        assert (row["as above"], row["best epoch"]) == (f"{np.mean(counts):.1f}", f"{counts[0]:.1f}")
        assert (row["first seed"], row["rotated"]) == (str(counts[0]), str(counts[1]))


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
        assert to_hex(figure.axes[0].lines[2].get_color()) == MODEL_COLOURS["self_kd"].lower()
        assert figure.axes[0].lines[2].get_linestyle() == "-"
