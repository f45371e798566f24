"""Race kdlib's distillation against a plain loop with a live teacher, on the same images in the same order.

    python -m benchmarks.kd_step            # a few minutes
    python -m benchmarks.kd_step --quick    # half a minute

The plain loop is what most code bases do: a shuffling DataLoader over single images, the teacher asked anew for every
batch, the loss from `F.kl_div`. kdlib is timed in four ways: teacher live or remembered, images in the usual or in the
channels-last memory format. "remembered" is an epoch in which the teacher has answered all images before, as in all
epochs but the first ones of a training.

Before anything is timed, the plain loop and all of kdlib's ways must have the same mean loss over the first epoch (to
1e-3 relative: other memory formats round differently, and steps add that up). Runs are interleaved; medians are given.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from kdlib.data.labelled_set import Splits
from kdlib.distill.kd import KnowledgeDistillation
from kdlib.distill.teacher import Teacher
from kdlib.models import build
from kdlib.papers.presets import load_data
from kdlib.train.device import resolve_device
from kdlib.train.loop import fit
from kdlib.train.recipe import Recipe

TEMPERATURE, ALPHA = 4.0, 0.9


class EpochOrder(Sampler[int]):
    """The order of images that kdlib draws for each epoch of seed 0."""

    def __init__(self, count: int) -> None:
        self.count, self.epoch = count, 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self):
        order = torch.randperm(self.count, generator=torch.Generator().manual_seed(self.epoch))
        self.epoch += 1
        return iter(order.tolist())


def plain(make: Callable[[], nn.Module], teacher: nn.Module, splits: Splits, recipe: Recipe) -> tuple[float, float]:
    """(mean loss of the first epoch, seconds of the last) of a loop as most people write it."""
    device = next(teacher.parameters()).device
    model = make().to(device)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.learning_rate, momentum=0.9, weight_decay=recipe.weight_decay, nesterov=True
    )
    data = TensorDataset(splits.train.images.cpu(), splits.train.labels.cpu())
    loader = DataLoader(data, recipe.batch_size, sampler=EpochOrder(len(data)), drop_last=True)
    losses: list[float] = []
    seconds = 0.0
    for epoch in range(recipe.epochs):
        started = time.perf_counter()
        model.train()
        total = 0.0
        for step, (images, labels) in enumerate(loader):
            images, labels = images.to(device).float() / 255, labels.to(device)
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate_at(epoch + (step + 1) / len(loader))
            logits = model(images)
            with torch.no_grad():
                answers = teacher(images)
            soft = F.kl_div(
                F.log_softmax(logits / TEMPERATURE, 1), F.softmax(answers / TEMPERATURE, 1), reduction="batchmean"
            )
            loss = (1 - ALPHA) * F.cross_entropy(logits, labels) + ALPHA * TEMPERATURE**2 * soft
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        losses.append(total / len(loader))
        seconds = time.perf_counter() - started
    return losses[0], seconds


def ours(
    make: Callable[[], nn.Module], teacher: nn.Module, splits: Splits, recipe: Recipe, *, remember: bool
) -> tuple[float, float]:
    """(mean loss of the first epoch, seconds of the last) of `fit`."""
    memory = (len(splits.train), 1) if remember else (0, 0)
    objective = KnowledgeDistillation(Teacher(teacher, *memory), TEMPERATURE, ALPHA)
    history = fit(make, splits, objective, recipe, 0, device=str(splits.train.device)).history
    return history[0]["loss"], history[-1]["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer images, one repeat")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    count, repeats = (1_280, 1) if arguments.quick else (5_000, 3)
    splits = load_data("fashion_mnist", "quick")
    # The val part is so small that an epoch is its training steps.
    splits = replace(splits, train=splits.train.subset(slice(0, count)), val=splits.val.subset(slice(0, 8))).to(device)
    sizes = {"num_classes": 10, "channels": 1, "depth": 8}
    make = partial(build, "small_resnet", width=8, **sizes)
    teacher = build("small_resnet", width=24, seed=1, **sizes).to(device).eval()
    recipe = Recipe(epochs=2, batch_size=64, learning_rate=0.02, augment="none", channels_last=False)
    runners = {"plain loop, live teacher": partial(plain, recipe=recipe)}
    for layout, last in (("usual format", False), ("channels last", True)):
        for speech, remember in (("live", False), ("remembered", True)):
            way = partial(ours, recipe=replace(recipe, channels_last=last), remember=remember)
            runners[f"kdlib, {speech} teacher, {layout}"] = way

    losses = {name: run(make, teacher, splits)[0] for name, run in runners.items()}
    expected = losses["plain loop, live teacher"]
    for name, loss in losses.items():
        if abs(loss - expected) > 1e-3 * expected:
            raise SystemExit(f"{name} has loss {loss}, the plain loop {expected}: nothing is timed")
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(repeats):
        for name, run in runners.items():
            seconds[name].append(run(make, teacher, splits)[1])
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} torch thread(s), {device}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, load {load}"
    )
    print(
        f"| one epoch of {count} images of 28x28, student of width 8, teacher of width 24 | images/s | against plain |"
    )
    print("|---|---|---|")
    base = statistics.median(seconds["plain loop, live teacher"])
    images = count // recipe.batch_size * recipe.batch_size
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"| {name} | {images / median:,.0f} | {base / median:.2f}x |")
    print("First-epoch losses agreed to 1e-3 before timing.")


if __name__ == "__main__":
    main()
