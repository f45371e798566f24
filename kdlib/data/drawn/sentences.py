"""Sentences with a sentiment, and which of their words carry it: the language experiment's data.

`load` draws sentences of the grammar in `kdlib.data.drawn.sentences_grammar`, whose every sentiment word is known;
sentences from files (SST-2 as in its archive) are read by `kdlib.data.sst2`. Both give `Splits` of
`SentenceSet`.

>>> splits = load(n_train=200, n_val=50, n_test=50)
>>> splits.train.num_classes, len(splits.test)
(2, 50)
"""

from __future__ import annotations

import hashlib
import random
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from kdlib.data.drawn.sentences_grammar import NEGATORS, Sentence, draw_sentence, positive_probability
from kdlib.data.labelled_set import Splits
from kdlib.data.task import CLASSIFICATION, Task
from kdlib.errors import KdlibError, check_seed, positive_integer

PAD, UNKNOWN = 0, 1  # ids of the two tokens that are no words
SPECIAL = ("[PAD]", "[UNK]")
CLASS_NAMES = ("negative", "positive")
MINIMUM_COUNT = 2  # a word seen once in training is unknown, so that "unknown" has something to learn from
NEGATION_WORDS = (*NEGATORS, "no", "n't", "nothing", "neither", "nor", "without", "cannot")
NEGATION_REACH = 3  # words
_PARTS = {"train": range(7), "val": range(7, 8), "test": range(8, 10)}  # tenths of all sentences
_TOKEN = re.compile(r"n't|[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]")
_MAXIMUM_DRAWS = 200  # for each sentence; after that the grammar counts as exhausted


@dataclass(frozen=True)
class SentenceSet:
    """N labelled sentences on one device, as token ids, with each word's polarity.

    tokens: (N, L) int64, padded with `PAD` at the end. labels: (N,) int64, indices of `class_names`.
    vocabulary: the word of each id; the first two are `SPECIAL`. lexical, polarity: (N, L) int8, +1 positive,
    -1 negative, 0 neither; the first is each word's own, the second what it means in its sentence (negation turns it
    round). words: the words themselves, also those that the vocabulary lacks.
    positive_probability: (N,) float32, P(label = positive) where the data's maker knows it.

    >>> tiny = encode([["not", "good"]], [0], ("[PAD]", "[UNK]", "good"), {"good": 1}, length=3, name="tiny")
    >>> tiny.tokens, tiny.lexical, tiny.polarity
    (tensor([[1, 2, 0]]), tensor([[0, 1, 0]], dtype=torch.int8), tensor([[ 0, -1,  0]], dtype=torch.int8))
    """

    task: ClassVar[Task] = CLASSIFICATION

    name: str
    tokens: Tensor
    labels: Tensor
    vocabulary: tuple[str, ...]
    lexical: Tensor
    polarity: Tensor
    words: tuple[tuple[str, ...], ...]
    positive_probability: Tensor | None = None
    class_names: tuple[str, ...] = CLASS_NAMES

    def __post_init__(self) -> None:
        count = len(self.tokens)
        if self.tokens.ndim != 2 or self.tokens.dtype != torch.int64 or not count:
            raise KdlibError(
                f"tokens of '{self.name}' must be int64 of shape (N, L) with at least one sentence, "
                f"not {self.tokens.dtype} of shape {tuple(self.tokens.shape)}"
            )
        low, high = int(self.tokens.min()), int(self.tokens.max())
        if low < 0 or high >= len(self.vocabulary):
            raise KdlibError(
                f"'{self.name}' holds token {low if low < 0 else high}, "
                f"but its vocabulary has tokens 0 to {len(self.vocabulary) - 1}"
            )
        if bool((self.tokens == PAD).all(1).any()):
            raise KdlibError(f"'{self.name}' holds an empty sentence; leave it out")
        shapes = {"labels": (count,), "lexical": self.tokens.shape, "polarity": self.tokens.shape}
        for what, shape in shapes.items():
            if getattr(self, what).shape != torch.Size(shape):
                found = tuple(getattr(self, what).shape)
                raise KdlibError(f"{what} of '{self.name}' must be of shape {tuple(shape)}, not {found}")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= self.num_classes:
            raise KdlibError(
                f"'{self.name}' holds label {low if low < 0 else high}, but labels go from 0 to {self.num_classes - 1}"
            )

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def length(self) -> int:
        """Tokens a sentence has room for."""
        return self.tokens.shape[1]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, (L,)."""
        return (self.length,)

    @property
    def device(self) -> torch.device:
        return self.tokens.device

    @property
    def is_word(self) -> Tensor:
        """(N, L) bool: where there is a word and no padding."""
        return self.tokens != PAD

    def inputs(self, indices: Tensor | slice) -> Tensor:
        """Token ids, (B, L) int64: what models take."""
        return self.tokens[indices]

    def model_options(self) -> dict[str, Any]:
        """What `kdlib.models.build` must know of the sentences: classes, size of the vocabulary, length."""
        return {"num_classes": self.num_classes, "vocabulary": len(self.vocabulary), "length": self.length}

    def to(self, device: torch.device | str) -> SentenceSet:
        """The same set on `device`."""
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in self._tensors().items()}
        return replace(self, **moved)

    def subset(self, indices: Tensor | slice | list[int], name: str | None = None) -> SentenceSet:
        """The chosen sentences, in the order of `indices`."""
        chosen = torch.arange(len(self))[indices if isinstance(indices, slice) else torch.as_tensor(indices).cpu()]
        tensors: dict[str, Any] = {key: tensor[chosen.to(self.device)] for key, tensor in self._tensors().items()}
        return replace(self, name=name or self.name, words=tuple(self.words[i] for i in chosen.tolist()), **tensors)

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def content_hash(self) -> str:
        """SHA-256 over tokens, labels, vocabulary and polarities: two sets with one hash are the same data."""
        digest = hashlib.sha256(repr((self.class_names, self.vocabulary)).encode())
        for tensor in (self.tokens, self.labels, self.lexical, self.polarity):
            digest.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def best_possible_accuracy(self) -> float | None:
        """Expected accuracy of always choosing the likelier label, in [0, 1]; None where probabilities are unknown."""
        if self.positive_probability is None:
            return None
        p = self.positive_probability.double()
        return float(torch.maximum(p, 1 - p).mean())


def tokenise(text: str) -> list[str]:
    """Lower-case words and single punctuation marks; "n't" is one token where a space separates it from its verb.

    >>> tokenise("It's NOT well-made, is n't it?")
    ["it's", 'not', 'well-made', ',', 'is', "n't", 'it', '?']
    """
    return _TOKEN.findall(text.lower())


def make_vocabulary(sentences: Sequence[Sequence[str]], minimum_count: int = MINIMUM_COUNT) -> tuple[str, ...]:
    """`SPECIAL` and every word that occurs at least `minimum_count` times, most frequent first, ties by alphabet.

    >>> make_vocabulary([["a", "b"], ["b"]], minimum_count=1)
    ('[PAD]', '[UNK]', 'b', 'a')
    """
    counts = Counter(word for sentence in sentences for word in sentence)
    kept = sorted((word for word, count in counts.items() if count >= minimum_count), key=lambda w: (-counts[w], w))
    return (*SPECIAL, *kept)


def contextual_polarity(words: Sequence[str], lexicon: Mapping[str, int]) -> list[int]:
    """Each word's polarity in its sentence by a common rule: a negation reverses the next `NEGATION_REACH`.

    A punctuation mark ends a negation's reach. The rule is right for most sentences of the grammar, whose own truth is
    exact, and a rough guide in natural language.

    >>> contextual_polarity("it is n't good , bad".split(), {"good": 1, "bad": -1})
    [0, 0, 0, -1, 0, -1]
    """
    found, left = [], 0
    for word in words:
        sign = lexicon.get(word, 0)
        found.append(-sign if left > 0 else sign)
        left -= 1
        if word in NEGATION_WORDS or word.endswith("n't"):
            left = NEGATION_REACH
        elif not word[0].isalnum():
            left = 0
    return found


def encode(
    sentences: Sequence[Sequence[str]],
    labels: Sequence[int],
    vocabulary: Sequence[str],
    lexicon: Mapping[str, int],
    *,
    length: int,
    name: str,
    polarity: Sequence[Sequence[int]] | None = None,
    positive_probability: Tensor | None = None,
) -> SentenceSet:
    """A `SentenceSet` of split sentences; what is longer than `length` is cut off.

    lexicon: word -> +1 or -1. polarity: each word's in its sentence; None for the rule of `contextual_polarity`.
    """
    ids = {word: index for index, word in enumerate(vocabulary)}
    if polarity is None:
        polarity = [contextual_polarity(words, lexicon) for words in sentences]
    tokens = torch.full((len(sentences), length), PAD)
    own, meant = (torch.zeros(len(sentences), length, dtype=torch.int8) for _ in range(2))
    for row, (words, signs) in enumerate(zip(sentences, polarity, strict=True)):
        size = min(len(words), length)
        tokens[row, :size] = torch.tensor([ids.get(word, UNKNOWN) for word in words[:length]])
        own[row, :size] = torch.tensor([lexicon.get(word, 0) for word in words[:length]])
        meant[row, :size] = torch.tensor(list(signs[:length]))
    kept = tuple(tuple(words[:length]) for words in sentences)
    return SentenceSet(name, tokens, torch.tensor(labels), tuple(vocabulary), own, meant, kept, positive_probability)


def load(n_train: int = 3000, n_val: int = 1000, n_test: int = 2000, *, seed: int = 0) -> Splits[SentenceSet]:
    """Sentences of the grammar; the same seed gives the same ones everywhere. The probe part is the test part.

    No sentence occurs twice, within a part or in two: which part a sentence may be in depends on its own text,
    so that one part does not change with another's size. The vocabulary is that of the training sentences.
    """
    counts = {"train": n_train, "val": n_val, "test": n_test}
    for part, count in counts.items():
        positive_integer(count, f"n_{part}", minimum=2)
    check_seed(seed)
    drawn = {part: list(_draw(part, count, seed)) for part, count in counts.items()}
    words = {part: [[word.text for word in sentence.words] for sentence in drawn[part]] for part in drawn}
    vocabulary = make_vocabulary(words["train"])
    length = max(len(sentence) for part in words.values() for sentence in part)
    parts = {
        part: _encoded(sentences, words[part], vocabulary, length, f"grammar, {part}", seed)
        for part, sentences in drawn.items()
    }
    return Splits("sentences", **parts, probe=parts["test"])


def _draw(part: str, count: int, seed: int) -> Iterator[Sentence]:
    generator = random.Random(f"{part} {seed}")
    seen: set[str] = set()
    for _ in range(_MAXIMUM_DRAWS * count):
        sentence = draw_sentence(generator)
        text = " ".join(word.text for word in sentence.words)
        if text in seen or zlib.crc32(text.encode()) % 10 not in _PARTS[part]:
            continue
        seen.add(text)
        yield sentence
        if len(seen) == count:
            return
    raise KdlibError(f"the grammar has no {count:,} different sentences for {part}; ask for fewer")


def _encoded(
    sentences: Sequence[Sentence],
    words: list[list[str]],
    vocabulary: tuple[str, ...],
    length: int,
    name: str,
    seed: int,
) -> SentenceSet:
    generator = random.Random(f"labels {name} {seed}")
    probabilities = [positive_probability(sentence.score) for sentence in sentences]
    labels = [int(generator.random() < p) for p in probabilities]
    lexicon = {word.text: word.lexical for sentence in sentences for word in sentence.words if word.lexical}
    meant = [[word.contextual for word in sentence.words] for sentence in sentences]
    return encode(
        words,
        labels,
        vocabulary,
        lexicon,
        length=length,
        name=name,
        polarity=meant,
        positive_probability=torch.tensor(probabilities),
    )
