"""The labels of several categories as one number a pixel, so that a pixel is looked up once for all of them.

Of all combinations of an object, a part, a material, a texture and a colour only some thousands occur in a probe set.
What is counted by combination is added up by concept at the end.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kdlib.data.image_set import ImageSet

_MOST_CATEGORIES = 6  # their labelled subsets are counted, too: there are 2 to this power
_MOST_CODES = 1 << 14


@dataclass(frozen=True)
class JointLabels:
    """Labels of K categories over N images, by a code that names their combination, one of C.

    codes: (N, H, W) int32. labels: per category (C,) int64, the label that a code stands for, 0 for none. subset: (C,)
    int64, which categories a code has labels of, category k adding 2^k. labelled: (N, K) bool, whether an image has any
    label of a category.
    """

    codes: Tensor
    labels: Mapping[str, Tensor]
    subset: Tensor
    labelled: Tensor

    def images(self, piece: slice) -> JointLabels:
        """Those of some of the images."""
        return JointLabels(self.codes[piece], self.labels, self.subset, self.labelled[piece])

    def same_codes(self, other: JointLabels) -> bool:
        """Whether codes stand for the same combinations in both, as they do in batches of one probe set."""
        return self.subset is other.subset


class LabelBatch(dict[str, Tensor]):
    """Category -> labels of a batch, and besides the `JointLabels` of the categories that have some."""

    def __init__(self, labels: Mapping[str, Tensor], joint: JointLabels) -> None:
        super().__init__(labels)
        self.joint = joint


@functools.lru_cache(maxsize=2)
def joint_labels(probe: ImageSet) -> JointLabels | None:
    """The joint labels of all categories with a label a pixel; made once for all networks dissected on `probe`.

    None where fewer than two categories have masks of one size, or too many combinations occur.

    >>> from kdlib.data.image_set import ConceptMap
    >>> objects = ConceptMap("object", torch.tensor([[[0, 1, 1]]]), ("unlabelled", "cat"))
    >>> parts = ConceptMap("part", torch.tensor([[[0, 0, 2]]]), ("unlabelled", "ear", "leg"))
    >>> probe = ImageSet("toy", torch.zeros(1, 1, 1, 3, dtype=torch.uint8), torch.tensor([0]), ("a",), ("all",), (0,),
    ...                  concepts=(objects, parts))
    >>> joint = joint_labels(probe)
    >>> joint.codes.tolist(), joint.labels["part"].tolist(), joint.subset.tolist()
    ([[[0, 1, 2]]], [0, 0, 2], [0, 1, 3])
    """
    maps = [concept for concept in probe.concepts if concept.labels.stride()[-2:] != (0, 0)]
    if not 2 <= len(maps) <= _MOST_CATEGORIES or len({concept.labels.shape for concept in maps}) > 1:
        return None
    values = torch.zeros(1, dtype=torch.int64, device=probe.device)  # the combinations that occur, as labels' columns
    columns: list[Tensor] = []
    codes = torch.zeros(maps[0].labels.shape, dtype=torch.int64, device=probe.device)
    for concept in maps:
        pairs = codes * len(concept.names) + concept.labels
        occurs = torch.bincount(pairs.flatten(), minlength=len(values) * len(concept.names)) > 0
        values = occurs.nonzero()[:, 0]
        if len(values) > _MOST_CODES:
            return None
        columns = [column[values // len(concept.names)] for column in columns] + [values % len(concept.names)]
        codes = (occurs.cumsum(0) - 1)[pairs]
    labels = {concept.category: column for concept, column in zip(maps, columns, strict=True)}
    subset = torch.stack([(column > 0).long() << k for k, column in enumerate(columns)]).sum(0)
    labelled = torch.stack([concept.labels.flatten(1).amax(1) > 0 for concept in maps], dim=1)
    return JointLabels(codes.to(torch.int32), labels, subset, labelled)


def label_batches(probe: ImageSet, batch_size: int) -> Iterator[tuple[Tensor, Mapping[str, Tensor]]]:
    """Images and labels of `probe.batches`, with joint labels where there are some."""
    joint = joint_labels(probe) if isinstance(probe, ImageSet) else None
    start = 0
    for batch in probe.batches(batch_size):
        piece = slice(start, start + len(batch.images))
        yield batch.images, LabelBatch(batch.concepts, joint.images(piece)) if joint else batch.concepts
        start = piece.stop


class JointCounter:
    """Counts pixels by code over batches: of the images, and of those where units are active.

    units: how many there are. joint: of the probe set, or of any batch of it. device: where the maps and codes are.
    """

    _MOST_WAITING = 1 << 21  # active pixels, counted together: the table of units and codes is large

    def __init__(self, units: int, joint: JointLabels, device: torch.device) -> None:
        self.joint = joint
        self._units, self._codes = units, len(joint.subset)
        self._subset = joint.subset.to(device)
        # (2^K, K): whether a subset has the category; as float, for a product.
        categories = torch.arange(len(joint.labels), device=device)
        self._has = ((torch.arange(2 ** len(categories), device=device)[:, None] >> categories) % 2).float()
        self._counts = self._subset.new_zeros(units * self._codes)
        self._area = torch.zeros_like(self._subset)
        self._waiting: list[Tensor] = []

    def add_images(self, codes: Tensor) -> None:
        """Take in the (B, H, W) codes of a batch."""
        self._area += torch.bincount(codes.reshape(-1), minlength=self._codes)

    def add_active(self, unit: Tensor, map_index: Tensor, pixel: Tensor, codes: Tensor) -> Tensor:
        """Take in the active pixels of P maps; (P, K) bool: whether labels of a category lie at them.

        unit: (P,) of each map. map_index, pixel: (n,), the map of each active pixel and its place in `codes`.
        """
        code = codes.reshape(-1).index_select(0, pixel)
        self._waiting.append((unit * self._codes).index_select(0, map_index).add_(code))
        if sum(map(len, self._waiting)) >= self._MOST_WAITING:
            self._count()
        key = map_index * len(self._has) + self._subset.index_select(0, code)
        seen = torch.bincount(key, minlength=len(unit) * len(self._has)).view(len(unit), -1) > 0
        return seen.float() @ self._has > 0

    def of_category(self, category: str, concepts: int) -> tuple[Tensor, Tensor]:
        """(U, concepts + 1) active pixels and (concepts + 1,) pixels by label of a category, 0 for none."""
        self._count()
        label = self.joint.labels[category].to(self._counts.device)
        counts = self._counts.new_zeros(self._units, concepts + 1)
        counts.index_add_(1, label, self._counts.view(self._units, -1))
        return counts, self._area.new_zeros(concepts + 1).index_add_(0, label, self._area)

    def _count(self) -> None:
        if self._waiting:
            self._counts += torch.bincount(torch.cat(self._waiting), minlength=len(self._counts))
            self._waiting = []
