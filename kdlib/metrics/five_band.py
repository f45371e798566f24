"""Five-band scores: does a saliency map mark the right zones of a picture as strongly as it should?

Tjoa and Guan (2020, arXiv 2009.02899), used by Han et al. (ICML 2023) on pictures of synthetic cells. A map and the
known truth are cut into five bands, -2, -1, 0, 1, 2, by thresholds -t2 < -t1 < t1 < t2, and compared pixel by pixel.

1. h = sum over channels of the attribution, divided by max |h| of the image, in [-1, 1]; zeros stay zero.
2. band(h) = 2 if h > t2, 1 if t1 < h <= t2, 0 if -t1 <= h <= t1, and likewise below. (Which side a value takes that
   equals a threshold is our choice.) The truth's heat of 0.9, 0.4, 0 is cut at 0.7 and 0.3, always.
3. Pixel accuracy = pixels of equal band / all pixels. TP: both bands nonzero and equal; FP: the map's band is nonzero
   and the truth's is another one, zero or not; FN: the map's is zero, the truth's is not; TN: both are zero.
   precision = TP / (TP + FP + 1e-6), recall = TP / (TP + FN + 1e-6), false positive rate = FP / (FP + TN + 1e-6).
   A pixel of the object in the wrong band is an FP, so that the false positive rate's denominator FP + TN is not the
   number of background pixels, as it usually is, and recall leaves such pixels out.
4. Soft scores: all of it again with the thresholds moved towards 0 step by step, a curve.

Maps of magnitudes ("gradient" of `kdlib.explain.saliency`) have no negative bands. A blank picture, whose truth is zero
everywhere, has recall 0 whatever the map: `FiveBandScores.summary` keeps blank pictures apart.

Read pixel accuracy and false positive rate beside recall: a map that is zero everywhere has the accuracy of the
background's share of the picture (0.88 on the cells with something to find), above that of most trained networks, and
a false positive rate of 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdlib.errors import KdlibError, choose, finite_number

MEASURES = ("accuracy", "precision", "recall", "false_positive_rate")
TRUTH_THRESHOLDS = (-0.7, -0.3, 0.3, 0.7)
_EPSILON = 1e-6
_BANDS = 5


@dataclass(frozen=True)
class Variant:
    """Thresholds (t1, t2) to start from, how far a step moves them towards 0, how many positions there are in all.

    clamp: attributions are first cut to +-clamp, channel by channel, before the sum over channels; the authors'
    published code divides before that sum, too.
    """

    t1: float
    t2: float
    step: float = 0.005
    positions: int = 56
    clamp: float | None = None


# v1 and its clamped form, and v2 of the published code. Which one Han et al. used is not known; v1 is our choice.
VARIANTS = {
    "v1": Variant(0.3, 0.5),
    "v2": Variant(0.3, 0.7),
    "v1_clamped": Variant(0.5, 0.9, step=0.01, positions=41, clamp=0.1),
}


@dataclass(frozen=True)
class BandSummary:
    """Means over images, one per position of the thresholds; measure -> (S,) float64.

    curve: over images with something to find, NaN if there are none. blank: over blank images, without recall and
    precision, which are 0 by construction. images, blank_images: how many; left_out: not to be kept.
    """

    thresholds: Tensor
    curve: dict[str, Tensor]
    blank: dict[str, Tensor]
    images: int
    blank_images: int
    left_out: int

    @property
    def start(self) -> dict[str, float]:
        """`curve` at the first position."""
        return {measure: float(values[0]) for measure, values in self.curve.items()}

    @property
    def soft(self) -> dict[str, float]:
        """Mean of `curve` over all positions."""
        return {measure: float(values.mean()) for measure, values in self.curve.items()}


@dataclass(frozen=True)
class FiveBandScores:
    """Scores of N images at S positions of the thresholds.

    thresholds: (S, 4) float64. accuracy, precision, recall, false_positive_rate: (N, S) float64 in [0, 1].
    blank: (N,) bool, the truth is zero everywhere.
    """

    thresholds: Tensor
    accuracy: Tensor
    precision: Tensor
    recall: Tensor
    false_positive_rate: Tensor
    blank: Tensor

    def summary(self, keep: Tensor | None = None) -> BandSummary:
        """Means over the images of `keep`, (N,) bool, such as the correctly classified ones; blank ones apart.

        >>> truth = torch.tensor([[[2, 0]], [[0, 0]]])
        >>> scores = five_band_scores(torch.tensor([[[[1.0, 0.0]]], [[[1.0, 0.0]]]]), truth)
        >>> found = scores.summary()
        >>> found.start["accuracy"], found.blank["accuracy"].tolist(), found.images, found.blank_images
        (1.0, [0.5], 1, 1)
        """
        kept = torch.ones_like(self.blank) if keep is None else keep.to(self.blank.device)
        if kept.dtype != torch.bool or kept.shape != self.blank.shape:
            raise KdlibError(
                f"keep must be bool, one for each of the {len(self.blank)} images, not {kept.dtype} of shape "
                f"{tuple(kept.shape)}"
            )
        full, blank = kept & ~self.blank, kept & self.blank
        return BandSummary(
            thresholds=self.thresholds,
            curve={measure: getattr(self, measure)[full].mean(0) for measure in MEASURES},
            blank={m: getattr(self, m)[blank].mean(0) for m in ("accuracy", "false_positive_rate")},
            images=int(full.sum()),
            blank_images=int(blank.sum()),
            left_out=int((~kept).sum()),
        )


def normalise(attributions: Tensor, clamp: float | None = None) -> Tensor:
    """h of attributions (N, C, H, W): (N, H, W) float64, sum over channels over its largest magnitude in the image.

    >>> normalise(torch.tensor([[[[2.0, -1.0]], [[2.0, 0.0]]]])).tolist()
    [[[1.0, -0.25]]]
    """
    if attributions.ndim != 4 or not attributions.is_floating_point() or not attributions.numel():
        raise KdlibError(
            "attributions must be real numbers of shape (N, C, H, W), "
            f"not {attributions.dtype} of {tuple(attributions.shape)}"
        )
    if not bool(torch.isfinite(attributions).all()):
        raise KdlibError("the attributions are not finite; check the model's weights")
    values = attributions.detach()
    if clamp is not None:
        finite_number(clamp, "clamp", minimum=0, exclusive=True)
        values = values.clamp(-clamp, clamp)
    h = values.double().div(values.shape[1]).sum(1)  # the scale cancels; taken out first, no sum overflows
    largest = h.abs().flatten(1).amax(1).view(-1, 1, 1)
    return h / torch.where(largest == 0, 1.0, largest)


def stratify(heat: Tensor, thresholds: Sequence[float] = TRUTH_THRESHOLDS) -> Tensor:
    """Bands -2 to 2, int8, of a heat of any shape; thresholds (-t2, -t1, t1, t2).

    >>> stratify(torch.tensor([-0.9, -0.4, 0.0, 0.4, 0.9])).tolist()
    [-2, -1, 0, 1, 2]
    """
    low2, low1, high1, high2 = _table(thresholds)[0].tolist()
    heat = heat.double()
    positive = (heat > high1).to(torch.int8) + (heat > high2).to(torch.int8)
    return positive - (heat < low1).to(torch.int8) - (heat < low2).to(torch.int8)


def soft_thresholds(variant: str = "v1") -> Tensor:
    """(S, 4) float64: the thresholds of a variant of `VARIANTS` at each position, from its start towards 0.

    >>> table = soft_thresholds("v1")
    >>> len(table), table[0].tolist(), [round(t, 3) for t in table[-1].tolist()]
    (56, [-0.5, -0.3, 0.3, 0.5], [-0.225, -0.025, 0.025, 0.225])
    """
    chosen = VARIANTS[choose(variant, VARIANTS, "five-band variant")]
    moved = chosen.step * torch.arange(chosen.positions, dtype=torch.float64)
    t1, t2 = chosen.t1 - moved, chosen.t2 - moved
    return torch.stack((-t2, -t1, t1, t2), 1)


def five_band_scores(
    attributions: Tensor,
    truth: Tensor,
    thresholds: Sequence[float] | Tensor | None = None,
    *,
    clamp: float | None = None,
) -> FiveBandScores:
    """Scores of each image's attribution at each position of the thresholds; formulas at the head of this module.

    attributions: (N, C, H, W), of the predicted class in the papers. truth: (N, H, W) bands, integers from -2 to 2, as
    in the concept map "part" of `kdlib.data.drawn.cells`; `stratify` makes them of a heat. thresholds: (-t2, -t1, t1,
    t2), or a table (S, 4) of them in any order; the start of v1 if not given. clamp: cut attributions to +-clamp first.

    Pixels are counted once for all positions together, so that 56 cost little more than one.

    >>> truth = torch.tensor([[[2, 1, 1, 0]]])
    >>> scores = five_band_scores(torch.tensor([[[[0.9, 0.4, 0.8, 0.1]]]]), truth, (-0.5, -0.3, 0.3, 0.5))
    >>> [round(float(getattr(scores, measure)), 3) for measure in MEASURES]  # the third pixel is in the wrong band
    [0.75, 0.667, 1.0, 0.5]
    """
    h = normalise(attributions, clamp)
    _check_truth(truth, tuple(h.shape))
    start = VARIANTS["v1"]
    table = _table((-start.t2, -start.t1, start.t1, start.t2) if thresholds is None else thresholds)
    counts = _count(h.flatten(1), truth.to(h.device).flatten(1), table)
    bands = torch.arange(_BANDS, device=h.device) - 2
    of_map, of_truth = bands[:, None], bands[None, :]

    def pixels(which: Tensor) -> Tensor:
        return counts[:, :, which].sum(2).double()

    hit = pixels((of_map != 0) & (of_map == of_truth))
    false = pixels((of_map != 0) & (of_map != of_truth))
    missed = pixels((of_map == 0) & (of_truth != 0))
    rest = pixels((of_map == 0) & (of_truth == 0))
    return FiveBandScores(
        thresholds=table,
        accuracy=(hit + rest) / h[0].numel(),
        precision=hit / (hit + false + _EPSILON),
        recall=hit / (hit + missed + _EPSILON),
        false_positive_rate=false / (false + rest + _EPSILON),
        blank=~(truth.to(h.device) != 0).flatten(1).any(1),
    )


def five_band(attributions: Tensor, truth: Tensor, variant: str = "v1") -> FiveBandScores:
    """Soft scores of a named variant, its clamp included; the first column is the score at the start.

    >>> five_band(torch.rand(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.uint8), "v1_clamped").accuracy.shape
    torch.Size([2, 41])
    """
    return five_band_scores(attributions, truth, soft_thresholds(variant), clamp=VARIANTS[variant].clamp)


def _count(h: Tensor, truth: Tensor, table: Tensor) -> Tensor:
    """(N, S, band of the map, band of the truth) int64: pixels of each image; bands count from -2."""
    images, positions = len(h), len(table)
    codes = truth.long() + 2
    row = (torch.arange(images, device=h.device)[:, None] * _BANDS + codes) * (positions + 1)

    def beyond(values: Tensor, limits: Tensor) -> Tensor:
        # (N, S, 5): pixels of each truth band whose value exceeds each limit. With the limits in order, the number of
        # limits under a value says all that is to know of it.
        ordered, order = limits.to(h.device).sort()
        under = torch.searchsorted(ordered.contiguous(), values)
        histogram = torch.bincount((row + under).flatten(), minlength=images * _BANDS * (positions + 1))
        histogram = histogram.view(images, _BANDS, positions + 1)
        exceeding = histogram.flip(2).cumsum(2).flip(2)[:, :, 1:]  # the limit number s is exceeded by s + 1 and more
        return exceeding[:, :, order.argsort()].transpose(1, 2)

    low2, low1 = beyond(-h, -table[:, 0]), beyond(-h, -table[:, 1])
    high1, high2 = beyond(h, table[:, 2]), beyond(h, table[:, 3])
    band = torch.arange(_BANDS, device=h.device)
    everything = (codes[:, :, None] == band).sum(1)[:, None].expand_as(high1)
    return torch.stack((low2, low1 - low2, everything - low1 - high1, high1 - high2, high2), 2)


def _table(thresholds: Sequence[float] | Tensor) -> Tensor:
    table = torch.as_tensor(thresholds, dtype=torch.float64).cpu()
    table = table[None] if table.ndim == 1 else table
    if table.ndim != 2 or table.shape[1] != 4 or not len(table):
        raise KdlibError(f"thresholds must be (-t2, -t1, t1, t2) or rows of them, not of shape {tuple(table.shape)}")
    rising = (table.diff(dim=1) > 0).all(1) & (table[:, 1] < 0) & (table[:, 2] > 0) & table.isfinite().all(1)
    if not bool(rising.all()):
        wrong = table[int((~rising).nonzero()[0, 0])].tolist()
        raise KdlibError(f"thresholds must rise from below 0 to above 0, -t2 < -t1 < t1 < t2, not {tuple(wrong)}")
    return table


def _check_truth(truth: Tensor, plane: tuple[int, ...]) -> None:
    if truth.is_floating_point() or truth.dtype == torch.bool or tuple(truth.shape) != plane:
        raise KdlibError(
            f"truth must be integer bands of shape {plane}, as the attributions, not {truth.dtype} of "
            f"{tuple(truth.shape)}; stratify(...) makes bands of a heat"
        )
    if int(truth.min()) < -2 or int(truth.max()) > 2:
        raise KdlibError(f"truth must hold bands from -2 to 2, not {int(truth.min())} to {int(truth.max())}")
