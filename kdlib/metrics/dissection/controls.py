"""Controls of network dissection: a random basis, and concepts chosen on one half of the images, scored on the other.

Bau et al. 2017 (CVPR, section 3.2): a layer's representation rotated at random says exactly as much (the next layer can
turn it back, so that accuracy stays), but its units should detect fewer concepts if the units' own axes are special.
The held-out score is ours: a unit's best of many concepts is too good by the luck of the choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.errors import KdlibError, check_seed, finite_number, positive_integer
from kdlib.metrics.dissection.activations import ActivationBatches, Checked, Kept, concept_names_of, layer_activations
from kdlib.metrics.dissection.dissect import QUANTILE, TAU, Dissection, dissect_activations, score_tally
from kdlib.metrics.dissection.tally import count_pixels


def random_rotation(units: int, seed: int = 0) -> Tensor:
    """An orthogonal (units, units) float32 matrix, uniformly distributed (Haar measure), the same for the same seed.

    >>> turn = random_rotation(5)
    >>> torch.allclose(turn @ turn.T, torch.eye(5), atol=1e-6)
    True
    """
    positive_integer(units, "units")
    generator = torch.Generator().manual_seed(check_seed(seed))
    q, r = torch.linalg.qr(torch.randn(units, units, generator=generator, dtype=torch.float64))
    return (q * r.diagonal().sign()).float()  # without the signs, QR prefers some rotations


class _Rotated:
    """Activation batches in a rotated basis."""

    def __init__(self, batches: ActivationBatches, seed: int, layer: str) -> None:
        self.batches, self.seed, self.layer = batches, seed, layer

    def __iter__(self) -> Iterator[tuple[Tensor, Mapping[str, Tensor]]]:
        rotation = None
        for activations, concepts in Checked(self.batches, self.layer):
            if rotation is None:
                rotation = random_rotation(activations.shape[1], self.seed).to(activations)
            yield torch.einsum("vu,buhw->bvhw", rotation, activations), concepts


def _rotated(batches: ActivationBatches, images: int, seed: int, layer: str) -> ActivationBatches:
    return Kept(_Rotated(batches, seed, layer), images)


def dissect_with_mixture(
    model: nn.Module,
    probe,
    layer: str,
    *,
    seed: int = 0,
    quantile: float = QUANTILE,
    denominator: str = "lite",
    batch_size: int = 128,
    device: torch.device | str | None = None,
) -> tuple[Dissection, Dissection]:
    """`kdlib.metrics.dissection.dissect.dissect` of a layer, and of the same layer in a basis rotated at random.

    seed: of the rotation. The model runs once for both where the activations fit into memory.

    >>> from kdlib.data.image_set import ConceptMap, ImageSet
    >>> masks = ConceptMap("object", torch.arange(32).view(2, 4, 4) % 2, ("unlabelled", "cat"))
    >>> probe = ImageSet("toy", torch.arange(32, dtype=torch.uint8).view(2, 1, 4, 4), torch.tensor([0, 1]),
    ...                  ("a", "b"), ("all",), (0, 0), concepts=(masks,))
    >>> own, mixed = dissect_with_mixture(nn.Sequential(nn.Conv2d(1, 3, 1)), probe, "0")
    >>> own.num_units, mixed.layer
    (3, '0, rotated')
    """
    names = concept_names_of(probe)
    how: dict[str, Any] = {"quantile": quantile, "denominator": denominator, "num_images": len(probe)}
    with layer_activations(model, probe, layer, batch_size=batch_size, device=device) as batches:
        own = dissect_activations(batches, names, layer=layer, **how)
        return own, dissect_activations(
            _rotated(batches, len(probe), seed, layer), names, layer=f"{layer}, rotated", **how
        )


@dataclass(frozen=True)
class HeldOut:
    """Each unit's concept chosen on one half of the probe images, its IoU on the other half, thresholds from the first.

    chosen: the dissection of the first half. score: (U,) float64, the IoU of the chosen concept on the second half, 0
    for a unit without one.
    """

    chosen: Dissection
    score: Tensor

    def count(self, tau: float = TAU) -> int:
        """Number of units whose chosen concept reaches tau on the held-out half."""
        return int((self.score >= finite_number(tau, "tau", minimum=0, exclusive=True)).sum())


def dissect_held_out(
    model: nn.Module,
    probe,
    layer: str,
    *,
    seed: int = 0,
    quantile: float = QUANTILE,
    denominator: str = "lite",
    batch_size: int = 128,
    device: torch.device | str | None = None,
) -> HeldOut:
    """Choose each unit's concept on a random half of the probe images, score it on the other half.

    probe: an `ImageSet` or a `BrodenFolder` (it is split by `seed`) of at least two images. Compare `count` with that
    of `chosen`, which has as many images: the difference is what choosing the best of many concepts adds.

    >>> from kdlib.data.image_set import ConceptMap, ImageSet
    >>> masks = ConceptMap("object", torch.arange(64).view(4, 4, 4) % 2, ("unlabelled", "cat"))
    >>> probe = ImageSet("toy", torch.arange(64, dtype=torch.uint8).view(4, 1, 4, 4), torch.tensor([0, 1, 0, 1]),
    ...                  ("a", "b"), ("all",), (0, 0), concepts=(masks,))
    >>> dissect_held_out(nn.Sequential(nn.Conv2d(1, 3, 1)), probe, "0").score.shape
    torch.Size([3])
    """
    if len(probe) < 2:
        raise KdlibError(f"a held-out half needs at least 2 probe images, not {len(probe)}")
    order = torch.randperm(len(probe), generator=torch.Generator().manual_seed(check_seed(seed)))
    halves = [probe.subset(piece.sort().values) for piece in order.tensor_split(2)]
    names = concept_names_of(probe)
    with layer_activations(model, halves[0], layer, batch_size=batch_size, device=device) as batches:
        chosen = dissect_activations(
            batches, names, quantile=quantile, denominator=denominator, layer=layer, num_images=len(halves[0])
        )
    with layer_activations(model, halves[1], layer, batch_size=batch_size, device=device) as batches:
        checked = Checked(batches, layer)
        target = next(iter(checked))[0]
        tally = count_pixels(checked, chosen.thresholds.to(target), chosen.concept_names)
    other = score_tally(tally, chosen.concept_names, layer, quantile, denominator, chosen.thresholds, chosen.dead)
    score = torch.zeros(chosen.num_units, dtype=torch.float64)
    for unit, (category, concept) in enumerate(zip(chosen.best_category, chosen.best_concept, strict=True)):
        if category:
            score[unit] = other.iou[category][unit, chosen.concept_names[category].index(concept)]
    return HeldOut(chosen, score)
