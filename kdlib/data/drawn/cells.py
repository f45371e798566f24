"""Synthetic cells whose discriminative parts are known, for scoring saliency maps.

Drawn by us after the description of Tjoa and Guan (2020, arXiv 2009.02899): ten classes that differ in outline, border
colour, inner bars and number of tails, on three kinds of background, in random positions and turned by up to 60
degrees, with a ragged border. Han et al. (ICML 2023) score saliency maps on pictures of this kind; these are not
theirs. Sizes, colours and the exact shape of bar and pole are our choice.

Every picture has a truth: a heat of 0.9 on the part that identifies its class, 0.4 on the rest of the cell, 0 on the
background. Blank pictures have none. Colour of body and border, size, place and background are drawn alike in all
classes, so that only the discriminative part distinguishes the classes of one outline.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdlib.data.drawn.cells_drawing import (
    BACKGROUNDS,
    BORDER_COLOURS,
    CLASS_NAMES,
    OUTLINE_NODES,
    PATCH_NODES,
    SUPERCLASS_NAMES,
    SUPERCLASS_OF,
    draw,
)
from kdlib.data.drawn.drawing import (
    NOISE_BANK,
    PIXELS_AT_ONCE,
    SIDE,
    Random,
    check_options,
    develop,
    noise_bank,
    one_thread,
    part_seed,
    part_sizes,
    pieces,
)
from kdlib.data.image_set import UNLABELLED, ConceptMap, ImageSet
from kdlib.data.labelled_set import Splits
from kdlib.errors import KdlibError, finite_number, positive_integer

PART_NAMES = (UNLABELLED, "localisation", "discriminative")  # the position is the band of the five-band score


def load(
    seed: int = 0,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    n_probe: int | None = None,
    image_size: int | None = None,
    noise: float = 0.05,
    border_noise: float = 0.03,
    device: torch.device | str = "cpu",
) -> Splits:
    """Draw the four parts (8,000 + 1,000 + 2,000 + 2,000 pictures of 32x32 by default), all with truth.

    Every part has its own random stream, derived from `seed` and its name. Other arguments as in `draw_cells`.

    >>> cells = load(n_train=40, n_val=20, n_test=20, n_probe=20)
    >>> cells.train.images.shape, cells.train.class_names[7]
    (torch.Size([40, 3, 32, 32]), 'three tails')
    """
    sizes = part_sizes(n_train=n_train, n_val=n_val, n_test=n_test, n_probe=n_probe)
    parts = {}
    for part, count in sizes.items():
        parts[part] = draw_cells(
            count,
            seed=part_seed("cells", seed, part),
            image_size=SIDE if image_size is None else image_size,
            noise=noise,
            border_noise=border_noise,
            device=device,
            name=f"cells/{part}",
        )
    return Splits(name="cells", **parts)


def draw_cells(
    n: int,
    seed: int = 0,
    image_size: int = 32,
    *,
    labels: Tensor | None = None,
    noise: float = 0.05,
    border_noise: float = 0.03,
    device: torch.device | str = "cpu",
    name: str = "cells",
    pixels_at_once: int = PIXELS_AT_ONCE,
) -> ImageSet:
    """Draw `n` pictures of cells with their truth.

    n: number of pictures; classes are as equal in number as possible, in random order.
    image_size: side in pixels, at least 16; from 32 on eight tails can be counted. The same seed shows the same cells
        at any size.
    labels: (n,) classes to draw instead. Nothing else changes: the same cell with another number of tails.
    noise: standard deviation of the noise on every channel of every pixel, in [0, 1] units.
    border_noise: standard deviation of the outline's displacement; half the picture's side is 1, a cell's radius 0.36.
    pixels_at_once: memory bound; it has no influence on the result.

    Returns an `ImageSet` with `foreground` (the whole cell, tails included; empty for a blank picture) and one concept
    map, of category part: 0 background, 1 localisation (rest of the cell), 2 discriminative part.

    >>> cells = draw_cells(20, seed=1)
    >>> cells.concept_map("part").names
    ('unlabelled', 'localisation', 'discriminative')
    """
    positive_integer(n, "n")
    check_options(seed, image_size, noise, pixels_at_once)
    finite_number(border_noise, "border_noise", minimum=0, maximum=0.1)
    device = torch.device(device)

    generator = torch.Generator().manual_seed(seed)
    random = draw_parameters(n, generator, border_noise)
    if labels is not None:
        random["label"] = _checked_labels(labels, n)
    bank = noise_bank(generator, device)
    random = {key: value.to(device) for key, value in random.items()}
    images = torch.empty(n, 3, image_size, image_size, dtype=torch.uint8, device=device)
    truth = torch.empty(n, image_size, image_size, dtype=torch.uint8, device=device)
    with one_thread():
        for piece in pieces(n, image_size, pixels_at_once):
            canvas, truth[piece] = draw({key: value[piece] for key, value in random.items()}, image_size)
            develop(canvas.image, random["noise_at"][piece], bank, noise, images[piece])
    return ImageSet(
        name=name,
        images=images,
        labels=random["label"],
        class_names=CLASS_NAMES,
        superclass_names=SUPERCLASS_NAMES,
        superclass_of=SUPERCLASS_OF,
        foreground=truth > 0,
        concepts=(ConceptMap("part", truth, PART_NAMES),),
    )


def _checked_labels(labels: Tensor, n: int) -> Tensor:
    labels = torch.as_tensor(labels)
    if tuple(labels.shape) != (n,) or labels.is_floating_point():
        raise KdlibError(f"labels must be {n} class numbers, not {labels.dtype} of shape {tuple(labels.shape)}")
    if int(labels.min()) < 0 or int(labels.max()) >= len(CLASS_NAMES):
        raise KdlibError(f"labels must lie between 0 and {len(CLASS_NAMES) - 1}, not {labels.tolist()}")
    return labels.long()


def draw_parameters(n: int, generator: torch.Generator, border_noise: float) -> dict[str, Tensor]:
    """Everything random about `n` pictures but the noise, drawn for every picture whatever its class."""

    draws = Random(n, generator)
    uniform, pick = draws.uniform, draws.pick
    label = draws.balanced_labels(len(CLASS_NAMES))
    radius = uniform(0.3, 0.42)
    angle = uniform(-torch.pi / 3, torch.pi / 3)
    # Whatever grows from it, the cell stays in the picture: tails reach 0.36 + 0.06 beyond the radius.
    room = 1 - radius - 0.42
    numbers = {
        "radius": radius,
        "ratio": uniform(0.92, 1.08),
        "centre_x": uniform(-1, 1) * room,
        "centre_y": uniform(-1, 1) * room,
        "across": angle.cos(),
        "across_y": angle.sin(),
        "tail_length": uniform(0.28, 0.36),
        "tail_width": uniform(0.045, 0.06),
        "opacity": uniform(0.6, 1.0),
        "ring_x": uniform(-1, 1),
        "ring_y": uniform(-1, 1),
        "ring_frequency": uniform(3.0, 6.0),
    }
    colours = {
        "body": uniform(0.45, 0.95, 3),
        "organelle": uniform(0.0, 0.2, 3),
        "tint": uniform(-0.08, 0.08, 3),
        "ring_mean": uniform(0.4, 0.5, 3),
        "ring_swing": uniform(-0.2, 0.2, 3),
    }
    return {
        "label": label,
        "background": pick(len(BACKGROUNDS)),
        "border": pick(len(BORDER_COLOURS)),
        "noise_at": pick(NOISE_BANK),
        "patches": uniform(0.2, 0.7, 3, PATCH_NODES, PATCH_NODES).float(),
        "outline": border_noise * torch.randn(n, 1, OUTLINE_NODES, OUTLINE_NODES, generator=generator).clamp(-2, 2),
        **{key: value.float().view(n, 1, 1) for key, value in numbers.items()},
        **{key: value.float().view(n, 3, 1, 1) for key, value in colours.items()},
    }
