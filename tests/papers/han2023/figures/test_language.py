"""Figures of the language chapter show the attributions they are given."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import pytest
import torch

from kdlib.data.drawn.sentences import encode, load
from kdlib.papers.han2023.figures.language import attributed_sentences, example_sentences, signs_in_words
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


def test_a_row_for_the_truth_and_each_model_a_cell_for_each_word(tiny):
    values = torch.tensor([[0.0, 0.0, -2.0, 1.0, 0.0]]).expand(4, 5)
    figure = attributed_sentences(tiny, [0, 1], {"scratch": values, "kd": -values})
    first = figure.axes[0]
    assert first.get_title(loc="left") == "label: negative"
    assert [label.get_text() for label in first.get_yticklabels()] == ["Truth", "Scratch", "Distilled (KD)"]
    assert len(first.patches) == 3 * 4
    signs = [text.get_text() for text in first.texts if text.get_text() in "+−"]
    assert signs == ["−", "−", "+", "+", "−"]  # truth: good in "not good"; scratch: good, film; KD: the other way round
    cell = first.patches[4 + 2]
    assert cell.get_facecolor()[:3] == pytest.approx(matplotlib.colors.to_rgb(SIGN_COLOURS[-1]))
    assert cell.get_alpha() == pytest.approx(0.9)  # the strongest of its row
    assert first.patches[4 + 3].get_alpha() == pytest.approx(0.45)


def test_weak_words_are_not_marked(tiny):
    values = torch.tensor([[1.0, 0.04, -0.06, 0.0, 0.0]]).expand(4, 5)
    axis = attributed_sentences(tiny, [0], {"kd": values}, threshold=0.05).axes[0]
    marked = [text for text in axis.texts if text.get_text() in "+−" and text.get_position()[1] == 1]
    assert len(marked) == 2


def test_signs_are_told_in_words(tiny):
    values = torch.tensor([[0.0, 0.0, 2.0, 1.0, 0.0]]).expand(4, 5)
    told = signs_in_words(tiny, [0, 2], {"kd": values}, ["kd"])
    assert "“the not good film”: good, truly −, Distilled (KD) +" in told
    assert "“good but dull”: good, truly +, Distilled (KD) 0; dull, truly −, Distilled (KD) +" in told
