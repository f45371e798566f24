"""How concepts are learnt: how fast, how simultaneously, along how straight a path.

Cheng et al. 2020 (CVPR), on the concepts of N images at M checkpoints (`kdlib.metrics.visual_concepts`). Progress is
the path length of the weights, not a number of epochs: d(m) = sum over updates up to m of |w_k - w_(k-1)| / |w_0|.

    m(I)   = the checkpoint at which image I has most foreground concepts, the first of equals
    D_mean = mean over images of d(m(I)):    small if concepts are learnt fast
    D_std  = spread over images of d(m(I)):  small if the images' concepts are learnt at the same time. The released
             code prints the variance under this name; here both are given, named for what they are.
    rho(I) = |S_M(I)| / |union over j of S_j(I)|, S_j(I) the foreground concepts at checkpoint j: small if many are
             picked up and dropped again; 0 for an image that never has any.

Two traps. D_mean follows the learning rate: runs of different schedules differ in d without differing in what they
learn. And noise in the maps looks like concepts that come and go: `noise_floor` is the rho of a network that does not
change and is measured with fresh noise each time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdlib.errors import KdlibError, positive_integer


def weight_distance(weights: Sequence[Tensor | Sequence[Tensor]]) -> Tensor:
    """(M,) float64: d at each of M states of the weights, 0 at the first, which is w_0.

    weights: one tensor for each state (the probed layer's weight) or several (all shared parameters, taken as one
    vector). The norm is the Euclidean one over all entries. Between two states the path is taken as straight: from
    checkpoints this is shorter than the sum over updates, for which see `cumulative_distance`.

    >>> weight_distance([torch.tensor([3.0, 4.0]), torch.tensor([3.0, 5.0]), torch.tensor([0.0, 1.0])]).tolist()
    [0.0, 0.2, 1.2]
    """
    states = [[state] if isinstance(state, Tensor) else list(state) for state in weights]
    if not states or not states[0]:
        raise KdlibError("weight_distance needs at least one state of the weights; give those of all checkpoints")
    shapes = [[tuple(tensor.shape) for tensor in state] for state in states]
    if any(shape != shapes[0] for shape in shapes):
        other = next(shape for shape in shapes if shape != shapes[0])
        raise KdlibError(
            f"all states of the weights must have the same shapes, not {shapes[0]} and {other}; give the same layers "
            "of one network"
        )
    steps = [
        math.sqrt(
            sum(float((new.double() - old.double()).square().sum()) for new, old in zip(state, previous, strict=True))
        )
        for previous, state in itertools.pairwise(states)
    ]
    start = math.sqrt(sum(float(tensor.double().square().sum()) for tensor in states[0]))
    return torch.cat([torch.zeros(1, dtype=torch.float64), cumulative_distance(steps, start)])


def cumulative_distance(steps: Sequence[float] | Tensor, start_norm: float) -> Tensor:
    """(K,) float64: d after each of K stretches, whose lengths, such as an epoch's sum over updates, are `steps`.

    start_norm: |w_0|.

    >>> cumulative_distance([1.0, 0.5], 2.0).tolist()
    [0.5, 0.75]
    """
    lengths = torch.as_tensor(steps, dtype=torch.float64)
    wrong = lengths[~(torch.isfinite(lengths) & (lengths >= 0))]
    if len(wrong):
        raise KdlibError(
            f"lengths of the weights' way must be finite and not negative, not {float(wrong[0])}; the training has "
            "diverged: lower the learning rate"
        )
    if not (math.isfinite(start_norm) and start_norm > 0):
        raise KdlibError(f"the first weights must have a norm above 0, not {start_norm!r}")
    return lengths.cumsum(0) / start_norm


@dataclass(frozen=True)
class LearningSpeed:
    """When N images' concepts are most numerous.

    peak: (N,) int64, the checkpoint m(I); -1 for an image without any concept at any checkpoint: it has no peak, and
    taking its first checkpoint for one would make D_mean small. distance: (N,) float64 d(m(I)), NaN there.
    slope: (N,) float64, concepts at the peak over d, NaN there and where d is 0.
    """

    peak: Tensor
    distance: Tensor
    slope: Tensor

    @property
    def counted(self) -> Tensor:
        """(N,) bool: images that have a peak."""
        return self.peak >= 0

    @property
    def mean(self) -> float:
        """D_mean; NaN if no image has a peak."""
        return float(self.distance[self.counted].mean())

    @property
    def variance(self) -> float:
        """Population variance of d(m(I)) over images: what the released code prints as D_std."""
        values = self.distance[self.counted]
        return float((values - values.mean()).square().mean())

    @property
    def standard_deviation(self) -> float:
        return math.sqrt(self.variance)

    def summary(self) -> dict[str, float]:
        return {
            "distance_mean": self.mean,
            "distance_variance": self.variance,
            "distance_standard_deviation": self.standard_deviation,
            "slope_mean": float(self.slope.nanmean()),
            "images": int(self.counted.sum()),
            "without_concepts": int((~self.counted).sum()),
        }


def learning_speed(counts: Tensor, distances: Tensor, *, skip_first: bool = False) -> LearningSpeed:
    """How far the weights have come when each image's concepts are most numerous; formulas at the module's head.

    counts: (M, N) of M checkpoints, N_fg (or N_bg); means over noise seeds make the peak less of a lottery.
    distances: (M,) d at the checkpoints, never falling. skip_first: leave checkpoint 0 out, as for the paper's ResNets.
    The paper's released code leaves checkpoint 0 out of the counts and so takes each distance one checkpoint too
    early; here a count and its distance are of one checkpoint.

    >>> counts = torch.tensor([[0, 5, 0], [2, 5, 0], [1, 0, 0]])
    >>> speed = learning_speed(counts, torch.tensor([0.0, 0.5, 0.8]))
    >>> speed.peak.tolist(), speed.mean, speed.variance  # the third image never has a concept
    ([1, 0, -1], 0.25, 0.0625)
    """
    if counts.ndim != 2 or not counts.numel():
        raise KdlibError(f"counts must have shape (checkpoints, images), not {tuple(counts.shape)}")
    distances = torch.as_tensor(distances, dtype=torch.float64, device=counts.device)
    if tuple(distances.shape) != (len(counts),):
        raise KdlibError(
            f"distances must be one for each of the {len(counts)} checkpoints, not of shape {tuple(distances.shape)}"
        )
    if not bool(torch.isfinite(distances).all() and (distances.diff() >= 0).all()):
        raise KdlibError(
            f"distances must be finite and never fall, not {[round(d, 3) for d in distances.tolist()]}; give d of the "
            "checkpoints in their order"
        )
    counts = counts.double()
    if not bool((torch.isfinite(counts) & (counts >= 0)).all()):
        raise KdlibError(
            f"counts must be finite and not negative, not {float(counts.min()):g} to {float(counts.max()):g}; give "
            "numbers of concepts"
        )
    first = int(skip_first)
    if len(counts) <= first:
        raise KdlibError(f"skip_first leaves no checkpoint of {len(counts)}; give at least two")
    most, peak = _first_maximum(counts[first:])
    peak = torch.where(most > 0, peak + first, -1)
    distance = torch.where(most > 0, distances[peak.clamp(min=0)], math.nan)
    slope = torch.where(distance > 0, most / distance, math.nan)
    return LearningSpeed(peak, distance, slope)


def _first_maximum(values: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum along dimension 0 and the first place that has it (torch leaves open which of equals it names)."""
    most = values.amax(0)
    places = torch.arange(len(values), device=values.device)[:, None]
    return most, torch.where(values == most, places, len(values)).amin(0)


@dataclass(frozen=True)
class Stability:
    """rho: (N,) float64 in [0, 1]. last, union: (N,) int64, sizes of the last set and of the union of all."""

    last: Tensor
    union: Tensor

    @property
    def rho(self) -> Tensor:
        return self.last / self.union.clamp(min=1).double()

    def summary(self) -> dict[str, float]:
        """rho: mean over all images, those that never have a concept as 0, as published; rho_with_concepts: without
        them, NaN if there are no others.
        """
        some = self.union > 0
        return {
            "rho": float(self.rho.mean()),
            "rho_with_concepts": float(self.rho[some].mean()),
            "images": len(some),
            "without_concepts": int((~some).sum()),
        }


def stability(concepts: Tensor, cells: Tensor | None = None) -> Stability:
    """rho of each image: how many of the concepts it ever had it has at the last checkpoint.

    concepts: (M, N, rows, columns) bool, `VisualConcepts.concepts` of all M checkpoints in their order, the untrained
    network's included. cells: (N, rows, columns) bool, the foreground (the paper's rho), the background, or None for
    all.

    >>> sets = torch.tensor([[[[True, True, False]]], [[[False, True, True]]]])
    >>> float(stability(sets).rho)  # two of three
    0.6666666666666666
    """
    if concepts.ndim != 4 or concepts.dtype != torch.bool or not len(concepts):
        raise KdlibError(
            "concepts must be bool of shape (checkpoints, images, rows, columns), "
            f"not {concepts.dtype} of {tuple(concepts.shape)}"
        )
    if cells is not None:
        if cells.dtype != torch.bool or cells.shape != concepts.shape[1:]:
            raise KdlibError(
                f"cells must be bool of shape {tuple(concepts.shape[1:])}, not {cells.dtype} of {tuple(cells.shape)}"
            )
        concepts = concepts & cells.to(concepts.device)
    return Stability(concepts[-1].flatten(1).sum(1), concepts.any(0).flatten(1).sum(1))


def noise_floor(concepts: Tensor, cells: Tensor | None = None) -> Tensor:
    """(N,) float64: the rho that noise alone leaves to a network which does not change.

    concepts: (M, N, rows, columns) bool, one checkpoint measured M times with different noise seeds, M the number of
    checkpoints whose rho it is compared with: a union over more sets is larger. cells: as in `stability`.

    Each repeat is taken for the last one in turn and the M values are averaged. Checkpoints that are measured with one
    seed share their noise, and a network that stands still has rho 1 then: for them the floor overstates the noise.

    >>> repeats = torch.tensor([[[[True, True, False]]], [[[False, True, False]]]])
    >>> float(noise_floor(repeats))  # (2/2 + 1/2) / 2
    0.75
    """
    stability(concepts, cells)  # refuses what does not fit
    positive_integer(len(concepts), "the number of repeats", 2)
    inside = concepts if cells is None else concepts & cells.to(concepts.device)
    union = inside.any(0).flatten(1).sum(1).clamp(min=1).double()
    return (inside.flatten(2).sum(2) / union).mean(0)
