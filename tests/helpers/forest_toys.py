"""Rows of a forest plot with known content: any claim, any effect, any interval."""

from __future__ import annotations

import math
from dataclasses import replace

from kdlib.claims import Record, load_claims
from kdlib.claims.forest_rows import ForestRow
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
) -> ForestRow:
    """A row whose effect and interval are given in smallest effects, turned to the claimed direction."""
    claim = CLAIMS[claim_id]
    if short:
        claim = replace(claim, short=short)
    unit = claim.smallest_effect * (1 if claim.direction == "greater" else -1)
    low, high = (math.nan, math.nan) if seeds == 1 else sorted(unit * end for end in interval)
    differences = (unit * effect,) * seeds
    contrast = Contrast(claim.contrast_name, unit * effect, low, high, low, high, 1.0, seeds, differences)
    return ForestRow(claim, RECORD, Verdict(claim.id, word, "", contrast))


def toy_plot() -> list[ForestRow]:
    """Rows of two papers with every verdict and one claim that nothing measured."""
    cheng = load_claims("cheng2020")["cheng2020.1a"]
    return [
        toy_row("han2023.1a", 1.0, (-1.0, 3.0), "inconclusive"),
        toy_row("han2023.1b", 4.0, (2.0, 30.0), "supported"),
        toy_row("han2023.2a", 0.1, (-0.5, 0.6), "not supported"),
        toy_row("han2023.2b", -3.0, (-4.0, -2.0), "contradicted", short="costs $5 to $10, <b>less</b> & less"),
        ForestRow(CLAIMS["han2023.3a"]),
        ForestRow(cheng),
    ]
