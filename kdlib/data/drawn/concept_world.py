"""Concept World: drawn scenes whose every concept is known, for experiments with no download and exact masks.

Twenty classes of objects in five superclasses appear in thirty types of scenes. Siblings share all parts but one small
cue (a taxi's sign, a fire engine's ladder), so a good teacher doubts among siblings; noise, small cues and things that
stand in front keep anyone from being certain. Every pixel is labelled in Broden's six categories (object, part, scene,
material, texture, color). In train, val and test the scene is correlated with the superclass; in probe it is not.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kdlib.data.drawn.concept_world_classes import (
    CLASS_NAMES,
    SUPERCLASS_NAMES,
    SUPERCLASS_OF,
    SUPERCLASSES,
)
from kdlib.data.drawn.concept_world_drawing import NAMES, NO_SCENE, PIXEL_CATEGORIES, draw
from kdlib.data.drawn.concept_world_parts import COLOURS
from kdlib.data.drawn.concept_world_scenes import OCCLUDERS, SCENE_NAMES, SCENES_PER_SUPERCLASS
from kdlib.data.drawn.concept_world_shapes import MATERIALS, TEXTURES
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
    part_sizes,
    pieces,
)
from kdlib.data.image_set import UNLABELLED, ConceptMap, ImageSet
from kdlib.data.labelled_set import Splits
from kdlib.errors import finite_number, positive_integer

_TEXTURES, _MATERIALS, _COLOURS = tuple(TEXTURES), tuple(MATERIALS), tuple(COLOURS)


def load(
    seed: int = 0,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    n_probe: int | None = None,
    image_size: int | None = None,
    background_correlation: float = 0.7,
    noise: float = 0.05,
    cue_size: tuple[float, float] = (0.65, 1.15),
    occlusion: float = 0.4,
    device: torch.device | str = "cpu",
    test_correlation: float | None = None,
    plain_background: bool = False,
) -> Splits:
    """Draw the four parts of a Concept World (8,000 + 1,000 + 2,000 + 2,000 images of 32x32 by default).

    Every part has its own random stream, derived from `seed` and its name. Scenes of train, val and test are correlated
    with the superclass by `background_correlation`, those of probe never. test_correlation: that of test alone, None
    for the same as train's. Other arguments as in `draw_scenes`.

    >>> world = load(n_train=40, n_val=20, n_test=20, n_probe=20)
    >>> world.train.images.shape, world.train.num_classes, world.probe.class_names[0]
    (torch.Size([40, 3, 32, 32]), 20, 'taxi')
    """
    sizes = part_sizes(n_train=n_train, n_val=n_val, n_test=n_test, n_probe=n_probe)
    finite_number(background_correlation, "background_correlation", minimum=0, maximum=1)
    if test_correlation is not None:
        finite_number(test_correlation, "test_correlation", minimum=0, maximum=1)
    correlations = {"probe": 0.0} | ({} if test_correlation is None else {"test": test_correlation})
    parts = {}
    for part, count in sizes.items():
        parts[part] = draw_scenes(
            count,
            seed=part_seed("concept_world", seed, part),
            image_size=SIDE if image_size is None else image_size,
            background_correlation=correlations.get(part, background_correlation),
            noise=noise,
            cue_size=cue_size,
            occlusion=occlusion,
            plain_background=plain_background,
            device=device,
            name=f"concept_world/{part}",
        )
    return Splits(name="concept_world", **parts)


def draw_scenes(
    n: int,
    seed: int = 0,
    image_size: int = 32,
    background_correlation: float = 0.7,
    *,
    noise: float = 0.05,
    cue_size: tuple[float, float] = (0.65, 1.15),
    occlusion: float = 0.4,
    plain_background: bool = False,
    device: torch.device | str = "cpu",
    name: str = "concept_world",
    pixels_at_once: int = PIXELS_AT_ONCE,
) -> ImageSet:
    """Draw `n` scenes with masks of everything in them.

    n: number of images; classes are as equal in number as possible, in random order.
    image_size: side in pixels, at least 16. The same seed shows the same scenes at any size.
    background_correlation: probability that a scene is drawn from the six types of its superclass; otherwise it is
        drawn from all thirty (so a superclass meets its own scenes with probability rho + (1 - rho) / 5).
    noise: standard deviation of the noise on every channel of every pixel, in [0, 1] units.
    cue_size: least and largest size of the part that distinguishes siblings; 1 is easily seen.
    occlusion: probability that a rock, post or bush stands in front.
    plain_background: the same objects and occluders in white light on plain grey; the concept "scene" is unlabelled.
    pixels_at_once: memory bound; it has no influence on the result.

    Returns an `ImageSet` with `foreground` (visible pixels of the object) and concept maps of all six categories:
    uint8, of the images' size; color is the paint's name, under any light or texture.

    >>> scenes = draw_scenes(20, seed=1)
    >>> [concept.category for concept in scenes.concepts]
    ['object', 'part', 'scene', 'material', 'texture', 'color']
    >>> sorted(scenes.labels.tolist()) == list(range(20))
    True
    """
    positive_integer(n, "n")
    check_options(seed, image_size, noise, pixels_at_once)
    finite_number(background_correlation, "background_correlation", minimum=0, maximum=1)
    finite_number(occlusion, "occlusion", minimum=0, maximum=1)
    cue_size = checked_range(cue_size, "cue_size", minimum=0.1, maximum=2)
    device = torch.device(device)

    generator = torch.Generator().manual_seed(seed)
    random = draw_parameters(n, generator, background_correlation, cue_size, occlusion)
    if plain_background:
        random["scene"].fill_(NO_SCENE)
    bank = noise_bank(generator, device)
    random = {key: value.to(device) for key, value in random.items()}
    images = torch.empty(n, 3, image_size, image_size, dtype=torch.uint8, device=device)
    maps = {c: torch.empty(n, image_size, image_size, dtype=torch.uint8, device=device) for c in PIXEL_CATEGORIES}
    # Each piece holds many scenes of one kind, so that each kind is drawn in few and large steps.
    with one_thread():
        for piece in pieces(n, image_size, pixels_at_once):
            canvas, table = draw({key: value[piece] for key, value in random.items()}, image_size)
            develop(canvas.image, random["noise_at"][piece], bank, noise, images[piece])
            layers = canvas.layers.flatten(1).long()
            for column, category in enumerate(PIXEL_CATEGORIES):
                maps[category][piece] = table[:, :, column].gather(1, layers).view_as(canvas.layers)

    scenes = (random["scene"] + 1).to(torch.uint8).view(n, 1, 1).expand(n, image_size, image_size)
    foreground = (maps["object"] > 0) & (maps["object"] <= len(CLASS_NAMES))
    concepts = {
        **{category: ConceptMap(category, labels, NAMES[category]) for category, labels in maps.items()},
        "scene": ConceptMap("scene", scenes, (UNLABELLED, *SCENE_NAMES)),
    }
    return ImageSet(
        name=name,
        images=images,
        labels=random["label"],
        class_names=CLASS_NAMES,
        superclass_names=SUPERCLASS_NAMES,
        superclass_of=SUPERCLASS_OF,
        foreground=foreground,
        concepts=tuple(concepts[c] for c in ("object", "part", "scene", "material", "texture", "color")),
    )


def draw_parameters(
    n: int,
    generator: torch.Generator,
    background_correlation: float,
    cue_size: tuple[float, float],
    occlusion: float,
) -> dict[str, Tensor]:
    """Everything random about `n` scenes but the noise: label, scene, ... (n,) and positions, sizes, ... (n, 1, 1)."""

    draws = Random(n, generator)
    uniform, pick = draws.uniform, draws.pick
    label = draws.balanced_labels(len(CLASS_NAMES))
    superclass = torch.tensor(SUPERCLASS_OF)[label]
    own = superclass * SCENES_PER_SUPERCLASS + pick(SCENES_PER_SUPERCLASS)
    scene = torch.where(uniform(0, 1) < background_correlation, own, pick(len(SCENE_NAMES)))
    size = uniform(0.66, 0.8)
    mirror = 1.0 - 2.0 * pick(2)
    angle = uniform(-0.12, 0.12)
    materials = [tuple(_MATERIALS.index(m) for m in s.materials) for s in SUPERCLASSES]
    which = uniform(0, 1)
    material = torch.tensor(
        [materials[s][int(w * len(materials[s]))] for s, w in zip(superclass.tolist(), which.tolist(), strict=True)]
    )
    # About four objects in ten are plain.
    texture = pick(len(_TEXTURES) + 4)
    occluder = torch.where(uniform(0, 1) < occlusion, pick(len(OCCLUDERS)), -1)
    centre_x, centre_y = uniform(-1, 1) * (1 - size) * 0.9, uniform(-1, 1) * (1 - size) * 0.8 + 0.04
    numbers = {
        "size": size,
        "centre_x": centre_x,
        "centre_y": centre_y,
        # Rows of the map from the image to the object's frame: turn back, mirror, undo size and stretch.
        "across": mirror * angle.cos() / (size * (stretch := uniform(0.9, 1.08))),
        "across_y": mirror * angle.sin() / (size * stretch),
        "down_x": -angle.sin() / size,
        "down": angle.cos() / size,
        "cue": uniform(*cue_size),
        "horizon": uniform(0.05, 0.35),
        "element_size": uniform(0.75, 1.1),
        "element_place": uniform(-0.5, 0.5),
        "sun_x": uniform(-0.85, 0.85),
        "sun_y": uniform(-0.85, -0.5),
        "cloud_x": uniform(-0.8, 0.8),
        "cloud_y": uniform(-0.85, -0.35),
        "occluder_x": centre_x + uniform(-0.45, 0.45),
        "occluder_y": centre_y + uniform(-0.2, 0.5),
        "occluder_size": uniform(0.8, 1.2),
    }
    return {
        "label": label,
        "scene": scene,
        "material": material,
        "texture": texture,
        "paint": pick(len(_COLOURS)),
        "occluder": occluder,
        "noise_at": pick(NOISE_BANK),
        "tint": (torch.rand(n, 3, generator=generator, dtype=torch.float64) * 0.16 - 0.08).float().view(n, 3, 1, 1),
        **{key: value.float().view(n, 1, 1) for key, value in numbers.items()},
    }


def contact_sheet(
    scenes: ImageSet, columns: int = 8, per_class: int = 2, enlarge: int = 1, gap: int = 2
) -> tuple[Tensor, list[str]]:
    """The first `per_class` images of every class in one picture, with the class names in reading order.

    Returns the picture (C, H, W) uint8, rows of `columns` images enlarged by whole pixels with white gaps between,
    and one name per image. A class with fewer images shows what it has.

    >>> sheet, names = contact_sheet(draw_scenes(20), per_class=1)
    >>> sheet.shape, names[:2]
    (torch.Size([3, 104, 274]), ['taxi', 'police car'])
    """
    for value, what in ((columns, "columns"), (per_class, "per_class"), (enlarge, "enlarge")):
        positive_integer(value, what)
    positive_integer(gap, "gap", minimum=0)
    chosen = [
        i for c in range(scenes.num_classes) for i in (scenes.labels == c).nonzero().flatten()[:per_class].tolist()
    ]
    tiles = scenes.images[chosen].repeat_interleave(enlarge, 2).repeat_interleave(enlarge, 3)
    _, channels, height, width = tiles.shape
    rows = math.ceil(len(chosen) / columns)
    sheet = tiles.new_full((channels, rows * (height + gap) + gap, columns * (width + gap) + gap), 255)
    for position, tile in enumerate(tiles):
        top = gap + position // columns * (height + gap)
        left = gap + position % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = tile
    return sheet, [scenes.class_names[int(scenes.labels[i])] for i in chosen]
