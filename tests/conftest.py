"""Small data, an empty run store for every test, and one headless browser for a whole session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from browser_checks import find_chromium, launched

from kdlib.data.image_set import ImageSet, Splits


@pytest.fixture(autouse=True)
def _own_run_store(tmp_path_factory, monkeypatch):
    """No test reads or fills the user's store of runs."""
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path_factory.mktemp("runs")))


@pytest.fixture(autouse=True)
def _same_random_numbers_every_time():
    """What a test draws from torch's global generator is the same in every run."""
    torch.manual_seed(0)


def striped_images(count: int, seed: int, name: str = "stripes", size: int = 16) -> ImageSet:
    """Four easily learned classes: bright rows or columns, left/top or right/bottom; noise around them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=generator)
    images = torch.randint(0, 120, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    for index, label in enumerate(labels.tolist()):
        half = slice(0, size // 2) if label % 2 else slice(size // 2, size)
        if label < 2:
            images[index, :, half] = 220
        else:
            images[index, :, :, half] = 220
    return ImageSet(name, images, labels, ("bottom", "top", "right", "left"), ("rows", "columns"), (0, 0, 1, 1))


@pytest.fixture
def splits() -> Splits:
    """128 training images of `striped_images`, 64 of each other part."""
    counts = {"train": 128, "val": 64, "test": 64, "probe": 64}
    parts = {part: striped_images(n, seed, part) for seed, (part, n) in enumerate(counts.items())}
    return Splits("stripes", **parts)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; without one the browser tests are skipped."""
    return find_chromium()


@pytest.fixture(scope="session")
def browser(chromium) -> Iterator:
    """A headless Chromium, one for all tests: a second one in the same process would be refused."""
    with launched(chromium) as opened:
        yield opened
