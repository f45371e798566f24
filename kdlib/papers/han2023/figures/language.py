"""Figures of the language chapter: sentences whose words are shaded by what they do to each network."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from kdlib.claims.phrases import with_interval
from kdlib.data.drawn.sentences import SentenceSet
from kdlib.names import MODEL_NAMES
from kdlib.papers.han2023.figures.paired import difference_in_words, seeds_panel
from kdlib.plotting.titles import WIDTH, entitle, headline
from kdlib.stats import Contrast, paired_contrast
from kdlib.widgets.word_explorer import SIGN_COLOURS

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
    """Sentences from top to bottom, a word a line: its true polarity and its attribution under each model.

    attributions: model -> (N, L). Each column is on its own scale, its strongest word in full colour; a word is marked
    + or - from `threshold` of that. Sentiment words are bold.
    """
    lengths = [len(sentences.words[index]) for index in indices]
    figure, axes = plt.subplots(
        len(indices), 1, figsize=(WIDTH, 0.25 * sum(lengths) + 0.8 * len(indices)), squeeze=False, height_ratios=lengths
    )
    for axis, index in zip(axes[:, 0], indices, strict=True):
        words, polarity = sentences.words[index], sentences.polarity[index].tolist()
        columns = {"Truth": [float(sign) for sign in polarity[: len(words)]]}
        for name, values in attributions.items():
            own = values[index, : len(words)].tolist()
            largest = max(map(abs, own)) or 1.0
            columns[MODEL_NAMES.get(name, name)] = [value / largest for value in own]
        for column, strengths in enumerate(columns.values()):
            for row, strength in enumerate(strengths):
                _cell(axis, column, row, strength, threshold)
        axis.set_xticks(range(len(columns)), [textwrap.fill(name, 10) for name in columns], fontsize=9)
        axis.set_yticks(range(len(words)), words, fontsize=9)
        for label, sign in zip(axis.get_yticklabels(), polarity, strict=False):
            label.set_fontweight("bold" if sign else "normal")
        axis.xaxis.tick_top()
        axis.tick_params(length=0)
        axis.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(words) - 0.5, -0.5))
        axis.spines[:].set_visible(False)
        axis.grid(visible=False)
        axis.set_title(f"label: {sentences.class_names[int(sentences.labels[index])]}", fontsize=10, loc="left")
    return figure


def _cell(axis: Axes, column: int, row: int, strength: float, threshold: float) -> None:
    """One word under one model, coloured by the sign of its strength in [-1, 1]; + and - say it too."""
    size = abs(strength)
    colour = SIGN_COLOURS[1 if strength > 0 else -1]
    axis.barh(row, 0.96, left=column - 0.48, height=0.92, color=colour, alpha=0.9 * size, linewidth=0)
    if size and size >= threshold:
        ink = "white" if size > 0.7 else "black"
        axis.text(column, row, _sign(strength), ha="center", va="center", color=ink, fontsize=10)


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
    listed = []
    for index in indices:
        polarity = sentences.polarity[index].tolist()
        each = []
        for place, word in enumerate(sentences.words[index]):
            if polarity[place]:
                signs = [f"{MODEL_NAMES.get(m, m)} {_sign(float(attributions[m][index, place]))}" for m in models]
                each.append(", ".join([f"{word}, truly {_sign(polarity[place])}", *signs]))
        listed.append(f"“{' '.join(sentences.words[index])}”: {'; '.join(each)}")
    return ". ".join(listed)


def _sign(value: float) -> str:
    return "+" if value > 0 else "−" if value < 0 else "0"


def method_name(method: str) -> str:
    """An attribution method as readers see it.

    >>> method_name("gradient_x_input")
    'gradient × input'
    """
    return method.replace("_x_", " × ").replace("_", " ")


def sentence_rows(sentences: SentenceSet, count: int) -> list[dict[str, str]]:
    """Rows of a table: the first sentences, their sentiment words marked, and their labels."""
    rows = []
    for i in range(min(count, len(sentences))):
        marks = zip(sentences.words[i], sentences.polarity[i].tolist(), strict=False)
        row = {"sentence": " ".join(word + ("⁺" if sign > 0 else "⁻" if sign < 0 else "") for word, sign in marks)}
        if sentences.positive_probability is not None:
            row["probability of “positive”"] = f"{100 * float(sentences.positive_probability[i]):.0f} %"
        rows.append(row | {"label": sentences.class_names[int(sentences.labels[i])]})
    return rows


def counting_in_words(sentences: SentenceSet) -> str:
    """How many sentences and sentiment words there are, and how far counting words gets."""
    right = {
        "counting words of praise and of blame": sentences.lexical,
        "counting them with negation turned round": sentences.polarity,
    }
    listed = [
        f"{name} is right on {100 * ((signs.sum(1) > 0).long() == sentences.labels).double().mean():.0f} % of them"
        for name, signs in right.items()
    ]
    best = sentences.best_possible_accuracy()
    limit = "" if best is None else f" The best possible guesser would be right on {100 * best:.1f} % on average."
    polar = int((sentences.polarity != 0).sum())
    return f"There are {len(sentences):,} test sentences with {polar:,} sentiment words; {'; '.join(listed)}.{limit}"


def _means(summaries: Mapping[str, Sequence[Mapping[str, float]]], columns: Mapping[str, str]) -> list[dict[str, str]]:
    """Rows of a table: a network each, means over seeds in percent. columns: heading -> measure."""
    rows = []
    for name, found in summaries.items():
        row = {"network": MODEL_NAMES.get(name, name)}
        for heading, measure in columns.items():
            row[heading] = f"{100 * np.mean([s[measure] for s in found]):.1f}"
        rows.append(row)
    return rows


def summary_rows(summaries: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict[str, str]]:
    """Rows of a table: signs, ranks and the share on sentiment words. summaries: network -> one a seed."""
    columns = {"right sign (%)": "agreement", "rank AUC (%)": "auc"}
    return _means(summaries, columns | {"attribution on sentiment words (%)": "polar_share"})


def negation_rows(summaries: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict[str, str]]:
    """Rows of a table: agreement on all, plain and negated words. summaries: network -> one a seed."""
    columns = {"all sentiment words": "agreement", "plain": "agreement_plain", "negated": "agreement_negated"}
    return _means(summaries, columns)


def draw_plain_and_negated(percent: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """A panel for plain and below it one for negated words, every student in percent; says what it drew.

    percent: "agreement_plain" and "agreement_negated" -> arm -> one value a seed.
    """
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 7.2), sharey=True)
    listed = []
    for axis, kind in zip(axes, ("plain", "negated"), strict=True):
        values = percent[f"agreement_{kind}"]
        listed.append(seeds_panel(axis, values, f"{kind} words with the right sign", "%"))
        difference = difference_in_words(values, "kd", "scratch", f"{kind} words")
        entitle(axis, *difference.replace(": ", ":\n", 1).split("\n"))
    headline(
        figure,
        f"Right signs of {np.mean(_both(percent, 'plain')):.0f} % of plain and "
        f"{np.mean(_both(percent, 'negated')):.0f} % of negated words",
    )
    return " ".join(listed)


def _both(percent: Mapping[str, Mapping[str, Sequence[float]]], kind: str) -> list[float]:
    return [value for values in percent[f"agreement_{kind}"].values() for value in values]


def negation_in_words(percent: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """How KD's agreement with scratch differs on plain and on negated words, and what both say together.

    percent: as `draw_plain_and_negated` has it.

    >>> plain = {"scratch": [80.0, 81.0, 80.5], "kd": [84.0, 85.5, 84.6]}
    >>> negated = {"scratch": [70.0, 69.0, 69.4], "kd": [64.0, 63.5, 64.1]}
    >>> print(negation_in_words({"agreement_plain": plain, "agreement_negated": negated}))
    On negated words the distilled students' agreement drops from 69.5 to 63.9 % on average (KD minus scratch: \
−5.60 (−6.50 to −4.70) points, a difference); on plain words it rises from 80.5 to 84.7 % (+4.20 (+3.54 \
to +4.86) points, a difference).
    """
    listed = []
    for kind in ("negated", "plain"):
        values = percent[f"agreement_{kind}"]
        means = {arm: float(np.mean(values[arm])) for arm in ("scratch", "kd")}
        contrast = paired_contrast(values["kd"], values["scratch"])
        verb = "drops" if means["kd"] < means["scratch"] else "rises" if means["kd"] > means["scratch"] else "stays"
        shown = "a difference" if contrast.excludes_zero else "no difference shown"
        listed.append(
            (
                f"{verb} from {means['scratch']:.1f} to {means['kd']:.1f} %",
                f"{with_interval(contrast, 'points')}, {shown}",
            )
        )
    (negated, by), (plain, by_plain) = listed
    return (
        f"On negated words the distilled students' agreement {negated} on average (KD minus scratch: {by}); on plain "
        f"words it {plain} ({by_plain})."
    )


def choices_in_words(contrasts: Mapping[str, Contrast]) -> str:
    """In how many ways of measuring KD lies above scratch, and in how many that is shown.

    >>> choices_in_words({"a": paired_contrast([3.0, 3.1], [1.0, 1.0]), "b": paired_contrast([0.0, 2.0], [1.0, 1.1])})
    'KD lies above scratch in 1 of 2 ways of measuring, by the means; a difference is shown in 1.'
    """
    above = sum(contrast.mean_difference > 0 for contrast in contrasts.values())
    shown = [name for name, contrast in contrasts.items() if contrast.excludes_zero]
    return (
        f"KD lies above scratch in {above} of {len(contrasts)} ways of measuring, by the means; a difference is shown "
        f"in {len(shown) or 'none'}."
    )


def choices_rows(
    found: Mapping[str, Mapping[str, Sequence[float]]], contrasts: Mapping[str, Contrast]
) -> list[dict[str, str]]:
    """Rows of a table: a way of measuring each. found: way -> arm -> percent, one a seed."""
    return [
        {"measure (%)": name}
        | {MODEL_NAMES.get(arm, arm): f"{np.mean(values):.1f}" for arm, values in arms.items()}
        | {"KD − scratch": with_interval(contrasts[name])}
        for name, arms in found.items()
    ]
