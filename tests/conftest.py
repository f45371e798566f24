"""One headless browser for all tests of a session: a second one in the same process would be refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser_checks import find_chromium, launched


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; without one the browser tests are skipped."""
    return find_chromium()


@pytest.fixture(scope="session")
def browser(chromium) -> Iterator:
    """A headless Chromium."""
    with launched(chromium) as opened:
        yield opened
