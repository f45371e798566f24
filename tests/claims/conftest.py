"""Records with known content for the tests of records and ledger."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kdlib.claims import Record

# detectors in percent of units for eight seeds: KD clearly above scratch, label smoothing level with it.
DETECTORS = {
    "kd": (61.0, 63.0, 62.5, 61.5, 62.0, 64.0, 60.5, 63.5),
    "scratch": (54.0, 55.0, 56.0, 54.5, 55.5, 56.5, 54.0, 55.0),
    "label_smoothing": (54.5, 55.1, 55.8, 54.4, 55.9, 56.2, 54.3, 55.1),
}


@pytest.fixture(autouse=True, scope="module")
def _without_conditions(bare_claims: None) -> None:
    """Tests of gates and controls give their own."""


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """Makes a record that judges 1b (supported) and 2b (not supported); with fewer than eight seeds both are open."""

    def make(preset: str = "quick", notebook: str = "han2023_concept_detectors", seeds: int = 8) -> Record:
        record = Record(
            notebook, {"preset": preset, "n_seeds": seeds, "seed": 0}, device="cpu", source_fingerprint="f00d"
        )
        for arm, values in DETECTORS.items():
            record.measure(f"detectors/{arm}", dict(enumerate(values[:seeds])), "percent of units")
        record.claim("han2023.1b")
        record.claim("han2023.2b")
        return record

    return make
