"""Race kdlib's information discarding against a loop over images written from the recipe, on the same noise.

    python -m benchmarks.information            # some ten minutes
    python -m benchmarks.information --quick    # about a minute

The opponent is the tests' twin (`tests/metrics/information_twin.py`), as most people would write it from section 2 of
the paper and as the authors' own code goes about it: one image after another, all samples of a step in one batch, sigma
enlarged by torch, the whole network run with a hook on the layer, autograd and torch.optim, 60 or 80 steps.
"frozen" is the same with the network's weights frozen, which saves their gradients.

Before anything is timed all maps must agree: the same kept step, entropies to 0.005 nats in every cell and 0.0001 in
the mean (ReLUs that switch on a rounding error move single cells in float32). Runs are interleaved; medians of wall
and CPU time are given, CPU time being the one to trust while others use the machine. The number of images is small, for
the opponent's time is proportional to it; so is kdlib's on a CPU. On a GPU kdlib's batch is of 64 images.

"linear" are the recipe's steps on the layer's exact derivative, without samples: other maps, whose order is that of the
sampled ones; their rank correlation is printed, and it is what the chapters use on a CPU.

The aim was five times the loop's speed on two cores. It is not reached: see RESULTS.md. On a CPU both spend their
time in the same convolutions. What kdlib saves there is the weights' gradients (a third of
the passes), the steps after an image's map is found (a quarter), a slower memory format, and threads that wait for each
other: each of its threads has an image of its own. Don't give it two threads on a busy machine: the loop's threads then
wait for each other much of the time, and the ratio of wall times flatters kdlib.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from kdlib.metrics.information.linear import linear_information
from kdlib.metrics.information.maps import InformationMaps, information_discarding
from kdlib.models import build
from kdlib.train.device import resolve_device
from tests.helpers.information_twin import TwinMap, slow_map

SAMPLES, SIZE = 128, 32


def vgg_like(width: int = 16) -> tuple[nn.Module, str]:
    """Six convolutions and FC1 to FC3, without batch normalisation, and the name of FC1."""
    net, channels = nn.Sequential(), 3
    for stage in range(3):
        for part in ("a", "b"):
            net.add_module(f"conv{stage}{part}", nn.Conv2d(channels, width * 2**stage, 3, padding=1))
            net.add_module(f"relu{stage}{part}", nn.ReLU())
            channels = width * 2**stage
        net.add_module(f"pool{stage}", nn.MaxPool2d(2))
    net.add_module("flatten", nn.Flatten())
    for name, inputs, outputs in (("fc1", channels * 16, 128), ("fc2", 128, 128), ("fc3", 128, 10)):
        net.add_module(name, nn.Linear(inputs, outputs))
        if name != "fc3":
            net.add_module(f"{name}_relu", nn.ReLU())
    return net, "fc1"


def alexnet_like() -> tuple[nn.Module, str]:
    """Three convolutions with large filters and FC1 to FC3, and the name of FC1."""
    net = nn.Sequential(
        nn.Conv2d(3, 32, 5, stride=2, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1024, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10),
    )  # fmt: skip
    return net, "9"


def small_resnet() -> tuple[nn.Module, str]:
    return build("small_resnet", num_classes=10, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3, depth=8, width=8), "fc"


NETS = {"VGG-like, FC1": vgg_like, "AlexNet-like, FC1": alexnet_like, "small ResNet, fc": small_resnet}


def loop(net: nn.Module, images: Tensor, layer: str, units: tuple[float, ...] | None, frozen: bool) -> list[TwinMap]:
    net.requires_grad_(not frozen)
    return [
        slow_map(net, image, layer, samples=SAMPLES, image_id=number, units=units)
        for number, image in enumerate(images)
    ]


def ours(net: nn.Module, images: Tensor, layer: str) -> InformationMaps:
    return information_discarding(net, images, layer, samples=SAMPLES, if_not_reached="mark")


def check(name: str, mine: InformationMaps, theirs: list[TwinMap]) -> float:
    """Stop unless the maps agree; the largest difference of a cell in nats."""
    largest = 0.0
    for number, twin in enumerate(theirs):
        difference = (mine.entropy[number] - twin.entropy.cpu()).abs()
        largest = max(largest, float(difference.max()))
        if int(mine.step[number]) != twin.step or largest > 0.005 or float(difference.mean()) > 1e-4:
            raise SystemExit(
                f"{name}, image {number}: step {int(mine.step[number])} and {twin.step}, cells differ by up to "
                f"{largest:.2g} nats; nothing is timed"
            )
    return largest


def rank_correlation(one: InformationMaps, other: InformationMaps) -> float:
    """The smallest rank correlation of two maps of one image."""
    pairs = zip(one.entropy.flatten(1).tolist(), other.entropy.flatten(1).tolist(), strict=True)
    return min(float(spearmanr(*pair).statistic) for pair in pairs)


def seconds_of(run: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """(wall, CPU) seconds of one call, all its threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def load() -> str:
    return ", ".join(f"{value:.1f}" for value in os.getloadavg())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two images, one repeat, one network")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = torch.device(resolve_device(arguments.device))
    count, repeats = (2, 1) if arguments.quick else (4, 3)
    nets = dict(list(NETS.items())[:1]) if arguments.quick else NETS
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} torch thread(s), {device}, "
        f"Python {platform.python_version()}, torch {torch.__version__}; load at the start {load()}"
    )
    print(f"{count} images of {SIZE}x{SIZE}, 16x16 cells, {SAMPLES} samples, at most 80 steps\n", flush=True)
    print("| network, layer | way | wall | CPU | wall against loop | CPU against loop | largest difference |")
    print("|---|---|---|---|---|---|---|")
    for name, make in nets.items():
        torch.manual_seed(0)
        net, layer = make()
        net = net.to(device).eval()
        images = torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)).to(device)
        units = (0.25,) * 3 if "ResNet" in name else None
        ways: dict[str, Callable[[], object]] = {
            "loop": partial(loop, net, images, layer, units, False),
            "loop, frozen": partial(loop, net, images, layer, units, True),
            "kdlib": partial(ours, net, images, layer),
            "kdlib, linear": partial(linear_information, net, images, layer),
        }
        ranks = rank_correlation(linear_information(net, images, layer), ours(net, images, layer))
        difference = check(name, ours(net, images, layer), loop(net, images, layer, units, True))
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(repeats):
            for way, run in ways.items():
                times[way].append(seconds_of(run, device))
        medians = {
            way: [statistics.median(column) for column in zip(*rows, strict=True)] for way, rows in times.items()
        }
        for way, (wall, cpu) in medians.items():
            gains = [medians["loop"][place] / value for place, value in enumerate((wall, cpu))]
            apart = {"kdlib": f"{difference:.1e} nats", "kdlib, linear": f"rank correlation {ranks:.3f}"}.get(way, "")
            print(
                f"| {name} | {way} | {wall:.1f} s | {cpu:.1f} s | {gains[0]:.1f}x | {gains[1]:.1f}x | {apart} |",
                flush=True,
            )
        if device.type == "cuda":
            many = torch.rand(64, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)).to(device)
            wall = statistics.median(seconds_of(partial(ours, net, many, layer), device)[0] for _ in range(3))
            per_image = medians["loop"][0] / count
            print(f"| {name} | kdlib, 64 images | {wall:.1f} s | | {per_image * 64 / wall:.1f}x | | |", flush=True)
    print(f"\nload at the end {load()}; maps agreed before timing")


if __name__ == "__main__":
    main()
