"""The one training loop, for every method."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from kdlib.capture import capture
from kdlib.data.augment import Augmentation
from kdlib.data.image_set import ImageSet, Splits
from kdlib.distill import Objective, TrainBatch
from kdlib.errors import KdlibError, choose, finite_number, positive_integer

State = dict[str, Tensor]


@dataclass(frozen=True)
class Recipe:
    """How to train: SGD with Nesterov momentum, a learning-rate schedule and an augmentation.

    schedule: "cosine" (to zero, after a linear warm-up over `warmup` epochs) or "step" (times 0.1 at each of
    `milestones`, in epochs). augment: "none", "flip" or "flip_shift". checkpoints: epochs after which the weights are
    kept too. mixed_precision: bfloat16 autocast, on a GPU only.
    """

    epochs: int
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    milestones: tuple[int, ...] = ()
    warmup: float = 1.0
    augment: str = "flip"
    channels_last: bool = True
    mixed_precision: bool = False
    checkpoints: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        positive_integer(self.epochs, "epochs")
        positive_integer(self.batch_size, "batch_size", minimum=2)
        finite_number(self.learning_rate, "learning_rate", minimum=0, exclusive=True)
        finite_number(self.momentum, "momentum", minimum=0, maximum=1)
        finite_number(self.weight_decay, "weight_decay", minimum=0)
        finite_number(self.warmup, "warmup", minimum=0)
        choose(self.schedule, ("cosine", "step"), "schedule")
        Augmentation(self.augment)
        for epoch in (*self.milestones, *self.checkpoints):
            if not 0 < epoch <= self.epochs:
                raise KdlibError(f"epoch {epoch} is outside this recipe's {self.epochs} epochs")

    def learning_rate_at(self, epoch: float) -> float:
        """Learning rate after `epoch` epochs (fractions are steps within one).

        >>> Recipe(epochs=10, learning_rate=0.2, warmup=0).learning_rate_at(5)
        0.1
        >>> Recipe(epochs=90, schedule="step", milestones=(30, 60), warmup=0).learning_rate_at(31)
        0.01
        """
        # A warm-up longer than half of a short run would never reach the full rate.
        warmup = min(self.warmup, self.epochs / 4)
        if epoch < warmup:
            return self.learning_rate * epoch / warmup
        if self.schedule == "step":
            return round(self.learning_rate * 0.1 ** sum(epoch >= m for m in self.milestones), 12)
        progress = (epoch - warmup) / (self.epochs - warmup)
        return round(self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress)), 12)


@dataclass
class Progress:
    """Everything that the next epoch depends on; saved after each epoch, so that a killed training goes on."""

    epoch: int
    model: State
    best: State
    best_accuracy: float
    momentum: list[Tensor]
    history: list[dict[str, float]]
    checkpoints: dict[int, State]


@dataclass
class Run:
    """What a training gave.

    history: one dict an epoch with every loss term, train and val accuracy (fractions), learning rate and seconds.
    states: "last", "best" (highest val accuracy, earliest on a tie) and "epoch_<n>" for each checkpoint asked for.
    """

    build: Callable[[], nn.Module]
    states: dict[str, State]
    history: list[dict[str, float]]
    device: str
    key: str = ""
    metadata: dict[str, object] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Time spent in training, over all sittings."""
        return sum(row["seconds"] for row in self.history)

    def state(self, which: str = "last") -> State:
        """Weights after the last epoch, of the best epoch on val, or of a checkpoint."""
        return self.states[choose(which, self.states, "state of this run")]

    def model(self, which: str = "last", device: torch.device | str = "cpu") -> nn.Module:
        """A fresh model with these weights, in eval mode."""
        model = self.build()
        model.load_state_dict(self.state(which))
        return model.to(device).eval()


def resolve_device(device: str = "auto") -> torch.device:
    """The device named, or for "auto" the GPU if there is one.

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    choose(device.split(":")[0], ("auto", "cpu", "cuda"), "device")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise KdlibError(f"device '{device}' is not there: this torch sees no GPU; use device=cpu or device=auto")
    return torch.device(device)


@contextmanager
def deterministic() -> Iterator[None]:
    """Deterministic algorithms while the block runs, the former setting afterwards."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark


def _copy(model: nn.Module) -> State:
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


@torch.no_grad()
def predict(model: nn.Module, image_set: ImageSet, batch_size: int = 512) -> Tensor:
    """Logits (N, K) float32 of every image, in eval mode; the model's mode is restored."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    logits = [model(batch.images.to(device).float().div_(255)).float() for batch in image_set.batches(batch_size)]
    model.train(was_training)
    return torch.cat(logits)


def accuracy(model: nn.Module, image_set: ImageSet, batch_size: int = 512) -> float:
    """Fraction of images whose largest logit is their label's."""
    logits = predict(model, image_set, batch_size)
    return float((logits.argmax(1) == image_set.labels.to(logits.device)).float().mean())


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
) -> Run:
    """Train a fresh model on `splits.train`; choose the best epoch on `splits.val`; never look at test.

    build: makes the model with its initial weights. seed: of the order of the images and of their augmentation; each
    epoch draws from its own generator, so an interrupted training that resumes gives the very bits of one that ran
    through. after_epoch: called with the state from which training can go on.
    """
    target = resolve_device(device)
    splits = splits.to(target)
    train, augmentation = splits.train, Augmentation(recipe.augment)
    if recipe.batch_size > len(train):
        raise KdlibError(f"batch_size {recipe.batch_size} is larger than the training set of {len(train)} images")
    model = build().to(target)
    if recipe.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    progress = resume or Progress(0, _copy(model), _copy(model), -1.0, [], [], {})
    if resume:
        _restore(model, optimizer, resume)
    batches = len(train) // recipe.batch_size  # the last, smaller batch would have noisier BatchNorm statistics
    bar = tqdm(
        total=recipe.epochs, initial=progress.epoch, desc=label, unit="epoch", disable=not _watched(), leave=False
    )
    with deterministic(), bar, torch.random.fork_rng(devices=[target] if target.type == "cuda" else []):
        for epoch in range(progress.epoch, recipe.epochs):
            started = time.perf_counter()
            terms = _train_epoch(model, train, objective, recipe, augmentation, optimizer, seed, epoch, batches)
            logits = predict(model, splits.val)
            val_accuracy = float((logits.argmax(1) == splits.val.labels).float().mean())
            row = {
                "epoch": epoch + 1,
                "learning_rate": recipe.learning_rate_at(epoch),
                **terms,
                "val_loss": float(F.cross_entropy(logits, splits.val.labels)),
                "val_accuracy": val_accuracy,
                "seconds": time.perf_counter() - started,
            }
            if not all(map(math.isfinite, terms.values())):
                raise KdlibError(
                    f"{label}: the loss became {terms['loss']} in epoch {epoch + 1}; lower learning_rate "
                    f"(now {recipe.learning_rate:g}) or raise the temperature"
                )
            progress = _next(progress, model, optimizer, row, recipe)
            if after_epoch:
                after_epoch(progress)
            bar.update()
            bar.set_postfix(val=f"{val_accuracy:.3f}")
    states = {"last": progress.model, "best": progress.best}
    states |= {f"epoch_{epoch}": state for epoch, state in progress.checkpoints.items()}
    return Run(build, states, progress.history, str(target))


def _watched() -> bool:
    """Whether a person sees a progress bar: on a terminal or in Jupyter, but not when a notebook is executed."""
    if os.environ.get("KDLIB_METRICS"):
        return False
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return sys.stderr.isatty() or hasattr(shell, "kernel")


def _train_epoch(model, train, objective, recipe, augmentation, optimizer, seed, epoch, batches) -> dict[str, float]:
    """One pass over the training set; the mean of each loss term and the accuracy on the augmented images."""
    device = train.device
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    torch.manual_seed(seed * 1_000_003 + epoch)  # dropout, if a model has any
    order = torch.randperm(len(train), generator=generator).to(device)
    views = torch.randint(augmentation.num_views, (len(train),), generator=generator).to(device)
    totals: dict[str, Tensor] = {}
    correct = torch.zeros((), device=device)
    model.train()
    layers = objective.student_layers
    # Under autocast only the forward pass runs in bfloat16; losses are computed in float32.
    half = recipe.mixed_precision and device.type == "cuda"
    watching: AbstractContextManager[dict[str, Tensor]] = capture(model, *layers) if layers else nullcontext({})
    with watching as features:
        for step in range(batches):
            index = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            images = augmentation(train.float_batch(index), views[index])
            if recipe.channels_last:
                images = images.contiguous(memory_format=torch.channels_last)
            batch = TrainBatch(images, train.labels[index], index, views[index])
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate_at(epoch + (step + 1) / batches)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
                logits = model(images)
            terms = objective(batch, logits.float(), features)
            loss = torch.stack(list(terms.values())).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            for name, value in {"loss": loss, **terms}.items():
                totals[name] = totals.get(name, 0) + value.detach()
            correct += (logits.argmax(1) == batch.labels).sum()
    means = {name: float(total) / batches for name, total in totals.items()}
    return means | {"train_accuracy": float(correct) / (batches * recipe.batch_size)}


def _next(progress: Progress, model, optimizer, row: dict[str, float], recipe: Recipe) -> Progress:
    state = _copy(model)
    epoch = int(row["epoch"])
    better = row["val_accuracy"] > progress.best_accuracy
    kept = {epoch: state} if epoch in recipe.checkpoints else {}
    return Progress(
        epoch=epoch,
        model=state,
        best=state if better else progress.best,
        best_accuracy=row["val_accuracy"] if better else progress.best_accuracy,
        momentum=[
            optimizer.state[p]["momentum_buffer"].detach().cpu().clone()
            for p in model.parameters()
            if optimizer.state[p].get("momentum_buffer") is not None
        ],
        history=[*progress.history, row],
        checkpoints=progress.checkpoints | kept,
    )


def _restore(model, optimizer, progress: Progress) -> None:
    model.load_state_dict(progress.model)
    if progress.momentum:
        for parameter, momentum in zip(model.parameters(), progress.momentum, strict=True):
            # preserve_format keeps channels_last, and with it the bits of an uninterrupted training
            buffer = torch.empty_like(parameter, memory_format=torch.preserve_format)
            optimizer.state[parameter]["momentum_buffer"] = buffer.copy_(momentum)
