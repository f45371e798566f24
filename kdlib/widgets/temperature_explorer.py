"""An explorer of softened outputs: one teacher, several students, any temperature, all in the reader's browser."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import anywidget
import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from kdlib.errors import KdlibError, choose
from kdlib.widgets.common import (
    check_images,
    check_superclasses,
    content_key,
    floats,
    group_colours,
    hatch,
    make_sprite,
    model_colours,
    new_figure,
    source,
    title_of,
)

# 0.5 to 20 in nearly even steps of log T, at numbers that people choose.
TEMPERATURES = (
    0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0,
    5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0,
)  # fmt: skip
SPRITE_BYTES = 600_000


class TemperatureExplorer(anywidget.AnyWidget):
    """Softened outputs of a teacher and a student; made by `temperature_explorer`.

    `image`, `temperature` and `student` follow the reader's choice and may be set or linked from Python; everything
    shown is computed in the browser from the logits.
    """

    _esm = source("temperature_explorer", "js")
    _css = source("temperature_explorer", "css")

    image = traitlets.Int(0).tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    student = traitlets.Unicode().tag(sync=True)

    sprite = traitlets.Bytes().tag(sync=True)
    sprite_type = traitlets.Unicode().tag(sync=True)
    sprite_columns = traitlets.Int().tag(sync=True)
    tile = traitlets.List(traitlets.Int()).tag(sync=True)
    labels = traitlets.List(traitlets.Int()).tag(sync=True)
    teacher_logits = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    student_logits = traitlets.Dict().tag(sync=True)
    class_names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    superclass_names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    superclass_of = traitlets.List(traitlets.Int()).tag(sync=True)
    superclass_colours = traitlets.List(traitlets.Unicode()).tag(sync=True)
    colours = traitlets.Dict().tag(sync=True)
    titles = traitlets.Dict().tag(sync=True)
    order = traitlets.List(traitlets.Unicode()).tag(sync=True)  # of the students: a notebook file sorts a dict's keys
    temperatures = traitlets.List(traitlets.Float()).tag(sync=True)
    static_key = traitlets.Unicode().tag(sync=True)

    @traitlets.validate("image")
    def _check_image(self, proposal: dict) -> int:
        if not 0 <= proposal["value"] < len(self.labels):
            raise KdlibError(f"image must be one of 0 to {len(self.labels) - 1}, not {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("student")
    def _check_student(self, proposal: dict) -> str:
        return choose(proposal["value"], self.student_logits, "student")

    @traitlets.validate("temperature")
    def _check_temperature(self, proposal: dict) -> float:
        if not (math.isfinite(proposal["value"]) and proposal["value"] > 0):
            raise KdlibError(f"temperature must be a finite number greater than 0, not {proposal['value']}")
        return proposal["value"]

    def __repr__(self) -> str:
        return f"TemperatureExplorer({len(self.labels)} images, students: {', '.join(self.order)})"

    def probabilities(self, which: str | None = None) -> Tensor:
        """(K,) float64: softmax(z / T) of the chosen image, of the teacher or of the student `which`."""
        logits = self.teacher_logits if which is None else self.student_logits[which]
        return torch.softmax(torch.tensor(logits[self.image], dtype=torch.float64) / self.temperature, dim=0)

    def divergence(self) -> float:
        """KL(teacher^T || student^T) of the chosen image and student, in nats."""
        p, q = self.probabilities(), self.probabilities(self.student)
        return float(torch.xlogy(p, p).sum() - torch.xlogy(p, q).sum())

    def shown_classes(self) -> list[int]:
        """Indices of the classes with a bar: all up to 30, else the teacher's 20 likeliest and the true one."""
        logits, label = self.teacher_logits[self.image], self.labels[self.image]
        if len(logits) <= 30:
            return list(range(len(logits)))
        first = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[:20]
        return first if label in first else [*first, label]

    def describe(self) -> str:
        """The present state in words: the text alternative of the still picture."""
        p, q = self.probabilities(), self.probabilities(self.student)
        first, second = p.topk(2).indices.tolist()
        loss = self.divergence() * self.temperature**2
        return (
            f"Softened outputs at T = {self.temperature:g} for an image of class "
            f"{self.class_names[self.labels[self.image]]}: the teacher gives {self.class_names[first]} {p[first]:.3f} "
            f"and {self.class_names[second]} {p[second]:.3f}; {title_of(self.student)} gives them {q[first]:.3f} "
            f"and {q[second]:.3f}. T² × KL is {loss:.4f} nats."
        )

    def draw(self) -> Figure:
        """The present state as a matplotlib figure: bars of teacher and student, classes grouped by superclass."""
        order = sorted(self.shown_classes(), key=lambda i: (self.superclass_of[i], i))
        count = len(order)
        figure = new_figure(7.6, max(2.6, 0.21 * count + 1.2))
        left, right = figure.subplots(1, 2, sharex=True, sharey=True)
        largest = 0.0
        for axes, name, heading in ((left, None, title_of("teacher")), (right, self.student, title_of(self.student))):
            values = self.probabilities(name)
            largest = max(largest, float(values.max()))
            for row, i in enumerate(order):
                group = self.superclass_of[i]
                axes.barh(
                    row, float(values[i]), height=0.78, facecolor=self.superclass_colours[group],
                    edgecolor="#30363d", linewidth=0.6, hatch=hatch(group),
                )  # fmt: skip
            axes.set_title(heading, color="#1b1f24", fontsize=10, fontweight="bold")
            axes.axvline(0, color=self.colours[name or "teacher"], linewidth=4)
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.tick_params(labelsize=8, left=False)
            axes.set_xlabel(f"probability at T = {self.temperature:g}", fontsize=8)
        left.set_xlim(0, largest * 1.25)  # room for the superclasses' names
        left.set_yticks(range(count), [f"{self.class_names[i]}" for i in order])
        left.invert_yaxis()
        truth = self.labels[self.image]
        for label, i in zip(left.get_yticklabels(), order, strict=True):
            label.set_fontweight("bold" if i == truth else "normal")
        for group, name in enumerate(self.superclass_names):
            rows = [row for row, i in enumerate(order) if self.superclass_of[i] == group]
            if rows:
                middle = sum(rows) / len(rows)
                right.text(largest * 1.24, middle, name, ha="right", va="center", fontsize=8, color="#4f5862")
                if rows[0]:
                    for axes in (left, right):
                        axes.axhline(rows[0] - 0.5, color="#cfd5dc", linewidth=0.7)
        return figure


def temperature_explorer(
    images: Tensor,
    labels: Tensor | Sequence[int],
    teacher_logits: Tensor,
    student_logits: Mapping[str, Tensor],
    class_names: Sequence[str],
    superclass_names: Sequence[str],
    superclass_of: Sequence[int],
    *,
    temperature: float = 4.0,
    student: str | None = None,
    colours: Mapping[str, str] | None = None,
) -> TemperatureExplorer:
    """A widget that shows what a temperature does to a teacher's and a student's outputs on real images.

    images: (n, C, H, W) uint8. labels: (n,) class indices. teacher_logits: (n, K). student_logits: name -> (n, K);
    `kd`, `scratch` and `label_smoothing` get the book's colours, others may be given in `colours` (#rrggbb).
    superclass_of: for each of the K classes the index of its superclass. The widget shows, per image and T in
    0.5 ... 20, softmax(z / T), KL(teacher^T || student^T) in nats, T^2 * KL (the term of the KD loss) and entropies.

    Raises KdlibError for shapes that do not fit, logits that are not finite, and labels without a name.

    >>> explorer = temperature_explorer(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), [0, 2],
    ...     torch.tensor([[3.0, 1.0, 0.0], [0.0, 1.0, 3.0]]), {"kd": torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])},
    ...     ["cat", "dog", "car"], ["animal", "vehicle"], [0, 0, 1], temperature=2.0)
    >>> explorer
    TemperatureExplorer(2 images, students: kd)
    >>> [round(v, 3) for v in explorer.probabilities().tolist()]
    [0.629, 0.231, 0.14]
    """
    check_images(images, "images")
    count, classes = len(images), len(class_names)
    labels = torch.as_tensor(labels)
    if tuple(labels.shape) != (count,):
        raise KdlibError(f"labels must be {count}, one per image, not of shape {tuple(labels.shape)}")
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        bad = int(labels.min()) if int(labels.min()) < 0 else int(labels.max())
        raise KdlibError(f"label {bad} has no name: class_names names {classes} classes; give the names of all")
    check_superclasses(class_names, superclass_names, superclass_of)
    if not student_logits:
        raise KdlibError("student_logits holds no student; give at least one, such as {'kd': logits}")
    for name, logits in {"teacher": teacher_logits, **student_logits}.items():
        if tuple(logits.shape) != (count, classes):
            raise KdlibError(
                f"logits of '{name}' must have shape ({count}, {classes}): images by classes, not {tuple(logits.shape)}"
            )
        if not bool(torch.isfinite(logits).all()):
            raise KdlibError(f"logits of '{name}' hold values that are not finite; was the model trained to the end?")
    sprite, kind, columns, tile = make_sprite(images, SPRITE_BYTES)
    state = {
        "sprite": sprite,
        "sprite_type": kind,
        "sprite_columns": columns,
        "tile": list(tile),
        "labels": labels.tolist(),
        "teacher_logits": floats(teacher_logits.detach().cpu()),
        "student_logits": {name: floats(logits.detach().cpu()) for name, logits in student_logits.items()},
        "class_names": list(class_names),
        "superclass_names": list(superclass_names),
        "superclass_of": [int(g) for g in superclass_of],
        "superclass_colours": group_colours(len(superclass_names)),
        "colours": model_colours(["teacher", *student_logits], colours),
        "titles": {name: title_of(name) for name in student_logits},
        "order": list(student_logits),
        "temperatures": list(TEMPERATURES),
    }
    if student is None:
        student = "kd" if "kd" in student_logits else next(iter(student_logits))
    choose(student, student_logits, "student")
    if not (math.isfinite(temperature) and 0.5 <= temperature <= 20):
        raise KdlibError(f"temperature must be a number from 0.5 to 20, not {temperature}")
    nearest = min(TEMPERATURES, key=lambda t: abs(math.log(t / temperature)))
    widget = TemperatureExplorer(**state, temperature=nearest, student=student)
    widget.static_key = content_key("temperature", *state.values(), nearest, student)
    return widget
