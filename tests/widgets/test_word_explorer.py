"""The word explorer: state, signs told, bad input, and the same numbers in the browser."""

from __future__ import annotations

import math

import pytest
import torch
from browser_checks import watched
from widget_toys import toy_words, write_page

from kdlib.errors import KdlibError
from kdlib.metrics.word_attribution import sign_agreement
from kdlib.widgets import word_explorer


def build(**changes):
    return word_explorer(**{**toy_words(), **changes})


def test_attributions_reach_the_browser_with_four_digits_and_without_padding(words):
    toy = toy_words()
    for model in words.models:
        for row, (values, own) in enumerate(zip(model["attributions"]["occlusion"], words.words, strict=True)):
            expected = toy["attributions"]["occlusion"][model["name"]][row, : len(own)]
            assert torch.allclose(torch.tensor(values), expected, rtol=1e-3)


def test_right_signs_are_those_of_the_measure(words):
    toy = toy_words()
    for words.method in ("occlusion", "gradient_x_input"):
        for sentence in range(12):
            words.sentence = sentence
            for model in words.models:
                polarity = toy["sentences"].polarity[sentence : sentence + 1]
                values = toy["attributions"][words.method][model["name"]][sentence : sentence + 1]
                share = sign_agreement(values, polarity)
                polar = int((polarity != 0).sum())
                assert words.right_signs(model) == (round(share * polar) if not math.isnan(share) else 0)


def test_strengths_are_relative_to_the_sentence_s_strongest(words):
    for model in words.models:
        assert max(map(abs, words.strengths(model))) == 1.0


def test_a_net_without_attributions_has_no_sign():
    toy = toy_words()
    nothing = {"occlusion": {"kd": torch.zeros_like(toy["attributions"]["occlusion"]["kd"])}}
    widget = build(attributions=nothing)
    assert set(widget.strengths(widget.models[0])) == {0.0} and widget.right_signs(widget.models[0]) == 0
    assert "KD" in widget.describe() and widget.draw().axes


def test_probabilities_are_softmaxes(words):
    for model in words.models:
        expected = toy_words()["logits"][model["name"]].softmax(1)[:, 1]
        assert torch.allclose(torch.tensor(model["positive"]), expected, rtol=1e-3)


def test_the_still_picture_has_a_row_for_the_truth_and_for_each_model(words):
    axis = words.draw().axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["Truth", "Teacher", "Scratch", "Distilled (KD)"]
    texts = [text.get_text() for text in axis.texts]
    assert set(words.words[0]) <= set(texts) and {"+", "−"} & set(texts)


def test_the_same_content_has_the_same_key_and_other_content_another():
    assert build().static_key == build().static_key != build(threshold=0.3).static_key


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"attributions": {}}, "there is no attribution to show"),
        ({"attributions": {"occlusion": {"kd": torch.zeros(12, 3)}}}, r"attributions of 'kd' must be of shape \(12, "),
        ({"logits": {"scratch": torch.zeros(12, 2)}}, "unknown model with logits 'teacher'"),
    ],
)
def test_bad_input_gets_one_clear_sentence(changes, sentence):
    with pytest.raises(KdlibError, match=sentence):
        build(**changes)


@pytest.mark.parametrize(("trait", "value"), [("sentence", 12), ("method", "saliency")])
def test_a_choice_that_does_not_exist_is_refused(words, trait, value):
    with pytest.raises(KdlibError):
        setattr(words, trait, value)


@pytest.mark.browser
def test_the_browser_tells_what_python_tells(browser, tmp_path, words):
    with watched(browser, write_page(tmp_path, [words]).as_uri()) as page:
        root = page.locator(".kdlib-words")
        root.locator(".kdlib-word").first.wait_for()

        def agrees() -> None:
            told = [f"{model['title']} {words.right_signs(model)}" for model in words.models]
            assert ", ".join(told) in root.locator(".kdlib-summary").inner_text()
            rows = root.locator(".kdlib-words-row").all()
            for row, strengths in zip(rows[1:], [words.strengths(model) for model in words.models], strict=True):
                signs = [text.strip() for text in row.locator(".kdlib-sign").all_inner_texts()]
                expected = ["" if not s or abs(s) < words.threshold else "+" if s > 0 else "−" for s in strengths]
                assert signs == expected

        agrees()
        root.get_by_role("button", name="Next sentence").click()
        words.sentence = 1
        agrees()
        root.get_by_label("Attribution").select_option("gradient_x_input")
        words.method = "gradient_x_input"
        agrees()
        root.locator("input[type=range]").nth(1).press("End")
        words.threshold = max(words.thresholds)
        agrees()
        root.get_by_role("button", name="Previous sentence").click(click_count=2)
        words.sentence = len(words.words) - 1
        agrees()
