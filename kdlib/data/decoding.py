"""Photographs decoded in batches, by processes of their own where there are some."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from kdlib.data.class_tree import Listing
from kdlib.data.image_folder import Decoder
from kdlib.errors import KdlibError, sentence_of
from kdlib.lifeline import end_with_parent
from kdlib.temporary import own_the_files_of_multiprocessing


def decoded_batches(
    files: Files, batches: Sequence[Tensor], workers: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(images (B, 3, H, W) uint8, labels, indices) of each of `batches` of indices, on the device.

    workers: processes that decode ahead; 0 decodes in this one. Raises KdlibError for a picture that can't be read, and
    where a process ended early.
    """
    loader = torch.utils.data.DataLoader(
        files,
        batch_sampler=[batch.tolist() for batch in batches],
        num_workers=workers,
        # Not forked from this process: it has threads (gloo's, NCCL's), and a fork can catch one holding a lock.
        multiprocessing_context=_forkserver() if workers else None,
        worker_init_fn=_begin,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # else the loader draws from the global one
    )
    try:
        for found in loader:
            images, labels, indices = (tensor.to(device, non_blocking=True) for tensor in found)
            yield images, labels, indices
    except KdlibError as error:
        raise sentence_of(error) from None
    except (RuntimeError, ConnectionError, EOFError) as error:  # the latter two where it was sending pictures
        if isinstance(error, RuntimeError) and "exited unexpectedly" not in str(error):
            raise
        raise KdlibError(
            "a process that decodes pictures ended early: it was killed, most likely for want of memory (take "
            f"fewer workers than {workers}), or the script that reads them does not keep its work below "
            '`if __name__ == "__main__":`'
        ) from error


def _forkserver() -> Any:
    """Where decoding processes come from: a server without threads that has imported this module already."""
    own_the_files_of_multiprocessing()
    context = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
    context.set_forkserver_preload([__name__, "kdlib.vision"])
    return context


def _begin(worker: int) -> None:
    """Let a decoding process end when the one that reads from it does, even if that was killed.

    torch's workers look whether their parent lives, but theirs is the fork server, which lives as long as they do.
    """
    end_with_parent()


class Files(torch.utils.data.Dataset):
    """(image (3, size, size) uint8, label, index) by index, for the DataLoader.

    seed_of: of the random draws for the image at an index; none are made without it.
    """

    def __init__(
        self, listing: Listing, decode: Callable[[str], Tensor], seed_of: Callable[[int], int] | None = None
    ) -> None:
        self.listing, self.decode, self.seed_of = listing, decode, seed_of

    def __len__(self) -> int:
        return len(self.listing.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        path, label = self.listing.paths[index], int(self.listing.labels[index])
        if self.seed_of is None:
            return self.decode(path), label, index
        # torchvision's transforms draw from the CPU's global generator, which is put back.
        before = torch.random.get_rng_state()
        torch.random.default_generator.manual_seed(self.seed_of(index))
        try:
            return self.decode(path), label, index
        finally:
            torch.random.set_rng_state(before)


def draw_seed(seed: int, epoch: int, index: int) -> int:
    """The seed of what is drawn for an image in an epoch."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{epoch}/{index}".encode(), digest_size=7).digest())


def random_decoder(size: int) -> Decoder:
    """Decodes a random part of a picture, enlarged to (3, size, size), mirrored every second time."""
    return Decoder(partial(_random_cut, size))


def _random_cut(size: int) -> Callable[[Image.Image], Image.Image]:
    from kdlib.vision import torchvision

    transforms = torchvision.transforms
    return transforms.Compose([transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()])
