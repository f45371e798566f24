"""Several processes that train one network together, as `torchrun` starts them; one process alone is the simple case.

`torchrun --nproc-per-node 4 -m ...` starts the same program four times. Within `several()` each of them knows which it
is; all train, the first one alone reads and writes files of the run store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kdlib.errors import KdlibError

Made = TypeVar("Made")
_PATIENCE = timedelta(days=7)  # others wait while the first one waits for a run that another program trains


class ToldByFirst(KdlibError):
    """An error of the first process in another one: who prints it need not print it again."""


@dataclass(frozen=True)
class Processes:
    """The rank of this process and the number of processes; rank 0 is the first."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, batch_size: int) -> int:
        """Images of a batch for each process.

        >>> Processes(1, 2).share(256)
        128
        """
        if batch_size % self.count:
            raise KdlibError(
                f"batch_size {batch_size} can't be shared out evenly among {self.count} processes; start a number that "
                "divides it"
            )
        return batch_size // self.count

    def mine(self, indices: Tensor) -> Tensor:
        """Every count-th index, so that each belongs to exactly one process.

        >>> [Processes(rank, 2).mine(torch.arange(5)).tolist() for rank in (0, 1)]
        [[0, 2, 4], [1, 3]]
        """
        return indices[self.rank :: self.count]

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, known to all of them."""
        if self.count > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def from_first(self, make: Callable[[], Made]) -> Made:
        """What `make` gives the first process, for all; an error that it raises is raised in all."""
        if self.count == 1:
            return make()
        answer: list[Any] = [None, None]
        if self.first:
            try:
                answer[0] = make()
            except KdlibError as error:
                answer[1] = str(error)
        dist.broadcast_object_list(answer)
        if answer[1] is not None:
            raise (KdlibError if self.first else ToldByFirst)(answer[1])
        return answer[0]


ALONE = Processes()
_current = ALONE


def current() -> Processes:
    """The processes that this one works with: itself alone outside of `several()`."""
    return _current


@contextmanager
def several(device: str = "auto") -> Iterator[Processes]:
    """Within the block the processes that `torchrun` started work together; started otherwise, this one is alone.

    device: "auto" or "cuda" for a GPU each (NCCL), "cpu" for the CPU (Gloo).
    """
    global _current
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    gpu = device != "cpu" and torch.cuda.is_available()
    if gpu:
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus:
            raise KdlibError(f"more processes than GPUs on this machine; start {gpus} with --nproc-per-node {gpus}")
        torch.cuda.set_device(local)
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=_PATIENCE)
    _current = Processes(dist.get_rank(), count)
    try:
        yield _current
    finally:
        _current = ALONE
        dist.destroy_process_group()


class _Sum(torch.autograd.Function):
    """Sum over all processes; so is the gradient, since every process's loss depends on every addend."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        return current().sum(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return current().sum(gradient)


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over the batches of all processes together, of equal size: `SyncBatchNorm` for the CPU."""

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return super().forward(images)
        processes = current().count
        mean = _Sum.apply(images.mean((0, 2, 3))) / processes
        centred = images - mean[:, None, None]
        variance = _Sum.apply(centred.square().mean((0, 2, 3))) / processes
        count = images.numel() // images.shape[1] * processes
        self._remember(mean.detach(), variance.detach() * (count / (count - 1)))
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.momentum is not None and self.running_mean is not None and self.running_var is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)  # type: ignore[union-attr]


def synchronise(model: nn.Module) -> None:
    """Make every BatchNorm of the model use the statistics of all processes' images together, in place.

    With it the result does not depend on the number of processes but for rounding. Names in the state stay the same.
    """
    on_gpu = next(model.parameters()).device.type == "cuda"
    for name, child in list(model.named_children()):
        if not isinstance(child, nn.modules.batchnorm._BatchNorm):
            synchronise(child) if any(True for _ in child.parameters()) else None
        elif on_gpu:
            setattr(model, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
        elif isinstance(child, nn.BatchNorm2d) and child.affine and child.momentum is not None:
            twin = GlobalBatchNorm2d(child.num_features, eps=child.eps, momentum=child.momentum)
            for part in (*child._parameters, *child._buffers):
                setattr(twin, part, getattr(child, part))  # the very tensors: an optimizer may know them
            setattr(model, name, twin.train(child.training))
        else:
            raise KdlibError(
                f"several processes on a CPU can't train a {type(child).__name__} like '{name}'; start one"
            )
