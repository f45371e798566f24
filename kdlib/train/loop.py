"""The one training loop, for every method, from top to bottom: build, epochs, steps, loss, optimizer, validation.

How long, how fast and with which augmentation is the recipe; what is learned is the objective, one file a method in
`kdlib.distill`; what is kept is in `kdlib.train.state`. Streamed folders take another `Feed` (`kdlib.train.stream`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from kdlib.capture import capture
from kdlib.data.augment import Augmentation
from kdlib.data.labelled_set import Splits
from kdlib.data.task import Task
from kdlib.distill import Objective, TrainBatch
from kdlib.errors import KdlibError, check_seed
from kdlib.train.device import deterministic, resolve_device, watched
from kdlib.train.predict import predict
from kdlib.train.recipe import Recipe
from kdlib.train.state import Progress, Run, finished, first_progress, next_progress, restore
from kdlib.train.weight_distance import WeightDistance

Batch = tuple[Tensor, Tensor, Tensor, Tensor]  # images, labels, index in the training set, number of the view


def fit(
    build: Callable[[], nn.Module],
    splits: Splits,
    objective: Objective,
    recipe: Recipe,
    seed: int,
    *,
    device: str = "auto",
    resume: Progress | None = None,
    after_epoch: Callable[[Progress], None] | None = None,
    label: str = "training",
    feed: Feed | None = None,
) -> Run:
    """Train a fresh model on `splits.train`; choose the best epoch on `splits.val`; never look at test.

    build: makes the model. seed: of the images' order and augmentation; an epoch has its own generator: a resumed
    training has the bits of one that ran through. after_epoch: gets the state to go on from. feed: None for memory.
    """
    check_seed(seed)  # also where there is no epoch that would draw from it
    feed = feed or Feed(splits.to(resolve_device(device)), recipe)
    if recipe.batch_size > len(feed.train):
        raise KdlibError(f"batch_size {recipe.batch_size} is larger than the training set of {len(feed.train)} images")

    # The model, what the objective trains beside it, one optimizer for both
    model = build().to(feed.device)
    if recipe.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    feed.adapt(model)
    beside = objective.module.to(feed.device).train() if objective.module else None
    changing = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = recipe.make_optimizer([*changing, *(beside.parameters() if beside else ())])
    distance = WeightDistance(model, recipe.distances)
    progress = resume or first_progress(model, beside, recipe)
    if resume:
        restore(model, beside, optimizer, resume)
        distance.restart()
    step = Step(model, objective, recipe, feed.task)
    bar = tqdm(total=recipe.epochs, initial=progress.epoch, desc=label, unit="epoch", disable=not watched())
    gpus = [feed.device] if feed.device.type == "cuda" else []
    with deterministic(), bar, torch.random.fork_rng(devices=gpus):
        for epoch in range(progress.epoch, recipe.epochs):
            started = time.perf_counter()
            found = train_epoch(step, feed, optimizer, distance, seed, epoch) | feed.validate(model)
            row = {"epoch": epoch + 1, "learning_rate": recipe.learning_rate_at(epoch), **found}
            row["seconds"] = time.perf_counter() - started
            if not all(math.isfinite(x) or (name, x) == ("val_loss", math.inf) for name, x in found.items()):
                raise KdlibError(
                    f"{label}: the loss became {found['loss']} ({found['val_loss']} on val) in epoch {epoch + 1}; "
                    f"lower learning_rate (now {recipe.learning_rate:g}) or raise the temperature"
                )
            progress = next_progress(progress, model, beside, optimizer, row, recipe, feed.task)
            if after_epoch:
                after_epoch(progress)
            bar.update()
            bar.set_postfix(val=f"{row[f'val_{feed.task.score}']:.3f}")
    return finished(build, progress, feed.device)


def train_epoch(
    step: Step, feed: Feed, optimizer: torch.optim.Optimizer, distance: WeightDistance, seed: int, epoch: int
) -> dict[str, float]:
    """One pass over the training set: the mean of each loss term over its steps, the score on the (augmented) rows."""
    recipe, steps = step.recipe, len(feed.train) // step.recipe.batch_size  # a smaller batch would be noisier
    torch.manual_seed(epoch_seed(seed, epoch))  # what a model or an objective draws
    sums: dict[str, Tensor] = {}
    credit = torch.zeros(())
    step.begin()
    with step.watching():
        forward = feed.together(step)
        for number, batch in enumerate(feed.batches(seed, epoch)):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate_at(epoch + (number + 1) / steps)
            terms, gained = forward(*batch)
            loss = torch.stack(list(terms.values())).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            distance.step()
            for name, value in {"loss": loss, **terms}.items():
                sums[name] = sums.get(name, 0) + value.detach()
            credit = credit.to(gained.device) + gained
    means = {name: float(feed.total(value)) / (steps * feed.processes) for name, value in sums.items()}
    means[f"train_{feed.task.score}"] = float(feed.total(credit)) / (steps * recipe.batch_size)
    return means | distance.of_epoch()


class Step(nn.Module):
    """The forward half of a training step; a module, so that it can be wrapped whole where several processes train."""

    def __init__(self, model: nn.Module, objective: Objective, recipe: Recipe, task: Task) -> None:
        super().__init__()
        self.model, self.beside = model, objective.module
        self._objective = (objective,)  # in a tuple: an objective that is a module must not become a part
        self.recipe, self.task = recipe, task
        self.features: dict[str, Tensor] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within the block the layers are captured that the objective must see."""
        layers = self._objective[0].student_layers
        watched_layers: AbstractContextManager = capture(self.model, *layers) if layers else nullcontext({})
        with watched_layers as self.features:
            yield

    def begin(self) -> None:
        """Put the student into train mode, but for BatchNorm layers whose parameters are frozen."""
        self.model.train()
        for module in self.model.modules():
            own = list(module.parameters(recurse=False))
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and own and not any(p.requires_grad for p in own):
                module.eval()

    def forward(self, images: Tensor, labels: Tensor, index: Tensor, view: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The loss terms, and the sum of the rows' credit."""
        [objective] = self._objective
        batch = TrainBatch(self._laid_out(images), labels, index, view)
        shown = self._laid_out(objective.student_images(batch.images))
        # Under autocast only the forward pass runs in bfloat16; losses are computed in float32.
        half = self.recipe.mixed_precision and images.device.type == "cuda"
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=half):
            outputs = self.model(shown)
        terms = objective(batch, outputs.float(), self.features)
        return terms, self.task.credit(outputs[: len(labels)].detach(), labels).sum()

    def _laid_out(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last) if self.recipe.channels_last else images


class Feed:
    """Where batches and the scores on val come from: here, sets that lie in memory on the training's device."""

    processes = 1

    def __init__(self, splits: Splits, recipe: Recipe) -> None:
        self.train, self.val, self.recipe = splits.train, splits.val, recipe
        self.device: torch.device = splits.train.labels.device
        self.task: Task = splits.train.task

    def batches(self, seed: int, epoch: int) -> Iterator[Batch]:
        """The epoch's whole batches: a random order, and one of finitely many augmented views for each image."""
        augmentation, size = Augmentation(self.recipe.augment), self.recipe.batch_size
        generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
        order = torch.randperm(len(self.train), generator=generator).to(self.device)
        views = torch.randint(augmentation.num_views, (len(self.train),), generator=generator).to(self.device)
        for index in order.split(size)[: len(order) // size]:
            yield augmentation(self.train.inputs(index), views[index]), self.train.labels[index], index, views[index]

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Loss and score on val, in eval mode."""
        outputs = predict(model, self.val)
        loss = float(self.task.loss(outputs, self.val.labels))
        return {"val_loss": loss, f"val_{self.task.score}": self.task.mean_score(outputs, self.val.labels)}

    def adapt(self, model: nn.Module) -> None:
        """What the model needs to be trained from this feed: nothing."""

    def together(self, step: Step) -> nn.Module:
        """The step as all processes take it: there is one."""
        return step

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        return value


def epoch_seed(seed: int, epoch: int) -> int:
    """Of all random draws of one epoch."""
    return check_seed(seed) * 1_000_003 + epoch
