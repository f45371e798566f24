"""What each paper claims, what we measured, and the verdict.

`load_claims("han2023")` reads the claims; a notebook files its measurements in a `Record`, whose `claim(claim_id)` says
supported, not supported, contradicted, inconclusive or no test; `kdlib.claims.ledger` compiles the book's ledger.
"""

from __future__ import annotations

from kdlib.claims.claim import Claim, Paper, Reported
from kdlib.claims.claim_files import all_claims, load_claims, papers
from kdlib.claims.records import Measurement, Record, read_records
from kdlib.claims.rule import WORDS
from kdlib.claims.verdicts import Verdict

__all__ = [
    "WORDS",
    "Claim",
    "Measurement",
    "Paper",
    "Record",
    "Reported",
    "Verdict",
    "all_claims",
    "load_claims",
    "papers",
    "read_records",
]
