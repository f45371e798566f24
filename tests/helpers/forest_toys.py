"""Rows of a forest plot with known content: any claim, any effect, any interval."""

from __future__ import annotations

import datetime
import math
from dataclasses import replace
from typing import Any

from kdlib.claims import Record, load_claims
from kdlib.claims.conditions import Conditions
from kdlib.claims.forest_rows import ForestRow
from kdlib.claims.paired import TInterval
from kdlib.claims.verdicts import Verdict
from kdlib.stats import Contrast

CLAIMS = load_claims("han2023")
RECORD = Record("han2023_concept_detectors", {"preset": "quick"}, provenance={"commit": "none"})


def toy_row(
    claim_id: str = "han2023.1b",
    effect: float = 2.0,
    interval: tuple[float, float] = (1.0, 3.0),
    word: str = "supported",
    *,
    seeds: int = 3,
    short: str = "",
    exploratory: bool = False,
    **marks: Any,
) -> ForestRow:
    """A row whose effect and interval are given in smallest effects, turned to the claimed direction.

    marks: further fields of its verdict.
    """
    claim = CLAIMS[claim_id]
    if short:
        claim = replace(claim, short=short)
    unit = claim.smallest_effect * (1 if claim.direction == "greater" else -1)
    low, high = (math.nan, math.nan) if seeds == 1 else sorted(unit * end for end in interval)
    differences = (unit * effect,) * seeds
    contrast = Contrast(claim.contrast_name, unit * effect, low, high, seeds, differences)
    interval_of_mean = TInterval(unit * effect, low, high, differences)
    found = Verdict(claim.id, word, "", contrast, interval_of_mean, claim.unit, claim.smallest_effect, **marks)
    if exploratory:
        claim = replace(claim, conditions=Conditions(exploratory_since=datetime.date(2026, 11, 27)))
    return ForestRow(claim, RECORD, found)


def toy_plot() -> list[ForestRow]:
    """Rows of two papers with every verdict and one claim that nothing measured."""
    cheng = load_claims("cheng2020")["cheng2020.1a"]
    return [
        toy_row("han2023.1a", 1.0, (-1.0, 3.0), "inconclusive"),
        toy_row("han2023.1b", 4.0, (2.0, 30.0), "supported", survives="yes", controls=("survives a shuffled one",)),
        toy_row("han2023.2a", 0.1, (-0.5, 0.6), "not supported"),
        toy_row("han2023.2b", -3.0, (-4.0, -2.0), "contradicted", short="costs $5 to $10, <b>less</b> & less"),
        toy_row("han2023.3b", 5.0, (1.0, 9.0), "no test", failed_gates=("gate failed: the teacher is poor",)),
        ForestRow(CLAIMS["han2023.3a"]),
        ForestRow(cheng),
    ]
