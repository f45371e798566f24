"""What every model sees: images with labels, and, where available, masks of what is in them."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from kdlib.data.task import CLASSIFICATION, Task
from kdlib.errors import KdlibError, choose, names_in_order, positive_integer, shown

CATEGORIES = ("object", "part", "scene", "material", "texture", "color")
UNLABELLED = "unlabelled"


@dataclass(frozen=True)
class ConceptMap:
    """The concepts of one Broden category over N images.

    category: one of `CATEGORIES`.
    labels: (N, H, W) integers; 0 is unlabelled, other values index `names`. A concept that holds for a whole
        image is an expanded (N, 1, 1) tensor, which costs no memory.
    names: `names[0]` is "unlabelled".

    >>> scenes = torch.tensor([1, 2]).view(2, 1, 1).expand(2, 4, 4)
    >>> ConceptMap("scene", scenes, ("unlabelled", "beach", "forest")).num_concepts
    2
    """

    category: str
    labels: Tensor
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        choose(self.category, CATEGORIES, "concept category")
        if self.labels.ndim != 3 or self.labels.is_floating_point() or self.labels.dtype == torch.bool:
            raise KdlibError(
                f"concept map '{self.category}' must hold integers of shape (N, H, W), "
                f"not {self.labels.dtype} of shape {tuple(self.labels.shape)}"
            )
        if not self.names or self.names[0] != UNLABELLED:
            raise KdlibError(
                f"the first name of concept map '{self.category}' must be '{UNLABELLED}', the name of label 0"
            )
        # An expanded map repeats one value per image: its corner has its range.
        seen = self.labels[:, :1, :1] if self.labels.stride()[1:] == (0, 0) else self.labels
        low, high = (int(seen.min()), int(seen.max())) if seen.numel() else (0, 0)
        if low < 0 or high >= len(self.names):
            raise KdlibError(
                f"concept map '{self.category}' holds label {low if low < 0 else high}, "
                f"but only labels 0 to {len(self.names) - 1} have names; name them all or correct the map"
            )

    @property
    def num_concepts(self) -> int:
        """Number of named concepts, "unlabelled" not counted."""
        return len(self.names) - 1


def _whole_numbers(values: Any, name: str) -> tuple[int, ...]:
    try:
        return tuple(operator.index(value) for value in values)
    except TypeError:
        raise KdlibError(
            f"superclass_of of '{name}' must be a whole number for each class, not {shown(values)}"
        ) from None


@dataclass(frozen=True)
class Batch:
    """A run of consecutive images with everything known of them; `concepts` maps category to (B, H, W)."""

    images: Tensor
    labels: Tensor
    concepts: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageSet:
    """N labelled images on one device, optionally with foreground and concept masks.

    images: (N, C, H, W) uint8. labels: (N,) int64, class indices. superclass_of: for each class, the index of
    its superclass. foreground: (N, H, W) bool. concepts: at most one `ConceptMap` per category.

    >>> tiny = ImageSet("tiny", torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 2, 0]),
    ...                 ("cat", "dog", "car"), ("animal", "vehicle"), (0, 0, 1))
    >>> len(tiny), tiny.num_classes, tiny.siblings(0)
    (4, 3, [1])
    """

    task: ClassVar[Task] = CLASSIFICATION

    name: str
    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    superclass_names: tuple[str, ...]
    superclass_of: tuple[int, ...]
    foreground: Tensor | None = None
    concepts: tuple[ConceptMap, ...] = ()

    def __post_init__(self) -> None:
        for field_ in ("class_names", "superclass_names"):  # one set has one hash, however its names were given
            object.__setattr__(self, field_, names_in_order(getattr(self, field_), f"{field_} of '{self.name}'"))
        object.__setattr__(self, "superclass_of", _whole_numbers(self.superclass_of, self.name))
        if not isinstance(self.images, Tensor) or not isinstance(self.labels, Tensor):
            raise KdlibError(f"images and labels of '{self.name}' must be tensors of torch; make them by torch.tensor")
        if self.images.ndim != 4 or self.images.dtype != torch.uint8:
            raise KdlibError(
                f"images of '{self.name}' must be uint8 of shape (N, C, H, W), "
                f"not {self.images.dtype} of shape {tuple(self.images.shape)}"
            )
        count = len(self.images)
        if count == 0:
            raise KdlibError(f"'{self.name}' holds no image; give at least one")
        if tuple(self.labels.shape) != (count,) or self.labels.dtype != torch.int64:
            raise KdlibError(
                f"labels of '{self.name}' must be int64 of shape ({count},), "
                f"not {self.labels.dtype} of shape {tuple(self.labels.shape)}"
            )
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= len(self.class_names):
            raise KdlibError(
                f"'{self.name}' holds label {low if low < 0 else high}, but it names {len(self.class_names)} classes; "
                "count labels from 0 and name every class"
            )
        if len(self.superclass_of) != len(self.class_names):
            raise KdlibError(
                f"'{self.name}' gives a superclass to {len(self.superclass_of)} of {len(self.class_names)} classes; "
                "give one to each"
            )
        if any(not 0 <= index < len(self.superclass_names) for index in self.superclass_of):
            raise KdlibError(
                f"'{self.name}' names {len(self.superclass_names)} superclasses, but superclass_of runs from "
                f"{min(self.superclass_of)} to {max(self.superclass_of)}; count from 0"
            )
        plane = (count, *self.image_size)
        if self.foreground is not None and (
            tuple(self.foreground.shape) != plane or self.foreground.dtype != torch.bool
        ):
            raise KdlibError(
                f"the foreground of '{self.name}' must be bool of shape {plane}, "
                f"not {self.foreground.dtype} of shape {tuple(self.foreground.shape)}"
            )
        categories = [concept.category for concept in self.concepts]
        if len(set(categories)) != len(categories):
            raise KdlibError(
                f"'{self.name}' holds two concept maps of one category: {', '.join(categories)}; give each its own name"
            )
        for concept in self.concepts:
            # Masks may be coarser than the images (Broden's are half their size), never other in number.
            if len(concept.labels) != count:
                raise KdlibError(
                    f"concept map '{concept.category}' of '{self.name}' has {len(concept.labels)} images, not {count}"
                )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def image_size(self) -> tuple[int, int]:
        return self.images.shape[2], self.images.shape[3]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image, (C, H, W)."""
        return tuple(self.images.shape[1:])

    @property
    def device(self) -> torch.device:
        return self.images.device

    def siblings(self, class_index: int) -> list[int]:
        """The other classes of `class_index`'s superclass."""
        mine = self.superclass_of[class_index]
        return [i for i, other in enumerate(self.superclass_of) if other == mine and i != class_index]

    def concept_map(self, category: str) -> ConceptMap:
        """The concept map of `category`; an absent one is refused, naming those that are there."""
        present = {concept.category: concept for concept in self.concepts}
        return present[choose(category, present, f"concept category of '{self.name}'")]

    def channel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel over all pixels, of values scaled to [0, 1]."""
        # Exact from 256-bin histograms: no float copy of the images.
        values = torch.arange(256, dtype=torch.float64, device=self.device) / 255
        means, deviations = [], []
        for channel in range(self.channels):
            histogram = torch.bincount(self.images[:, channel].flatten().int(), minlength=256).double()
            histogram = histogram / histogram.sum()
            mean = float((histogram * values).sum())
            means.append(mean)
            deviations.append(max(float((histogram * (values - mean) ** 2).sum()) ** 0.5, 1e-6))
        return tuple(means), tuple(deviations)

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set on `device`."""
        return self._map(lambda tensor: tensor.to(device))

    def subset(self, indices: Tensor | slice | list[int], name: str | None = None) -> ImageSet:
        """The chosen images, in the order of `indices`, with their masks."""
        if not isinstance(indices, slice):
            indices = torch.as_tensor(indices, device=self.device)
            indices = indices if indices.dtype == torch.bool else indices.long()  # an empty list is of floats
        chosen = self._map(lambda tensor: tensor[indices])
        return replace(chosen, name=name or self.name)

    def _map(self, change) -> ImageSet:
        def change_labels(labels: Tensor) -> Tensor:
            if labels.stride()[1:] == (0, 0):  # keep image-level maps free of memory
                corner = change(labels[:, :1, :1])
                return corner.expand(len(corner), *labels.shape[1:])
            return change(labels)

        return replace(
            self,
            images=change(self.images),
            labels=change(self.labels),
            foreground=None if self.foreground is None else change(self.foreground),
            concepts=tuple(replace(c, labels=change_labels(c.labels)) for c in self.concepts),
        )

    def inputs(self, indices: Tensor | slice) -> Tensor:
        """Images as float32 in [0, 1], shape (B, C, H, W): what models take."""
        return self.images[indices].float().div_(255)

    def model_options(self) -> dict[str, Any]:
        """What `kdlib.models.build` must know of the images: classes, channels and their statistics."""
        mean, std = self.channel_statistics()
        return {"num_classes": self.num_classes, "channels": self.channels, "mean": mean, "std": std}

    def batches(self, batch_size: int = 256) -> Iterator[Batch]:
        """Consecutive images with labels and masks, in order; the last batch may be smaller."""
        positive_integer(batch_size, "batch_size")
        for start in range(0, len(self), batch_size):
            piece = slice(start, start + batch_size)
            concepts = {concept.category: concept.labels[piece] for concept in self.concepts}
            yield Batch(self.images[piece], self.labels[piece], concepts)

    def content_hash(self) -> str:
        """SHA-256 over images, labels, names and masks: two sets with one hash are the same data."""
        digest = hashlib.sha256()
        names = (self.class_names, self.superclass_names, self.superclass_of)
        digest.update(repr((names, [(c.category, c.names) for c in self.concepts])).encode())
        tensors = [self.images, self.labels]
        tensors += [] if self.foreground is None else [self.foreground]
        for concept in self.concepts:
            whole_image = concept.labels.stride()[1:] == (0, 0)
            tensors.append(concept.labels[:, :1, :1] if whole_image else concept.labels)
        for tensor in tensors:
            digest.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()
