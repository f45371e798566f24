"""Class-balanced, seeded choices of images: which go to train, to val, and into a smaller subset."""

from __future__ import annotations

import torch
from torch import Tensor

from kdlib.errors import KdlibError, check_seed, positive_integer


def balanced_order(labels: Tensor, seed: int) -> Tensor:
    """A seeded permutation of which every beginning and every end keeps the classes' proportions.

    labels: (N,) class indices. Returns (N,) int64 indices. Each class is shuffled and spread evenly over the whole
    length: with classes of one size, any first n images differ by at most one between classes.

    >>> labels = torch.tensor([0, 0, 0, 1, 1, 1])
    >>> sorted(labels[balanced_order(labels, seed=0)[:2]].tolist())
    [0, 1]
    """
    generator = torch.Generator().manual_seed(check_seed(seed))
    shuffled = torch.randperm(len(labels), generator=generator)
    mixed = labels[shuffled]
    # Rank of each image within its class, in shuffled order, as a fraction of the class.
    by_class = torch.argsort(mixed, stable=True)
    counts = torch.bincount(mixed)
    starts = counts.cumsum(0) - counts
    place = torch.empty(len(labels), dtype=torch.float64)
    ranks = torch.arange(len(labels)) - starts[mixed[by_class]]
    place[by_class] = (ranks.double() + 0.5) / counts[mixed[by_class]].double()
    return shuffled[torch.argsort(place, stable=True)]


def take(labels: Tensor, count: int | None, seed: int, argument: str, where: str) -> Tensor:
    """Indices of `count` images, class-balanced and seeded; all of them, in order, if `count` is None.

    argument: its name in the error message, such as "n_test". where: the images, such as "the test part of CIFAR-10".
    """
    if count is None:
        return torch.arange(len(labels))
    positive_integer(count, argument)
    if count > len(labels):
        raise KdlibError(f"{argument}={count:,} exceeds the {len(labels):,} images of {where}; give fewer")
    return balanced_order(labels, seed)[:count]


def split_off_val(labels: Tensor, n_train: int | None, n_val: int, seed: int, where: str) -> tuple[Tensor, Tensor]:
    """Indices of (train, val), disjoint and class-balanced; n_train None takes all that val leaves.

    Val comes from one end of a balanced order and train from the other, so neither changes with the other's size.

    >>> train, val = split_off_val(torch.tensor([0, 1] * 5), None, 4, seed=0, where="a toy")
    >>> len(train), len(val), sorted([*train.tolist(), *val.tolist()]) == list(range(10))
    (6, 4, True)
    """
    positive_integer(n_val, "n_val")
    total = len(labels)
    if n_val >= total:
        raise KdlibError(f"n_val={n_val:,} leaves none of the {total:,} images of {where} to train on; give fewer")
    n_train = total - n_val if n_train is None else positive_integer(n_train, "n_train")
    if n_train + n_val > total:
        raise KdlibError(
            f"n_train={n_train:,} exceeds the {total - n_val:,} images that n_val={n_val:,} leaves of {where}; "
            "give fewer"
        )
    order = balanced_order(labels, seed)
    return order.flip(0)[:n_train], order[:n_val]
