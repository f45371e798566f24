"""Sentences of the grammar: their truth, their splits, and what a set of sentences refuses."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import torch

from kdlib.data.drawn.sentences import (
    PAD,
    UNKNOWN,
    SentenceSet,
    contextual_polarity,
    encode,
    load,
    make_vocabulary,
    tokenise,
)
from kdlib.data.drawn.sentences_grammar import (
    _FILLERS,
    _JUDGES,
    LEXICON,
    SHARPNESS,
    Word,
    draw_sentence,
    positive_probability,
)
from kdlib.data.labelled_set import Splits
from kdlib.errors import KdlibError


@pytest.fixture(scope="module")
def splits() -> Splits[SentenceSet]:
    return load(n_train=600, n_val=100, n_test=200)


def drawn(count: int, seed: int = 0):
    generator = random.Random(seed)
    return [draw_sentence(generator) for _ in range(count)]


def text(words) -> str:
    return " ".join(word.text for word in words)


class TestGrammar:
    def test_negation_and_nothing_else_turns_a_word_round(self):
        for sentence in drawn(500):
            words = [word.text for word in sentence.words]
            assert [word.contextual for word in sentence.words] == contextual_polarity(words, LEXICON), words

    def test_lexical_polarity_is_the_dictionary_s(self):
        for sentence in drawn(300):
            assert [word.lexical for word in sentence.words] == [LEXICON.get(word.text, 0) for word in sentence.words]

    def test_the_dictionary_has_as_many_words_of_praise_as_of_blame_and_no_neutral_one(self):
        assert sum(LEXICON.values()) == 0 and set(LEXICON.values()) == {1, -1}
        neutral = {word for words in (_JUDGES, *_FILLERS.values()) for phrase in words for word in phrase.split()}
        assert not neutral & set(LEXICON)

    @pytest.mark.parametrize(
        ("seed", "expected", "score"),
        [
            (4, "the food was dreadful .", -2.0),
            (20, "it was a chore .", -1.0),
            (36, "it was not a flop .", 0.8 * 1.5),
            (39, "my family hardly adored the story .", -0.8 * 2.0),
            (
                35,
                "it took two hours and the camera was clumsy but the film felt not dull .",
                -0.4 * 1.5 + 1.4 * 0.8 * 1.5,
            ),
            (17, "the hotel seemed rather awful but the ugly book was nice .", -0.4 * 0.5 * 2 + 1.4 * (1 - 0.5 * 1.5)),
            (31, "the slow ending is really horrible and the book seemed really funny .", -0.5 - 1.5 * 2 + 1.5 * 1.5),
        ],
    )
    def test_scores_by_hand(self, seed, expected, score):
        sentence = draw_sentence(random.Random(seed))
        assert text(sentence.words) == expected
        assert sentence.score == pytest.approx(score)

    def test_probability_is_the_logistic_of_the_score(self):
        assert positive_probability(0.3) == pytest.approx(1 / (1 + math.exp(-0.3 * SHARPNESS)))
        assert positive_probability(-0.3) == pytest.approx(1 - positive_probability(0.3))

    def test_counting_words_does_not_solve_the_task(self):
        sentences = drawn(3000)

        def share_right(polarity):
            guesses = [sum(map(polarity, sentence.words)) > 0 for sentence in sentences]
            return sum(g == (s.score > 0) for g, s in zip(guesses, sentences, strict=True)) / len(sentences)

        assert share_right(lambda word: word.lexical) < 0.7  # ignores negation and contrast
        assert share_right(lambda word: word.contextual) < 0.8  # ignores contrast and strength

    def test_words_are_text_and_two_polarities(self):
        assert Word("film") == ("film", 0, 0)


class TestSplits:
    def test_the_same_seed_gives_the_same_sentences_and_another_seed_others(self, splits):
        again, other = load(n_train=600, n_val=100, n_test=200), load(n_train=600, n_val=100, n_test=200, seed=1)
        assert again.content_hash() == splits.content_hash() != other.content_hash()
        assert torch.equal(again.test.labels, splits.test.labels)

    def test_no_sentence_stands_twice(self, splits):
        texts = [words for part in (splits.train, splits.val, splits.test) for words in part.words]
        assert len(set(texts)) == len(texts) == 900

    def test_a_part_does_not_change_with_the_size_of_another(self, splits):
        other = load(n_train=600, n_val=20, n_test=300)
        assert other.train.words == splits.train.words
        assert other.val.words == splits.val.words[:20]
        assert other.test.words[:200] == splits.test.words

    def test_the_vocabulary_is_that_of_train(self, splits):
        seen = {word for words in splits.train.words for word in words}
        assert set(splits.train.vocabulary[2:]) <= seen
        assert splits.test.vocabulary == splits.train.vocabulary

    def test_ids_are_the_words(self, splits):
        for words, ids in zip(splits.test.words, splits.test.tokens.tolist(), strict=True):
            read = [splits.test.vocabulary[i] for i in ids if i != PAD]
            assert read == [word if word in splits.test.vocabulary else "[UNK]" for word in words]

    def test_labels_are_drawn_from_their_probability(self, splits):
        p = splits.train.positive_probability
        deviation = math.sqrt(float((p * (1 - p)).sum()))
        assert abs(float(splits.train.labels.sum() - p.sum())) < 4 * deviation
        agree = (splits.train.labels == (p > 0.5)).float().mean()
        assert float(agree) == pytest.approx(splits.train.best_possible_accuracy(), abs=0.03)
        assert 0.94 < splits.train.best_possible_accuracy() < 0.98

    def test_the_probe_is_the_test_part(self, splits):
        assert splits.probe is splits.test

    def test_too_many_sentences_are_refused(self, monkeypatch):
        monkeypatch.setattr("kdlib.data.drawn.sentences._MAXIMUM_DRAWS", 2)
        with pytest.raises(KdlibError, match="the grammar has no 100 different sentences for val; ask for fewer"):
            load(n_train=2, n_val=100, n_test=2)

    def test_sizes_are_checked(self):
        with pytest.raises(KdlibError, match="n_val must be a whole number of at least 2, not 0"):
            load(n_val=0)


def tiny(**changes) -> SentenceSet:
    base = encode(
        [["a", "good", "film"], ["bad", "!"]], [1, 0], ("[PAD]", "[UNK]", "good", "bad"), {"good": 1, "bad": -1},
        length=4, name="tiny",
    )  # fmt: skip
    return replace(base, **changes)


class TestSentenceSet:
    def test_by_hand(self):
        assert tiny().tokens.tolist() == [[UNKNOWN, 2, UNKNOWN, PAD], [3, UNKNOWN, PAD, PAD]]
        assert tiny().polarity.tolist() == [[0, 1, 0, 0], [-1, 0, 0, 0]]
        assert tiny().is_word.tolist() == [[True, True, True, False], [True, True, False, False]]
        assert tiny().model_options() == {"num_classes": 2, "vocabulary": 4, "length": 4}
        assert tiny().best_possible_accuracy() is None

    def test_inputs_are_rows_of_token_ids(self):
        assert tiny().inputs(torch.tensor([1])).tolist() == [[3, UNKNOWN, PAD, PAD]]
        assert tiny().inputs(slice(0, 2)).dtype == torch.int64

    @pytest.mark.parametrize("indices", [[1], torch.tensor([1]), torch.tensor([False, True]), slice(1, 2)])
    def test_a_subset_keeps_everything_of_its_sentences(self, indices):
        chosen = tiny().subset(indices)
        assert chosen.words == (("bad", "!"),)
        assert chosen.tokens.tolist() == [[3, UNKNOWN, PAD, PAD]] and chosen.labels.tolist() == [0]
        assert chosen.polarity.tolist() == [[-1, 0, 0, 0]]

    def test_the_hash_tells_data_apart_and_forgets_the_name(self):
        assert tiny(name="other").content_hash() == tiny().content_hash()
        for change in (
            {"tokens": tiny().tokens.flip(0)},
            {"labels": tiny().labels.flip(0)},
            {"vocabulary": ("[PAD]", "[UNK]", "bad", "good")},
            {"polarity": -tiny().polarity},
        ):
            assert tiny(**change).content_hash() != tiny().content_hash()

    def test_what_is_too_long_is_cut(self):
        cut = encode([["a", "b", "good"]], [1], ("[PAD]", "[UNK]"), {"good": 1}, length=2, name="cut")
        assert cut.tokens.shape == (1, 2) and cut.words == (("a", "b"),) and not cut.polarity.any()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"tokens": torch.zeros(0, 4, dtype=torch.int64)}, "at least one sentence"),
            ({"tokens": torch.ones(2, 4)}, r"must be int64 of shape \(N, L\)"),
            ({"tokens": torch.full((2, 4), 9)}, "but its vocabulary has tokens 0 to 3"),
            ({"tokens": torch.zeros(2, 4, dtype=torch.int64)}, "holds an empty sentence"),
            ({"labels": torch.tensor([0, 2])}, "holds label 2, but labels go from 0 to 1"),
            ({"labels": torch.tensor([0])}, r"labels of 'tiny' must be of shape \(2,\)"),
            ({"polarity": torch.zeros(2, 3)}, r"polarity of 'tiny' must be of shape \(2, 4\)"),
        ],
    )
    def test_what_does_not_fit_is_refused_in_one_sentence(self, change, message):
        with pytest.raises(KdlibError, match=message):
            tiny(**change)

    def test_splits_refuse_parts_of_different_length(self, splits):
        odd = encode([["good"]], [1], splits.train.vocabulary, {}, length=3, name="odd")
        with pytest.raises(KdlibError, match="parts of one data set have the same classes and the same size"):
            Splits("odd", splits.train, odd, splits.test, splits.test)


class TestWords:
    @pytest.mark.parametrize(
        ("sentence", "words"),
        [
            ("A GREAT film.", ["a", "great", "film", "."]),
            ("does n't work", ["does", "n't", "work"]),
            ("doesn't work -- at all", ["doesn't", "work", "-", "-", "at", "all"]),
            ("  naïve\tcafé  ", ["naïve", "café"]),
            ("", []),
        ],
    )
    def test_tokens(self, sentence, words):
        assert tokenise(sentence) == words

    def test_the_vocabulary_counts_and_leaves_rare_words_out(self):
        assert make_vocabulary([["b", "a", "c"], ["a", "b"]]) == ("[PAD]", "[UNK]", "a", "b")

    @pytest.mark.parametrize(
        ("sentence", "expected"),
        [
            ("not a good film", {"good": -1}),
            ("not only the film is good", {"good": 1}),  # out of reach
            ("not , good", {"good": 1}),
            ("didn't think it good", {"good": -1}),
            ("never not bad", {"bad": 1}),
        ],
    )
    def test_the_rule_of_negation(self, sentence, expected):
        words = sentence.split()
        found = contextual_polarity(words, {"good": 1, "bad": -1})
        assert {word: sign for word, sign in zip(words, found, strict=True) if sign} == expected
