"""One look for every figure: the same colour for the same model everywhere, safe for colour-blind readers."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from torch import Tensor

from kdlib.data.image_set import ImageSet
from kdlib.errors import KdlibError
from kdlib.names import MODEL_COLOURS
from kdlib.plotting.text import names_are_text


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

    The picture is what `plt.show()` shows in a notebook, with twice the pixels at the same width, so that it is sharp
    when enlarged. `alt`, a sentence or two on what is drawn and what it tells, becomes the image's alternative text in
    JupyterLab, in the book and on the page of `kdlib run`.
    Outside a notebook the description is printed. Raises KdlibError without a description or without a drawn figure.

    >>> _ = plt.plot([1, 2, 4, 8])
    >>> show("A line that doubles at each step, from 1 to 8.")
    A line that doubles at each step, from 1 to 8.
    """
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.core.pylabtools import retina_figure
    from IPython.display import display

    if not alt.strip():
        raise KdlibError("a figure needs a description: show('Accuracy by epoch: the two curves meet at epoch 5.')")
    if not plt.get_fignums() or not plt.gcf().axes:
        raise KdlibError("there is no figure to show; draw one before calling show()")
    figure = names_are_text(plt.gcf())
    try:
        if InteractiveShell.initialized():
            # The function that the inline backend calls too; `plt.show()` leaves no place for a description.
            image, size = retina_figure(figure, base64=True)
            metadata = {"image/png": {"alt": alt, "width": size["width"]}}
            display({"image/png": image, "text/plain": alt}, raw=True, metadata=metadata)
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
