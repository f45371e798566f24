"""The README's picture: taken from a page with the dissection explorer, described by the counts the page shows."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from browser_checks import find_chromium
from matplotlib.image import imread
from widget_toys import write_page

from kdlib.claims.readme import refresh_between_markers

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def picture():
    spec = importlib.util.spec_from_file_location("picture", ROOT / "book/picture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.browser
def test_the_picture_is_described_by_the_counts_it_shows(picture, dissection, tmp_path):
    find_chromium()
    # In a thread of its own: another test's browser may hold this one's event loop.
    with ThreadPoolExecutor(1) as pool:
        counts = pool.submit(picture.take, write_page(tmp_path, [dissection]), tmp_path / "book.png").result()
    rows = [row.rsplit(" ", 3) for row in counts.split(", ")]
    assert [row[0] for row in rows] == ["Teacher", "Scratch", "Label smoothing", "Distilled (KD)"]
    assert all(0 <= int(count) <= int(units) == 48 for _, count, _, units in rows)
    assert imread(tmp_path / "book.png").shape[:2] == (900, 1280)


def test_the_readme_has_a_place_for_the_picture(picture):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"]({picture.PICTURE})" in readme and (ROOT / picture.PICTURE).is_file()
    assert "new" in refresh_between_markers(readme, "picture", "new")
