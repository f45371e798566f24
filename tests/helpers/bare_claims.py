"""The papers' claims with neither gates nor controls, for tests of what comes after them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from kdlib.claims import Claim, claim_files
from kdlib.claims.conditions import Conditions


@contextmanager
def without_conditions() -> Iterator[None]:
    """Within the block, claims are read from their files without conditions."""
    read = claim_files.load_claims

    def bare(paper: str) -> dict[str, Claim]:
        return {id_: replace(claim, conditions=Conditions()) for id_, claim in read(paper).items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claim_files, "load_claims", bare)
        yield
