"""Figures and conclusions of the chapter on class similarity: right is more alike, words follow from verdicts."""

from __future__ import annotations

import itertools

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from kdlib.claims import load_claims
from kdlib.claims.paired import TInterval
from kdlib.claims.phrases import with_interval
from kdlib.claims.rule import WORDS
from kdlib.claims.verdicts import Verdict
from kdlib.distill.similarity_smoothing import smoothed_targets
from kdlib.metrics.class_similarity import PRIMARY, class_similarity
from kdlib.names import MODEL_COLOURS, MODEL_NAMES
from kdlib.papers.han2023.figures.similarity import definitions_in_rows, over_temperature
from kdlib.papers.han2023.figures.similarity_words import (
    DEFINITIONS,
    SMALLER_IS_MORE,
    decision,
    definitions_table,
    follows_paper,
    means_table,
    robustness,
    scale_table,
    shown_in_words,
    teachable,
)
from kdlib.stats import Contrast, paired_contrast


def contrast(*differences: float) -> Contrast:
    return paired_contrast(differences, [0.0] * len(differences))


UP, DOWN, OPEN = contrast(2.0, 2.1, 1.9), contrast(-1.0, -1.1, -0.9), contrast(-1.0, 0.0, 2.0)


class TestDefinitions:
    def test_each_is_a_measure_and_the_primary_one_comes_first(self):
        logits = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
        found = class_similarity(logits, torch.arange(40) % 6, (0, 0, 0, 1, 1, 1), 2 * logits, logits)
        assert set(DEFINITIONS) <= set(found)
        assert next(iter(DEFINITIONS)) == PRIMARY
        assert set(SMALLER_IS_MORE) <= set(DEFINITIONS)

    def test_the_table_has_means_over_seeds_and_a_dash_for_what_is_undefined(self):
        found = {"kd": [{"full_entropy": 1.0}, {"full_entropy": 1.5}], "mine": [{"full_entropy": np.nan}]}
        assert means_table(found, {"full_entropy": "H0"}) == [
            {"network": "Distilled (KD)", "H0": "1.250"},
            {"network": "mine", "H0": "–"},
        ]


class TestPapersOrder:
    @pytest.mark.parametrize(
        ("kd", "smoothing", "answer"),
        [
            (UP, DOWN, "yes, surely"),
            (OPEN, DOWN, "yes"),  # the mean is above zero, the interval is not
            (UP, contrast(-2.0, 0.0, 1.0), "yes"),
            (UP, UP, "no, surely"),
            (DOWN, DOWN, "no, surely"),
            (contrast(-2.0, 0.0, 1.0), DOWN, "no"),
            (UP, OPEN, "no"),
            (contrast(0.0, 0.0, 0.0), DOWN, "no"),
        ],
    )
    def test_kd_above_scratch_above_label_smoothing(self, kd, smoothing, answer):
        assert follows_paper("full_entropy", kd, smoothing) == answer

    @pytest.mark.parametrize("definition", SMALLER_IS_MORE)
    def test_turned_where_a_smaller_value_says_more_alike(self, definition):
        assert follows_paper(definition, DOWN, UP) == "yes, surely"
        assert follows_paper(definition, UP, DOWN) == "no, surely"

    def test_rows_are_scaled_and_turned_so_that_right_is_more_alike(self):
        contrasts = {
            "full_entropy": {"kd": UP, "label_smoothing": DOWN},
            "nontarget_divergence": {"kd": DOWN, "label_smoothing": UP},
        }
        _, axis = plt.subplots()
        definitions_in_rows(contrasts, axis)
        names = [label.get_text() for label in axis.get_yticklabels()]
        assert names == [DEFINITIONS["full_entropy"], f"{DEFINITIONS['nontarget_divergence']} (turned)"]
        drawn = axis.lines[:-1]  # the last one is zero
        for row, by_arm in enumerate(contrasts.values()):
            lines = drawn[4 * row : 4 * row + 4]  # interval and mean of each arm
            ends = np.concatenate([line.get_xdata() for line in lines])
            assert np.abs(ends).max() == pytest.approx(1.0)
            kd, smoothing = lines[1], lines[3]
            assert kd.get_xdata()[0] > 0 > smoothing.get_xdata()[0]
            ratio = by_arm["kd"].mean_difference / by_arm["label_smoothing"].mean_difference
            assert kd.get_xdata()[0] / smoothing.get_xdata()[0] == pytest.approx(ratio)
            assert [round(line.get_ydata()[0]) for line in lines] == [row] * 4
        assert axis.yaxis_inverted()
        legend = [text.get_text() for text in axis.get_legend().get_texts()]
        assert legend == [MODEL_NAMES["kd"], MODEL_NAMES["label_smoothing"]]

    def test_a_row_without_any_difference_or_interval_is_drawn(self):
        _, axis = plt.subplots()
        definitions_in_rows({"full_entropy": {"kd": contrast(0.0), "label_smoothing": contrast(0.0)}}, axis)
        assert [line.get_xdata()[0] for line in axis.lines[1:4:2]] == [0.0, 0.0]


class TestTemperatures:
    def test_every_seed_and_the_mean_of_each_panel(self):
        values = {1: [50.0, 52.0], 2: [51.0, 54.0], 8: [40.0, 44.0]}
        panels = {"accuracy": values, "detectors": {t: [v / 2 for v in seeds] for t, seeds in values.items()}}
        figure = over_temperature(panels, {"accuracy": {"scratch": 49.0, "kd": 53.0}})
        assert [axis.get_title() for axis in figure.axes] == list(panels)
        for axis, by_t in zip(figure.axes, panels.values(), strict=True):
            drawn = [list(line.get_ydata()) for line in axis.lines]
            for seed in range(2):
                assert [seeds[seed] for seeds in by_t.values()] in drawn
            assert [np.mean(seeds) for seeds in by_t.values()] in drawn
            assert [text.get_text() for text in axis.get_xticklabels()] == ["1", "2", "8"]
            assert axis.get_xscale() == "log"
        levels = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
        assert [(line.get_ydata()[0], to_hex(line.get_color())) for line in levels] == [
            (49.0, MODEL_COLOURS["scratch"].lower()),
            (53.0, MODEL_COLOURS["kd"].lower()),
        ]
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == [MODEL_NAMES["scratch"], MODEL_NAMES["kd"]]


class TestWords:
    def test_the_toy_is_read_as_it_is(self):
        groups, labels = [c // 4 for c in range(20)], torch.arange(20)
        own = torch.eye(20, dtype=torch.float64)
        taught = smoothed_targets(groups, 0.1, "siblings")
        lines = definitions_table({"LS": 0.9 * own + 0.005, "teacher": taught}, labels, groups).splitlines()
        assert [line.split("  ")[0] for line in lines[1:]] == list(DEFINITIONS.values())
        assert lines[1].split()[-3:] == ["0.158", "1.000", "lower"]  # R is at chance, then all on siblings
        assert lines[2].endswith("higher")

    def test_entropies_at_scale_are_those_of_the_formula(self):
        first, second = scale_table([5]).splitlines()
        h1 = -(0.9001 * np.log(0.9001) + 4 * 0.0001 * np.log(0.0001))
        assert f"H1 {h1:.3f}" in first
        assert f"{np.log(5):.3f}" in second

    @pytest.mark.parametrize(
        ("ratio", "chance", "word"), [(0.61, 0.2, "holds"), (0.5, 0.2, "does **not** hold"), (1, 0.4, "can't hold")]
    )
    def test_three_times_chance(self, ratio, chance, word):
        assert teachable("The teacher", ratio, chance).endswith(f"so it {word}.")

    def test_softening_is_told_by_its_numbers(self):
        words = shown_in_words({1: (40.0, 1.0), 8: (20.0, 3.0)}, [30.0, 35.0])
        assert "falls from 40.0 to 20.0 %: softening" in words
        assert "largest at $T$ = 8 (3.00 points)" in words and words.endswith("rises from 30.0 to 35.0 %.")

    def test_a_contrast_that_changes_its_sign_is_named(self):
        same = {"as above": UP, "best epoch": UP}
        words, rows = robustness(
            {("kd", "scratch"): same, ("label_smoothing", "scratch"): {"as above": UP, "best epoch": DOWN}}
        )
        assert words.startswith(
            "1 of 2 mean differences keep their sign under every choice; not: Label smoothing − Scratch."
        )
        assert list(rows[0]) == ["detectors (points)", "as above", "best epoch"]


def judged(short: str, word: str, difference: Contrast = OPEN) -> Verdict:
    interval = TInterval(difference.mean_difference, *difference.interval, difference.differences)
    return Verdict(f"han2023.{short}", word, "", difference, interval, "percent of units", 3.5)


class TestDecision:
    def test_c1_as_high_as_kd_contradicts_the_explanation_while_matching_the_headline(self):
        for word in ("not supported", "contradicted"):
            words = decision(judged("1b", "supported", UP), judged("3d", word), judged("3e", "inconclusive"), UP)
            assert "holds here" in words[0]
            assert "**contradicts the explanation** while matching the headline" in words[1]
            assert words[-1] == "**Taken together**, the controls speak against class similarity as the cause."

    @pytest.mark.parametrize("headline", ["not supported", "contradicted", "inconclusive"])
    def test_c1_as_high_as_kd_that_gained_nothing_says_less(self, headline):
        words = decision(judged("1b", headline), judged("3d", "not supported"), judged("3e", "inconclusive"), UP)
        assert "holds here" not in words[0]
        assert "does not match the headline" in words[1] and "little that shuffling could take away" in words[1]

    def test_both_controls_for_it(self):
        yes = [judged(short, "supported", UP) for short in ("1b", "3d", "3e")]
        words = decision(*yes, UP)
        assert words[-1] == "**Taken together**, both controls of the explanation speak for class similarity."
        assert not any("contradict" in sentence for sentence in words)

    @pytest.mark.parametrize(
        ("pair", "conclusion"),
        [
            (("supported", "not supported"), "disagree"),
            (("contradicted", "supported"), "disagree"),
            (("supported", "inconclusive"), "one control speaks for class similarity, the other is open"),
            (("not supported", "contradicted"), "speak against class similarity"),
            (("inconclusive", "contradicted"), "speak against class similarity"),
            (("inconclusive", "inconclusive"), "neither confirmed nor refuted"),
        ],
    )
    def test_the_conclusion_follows_from_both_controls(self, pair, conclusion):
        shuffled, oracle = (judged(short, word) for short, word in zip(("3d", "3e"), pair, strict=True))
        assert conclusion in decision(judged("1b", "supported"), shuffled, oracle, OPEN)[-1]

    def test_equal_accuracy_is_told_by_its_interval(self):
        verdicts = [judged(short, "inconclusive") for short in ("1b", "3d", "3e")]
        assert "more detectors than scratch, so accuracy alone is not" in decision(*verdicts, UP)[3]
        assert "fewer detectors than scratch" in decision(*verdicts, DOWN)[3]
        assert "accuracy alone may be all there is" in decision(*verdicts, OPEN)[3]

    def test_every_verdict_has_its_words_and_numbers(self):
        for three in itertools.product(WORDS, repeat=3):
            verdicts = [judged(short, word, UP) for short, word in zip(("1b", "3d", "3e"), three, strict=True)]
            words = decision(*verdicts, OPEN)
            assert len(words) == 5
            assert all(with_interval(UP) in sentence for sentence in words[:3])
            assert with_interval(OPEN) in words[3]

    def test_the_claims_are_the_ones_it_speaks_of(self):
        claims = load_claims("han2023")
        arms = {
            short: (claims[f"han2023.{short}"].arm_a, claims[f"han2023.{short}"].arm_b) for short in ("1b", "3d", "3e")
        }
        assert arms == {
            "1b": ("kd", "scratch"),
            "3d": ("kd", "kd_shuffled"),
            "3e": ("superclass_smoothing", "scratch"),
        }
        assert {claims[f"han2023.{short}"].metric for short in arms} == {"detectors"}
