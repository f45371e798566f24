"""What claims may say of a difference: its direction, and how it is called in each unit."""

from __future__ import annotations

DIRECTIONS = ("greater", "less")

#: How a difference of two values in a unit is called; other units keep their name.
DIFFERENCE_UNITS = {
    "percent": "percentage points",
    "percent of units": "percentage points of the layer's units",
}
