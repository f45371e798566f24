"""Training from folders that do not fit into memory, on one device or under `torchrun` on several.

The loop, the recipe, what comes out and the bits of a resumed training are those of `kdlib.train.loop.fit`; images are
decoded by worker processes as they are needed. With several processes each sees its share of every batch: gradients
(those of an objective's own module too) are averaged by DistributedDataParallel, BatchNorm's statistics are those of
the whole batch and every validation image is counted once, so that only rounding depends on their number. A method
that compares the images of a batch with one another (SSKD) compares those of one process's share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kdlib.data.folder_stream import STREAMED_AUGMENTATIONS, FolderStream
from kdlib.data.labelled_set import Splits
from kdlib.distill import Objective
from kdlib.errors import KdlibError, choose
from kdlib.train.device import resolve_device
from kdlib.train.loop import Batch, Feed, Step, epoch_seed, fit
from kdlib.train.processes import Processes, current, synchronise
from kdlib.train.recipe import Recipe
from kdlib.train.state import Progress, Run


def fit_stream(
    build: Callable[[], nn.Module],
    splits: Splits[FolderStream],
    objective: Objective,
    recipe: Recipe,
    seed: int,
    *,
    device: str = "auto",
    resume: Progress | None = None,
    after_epoch: Callable[[Progress], None] | None = None,
    label: str = "training",
) -> Run:
    """`kdlib.train.loop.fit` for streamed folders; see there. The batch size is that of all processes together.

    Within `kdlib.train.processes.several` all processes call it with the same arguments and get the same run;
    after_epoch is called in the first one alone.
    """
    processes = current()
    choose(recipe.augment, STREAMED_AUGMENTATIONS, "augmentation of a streamed folder")
    processes.share(recipe.batch_size)
    if processes.count > 1:
        _refuse_memory(objective)
    return fit(
        build,
        splits,
        objective,
        recipe,
        seed,
        resume=resume,
        after_epoch=after_epoch if processes.first else None,
        label=label,
        feed=StreamedFeed(splits.to(resolve_device(device)), recipe, processes),
    )


def _refuse_memory(objective: Objective) -> None:
    """What an objective remembers of the images it saw (CRD's banks) would differ between processes."""
    names = [name for name, _ in objective.module.named_buffers()] if objective.module else []
    if names:
        raise KdlibError(
            f"{type(objective).__name__} remembers what it saw (its '{names[0]}'), and each process sees other images; "
            "train it with one process"
        )


class StreamedFeed(Feed):
    """Batches that are decoded as they are needed, shared out among the processes that train together."""

    def __init__(self, splits: Splits[FolderStream], recipe: Recipe, processes: Processes) -> None:
        super().__init__(splits, recipe)
        self.working, self.processes = processes, processes.count

    def batches(self, seed: int, epoch: int) -> Iterator[Batch]:
        """This process's share of the epoch's whole batches."""
        generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
        order = torch.randperm(len(self.train), generator=generator)
        size = self.recipe.batch_size
        shares = [self.working.mine(batch) for batch in order.split(size)[: len(order) // size]]
        for images, labels, index in self.train.training_batches(shares, self.recipe.augment, seed, epoch):
            yield images.float().div_(255), labels, index, torch.zeros_like(index)

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Loss and score over all of val; each image is counted by one process."""
        model.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        mine = self.working.mine(torch.arange(len(self.val)))
        pieces = mine.split(self.working.share(self.recipe.batch_size)) if len(mine) else ()
        for images, labels, _ in self.val.evaluation_batches(pieces):
            outputs: Tensor = model(images.float().div_(255)).float()
            sums[0] += self.task.loss(outputs, labels).double() * len(labels)
            sums[1] += self.task.credit(outputs, labels).sum()
        loss, score = (self.working.sum(sums) / len(self.val)).tolist()
        return {"val_loss": loss, f"val_{self.task.score}": score}

    def adapt(self, model: nn.Module) -> None:
        """BatchNorm over the whole batch, where several processes see a share each."""
        if self.processes > 1:
            synchronise(model)

    def together(self, step: Step) -> nn.Module:
        """The step with gradients averaged over all processes."""
        if self.processes == 1:
            return step
        # Anew each epoch: after its first step it regroups the gradients, and the groups decide the order in which
        # more than two processes add up. So each epoch begins alike, whether the training was interrupted or not.
        devices = [torch.cuda.current_device()] if self.device.type == "cuda" else None
        return DistributedDataParallel(step, device_ids=devices)

    def total(self, value: Tensor) -> Tensor:
        return self.working.sum(value)
