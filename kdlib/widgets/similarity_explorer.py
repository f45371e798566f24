"""An explorer of class similarity: what each network gives to which wrong class, as class-by-class matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import anywidget
import matplotlib as mpl
import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from kdlib.errors import KdlibError, choose
from kdlib.metrics.class_similarity import rank_correlation
from kdlib.plotting.tables import with_minus
from kdlib.widgets.common import (
    check_place,
    check_superclasses,
    content_key,
    group_colours,
    model_colours,
    new_figure,
    source,
    title_of,
)
from kdlib.widgets.similarity_matrices import CODES, checked_matrix, pack, swept_names

STATE_BYTES = 1_000_000
STEPS = 33  # colours of a scale
VIEWS = ("side by side", "difference")
# Readable for colour-blind readers, and in lightness alone.
VALUES_MAP, DIFFERENCE_MAP = "viridis", "PuOr"
SWEPT_TITLES = {"ls_student": "LS teacher's student"}  # one name for the arms of all temperatures


class SimilarityExplorer(anywidget.AnyWidget):
    """Matrices of mean log-probabilities, two at a time or their difference; made by `similarity_explorer`.

    `left`, `right`, `view`, `temperature` and the pair `row`, `column` (indices of classes) follow the reader's choice
    and may be set or linked from Python; everything shown is computed in the browser.
    """

    _esm = source("similarity_explorer", "js")
    _css = source("similarity_explorer", "css")

    left = traitlets.Unicode().tag(sync=True)
    right = traitlets.Unicode().tag(sync=True)
    view = traitlets.Enum(VIEWS, "side by side").tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    row = traitlets.Int(0).tag(sync=True)
    column = traitlets.Int(1).tag(sync=True)

    models = traitlets.List(traitlets.Dict()).tag(sync=True)
    values = traitlets.Bytes().tag(sync=True)
    lowest = traitlets.Float().tag(sync=True)
    codes = traitlets.Int(CODES).tag(sync=True)
    temperatures = traitlets.List(traitlets.Float()).tag(sync=True)
    class_names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    superclass_names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    superclass_of = traitlets.List(traitlets.Int()).tag(sync=True)
    superclass_colours = traitlets.List(traitlets.Unicode()).tag(sync=True)
    value_colours = traitlets.List(traitlets.Unicode()).tag(sync=True)
    difference_colours = traitlets.List(traitlets.Unicode()).tag(sync=True)
    static_key = traitlets.Unicode().tag(sync=True)

    @traitlets.validate("left", "right")
    def _check_model(self, proposal: dict) -> str:
        return choose(proposal["value"], [model["name"] for model in self.models], "model")

    @traitlets.validate("temperature")
    def _check_temperature(self, proposal: dict) -> float:
        if self.temperatures and proposal["value"] not in self.temperatures:
            raise KdlibError(f"temperature must be one of {self.temperatures}, not {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("row", "column")
    def _check_class(self, proposal: dict) -> int:
        return check_place(proposal["value"], len(self.class_names), "a class")

    def __repr__(self) -> str:
        swept = f"; T = {', '.join(f'{t:g}' for t in self.temperatures)}" if self.temperatures else ""
        return (
            f"SimilarityExplorer({len(self.class_names)} classes: {', '.join(m['name'] for m in self.models)}{swept})"
        )

    def matrix(self, name: str) -> Tensor:
        """(K, K) float64 of one model as the browser has it, NaN where a class has no images; a swept model's at the
        present temperature."""
        model = next(m for m in self.models if m["name"] == choose(name, [m["name"] for m in self.models], "model"))
        classes = len(self.class_names)
        place = model["start"] + (self.temperatures.index(self.temperature) if model["swept"] else 0)
        codes = np.frombuffer(self.values, "<u2").reshape(-1, classes, classes)[place].astype(np.float64)
        return torch.from_numpy(np.where(codes > CODES, np.nan, self.lowest * (1 - codes / CODES)))

    def title(self, name: str) -> str:
        """A model's name for readers; a swept one's with the present temperature."""
        model = next(m for m in self.models if m["name"] == name)
        return f"{model['title']}, T = {self.temperature:g}" if model["swept"] else model["title"]

    def numbers(self, name: str) -> dict[str, float]:
        """Mean of the matrix over pairs of siblings and over other pairs of classes; NaN where there are none."""
        matrix, groups = self.matrix(name), torch.tensor(self.superclass_of)
        same, other = groups[:, None] == groups, ~torch.eye(len(groups), dtype=torch.bool)
        known = ~matrix.isnan()
        return {
            "siblings": float(matrix[same & other & known].mean()),
            "others": float(matrix[~same & known].mean()),
        }

    def correlation(self) -> float:
        """Spearman's rho of the two shown matrices off the diagonal, over the pairs that both have."""
        left, right = self.matrix(self.left), self.matrix(self.right)
        keep = ~torch.eye(len(left), dtype=torch.bool) & ~left.isnan() & ~right.isnan()
        return rank_correlation(left[keep], right[keep])

    def describe(self) -> str:
        """The present state in words: the text alternative of the still picture."""
        each = []
        for name in (self.left, self.right):
            numbers = self.numbers(name)
            each.append(
                f"{self.title(name)} gives a sibling {_words(numbers['siblings'])} and another class "
                f"{_words(numbers['others'])}"
            )
        rows = f"images of {self.class_names[self.row]}, {self.class_names[self.column]}"
        pair = [float(self.matrix(name)[self.row, self.column]) for name in (self.left, self.right)]
        return (
            f"Mean log-probabilities, class by class, in nats: {'; '.join(each)}. Spearman's rho between the two off "
            f"the diagonal is {_words(self.correlation())}. Pair {rows}: {_words(pair[0])} and {_words(pair[1])}."
        )

    def draw(self) -> Figure:
        """The present state as a matplotlib figure: two matrices or their difference, superclasses outlined."""
        figure = new_figure(7.6, 4.2)
        order = sorted(range(len(self.class_names)), key=lambda c: (self.superclass_of[c], c))
        left, right = (self.matrix(name)[order][:, order] for name in (self.left, self.right))
        diagonal = torch.eye(len(order), dtype=torch.bool)
        if self.view == "difference":
            axes = figure.subplots()
            shown = (right - left).masked_fill(diagonal, math.nan)
            top = max(1e-6, float(shown[~shown.isnan()].abs().max()))
            image = self._draw_matrix(axes, shown, order, DIFFERENCE_MAP, -top, top)
            axes.set_title(f"{self.title(self.right)} minus {self.title(self.left)}", fontsize=10)
            figure.colorbar(image, ax=axes, shrink=0.8).set_label("difference in nats", fontsize=8)
            return figure
        row_of_axes = figure.subplots(1, 2)
        both = torch.stack([left, right]).masked_fill(diagonal, math.nan)
        known = both[~both.isnan()]
        for axes, matrix, name in zip(row_of_axes, both, (self.left, self.right), strict=True):
            image = self._draw_matrix(axes, matrix, order, VALUES_MAP, float(known.min()), float(known.max()))
            axes.set_title(self.title(name), fontsize=10)
        row_of_axes[1].set_yticks([])
        row_of_axes[0].set_ylabel("images of", fontsize=8)
        figure.colorbar(image, ax=row_of_axes, shrink=0.8).set_label("mean log-probability in nats", fontsize=8)
        return figure

    def _draw_matrix(self, axes: Axes, matrix: Tensor, order: list[int], colours: str, low: float, high: float):
        axes.set_facecolor("#b9c0c8")  # the diagonal and classes without images
        image = axes.imshow(matrix.numpy(), cmap=colours, vmin=low, vmax=high, interpolation="nearest")
        if len(order) <= 30:
            names = [self.class_names[c] for c in order]
            axes.set_yticks(range(len(order)), names, fontsize=6)
            axes.set_xticks(range(len(order)), names, fontsize=6, rotation=90)
        else:
            axes.set_xticks([])
            axes.set_yticks([])
        groups = [self.superclass_of[c] for c in order]
        for group in set(groups):
            start, size = groups.index(group), groups.count(group)
            corner = (start - 0.5, start - 0.5)
            axes.add_patch(Rectangle(corner, size, size, fill=False, edgecolor="white", linewidth=3))
            axes.add_patch(Rectangle(corner, size, size, fill=False, edgecolor="#1b1f24", linewidth=1.4))
        return image


def similarity_explorer(
    matrices: Mapping[str, Tensor],
    class_names: Sequence[str],
    superclass_names: Sequence[str],
    superclass_of: Sequence[int],
    *,
    sweep: Mapping[float, Mapping[str, Tensor]] | None = None,
    left: str | None = None,
    right: str | None = None,
    temperature: float | None = None,
    colours: Mapping[str, str] | None = None,
    titles: Mapping[str, str] | None = None,
    max_bytes: int = STATE_BYTES,
) -> SimilarityExplorer:
    """A widget over class-by-class matrices of mean log-probabilities: two networks side by side, or their difference.

    matrices: model -> (K, K), row i the mean of log p over images of class i (`metrics.class_similarity.
    similarity_matrix`), a row of NaN for a class without images; for the fixed models, such as teacher, scratch,
    label_smoothing and kd. sweep: temperature T -> {name: (K, K)}, the same names at every T, such as "ls_teacher" for
    the label-smoothed teacher's outputs softened by T (what its student is trained on) and "ls_student" for the student
    distilled at that T; the reader's slider chooses among the temperatures. left, right: the two models shown at
    first; teacher and kd where there are such, else the first two. temperature: the slider's first place; the lowest
    if not given. superclass_of: for each of the K classes the index of its superclass. colours, titles: #rrggbb and
    names for readers of models that are not the book's. max_bytes: bound of the matrices in the page.

    Values are packed in 16 bits: the error is at most |lowest value| / 131,000, below 0.0005 nats for log-probabilities
    above -65. Shown are the matrices with superclasses as outlined blocks, the value of the pair under mouse or
    keyboard, the mean over siblings and over other classes, and Spearman's rho between the two matrices.

    Raises KdlibError for matrices that are not (K, K), values that no mean log-probability has, an unknown name, and
    sweeps whose temperatures do not hold the same models.

    >>> logs = torch.log_softmax(torch.tensor([[3.0, 1.0, 0.0], [1.0, 3.0, 0.0], [0.0, 0.0, 3.0]]), 1)
    >>> explorer = similarity_explorer({"teacher": logs, "kd": logs / 2 - 1}, ["cat", "dog", "car"],
    ...                                ["animal", "vehicle"], [0, 0, 1])
    >>> explorer
    SimilarityExplorer(3 classes: teacher, kd)
    >>> {name: round(value, 3) for name, value in explorer.numbers("teacher").items()}
    {'siblings': -2.17, 'others': -3.132}
    """
    classes = len(class_names)
    check_superclasses(class_names, superclass_names, superclass_of)
    swept = swept_names(matrices, sweep or {})
    temperatures = sorted(float(t) for t in sweep or {})
    names = [*matrices, *swept]
    if len(names) < 2:
        raise KdlibError(f"similarity_explorer needs at least two models to compare, not {len(names)}")
    stack = [checked_matrix(matrices[name], classes, f"'{name}'") for name in matrices]
    by_temperature = {float(t): each for t, each in (sweep or {}).items()}
    for name in swept:
        stack += [checked_matrix(by_temperature[t][name], classes, f"'{name}' at T = {t:g}") for t in temperatures]
    values, lowest = pack(torch.stack(stack))
    if len(values) * 4 // 3 > max_bytes:
        raise KdlibError(
            f"{len(stack)} matrices of {classes} classes take {len(values) * 4 / 3e6:.1f} MB of widget state, more "
            f"than {max_bytes / 1e6:.1f} MB; give fewer classes or temperatures"
        )
    shades = model_colours(names, colours)
    entries = []
    for place, name in enumerate(names):
        late = place - len(matrices)
        entries.append({
            "name": name,
            "title": {**SWEPT_TITLES, **(titles or {})}.get(name) or title_of(name),
            "colour": shades[name],
            "swept": late >= 0,
            "start": place if late < 0 else len(matrices) + late * len(temperatures),
        })  # fmt: skip
    if left is None:
        left = "teacher" if "teacher" in names and right != "teacher" else next(n for n in names if n != right)
    if right is None:
        right = "kd" if "kd" in names and left != "kd" else next(n for n in names if n != left)
    for name in (left, right):
        choose(name, names, "model")
    if temperature is None:
        temperature = temperatures[0] if temperatures else 1.0
    state = {
        "models": entries,
        "values": values,
        "lowest": lowest,
        "temperatures": temperatures,
        "class_names": list(class_names),
        "superclass_names": list(superclass_names),
        "superclass_of": [int(g) for g in superclass_of],
        "superclass_colours": group_colours(len(superclass_names)),
        "value_colours": _colours(VALUES_MAP),
        "difference_colours": _colours(DIFFERENCE_MAP),
    }
    # The first pair of siblings, so that the first reading says something.
    pairs = [(i, j) for i in range(classes) for j in range(classes) if i != j and superclass_of[i] == superclass_of[j]]
    row, column = pairs[0] if pairs else (0, 1)
    widget = SimilarityExplorer(**state, left=left, right=right, temperature=float(temperature), row=row, column=column)
    widget.static_key = content_key("similarity", *state.values(), left, right, temperature)
    return widget


def _words(value: float) -> str:
    return "unknown" if math.isnan(value) else with_minus(f"{value:.2f}")


def _colours(name: str) -> list[str]:
    return [to_hex(colour) for colour in mpl.colormaps[name](np.linspace(0, 1, STEPS))]
