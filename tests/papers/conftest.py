"""Every test of a figure draws in the book's style and leaves no figure open."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest

from kdlib.plotting.style import use_style


@pytest.fixture(autouse=True)
def _styled_and_closed():
    use_style()
    yield
    plt.close("all")
