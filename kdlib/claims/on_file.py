"""What a chapter's figures take from the records on file: of several presets, the largest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from matplotlib.figure import Figure

from kdlib.claims import Claim, Record
from kdlib.claims.verdicts import Verdict
from kdlib.names import STRONGEST_FIRST

Drawn = tuple[Figure, str] | None
Drawer = Callable[[Mapping[str, Claim], Sequence[Record]], Drawn]


def strongest(records: Sequence[Record], claim_id: str) -> tuple[Record, Verdict] | None:
    """The record that judges a claim and its verdict, of the largest preset measured; None without one."""
    for preset in STRONGEST_FIRST:
        for record in records:
            if record.preset == preset and claim_id in record.verdicts:
                return record, record.verdicts[claim_id]
    return None


def measured(records: Sequence[Record], notebook: str) -> Record | None:
    for preset in STRONGEST_FIRST:
        for record in records:
            if (record.notebook, record.preset) == (notebook, preset):
                return record
    return None


def values_of(record: Record, metric: str, arms: Sequence[str]) -> dict[str, Sequence[float]]:
    """Seed values per arm, of those arms that were measured."""
    found = {arm: record.measurements.get(f"{metric}/{arm}") for arm in arms}
    return {arm: item.values for arm, item in found.items() if item is not None}
