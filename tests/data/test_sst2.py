"""SST-2 from a folder: what is read, where polarity comes from, and one sentence for whatever is wrong."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdlib.data import sst2
from kdlib.data.drawn.sentences_grammar import LEXICON
from kdlib.errors import KdlibError

# The sentences below differ in rare words; one test looks for what is told of that.
pytestmark = pytest.mark.filterwarnings("ignore:.* to the model ")

TRAIN = [
    *((f"a good , touching film number {n}", 1) for n in range(12)),
    *((f"a bad film , number {n} of many", 0) for n in range(12)),
]
DEV = [("it 's a good film", 1), ("does n't feel good", 0), ("utterly bad", 0), ("not bad", 1)]


def write_tsv(path: Path, rows, header: str = "sentence\tlabel") -> None:
    path.write_text("\n".join([header, *(f"{text} \t{label}" for text, label in rows)]) + "\n", encoding="utf-8")


@pytest.fixture
def folder(tmp_path) -> Path:
    write_tsv(tmp_path / "train.tsv", TRAIN)
    write_tsv(tmp_path / "dev.tsv", DEV)
    # As in the archive: no labels, another header.
    (tmp_path / "test.tsv").write_text("index\tsentence\n0\tuneasy mishmash of styles\n", encoding="utf-8")
    return tmp_path


def add_phrases(folder: Path) -> None:
    phrases = {"good": 0.9, "bad": 0.1, "film": 0.5, "touching": 0.6, "utterly bad": 0.0, "slow": 0.4, "Grand": 0.61}
    folder.mkdir(exist_ok=True)
    lines = [f"{phrase}|{number}" for number, phrase in enumerate(phrases)]
    (folder / "dictionary.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines = [f"{number}|{value}" for number, value in enumerate(phrases.values())]
    (folder / "sentiment_labels.txt").write_text("\n".join(["phrase ids|sentiment values", *lines]), encoding="utf-8")


def test_a_phrase_of_two_values_in_the_treebank_is_refused(folder):
    add_phrases(folder)
    with (folder / "dictionary.txt").open("a") as file:
        file.write("good|1\n")
    with pytest.raises(KdlibError, match=r"dictionary.txt, line 8, gives 'good' the number '1' after '0', and these"):
        sst2.load(folder)


class TestReading:
    def test_dev_is_reported_on_and_val_comes_out_of_train(self, folder):
        splits = sst2.load(folder)
        assert splits.test.words == tuple(
            tuple(words)
            for words in (
                ["it", "'", "s", "a", "good", "film"],
                ["does", "n't", "feel", "good"],
                ["utterly", "bad"],
                ["not", "bad"],
            )
        )
        assert splits.test.labels.tolist() == [1, 0, 0, 1]
        assert (len(splits.train), len(splits.val)) == (18, 6)
        assert torch.bincount(splits.train.labels).tolist() == [9, 9]
        assert not set(splits.train.words) & set(splits.val.words)
        assert len(set(splits.train.words + splits.val.words)) == 24
        assert splits.probe is splits.test

    def test_signs_that_are_not_drawn_make_no_other_text(self, folder):
        write_tsv(folder / "train.tsv", [*TRAIN, ("\ufeffutterly b\u00adad\u200b", 1)])
        write_tsv(folder / "lexicon.tsv", [], "good\u200b\t1\nbad\t-1")
        splits = sst2.load(folder)
        assert ("utterly", "bad") not in splits.train.words + splits.val.words
        assert not any("\u200b" in word for word in splits.train.vocabulary)
        assert int(splits.test.lexical.abs().sum()) == 4

    def test_texts_that_differ_in_unknown_words_alone_are_told(self, folder):
        write_tsv(folder / "dev.tsv", [*DEV, ("a good , touching film number infinity", 1)])
        message = r"to the model 6 texts of val and 1 of dev.tsv look like some of train: .* scores there are"
        with pytest.warns(UserWarning, match=message):
            sst2.load(folder)

    def test_entries_of_a_lexicon_that_are_no_words_are_told(self, folder):
        write_tsv(folder / "lexicon.tsv", [], "very good\t1\ngood\t1\nbad\t-1\n:)\t1")
        with pytest.warns(UserWarning, match=r"lexicon.tsv holds 2 entries .* not used, such as 'very good'"):
            sst2.load(folder)

    @pytest.mark.parametrize("argument", ["n_train", "n_test"])
    def test_a_count_that_is_none_is_named(self, folder, argument):
        with pytest.raises(KdlibError, match=rf"{argument} must be a whole number of at least 2, not 4.5"):
            sst2.load(folder, **{argument: 4.5})

    def test_windows_line_ends_and_more_columns_are_read(self, folder):
        rows = "\r\n".join(["label\tsource\tsentence", *(f"{label}\tx\t{text}" for text, label in DEV)])
        (folder / "dev.tsv").write_bytes(rows.encode())
        assert sst2.load(folder).test.labels.tolist() == [1, 0, 0, 1]

    def test_repeated_texts_count_once_and_dev_is_not_trained_on(self, folder):
        write_tsv(folder / "train.tsv", [*TRAIN, *TRAIN, DEV[0]])
        splits = sst2.load(folder)
        assert len(splits.train) + len(splits.val) == 24

    def test_numbers_are_upper_bounds(self, folder):
        splits = sst2.load(folder, n_train=10, n_val=4, n_test=2)
        assert [len(part) for part in (splits.train, splits.val, splits.test)] == [10, 4, 2]
        assert torch.bincount(splits.train.labels).tolist() == [5, 5]
        assert len(sst2.load(folder, n_train=1000, n_test=1000).test) == 4

    def test_the_seed_decides_the_split(self, folder):
        one, again, other = (sst2.load(folder, seed=seed) for seed in (0, 0, 1))
        assert one.content_hash() == again.content_hash() != other.content_hash()

    def test_the_vocabulary_is_train_s_and_other_words_are_unknown(self, folder):
        splits = sst2.load(folder)
        assert "utterly" not in splits.train.vocabulary
        assert splits.test.tokens[2, 0] == 1

    def test_long_sentences_are_cut(self, folder):
        write_tsv(folder / "train.tsv", [(f"{n} {text}", label) for n, (text, label) in enumerate(TRAIN)])
        assert sst2.load(folder, max_length=3).test.length == 3


class TestPolarity:
    def test_phrase_labels_of_single_words(self, folder):
        add_phrases(folder)
        found, source = sst2.read_polarity(folder)
        # 0.6 is neutral still and 0.4 negative: the Treebank's classes end at 0.2, 0.4, 0.6, 0.8.
        assert found == {"good": 1, "bad": -1, "slow": -1, "grand": 1}
        assert "phrase labels" in source

    def test_phrase_labels_where_the_archive_has_them(self, folder):
        add_phrases(folder / "original")
        assert sst2.read_polarity(folder)[0]["good"] == 1

    def test_a_lexicon_of_one_s_own(self, folder):
        (folder / "lexicon.tsv").write_text("Good\t1\nbad\t-1\nfilm\t+1\n", encoding="utf-8")
        assert sst2.read_polarity(folder) == ({"good": 1, "bad": -1, "film": 1}, "lexicon.tsv")

    def test_else_the_grammar_s_words(self, folder):
        found, source = sst2.read_polarity(folder)
        assert found == LEXICON and "grammar" in source

    def test_negation_turns_words_round(self, folder):
        test = sst2.load(folder).test
        found = [
            {word: sign for word, sign in zip(words, signs, strict=False) if sign}
            for words, signs in zip(test.words, test.polarity.tolist(), strict=True)
        ]
        assert found == [{"good": 1}, {"good": -1}, {"bad": -1}, {"bad": 1}]
        assert test.lexical.sum(1).tolist() == [1, 1, -1, -1]


class TestBadInput:
    def refused(self, folder, message):
        with pytest.raises(KdlibError, match=message) as caught:
            sst2.load(folder)
        assert "\n" not in str(caught.value)

    def test_no_folder(self, tmp_path):
        self.refused(tmp_path / "nowhere", "sst_folder='.*nowhere' is no folder; name the one that holds train.tsv")

    @pytest.mark.parametrize("name", ["train.tsv", "dev.tsv"])
    def test_a_missing_file(self, folder, name):
        (folder / name).unlink()
        self.refused(folder, rf"{name} is missing; put SST-2 as its archive lays it out into")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (
                "sentence\tlabels\na\t1\n",
                r"dev.tsv, line 1, has no column 'label', only sentence, labels; give sentence",
            ),
            ("text\tlabel\na\t1\n", "dev.tsv, line 1, has no column 'sentence'"),
            ("", "dev.tsv, line 1, has no column 'sentence'"),
            ("sentence\tlabel\na good film\t1\nbad\t2\n", "dev.tsv, line 3, has the label '2'; it must be 0 or 1"),
            ("sentence\tlabel\na good film\n", "dev.tsv, line 2, has 1 columns instead of 2"),
            ("label\tsentence\tlabel\n1\tgood\t0\n", "dev.tsv, line 1, has the column 'label' twice; delete or rename"),
            ("sentence\tlabel\n \t1\n", "dev.tsv, line 2, holds no word"),
            ("sentence\tlabel\na good film\t1\n", "sentences of 1 of the two labels; give some of both"),
            ("sentence\tlabel\na film\t1\nthe film\t0\n", "no word of .*dev.tsv has a polarity in the sentiment words"),
        ],
    )
    def test_a_damaged_file(self, folder, content, message):
        (folder / "dev.tsv").write_text(content, encoding="utf-8")
        self.refused(folder, message)

    def test_another_encoding(self, folder):
        (folder / "dev.tsv").write_bytes("sentence\tlabel\na naïve film\t1\n".encode("latin-1"))
        self.refused(folder, r"dev.tsv is not UTF-8 text \(byte 19\)")

    def test_too_few_sentences(self, folder):
        write_tsv(folder / "train.tsv", [("good", 1), ("bad", 0)])
        self.refused(folder, "train.tsv holds 2 sentences that are not in dev.tsv; at least 8 are needed")

    def test_train_sentences_of_one_label(self, folder):
        write_tsv(folder / "train.tsv", [*TRAIN[:12], *((text, label) for text, label in DEV if label == 0)])
        self.refused(
            folder, "train.tsv has 9 sentences of one label that are not in dev.tsv or val; add some of the other"
        )

    def test_half_of_the_phrase_labels(self, folder):
        add_phrases(folder)
        (folder / "sentiment_labels.txt").unlink()
        self.refused(folder, "sentiment_labels.txt is missing, but its partner is there; give both or neither")

    @pytest.mark.parametrize(
        ("name", "line", "message"),
        [
            ("sentiment_labels.txt", "7|1.5", r"sentiment_labels.txt, line 9, '7\|1.5', is not of the form ID\|VALUE"),
            ("sentiment_labels.txt", "7", r"sentiment_labels.txt, line 9, '7', is not of the form ID\|VALUE"),
            (
                "dictionary.txt",
                "great|99",
                "dictionary.txt, line 8, names the phrase '99', which sentiment_labels.txt lacks",
            ),
            (
                "sentiment_labels.txt",
                "1|0.9",
                r"sentiment_labels.txt, line 9, gives the phrase '1' a second value; delete",
            ),
            (
                "lexicon.tsv",
                "bad\t-1\nBad\t1",
                r"lexicon.tsv, line 2, gives 'Bad' a second polarity; delete one of them",
            ),
            ("Lexicon.tsv", "bad\t-1", r"Lexicon.tsv is not read; call it lexicon.tsv, or something else"),
            ("lexicon.tsv", "great 1", "lexicon.tsv, line 1, 'great 1', is not of the form WORD<TAB>POLARITY"),
            ("lexicon.tsv", "great\t2", r"lexicon.tsv, line 1, 'great\\t2', is not of the form WORD<TAB>POLARITY"),
        ],
    )
    def test_damaged_polarity(self, folder, name, line, message):
        if name.lower() != "lexicon.tsv":
            add_phrases(folder)
        path = folder / name
        if name == "Lexicon.tsv" and os.path.normcase("A") == "a":
            pytest.skip("this file system knows one case only")
        text = path.read_text().rstrip("\n") + "\n" if path.exists() else ""
        path.write_text(text + line + "\n", encoding="utf-8")
        self.refused(folder, message)


class TestTextsAreComparedAsTheModelReadsThem:
    @pytest.mark.parametrize("twin", ["It 's a GOOD film", " it  's a good\u00a0film ", "It ' s a good film"])
    def test_a_twin_of_a_dev_sentence_is_not_trained_on(self, folder, twin):
        write_tsv(folder / "train.tsv", [*TRAIN, (twin, 1)])
        splits = sst2.load(folder)
        assert len(splits.train) + len(splits.val) == 24

    def test_nor_one_in_another_unicode_form(self, folder):
        forms = [unicodedata.normalize(form, "na\u00efve and good") for form in ("NFC", "NFD")]
        write_tsv(folder / "dev.tsv", [*DEV, (forms[0], 1)])
        write_tsv(folder / "train.tsv", [*TRAIN, (forms[1], 1)])
        splits = sst2.load(folder)
        assert len(splits.train) + len(splits.val) == 24
        assert splits.test.words[-1] == ("na\u00efve", "and", "good")

    def test_nor_one_that_differs_only_beyond_the_words_that_are_read(self, folder):
        long = " ".join(f"word{number}" for number in range(50))
        write_tsv(folder / "dev.tsv", [*DEV, (f"{long} good", 1)])
        write_tsv(folder / "train.tsv", [*TRAIN, (f"{long} bad", 0)])
        splits = sst2.load(folder)
        assert len(splits.train) + len(splits.val) == 24

    def test_nor_one_that_dev_and_val_go_on_beyond_what_is_read(self, folder):
        """The longest text of train says how much is read."""
        long = " ".join(f"word{number}" for number in range(9))
        write_tsv(folder / "train.tsv", [*TRAIN, *((f"{long}{ending}", 1) for ending in ("", " a", " b"))])
        write_tsv(folder / "dev.tsv", [*DEV, (f"{long} and more", 1), (f"{long} a tail", 0)])
        for seed in range(6):
            splits = sst2.load(folder, seed=seed)
            assert not set(splits.train.words) & (set(splits.val.words) | set(splits.test.words))
            assert not set(splits.val.words) & set(splits.test.words)

    def test_twins_in_train_count_once_and_so_are_not_in_train_and_val(self, folder):
        write_tsv(folder / "train.tsv", [*TRAIN, *((text.upper(), label) for text, label in TRAIN)])
        splits = sst2.load(folder)
        assert len(splits.train) + len(splits.val) == 24
        assert not set(splits.train.words) & set(splits.val.words)


@pytest.mark.parametrize("name", ["train.tsv", "dev.tsv"])
def test_a_byte_order_mark_and_old_line_ends_are_read(folder, name):
    before = sst2.load(folder)
    text = (folder / name).read_text(encoding="utf-8")
    (folder / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert sst2.load(folder).content_hash() == before.content_hash()


@pytest.mark.parametrize("name", ["dictionary.txt", "lexicon.tsv"])
def test_a_byte_order_mark_is_no_part_of_the_first_word(folder, name):
    if name == "lexicon.tsv":
        (folder / name).write_text("good\t1\nbad\t-1\n", encoding="utf-8-sig")
    else:
        add_phrases(folder)
        (folder / name).write_text((folder / name).read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert sst2.read_polarity(folder)[0]["good"] == 1


WORDS = st.lists(st.sampled_from(["good", "bad", "Film", "a", ",", "caf\u00e9", "cafe\u0301"]), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(WORDS.map(" ".join), st.sampled_from([0, 1])), max_size=20))
def test_no_text_of_dev_or_val_is_in_train_whatever_the_files_hold(rows):
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        write_tsv(folder / "train.tsv", [*rows, *TRAIN])
        write_tsv(folder / "dev.tsv", [*DEV, *rows[: len(rows) // 2]])
        splits = sst2.load(folder)
        assert not set(splits.train.words) & (set(splits.val.words) | set(splits.test.words))
        assert not set(splits.val.words) & set(splits.test.words)
