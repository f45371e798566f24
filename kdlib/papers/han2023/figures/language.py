"""Figures of the language chapter: sentences whose words are shaded by what they do to each network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from kdlib.data.drawn.sentences import SentenceSet
from kdlib.names import MODEL_NAMES
from kdlib.widgets.word_explorer import shade_words

_WORDS_THAT_FIT = 13


def example_sentences(sentences: SentenceSet, most_words: int = _WORDS_THAT_FIT) -> list[int]:
    """The first short sentence with a plain sentiment word alone, the first with a negated one, the first contrast.

    A fixed rule, so that no one can choose the sentences that suit a network. What a set lacks is left out.

    >>> from kdlib.data.drawn.sentences import load
    >>> test = load(n_train=50, n_val=10, n_test=200).test
    >>> len(example_sentences(test))
    3
    """
    found: dict[str, int] = {}
    for index, words in enumerate(sentences.words):
        lexical, meant = sentences.lexical[index], sentences.polarity[index]
        polar = int((meant != 0).sum())
        if len(words) > most_words or not polar:
            continue
        negated = bool((lexical != meant).any())
        if "but" in words or "although" in words:
            found.setdefault("contrast", index)
        elif negated:
            found.setdefault("negated", index)
        elif polar == 1:
            found.setdefault("plain", index)
        if len(found) == 3:
            break
    return [found[kind] for kind in ("plain", "negated", "contrast") if kind in found]


def attributed_sentences(
    sentences: SentenceSet, indices: Sequence[int], attributions: Mapping[str, Tensor], *, threshold: float = 0.05
) -> Figure:
    """Sentences, and below each its words' true polarity and their attributions under each model.

    attributions: model -> (N, L). Each row is on its own scale, its strongest word in full colour; a word is marked
    + or - from `threshold` of that. Sentiment words are bold.
    """
    rows = len(attributions) + 1
    figure, axes = plt.subplots(len(indices), 1, figsize=(7.6, len(indices) * (0.32 * rows + 0.75)), squeeze=False)
    for axis, index in zip(axes[:, 0], indices, strict=True):
        words, polarity = sentences.words[index], sentences.polarity[index].tolist()
        shown = [("Truth", [float(sign) for sign in polarity[: len(words)]])]
        for name, values in attributions.items():
            own = values[index, : len(words)].tolist()
            largest = max(map(abs, own)) or 1.0
            shown.append((MODEL_NAMES.get(name, name), [value / largest for value in own]))
        shade_words(axis, words, shown, threshold, bold=polarity)
        axis.set_title(f"label: {sentences.class_names[int(sentences.labels[index])]}", fontsize=10, loc="left")
    return figure


def signs_in_words(
    sentences: SentenceSet, indices: Sequence[int], attributions: Mapping[str, Tensor], models: Sequence[str]
) -> str:
    """Each sentence's sentiment words, and the sign each model gives them, for a figure's text alternative.

    >>> import torch
    >>> from kdlib.data.drawn.sentences import encode
    >>> tiny = encode([["not", "good"]], [0], ("[PAD]", "[UNK]"), {"good": 1}, length=2, name="tiny")
    >>> signs_in_words(tiny, [0], {"kd": torch.tensor([[0.0, 2.0]])}, ["kd"])
    '“not good”: good, truly −, Distilled (KD) +'
    """
    told = []
    for index in indices:
        polarity = sentences.polarity[index].tolist()
        each = []
        for place, word in enumerate(sentences.words[index]):
            if polarity[place]:
                signs = [f"{MODEL_NAMES.get(m, m)} {_sign(float(attributions[m][index, place]))}" for m in models]
                each.append(", ".join([f"{word}, truly {_sign(polarity[place])}", *signs]))
        told.append(f"“{' '.join(sentences.words[index])}”: {'; '.join(each)}")
    return ". ".join(told)


def _sign(value: float) -> str:
    return "+" if value > 0 else "−" if value < 0 else "0"
