"""Race kdlib's network dissection against NetDissect-Lite's way of doing it, on the same activations and masks.

    python -m benchmarks.dissection            # a minute or two
    python -m benchmarks.dissection --quick    # some ten seconds

The opponents, written for this race from the description of the algorithm in Bau et al. 2017 and Han et al. 2023, hold
all activations and go image by image and unit by unit: a map whose maximum exceeds the threshold is upsampled and
thresholded, and the labels under it are counted. Both are given numpy's exact quantile in place of the original's
random sketch, and torch's bilinear interpolation of one map at a time.

- "lite": coordinates of the active pixels, all label layers looked up at them, one count over the labels of all
  categories, and a table that says which category a label belongs to, as NetDissect-Lite goes about it.
- "tuned": the same loop with what we could do for its speed: maps below their threshold skipped without a Python step,
  masks instead of coordinates, small integers, counts per category.

Before anything is timed, all must agree on every IoU to 1e-6. Runs are interleaved, so that a noisy machine is noisy
for all; medians are compared, of wall time and of CPU time (the one to trust while others use the machine). Peak memory
is that of a process of its own (Linux only), which makes its activations on the fly, for two numbers of images.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdlib.metrics.dissection.dissect import dissect_activations

QUANTILE = 0.005


@dataclass(frozen=True)
class Case:
    """Sizes of a race; `concepts` per category, image-level ones in `whole_image`."""

    name: str
    units: int
    cells: int
    pixels: int
    concepts: dict[str, int]
    whole_image: tuple[str, ...]

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        return {
            category: ("unlabelled", *(f"{category} {i}" for i in range(1, count + 1)))
            for category, count in self.concepts.items()
        }

    def batch(self, start: int, images: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Post-ReLU maps that are smooth, sparse and strong in few images, and blocky masks; a function of `start`."""
        generator = torch.Generator().manual_seed(start)
        maps = torch.randn(images, self.units, self.cells, self.cells, generator=generator)
        maps = F.avg_pool2d(maps, 3, 1, 1).relu() * torch.randn(images, self.units, 1, 1, generator=generator).exp()
        masks = {}
        for category, count in self.concepts.items():
            if category in self.whole_image:
                label = torch.randint(1, count + 1, (images, 1, 1), generator=generator, dtype=torch.int16)
                masks[category] = label.expand(images, self.pixels, self.pixels)
                continue
            coarse = torch.randint(1, count + 1, (images, 1, 6, 6), generator=generator).float()
            coarse[torch.rand(coarse.shape, generator=generator) < 0.4] = 0
            masks[category] = F.interpolate(coarse, size=(self.pixels, self.pixels))[:, 0].to(torch.int16)
        return maps, masks


SIZES = {
    "concept world": Case(
        "concept world",
        128,
        8,
        32,
        {"object": 20, "part": 12, "scene": 30, "material": 8, "texture": 8, "color": 11},
        ("scene",),
    ),
    "wide layer": Case(
        "wide layer",
        256,
        8,
        64,
        {"object": 40, "part": 40, "scene": 30, "material": 16, "texture": 20, "color": 11},
        ("scene", "texture"),
    ),
    "Broden, layer4": Case(
        "Broden, layer4",
        512,
        7,
        112,
        {"object": 584, "part": 234, "scene": 468, "material": 32, "texture": 47, "color": 11},
        ("scene", "texture"),
    ),
}


class Batches:
    """Batches of a case made afresh in each pass: nothing is held."""

    def __init__(self, case: Case, images: int, batch_size: int = 128) -> None:
        self.case, self.images, self.batch_size = case, images, batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Mapping[str, Tensor]]]:
        for start in range(0, self.images, self.batch_size):
            yield self.case.batch(start, min(self.batch_size, self.images - start))


def exact_thresholds(batches: list) -> np.ndarray:
    """(U,) numpy's quantile over all activations at once."""
    values = torch.cat([maps for maps, _ in batches]).transpose(0, 1).flatten(1).numpy()
    return np.quantile(values, 1 - np.float64(QUANTILE), axis=1).astype(np.float32)


def ious(intersection: np.ndarray, activated: np.ndarray, area: np.ndarray) -> np.ndarray:
    return intersection / (activated[:, None] + area[None] - intersection + 1e-10)


def lite(batches: list, case: Case) -> dict[str, np.ndarray]:
    """IoU per category (U, n), "lite" denominator, one map at a time, labels of all categories in one numbering."""
    thresholds = exact_thresholds(batches)
    categories = list(case.concepts)
    before = dict(zip(categories, np.cumsum([0, *case.concepts.values()]), strict=False))
    total = 1 + sum(case.concepts.values())
    belongs = np.zeros((total, len(categories)), dtype=np.int64)
    for place, (category, count) in enumerate(case.concepts.items()):
        belongs[before[category] + 1 : before[category] + count + 1, place] = 1
    both = np.zeros((case.units, total), dtype=np.int64)
    activated = np.zeros((case.units, len(categories)), dtype=np.int64)
    area = np.zeros(total, dtype=np.int64)
    for maps, masks in batches:
        for image in range(len(maps)):
            layers = [masks[c][image].numpy().astype(np.int64) for c in categories if c not in case.whole_image]
            starts = [before[c] for c in categories if c not in case.whole_image]
            pixels = np.stack([np.where(y > 0, y + start, 0) for y, start in zip(layers, starts, strict=True)])
            scalars = [int(masks[c][image, 0, 0]) + before[c] for c in case.whole_image]
            area += np.bincount(pixels.ravel(), minlength=total)
            area[scalars] += case.pixels**2
            features = maps[image].numpy()
            for unit in range(case.units):
                if not features[unit].max() > thresholds[unit]:
                    continue
                active = np.argwhere(upsampled(maps[image, unit], case) > thresholds[unit])
                found = np.bincount(pixels[:, active[:, 0], active[:, 1]].ravel(), minlength=total)
                found[0] = 0
                found[scalars] += len(active)
                both[unit] += found
                activated[unit] += len(active) * (belongs[found > 0].sum(0) > 0)
    result = {}
    for place, (category, count) in enumerate(case.concepts.items()):
        mine = slice(before[category] + 1, before[category] + count + 1)
        result[category] = ious(both[:, mine], activated[:, place], area[mine])
    return result


def upsampled(cells: Tensor, case: Case) -> np.ndarray:
    size = (case.pixels, case.pixels)
    return F.interpolate(cells[None, None], size=size, mode="bilinear", align_corners=False)[0, 0].numpy()


def tuned(batches: list, case: Case) -> dict[str, np.ndarray]:
    """IoU per category (U, n), "lite" denominator, one map at a time, as fast as that goes."""
    thresholds = exact_thresholds(batches)
    both = {c: np.zeros((case.units, n + 1), dtype=np.int64) for c, n in case.concepts.items()}
    activated = {c: np.zeros(case.units, dtype=np.int64) for c in case.concepts}
    area = {c: np.zeros(n + 1, dtype=np.int64) for c, n in case.concepts.items()}
    for maps, masks in batches:
        peaks = maps.amax((2, 3)).numpy()
        for image in range(len(maps)):
            # An image-level label is one number, as in Broden's index.
            labels = {c: m[image].numpy() for c, m in masks.items() if c not in case.whole_image}
            scalars = {c: int(masks[c][image, 0, 0]) for c in case.whole_image}
            for category, pixels in labels.items():
                area[category] += np.bincount(pixels.ravel(), minlength=len(area[category]))
            for category, label in scalars.items():
                area[category][label] += case.pixels**2
            for unit in np.flatnonzero(peaks[image] > thresholds):
                mask = upsampled(maps[image, unit], case) > thresholds[unit]
                count = np.count_nonzero(mask)
                for category, pixels in labels.items():
                    found = np.bincount(pixels[mask], minlength=case.concepts[category] + 1)
                    both[category][unit] += found
                    if found[1:].any():
                        activated[category][unit] += count
                for category, label in scalars.items():
                    both[category][unit, label] += count
                    if label:
                        activated[category][unit] += count
    return {c: ious(both[c][:, 1:], activated[c], area[c][1:]) for c in case.concepts}


def kdlib_dissection(batches: list, case: Case) -> dict[str, np.ndarray]:
    found = dissect_activations(batches, case.names, quantile=QUANTILE)
    return {category: iou.numpy() for category, iou in found.iou.items()}


RUNNERS = {"kdlib": kdlib_dissection, "lite": lite, "tuned": tuned}


def race(case: Case, images: int, repeats: int) -> dict[str, tuple[float, float]]:
    """Median (wall, CPU) seconds of each runner, interleaved, once all agree."""
    batches = list(Batches(case, images))
    results = {name: run(batches, case) for name, run in RUNNERS.items()}
    for name, other in results.items():
        difference = max(float(np.abs(results["kdlib"][c] - other[c]).max()) for c in case.concepts)
        if not difference < 1e-6:
            raise SystemExit(f"{case.name}: kdlib and {name} differ by {difference:g} in an IoU; nothing is timed")
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in RUNNERS}
    for _ in range(repeats):
        for name, run in RUNNERS.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run(batches, case)
            seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: (statistics.median(t[0] for t in times), statistics.median(t[1] for t in times))
        for name, times in seconds.items()
    }


def peak_memory(case: Case, images: int) -> float:
    """Peak resident memory in MB of a process that only dissects `images` images of `case`."""
    command = [sys.executable, "-m", "benchmarks.dissection", "--memory-of", case.name, str(images)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def load() -> str:
    return ", ".join(f"{value:.1f}" for value in os.getloadavg())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller sizes, one repeat")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default 1; the loops use one)")
    parser.add_argument("--memory-of", nargs=2, metavar=("CASE", "IMAGES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        name, images = arguments.memory_of
        case = SIZES[name]
        dissect_activations(Batches(case, int(images)), case.names, quantile=QUANTILE, num_images=int(images))
        # Not getrusage's maximum: a child inherits that of the process that started it.
        status = Path("/proc/self/status").read_text()
        print(int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) / 1024)
        return
    quick = arguments.quick
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {arguments.threads} torch thread(s), "
        f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}"
    )
    print(f"load average at the start: {load()}")
    print("| case | units | maps | masks | images | kdlib | lite | tuned | wall: lite, tuned | CPU: lite, tuned |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for case, images in zip(SIZES.values(), (200, 100, 40) if quick else (2000, 1000, 300), strict=True):
        seconds = race(case, images, repeats=3 if quick else 5)
        times = " | ".join(f"{wall:.2f} s" for wall, _ in seconds.values())
        ratios = " | ".join(
            ", ".join(f"{seconds[name][clock] / seconds['kdlib'][clock]:.1f}x" for name in ("lite", "tuned"))
            for clock in (0, 1)
        )
        print(
            f"| {case.name} | {case.units} | {case.cells}x{case.cells} | {case.pixels}x{case.pixels} | {images} "
            f"| {times} | {ratios} |",
            flush=True,
        )
    print(f"load average at the end: {load()}; every IoU agreed to 1e-6 before timing")
    case = SIZES["Broden, layer4"]
    for images in (64, 256) if quick else (500, 2000):
        held = images * case.units * case.cells**2 * 4 / 2**20
        print(
            f"peak memory of '{case.name}' at {images} images: {peak_memory(case, images):.0f} MB "
            f"(all activations would be {held:.0f} MB; kept for the thresholds: {QUANTILE * held:.1f} MB)"
        )


if __name__ == "__main__":
    main()
