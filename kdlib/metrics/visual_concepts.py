"""Visual concepts: the cells of which a layer has discarded clearly less than it has of the background.

Cheng et al. 2020 (CVPR), on maps of `kdlib.metrics.information.maps` and masks of the object:

    concept(i) = mean over images of (mean of H over the image's background cells) - H_i > b,    b = 0.2 nats
    N_fg, N_bg = concepts on an image's foreground and background cells
    share      = N_fg / (N_fg + N_bg), 0 if nothing is a concept; the paper's lambda, not the objective's weight

The background mean is one number for all images of one network at one checkpoint. The threshold b means something
only together with how the maps were stopped. The early-stopped maps' means are matched: a network that keeps more of
the foreground must discard more of the background, so N_fg and N_bg are not independent evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kdlib.errors import KdlibError, finite_number
from kdlib.metrics.information.response import Grid, grid_shape

THRESHOLD = 0.2


@dataclass(frozen=True)
class VisualConcepts:
    """Concepts of N images; images that are not `kept` have none and count nowhere.

    threshold: b in nats. background_entropy: the mean over kept images of their background cells' mean entropy.
    concepts: (N, rows, columns) bool. foreground: (N, rows, columns) bool, the cells of the object.
    kept: (N,) bool. on_foreground, on_background: (N,) int64, N_fg and N_bg. share: (N,) float64 in [0, 1], the paper's
    lambda; it is the precision of concepts as a guess of the object's cells as well. recall: (N,) float64, the part of
    the object's cells that are concepts.
    """

    threshold: float
    background_entropy: float
    concepts: Tensor
    foreground: Tensor
    kept: Tensor

    @property
    def on_foreground(self) -> Tensor:
        return (self.concepts & self.foreground).flatten(1).sum(1)

    @property
    def on_background(self) -> Tensor:
        return (self.concepts & ~self.foreground).flatten(1).sum(1)

    @property
    def share(self) -> Tensor:
        return self.on_foreground / self.concepts.flatten(1).sum(1).clamp(min=1).double()

    @property
    def recall(self) -> Tensor:
        return self.on_foreground / self.foreground.flatten(1).sum(1).clamp(min=1).double()

    def summary(self) -> dict[str, float]:
        """Means and medians over the kept images, and how many these are; without_concepts: of them, with none at all.

        >>> entropy = torch.tensor([[[-3.5, -2.6], [-2.7, -2.8]]])
        >>> foreground = torch.tensor([[[True, False], [False, False]]])
        >>> found = visual_concepts(entropy, foreground).summary()
        >>> found["n_foreground"], found["n_background"], found["share"]
        (1.0, 0.0, 1.0)
        """
        kept = self.kept
        columns = {
            "n_foreground": self.on_foreground,
            "n_background": self.on_background,
            "share": self.share,
            "recall": self.recall,
        }
        values = {name: column[kept].double() for name, column in columns.items()}
        return {
            **{name: float(column.mean()) for name, column in values.items()},
            **{f"median_{name}": float(column.quantile(0.5)) for name, column in values.items()},
            "background_entropy": self.background_entropy,
            "images": int(kept.sum()),
            "left_out": int((~kept).sum()),
            "without_concepts": int((~self.concepts[kept].flatten(1).any(1)).sum()),
        }


def foreground_cells(masks: Tensor, grid: Grid = 16) -> Tensor:
    """(N, rows, columns) bool: the cells of a grid that belong to the object: the pixel at a cell's upper left
    decides, as published.

    masks: (N, H, W), bool or numbers of which all above 0 are the object. grid: as for the maps.

    >>> mask = torch.tensor([[[0, 1, 1, 1], [1, 1, 0, 0]]])
    >>> foreground_cells(mask, (1, 2)).tolist()
    [[[False, True]]]
    """
    if masks.ndim != 3 or not masks.numel():
        raise KdlibError(f"masks must have shape (N, H, W), not {tuple(masks.shape)}")
    inside = masks > 0
    height, width = masks.shape[1:]
    rows, columns = grid_shape(grid, height, width)
    first_row = torch.arange(rows, device=masks.device) * height // rows
    first_column = torch.arange(columns, device=masks.device) * width // columns
    return inside[:, first_row][:, :, first_column]


def visual_concepts(
    entropy: Tensor, foreground: Tensor, threshold: float = THRESHOLD, *, keep: Tensor | None = None
) -> VisualConcepts:
    """Concepts of one network at one checkpoint; formulas at the head of this module.

    entropy: (N, rows, columns) H in nats, `InformationMaps.entropy`. foreground: (N, rows, columns) bool,
    `foreground_cells`. threshold: b in nats, above 0. keep: (N,) bool, the images that count, such as those that
    `discards` leaves; all if not given. Images without a map (NaN: dead) are never kept.

    Raises `KdlibError` if a kept image has no foreground or no background cell: it can't be measured, leave it out.

    >>> entropy = torch.tensor([[[-3.0, -2.7]], [[-2.9, -2.5]]])
    >>> found = visual_concepts(entropy, torch.tensor([[[True, False]], [[True, False]]]), 0.35)
    >>> round(found.background_entropy, 3), found.on_foreground.tolist()  # -2.6: one mean for both images
    (-2.6, [1, 0])
    """
    finite_number(threshold, "threshold", minimum=0, exclusive=True)
    foreground = _checked(entropy, foreground)
    kept = ~entropy.isnan().flatten(1).any(1)
    if keep is not None:
        if keep.dtype != torch.bool or keep.shape != kept.shape:
            raise KdlibError(
                f"keep must be bool, one for each of the {len(kept)} images, not {keep.dtype} of shape "
                f"{tuple(keep.shape)}"
            )
        kept = kept & keep.to(kept.device)
    if not bool(kept.any()):
        raise KdlibError(
            f"no image is left to count concepts on; all {len(kept)} are dead or discarded: give more images, or keep "
            "more of them"
        )
    _refuse_one_sided(foreground, kept)
    per_image = _mean_over(entropy.double(), ~foreground)
    background_entropy = per_image[kept].mean()
    concepts = (background_entropy - entropy.double() > threshold) & kept[:, None, None]
    return VisualConcepts(threshold, float(background_entropy), concepts, foreground, kept)


def _checked(entropy: Tensor, foreground: Tensor) -> Tensor:
    if entropy.ndim != 3 or not entropy.is_floating_point() or not entropy.numel():
        raise KdlibError(
            f"entropy must be real numbers of shape (N, rows, columns), not {entropy.dtype} of {tuple(entropy.shape)}"
        )
    if foreground.dtype != torch.bool or foreground.shape != entropy.shape:
        raise KdlibError(
            f"foreground must be bool of shape {tuple(entropy.shape)}, as the entropies, not {foreground.dtype} of "
            f"{tuple(foreground.shape)}; use foreground_cells"
        )
    return foreground.to(entropy.device)


def _refuse_one_sided(foreground: Tensor, kept: Tensor) -> None:
    for side, cells in (("foreground", foreground), ("background", ~foreground)):
        empty = (kept & ~cells.flatten(1).any(1)).nonzero()[:, 0].tolist()
        if empty:
            others = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
            raise KdlibError(
                f"image {empty[0]}{others} has no {side} cell on the {foreground.shape[1]}x{foreground.shape[2]} grid; "
                "leave it out by keep, or take a finer grid"
            )


def _mean_over(values: Tensor, cells: Tensor) -> Tensor:
    """(N,) mean of values over the chosen cells, NaN where there are none."""
    return torch.where(cells, values, 0.0).flatten(1).sum(1) / cells.flatten(1).sum(1)


@dataclass(frozen=True)
class Discards:
    """What the published selection drops; all (N,) bool. dead: no map at some checkpoint. background_below: at some
    late checkpoint the background's mean entropy is not larger than the foreground's (or one of them is empty). keep:
    the rest.
    """

    dead: Tensor
    background_below: Tensor

    @property
    def keep(self) -> Tensor:
        return ~(self.dead | self.background_below)

    def rate(self) -> float:
        """Part of all images that is dropped."""
        return float((~self.keep).double().mean())

    def first(self, count: int) -> Tensor:
        """(N,) bool: the first `count` survivors; the paper stops at 50."""
        return self.keep & (self.keep.cumsum(0) <= count)


def discards(entropy: Tensor, foreground: Tensor, epochs: list[int] | None = None, from_epoch: int = 40) -> Discards:
    """Images that the published selection drops, for one network.

    entropy: (M, N, rows, columns), maps of M checkpoints. foreground: (N, rows, columns) bool. epochs: of the
    checkpoints; those from `from_epoch` on are judged, all of them if no epochs are given.

    The rule conditions on the very effect that is studied: report the rate, and every result without the rule as well.
    The paper measures student and baseline on the images that both keep.

    >>> maps = torch.tensor([[[[-3.0, -2.0]], [[-2.0, -3.0]]]])
    >>> discards(maps, torch.tensor([[[True, False]], [[True, False]]])).keep.tolist()
    [True, False]
    """
    if entropy.ndim != 4 or not len(entropy):
        raise KdlibError(
            f"entropy must have shape (checkpoints, N, rows, columns) here, not {tuple(entropy.shape)}; use torch.stack"
        )
    foreground = _checked(entropy[0], foreground)
    if epochs is not None and len(epochs) != len(entropy):
        raise KdlibError(f"epochs must be one for each of the {len(entropy)} checkpoints, not {len(epochs)}")
    late = [True] * len(entropy) if epochs is None else [epoch >= from_epoch for epoch in epochs]
    dead = entropy.isnan().flatten(2).any(2).any(0)
    below = torch.zeros_like(dead)
    for maps, judged in zip(entropy.double(), late, strict=True):
        if judged:
            # From each image's own first cell on, so that a flat map is a tie whatever its means round to.
            maps = maps - maps[:, :1, :1]
            below |= ~(_mean_over(maps, ~foreground) > _mean_over(maps, foreground))
    return Discards(dead, below & ~dead)


def precision_recall(concepts: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) precision and recall of concepts as a guess of `cells`, both (N, rows, columns) bool; NaN for 0 / 0.

    cells: the object's, or those of parts that show the class.

    >>> found = torch.tensor([[[True, True, False, False]]])
    >>> [float(value) for value in precision_recall(found, torch.tensor([[[True, False, True, True]]]))]
    [0.5, 0.3333333333333333]
    """
    _check_sets(concepts, cells)
    both = (concepts & cells).flatten(1).sum(1).double()
    return both / concepts.flatten(1).sum(1), both / cells.flatten(1).sum(1)


def agreement(one: Tensor, other: Tensor) -> Tensor:
    """(N,) intersection over union of two sets of concepts, such as those of two noise seeds; NaN if both are empty.

    >>> agreement(torch.tensor([[[True, True, False]]]), torch.tensor([[[True, False, True]]])).tolist()
    [0.3333333333333333]
    """
    _check_sets(one, other)
    return (one & other).flatten(1).sum(1).double() / (one | other).flatten(1).sum(1)


def _check_sets(one: Tensor, other: Tensor) -> None:
    if one.dtype != torch.bool or other.dtype != torch.bool or one.shape != other.shape or one.ndim < 2:
        raise KdlibError(
            f"sets of cells must be bool of one shape (N, rows, columns), not {one.dtype} of {tuple(one.shape)} and "
            f"{other.dtype} of {tuple(other.shape)}"
        )
