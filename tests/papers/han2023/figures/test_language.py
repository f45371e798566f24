"""Figures of the language chapter show the attributions they are given."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest
import torch

from kdlib.data.drawn.sentences import encode, load
from kdlib.papers.han2023.figures.language import (
    attributed_sentences,
    choices_rows,
    counting_in_words,
    draw_plain_and_negated,
    example_sentences,
    negation_in_words,
    negation_rows,
    sentence_rows,
    signs_in_words,
)
from kdlib.stats import paired_contrast
from kdlib.widgets.word_explorer import SIGN_COLOURS

TEXTS = ["the not good film", "a good film", "good but dull", "the film"]
LEXICON = {"good": 1, "dull": -1}


@pytest.fixture
def tiny():
    words = [text.split() for text in TEXTS]
    return encode(words, [0, 1, 0, 1], ("[PAD]", "[UNK]"), LEXICON, length=5, name="tiny")


def test_examples_are_the_first_plain_the_first_negated_and_the_first_contrast(tiny):
    assert example_sentences(tiny) == [1, 0, 2]
    assert example_sentences(tiny.subset([1, 3])) == [0]
    assert example_sentences(tiny, most_words=3) == [1, 2]


def test_examples_of_the_grammar_are_short():
    test = load(n_train=50, n_val=10, n_test=300).test
    chosen = example_sentences(test)
    assert len(chosen) == 3 and max(len(test.words[i]) for i in chosen) <= 13


def test_a_column_for_the_truth_and_each_model_a_cell_for_each_word(tiny):
    values = torch.tensor([[0.0, 0.0, -2.0, 1.0, 0.0]]).expand(4, 5)
    figure = attributed_sentences(tiny, [0, 1], {"scratch": values, "kd": -values})
    first = figure.axes[0]
    assert first.get_title(loc="left") == "label: negative"
    assert [label.get_text() for label in first.get_xticklabels()] == ["Truth", "Scratch", "Distilled\n(KD)"]
    words = {label.get_text(): label.get_fontweight() for label in first.get_yticklabels()}
    assert words == {"the": "normal", "not": "normal", "good": "bold", "film": "normal"}
    assert len(first.patches) == 3 * 4
    signs = [text.get_text() for text in first.texts if text.get_text() in "+−"]
    assert signs == ["−", "−", "+", "+", "−"]  # truth: good in "not good"; scratch: good, film; KD: the other way round
    cell = first.patches[4 + 2]
    assert cell.get_facecolor()[:3] == pytest.approx(matplotlib.colors.to_rgb(SIGN_COLOURS[-1]))
    assert cell.get_alpha() == pytest.approx(0.9)  # the strongest of its column
    assert first.patches[4 + 3].get_alpha() == pytest.approx(0.45)


def test_weak_words_are_not_marked(tiny):
    values = torch.tensor([[1.0, 0.04, -0.06, 0.0, 0.0]]).expand(4, 5)
    axis = attributed_sentences(tiny, [0], {"kd": values}, threshold=0.05).axes[0]
    marked = [text for text in axis.texts if text.get_text() in "+−" and text.get_position()[0] == 1]
    assert len(marked) == 2


def test_signs_are_told_in_words(tiny):
    values = torch.tensor([[0.0, 0.0, 2.0, 1.0, 0.0]]).expand(4, 5)
    told = signs_in_words(tiny, [0, 2], {"kd": values}, ["kd"])
    assert "“the not good film”: good, truly −, Distilled (KD) +" in told
    assert "“good but dull”: good, truly +, Distilled (KD) 0; dull, truly −, Distilled (KD) +" in told


def test_rows_mark_what_words_mean_in_their_sentence(tiny):
    rows = sentence_rows(tiny, 9)
    assert rows[0] == {"sentence": "the not good⁻ film", "label": "negative"}
    assert len(rows) == 4 and rows[2]["sentence"] == "good⁺ but dull⁻"


def test_counting_is_right_where_the_sum_has_the_label_s_sign(tiny):
    # Own polarity: sums 1, 1, 0, 0 for labels 0, 1, 0, 1. In context: -1, 1, 0, 0.
    told = counting_in_words(tiny)
    assert "4 test sentences with 4 sentiment words" in told
    assert "praise and of blame is right on 50 % of them" in told and "turned round is right on 75 %" in told


PERCENT = {
    "agreement_plain": {"scratch": [80.0, 81.0, 80.5], "kd": [84.0, 85.5, 84.6]},
    "agreement_negated": {"scratch": [70.0, 69.0, 69.4], "kd": [64.0, 63.5, 64.1]},
}


def test_plain_and_negated_words_have_a_panel_each():
    draw_plain_and_negated(PERCENT)
    figure = plt.gcf()
    titles = [axis.get_title(loc="left").replace("\n", " ") for axis in figure.axes]
    assert titles[0].startswith("Plain words, KD minus scratch: +4.2") and titles[1].endswith(", a difference")
    assert " ".join(figure.get_suptitle().split()) == "Right signs of 83 % of plain and 67 % of negated words"
    plt.close(figure)


def test_a_rise_is_not_called_a_drop():
    turned = {"agreement_plain": PERCENT["agreement_negated"], "agreement_negated": PERCENT["agreement_plain"]}
    told = negation_in_words(turned)
    assert "agreement rises from 80.5 to 84.7 %" in told and "plain words it drops from 69.5 to 63.9 %" in told


def test_tables_hold_means_in_percent():
    summaries = {
        "untrained": [
            {"agreement": 0.5, "agreement_plain": 0.6, "agreement_negated": 0.1},
            {"agreement": 0.6, "agreement_plain": 0.8, "agreement_negated": 0.2},
        ]
    }
    expected = {"network": "Untrained", "all sentiment words": "55.0", "plain": "70.0", "negated": "15.0"}
    assert negation_rows(summaries) == [expected]
    contrasts = {"as above": paired_contrast([3.0], [1.0])}
    row = choices_rows({"as above": {"kd": [3.0], "scratch": [1.0]}}, contrasts)[0]
    assert row["Distilled (KD)"] == "3.0" and row["KD − scratch"].startswith("+2 (one seed")
