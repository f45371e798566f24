"""One look for every figure: the same colour for the same model everywhere, safe for colour-blind readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from kdlib.data.image_set import ImageSet
from kdlib.errors import KdlibError
from kdlib.stats import mean_interval

# Okabe and Ito's palette for the models of every chapter, Paul Tol's "muted" for the others.
MODEL_COLOURS = {
    "teacher": "#000000",
    "scratch": "#E69F00",
    "label_smoothing": "#CC79A7",
    "kd": "#0072B2",
    "truth": "#009E73",
    "untrained": "#999999",
    "ls_teacher": "#661100",
    "self_teacher": "#8C6D1F",
    "kd_t4": "#56B4E9",
    "self_kd": "#332288",
    "at": "#44AA99",
    "ft": "#882255",
    "crd": "#999933",
    "sskd": "#AA4499",
    "kd_shuffled": "#D55E00",
    "kd_wrong_classes": "#CC6677",
    "superclass_smoothing": "#117733",
    "antisibling_smoothing": "#DDCC77",
    "scratch_long": "#8C6D1F",
    "scratch_matched": "#8C6D1F",
    "baseline": "#E69F00",  # scratch, by the name that Cheng et al. give it
    "student": "#0072B2",
    "baseline_slow": "#8C6D1F",
    "student_fast": "#56B4E9",
    "random_teacher": "#999999",
    "self": "#332288",
    # one hue, darker with the temperature
    "ls_teacher_t1": "#C9B3DE",
    "ls_teacher_t2": "#AB8BC9",
    "ls_teacher_t3": "#8C64B3",
    "ls_teacher_t4": "#6E3F9C",
    "ls_teacher_t8": "#4A1A78",
}
MODEL_NAMES = {
    "teacher": "Teacher",
    "scratch": "Scratch",
    "label_smoothing": "Label smoothing",
    "kd": "Distilled (KD)",
    "truth": "Truth",
    "untrained": "Untrained",
    "ls_teacher": "LS teacher",
    "self_teacher": "Self-teacher",
    "kd_t4": "KD, T = 4",
    "self_kd": "Self-KD",
    "at": "AT",
    "ft": "FT",
    "crd": "CRD",
    "sskd": "SSKD",
    "kd_shuffled": "KD, shuffled",
    "kd_wrong_classes": "KD, wrong classes",
    "superclass_smoothing": "Superclass smoothing",
    "antisibling_smoothing": "Anti-sibling smoothing",
    "scratch_long": "Scratch, twice as long",
    "scratch_matched": "Scratch, matched",
    "baseline": "Baseline",
    "student": "Student",
    "baseline_slow": "Baseline, student's rates",
    "student_fast": "Student, baseline's rates",
    "random_teacher": "Student of an untrained teacher",
    "self": "Student of its baseline",
} | {f"ls_teacher_t{t}": f"KD from LS teacher, T = {t}" for t in (1, 2, 3, 4, 8)}
MODEL_MARKERS = {
    "teacher": "D",
    "scratch": "o",
    "label_smoothing": "s",
    "kd": "^",
    "truth": "*",
    "untrained": "x",
    "kd_t4": "v",
    "self_kd": "<",
    "at": "P",
    "ft": "X",
    "crd": "d",
    "sskd": "p",
    "kd_shuffled": ">",
    "kd_wrong_classes": "h",
    "superclass_smoothing": "8",
    "antisibling_smoothing": "H",
    "baseline": "o",
    "student": "^",
    "baseline_slow": "8",
    "student_fast": "v",
    "random_teacher": "x",
    "self": "<",
}
# A method with the teacher's logits besides has the colour of the method.
for _method in ("at", "ft", "crd", "sskd"):
    MODEL_COLOURS[f"{_method}_with_logits"] = MODEL_COLOURS[_method]
    MODEL_NAMES[f"{_method}_with_logits"] = f"{MODEL_NAMES[_method]} + logits"
    MODEL_MARKERS[f"{_method}_with_logits"] = MODEL_MARKERS[_method]


def use_style() -> None:
    """The book's figure style: call it once in a notebook."""
    sns.set_theme(style="whitegrid", context="notebook", palette=list(MODEL_COLOURS.values())[:5])
    mpl.rcParams.update(
        {
            "figure.dpi": 110,
            "savefig.bbox": "tight",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "figure.constrained_layout.use": True,
            "axes.titlesize": "medium",
            "font.family": "DejaVu Sans",
            # Figures keep a light ground in the book's dark mode too.
            "figure.facecolor": "white",
        }
    )


def show(alt: str) -> None:
    """Show the current figure with a description of it for readers who do not see it, then close it.

    The picture is what `plt.show()` shows in a notebook, byte for byte. `alt`, a sentence or two on what is drawn and
    what it tells, becomes the image's alternative text in JupyterLab, in the book and on the page of `kdlib run`.
    Outside a notebook the description is printed. Raises KdlibError without a description or without a drawn figure.

    >>> _ = plt.plot([1, 2, 4, 8])
    >>> show("A line that doubles at each step, from 1 to 8.")
    A line that doubles at each step, from 1 to 8.
    """
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.core.pylabtools import print_figure
    from IPython.display import display

    if not alt.strip():
        raise KdlibError("a figure needs a description: show('Accuracy by epoch: the two curves meet at epoch 5.')")
    if not plt.get_fignums() or not plt.gcf().axes:
        raise KdlibError("there is no figure to show; draw one before calling show()")
    figure = plt.gcf()
    try:
        if InteractiveShell.initialized():
            # The function that the inline backend calls too; `plt.show()` leaves no place for a description.
            data = {"image/png": print_figure(figure, fmt="png", base64=True), "text/plain": alt}
            display(data, raw=True, metadata={"image/png": {"alt": alt}})
        else:
            print(alt)
    finally:
        plt.close(figure)


def picture(images: Tensor, index: int) -> np.ndarray:
    """One uint8 image (H, W, 3) for `imshow`; a grey image is repeated over the channels."""
    image = images[index].cpu().permute(1, 2, 0).numpy()
    return image.repeat(3, axis=2) if image.shape[2] == 1 else image


def image_grid(
    image_set: ImageSet, indices: Sequence[int], titles: Sequence[str], *, columns: int = 5, size: float = 1.3
) -> Figure:
    """Images in rows with a title each, enlarged without smoothing."""
    rows = -(-len(indices) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(size * columns, (size + 0.28) * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, index, title in zip(axes.flat, indices, titles, strict=False):
        axis.imshow(picture(image_set.images, int(index)), interpolation="nearest")
        axis.set_title(title, fontsize=10, pad=2)
    return figure


def seeds_and_means(
    values: Mapping[str, Sequence[float]], axis: Axes, *, ylabel: str, reference: tuple[str, float] | None = None
) -> Axes:
    """Every seed's value as a point, lines joining a seed's arms, and each arm's mean with its 95 % t interval.

    values: arm -> one value a seed, in the order of the seeds. reference: name and value of a dashed line.
    """
    arms = list(values)
    for seed_values in zip(*values.values(), strict=True):
        axis.plot(range(len(arms)), seed_values, color="0.8", linewidth=1, zorder=1)
    for place, arm in enumerate(arms):
        colour, marker = MODEL_COLOURS.get(arm, "0.3"), MODEL_MARKERS.get(arm, "o")
        axis.scatter([place] * len(values[arm]), values[arm], color=colour, marker=marker, s=28, alpha=0.6, zorder=2)
        arm_mean = mean_interval(values[arm])
        if np.isfinite(arm_mean.t_low):
            errors = [[arm_mean.mean - arm_mean.t_low], [arm_mean.t_high - arm_mean.mean]]
            axis.errorbar(
                place + 0.16, arm_mean.mean, errors, fmt=marker, color=colour, capsize=4, markersize=8, zorder=3
            )
    if reference:
        name, value = reference
        axis.axhline(value, color=MODEL_COLOURS.get(name, "0.3"), linestyle="--", linewidth=1.2)
        # At the left margin, where no interval is drawn.
        axis.annotate(MODEL_NAMES.get(name, name), (-0.48, value), va="bottom", ha="left", fontsize=9, color="0.2")
    axis.set_xticks(range(len(arms)), [MODEL_NAMES.get(arm, arm) for arm in arms])
    axis.set_xlim(-0.5, len(arms) - 0.5)
    axis.set_ylabel(ylabel)
    return axis


def seeds_in_words(values: Mapping[str, Sequence[float]], unit: str) -> str:
    """Each arm's mean and range over seeds, for a figure's text alternative.

    >>> seeds_in_words({"kd": [70.0, 72.0]}, "%")
    'Distilled (KD): mean 71.0 %, seeds 70.0 to 72.0'
    """
    words = [
        f"{MODEL_NAMES.get(arm, arm)}: mean {np.mean(v):.1f} {unit}, seeds {min(v):.1f} to {max(v):.1f}"
        for arm, v in values.items()
    ]
    return "; ".join(words)
