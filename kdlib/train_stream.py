"""Training from folders that do not fit into memory, on one device or under `torchrun` on several.

The method, the recipe, what comes out and the bits of a resumed training are those of `kdlib.train.fit`; images are
decoded by worker processes as they are needed. With several processes each sees its share of every batch: gradients
(those of an objective's own module too) are averaged by DistributedDataParallel, BatchNorm's statistics are those of
the whole batch and every validation image is counted once, so that only rounding tells how many there were. A method
that compares the images of a batch with one another (SSKD) compares those of one process's share.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kdlib.data.folder_stream import STREAMED_AUGMENTATIONS, FolderStream
from kdlib.data.image_set import Splits
from kdlib.distill import Objective
from kdlib.errors import KdlibError, choose
from kdlib.lesson import Lesson, Totals, training_step
from kdlib.processes import Processes, current, synchronise
from kdlib.train import Progress, Recipe, Run, Trained, epoch_seed, prepare, resolve_device, run_epochs


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
    """`kdlib.train.fit` for streamed folders; see there. The batch size is that of all processes together.

    Within `kdlib.processes.several` all processes call it with the same arguments and get the same run; after_epoch is
    called in the first one alone.
    """
    processes = current()
    choose(recipe.augment, STREAMED_AUGMENTATIONS, "augmentation of a streamed folder")
    processes.share(recipe.batch_size)
    if processes.count > 1:
        _refuse_memory(objective)
    splits = splits.to(resolve_device(device))
    trained = prepare(build, objective, recipe, splits.train)
    if processes.count > 1:
        synchronise(trained.model)
    lesson = Lesson(trained.model, objective, recipe)

    def one_epoch(epoch: int) -> dict[str, float]:
        terms = _train_epoch(lesson, splits.train, recipe, trained, seed, epoch, processes)
        return terms | _validate(trained.model, splits.val, recipe.batch_size, processes)

    return run_epochs(
        build,
        trained,
        recipe,
        one_epoch,
        resume=resume,
        after_epoch=after_epoch if processes.first else None,
        label=label,
    )


def _refuse_memory(objective: Objective) -> None:
    """What an objective remembers of the images it saw (CRD's banks) would differ between processes."""
    names = [name for name, _ in objective.module.named_buffers()] if objective.module else []
    if names:
        raise KdlibError(
            f"{type(objective).__name__} remembers what it saw (its '{names[0]}'), and each process sees other images; "
            "train it with one process"
        )


def _train_epoch(
    lesson: Lesson,
    train: FolderStream,
    recipe: Recipe,
    trained: Trained,
    seed: int,
    epoch: int,
    processes: Processes,
) -> dict[str, float]:
    """One pass over the training set; means over the images of all processes."""
    torch.manual_seed(epoch_seed(seed, epoch))  # what a model or an objective draws
    generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
    order = torch.randperm(len(train), generator=generator)
    steps = len(train) // recipe.batch_size
    batches = [processes.mine(batch) for batch in order.split(recipe.batch_size)[:steps]]
    totals = Totals()
    lesson.begin()
    with lesson.watching():
        taught = _together(lesson, train.device) if processes.count > 1 else lesson
        stream = train.training_batches(batches, recipe.augment, seed, epoch)
        for step, (images, labels, index) in enumerate(stream):
            batch = (images.float().div_(255), labels, index, torch.zeros_like(index))
            rate = recipe.learning_rate_at(epoch + (step + 1) / steps)
            training_step(taught, batch, trained.optimizer, rate, totals)
            trained.travel.step()
    totals.terms = {name: processes.sum(value) / processes.count for name, value in totals.terms.items()}
    totals.hits = processes.sum(totals.hits)
    return totals.means(steps, steps * recipe.batch_size) | trained.travel.since_last()


def _together(lesson: Lesson, device: torch.device) -> nn.Module:
    # Anew each epoch: after its first step it regroups the gradients, and the groups decide the order in which more
    # than two processes add up. So each epoch begins alike, whether the training was interrupted before it or not.
    devices = [torch.cuda.current_device()] if device.type == "cuda" else None
    return DistributedDataParallel(lesson, device_ids=devices)


@torch.no_grad()
def _validate(model: nn.Module, val: FolderStream, batch_size: int, processes: Processes) -> dict[str, float]:
    """Mean cross-entropy and accuracy over all of val; each image is counted by one process."""
    model.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=val.device)
    mine = processes.mine(torch.arange(len(val)))
    for images, labels, _ in val.evaluation_batches(mine.split(processes.share(batch_size)) if len(mine) else ()):
        logits: Tensor = model(images.float().div_(255)).float()
        sums[0] += F.cross_entropy(logits, labels, reduction="sum").double()
        sums[1] += (logits.argmax(1) == labels).sum()
    loss, hits = (processes.sum(sums) / len(val)).tolist()
    return {"val_loss": loss, "val_accuracy": hits}
