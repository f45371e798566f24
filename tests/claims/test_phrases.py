"""Numbers in words."""

from __future__ import annotations

import math

import pytest

from kdlib.claims.phrases import number, with_interval
from kdlib.stats import paired_contrast


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (7.0, "+7"),
        (10.0, "+10"),
        (-0.5, "−0.5"),
        (123.456, "+123"),
        (1e-9, "+1.00e-09"),
        (math.nan, "none"),
    ],
)
def test_numbers_read_plainly(value: float, text: str) -> None:
    assert number(value) == text


def test_a_contrast_has_one_interval() -> None:
    contrast = paired_contrast([1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
    assert with_interval(contrast, "points") == "+2.0 (−0.5 to +4.5) points"  # 2 +- 4.303 / sqrt(3)
