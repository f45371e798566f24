"""Network dissection: which units of a layer detect which concepts.

Bau et al. 2017 (CVPR), with the settings of Han et al. 2023 (ICML): a unit is active where its bilinearly upsampled
activation exceeds the value that it exceeds on 0.5 % of all cells; it detects the concept whose masks overlap best
with its active region, if their intersection over union over the whole probe set is at least 0.05. The paper's
"number of concept detectors" is the number of such units (`Dissection.count`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdlib.errors import KdlibError, choose, finite_number
from kdlib.metrics.dissection.activations import ActivationBatches, Checked, concept_names_of, layer_activations
from kdlib.metrics.dissection.quantile import UpperQuantile
from kdlib.metrics.dissection.tally import Tally, count_pixels

DENOMINATORS = ("lite", "original")
QUANTILE = 0.005
TAU = 0.05
_EPSILON = 1e-10  # of the official implementation: a concept without pixels and a unit without active ones score 0


@dataclass(frozen=True)
class Dissection:
    """What a layer's U units detect; all tensors are on the CPU.

    thresholds: (U,) T_u. iou: per category (U, n) float64 in [0, 1], column i for concept_names[category][i].
    best_category, best_concept, score: per unit, the concept with the highest IoU of all categories and that IoU;
        "" and 0 for a unit that overlaps with no concept.
    coverage: per category (n,), the fraction g of all pixels with the concept's label.
    ceiling: per category (n,), min(a, g) / max(a, g) with a = quantile: the highest IoU that a unit active on a
        fraction a can reach if all its active pixels count. Under tau, the concept is out of such a unit's reach
        ("lite" leaves images out of the denominator and can exceed it where labels of the category are rare).
    activated_fraction: (U,) realised fraction of active pixels. It can lie well under `quantile`: a unit that fires on
        fewer than 0.5 % of the cells has threshold 0, and interpolation flattens peaks that stand alone, by far the
        most on small maps (8x8 maps of a small network: 0.15 %). With it the ceiling moves. Compare it between models,
        it confounds the counts.
    dead: (U,) bool, whether no cell exceeds the threshold: constant units, and saturated ones that reach their
        maximum on more than a fraction `quantile` of the cells. They are never detectors.
    tally: the pixel counts behind it all.
    """

    layer: str
    quantile: float
    denominator: str
    thresholds: Tensor
    iou: dict[str, Tensor]
    concept_names: dict[str, tuple[str, ...]]
    best_category: list[str]
    best_concept: list[str]
    score: Tensor
    coverage: dict[str, Tensor]
    ceiling: dict[str, Tensor]
    activated_fraction: Tensor
    dead: Tensor
    tally: Tally

    @property
    def num_units(self) -> int:
        return len(self.thresholds)

    def detectors(self, tau: float = TAU) -> Tensor:
        """(U,) bool: score >= tau."""
        return self.score >= finite_number(tau, "tau", minimum=0, exclusive=True)

    def count(self, tau: float = TAU) -> int:
        """Number of concept detectors: units, not concepts."""
        return int(self.detectors(tau).sum())

    def count_by_category(self, tau: float = TAU, exclusive: bool = True) -> dict[str, int]:
        """Detectors per category.

        exclusive: each unit counts once, under its best category, so that the counts sum to `count(tau)`.
        Otherwise it counts in every category in which some concept reaches tau. Which of the two Han et al. print
        is not known.
        """
        if exclusive:
            chosen = [self.best_category[unit] for unit in self.detectors(tau).nonzero()[:, 0].tolist()]
            return {category: Counter(chosen)[category] for category in self.iou}
        finite_number(tau, "tau", minimum=0, exclusive=True)
        return {category: int((iou >= tau).any(1).sum()) for category, iou in self.iou.items()}

    def unique_concepts(self, tau: float = TAU) -> int:
        """Number of different (category, concept) pairs among the detectors' labels."""
        units = self.detectors(tau).nonzero()[:, 0].tolist()
        return len({(self.best_category[unit], self.best_concept[unit]) for unit in units})

    def curve(self, taus: Sequence[float]) -> list[int]:
        """`count` at each threshold: an order of models that flips along it is not a finding."""
        return [self.count(tau) for tau in taus]

    @property
    def curve_area(self) -> float:
        """Area under the share of detectors as a function of tau, from 0 to 1: the mean of the units' best IoU.

        A unit of score s is a detector for all tau up to s, so that it adds s / U to the area. No tau is chosen.
        """
        return float(self.score.mean())

    def reachable(self, tau: float = TAU, fraction: float | None = None) -> int:
        """Number of concepts whose ceiling min(a, g) / max(a, g) reaches tau for a unit active on `fraction` a.

        fraction: `quantile` if not given; the realised one (`activated_fraction`) is the stricter choice.
        """
        a = torch.tensor(self.quantile if fraction is None else fraction, dtype=torch.float64)
        return sum(int((torch.minimum(a, g) / torch.maximum(a, g) >= tau).sum()) for g in self.coverage.values())

    def with_denominator(self, denominator: str) -> Dissection:
        """The same dissection with "lite" or "original" IoUs; both come from one pass over the data."""
        return score_tally(
            self.tally, self.concept_names, self.layer, self.quantile, denominator, self.thresholds, self.dead
        )

    def summary(self, tau: float = TAU) -> dict[str, float]:
        """Plain numbers for a record."""
        return {
            "units": self.num_units,
            "detectors": self.count(tau),
            "unique_concepts": self.unique_concepts(tau),
            "mean_score": self.curve_area,
            "dead_units": int(self.dead.sum()),
            "mean_activated_fraction": float(self.activated_fraction.mean()),
            **{f"detectors_{category}": n for category, n in self.count_by_category(tau).items()},
        }


def score_tally(
    tally: Tally,
    names: dict[str, tuple[str, ...]],
    layer: str,
    quantile: float,
    denominator: str,
    thresholds: Tensor,
    dead: Tensor,
) -> Dissection:
    """The dissection that follows from pixel counts: IoUs with this denominator, best concepts, ceilings.

    thresholds, dead: (U,) of the units, as `Dissection` has them; the counts were taken with these thresholds.
    """
    areas = tally.activated_area[choose(denominator, DENOMINATORS, "denominator")]
    iou, coverage, ceiling = {}, {}, {}
    for category, intersection in tally.intersection.items():
        both, concept = intersection.double(), tally.concept_area[category].double()
        iou[category] = both / (areas[category].double()[:, None] + concept - both + _EPSILON)
        coverage[category] = concept / tally.total_pixels
        a = torch.full_like(concept, quantile)
        ceiling[category] = torch.minimum(a, coverage[category]) / torch.maximum(a, coverage[category])
    # Of equal scores the first category, and in it the first concept, is taken.
    categories = list(iou)
    best = [iou[category].argmax(1) for category in categories]
    per_category = torch.stack([iou[c].gather(1, i[:, None])[:, 0] for c, i in zip(categories, best, strict=True)])
    chosen = per_category.argmax(0)
    score = per_category.gather(0, chosen[None])[0]
    labels = [
        (categories[c], names[categories[c]][int(best[c][unit])]) if score[unit] > 0 else ("", "")
        for unit, c in enumerate(chosen.tolist())
    ]
    return Dissection(
        layer=layer,
        quantile=quantile,
        denominator=denominator,
        thresholds=thresholds,
        iou=iou,
        concept_names=names,
        best_category=[category for category, _ in labels],
        best_concept=[concept for _, concept in labels],
        score=score,
        coverage=coverage,
        ceiling=ceiling,
        activated_fraction=tally.activated_pixels.double() / tally.total_pixels,
        dead=dead,
        tally=tally,
    )


def _thresholds(batches: Checked, quantile: float, images: int) -> tuple[Tensor, Tensor]:
    """(U,) thresholds T_u, and whether each unit never exceeds its own."""
    upper = None
    for activations, _ in batches:
        if upper is None:
            upper = UpperQuantile(quantile, images * activations.shape[2] * activations.shape[3])
        upper.update(activations.transpose(0, 1).flatten(1))
    if upper is None:
        raise KdlibError("there are no images to dissect; give at least one")
    thresholds = upper.result()
    return thresholds, upper.maximum() <= thresholds


def dissect_activations(
    batches: ActivationBatches,
    concept_names: Mapping[str, tuple[str, ...]],
    *,
    quantile: float = QUANTILE,
    denominator: str = "lite",
    layer: str = "activations",
    num_images: int | None = None,
) -> Dissection:
    """Dissect activations that are at hand; `dissect` does the same for a model's layer.

    batches: a list, or anything that can be iterated twice, of ((B, U, h, w) activations, {category: (B, H, W)
        integer labels}) pairs on one device; (B, L, H, W) where pixels have up to L labels of a category, 0 where there
        are fewer, none twice. How the images are cut into batches changes no bit of the result.
    concept_names: per category the names of labels 0 ("unlabelled"), 1, 2, ...
    num_images: how many images there are in all; counted in an extra pass if not given.

    IoU[u, c] = I[u, c] / (A[u, category of c] + G[c] - I[u, c] + 1e-10), all in pixels of the masks over the whole
    set: I where u is active and c labelled, G where c is labelled, A where u is active. A pixel with several labels
    counts for each of them, as in NetDissect-Lite (its feature_operation concatenates all layers). With denominator
    "lite" (NetDissect-Lite and Han et al. 2023) A takes only images in which a label of the category lies inside the
    active region, in any layer; with "original" (Bau et al. 2017) images with any label of the category.

    Bit for bit NetDissect-Lite's own counts but in two cases. On an image whose labels are of the whole image alone it
    keeps the category tally of the image before; here the image's own labels count. Where maps are larger than masks it
    resizes with antialiasing; here they are resized bilinearly, as smaller ones are.

    The first pass finds the thresholds and keeps a fraction `quantile` of the activations, the second one counts and
    keeps nothing: neither holds all activations.

    >>> maps = torch.tensor([[[[0.0, 0.0], [0.0, 4.0]]], [[[0.0, 0.0], [0.0, 2.0]]]])  # 2 images, 1 unit
    >>> masks = torch.tensor([[[0, 0], [0, 1]], [[2, 2], [2, 1]]])
    >>> names = {"object": ("unlabelled", "cat", "dog")}
    >>> found = dissect_activations([(maps, {"object": masks})], names, quantile=0.3)
    >>> found.thresholds.tolist(), found.best_concept, found.iou["object"].tolist()
    ([0.0], ['cat'], [[0.99999999995, 0.0]])
    """
    finite_number(quantile, "quantile", minimum=0, maximum=1, exclusive=True)
    choose(denominator, DENOMINATORS, "denominator")
    names = {category: tuple(listed[1:]) for category, listed in concept_names.items() if len(listed) > 1}
    if not names:
        raise KdlibError("these images have no concept masks; dissection needs a probe set with at least one category")
    checked = Checked(batches, layer)
    if num_images is None:
        num_images = sum(len(activations) for activations, _ in checked)
    with torch.no_grad():
        thresholds, dead = _thresholds(checked, quantile, num_images)
        tally = count_pixels(checked, thresholds, names)
    return score_tally(tally, names, layer, quantile, denominator, thresholds.cpu(), dead.cpu())


def dissect(
    model: nn.Module,
    probe,
    layer: str,
    *,
    quantile: float = QUANTILE,
    denominator: str = "lite",
    batch_size: int = 128,
    device: torch.device | str | None = None,
) -> Dissection:
    """Dissect the units of one layer of a model over a probe set with concept masks.

    model: takes float images in [0, 1]; it runs in eval mode and is left in the mode it was in. probe: an `ImageSet`
    with concepts, or a set that streams the same kind of batches, such as a `BrodenFolder`. layer: a module whose
    output has shape (images, units, height, width); Han et al. use the last stage of a ResNet. device: where to run;
    the model's own if not given. For quantile, denominator and the formula see `dissect_activations`.

    Raises `KdlibError` for an unknown layer, a probe set without masks or with images that the model can't take, and
    weights or activations that are not finite.

    >>> from kdlib.data.image_set import ConceptMap, ImageSet
    >>> masks = ConceptMap("object", torch.arange(32).view(2, 4, 4) % 2, ("unlabelled", "cat"))
    >>> probe = ImageSet("toy", torch.arange(32, dtype=torch.uint8).view(2, 1, 4, 4), torch.tensor([0, 1]),
    ...                  ("a", "b"), ("all",), (0, 0), concepts=(masks,))
    >>> dissect(nn.Sequential(nn.Conv2d(1, 3, 1)), probe, "0").num_units
    3
    """
    with layer_activations(model, probe, layer, batch_size=batch_size, device=device) as batches:
        return dissect_activations(
            batches,
            concept_names_of(probe),
            quantile=quantile,
            denominator=denominator,
            layer=layer,
            num_images=len(probe),
        )
