"""An explorer of word attributions: a sentence, which way each network takes each of its words, and the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anywidget
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from kdlib.data.drawn.sentences import SentenceSet
from kdlib.errors import KdlibError, choose
from kdlib.metrics.word_attribution import POSITIVE
from kdlib.widgets.common import content_key, model_colours, new_figure, source, title_of

#: Teal for words that speak for "positive", brown for "negative": no model has these colours.
SIGN_COLOURS = {1: "#01665E", -1: "#8C510A"}
THRESHOLDS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
_DIGITS = 4


class WordExplorer(anywidget.AnyWidget):
    """Sentences with each word's attribution under every network; made by `word_explorer`.

    `sentence`, `method` and `threshold` follow the reader's choice and may be set or linked from Python. A word is
    marked + or - where its attribution reaches `threshold` times the largest of its sentence under that network.
    """

    _esm = source("word_explorer", "js")
    _css = source("word_explorer", "css")

    sentence = traitlets.Int(0).tag(sync=True)
    method = traitlets.Unicode().tag(sync=True)
    threshold = traitlets.Float(0.05).tag(sync=True)

    words = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)
    truth = traitlets.List(traitlets.List(traitlets.Int())).tag(sync=True)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    models = traitlets.List(traitlets.Dict()).tag(sync=True)
    methods = traitlets.List(traitlets.Unicode()).tag(sync=True)
    method_titles = traitlets.List(traitlets.Unicode()).tag(sync=True)
    thresholds = traitlets.List(traitlets.Float()).tag(sync=True)
    sign_colours = traitlets.List(traitlets.Unicode()).tag(sync=True)
    static_key = traitlets.Unicode().tag(sync=True)

    @traitlets.validate("sentence")
    def _check_sentence(self, proposal: dict) -> int:
        if not 0 <= proposal["value"] < len(self.words):
            raise KdlibError(f"sentence must be one of 0 to {len(self.words) - 1}, not {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("method")
    def _check_method(self, proposal: dict) -> str:
        return choose(proposal["value"], self.methods, "attribution method")

    def __repr__(self) -> str:
        names = ", ".join(model["name"] for model in self.models)
        return f"WordExplorer({len(self.words)} sentences; {names})"

    def strengths(self, model: dict) -> list[float]:
        """Attribution of each word of the chosen sentence over the largest in size, in [-1, 1]."""
        values = model["attributions"][self.method][self.sentence]
        largest = max(map(abs, values), default=0.0)
        return [value / largest if largest else 0.0 for value in values]

    def right_signs(self, model: dict) -> int:
        """How many sentiment words of the chosen sentence have an attribution of the right sign."""
        pairs = zip(self.strengths(model), self.truth[self.sentence], strict=True)
        return sum(strength * sign > 0 for strength, sign in pairs)

    def describe(self) -> str:
        """The present state in words: the text alternative of the still picture."""
        polar = sum(map(abs, self.truth[self.sentence]))
        counted = [f"{model['title']} {self.right_signs(model)}" for model in self.models]
        return (
            f"“{' '.join(self.words[self.sentence])}” is labelled {self.labels[self.sentence]}. Of its {polar} "
            f"sentiment words, this many have an attribution of the right sign: {', '.join(counted)}."
        )

    def draw(self) -> Figure:
        """The present state as a matplotlib figure: a row of shaded words for the truth and for each network."""
        words, truth = self.words[self.sentence], [float(sign) for sign in self.truth[self.sentence]]
        rows = [("Truth", truth), *((model["title"], self.strengths(model)) for model in self.models)]
        figure = new_figure(max(5.0, 0.095 * sum(len(word) + 2 for word in words) + 1.6), 0.42 * len(rows) + 0.4)
        shade_words(figure.subplots(), words, rows, self.threshold, bold=self.truth[self.sentence])
        return figure


def shade_words(
    axis: Axes,
    words: Sequence[str],
    rows: Sequence[tuple[str, Sequence[float]]],
    threshold: float,
    *,
    bold: Sequence[int] = (),
) -> None:
    """Rows of (name, strengths in [-1, 1]) under one line of words; cells are coloured by sign, + and - say it too."""
    edges = [0.0]
    for word in words:
        edges.append(edges[-1] + len(word) + 1.6)
    for row, (_, strengths) in enumerate(rows):
        for place, strength in enumerate(strengths):
            left, width = edges[place], edges[place + 1] - edges[place]
            colour, size = SIGN_COLOURS[1 if strength > 0 else -1], abs(strength)
            axis.barh(row, width, left=left, height=0.9, color=colour, alpha=0.9 * size, linewidth=0)
            if size and size >= threshold:
                ink = "white" if size > 0.7 else "black"
                axis.text(left + width / 2, row, "+" if strength > 0 else "−", ha="center", va="center", color=ink)
    for place, word in enumerate(words):
        weight = "bold" if len(bold) > place and bold[place] else "normal"
        axis.text(
            (edges[place] + edges[place + 1]) / 2, -0.62, word, ha="center", va="bottom", family="monospace",
            fontsize=9, fontweight=weight,
        )  # fmt: skip
    axis.set_xlim(0, edges[-1])
    axis.set_ylim(len(rows) - 0.45, -1.25)
    axis.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=9)
    axis.set_xticks([])
    axis.grid(visible=False)
    axis.tick_params(left=False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def word_explorer(
    sentences: SentenceSet,
    attributions: Mapping[str, Mapping[str, Tensor]],
    logits: Mapping[str, Tensor],
    *,
    threshold: float = 0.05,
    colours: Mapping[str, str] | None = None,
) -> WordExplorer:
    """A widget over sentences and the attributions of their words under several networks.

    sentences: those to show (take a `subset`). attributions: method ("gradient_x_input", ...) -> model -> (N, L),
    positive where a word speaks for "positive". logits: model -> (N, 2).

    >>> import torch
    >>> from kdlib.data.drawn.sentences import encode
    >>> tiny = encode([["not", "good"]], [0], ("[PAD]", "[UNK]"), {"good": 1}, length=2, name="tiny")
    >>> explorer = word_explorer(tiny, {"gradient_x_input": {"kd": torch.tensor([[-1.0, -2.0]])}},
    ...                          {"kd": torch.zeros(1, 2)})
    >>> explorer, explorer.right_signs(explorer.models[0])
    (WordExplorer(1 sentences; kd), 1)
    """
    if not attributions or not next(iter(attributions.values())):
        raise KdlibError("there is no attribution to show; give some, such as {'gradient_x_input': {'kd': (N, L)}}")
    names = list(next(iter(attributions.values())))
    for method, by_model in attributions.items():
        for name in names:
            choose(name, by_model, f"model of method '{method}'")
            choose(name, logits, "model with logits")
            if by_model[name].shape != sentences.tokens.shape:
                raise KdlibError(
                    f"attributions of '{name}' must be of shape {tuple(sentences.tokens.shape)}, one for each word, "
                    f"not {tuple(by_model[name].shape)}"
                )
    sizes = [len(words) for words in sentences.words]
    shades = model_colours(names, colours)
    models = [
        {
            "name": name,
            "title": title_of(name),
            "colour": shades[name],
            "positive": _rounded(logits[name].double().softmax(1)[:, POSITIVE]),
            "attributions": {
                method: [_rounded(row[:size]) for row, size in zip(by_model[name], sizes, strict=True)]
                for method, by_model in attributions.items()
            },
        }
        for name in names
    ]
    state = {
        "words": [list(words) for words in sentences.words],
        "truth": [row[:size] for row, size in zip(sentences.polarity.tolist(), sizes, strict=True)],
        "labels": [sentences.class_names[label] for label in sentences.labels.tolist()],
        "models": models,
        "methods": list(attributions),
        "method_titles": [method.replace("_x_", " × ").replace("_", " ") for method in attributions],
        "thresholds": sorted({*THRESHOLDS, float(threshold)}),
        "sign_colours": [SIGN_COLOURS[-1], SIGN_COLOURS[1]],
    }
    widget = WordExplorer(**state, method=next(iter(attributions)), threshold=float(threshold))
    widget.static_key = content_key("words", *state.values(), threshold)
    return widget


def _rounded(values: Tensor) -> list[float]:
    """Floats with four significant digits: more would only fill the page."""
    return [float(f"{value:.{_DIGITS}g}") for value in values.detach().cpu().double().tolist()]
