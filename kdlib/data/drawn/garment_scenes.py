"""Garment scenes: Fashion-MNIST's photographs pasted on textured grounds, for measures that need a foreground.

A grey garment gets a random colour, is scaled and put at a random place, on a ground of one of ten drawn textures with
blobs of other colours on it. The foreground mask is exact: those pixels, and only those, are painted by the garment;
they are the ones whose nearest pixel of Fashion-MNIST's own picture is not zero.

Three regimes (the reproduction of Cheng et al., CVPR 2020, that `kdlib` makes its own):

- "independent": any class may stand on any texture.
- "correlated": each class has a texture of its own. In train and val it stands on that one with probability
  `correlation`, else on any of the ten (its own among them); in test and probe on any.
- "plain": one clean colour behind the garment, neither texture nor blobs.

With the same seed and counts all three show the same garments in the same colours, sizes and places.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from kdlib.data import fashion_mnist
from kdlib.data.drawn.drawing import (
    NOISE_BANK,
    PIXELS_AT_ONCE,
    SIDE,
    Random,
    check_options,
    checked_range,
    develop,
    noise_bank,
    one_thread,
    part_seed,
    pieces,
)
from kdlib.data.drawn.garment_scenes_drawing import (
    BLOB_NODES,
    GROUNDS,
    LIGHT_NODES,
    PAINTS,
    PLAIN,
    paint_blobs,
    paint_ground,
    paste_garments,
)
from kdlib.data.fashion_mnist import CLASS_NAMES, PART_NAMES, SUPERCLASS_NAMES, SUPERCLASS_OF, silhouette_parts
from kdlib.data.image_set import UNLABELLED, ConceptMap, ImageSet
from kdlib.data.labelled_set import Splits
from kdlib.errors import KdlibError, choose, finite_number, positive_integer

BACKGROUNDS = ("independent", "correlated", "plain")
TEXTURE_NAMES = tuple(GROUNDS)  # the texture of a class has the class's number
PAINT_NAMES = tuple(PAINTS)
_CANDIDATES = 6  # pairs of ground colours to choose from, so that garment and pattern can be seen


def load(
    seed: int = 0,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    n_probe: int | None = None,
    image_size: int | None = None,
    background: str = "correlated",
    correlation: float = 0.8,
    scale: tuple[float, float] = (0.6, 0.9),
    distractors: int = 3,
    noise: float = 0.03,
    full: bool = False,
    root: str | Path | None = None,
    device: torch.device | str = "cpu",
) -> Splits:
    """Garment scenes as train, val, test and probe (7,000 + 1,000 + 2,000 + 2,000 of 32x32 by default).

    Each part has its own random stream, derived from `seed` and its name; garments of train, val and test are
    different ones, the probe shows those of the test part in other scenes. seed also chooses them, class-balanced.
    n_train: where it exceeds the garments there are, they are pasted again, in other scenes.
    background: one of `BACKGROUNDS`. correlation: the probability of "correlated"; the other regimes ignore it.
    full, root: the official 60,000 + 10,000 garments, as in `fashion_mnist.load`. Other arguments as in
    `draw_garment_scenes`.

    Raises KdlibError for an unknown background, numbers out of range, and what Fashion-MNIST's loader refuses.

    >>> scenes = load(n_train=40, n_val=20, n_test=20, n_probe=20)
    >>> scenes.train.images.shape, scenes.train.class_names[8]
    (torch.Size([40, 3, 32, 32]), 'Bag')
    """
    choose(background, BACKGROUNDS, "background")
    finite_number(correlation, "correlation", minimum=0, maximum=1)
    if n_train is not None:
        positive_integer(n_train, "n_train")
    garments = fashion_mnist.load(full, root, seed, None, n_val, n_test, n_probe)
    parts = {}
    for part in ("train", "val", "test", "probe"):
        source: ImageSet = getattr(garments, part)
        count = n_train if part == "train" and n_train is not None else len(source)
        chosen = torch.arange(count) % len(source)  # in a balanced order, so any first ones are balanced too
        parts[part] = draw_garment_scenes(
            source.images[chosen, 0],
            source.labels[chosen],
            seed=part_seed("garment_scenes", seed, part),
            image_size=SIDE if image_size is None else image_size,
            correlation=correlation if background == "correlated" and part in ("train", "val") else 0.0,
            plain=background == "plain",
            scale=scale,
            distractors=distractors,
            noise=noise,
            device=device,
            name=f"garment_scenes/{part}",
        )
    return Splits(name="garment_scenes", **parts)


def draw_garment_scenes(
    garments: Tensor,
    labels: Tensor,
    seed: int = 0,
    image_size: int = 32,
    *,
    correlation: float = 0.0,
    plain: bool = False,
    scale: tuple[float, float] = (0.6, 0.9),
    distractors: int = 3,
    noise: float = 0.03,
    device: torch.device | str = "cpu",
    name: str = "garment_scenes",
    pixels_at_once: int = PIXELS_AT_ONCE,
) -> ImageSet:
    """Paste N garments, each in a scene of its own.

    garments: (N, 28, 28) uint8 as in Fashion-MNIST, 0 being background. labels: (N,) classes, 0 to 9.
    image_size: side in pixels, at least 16. The same seed shows the same scenes at any size.
    correlation: probability that the ground has the class's texture; otherwise it has any of the ten.
    plain: one colour behind the garment, neither texture nor blobs.
    scale: least and largest side of the garment's 28x28 picture, as a share of the scene's, from 0.3 to 1.
    distractors: blobs on each ground, 0 to 8. noise: standard deviation on every channel of every pixel, in [0, 1].
    pixels_at_once: memory bound; it has no influence on the result.

    Returns an `ImageSet` of RGB pictures with `foreground` (the pasted pixels) and four concept maps: object (the
    class, on the foreground), part (`fashion_mnist.silhouette_parts`, scaled with the garment), texture (of the
    visible ground) and color (the garment's paint, on the foreground).

    >>> shirts = fashion_mnist.load(n_train=30).train
    >>> scenes = draw_garment_scenes(shirts.images[:, 0], shirts.labels, seed=1)
    >>> [concept.category for concept in scenes.concepts]
    ['object', 'part', 'texture', 'color']
    """
    check_options(seed, image_size, noise, pixels_at_once)
    finite_number(correlation, "correlation", minimum=0, maximum=1)
    if positive_integer(distractors, "distractors", minimum=0) > 8:
        raise KdlibError(f"distractors must be a whole number of at most 8, not {distractors}")
    scale = checked_range(scale, "scale", minimum=0.3, maximum=1)
    _check_garments(garments, labels)
    n, device = len(garments), torch.device(device)

    generator = torch.Generator().manual_seed(seed)
    random = draw_parameters(labels.cpu(), generator, correlation, scale)
    bank = noise_bank(generator, device)
    if plain:
        random["texture"].fill_(PLAIN)
    random = {key: value.to(device) for key, value in random.items()}
    garments, labels = garments.to(device), labels.to(device)
    zones = silhouette_parts(garments > 0)
    images = torch.empty(n, 3, image_size, image_size, dtype=torch.uint8, device=device)
    foreground = torch.empty(n, image_size, image_size, dtype=torch.bool, device=device)
    parts, textures = (torch.empty(n, image_size, image_size, dtype=torch.uint8, device=device) for _ in range(2))
    with one_thread():
        for piece in pieces(n, image_size, pixels_at_once):
            here = {key: value[piece] for key, value in random.items()}
            image = paint_ground(here, image_size)
            blobs = paint_blobs(image, here, distractors)
            foreground[piece], parts[piece] = paste_garments(image, garments[piece], zones[piece], here)
            bare = ~(foreground[piece] | blobs)
            textures[piece] = bare * (here["texture"] + 1).to(torch.uint8).view(-1, 1, 1)
            develop(image, here["noise_at"], bank, noise, images[piece])

    def on_foreground(codes: Tensor) -> Tensor:
        return foreground * (codes + 1).to(torch.uint8).view(-1, 1, 1)

    return ImageSet(
        name=name,
        images=images,
        labels=labels,
        class_names=CLASS_NAMES,
        superclass_names=SUPERCLASS_NAMES,
        superclass_of=SUPERCLASS_OF,
        foreground=foreground,
        concepts=(
            ConceptMap("object", on_foreground(labels), (UNLABELLED, *(name.lower() for name in CLASS_NAMES))),
            ConceptMap("part", parts, PART_NAMES),
            ConceptMap("texture", textures, (UNLABELLED, *TEXTURE_NAMES)),
            ConceptMap("color", on_foreground(random["paint"]), (UNLABELLED, *PAINT_NAMES)),
        ),
    )


def _check_garments(garments: Tensor, labels: Tensor) -> None:
    side = fashion_mnist.NATIVE_SIZE
    if garments.ndim != 3 or garments.shape[1:] != (side, side) or garments.dtype != torch.uint8 or not len(garments):
        raise KdlibError(
            f"garments must be uint8 of shape (N, {side}, {side}) with at least one, "
            f"not {garments.dtype} of shape {tuple(garments.shape)}"
        )
    if labels.shape != garments.shape[:1] or labels.dtype != torch.int64:
        raise KdlibError(f"labels must be {len(garments)} class numbers, not {labels.dtype} of {tuple(labels.shape)}")
    if int(labels.min()) < 0 or int(labels.max()) >= len(CLASS_NAMES):
        raise KdlibError(f"labels must lie between 0 and {len(CLASS_NAMES) - 1}, not {labels.tolist()}")


def draw_parameters(
    labels: Tensor, generator: torch.Generator, correlation: float, scale: tuple[float, float]
) -> dict[str, Tensor]:
    """Everything random about N scenes but the noise; only `texture` depends on the label and the correlation."""
    n = len(labels)

    draws = Random(n, generator)
    uniform, pick = draws.uniform, draws.pick
    texture = torch.where(uniform(0, 1) < correlation, labels, pick(len(GROUNDS)))
    side = uniform(*scale)
    angle = uniform(-0.15, 0.15)
    paint = pick(len(PAINTS))
    paint_colour = torch.tensor(list(PAINTS.values()), dtype=torch.float64)[paint] + uniform(-0.08, 0.08, 3)
    numbers = {
        "scale": side,
        "centre_x": uniform(-1, 1) * (1 - side),
        "centre_y": uniform(-1, 1) * (1 - side),
        "cosine": angle.cos(),
        "sine": angle.sin(),
        "frequency": uniform(0.8, 1.25),
        "phase_u": uniform(-1, 1),
        "phase_v": uniform(-1, 1),
    }
    blobs = torch.stack((uniform(-1, 1, 8), uniform(-1, 1, 8), uniform(0.1, 0.24, 8), uniform(0.8, 1.25, 8)), dim=2)
    return {
        "texture": texture,
        "paint": paint,
        "noise_at": pick(NOISE_BANK),
        "paint_colour": paint_colour.float().view(n, 3, 1, 1),
        "ground": _seen(paint_colour, uniform(0.08, 0.92, _CANDIDATES, 2, 3)).float().view(n, 2, 3, 1, 1),
        "light": uniform(-0.15, 0.15, 1, LIGHT_NODES, LIGHT_NODES).float(),
        "blobs": blobs.float(),
        "blob_paint": uniform(0.08, 0.92, 8, 3).float().view(n, 8, 3, 1, 1),
        "outline": uniform(-0.09, 0.09, 8, BLOB_NODES, BLOB_NODES).float(),
        **{key: value.float().view(n, 1, 1) for key, value in numbers.items()},
    }


def _seen(paint: Tensor, candidates: Tensor) -> Tensor:
    """Of candidate pairs of ground colours (N, K, 2, 3), the pair that lies farthest from the paint and from itself.

    Returns (N, 2, 3): the pair with the largest of the least of the three distances in RGB. Which pairs are offered
    knows nothing of the class.
    """
    from_paint = (candidates - paint[:, None, None]).square().sum(3).min(2).values
    between = (candidates[:, :, 0] - candidates[:, :, 1]).square().sum(2)
    best = torch.minimum(from_paint, between).argmax(1)
    return candidates[torch.arange(len(paint)), best]
