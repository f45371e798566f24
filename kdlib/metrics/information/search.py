"""The largest noise that a layer tolerates: how the noise of each cell is searched, whatever the layer.

A search is handed `respond`, which reports how much a layer changes under noise, and knows nothing of networks:

    loss, gradient = respond(numbers, sigma)

numbers: which images, a list of A of them. sigma: (A, rows, columns) standard deviation of the noise in each cell.
loss: (A,) normalised feature loss of each image. gradient: (A, rows, columns) its derivative with respect to sigma.

Both searches minimise, for each image by itself,

    L(sigma) = loss(sigma) - lambda * mean over cells of H_i,    H_i = ln sigma_i + ln(2 pi e) / 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kdlib.errors import KdlibError, finite_number, positive_integer

Respond = Callable[[list[int], Tensor], tuple[Tensor, Tensor]]

GAUSSIAN_ENTROPY = 0.5 * math.log(2 * math.pi * math.e)
_CELLS_OF_THE_PAPER = 16 * 16


@dataclass(frozen=True)
class EarlyStopped:
    """The released recipe of Cheng et al. (2020): few steps of SGD, maps compared at one mean entropy.

    start: sigma everywhere at first. lowest, highest: sigma is clamped to them before each step. learning_rate: of
    plain SGD on sigma; None for 1e-4 * cells / 256, which is the paper's 1e-4 on its 16x16 grid and moves the entropy
    of any other grid as fast. weight: lambda, 7 for VGG and AlexNet, 6 for ResNets. target: mean entropy in nats at
    which a map is taken: of all steps the one nearest to it, for each image by itself. An image whose mean entropy has
    not exceeded the target `last_steps` steps before the end gets `raised` times the weight for these last steps; the
    others end there. tolerance: a map whose mean entropy is further from the target has not reached it.

    leave: an image is also left at a step whose mean entropy, once under the target, is over it by more than this, for
    the nearest step lies behind it then; a step that leapt there and is nearer than all before it is kept first. None
    for all steps, as published: the maps are the same, unless the entropy comes back from there.
    """

    start: float = 0.01
    lowest: float = 0.001
    highest: float = 1.0
    learning_rate: float | None = None
    steps: int = 80
    last_steps: int = 20
    weight: float = 7.0
    raised: float = 1.5
    target: float = -2.8
    tolerance: float = 0.02
    leave: float | None = 0.02

    def __post_init__(self) -> None:
        _check_noise(self.start, self.lowest, self.highest, self.weight)
        positive_integer(self.steps, "steps")
        positive_integer(self.last_steps, "last_steps")
        if self.last_steps >= self.steps:
            raise KdlibError(f"last_steps must be fewer than the {self.steps} steps, not {self.last_steps}")
        finite_number(self.raised, "raised", minimum=1)
        finite_number(self.target, "target")
        finite_number(self.tolerance, "tolerance", minimum=0, exclusive=True)
        if self.learning_rate is not None:
            finite_number(self.learning_rate, "learning_rate", minimum=0, exclusive=True)
        if self.leave is not None:
            finite_number(self.leave, "leave", minimum=0, exclusive=True)

    def rate(self, cells: int) -> float:
        """The learning rate on a grid of this many cells.

        >>> EarlyStopped().rate(256), EarlyStopped().rate(1024)
        (0.0001, 0.0004)
        """
        return 1e-4 * cells / _CELLS_OF_THE_PAPER if self.learning_rate is None else self.learning_rate


@dataclass(frozen=True)
class Converged:
    """The same objective, minimised in ln sigma until it stands still; mean entropies are not matched.

    steps: how many, of which the last `averaged` are averaged: their noise samples all count. tolerance: a map has
    converged if the mean entropies of the two halves of the averaged steps differ by no more, in nats.
    start, lowest, highest, weight: as `EarlyStopped` has them.
    """

    start: float = 0.01
    lowest: float = 0.001
    highest: float = 1.0
    steps: int = 100
    averaged: int = 60
    weight: float = 7.0
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        _check_noise(self.start, self.lowest, self.highest, self.weight)
        positive_integer(self.averaged, "averaged", 2)
        if positive_integer(self.steps, "steps") < self.averaged:
            raise KdlibError(f"steps must be at least the {self.averaged} averaged ones, not {self.steps}")
        finite_number(self.tolerance, "tolerance", minimum=0, exclusive=True)


def _check_noise(start: float, lowest: float, highest: float, weight: float) -> None:
    finite_number(lowest, "lowest", minimum=0, exclusive=True)
    finite_number(highest, "highest", minimum=lowest)
    finite_number(start, "start", minimum=lowest, maximum=highest)
    finite_number(weight, "weight", minimum=0, exclusive=True)


@dataclass(frozen=True)
class Found:
    """What a search found for N images.

    sigma: (N, rows, columns). step: (N,) int64, the kept step, or the number of steps of a converged search. loss:
    (N,) normalised feature loss there. path: (N, steps) mean entropy at each step, NaN where an image was not measured
    any more. raised: (N,) bool, its weight was raised. reached: (N,) bool, near enough to the target, or converged.
    below, above: (N,) bool, at some step the mean entropy was no higher than the target, or higher; of a converged
    search neither.
    """

    sigma: Tensor
    step: Tensor
    loss: Tensor
    path: Tensor
    raised: Tensor
    reached: Tensor
    below: Tensor
    above: Tensor


def search_of(search: EarlyStopped | Converged | None) -> EarlyStopped | Converged:
    """The search that is meant, the published one if none is given.

    >>> search_of(None) == EarlyStopped()
    True
    """
    if search is not None and not isinstance(search, (EarlyStopped, Converged)):
        raise KdlibError(f"search must be EarlyStopped(...) or Converged(...), not {search!r}")
    return EarlyStopped() if search is None else search


def search_noise(respond: Respond, like: Tensor, search: EarlyStopped | Converged) -> Found:
    """Run either search on N images, which may be none; like: (N, rows, columns), whose shape, type and device sigma
    takes."""
    if isinstance(search, Converged):
        return search_converged(respond, like, search)
    return search_early_stopped(respond, like, search)


def entropy_of(sigma: Tensor) -> Tensor:
    """H = ln sigma + ln(2 pi e) / 2 in nats, for noise of any shape.

    >>> round(float(entropy_of(torch.tensor(0.01))), 3)
    -3.186
    """
    return sigma.log() + GAUSSIAN_ENTROPY


def search_early_stopped(respond: Respond, like: Tensor, search: EarlyStopped) -> Found:
    """Run the recipe on N images; like: (N, rows, columns), whose shape, type and device sigma takes.

    sigma <- clamp(sigma);  record H;  sigma <- sigma - learning_rate * (d loss / d sigma_i - lambda / (cells sigma_i))
    """
    images, cells = len(like), like.shape[1:].numel()
    rate, raise_at = search.rate(cells), search.steps - search.last_steps - 1
    sigma = torch.full_like(like, search.start)
    kept = sigma.clone()
    path = like.new_full((images, search.steps), math.nan, dtype=torch.float64)
    weight = like.new_full((images, 1, 1), search.weight)
    gap, loss = path.new_full((images,), math.inf), path.new_full((images,), math.nan)
    lowest, highest = path.new_full((images,), math.inf), path.new_full((images,), -math.inf)
    step_kept = torch.zeros(images, dtype=torch.int64, device=like.device)
    raised = torch.zeros(images, dtype=torch.bool, device=like.device)
    active = torch.arange(images, device=like.device)

    for step in range(search.steps):
        sigma[active] = sigma[active].clamp(search.lowest, search.highest)
        entropy = entropy_of(sigma[active].double()).flatten(1).mean(1)
        lowest[active] = torch.minimum(lowest[active], entropy)
        highest[active] = torch.maximum(highest[active], entropy)
        if search.leave is not None:
            passed = (lowest[active] <= search.target) & (entropy > search.target + search.leave)
            stays = ~passed | ((entropy - search.target).abs() < gap[active])
            active, entropy = active[stays], entropy[stays]
        if not len(active):
            break
        current = sigma[active]
        feature_loss, gradient = respond(active.tolist(), current)
        path[active, step] = entropy

        nearer = (entropy - search.target).abs() < gap[active]
        chosen = active[nearer]
        gap[chosen] = (entropy - search.target).abs()[nearer]
        kept[chosen], loss[chosen], step_kept[chosen] = current[nearer], feature_loss[nearer].double(), step

        sigma[active] = current - rate * (gradient - weight[active] / (cells * current))
        if step == raise_at:
            active = active[highest[active] <= search.target]
            weight[active] *= search.raised
            raised[active] = True
    below, above = lowest <= search.target, highest > search.target
    return Found(kept, step_kept, loss, path, raised, gap <= search.tolerance, below, above)


def search_converged(respond: Respond, like: Tensor, search: Converged) -> Found:
    """Minimise the objective of N images to its end; like: as `search_early_stopped` has it.

    At the minimum r_i = sigma_i * (d loss / d sigma_i) * cells / lambda is 1 in every cell that is not at a bound.
    A step adds rate * (1 - r_i) / 2 to ln sigma_i, at most 0.5 in size: Newton's step for a linear layer at rate 1.
    The rate falls as 10 / step to 0.1, and the last steps are averaged, so that the samples' noise averages out.
    """
    images, cells = len(like), like.shape[1:].numel()
    low, high = math.log(search.lowest), math.log(search.highest)
    logarithm = torch.full_like(like, math.log(search.start), dtype=torch.float64)
    path = like.new_full((images, search.steps), math.nan, dtype=torch.float64)
    total, total_loss = torch.zeros_like(logarithm), path.new_zeros(images)
    everyone = list(range(images))
    for step in range(search.steps if images else 0):
        path[:, step] = logarithm.flatten(1).mean(1) + GAUSSIAN_ENTROPY
        sigma = logarithm.exp().to(like.dtype)
        loss, gradient = respond(everyone, sigma)
        if step >= search.steps - search.averaged:
            total += logarithm
            total_loss += loss.double()
        ratio = (gradient * sigma).double() * cells / search.weight
        rate = min(1.0, max(0.1, 10 / (step + 1)))
        logarithm = (logarithm + (rate * (1 - ratio) / 2).clamp(-0.5, 0.5)).clamp(low, high)
    last = path[:, -search.averaged :]
    drift = (last[:, search.averaged // 2 :].mean(1) - last[:, : search.averaged // 2].mean(1)).abs()
    return Found(
        sigma=(total / search.averaged).exp().to(like.dtype),
        step=torch.full((images,), search.steps, dtype=torch.int64, device=like.device),
        loss=total_loss / search.averaged,
        path=path,
        raised=torch.zeros(images, dtype=torch.bool, device=like.device),
        reached=drift <= search.tolerance,
        below=torch.zeros(images, dtype=torch.bool, device=like.device),
        above=torch.zeros(images, dtype=torch.bool, device=like.device),
    )
