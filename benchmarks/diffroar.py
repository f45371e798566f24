"""Race kdlib's DiffROAR retrainings against the usual way: a masked float copy and a fresh DataLoader for every level.

    python -m benchmarks.diffroar            # some ten minutes
    python -m benchmarks.diffroar --quick    # one to two minutes

The usual way sorts the attributions of all images anew for each level and end, lays out masked float copies of the
training and test images, and trains a fresh network in a plain loop over a DataLoader. kdlib ranks once, keeps a byte a
coordinate and masks each batch when it is asked for; it is timed in the usual memory format and in channels_last.

Before anything is timed, the masked images of every level must have the same bits in both ways, and the retrained
networks of the usual format too; with channels_last, which rounds differently, accuracies must agree to 5 points. Runs
are interleaved; medians are given. The last table retrains the networks in parallel, one process a core.

A batched ensemble of all levels' networks (one convolution with groups) was tried: on two cores with AVX-512 it took as
long as one network after another, within the noise.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.kd_step import EpochOrder
from kdlib.data.image_set import ImageSet
from kdlib.metrics.diffroar import KEPT, kept_number, rank_codes
from kdlib.models import build
from kdlib.papers.han2023 import roar as roar_training
from kdlib.papers.han2023.roar import MaskedImages, Ranking, RoarPlan, diffroar_scores, magnitudes, retraining
from kdlib.papers.presets import load_data
from kdlib.runs.parallel import cores
from kdlib.train.loop import fit
from kdlib.train.recipe import Recipe

NET = {"depth": 8, "width": 8, "features": 128}
Level = tuple[str, float]


def laid_out(images: ImageSet, attributions: Tensor, kept: str, fraction: float, constant: Tensor) -> Tensor:
    """Float copy of all images with the top or bottom fraction kept."""
    flat = attributions.flatten(1)
    order = flat.argsort(dim=1, descending=kept == "top")
    keep = torch.zeros_like(flat, dtype=torch.bool)
    keep.scatter_(1, order[:, : kept_number(fraction, flat.shape[1])], True)
    return torch.where(keep.view_as(attributions), images.images.float() / 255, constant.view(-1, 1, 1))


def usual(train: ImageSet, test: ImageSet, parts: list[Tensor], plan: RoarPlan, seed: int) -> dict[Level, tuple]:
    """(accuracy, state) of every level, each with its own copies, loader and loop."""
    mean, std = train.channel_statistics()
    constant, recipe, found = torch.tensor(mean), plan.recipe, {}
    for fraction in plan.fractions:
        for kept in KEPT:
            seen = laid_out(train, parts[0], kept, fraction, constant)
            judged = laid_out(test, parts[1], kept, fraction, constant)
            order = EpochOrder(len(seen))
            order.epoch = seed * 1_000_003
            loader = DataLoader(TensorDataset(seen, train.labels), recipe.batch_size, sampler=order, drop_last=True)
            model = build(plan.model, num_classes=10, channels=seen.shape[1], mean=mean, std=std, seed=seed, **NET)
            optimizer = recipe.make_optimizer(list(model.parameters()))
            model.train()
            for epoch in range(recipe.epochs):
                for step, (images, labels) in enumerate(loader):
                    for group in optimizer.param_groups:
                        group["lr"] = recipe.learning_rate_at(epoch + (step + 1) / len(loader))
                    loss = F.cross_entropy(model(images), labels)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
            model.eval()
            with torch.no_grad():
                predicted = torch.cat([model(images).argmax(1) for (images,) in DataLoader(TensorDataset(judged), 512)])
            accuracy = float((predicted == test.labels).float().mean())
            found[kept, fraction] = accuracy, model.state_dict()
    return found


def ours(train: ImageSet, test: ImageSet, parts: list[Tensor], plan: RoarPlan, seed: int) -> dict[Level, tuple]:
    """(accuracy, state) of every level by kdlib."""
    states: list[dict[str, Tensor]] = []

    def remembering(*args, **kwargs):
        run = fit(*args, **kwargs)
        states.append(run.state("last"))
        return run

    roar_training.fit = remembering
    try:
        train_ranks, test_ranks = (rank_codes(part, plan.fractions) for part in parts)
        retrain = retraining(
            train, test, train_ranks, test_ranks, plan, seed - roar_training._SEED_OFFSET, device="cpu"
        )
        return {
            (kept, fraction): (retrain(kept, fraction, 0), states[-1]) for fraction in plan.fractions for kept in KEPT
        }
    finally:
        roar_training.fit = fit


def check(train: ImageSet, test: ImageSet, parts: list[Tensor], plan: RoarPlan, seed: int) -> None:
    """Stop unless both ways show the same images and give the same networks."""
    statistics_ = train.channel_statistics()
    for images, attributions in zip((train, test), parts, strict=True):
        ranks = rank_codes(attributions, plan.fractions)
        for fraction in plan.fractions:
            for kept in KEPT:
                seen = MaskedImages(images, ranks, kept, fraction, statistics_[0], statistics_)
                copy = laid_out(images, attributions, kept, fraction, torch.tensor(statistics_[0]))
                if not torch.equal(seen.inputs(slice(None)), copy):
                    raise SystemExit(f"{kept} {fraction:g}: the masked images differ; nothing is timed")
    plain = replace(plan, recipe=replace(plan.recipe, channels_last=False))
    theirs, same, last = usual(train, test, parts, plain, seed), ours(train, test, parts, plain, seed), {}
    last = ours(train, test, parts, plan, seed)
    for level, (accuracy, state) in theirs.items():
        if same[level][0] != accuracy or not all(torch.equal(same[level][1][name], state[name]) for name in state):
            raise SystemExit(f"{level}: the retrained networks differ; nothing is timed")
        if abs(last[level][0] - accuracy) > 0.05:
            raise SystemExit(
                f"{level}: accuracy {last[level][0]} in channels_last, {accuracy} before; nothing is timed"
            )


def seconds_of(run: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU of this process) seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def seconds_in_processes(train: ImageSet, test: ImageSet, plan: RoarPlan, workers: int) -> float:
    """Wall seconds for four networks' DiffROAR with an empty store."""
    rankings = {str(seed): Ranking(None, seed) for seed in range(4)}
    before = os.environ.get("KDLIB_RUNS")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KDLIB_RUNS"] = folder
        try:
            return seconds_of(partial(diffroar_scores, rankings, train, test, plan, device="cpu", workers=workers))[0]
        finally:
            del os.environ["KDLIB_RUNS"]
            if before is not None:
                os.environ["KDLIB_RUNS"] = before


def load() -> str:
    return ", ".join(f"{value:.1f}" for value in os.getloadavg())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer images, one repeat")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as every training here
    n_train, n_test, repeats = (640, 500, 1) if arguments.quick else (2000, 1000, 3)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, one torch thread a process, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )
    print(f"load average at the start: {load()}")
    print("| data | way | wall | CPU | CPU against usual | kept for all levels |")
    print("|---|---|---|---|---|---|")
    for name in ("fashion_mnist", "cells"):
        splits = load_data(name, "quick")
        train, test = splits.train.subset(slice(0, n_train)), splits.test.subset(slice(0, n_test))
        recipe = Recipe(epochs=2, batch_size=64, augment="none")
        plan = RoarPlan((0.1, 0.3, 0.5), recipe, model_options=NET)
        model = build("small_resnet", **train.model_options(), **NET)
        parts = [magnitudes(Ranking(model), part) for part in (train, test)]
        check(train, test, parts, plan, seed=20_000)
        plain = replace(plan, recipe=replace(recipe, channels_last=False))
        ways = {
            "usual": partial(usual, train, test, parts, plain, 20_000),
            "kdlib, usual format": partial(ours, train, test, parts, plain, 20_000),
            "kdlib, channels last": partial(ours, train, test, parts, plan, 20_000),
        }
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(repeats):
            for way, run in ways.items():
                times[way].append(seconds_of(run))
        medians = {
            way: [statistics.median(column) for column in zip(*rows, strict=True)] for way, rows in times.items()
        }
        coordinates = parts[0].numel() + parts[1].numel()
        for way, (wall, cpu) in medians.items():
            # One level's float copies at a time, or images and codes as bytes.
            held = coordinates * (4 if way == "usual" else 2) / 2**20
            ratio = medians["usual"][1] / cpu
            print(f"| {name} | {way} | {wall:.1f} s | {cpu:.1f} s | {ratio:.2f}x | {held:.0f} MB |", flush=True)
    print(f"load average at the end: {load()}; masked images and retrained networks agreed bit for bit before timing")
    workers = cores()
    if workers > 1:
        alone, together = (seconds_in_processes(train, test, plan, count) for count in (1, workers))
        print(f"four networks' DiffROAR: {alone:.1f} s one after another, {together:.1f} s in {workers} processes")


if __name__ == "__main__":
    main()
