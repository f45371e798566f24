"""DiffROAR: do the coordinates that an attribution ranks highest tell the classes apart?

Shah, Jain and Netrapalli 2021 (NeurIPS, arXiv 2102.12781), after ROAR (Hooker et al. 2019). An attribution, such as
the magnitude of the input gradient, ranks all C H W coordinates of every training and test image. At unmask level k,
two masked copies of the data keep the top and the bottom fraction k of the coordinates and put the data's mean in
place of all others. A fresh network is trained and tested on each copy:

    DiffROAR(k) = accuracy(top k kept) - accuracy(bottom k kept).

Positive: the attribution puts what discriminates on top. Zero: it ranks no better than chance. Negative: upside down.

Nothing is trained here: `diffroar` is handed the function that retrains (`kdlib.papers.han2023.roar` has one). The
masks are never laid out for every level: `rank_codes` keeps one byte a coordinate, of which a comparison gives any
mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kdlib.errors import KdlibError, check_seed, choose, finite_number, positive_integer

KEPT = ("top", "bottom")
_MOST_FRACTIONS = 127  # two limits each must fit into a byte
_SORTED_AT_ONCE = 1 << 22  # coordinates, a bound on memory


def kept_number(fraction: float, coordinates: int) -> int:
    """How many of an image's coordinates are kept: `fraction` of them, rounded, at least one.

    >>> kept_number(0.1, 784), kept_number(1.0, 784), kept_number(0.0001, 784)
    (78, 784, 1)
    """
    finite_number(fraction, "an unmask fraction", minimum=0, maximum=1)
    if fraction == 0:
        raise KdlibError("an unmask fraction of 0 keeps nothing; give fractions above 0, such as 0.1")
    return max(1, round(fraction * coordinates))


@dataclass(frozen=True)
class RankCodes:
    """Every coordinate's rank within its image, as coarse as the masks allow.

    codes: (N, C, H, W) uint8, how many of `limits` do not exceed the coordinate's rank (0 = largest attribution).
    limits: the ranks, ascending, at which some mask begins or ends. fractions: the unmask levels, ascending.
    """

    codes: Tensor
    limits: tuple[int, ...]
    fractions: tuple[float, ...]

    def keep(self, index: Tensor | slice, kept: str, fraction: float) -> Tensor:
        """(B, C, H, W) bool: what the top or the bottom `fraction` keeps of the images at `index`.

        >>> ranks = rank_codes(torch.tensor([[[[0.4, 0.1], [0.2, 0.3]]]]), (0.25, 0.5))
        >>> ranks.keep(slice(None), "top", 0.25).flatten().tolist()
        [True, False, False, False]
        >>> ranks.keep(slice(None), "bottom", 0.5).flatten().tolist()
        [False, True, True, False]
        """
        choose(kept, KEPT, "kept end")
        if fraction not in self.fractions:
            known = ", ".join(f"{known:g}" for known in self.fractions)
            raise KdlibError(
                f"the ranks were not made for an unmask fraction of {fraction!r} (they know {known}); give it to "
                "rank_codes as well"
            )
        coordinates = math.prod(self.codes.shape[1:])
        number = kept_number(fraction, coordinates)
        if kept == "top":  # rank < number
            return self.codes[index] <= self.limits.index(number)
        return self.codes[index] > self.limits.index(coordinates - number)  # rank >= coordinates - number

    def to(self, device: torch.device | str) -> RankCodes:
        """The same codes on `device`."""
        return replace(self, codes=self.codes.to(device))


def rank_codes(attributions: Tensor, fractions: Sequence[float], *, seed: int = 0) -> RankCodes:
    """Rank all coordinates of every image by attribution, the largest first.

    attributions: (N, C, H, W) real; take absolute values yourself if the sign is not to count. fractions: unmask
    levels in (0, 1]. Equal attributions are ranked by one random order of the coordinates, drawn from `seed` and the
    same for all images: by their place, the upper rows would always be on top.

    >>> rank_codes(torch.tensor([[[[0.4, 0.1], [0.2, 0.3]]]]), (0.25,)).codes.flatten().tolist()
    [0, 2, 1, 1]
    """
    if attributions.ndim != 4 or not attributions.is_floating_point() or not attributions.numel():
        raise KdlibError(
            f"attributions must be real numbers of shape (N, C, H, W), not {attributions.dtype} of shape "
            f"{tuple(attributions.shape)}"
        )
    if not bool(torch.isfinite(attributions).all()):
        raise KdlibError("the attributions are not all finite; check the model's weights")
    levels = tuple(sorted(set(fractions)))
    if not 0 < len(levels) <= _MOST_FRACTIONS:
        raise KdlibError(f"give 1 to {_MOST_FRACTIONS} unmask fractions, not {len(levels)}")
    flat = attributions.detach().flatten(1)
    coordinates = flat.shape[1]
    numbers = [kept_number(fraction, coordinates) for fraction in levels]
    limits = tuple(sorted({*numbers, *(coordinates - number for number in numbers)}))
    ranks = torch.arange(coordinates)
    code_of_rank = torch.searchsorted(torch.tensor(limits), ranks, right=True).to(torch.uint8).to(flat.device)
    shuffle = torch.randperm(coordinates, generator=torch.Generator().manual_seed(check_seed(seed))).to(flat.device)
    codes = torch.empty(flat.shape, dtype=torch.uint8, device=flat.device)
    for piece in torch.arange(len(flat)).split(max(1, _SORTED_AT_ONCE // coordinates)):
        rows = slice(int(piece[0]), int(piece[-1]) + 1)
        order = shuffle[flat[rows][:, shuffle].argsort(dim=1, descending=True, stable=True)]
        codes[rows] = codes[rows].scatter(1, order, code_of_rank.expand_as(order))
    return RankCodes(codes.view(attributions.shape), limits, levels)


def masked(images: Tensor, keep: Tensor, constant: Tensor) -> Tensor:
    """`images` where `keep`, elsewhere the channel's constant; images and keep (B, C, H, W), constant (C,).

    >>> masked(torch.ones(1, 1, 1, 2), torch.tensor([[[[True, False]]]]), torch.tensor([0.5])).flatten().tolist()
    [1.0, 0.5]
    """
    return torch.where(keep, images, constant.to(images).view(-1, 1, 1))


@dataclass(frozen=True)
class DiffRoar:
    """Test accuracies of the retrained networks, in [0, 1], and their differences.

    fractions: the unmask levels k. top, bottom: per level one accuracy a repeat, with the top and with the bottom
    fraction k kept.
    """

    fractions: tuple[float, ...]
    top: tuple[tuple[float, ...], ...]
    bottom: tuple[tuple[float, ...], ...]

    def scores(self) -> list[float]:
        """DiffROAR(k) of each level: mean accuracy with the top kept minus that with the bottom kept, in [-1, 1]."""
        return [sum(high) / len(high) - sum(low) / len(low) for high, low in zip(self.top, self.bottom, strict=True)]

    def mean(self) -> float:
        """The mean of `scores` over the levels.

        >>> DiffRoar((0.1, 0.5), ((0.5, 0.7), (0.8, 0.8)), ((0.2, 0.2), (0.6, 0.8))).mean()
        0.25
        """
        scores = self.scores()
        return sum(scores) / len(scores)


Retrain = Callable[[str, float, int], float]


def diffroar(retrain: Retrain, fractions: Sequence[float], repeats: int = 1) -> DiffRoar:
    """DiffROAR at every unmask level.

    retrain(kept, fraction, repeat): the test accuracy in [0, 1] of a network trained afresh on data that keep the top
    or bottom (`KEPT`) `fraction` of each image's coordinates; `repeat` (0, 1, ...) should set its seed, the same for
    both ends, so that the two differ in the mask alone.

    >>> diffroar(lambda kept, fraction, repeat: fraction if kept == "top" else 0.25, (0.5, 0.25)).scores()
    [0.25, 0.0]
    """
    positive_integer(repeats, "repeats")
    if not len(fractions):
        raise KdlibError("DiffROAR needs at least one unmask fraction, such as 0.1")
    accuracies: dict[str, list[tuple[float, ...]]] = {kept: [] for kept in KEPT}
    for fraction in fractions:
        for kept in KEPT:
            found = tuple(float(retrain(kept, fraction, repeat)) for repeat in range(repeats))
            if not all(0 <= accuracy <= 1 for accuracy in found):
                raise KdlibError(f"retraining gave accuracies {list(found)}; they must lie between 0 and 1")
            accuracies[kept].append(found)
    return DiffRoar(tuple(fractions), tuple(accuracies["top"]), tuple(accuracies["bottom"]))
