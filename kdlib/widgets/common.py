"""What the widgets share: their JavaScript and CSS, colours and patterns, picture sprites, and the still picture
that stands in a page before any script runs."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import matplotlib.style
import torch
from IPython.display import HTML, display
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from kdlib.errors import KdlibError
from kdlib.names import MODEL_COLOURS, MODEL_NAMES
from kdlib.plotting.text import NO_MATHEMATICS, names_are_text

HERE = Path(__file__).parent

# Groups (superclasses, concept categories): colours that no model has, each with a pattern of its own, so that
# colour is never the only sign. Patterns stand in the same order in common.js.
GROUP_COLOURS = ("#88CCEE", "#EEDD88", "#FFAABB", "#BBCC33", "#B5651D", "#BBBBBB", "#7F77DD")
GROUP_HATCHES = ("", "///", "...", "|||", "\\\\\\", "xxx", "---")
SPARE_COLOURS = ("#D55E00", "#56B4E9", "#8C6D31", "#7B4173")


class ExplorerWidget(Protocol):
    """A widget that can also be drawn without a browser, and described in words."""

    static_key: str

    def draw(self) -> Figure: ...

    def describe(self) -> str: ...


def source(name: str, suffix: str, *pieces: str) -> str:
    """The shared text, the `pieces` that only some widgets share, and the widget's own, as one: a module in a
    notebook output can import nothing."""
    return "\n".join((HERE / f"{stem}.{suffix}").read_text(encoding="utf-8") for stem in ("common", *pieces, name))


def title_of(name: str) -> str:
    """How a model's name is written for readers.

    >>> title_of("label_smoothing"), title_of("my_student")
    ('Label smoothing', 'my student')
    """
    return MODEL_NAMES.get(name, name.replace("_", " "))


def model_colours(names: Iterable[str], colours: Mapping[str, str] | None = None) -> dict[str, str]:
    """A colour per model: the one given, else the house's, else a spare one.

    >>> model_colours(["kd", "mine"], {"mine": "#123456"})
    {'kd': '#0072B2', 'mine': '#123456'}
    """
    known = {**MODEL_COLOURS, **(colours or {})}
    spare = iter(SPARE_COLOURS * 8)
    return {name: known[name] if name in known else next(spare) for name in names}


def group_colours(count: int) -> list[str]:
    """Colours of `count` groups; with more than seven the colours repeat and the labels alone tell them apart."""
    return [GROUP_COLOURS[i % len(GROUP_COLOURS)] for i in range(count)]


def check_superclasses(
    class_names: Sequence[str], superclass_names: Sequence[str], superclass_of: Sequence[int]
) -> None:
    """Raise `KdlibError` unless there are two classes at least, each with the index of one of the superclasses."""
    classes = len(class_names)
    if classes < 2:
        raise KdlibError(f"class_names must name at least 2 classes, not {classes}")
    if len(superclass_of) != classes or any(not 0 <= g < len(superclass_names) for g in superclass_of):
        raise KdlibError(
            f"superclass_of must give each of the {classes} classes an index below {len(superclass_names)}, "
            f"not {list(superclass_of)}"
        )


def make_sprite(images: Tensor, max_bytes: int) -> tuple[bytes, str, int, tuple[int, int]]:
    """All images as tiles of one picture: (bytes, media type, tiles per row, (height, width) of a tile).

    images: (n, C, H, W) uint8 with C = 1 or 3. Lossless PNG where it stays below `max_bytes`, else the best JPEG
    that does, else smaller tiles.

    >>> data, kind, columns, tile = make_sprite(torch.zeros(5, 3, 8, 8, dtype=torch.uint8), 10_000)
    >>> kind, columns, tile
    ('image/png', 3, (8, 8))
    """
    count, channels, height, width = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)

    def assemble(tile_height: int, tile_width: int) -> Image.Image:
        sheet = Image.new("RGB" if channels == 3 else "L", (columns * tile_width, rows * tile_height))
        for i, image in enumerate(images.cpu()):
            pixels = (image.permute(1, 2, 0) if channels == 3 else image[0]).contiguous().numpy()
            tile = Image.fromarray(pixels)
            if tile.size != (tile_width, tile_height):
                tile = tile.resize((tile_width, tile_height), Image.Resampling.BOX)
            sheet.paste(tile, (i % columns * tile_width, i // columns * tile_height))
        return sheet

    def encode(sheet: Image.Image, **options: object) -> bytes:
        buffer = io.BytesIO()
        sheet.save(buffer, **options)  # type: ignore[arg-type]
        return buffer.getvalue()

    tile_height, tile_width = height, width
    while max(tile_height, tile_width) > 128:  # a tile is never shown larger
        tile_height, tile_width = max(1, tile_height // 2), max(1, tile_width // 2)
    while True:
        sheet = assemble(tile_height, tile_width)
        data = encode(sheet, format="PNG", optimize=True)
        if len(data) <= max_bytes:
            return data, "image/png", columns, (tile_height, tile_width)
        for quality in (92, 85, 75):
            # 4:4:4: halved colour resolution would bleed over the borders of tiles
            data = encode(sheet, format="JPEG", quality=quality, subsampling=0)
            if len(data) <= max_bytes:
                return data, "image/jpeg", columns, (tile_height, tile_width)
        if min(tile_height, tile_width) <= 16:
            raise KdlibError(
                f"{count} pictures do not fit into {max_bytes / 1e6:.2f} MB of widget state; show fewer units or images"
            )
        tile_height, tile_width = tile_height // 2, tile_width // 2


def image_array(image: Tensor):
    """(C, H, W) uint8 as matplotlib takes it: (H, W, 3), grey repeated."""
    return image.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy()


def check_images(images: Tensor, name: str) -> None:
    """Refuse what cannot be shown: anything but uint8 of shape (n, 1 or 3, H, W) with n > 0."""
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.ndim != 4:
        shown = f"{images.dtype} of shape {tuple(images.shape)}" if isinstance(images, Tensor) else repr(type(images))
        raise KdlibError(f"{name} must be a uint8 tensor of shape (n, C, H, W), not {shown}")
    if len(images) == 0:
        raise KdlibError(f"{name} holds no image; give at least one")
    if images.shape[1] not in (1, 3):
        raise KdlibError(f"{name} must have 1 or 3 channels to be shown, not {images.shape[1]}")


def image_names(count: int, labels: Sequence[int] | Tensor | None, class_names: Sequence[str] | None) -> list[str]:
    """The images' class names, or their numbers.

    >>> image_names(2, [1, 0], ["cat", "dog"]), image_names(1, None, None)
    (['dog', 'cat'], ['image 1'])
    """
    if labels is None:
        return [f"image {i + 1}" for i in range(count)]
    found = torch.as_tensor(labels).tolist()
    if len(found) != count:
        raise KdlibError(f"labels and predictions must be {count}, one per image, not {len(found)}")
    if class_names is None:
        return [f"class {label}" for label in found]
    for label in found:
        if not 0 <= label < len(class_names):
            raise KdlibError(
                f"label {label} has no name: class_names names {len(class_names)} classes; give the names of all"
            )
    return [class_names[label] for label in found]


def check_place(place: int, count: int, name: str) -> int:
    """`place`, if it is one of 0 to count - 1.

    >>> check_place(2, 3, "image")
    2
    """
    if not 0 <= place < count:
        raise KdlibError(f"{name} must be one of 0 to {count - 1}, not {place}")
    return place


def content_key(*parts: object) -> str:
    """A short name made of the content: the same widget gets the same one each time, so notebooks diff quietly."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
    return digest.hexdigest()[:16]


def hatch(index: int) -> str:
    """The matplotlib hatch of a group, like its pattern in the browser."""
    return GROUP_HATCHES[index % len(GROUP_HATCHES)]


def new_figure(width: float, height: float) -> Figure:
    """A figure outside pyplot's list: nothing to close, and no backend touched."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def static_figure(widget: ExplorerWidget) -> HTML:
    """The widget's first state as a picture with a text alternative, for a page before or without scripts.

    The living widget hides it again: the figure's `data-kdlib-static` is the widget's `static_key`.
    """
    buffer = io.BytesIO()
    # In matplotlib's own style, whatever the notebook's: a widget looks the same in every chapter. Without the
    # software's version the same state gives the same bytes.
    with matplotlib.style.context("default", after_reset=True):
        names_are_text(widget.draw()).savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode()
    words = html.escape(widget.describe(), quote=True)
    return HTML(
        f'<figure class="kdlib-static {NO_MATHEMATICS}" '
        f'data-kdlib-static="{html.escape(widget.static_key, quote=True)}" '
        'style="margin:0.25rem 0;max-width:60rem">'
        f'<img src="data:image/png;base64,{data}" alt="{words}" style="max-width:100%;height:auto">'
        '<figcaption style="text-align:left;font:inherit;font-size:0.9em;color:inherit">'
        f"{words} With JavaScript this picture comes alive.</figcaption></figure>"
    )


def display_widget(widget: ExplorerWidget) -> None:
    """Show the still picture and the widget in one notebook cell; where the widget lives, the picture goes."""
    display(static_figure(widget))
    display(widget)


def floats(values: Tensor | Sequence[float]) -> list:
    """Nested lists of Python floats: JSON keeps every digit of them."""
    return values.double().tolist() if isinstance(values, Tensor) else [float(v) for v in values]
