"""The one training loop, for every method."""

from __future__ import annotations

import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from kdlib.data.augment import Augmentation
from kdlib.data.image_set import LabelledSet, Splits
from kdlib.distill import Objective
from kdlib.errors import KdlibError, choose, finite_number, positive_integer
from kdlib.lesson import Lesson, Totals, training_step
from kdlib.travel import Travel

State = dict[str, Tensor]
OPTIMIZERS = ("sgd", "adamw")


@dataclass(frozen=True)
class Recipe:
    """How to train: an optimizer, a learning-rate schedule and an augmentation.

    optimizer: "sgd" (with Nesterov momentum, or plain momentum where `nesterov` is off) or "adamw".

    schedule: "cosine" (to zero), "step" (times 0.1 at each of `milestones`, in epochs) or "geometric" (each step times
    the same factor, to `final_learning_rate`), all after a linear warm-up over `warmup` epochs. augment: "none",
    "flip", "flip_shift" or, for streamed folders alone, "resized_crop". checkpoints: epochs after which the weights are
    kept too; 0 for the first weights. mixed_precision: bfloat16 autocast, on a GPU only.

    distances: layers whose way is measured, see `kdlib.travel`: the history's rows tell "distance/<layer>", of the
    layer's weight, and "distance_up_to/<layer>", of all parameters up to it, summed over the epoch's steps; and
    "epoch_distance/<layer>", "epoch_distance_up_to/<layer>", straight from the epoch's first weights to its last.

    No epochs at all make a run of the first weights, such as a random teacher's.
    """

    epochs: int
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    optimizer: str = "sgd"
    nesterov: bool = True
    schedule: str = "cosine"
    milestones: tuple[int, ...] = ()
    warmup: float = 1.0
    augment: str = "flip"
    channels_last: bool = True
    mixed_precision: bool = False
    checkpoints: tuple[int, ...] = ()
    final_learning_rate: float = 0.0
    distances: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        positive_integer(self.epochs, "epochs", minimum=0)
        positive_integer(self.batch_size, "batch_size", minimum=2)
        finite_number(self.learning_rate, "learning_rate", minimum=0, exclusive=True)
        finite_number(self.momentum, "momentum", minimum=0, maximum=1)
        finite_number(self.weight_decay, "weight_decay", minimum=0)
        finite_number(self.warmup, "warmup", minimum=0)
        choose(self.optimizer, OPTIMIZERS, "optimizer")
        choose(self.schedule, ("cosine", "step", "geometric"), "schedule")
        geometric = self.schedule == "geometric"
        finite_number(self.final_learning_rate, "final_learning_rate", minimum=0, exclusive=geometric)
        Augmentation(self.augment)
        for first, epochs in ((1, self.milestones), (0, self.checkpoints)):
            for epoch in epochs:
                if not first <= epoch <= self.epochs:
                    raise KdlibError(f"epoch {epoch} is outside this recipe's {self.epochs} epochs")

    def make_optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""
        rate, decay = self.learning_rate, self.weight_decay
        if self.optimizer == "adamw":
            return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
        nesterov = self.nesterov and self.momentum > 0
        return torch.optim.SGD(parameters, lr=rate, momentum=self.momentum, weight_decay=decay, nesterov=nesterov)

    def learning_rate_at(self, epoch: float) -> float:
        """Learning rate after `epoch` epochs (fractions are steps within one).

        >>> Recipe(epochs=10, learning_rate=0.2, warmup=0).learning_rate_at(5)
        0.1
        >>> Recipe(epochs=90, schedule="step", milestones=(30, 60), warmup=0).learning_rate_at(31)
        0.01
        >>> recipe = Recipe(epochs=2, learning_rate=0.1, schedule="geometric", final_learning_rate=0.001, warmup=0)
        >>> recipe.learning_rate_at(1)
        0.01
        """
        # A warm-up longer than half of a short run would never reach the full rate.
        warmup = min(self.warmup, self.epochs / 4)
        if epoch < warmup:
            return self.learning_rate * epoch / warmup
        if self.schedule == "step":
            return round(self.learning_rate * 0.1 ** sum(epoch >= m for m in self.milestones), 12)
        progress = (epoch - warmup) / (self.epochs - warmup)
        if self.schedule == "geometric":
            return round(self.learning_rate * (self.final_learning_rate / self.learning_rate) ** progress, 12)
        return round(self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress)), 12)


@dataclass
class Progress:
    """Everything that the next epoch depends on; saved after each epoch, so that a killed training goes on.

    beside: state of the objective's `module`. optimizer: its state_dict.
    """

    epoch: int
    model: State
    best: State
    best_accuracy: float
    beside: State
    optimizer: dict[str, Any]
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
    """Deterministic algorithms and one CPU thread while the block runs, the former settings afterwards.

    The order in which threads add up decides the last bits: with one thread a training gives the same bits however
    many cores there are. Several trainings side by side use the others (`kdlib.side_by_side`).
    """
    threads = torch.get_num_threads()
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark


def _copy(module: nn.Module | None) -> State:
    state = module.state_dict() if module else {}
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


@torch.no_grad()
def predict(model: nn.Module, image_set: LabelledSet, batch_size: int = 512) -> Tensor:
    """Logits (N, K) float32 of every image, in eval mode; the model's mode is restored."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    pieces = [slice(start, start + batch_size) for start in range(0, len(image_set), batch_size)]
    logits = [model(image_set.inputs(piece).to(device)).float() for piece in pieces]
    model.train(was_training)
    return torch.cat(logits)


def accuracy(model: nn.Module, image_set: LabelledSet, batch_size: int = 512) -> float:
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
    splits = splits.to(resolve_device(device))
    train, augmentation = splits.train, Augmentation(recipe.augment)
    trained = prepare(build, objective, recipe, train)
    batches = len(train) // recipe.batch_size  # the last, smaller batch would have noisier BatchNorm statistics
    lesson = Lesson(trained.model, objective, recipe)

    def one_epoch(epoch: int) -> dict[str, float]:
        terms = _train_epoch(lesson, train, recipe, augmentation, trained, seed, epoch, batches)
        logits = predict(trained.model, splits.val)
        hits = logits.argmax(1) == splits.val.labels
        val_loss = float(F.cross_entropy(logits, splits.val.labels))
        return {**terms, "val_loss": val_loss, "val_accuracy": float(hits.float().mean())}

    return run_epochs(build, trained, recipe, one_epoch, resume=resume, after_epoch=after_epoch, label=label)


@dataclass(frozen=True)
class Trained:
    """What a training changes: the model, the objective's module, and the optimizer of both; and the way it goes."""

    model: nn.Module
    beside: nn.Module | None
    optimizer: torch.optim.Optimizer
    travel: Travel


def prepare(build: Callable[[], nn.Module], objective: Objective, recipe: Recipe, train: LabelledSet) -> Trained:
    """The fresh model, the objective's module and their optimizer, on the device of the training set."""
    if recipe.batch_size > len(train):
        raise KdlibError(f"batch_size {recipe.batch_size} is larger than the training set of {len(train)} images")
    device = train.labels.device
    model = build().to(device)
    if recipe.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    beside = objective.module.to(device).train() if objective.module else None
    changing = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = recipe.make_optimizer([*changing, *(beside.parameters() if beside else ())])
    return Trained(model, beside, optimizer, Travel(model, recipe.distances))


def run_epochs(
    build: Callable[[], nn.Module],
    trained: Trained,
    recipe: Recipe,
    one_epoch: Callable[[int], dict[str, float]],
    *,
    resume: Progress | None,
    after_epoch: Callable[[Progress], None] | None,
    label: str,
) -> Run:
    """All epochs of a training, from where it was interrupted; `one_epoch` trains and gives a row of the history."""
    model, beside, optimizer = trained.model, trained.beside, trained.optimizer
    device = next(model.parameters()).device
    first = {0: _copy(model)} if 0 in recipe.checkpoints else {}
    progress = resume or Progress(0, _copy(model), _copy(model), -1.0, _copy(beside), {}, [], first)
    if resume:
        _restore(model, beside, optimizer, resume)
        trained.travel.resume()
    bar = tqdm(
        total=recipe.epochs, initial=progress.epoch, desc=label, unit="epoch", disable=not watched(), leave=False
    )
    with deterministic(), bar, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for epoch in range(progress.epoch, recipe.epochs):
            started = time.perf_counter()
            found = one_epoch(epoch)
            row = {"epoch": epoch + 1, "learning_rate": recipe.learning_rate_at(epoch), **found}
            row["seconds"] = time.perf_counter() - started
            if not all(map(math.isfinite, (value for name, value in found.items() if name != "val_loss"))):
                raise KdlibError(
                    f"{label}: the loss became {found['loss']} in epoch {epoch + 1}; lower learning_rate "
                    f"(now {recipe.learning_rate:g}) or raise the temperature"
                )
            progress = _next(progress, model, beside, optimizer, row, recipe)
            if after_epoch:
                after_epoch(progress)
            bar.update()
            bar.set_postfix(val=f"{row['val_accuracy']:.3f}")
    states = {"last": progress.model, "best": progress.best}
    states |= {f"epoch_{epoch}": state for epoch, state in progress.checkpoints.items()}
    return Run(build, states, progress.history, str(device))


def watched() -> bool:
    """Whether a person sees a progress bar: on a terminal or in Jupyter, but not when a notebook is executed."""
    if os.environ.get("KDLIB_METRICS") or multiprocessing.parent_process() is not None:
        return False
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return sys.stderr.isatty() or hasattr(shell, "kernel")


def epoch_seed(seed: int, epoch: int) -> int:
    """Of all random draws of one epoch."""
    return seed * 1_000_003 + epoch


def _train_epoch(lesson, train, recipe, augmentation, trained, seed, epoch, batches) -> dict[str, float]:
    """One pass over the training set; the mean of each loss term and the accuracy on the augmented images."""
    device = train.device
    generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
    torch.manual_seed(epoch_seed(seed, epoch))  # what a model or an objective draws
    order = torch.randperm(len(train), generator=generator).to(device)
    views = torch.randint(augmentation.num_views, (len(train),), generator=generator).to(device)
    totals = Totals()
    lesson.begin()
    with lesson.watching():
        for step in range(batches):
            index = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            images = augmentation(train.inputs(index), views[index])
            rate = recipe.learning_rate_at(epoch + (step + 1) / batches)
            training_step(lesson, (images, train.labels[index], index, views[index]), trained.optimizer, rate, totals)
            trained.travel.step()
    return totals.means(batches, batches * recipe.batch_size) | trained.travel.since_last()


def _next(progress: Progress, model, beside, optimizer, row: dict[str, float], recipe: Recipe) -> Progress:
    state = _copy(model)
    epoch = int(row["epoch"])
    better = row["val_accuracy"] > progress.best_accuracy
    kept = {epoch: state} if epoch in recipe.checkpoints else {}
    return Progress(
        epoch=epoch,
        model=state,
        best=state if better else progress.best,
        best_accuracy=row["val_accuracy"] if better else progress.best_accuracy,
        beside=_copy(beside),
        optimizer=_on_cpu(optimizer.state_dict()),
        history=[*progress.history, row],
        checkpoints=progress.checkpoints | kept,
    )


def _on_cpu(optimizer_state: dict[str, Any]) -> dict[str, Any]:
    state = {
        number: {
            name: value.detach().cpu().clone() if isinstance(value, Tensor) else value for name, value in kept.items()
        }
        for number, kept in optimizer_state["state"].items()
    }
    return {"state": state, "param_groups": optimizer_state["param_groups"]}


def _restore(model, beside, optimizer, progress: Progress) -> None:
    model.load_state_dict(progress.model)
    if beside:
        beside.load_state_dict(progress.beside)
    optimizer.load_state_dict(progress.optimizer)
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                # in the parameter's own memory format, and with it the bits of an uninterrupted training
                kept[name] = torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(value)
