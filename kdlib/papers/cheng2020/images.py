"""The pictures of Cheng et al. 2020's experiments: how data sets are loaded, and which cells lie on the object."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kdlib.data.drawn.concept_world_classes import CUE_PARTS
from kdlib.data.image_set import ImageSet
from kdlib.errors import positive_integer
from kdlib.metrics.visual_concepts import foreground_cells

REGIMES = ("independent", "correlated", "plain")
_CORRELATION = 0.8


def data_options(data: str, regime: str, *, full: bool, folder: str, image_size: int | None) -> dict[str, Any]:
    """What `kdlib.data.registry.load` needs besides numbers of images. regime: how backgrounds go with classes in drawn
    data. full: all of Fashion-MNIST's garments. folder: where archives are. image_size: in pixels, None for the data's
    own.

    >>> data_options("garment_scenes", "plain", full=False, folder="", image_size=None)["background"]
    'plain'
    """
    options: dict[str, Any] = {"root": folder} if folder else {}
    if image_size is not None:
        options["image_size"] = positive_integer(image_size, "image_size", 16)
    if data in ("fashion_mnist", "garment_scenes"):
        options["full"] = full
    if data == "garment_scenes":
        options |= {"background": regime, "correlation": _CORRELATION}
    elif data == "concept_world":
        options |= {
            "independent": {"background_correlation": 0.0},
            "correlated": {"background_correlation": _CORRELATION, "test_correlation": 0.0},
            "plain": {"background_correlation": 0.0, "plain_background": True},
        }[regime]
    return options


def cells_on_object(images: ImageSet, grid: int) -> Tensor:
    """(N, rows, columns) bool: each picture's cells on the object."""
    assert images.foreground is not None  # the study refuses data without masks
    return foreground_cells(images.foreground, grid)


def with_object_and_background(images: ImageSet, grid: int) -> Tensor:
    """Indices of the pictures that have cells on the object and beside it."""
    cells = cells_on_object(images, grid).flatten(1)
    return (cells.any(1) & ~cells.all(1)).nonzero().flatten().cpu()


def cells_of_telling_part(images: ImageSet, grid: int) -> Tensor | None:
    """(N, rows, columns) bool: cells of the part that tells a class of Concept World from its siblings; None where the
    pictures have no labelled parts."""
    parts = [concept for concept in images.concepts if concept.category == "part"]
    if not parts:
        return None
    [part] = parts
    telling = torch.zeros(len(images), *images.image_size, dtype=torch.bool)
    for number, label in enumerate(images.labels.tolist()):
        cues = CUE_PARTS[images.class_names[label]]
        wanted = torch.tensor([part.names.index(name) for name in cues if name in part.names])
        telling[number] = torch.isin(part.labels[number].cpu().long(), wanted)
    return foreground_cells(telling, grid)
