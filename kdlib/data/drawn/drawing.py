"""What the drawn image sets share: sizes and random streams of their parts, random numbers, noise, memory bounds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from kdlib.errors import KdlibError, check_seed, finite_number, positive_integer

PART_SIZES = {"train": 8000, "val": 1000, "test": 2000, "probe": 2000}  # used where no size is given
SIDE = 32
PIXELS_AT_ONCE = 1_500_000
NOISE_BANK = 1 << 20


def part_sizes(**counts: int | None) -> dict[str, int]:
    """Part -> number of images, from counts such as n_train; None means the default of `PART_SIZES`.

    >>> part_sizes(n_train=40, n_val=None)
    {'train': 40, 'val': 1000}
    """
    parts = {option.removeprefix("n_"): option for option in counts}
    return {
        part: PART_SIZES[part] if counts[option] is None else positive_integer(counts[option], option)
        for part, option in parts.items()
    }


def part_seed(name: str, seed: int, part: str) -> int:
    """The seed of one part's own random stream, so that no part changes with another's size.

    >>> part_seed("cells", 0, "train") != part_seed("cells", 0, "val")
    True
    """
    check_seed(seed)
    return int.from_bytes(hashlib.sha256(f"{name}/{seed}/{part}".encode()).digest()[:4], "little")


def check_options(seed: int, image_size: int, noise: float, pixels_at_once: int) -> None:
    """Refuse options that no drawn set can use."""
    check_seed(seed)
    positive_integer(image_size, "image_size", minimum=16)
    finite_number(noise, "noise", minimum=0, maximum=1)
    positive_integer(pixels_at_once, "pixels_at_once")


def checked_range(value: tuple[float, float], option: str, minimum: float, maximum: float) -> tuple[float, float]:
    """A pair (least, largest) within [minimum, maximum]; KdlibError for anything else."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise KdlibError(f"{option} must be a pair (least, largest), not {value!r}")
    finite_number(value[0], f"the least {option}", minimum=minimum, maximum=maximum)
    finite_number(value[1], f"the largest {option}", minimum=value[0], maximum=maximum)
    return value[0], value[1]


class Random:
    """Random numbers for `n` images, one call for all of them: each call continues the same stream."""

    def __init__(self, n: int, generator: torch.Generator) -> None:
        self.n, self.generator = n, generator

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """(n, *shape) float64, between low and high."""
        return low + (high - low) * torch.rand(self.n, *shape, generator=self.generator, dtype=torch.float64)

    def pick(self, count: int) -> Tensor:
        """(n,) int64, each of 0 to count - 1 equally likely."""
        return torch.randint(count, (self.n,), generator=self.generator)

    def balanced_labels(self, num_classes: int) -> Tensor:
        """(n,) int64 in random order, the classes as equal in number as possible."""
        return torch.arange(self.n)[torch.randperm(self.n, generator=self.generator)] % num_classes


def noise_bank(generator: torch.Generator, device: torch.device) -> Tensor:
    """The normal numbers that `develop` reads its noise from."""
    return torch.randn(NOISE_BANK, generator=generator).to(device)


def develop(image: Tensor, noise_at: Tensor, bank: Tensor, noise: float, out: Tensor) -> None:
    """Add noise to images (B, 3, H, W) in [0, 1], in place, and round them into `out`, uint8.

    Each image reads its noise from the common `bank`, starting at its own random place, so its noise depends on no
    other image.
    """
    if noise > 0:
        per_image = image[0].numel()
        at = noise_at.view(-1, 1) + torch.arange(per_image, device=bank.device)
        image.add_((bank[at.remainder_(len(bank))] * noise).view_as(image))
    out.copy_((image.clamp_(0, 1) * 255).round_())


def pieces(n: int, image_size: int, pixels_at_once: int) -> Iterator[slice]:
    """Slices of `n` images, each of at most `pixels_at_once` pixels but of one image at least.

    >>> list(pieces(5, image_size=10, pixels_at_once=200))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    size = max(1, pixels_at_once // image_size**2)
    return (slice(start, min(n, start + size)) for start in range(0, n, size))


@contextmanager
def one_thread() -> Iterator[None]:
    """Draw on one thread: there are thousands of steps on small tensors.

    A second thread halves the time on an idle machine; on a busy one the threads wait for each other at every step (a
    hundred times slower was seen).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
