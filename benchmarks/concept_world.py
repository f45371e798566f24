"""How fast Concept World is drawn, masks of all six categories included.

    python -m benchmarks.concept_world            # 10,000 images of 48x48, three times
    python -m benchmarks.concept_world --quick    # 2,000, once

It must not take more than 15 seconds for 10,000 images on two cores. The result depends on what else runs on the
machine, so the load is printed too, and processor time beside the clock's. Before timing, the scenes are drawn in other
pieces and must have the same bits.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time

import torch

from kdlib.data.drawn.concept_world import draw_scenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="2,000 images, once")
    parser.add_argument("--size", type=int, default=48, help="side of the images in pixels")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    count, repeats = (2_000, 1) if arguments.quick else (10_000, 3)

    hashes = {
        draw_scenes(200, image_size=arguments.size, device=arguments.device, pixels_at_once=pixels).content_hash()
        for pixels in (100_000, 1_500_000)
    }
    if len(hashes) != 1:
        raise SystemExit("the size of pieces changes the scenes: nothing was timed")

    clock, processor = [], []
    for repeat in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        scenes = draw_scenes(count, seed=repeat, image_size=arguments.size, device=arguments.device)
        int(scenes.images[-1, -1, -1, -1])  # waits for a GPU
        clock.append(time.perf_counter() - wall)
        processor.append(time.process_time() - cpu)
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load not known"
    print(f"{platform.machine()}, {os.cpu_count()} cores, {load}, torch {torch.__version__}, {arguments.device}")
    print(f"{count} images of {arguments.size}x{arguments.size} with all masks, {repeats} times:")
    median = statistics.median(clock)
    print(f"  clock     median {median:.2f} s (fastest {min(clock):.2f} s), {count / median:,.0f} images/s")
    print(f"  processor median {statistics.median(processor):.2f} s")


if __name__ == "__main__":
    main()
