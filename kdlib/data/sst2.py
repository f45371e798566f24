"""SST-2 (Socher et al. 2013, as GLUE lays it out) from a folder on your disk; nothing is downloaded.

The folder holds `train.tsv` and `dev.tsv`, each with a header line and the columns `sentence` and `label` (0 negative,
1 positive), separated by a tab. The archive's `test.tsv` has no labels and is not read: results are reported on
dev, and the val part is split off from train. Many of train's entries are phrases, pieces of its sentences; val is
made of other texts, but a phrase in val may be a piece of a sentence in train.

Word polarity comes from the first of these that exists:

1. `dictionary.txt` (lines PHRASE|ID) and `sentiment_labels.txt` (a header, lines ID|VALUE, VALUE in [0, 1]), the phrase
   labels of the Stanford Sentiment Treebank, in the folder or in its subfolder `original`: a single word is negative
   up to 0.4 and positive above 0.6, the Treebank's own bounds of "neutral";
2. `lexicon.tsv`, a file of your own: lines WORD<TAB>POLARITY, POLARITY 1 or -1;
3. the sentiment words of `kdlib.data.drawn.sentences_grammar`.

In a sentence, negation reverses a word's polarity by the rule of `kdlib.data.drawn.sentences.contextual_polarity`.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from kdlib.data.checksums import is_there
from kdlib.data.drawn.sentences import MINIMUM_COUNT, SentenceSet, encode, make_vocabulary, tokenise
from kdlib.data.drawn.sentences_grammar import LEXICON
from kdlib.data.labelled_set import Splits
from kdlib.data.root import expanded
from kdlib.data.splitting import balanced_order
from kdlib.data.text_tables import read_lines
from kdlib.errors import KdlibError, finite_number, positive_integer, shown

COLUMNS = ("sentence", "label")
NEUTRAL = (0.4, 0.6)  # phrase values above the first and up to the second are neutral
_MAXIMUM_LENGTH = 48  # words


def load(
    folder: str | Path,
    n_train: int | None = None,
    n_val: int = 1000,
    n_test: int | None = None,
    *,
    seed: int = 0,
    max_length: int = _MAXIMUM_LENGTH,
) -> Splits[SentenceSet]:
    """The sentences of `folder`; at most n_train, n_val and n_test of them, balanced between the classes.

    Texts are compared as the model reads them: as lower-case words, the first max_length of them, in Unicode's form C,
    without signs that are not drawn. One that occurs twice counts once, with its first label, and one of dev is removed
    from train. What is longer than max_length words, or than every train text, is cut off. The vocabulary is that of
    the train part; texts that differ in words alone that it lacks stay, and are told in a warning. The probe part is
    the test part.

    Raises KdlibError, in one sentence with file and line, for a missing file, column or word, or a label other than 0
    and 1.
    """
    positive_integer(max_length, "max_length")
    root = expanded(folder, "sst_folder")
    if not root.is_dir():
        raise KdlibError(f"sst_folder={str(folder)!r} is no folder; name the one that holds train.tsv and dev.tsv")
    test = _read(root / "dev.tsv", max_length)
    train = {words: label for words, label in _read(root / "train.tsv", max_length).items() if words not in test}
    lexicon, source = read_polarity(root)
    held_out, rest = _split(train, n_val, seed, root / "train.tsv")
    chosen = {
        "train": _take(rest, n_train, seed, "n_train"),
        "val": held_out,
        "test": _take(test, n_test, seed, "n_test"),
    }
    chosen["train"], length = _without_twins(chosen["train"], [*chosen["val"], *chosen["test"]], max_length)
    cut = {words[:length] for words, _ in chosen["test"]}
    chosen["val"] = [(words, label) for words, label in chosen["val"] if words[:length] not in cut]
    if len({label for _, label in chosen["train"]}) < 2:
        raise KdlibError(
            f"{root / 'train.tsv'} has {len(chosen['train'])} sentences of one label that are not in dev.tsv or val; "
            "add some of the other"
        )
    words = {part: [words for words, _ in rows] for part, rows in chosen.items()}
    vocabulary = make_vocabulary(words["train"])
    parts = {
        part: encode(
            words[part],
            [label for _, label in rows],
            vocabulary,
            lexicon,
            length=length,
            name=f"SST-2, {part}",
        )
        for part, rows in chosen.items()
    }
    if not bool(parts["test"].polarity.any()):
        raise KdlibError(
            f"no word of {root / 'dev.tsv'} has a polarity in {source}; give a lexicon.tsv that names some"
        )
    _tell_alike(root, parts)
    return Splits("SST-2", **parts, probe=parts["test"])


def _tell_alike(root: Path, parts: Mapping[str, SentenceSet]) -> None:
    """Warn of texts that are new and yet look to the model like one of train, by words that it does not know."""
    seen = {tuple(tokens) for tokens in parts["train"].tokens.tolist()}
    alike = {part: sum(tuple(tokens) in seen for tokens in parts[part].tokens.tolist()) for part in ("val", "test")}
    if any(alike.values()):
        warnings.warn(
            f"{root}: to the model {alike['val']:,} texts of val and {alike['test']:,} of dev.tsv look like some of "
            f"train: they differ in words alone that train has less than {MINIMUM_COUNT} times; scores there are not "
            "of new texts",
            stacklevel=3,
        )


def read_polarity(folder: str | Path) -> tuple[dict[str, int], str]:
    """Word -> +1 or -1, and where it is from: phrase labels, `lexicon.tsv` or the grammar's words."""
    root = expanded(folder, "sst_folder")
    for place in (root, root / "original"):
        files = place / "dictionary.txt", place / "sentiment_labels.txt"
        there = [is_there(path) for path in files]
        if all(there):
            return _phrase_polarity(*files), "the Treebank's phrase labels"
        if any(there):
            raise KdlibError(f"{files[there.index(False)]} is missing, but its partner is there; give both or neither")
    if is_there(root / "lexicon.tsv"):
        return _own_lexicon(root / "lexicon.tsv"), "lexicon.tsv"
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if path.name.casefold().startswith("lexicon."):
            raise KdlibError(f"{path} is not read; call it lexicon.tsv, or something else")
    return dict(LEXICON), "the sentiment words of the embedded grammar"


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a text file in Unicode's form C, without signs that are not drawn; empty ones are left out."""
    for number, line in read_lines(path, f"put SST-2 as its archive lays it out into {path.parent}"):
        drawn = line if line.isascii() else "".join(sign for sign in line if unicodedata.category(sign) != "Cf")
        if drawn.strip():
            yield number, unicodedata.normalize("NFC", drawn)


def _read(path: Path, max_length: int) -> dict[tuple[str, ...], int]:
    """Words of a text -> label, in the order of the file; the first label of a text that occurs twice."""
    rows = _lines(path)
    header = next(rows, (1, ""))[1].split("\t")
    for column in COLUMNS:
        if column not in header:
            raise KdlibError(
                f"{path}, line 1, has no column '{column}', only {', '.join(header)}; give sentence and label"
            )
        if header.count(column) > 1:
            raise KdlibError(f"{path}, line 1, has the column '{column}' twice; delete or rename one")
    text_at, label_at = (header.index(column) for column in COLUMNS)
    found: dict[tuple[str, ...], int] = {}
    for number, line in rows:
        cells = line.split("\t")
        if len(cells) != len(header):
            raise KdlibError(
                f"{path}, line {number}, has {len(cells)} columns instead of {len(header)}; mend that line"
            )
        if cells[label_at].strip() not in ("0", "1"):
            raise KdlibError(f"{path}, line {number}, has the label {cells[label_at]!r}; it must be 0 or 1")
        words = tuple(tokenise(cells[text_at])[:max_length])
        if not words:
            raise KdlibError(f"{path}, line {number}, holds no word; mend or delete that line")
        found.setdefault(words, int(cells[label_at]))
    if set(found.values()) != {0, 1}:
        raise KdlibError(f"{path} holds sentences of {len(set(found.values()))} of the two labels; give some of both")
    return found


def _split(rows: Mapping[tuple[str, ...], int], n_val: int, seed: int, path: Path) -> tuple[list, list]:
    """Val, at most a quarter of what is there, and the rest."""
    count = min(positive_integer(n_val, "n_val", minimum=2), len(rows) // 4)
    if len(rows) < 8:
        raise KdlibError(f"{path} holds {len(rows)} sentences that are not in dev.tsv; at least 8 are needed")
    items = list(rows.items())
    order = balanced_order(torch.tensor([label for _, label in items]), seed).tolist()
    return [items[i] for i in order[:count]], [items[i] for i in order[count:]]


def _without_twins(rows: list, others: list, max_length: int) -> tuple[list, int]:
    """Train's rows without those that `others` look like once they are cut to the longest of train, and that length."""
    while rows:
        length = min(max_length, max(len(words) for words, _ in rows))
        seen = {words[:length] for words, _ in others}
        kept = [(words, label) for words, label in rows if words[:length] not in seen]
        if len(kept) == len(rows):
            return rows, length
        rows = kept
    return rows, 0


def _take(rows: Mapping[tuple[str, ...], int] | list, count: int | None, seed: int, argument: str) -> list:
    items = list(rows.items()) if isinstance(rows, Mapping) else rows
    if count is None or positive_integer(count, argument, minimum=2) >= len(items):
        return items
    return [items[i] for i in balanced_order(torch.tensor([label for _, label in items]), seed)[:count].tolist()]


def _phrase_polarity(dictionary: Path, values: Path) -> dict[str, int]:
    rows = _lines(values)
    next(rows, None)
    value_of: dict[str, float] = {}
    for number, line in rows:
        key, _, value = line.strip().partition("|")
        try:
            found = finite_number(float(value), "value", minimum=0, maximum=1)
        except ValueError:
            raise KdlibError(
                f"{values}, line {number}, {line.strip()!r}, is not of the form ID|VALUE with VALUE from 0 to 1"
            ) from None
        if value_of.setdefault(key, found) != found:
            raise KdlibError(f"{values}, line {number}, gives the phrase {key!r} a second value; delete one of them")
    lexicon: dict[str, int] = {}
    key_of: dict[str, str] = {}
    for number, line in _lines(dictionary):
        phrase, _, key = line.strip().rpartition("|")
        if key not in value_of:
            raise KdlibError(
                f"{dictionary}, line {number}, names the phrase {key!r}, which {values.name} lacks; "
                "take both from one copy"
            )
        if value_of[key_of.setdefault(phrase, key)] != value_of[key]:
            raise KdlibError(
                f"{dictionary}, line {number}, gives {shown(phrase)} the number {key!r} after {key_of[phrase]!r}, and "
                f"these have two values in {values.name}; delete one of them"
            )
        if tokenise(phrase) == [phrase.lower()] and not NEUTRAL[0] < value_of[key] <= NEUTRAL[1]:
            lexicon[phrase.lower()] = 1 if value_of[key] > NEUTRAL[1] else -1
    return lexicon


def _own_lexicon(path: Path) -> dict[str, int]:
    lexicon: dict[str, int] = {}
    for number, line in _lines(path):
        word, _, sign = line.partition("\t")
        if sign.strip() not in ("1", "+1", "-1") or not word.strip():
            raise KdlibError(
                f"{path}, line {number}, {line.strip()!r}, is not of the form WORD<TAB>POLARITY with POLARITY 1 or -1"
            )
        if lexicon.setdefault(word.strip().lower(), int(sign)) != int(sign):
            raise KdlibError(f"{path}, line {number}, gives '{word.strip()}' a second polarity; delete one of them")
    unread = [word for word in lexicon if tokenise(word) != [word]]
    if unread:
        warnings.warn(
            f"{path} holds {len(unread):,} entries that are no single words to the model and are not used, such as "
            f"{shown(unread[0])}",
            stacklevel=4,
        )
    return lexicon
